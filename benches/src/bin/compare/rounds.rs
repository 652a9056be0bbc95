//! One round of gossip with the same content: news of sixteen members to somebody who knows a
//! thousand, in memory, without encryption and without any check of signatures.
//!
//! Not the same work, and no ranking of protocols: foca and memberlist believe whoever tells it and
//! are done with one datagram; here an update names a signed record that is asked for and hashed,
//! and whose signature would be most of its price; chitchat exchanges digests that name every
//! member before it sends anything. Datagrams of the first three are written off the clock.

use std::time::Duration;

use mesh_gossip_benches::peers::ours::{self, record_datagram, update_of};
use mesh_gossip_benches::peers::{scuttlebutt, swim_foca, swim_memberlist};
use mesh_gossip_benches::population::{member, members};
use mesh_gossip_proto::{Member, SignedRecord};
use serde_json::{Value, json};

use crate::datagram::Trouble;
use crate::report::{Table, spread_json};
use crate::turns::{Alternative, Mistake, Plan, take_turns};

const MEMBERS: u32 = 1_000;
const UPDATES: u32 = 16;
const PLAN: Plan = Plan { runs: 5, run: Duration::from_secs(2) };

/// Sixteen members in turn, and how often all have had their turn.
#[derive(Default)]
struct Turn {
    count: u32,
}

impl Turn {
    fn next(&mut self) -> (Vec<u32>, u32) {
        // Member 0 sends; the others take turns, nobody twice in one round.
        let round = (MEMBERS - 1) / UPDATES * UPDATES;
        let first = self.count * UPDATES;
        self.count += 1;
        ((0..UPDATES).map(|k| 1 + (first + k) % round).collect(), 2 + first / round)
    }
}

/// A round of one implementation: prepared off the clock, run on it.
struct Round<P, D, R> {
    name: &'static str,
    peer: P,
    turn: Turn,
    prepared: Option<D>,
    prepare: fn(&mut P, &[u32], u32) -> D,
    run: R,
}

impl<P, D, R: FnMut(&mut P, D)> Alternative for Round<P, D, R> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn prepare(&mut self) -> usize {
        let (about, version) = self.turn.next();
        self.prepared = Some((self.prepare)(&mut self.peer, &about, version));
        1
    }

    fn serve(&mut self) -> usize {
        let Some(prepared) = self.prepared.take() else { return 0 };
        (self.run)(&mut self.peer, prepared);
        1
    }

    fn collect(&mut self) -> Result<(), Mistake> {
        Ok(())
    }
}

/// Ours, and who tells it.
struct Mesh {
    node: ours::Ours,
    from: Member,
}

type Records = (Vec<u8>, Vec<Vec<u8>>);

fn ours_records(mesh: &mut Mesh, about: &[u32], counter: u32) -> Records {
    let records: Vec<_> = about.iter().map(|number| member(*number, counter).record).collect();
    let told = |record: &std::sync::Arc<SignedRecord>| update_of(record);
    let updates = mesh.node.datagram(records.iter().map(told));
    (updates, records.iter().map(|record| record_datagram(record)).collect())
}

fn ours_round() -> impl Alternative {
    let everybody = members(MEMBERS);
    let node = ours::Ours::knowing(&everybody);
    Round {
        name: "mesh-gossip",
        peer: Mesh { node, from: everybody[0].clone() },
        turn: Turn::default(),
        prepared: None,
        prepare: ours_records,
        run: |mesh: &mut Mesh, (updates, records): Records| {
            mesh.node.handle(&mesh.from, &updates);
            for record in &records {
                mesh.node.handle(&mesh.from, record);
            }
        },
    }
}

/// Those who tell it, and those who are told.
struct Two<P>(P, P);

fn foca_round() -> impl Alternative {
    Round {
        name: "foca",
        peer: Two(swim_foca::Peer::knowing(MEMBERS), swim_foca::Peer::knowing(MEMBERS)),
        turn: Turn::default(),
        prepared: None,
        prepare: |two: &mut Two<swim_foca::Peer>, about, incarnation| {
            two.0.datagram(about, u16::try_from(incarnation).unwrap_or(u16::MAX))
        },
        run: |two: &mut Two<swim_foca::Peer>, datagram: Vec<u8>| two.1.handle(&datagram),
    }
}

fn memberlist_round() -> impl Alternative {
    Round {
        name: "memberlist",
        peer: Two(swim_memberlist::Peer::knowing(MEMBERS), swim_memberlist::Peer::knowing(MEMBERS)),
        turn: Turn::default(),
        prepared: None,
        prepare: |two: &mut Two<swim_memberlist::Peer>, about, incarnation| {
            two.0.datagram(about, incarnation)
        },
        run: |two: &mut Two<swim_memberlist::Peer>, datagram| {
            two.1.handle(datagram, UPDATES as usize);
        },
    }
}

fn chitchat_round() -> impl Alternative {
    Round {
        name: "chitchat",
        peer: scuttlebutt::Pair::knowing(MEMBERS),
        turn: Turn::default(),
        prepared: None,
        prepare: |pair: &mut scuttlebutt::Pair, about, version| {
            pair.learn(about, version.into());
            (about.to_vec(), version)
        },
        run: |pair: &mut scuttlebutt::Pair, (about, version): (Vec<u32>, u32)| {
            pair.round(&about, version.into());
        },
    }
}

/// The comparison.
pub(crate) fn run() -> Result<Value, Trouble> {
    let mut all: Vec<Box<dyn Alternative>> = vec![
        Box::new(ours_round()),
        Box::new(foca_round()),
        Box::new(memberlist_round()),
        Box::new(chitchat_round()),
    ];
    let found = take_turns(PLAN, &mut all)?;
    let title = "a round of gossip, news of 16 members to one that knows 1,000";
    println!("{}", Table::new(title, "rounds/s", &found, ["foca", "mesh-gossip"]));
    let against = |name| spread_json(found.ratio("mesh-gossip", name));
    Ok(json!({ "rounds": {
        "vs_foca": against("foca"),
        "vs_memberlist": against("memberlist"),
        "vs_chitchat": against("chitchat"),
    } }))
}

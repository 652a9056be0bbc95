//! Member updates a second and core: packed as the engine does, and one in a datagram on tokio's
//! socket with the same AEAD, which reads none of them.

use std::cell::RefCell;
use std::time::Duration;

use mesh_gossip::options::BackendChoice;
use mesh_gossip_proto::wire::message::{Packet, Update};
use mesh_gossip_proto::{Config, Incarnation, MemberId, RecordHash, State};
use serde_json::{Value, json};

use crate::crowd::Crowd;
use crate::datagram::{Cast, DIFFERENT, Trouble, default_name};
use crate::ours::{Ours, SEAL_BYTES};
use crate::report::{Goal, number, spread_json};
use crate::tokio_udp::Tokio;
use crate::turns::{Alternative, Plan, Spread, take_turns};

const PLAN: Plan = Plan { runs: 5, run: Duration::from_secs(6) };
const WANTED: f64 = 20.0;

/// As many updates as `limit` has room for, and how many that is.
fn packed(limit: usize) -> (Vec<u8>, usize) {
    let mut packet = Packet::default();
    let mut count = 0;
    loop {
        let id = MemberId([count as u8; 16]);
        let incarnation = Incarnation { generation: 1_700_000_000_000, counter: count as u32 };
        let hash = RecordHash(count as u64);
        if !packet.push(limit, &Update::new(id, incarnation, State::Alive, hash)) {
            return (packet.into_bytes(), count);
        }
        count += 1;
    }
}

fn times(spread: Spread, factor: f64) -> Spread {
    Spread { min: spread.min * factor, median: spread.median * factor, max: spread.max * factor }
}

/// The comparison.
pub(crate) fn run() -> Result<Value, Trouble> {
    let (own, cast) = (default_name()?, Cast::new());
    let crowd = RefCell::new(Crowd::of(DIFFERENT.peers)?);
    let (full, count) = packed(Config::new("bench").max_payload);
    let single = size_of::<Update>() + 3 + SEAL_BYTES;
    let ours = Ours::new(&crowd, DIFFERENT, &cast.party(), BackendChoice::Auto, full)?;
    let tokio = Tokio::sealed(&crowd, DIFFERENT, single)?;
    let mut all: Vec<Box<dyn Alternative + '_>> = vec![Box::new(tokio), Box::new(ours)];
    let found = take_turns(PLAN, &mut all)?;
    let a_second = |ns: Spread, count: usize| {
        let rate = |ns: f64| count as f64 * 1e9 / ns;
        Spread { min: rate(ns.max), median: rate(ns.median), max: rate(ns.min) }
    };
    let (packed, alone) = (a_second(found.ns(own), count), a_second(found.ns("tokio, sealed"), 1));
    println!("{own}, {count} updates in a datagram: {} updates/s", number(packed, 0));
    println!("tokio, sealed, one in {single} bytes: {} updates/s", number(alone, 0));
    let reached = times(found.ratio(own, "tokio, sealed"), count as f64);
    println!(
        "{}",
        Goal {
            what: "times one update a datagram",
            size: 1_200,
            wanted: WANTED,
            reached,
            most: None
        }
    );
    Ok(json!({ "updates_vs_single": spread_json(reached) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_gossip_proto::wire::message::{Message, Messages};

    #[test]
    fn a_packed_datagram_is_nothing_but_updates() {
        let limit = Config::new("bench").max_payload;
        let (payload, count) = packed(limit);
        let updates =
            Messages::new(&payload).filter(|one| matches!(one, Ok(Message::Update(_)))).count();
        assert_eq!(updates, count);
        let one = size_of::<Update>() + 3;
        assert!(payload.len() <= limit && payload.len() + one > limit, "it is full");
    }
}

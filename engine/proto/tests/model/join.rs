//! Precedence is a join: what is believed in the end depends on what was said, not on the order, the
//! repetitions or the losses on the way (rules M-3, M-4 and R-3). What to expect is a formula here.

use std::cmp::Reverse;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use mesh_gossip_proto::wire::message::{Packet, Suspicion, kind};
use mesh_gossip_proto::{Config, Detector, Incarnation, Node, RecordHash, State};

use crate::check;
use crate::reference::{Name, rank};
use crate::stage::{BORN, CLUSTER, address, at, birth, death, id, record};
use crate::steps::{self, Signed};

/// Of whom is spoken; `e` passes everything on, `f` accuses, and nobody speaks of them.
const SUBJECTS: [Name; 3] = ["b", "c", "d"];

#[derive(Clone, Copy, Debug)]
enum Said {
    Record(Signed),
    Doubt { of: Name, at: Incarnation },
    Death { of: Name, at: Incarnation },
}

fn said() -> impl Strategy<Value = Said> {
    let of = prop::sample::select(&SUBJECTS[..]);
    (of, steps::record(), 0u8..6).prop_map(|(of, signed, what)| match what {
        0 => Said::Death { of, at: signed.at },
        1 | 2 => Said::Doubt { of, at: signed.at },
        _ => Said::Record(Signed { of, ..signed }),
    })
}

fn tell(node: &mut Node, said: Said) {
    let mut packet = Packet::default();
    match said {
        Said::Record(signed) => {
            assert!(packet.push_raw(9_000, kind::RECORD, signed.record().envelope()));
        }
        Said::Doubt { of, at } => {
            let accuser = id("f").0;
            assert!(
                packet.push(9_000, &Suspicion { id: id(of).0, incarnation: at.into(), accuser })
            );
        }
        Said::Death { of, at } => {
            let mut claim = death(of, 0, "f");
            claim.incarnation = at.into();
            assert!(packet.push(9_000, &claim));
        }
    }
    node.handle_datagram(at(1), id("e"), address("e"), packet.as_bytes());
}

type Belief = Option<(Incarnation, State, RecordHash)>;

/// The greatest record, and the greatest claim about it.
fn expected(all: &[Said], of: Name) -> Belief {
    let records = all.iter().filter_map(|said| match said {
        Said::Record(signed) if signed.of == of => Some(signed.record()),
        Said::Record(_) | Said::Doubt { .. } | Said::Death { .. } => None,
    });
    let (incarnation, leaving, Reverse(hash)) = records.map(|record| rank(&record)).max()?;
    let claims = all.iter().filter_map(|said| match *said {
        Said::Doubt { of: whom, at } if (whom, at) == (of, incarnation) => Some(State::Suspect),
        Said::Death { of: whom, at } if (whom, at) == (of, incarnation) => Some(State::Dead),
        Said::Record(_) | Said::Doubt { .. } | Said::Death { .. } => None,
    });
    let least = if leaving { State::Left } else { State::Alive };
    Some((incarnation, claims.fold(least, State::max), hash))
}

fn any_order_agrees(all: &[Said], seed: u64) -> Result<(), TestCaseError> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let config = Config { detector: Detector::Swim, ..Config::new(CLUSTER) };
    let mut digests = Vec::new();
    for member in 0..3 {
        let mut node: Node = Node::new(at(0), birth(config.clone(), "a", BORN, member)).unwrap();
        for known in ["e", "f"] {
            tell(
                &mut node,
                Said::Record(Signed {
                    of: known,
                    at: record(known, 0).record().incarnation,
                    leaving: false,
                    other_text: false,
                }),
            );
        }
        // Some are lost, some come twice, all in any order.
        let mut arriving: Vec<Said> =
            all.iter().flat_map(|said| vec![*said; rng.usize(0..3)]).collect();
        rng.shuffle(&mut arriving);
        // Then everything is said again until nothing is missing: a claim counts once its record
        // is there.
        for _ in 0..2 {
            let mut again = all.to_vec();
            rng.shuffle(&mut again);
            arriving.extend(again);
        }
        for said in arriving {
            tell(&mut node, said);
        }
        for of in SUBJECTS {
            let held = node.member(id(of)).map(|m| (m.incarnation(), m.state, m.record.hash()));
            prop_assert_eq!(held, expected(all, of), "{}", of);
        }
        digests.push(node.view(at(1)).digest());
    }
    prop_assert!(digests.windows(2).all(|pair| pair[0] == pair[1]));
    Ok(())
}

/// Rules M-3, M-4 and R-3.
#[test]
fn precedence_is_a_join() {
    let story = (prop::collection::vec(said(), 0..30), any::<u64>());
    check("join::precedence_is_a_join", 200, &story, |(all, seed)| any_order_agrees(&all, seed));
}

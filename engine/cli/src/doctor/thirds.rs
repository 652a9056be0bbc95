//! What third members say: of a seed that does not answer us, and of us.
//!
//! A member that is silent here may be well and only the path between us broken; who reaches it
//! knows. And whether others hear this node, its own view cannot tell.
//!
//! Invariant: only members that both sides accept are asked.

use mesh_gossip::examine::{self, Held};
use mesh_gossip::proto::{MemberId, State};

use super::paths::{Looks, Way};
use super::report::Finding;

const CHECK: &str = "reachability";
/// Members asked about one thing; a further one would say the same.
const WITNESSES: usize = 3;

pub(super) fn check(looks: &Looks<'_>, ways: &[Way]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = ways
        .iter()
        .filter(|way| !way.answers)
        .filter_map(|lost| asked(looks, ways, lost))
        .collect();
    if looks.runs {
        let own = looks.credentials.member_id();
        let witnesses = ways.iter().filter_map(|way| Some((way, way.member?)));
        for (witness, _) in witnesses.filter(|(_, id)| *id != own).take(WITNESSES) {
            findings.extend(hears_us(looks, witness, own));
        }
    }
    findings
}

/// What the first witness that answers says of a seed that we do not reach.
fn asked(looks: &Looks<'_>, ways: &[Way], lost: &Way) -> Option<Finding> {
    let others = ways.iter().filter(|way| way.member.is_some() && way.seed != lost.seed);
    let others = others.filter(|way| lost.member.is_none() || way.member != lost.member);
    let (credentials, patience) = (looks.credentials, looks.patience);
    others.take(WITNESSES).find_map(|witness| {
        // Whom we could not even greet is known by its address.
        let wanted: Vec<MemberId> = lost.member.into_iter().collect();
        let held = examine::held(credentials, witness.seed.address, &wanted, patience).ok()?;
        let is_lost = |held: &&Held| match (lost.member, &held.record) {
            (Some(id), _) => held.id == id,
            (None, Some((_, addresses))) => addresses.contains(&lost.seed.address),
            (None, None) => false,
        };
        Some(judged(lost, witness, held.iter().find(is_lost)))
    })
}

fn judged(lost: &Way, witness: &Way, held: Option<&Held>) -> Finding {
    let (lost, witness) = (&lost.seed, &witness.seed);
    let Some(held) = held else {
        let evidence = format!("{lost} does not answer, and {witness} knows no member there");
        let fix = "check that address in mesh:gossip:seedPeers";
        return Finding::warn(CHECK, evidence, fix);
    };
    let name = held.record.as_ref().map_or("that member", |(name, _)| name);
    let since = held.since.as_secs();
    match held.state {
        State::Alive => {
            let evidence = format!(
                "{lost} does not answer here, yet {witness} holds {name} Alive for {since} s: it is \
                 well, and only the path between it and this node is broken"
            );
            let fix =
                format!("let UDP and TCP pass between this node and {}, both ways", lost.address);
            Finding::fail(CHECK, evidence, fix)
        }
        state @ (State::Suspect | State::Dead | State::Left) => {
            let evidence = format!(
                "{lost} does not answer here, and {witness} holds {name} {state:?} for {since} s: \
                 others do not reach it either"
            );
            let fix = format!("start {name} again, or take it off mesh:gossip:seedPeers");
            Finding::fail(CHECK, evidence, fix)
        }
    }
}

/// Whether a member hears this node, whose agent runs.
fn hears_us(looks: &Looks<'_>, witness: &Way, own: MemberId) -> Option<Finding> {
    let address = witness.seed.address;
    let held = examine::held(looks.credentials, address, &[own], looks.patience).ok()?;
    let witness = &witness.seed;
    let port = looks.options.bind.port();
    Some(match held.iter().find(|held| held.id == own) {
        Some(Held { state: State::Alive, .. }) => {
            Finding::pass(CHECK, format!("{witness} holds this node Alive"))
        }
        Some(held) => Finding::fail(
            CHECK,
            format!(
                "this node runs, yet {witness} holds it {:?} for {} s: it is not heard there",
                held.state,
                held.since.as_secs()
            ),
            format!("let UDP pass between {address} and port {port} here, both ways"),
        ),
        None => Finding::fail(
            CHECK,
            format!("this node runs, yet {witness} has not heard of it: it has not joined"),
            "see its log for the handshakes that fail",
        ),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::report::Verdict;
    use super::super::seeds::Seed;
    use super::*;

    fn way(port: u16) -> Way {
        let address = ([127, 0, 0, 1], port).into();
        Way { seed: Seed { name: format!("seed-{port}"), address }, member: None, answers: false }
    }

    /// What a third member holds of a silent one decides whose fault it is.
    #[test]
    fn a_silent_member_is_judged_by_what_a_third_one_holds_of_it() {
        let held = |state| Held {
            id: MemberId([1; 16]),
            state,
            since: Duration::from_secs(7),
            record: Some(("n7".into(), Vec::new())),
        };
        for (state, verdict, parts) in [
            (Some(State::Alive), Verdict::Fail, ["n7 Alive for 7 s", "only the path"]),
            (Some(State::Suspect), Verdict::Fail, ["n7 Suspect for 7 s", "either"]),
            (Some(State::Dead), Verdict::Fail, ["n7 Dead", "others do not reach"]),
            (Some(State::Left), Verdict::Fail, ["n7 Left", "others do not reach"]),
            (None, Verdict::Warn, ["seed-1 (127.0.0.1:1)", "knows no member there"]),
        ] {
            let found = judged(&way(1), &way(2), state.map(held).as_ref());
            assert_eq!(found.verdict, verdict);
            assert!(parts.iter().all(|part| found.evidence.contains(part)), "{found:?}");
        }
    }
}

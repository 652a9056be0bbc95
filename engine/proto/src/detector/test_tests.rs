use super::*;

const INCARNATION: Incarnation = Incarnation { generation: 1, counter: 0 };
const TAU: Duration = Duration::from_millis(100);

fn at(ms: u64) -> Instant {
    Instant::ORIGIN + Duration::from_millis(ms)
}

fn pace() -> Pace {
    Pace::of(Duration::from_millis(2_050))
}

fn settled() -> Baseline {
    let mut baseline = Baseline::default();
    (0..200).for_each(|_| baseline.sample(true));
    baseline
}

fn verdict(test: &mut Test, now: Instant) -> Ballot {
    let lambda = test.lambda(settled(), 5);
    test.opinion(now, lambda, 5, pace())
}

/// Pings every `spacing` from `from` until `until`, none of which comes back.
fn silent(test: &mut Test, from: u64, until: u64, spacing: u64) {
    for (sequence, ms) in (100..).zip((from..until).step_by(spacing as usize)) {
        test.settle(at(ms));
        test.pinged(at(ms), sequence, at(ms) + TAU);
    }
    test.settle(at(until));
}

/// Rule D-7: the evidence is there after two silences, the verdict only after the grace.
#[test]
fn nobody_is_condemned_within_the_grace() {
    let mut test = Test::after_a_loss(at(100), INCARNATION, 1, at(0));
    silent(&mut test, 100, 2_000, 200);
    assert!(test.lambda(settled(), 5) > evidence::dead_above(5));
    assert_eq!(verdict(&mut test, at(2_049)), Ballot::Pending);
    assert_eq!(verdict(&mut test, at(2_050)), Ballot::Dead);
    assert_eq!(test.condemned_since(), Some(at(2_050)));
}

/// Rule D-5: late acks still count, and two of them end the doubt.
#[test]
fn a_late_answer_turns_lost_into_acked() {
    let mut test = Test::after_a_loss(at(100), INCARNATION, 1, at(0));
    test.pinged(at(100), 2, at(200));
    test.settle(at(250));
    assert_eq!((test.lost(), test.straight_failures()), (2, 2));
    test.acked(1);
    assert!(test.lambda(settled(), 5) > 0.0);
    test.acked(2);
    assert!(test.lambda(settled(), 5) <= evidence::alive_below());
    assert_eq!(verdict(&mut test, at(9_000)), Ballot::Alive);
    let before = test.lambda(settled(), 5);
    test.acked(77);
    assert!(test.lambda(settled(), 5) >= before, "somebody else's number");
}

/// Rule D-7: when the control peer is as silent as the subject, the fault is ours.
#[test]
fn controls_take_the_blame_off_the_subject() {
    let run = |controls: bool| {
        let mut test = Test::on_request(at(0), INCARNATION);
        test.ask(Requester { id: MemberId([7; 16]), round: 1 });
        for n in 0..8u32 {
            let now = at(u64::from(n) * 200);
            test.pinged(now, n, now + TAU);
            assert!(test.wants_a_control());
            if controls {
                let peer = MemberId([9; 16]);
                test.controlled(now, peer, 50 + n, now + TAU, true);
                assert!(test.owes_a_control(peer) && !test.owes_a_control(MemberId([7; 16])));
            }
            test.settle(now + TAU);
        }
        test.lambda(settled(), 5)
    };
    assert!(run(false) >= evidence::dead_above(5));
    assert!(run(true) < evidence::dead_above(5), "{}", run(true));
}

/// Rules D-4 and D-7: an answer in time is a sample of the node's base once, if the ping was one.
#[test]
fn a_control_is_one_sample_or_none() {
    let mut test = Test::on_request(at(0), INCARNATION);
    let peer = MemberId([9; 16]);
    test.controlled(at(0), peer, 1, at(100), true);
    assert!(test.control_acked(1) && !test.owes_a_control(peer));
    assert!(!test.control_acked(1), "once");
    test.controlled(at(200), peer, 2, at(300), false);
    test.controlled(at(200), peer, 3, at(300), true);
    test.controlled(at(200), peer, 4, at(400), false);
    assert_eq!(test.settle(at(300)), 1);
    assert!(!test.control_acked(3), "late");
    assert!(!test.control_acked(4), "no sample");
}

/// Rule D-10: a pause of our own is evidence against nobody.
#[test]
fn our_own_pause_is_forgiven() {
    let mut test = Test::after_a_loss(at(100), INCARNATION, 1, at(0));
    test.pinged(at(100), 2, at(200));
    test.forgive(at(5_000), Duration::from_secs(4));
    test.settle(at(5_000));
    assert_eq!(test.lost(), 1, "what was in flight tells nothing");
    silent(&mut test, 5_000, 5_500, 100);
    assert_eq!(verdict(&mut test, at(5_500)), Ballot::Pending);
    assert_eq!(verdict(&mut test, at(6_051)), Ballot::Dead);
}

/// Rule D-7: a test for others ends after 20 s or 62 pings.
#[test]
fn a_test_for_others_ends() {
    let mut test = Test::on_request(at(0), INCARNATION);
    assert!(!test.is_over(at(19_999)));
    assert!(test.is_over(at(20_000)));
    let mut own = Test::after_a_loss(at(100), INCARNATION, 1, at(0));
    silent(&mut own, 100, 6_200, 100);
    assert!(own.is_over(at(6_300)) && !own.wants_a_ping(at(9_000)));
    for n in 0..40 {
        test.ask(Requester { id: MemberId([n; 16]), round: 0 });
    }
    assert_eq!(test.requesters().len(), 16, "bounded");
}

/// Rule D-5: every τ until the evidence is there, then every s, then every 500 ms.
#[test]
fn the_pace_follows_the_evidence() {
    let mut test = Test::after_a_loss(at(100), INCARNATION, 1, at(0));
    assert!(test.wants_a_ping(at(100)), "again at once");
    test.plan(at(100), TAU, pace(), false, false);
    assert!(!test.wants_a_ping(at(199)) && test.wants_a_ping(at(200)));
    test.plan(at(200), TAU, pace(), true, false);
    assert!(!test.wants_a_ping(at(399)) && test.wants_a_ping(at(400)));
    silent(&mut test, 400, 2_800, 100);
    test.plan(at(2_800), TAU, pace(), true, false);
    assert!(!test.wants_a_ping(at(3_299)) && test.wants_a_ping(at(3_300)));
    assert_eq!(test.due(at(2_800), pace()), at(3_300));
}

/// Rule D-5: where our own finding is the whole quorum, death takes thirty silences in a row.
#[test]
fn a_quorum_of_one_is_patient() {
    let mut test = Test::after_a_loss(at(100), INCARNATION, 1, at(0));
    silent(&mut test, 100, 2_900, 100);
    let lambda = test.lambda(settled(), 1);
    assert!(lambda >= evidence::dead_above(1));
    assert_eq!(test.opinion(at(3_000), lambda, 1, pace()), Ballot::Pending);
    silent(&mut test, 3_000, 3_300, 100);
    assert_eq!(test.opinion(at(3_300), lambda, 1, pace()), Ballot::Dead);
}

fn look(test: &mut Test, baseline: Baseline) -> bool {
    let lambda = test.lambda(baseline, 5);
    test.take_look(lambda, baseline, 5)
}

/// Rules D-5 and S-9: a subject is looked at afresh when one more silence would be doubt enough: on a
/// clean link after the first, elsewhere after as many as are rare there; and once.
#[test]
fn a_fresh_look_comes_one_silence_before_a_doubt() {
    let after = |answered: u64, most: u64| {
        let mut baseline = Baseline::default();
        (0..2_000).for_each(|n| baseline.sample(n % most < answered));
        let mut test = Test::after_a_loss(at(100), INCARNATION, 1, at(0));
        let mut silences = 1;
        while !look(&mut test, baseline) {
            assert!(test.lambda(baseline, 5) < evidence::dead_above(5), "it is too late");
            silent(&mut test, 100 * silences, 100 * (silences + 1), 100);
            silences += 1;
        }
        assert!(!look(&mut test, baseline), "once");
        let left = evidence::dead_above(5) - test.lambda(baseline, 5);
        assert!(left > 0.0 && left <= evidence::silence(baseline.used()), "{left}");
        silences
    };
    assert_eq!(after(1, 1), 1);
    assert_eq!(after(9, 10), 3);
    assert_eq!(after(4, 5), 4);
    assert_eq!(after(1, 2), 11);
    let mut asked = Test::on_request(at(0), INCARNATION);
    silent(&mut asked, 0, 1_000, 100);
    assert!(!look(&mut asked, settled()), "whoever began the doubt looks");
    asked.lose(1, at(50), at(150));
    assert!(look(&mut asked, settled()), "a loss of ours is our doubt as well");
    let mut eager = Test::after_a_loss(at(100), INCARNATION, 1, at(0));
    let mut half = Baseline::default();
    (0..100).for_each(|n| half.sample(n % 3 > 0));
    assert!(!look(&mut eager, half));
    (2..9).for_each(|sequence| eager.pinged(at(100), sequence, at(200)));
    assert!(look(&mut eager, half), "what is in flight may be lost all at once");
}

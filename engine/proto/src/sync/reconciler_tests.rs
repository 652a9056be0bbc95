//! Rounds, walks and their limits.

use super::*;
use crate::wire::message::{FRAME, SKETCH_BYTES};
use alloc::collections::BTreeSet;

fn at(ms: u64) -> Instant {
    Instant::ORIGIN + Duration::from_millis(ms)
}

fn id(n: u8) -> MemberId {
    MemberId([n; 16])
}

fn sketch(salt: u64, part: u16, parts: u16) -> SketchHeader {
    SketchHeader { salt: salt.into(), part: part.into(), parts: parts.into() }
}

fn question(from: u8, header: SketchHeader) -> Question {
    let table = Box::new(Sketch::new(header.salt.get()));
    Question { from: id(from), header, table }
}

fn answer(salt: u64, part: u16, parts: u16) -> DifferenceHeader {
    let (salt, part, parts) = (salt.into(), part.into(), parts.into());
    let (size, offered) = (0.into(), 0.into());
    DifferenceHeader { salt, part, parts, size, offered, outcome: 3, reserved: 0 }
}

fn shares(count: usize) -> Vec<u64> {
    let mut rng = fastrand::Rng::with_seed(4);
    (0..count).map(|_| rng.u64(..)).collect()
}

/// Rule A-4: the peer that was asked answers once; nobody else does.
#[test]
fn an_answer_counts_once_and_from_whom_was_asked() {
    let mut reconciler = Reconciler::default();
    assert_eq!(reconciler.answered(at(0), id(1), &answer(7, 0, 1)), Answered::Unasked);
    reconciler.begin(at(0), id(1), 7, at(0));
    assert_eq!(reconciler.answered(at(0), id(1), &answer(7, 0, 1)), Answered::Unasked, "unsent");
    assert_eq!(reconciler.due(at(0)), Some(at(0)));
    let walk = reconciler.begin_walk(at(0));
    assert_eq!(walk.sends, [(id(1), sketch(7, 0, 1))]);
    assert_eq!(reconciler.due(at(0)), None);
    for (from, header) in [(2, answer(7, 0, 1)), (1, answer(8, 0, 1)), (1, answer(7, 0, 2))] {
        assert_eq!(reconciler.answered(at(1), id(from), &header), Answered::Unasked);
    }
    assert_eq!(reconciler.answered(at(1), id(1), &answer(7, 0, 1)), Answered::Ends);
    assert_eq!(reconciler.answered(at(1), id(1), &answer(7, 0, 1)), Answered::Unasked);
}

/// Rule A-6: loss is told from a round that came to nothing.
#[test]
fn an_answer_or_a_record_that_never_came_was_lost() {
    let mut reconciler = Reconciler::default();
    assert!(!reconciler.lost(at(0)));
    reconciler.begin(at(0), id(1), 7, at(0));
    reconciler.begin_walk(at(0));
    assert!(!reconciler.lost(at(999)), "under way");
    assert!(reconciler.lost(at(1_000)), "no answer");

    reconciler.begin(at(1_000), id(1), 8, at(1_000));
    reconciler.begin_walk(at(1_000));
    assert_eq!(reconciler.answered(at(1_001), id(1), &answer(8, 0, 1)), Answered::Ends);
    assert!(reconciler.wants(at(1_001), 5) && reconciler.wants(at(1_001), 6));
    reconciler.came(5);
    assert!(!reconciler.lost(at(1_900)), "under way");
    assert!(reconciler.wants(at(1_950), 7));
    reconciler.begin_walk(at(2_100));
    reconciler.came(7);
    assert!(reconciler.lost(at(2_200)), "one record never came, and a walk forgot it");
    assert!(!reconciler.lost(at(2_300)), "told once");
}

/// Rule A-6: walks take the same share of the time of whoever has few members or many.
#[test]
fn walks_through_few_members_are_frequent() {
    for (members, pause) in [(0, 50), (2_500, 50), (5_000, 100), (10_000, 200), (1_000_000, 200)] {
        let mut reconciler = Reconciler::default();
        reconciler.count(members);
        assert!(reconciler.ask(question(1, sketch(1, 0, 1))));
        assert_eq!(reconciler.due(at(0)), Some(at(0)));
        reconciler.begin_walk(at(0));
        assert!(reconciler.ask(question(1, sketch(2, 0, 1))));
        assert_eq!(reconciler.due(at(1)), Some(at(pause)), "{members} members");
    }
}

/// Rule A-4: of two that find a difference at once the one that is asked first asks no more.
#[test]
fn whoever_is_asked_does_not_ask() {
    let mut reconciler = Reconciler::default();
    reconciler.begin(at(0), id(1), 7, at(30));
    assert_eq!(reconciler.due(at(0)), Some(at(30)));
    assert!(reconciler.ask(question(2, sketch(1, 0, 1))));
    assert_eq!(reconciler.begin_walk(at(1)).sends, [], "another's question changes nothing");
    assert_eq!(reconciler.due(at(1)), Some(at(201)));
    assert!(reconciler.ask(question(1, sketch(2, 0, 1))));
    let walk = reconciler.begin_walk(at(201));
    assert_eq!((walk.sends.len(), walk.questions.len()), (0, 1));
    assert_eq!(reconciler.due(at(201)), None);
}

/// Rule A-4: peers that never answer leave the stream.
#[test]
fn silence_is_noticed() {
    let mut reconciler = Reconciler::default();
    for turn in 0..3 {
        assert!(!reconciler.is_unheard());
        reconciler.begin(at(turn * 1_000), id(1), turn, at(turn * 1_000));
        reconciler.begin_walk(at(turn * 1_000));
    }
    assert!(reconciler.is_unheard());
    assert_eq!(reconciler.answered(at(2_500), id(1), &answer(2, 0, 1)), Answered::Ends);
    assert!(!reconciler.is_unheard());
}

/// Rule A-5: as many parts as the estimate says, no more of which are under way than a window holds;
/// answers move it on.
#[test]
fn parts_follow_the_estimate_and_the_answers() {
    let mut reconciler = Reconciler::default();
    reconciler.begin(at(0), id(1), 7, at(0));
    reconciler.begin_walk(at(0));
    reconciler.divide(at(10), id(1), 7, 34 * A_PART);
    assert!(reconciler.is_busy(at(1_009)) && !reconciler.is_busy(at(1_010)));
    assert_eq!(reconciler.due(at(10)), Some(at(200)), "a walk has its pause");
    let mut walk = reconciler.begin_walk(at(200));
    let parts: Vec<u16> = walk.sends.iter().map(|(_, header)| header.part.get()).collect();
    assert_eq!(parts, (0..32).collect::<Vec<_>>());
    let all = shares(5_000);
    all.iter().for_each(|share| walk.see(*share, false));
    for (_, header) in &walk.sends {
        let of = all.iter().copied().filter(|share| part_of(7, *share, 34) == header.part.get());
        assert_eq!(walk.table(header), Some(&Sketch::of(7, of)));
    }
    assert_eq!(reconciler.due(at(200)), None, "the window is full");
    let answers: Vec<_> = (0..34).map(|part| answer(7, part, 34)).collect();
    assert_eq!(reconciler.answered(at(201), id(1), &answers[33]), Answered::Unasked);
    (0..31).for_each(|part| {
        assert_eq!(reconciler.answered(at(201), id(1), &answers[part]), Answered::Goes);
    });
    let rest: Vec<u16> =
        reconciler.begin_walk(at(400)).sends.iter().map(|(_, header)| header.part.get()).collect();
    assert_eq!(rest, [32, 33]);
    assert_eq!(reconciler.answered(at(401), id(1), &answers[31]), Answered::Goes);
    assert_eq!(reconciler.answered(at(401), id(1), &answers[32]), Answered::Goes);
    assert_eq!(reconciler.answered(at(401), id(1), &answers[33]), Answered::Ends);

    assert_eq!(Reconciler::worthwhile(4_000), 1_500);
    assert_eq!(Reconciler::worthwhile(1_000_000), 15_360);
}

/// Rule A-5: who answers one part after the other, each as late as it may, keeps nobody waiting for
/// longer than all parts may take.
#[test]
fn slow_answers_do_not_keep_others_waiting_for_ever() {
    let mut reconciler = Reconciler::default();
    reconciler.begin(at(0), id(1), 7, at(0));
    reconciler.divide(at(0), id(1), 7, 500 * A_PART);
    let busy = (0..400).take_while(|turn| {
        let now = at(turn * 990);
        let part = reconciler.begin_walk(now).sends.first().map(|(_, header)| header.part);
        let part = part.map_or(0, |part| part.get());
        reconciler.answered(now, id(1), &answer(7, part, 500));
        reconciler.is_busy(now)
    });
    assert_eq!(busy.count(), 17, "sixteen seconds");
}

/// Rule A-6: a walk makes two tables of all members, those of parts for less; the rest waits, and
/// what waits is bounded, of one member more tightly.
#[test]
fn a_walk_does_so_much_and_so_much_waits() {
    let mut reconciler = Reconciler::default();
    let asked = (0..200).filter(|n| reconciler.ask(question(n % 2, sketch(1, 0, 1)))).count();
    assert_eq!(asked, 64, "32 of each");
    let asked = (0..200).filter(|n| reconciler.ask(question(*n, sketch(1, 0, 1)))).count();
    assert_eq!(asked, 32, "96 in all");
    assert_eq!(reconciler.begin_walk(at(0)).questions.len(), 2);
    assert_eq!(reconciler.due(at(1)), Some(at(200)), "the others wait");
    (1..48).for_each(|turn| {
        assert_eq!(reconciler.begin_walk(at(turn * 200)).questions.len(), 2);
    });
    assert_eq!(reconciler.due(at(19_000)), None);
    (0..32).for_each(|part| assert!(reconciler.ask(question(1, sketch(1, part, 32)))));
    assert_eq!(reconciler.begin_walk(at(19_000)).questions.len(), 32);

    let lookup = |share| Lookup { share, from: id(1), why: Why::Wanted };
    assert_eq!((0..10_000).filter(|n| reconciler.look_up(lookup(*n))).count(), 8_192);
    let walk = reconciler.begin_walk(at(19_200));
    assert_eq!(walk.looked_for(5), [lookup(5)]);
    assert!(walk.looked_for(8_192).is_empty());
}

/// Rule A-5: a quarter of the members differ at most, and a sketch that failed may tell half as many
/// again; beyond what parts can tell nothing is worth it.
#[test]
fn what_a_failed_sketch_tells_may_be_too_much_by_half() {
    let mut rng = fastrand::Rng::with_seed(8);
    let streamed = (0..200).filter(|salt| {
        let mut table = Sketch::new(*salt);
        (0..200).for_each(|_| table.add(rng.u64(..)));
        table.estimate() > Reconciler::worthwhile(1_000)
    });
    assert!(streamed.count() <= 1, "200 of 1,000 differ");
    assert_eq!(Reconciler::worthwhile(100), 37);
    assert_eq!(Reconciler::worthwhile(1_000_000), 15_360);
}

/// Rule A-4: what one was asked for is not asked of the next at once.
#[test]
fn a_record_is_wanted_of_one_at_a_time() {
    let mut reconciler = Reconciler::default();
    assert!(reconciler.wants(at(0), 1) && reconciler.wants(at(0), 2));
    assert!(!reconciler.wants(at(999), 1) && reconciler.wants(at(1_000), 1));
    (10..9_000).for_each(|share| assert!(reconciler.wants(at(1_000), share)));
    assert!(reconciler.asked.len() <= MOST_ASKED, "more are asked for, and not remembered");
    reconciler.begin_walk(at(2_000));
    assert!(reconciler.asked.is_empty());
}

/// Rules: a sketch is answered from the members that a walk sees; the youngest of them
/// are told apart.
#[test]
fn a_walk_answers_sketches() {
    let all = shares(500);
    let mut theirs = question(1, sketch(9, 0, 1));
    all[10..].iter().for_each(|share| theirs.table.add(*share));
    let mut many = question(2, sketch(8, 0, 1));
    all[200..].iter().for_each(|share| many.table.add(*share));
    let mut reconciler = Reconciler::default();
    assert!(reconciler.ask(theirs.clone()) && reconciler.ask(many.clone()));
    let mut walk = reconciler.begin_walk(at(0));
    for (n, share) in all[..490].iter().enumerate() {
        walk.see(*share, n < 5);
    }
    walk.close();
    let found = walk.answer(&theirs).expect("twenty differences");
    let set = |shares: &[u64]| shares.iter().copied().collect::<BTreeSet<_>>();
    assert_eq!(set(&found.ours), set(&all[..10]));
    assert_eq!(set(&found.theirs), set(&all[490..]));
    assert!(walk.is_young(all[4]) && !walk.is_young(all[5]));
    let seem = walk.answer(&many).expect_err("two hundred and ten");
    assert!((140..300).contains(&seem), "{seem}");
}

/// Bytes of sketches and of their answers until `left` differences are settled, with parts that are
/// meant to have `a_part` of them.
fn settled(rng: &mut fastrand::Rng, mut left: Vec<u64>, a_part: u32) -> usize {
    let head = FRAME + size_of::<SketchHeader>() + SKETCH_BYTES;
    let answer = FRAME + size_of::<DifferenceHeader>();
    let mut bytes = 0;
    for round in 0.. {
        assert!(round < 8, "{} differences are never settled", left.len());
        if left.is_empty() {
            break;
        }
        let salt = rng.u64(..);
        let whole = Sketch::of(salt, left.iter().copied());
        let (size, tells) = (whole.estimate(), whole.decode().is_some());
        let parts = if tells { 1 } else { parts_of(size, a_part) };
        bytes += if tells { 0 } else { head + answer };
        let mut hidden = Vec::new();
        for part in 0..parts {
            let of_part = left.iter().copied().filter(|share| part_of(salt, *share, parts) == part);
            let of_part: Vec<u64> = of_part.collect();
            bytes += head + answer;
            match Sketch::of(salt, of_part.iter().copied()).decode() {
                Some(found) => bytes += 8 * found.ours.len(),
                None => hidden.extend(of_part),
            }
        }
        left = hidden;
    }
    bytes
}

/// Rule A-5: a thousand differences cost less than 64 KB, whatever the first sketch made of them; for
/// a thousand and more no other size of a part costs much less. (Of a hundred larger ones take a
/// sixth less, but then what goes wrong with a thousand costs a third more.)
#[test]
fn parts_have_the_size_that_costs_least() {
    const RUNS: usize = 300;
    for count in [100, 1_000, 3_000] {
        let mut rng = fastrand::Rng::with_seed(8);
        let mut costs = |a_part| {
            let differences = |rng: &mut fastrand::Rng| (0..count).map(|_| rng.u64(..)).collect();
            let cost = |_| {
                let left = differences(&mut rng);
                settled(&mut rng, left, a_part)
            };
            let mut costs: Vec<usize> = (0..RUNS).map(cost).collect();
            costs.sort_unstable();
            let mean = costs.iter().sum::<usize>() / RUNS;
            std::println!(
                "{count} differences, parts of {a_part}: mean {mean} B, 99 % {} B, most {} B",
                costs[RUNS * 99 / 100],
                costs[RUNS - 1]
            );
            (mean, costs[RUNS * 99 / 100])
        };
        let (mean, rare) = costs(A_PART);
        for a_part in [24, 30, 36, 40, 44, 48, 54, 60] {
            let (other, _) = costs(a_part);
            assert!(
                count < 1_000 || mean <= other + other / 12,
                "{count}: {mean} B, parts of {a_part} {other} B"
            );
        }
        assert!(count != 1_000 || rare < 65_536, "{rare} B of a thousand differences");
    }
}

//! Who lies, floods or repeats itself, and what that costs others.

use super::*;

fn header(salt: u64, outcome: u8) -> DifferenceHeader {
    DifferenceHeader {
        salt: salt.into(),
        part: 0.into(),
        parts: 1.into(),
        size: 1.into(),
        offered: 1.into(),
        outcome,
        reserved: 0,
    }
}

/// Rule A-6: what was made up changes nothing, brings nothing forth and is counted.
#[test]
fn what_is_made_up_comes_to_nothing() {
    let mut pair = Pair::knowing(&records("n", 20));
    pair.quiet(200);
    let digest = pair.nodes[0].table().digest();
    // Answers to questions that nobody asked.
    let offer = [header(1, 3).as_bytes(), &5_u64.to_le_bytes()].concat();
    pair.tell(0, "b", kind::DIFFERENCE, &offer);
    assert_eq!(pair.rejected(0, "difference"), 1);
    // Wants of shares that nobody has.
    let wants: Vec<u8> = (0..100_u64).flat_map(u64::to_le_bytes).collect();
    pair.tell(0, "b", kind::WANT, &wants);
    // Tables that nobody made.
    let header = SketchHeader { salt: 1.into(), part: 0.into(), parts: MOST_PARTS.into() };
    let noise: Vec<u8> = (0..1_056_u32).map(|n| (n * 37 % 251) as u8).collect();
    pair.tell(0, "b", kind::SKETCH, &[header.as_bytes(), &noise].concat());
    let broken = SketchHeader { parts: 0.into(), ..header };
    pair.tell(0, "b", kind::SKETCH, &[broken.as_bytes(), &noise].concat());
    pair.tell(0, "b", kind::SKETCH, &noise[..100]);
    assert_eq!(pair.rejected(0, "decode"), 2);
    pair.pass(500);
    assert_eq!(pair.nodes[0].table().digest(), digest);
    assert_eq!((pair.said(kind::RECORD), pair.said(kind::WANT)), (0, 0));
    assert_eq!(pair.said(kind::DIFFERENCE), 1, "the one table is answered");
    assert_eq!(pair.nodes[0].stats().sketches_failed, 1);
}

/// Rules A-6 and S-7: what one makes us look for is bounded, and nobody else's affair.
#[test]
fn whoever_floods_with_sketches_uses_up_its_own_budget() {
    let mut pair = Pair::differing(&records("n", 20), &[record("c", 0)], &[record("c", 0)]);
    pair.quiet(1_000);
    let sketch = |salt: u64| {
        let header = SketchHeader { salt: salt.into(), part: 0.into(), parts: 1.into() };
        [header.as_bytes(), &Sketch::new(salt).to_bytes()].concat()
    };
    (0..100).for_each(|salt| pair.tell(0, "b", kind::SKETCH, &sketch(salt)));
    assert_eq!(pair.rejected(0, "sketch-budget"), 96);
    let n1 = share(id("n1"), record("n1", 0).hash());
    let wants = [n1.to_le_bytes(); 145].concat();
    (0..20).for_each(|_| pair.tell(0, "b", kind::WANT, &wants));
    assert_eq!(pair.rejected(0, "pull-budget"), 13, "of twenty times 145 shares");
    pair.pass(10);
    assert_eq!(pair.nodes[0].stats().sketches_decoded, 2, "in one walk");
    assert_eq!(pair.said(kind::RECORD), 1, "the same share over and over is one");
    // Another one's questions are answered.
    pair.tell(0, "c", kind::SKETCH, &sketch(7));
    pair.tell(0, "c", kind::WANT, &n1.to_le_bytes());
    pair.pass(400);
    let to_c = |kind| pair.elsewhere.contains(&(Destination::Member(id("c")), kind));
    assert!(to_c(kind::DIFFERENCE) && to_c(kind::RECORD));
}

/// Rule A-6: whoever asks for more than may wait for one receiver gets that, and the rest when it asks
/// again; the others are served meanwhile.
#[test]
fn no_peer_has_all_the_room_of_what_waits() {
    let long = "x".repeat(700);
    let large = |n| signed(&format!("n{n}"), incarnation(0), Lifecycle::Active, &long);
    let many: Vec<SignedRecord> = (0..1_150).map(large).collect();
    // Among so many there are five walks a second.
    let crowd = [records("m", 9_000), vec![record("c", 0)]].concat();
    let mut pair = Pair::differing(&crowd, &many, &[]);
    pair.deaf = true;
    pair.quiet(1_000);
    let shares = many.iter().map(|record| share(record.record().id, record.hash()));
    let shares: Vec<u8> = shares.flat_map(u64::to_le_bytes).collect();
    // A walk serves what came since the one before.
    pair.tell(0, "b", kind::WANT, &shares[..8]);
    pair.pass(1);
    let mut wants = shares.chunks(8 * 145);
    (0..7).for_each(|_| pair.tell(0, "b", kind::WANT, wants.next().unwrap()));
    pair.pass(190);
    pair.tell(0, "b", kind::WANT, wants.next().unwrap());
    pair.tell(0, "c", kind::WANT, &shares[..8]);
    pair.quiet(0);
    pair.pass(100);
    let refused = pair.nodes[0].stats().outbox_refused;
    assert_eq!((pair.said(kind::RECORD), pair.rejected(0, "pull-budget")), (1_024, 0));
    assert!(
        refused >= 126,
        "{refused}: a record that found no room is not offered as a stream either"
    );
    assert!(pair.elsewhere.contains(&(Destination::Member(id("c")), kind::RECORD)));
    pair.quiet(2_000);
    pair.tell(0, "b", kind::WANT, &shares[8 * 1_005..]);
    pair.pass(300);
    assert_eq!(pair.said(kind::RECORD), 145);
    assert_eq!(pair.nodes[0].stats().outbox_refused, refused);
}

/// Rule A-6: where nothing comes of it, sketches become rare.
#[test]
fn a_difference_that_stays_costs_little() {
    let mut pair = Pair::knowing(&records("n", 9));
    pair.deaf = true;
    // A digest that no exchange will ever make equal: of members whom nobody can have.
    for _ in 0..120 {
        pair.say(0, "b", &Ping { sequence: 1.into(), digest: 1.into() });
        pair.pass(1_000);
    }
    let sketches = pair.nodes[0].stats().sketches as usize;
    assert!(sketches >= 3 && !pair.streams.is_empty(), "it is not given up");
    assert!(sketches + pair.streams.len() <= 16, "{sketches} sketches, {}", pair.streams.len());
}

/// Rule A-2: a member that differs whenever a round is due, and answers each as if there were nothing
/// to settle, gets its share of the rounds. The others are asked, each as often.
#[test]
fn a_liar_that_is_always_first_does_not_take_all_rounds() {
    let names = ["c", "d", "e", "liar"];
    let known = names.map(|name| record(name, 0));
    let mut pair = Pair::knowing(&known);
    // Nobody agrees.
    pair.deaf = true;
    let mut rounds = BTreeMap::<&str, usize>::new();
    for tick in 0..2_400_u64 {
        // Twenty times a second, and whatever it says is news.
        pair.say(0, "liar", &Ping { sequence: 1.into(), digest: (1_000 + tick).into() });
        if tick % 20 == 19 {
            for (n, name) in (1..).zip(&names[..3]) {
                pair.say(0, name, &Ping { sequence: 1.into(), digest: (tick * n).into() });
            }
        }
        pair.pass(50);
        for (to, salt) in std::mem::take(&mut pair.asked) {
            let asked = names.iter().find(|name| to == Destination::Member(id(name)));
            let Some(name) = asked else { continue };
            *rounds.entry(name).or_default() += 1;
            // An honest one has something that nobody else would tell; the liar says that it is young.
            let outcome = if *name == "liar" { 2 } else { 3 };
            let answer = DifferenceHeader { offered: 0.into(), ..header(salt, outcome) };
            pair.tell(0, name, kind::DIFFERENCE, answer.as_bytes());
        }
    }
    let all: usize = rounds.values().sum();
    assert!(all >= 60, "within two minutes: {rounds:?}");
    assert!(rounds["liar"] <= all / 4 + 1, "{rounds:?}");
    assert!(names[..3].iter().all(|name| rounds[name] >= all / 5), "{rounds:?}");
}

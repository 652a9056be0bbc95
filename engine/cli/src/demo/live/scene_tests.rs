//! Keys and events, without a terminal and without a mesh.

use std::time::Duration;

use super::keys::Wish;
use super::scene::{Act, Goal, MOST_AGENTS, Reached, Scene};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn scene(count: usize) -> Scene {
    Scene::new((1..=count).map(|number| format!("demo-{number}")))
}

/// Does what a key asks for at a time.
fn press(scene: &mut Scene, now: u64, wish: Wish) -> Option<Act> {
    let act = scene.key(wish);
    if let Some(act) = &act {
        scene.began(ms(now), act);
    }
    act
}

fn see(scene: &mut Scene, now: u64, views: usize, of: usize) -> bool {
    scene.see(ms(now), |_, _| Reached { views, of })
}

#[test]
fn every_key_acts_on_whom_is_selected() {
    let mut scene = scene(3);
    assert_eq!(scene.selected(), "demo-3");
    let node = || "demo-3".to_owned();
    for (wish, act) in [
        (Wish::Drain, Act::Drain(node())),
        (Wish::Drain, Act::Resume(node())),
        (Wish::Rotate, Act::Rotate(node())),
        (Wish::Partition, Act::Cut(node())),
        (Wish::Partition, Act::Connect(node())),
        (Wish::Add, Act::Add("demo-4".into())),
        (Wish::Leave, Act::Leave(node())),
    ] {
        assert_eq!(press(&mut scene, 0, wish), Some(act));
    }
    assert_eq!(scene.selected(), "demo-4", "who moved up to its place");
    assert_eq!(press(&mut scene, 0, Wish::Next), None);
    assert_eq!(scene.selected(), "demo-1");
    assert_eq!(press(&mut scene, 0, Wish::Previous), None);
    assert_eq!(press(&mut scene, 0, Wish::Kill), Some(Act::Kill("demo-4".into())));
    assert_eq!(scene.selected(), "demo-2");
    assert_eq!(press(&mut scene, 0, Wish::Add), Some(Act::Add("demo-5".into())), "no name twice");
    assert_eq!(press(&mut scene, 0, Wish::Quit), Some(Act::Quit));
}

#[test]
fn a_kill_is_told_with_the_first_and_the_last_view() {
    let mut scene = scene(4);
    press(&mut scene, 1_000, Wish::Kill);
    assert!(scene.is_waiting());
    assert!(see(&mut scene, 2_234, 0, 3));
    let told = scene.lines(ms(2_234), 9);
    assert_eq!(told, ["demo-4 was killed: gone from 0 of 3 views so far, 1200 ms"]);
    assert!(see(&mut scene, 3_500, 1, 3));
    assert!(!see(&mut scene, 3_501, 1, 3), "nothing new");
    assert!(see(&mut scene, 4_275, 3, 3));
    assert!(!scene.is_waiting());
    let told = scene.lines(ms(60_000), 9);
    let expected =
        "demo-4 was killed: first missed after 2500 ms, gone from all 3 views after 3275 ms";
    assert_eq!(told, [expected]);
    // What happens later is another story.
    assert!(!see(&mut scene, 9_000, 0, 3));
    assert_eq!(scene.lines(ms(9_000), 9), [expected]);
}

#[test]
fn every_act_has_a_story_of_its_own_words() {
    let story = |wishes: &[Wish]| {
        let mut scene = scene(2);
        for wish in wishes {
            press(&mut scene, 0, *wish);
        }
        let mut goals = Vec::new();
        scene.see(ms(40), |node, goal| {
            goals.push((node.to_owned(), goal));
            Reached { views: 1, of: 1 }
        });
        (goals.remove(0).1, scene.lines(ms(50), 1).remove(0))
    };
    for (wishes, goal, words) in [
        (
            &[Wish::Leave][..],
            Goal::Gone,
            "demo-2 said goodbye: first missed after 40 ms, gone from",
        ),
        (&[Wish::Add], Goal::Alive, "demo-3 was started: first seen after 40 ms, Alive in"),
        (&[Wish::Partition], Goal::Gone, "demo-2 was cut off: first missed after 40 ms"),
        (
            &[Wish::Partition, Wish::Partition],
            Goal::Alive,
            "demo-2 was connected again: first seen",
        ),
        (&[Wish::Drain], Goal::Draining, "demo-2 drains: first known after 40 ms, known in"),
        (&[Wish::Drain, Wish::Drain], Goal::Active, "demo-2 takes work again: first known after"),
        (&[Wish::Rotate], Goal::Papers, "demo-2 shows another certificate: first known after 40"),
    ] {
        let (found, told) = story(wishes);
        assert_eq!(found, goal, "{told}");
        assert!(told.starts_with(words), "{told}");
        assert!(told.ends_with("the only other view after 40 ms"), "{told}");
    }
}

#[test]
fn a_story_ends_when_another_one_of_its_agent_begins() {
    let mut scene = scene(3);
    press(&mut scene, 100, Wish::Partition);
    see(&mut scene, 200, 1, 2);
    press(&mut scene, 400, Wish::Partition);
    assert!(scene.is_waiting());
    see(&mut scene, 430, 2, 2);
    assert!(!scene.is_waiting());
    let told = scene.lines(ms(999), 9);
    assert_eq!(
        told,
        [
            "demo-3 was connected again: first seen after 30 ms, Alive in all 2 views after 30 ms",
            "demo-3 was cut off: first missed after 100 ms, overtaken after 300 ms",
        ]
    );
    assert_eq!(scene.lines(ms(999), 1).len(), 1, "as many as there is room for");
}

#[test]
fn what_would_show_nothing_is_refused_with_a_reason() {
    let refused = |scene: &mut Scene, wish: Wish, why: &str| {
        assert_eq!(press(scene, 0, wish), None);
        assert!(scene.lines(ms(0), 9)[0].contains(why), "{wish:?}");
        press(scene, 0, Wish::Next);
        assert!(!scene.lines(ms(0), 9).iter().any(|line| line.contains(why)), "told once");
    };
    let mut alone = scene(1);
    for wish in [Wish::Kill, Wish::Leave, Wish::Partition] {
        refused(&mut alone, wish, "nobody else is left");
    }
    let mut cut = scene(3);
    press(&mut cut, 0, Wish::Partition);
    assert!(cut.is_cut("demo-3") && !cut.is_cut("demo-1"));
    assert_eq!(cut.key(Wish::Leave), None);
    refused(&mut cut, Wish::Add, "streams are down");
    let mut full = scene(MOST_AGENTS);
    refused(&mut full, Wish::Add, "no more agents");
    full.failed("the port is taken".into());
    assert_eq!(full.lines(ms(0), 9), ["the port is taken"]);
}

use hyperscale_tests::World;
use mesh_gossip_proto::{Detector, Event, MemberTable};
use std::time::Duration;
#[test]
fn parted() {
    for (nodes, left_share) in
        [(3usize, 1usize), (5, 2), (16, 8), (16, 5), (64, 6), (128, 64), (128, 13)]
    {
        for secs in [30u64, 120] {
            let seeds = if nodes > 100 { 2 } else { 6 };
            for seed in 0..seeds {
                let mut world: World = World::seeded(seed)
                    .configured(|c| c.detector = Detector::Observers)
                    .nodes(nodes);
                world.run_until(Duration::from_secs(5), World::converged);
                world.run_for(Duration::from_secs(60));
                let l: Vec<usize> = (0..left_share).collect();
                let r: Vec<usize> = (left_share..nodes).collect();
                world.network.part(&l, &r);
                let t0 = world.now();
                let mut out = None;
                let mut i = 0;
                while i < secs * 4 {
                    world.run_for(Duration::from_millis(250));
                    i += 1;
                    if out.is_none()
                        && world.node(0).table().counts().present() == left_share
                        && world.node(nodes - 1).table().counts().present() == nodes - left_share
                    {
                        out = Some(world.now().since(t0));
                    }
                }
                world.network.heal();
                let t1 = world.now();
                let mut healed = None;
                for _ in 0..240 {
                    world.run_for(Duration::from_millis(250));
                    if world.converged() {
                        healed = Some(world.now().since(t1));
                        break;
                    }
                }
                if seed < 2 || healed.is_none() || healed > Some(Duration::from_secs(10)) {
                    println!(
                        "n {nodes}/{left_share} cut {secs} seed {seed}: out {out:?} healed {healed:?} counts {:?}",
                        world.node(0).table().counts()
                    );
                }
            }
        }
    }
}

#[test]
fn five() {
    let nodes = 64;
    let left_share = 6;
    let mut world: World =
        World::seeded(0).configured(|c| c.detector = Detector::Observers).nodes(nodes);
    world.run_until(Duration::from_secs(5), World::converged);
    world.run_for(Duration::from_secs(60));
    let l: Vec<usize> = (0..left_share).collect();
    let r: Vec<usize> = (left_share..nodes).collect();
    world.network.part(&l, &r);
    let t0 = world.now();
    world.run_for(Duration::from_secs(30));
    world.network.heal();
    println!("heal");
    world.run_for(Duration::from_secs(60));
    let mut bad = std::collections::BTreeSet::new();
    for a in 0..nodes {
        for b in 0..nodes {
            let s = world.sees(a, b);
            if s != Some(mesh_gossip_proto::State::Alive) {
                println!("{a} sees {b} as {s:?}");
                bad.insert(b);
            }
        }
    }
    for t in world.told() {
        if t.at > t0 && !matches!(t.event, Event::RoundTrip { .. }) {
            let (what, m) = match &t.event {
                Event::Suspected { record, .. } => {
                    ("suspected", record.record().metadata.node_id.clone())
                }
                Event::Recovered { record, .. } => {
                    ("recovered", record.record().metadata.node_id.clone())
                }
                Event::Left { record, .. } => ("left", record.record().metadata.node_id.clone()),
                Event::Unreachable(r) => ("unreachable", r.record().metadata.node_id.clone()),
                Event::Refuted(_) => ("refuted", format!("n{}", t.by)),
                Event::Updated(r) => ("updated", r.record().metadata.node_id.clone()),
                _ => ("", String::new()),
            };
            if bad.iter().any(|b| m == format!("n{b}")) && (t.by < 6 || what == "refuted") {
                println!("{:?} n{} {what} {m}", t.at.since(t0), t.by);
            }
        }
    }
}

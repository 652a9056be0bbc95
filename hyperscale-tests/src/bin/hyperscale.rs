//! `hyperscale sim`: a mesh in virtual time, from the command line.
//!
//! Nodes start together and find each other through the first one, some are killed without a
//! goodbye, the survivors remove them. Everything follows from the seed; the trace hash shows that
//! a run was repeated bit for bit.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use hyperscale_tests::World;
use mesh_gossip_proto::{Event, Instant, LeftReason};

/// A cluster that has not formed by then never will.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Parser)]
#[command(name = "hyperscale", version, about = "Simulations of mesh-gossip in virtual time")]
struct Line {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Forms a mesh, kills some members, waits for their removal.
    Sim(Sim),
}

#[derive(Args, Clone)]
struct Sim {
    /// Nodes; the first one is everybody's seed and is never killed.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(2..=2_000))]
    nodes: u16,
    /// What everything follows from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Members killed at one instant, ten seconds after the mesh has formed.
    #[arg(long, default_value_t = 0)]
    crash: u16,
    /// Probability that a datagram is lost, once the mesh has formed: 0.05 is 5 %.
    #[arg(long, default_value_t = 0.0, value_parser = probability)]
    loss: f64,
    /// Virtual seconds after the mesh has formed.
    #[arg(long, default_value_t = 60)]
    duration: u64,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

fn probability(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|error| format!("{error}"))?;
    if (0.0..1.0).contains(&value) {
        Ok(value)
    } else {
        Err("must be at least 0 and below 1".into())
    }
}

/// What a run showed.
struct Outcome {
    /// From the start until everybody held everybody alive.
    converged: Option<Duration>,
    /// From the kill to the first and to the last removal in any surviving view.
    detection: Option<(Duration, Duration)>,
    /// Killed members out of every surviving view.
    detected: usize,
    /// Deaths told of members that were not killed.
    false_deaths: usize,
    datagrams: u64,
    trace_hash: u64,
}

fn main() -> ExitCode {
    let Verb::Sim(sim) = Line::parse().verb;
    if sim.crash >= sim.nodes {
        eprintln!("--crash {}: at most {} of {} nodes", sim.crash, sim.nodes - 1, sim.nodes);
        return ExitCode::FAILURE;
    }
    let outcome = run(&sim);
    let passed = outcome.converged.is_some() && outcome.detected == usize::from(sim.crash);
    if sim.json {
        println!("{}", json(&sim, &outcome, passed));
    } else {
        print(&sim, &outcome, passed);
    }
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(sim: &Sim) -> Outcome {
    let mut world: World = World::seeded(sim.seed).nodes(sim.nodes.into());
    let converged = until_converged(&mut world);
    let mut outcome = Outcome {
        converged,
        detection: None,
        detected: 0,
        false_deaths: 0,
        datagrams: 0,
        trace_hash: 0,
    };
    if converged.is_some() {
        world.network.loss = sim.loss;
        let duration = Duration::from_secs(sim.duration);
        let before = duration.min(Duration::from_secs(10));
        world.run_for(before);
        let killed = world.now();
        let victims: Vec<usize> = (sim.nodes - sim.crash..sim.nodes).map(usize::from).collect();
        for victim in &victims {
            world.crash(*victim);
        }
        world.run_for(duration.saturating_sub(before));
        judge(&world, &victims, killed, &mut outcome);
    }
    outcome.datagrams = world.datagrams();
    outcome.trace_hash = world.trace_hash();
    outcome
}

/// Steps of a millisecond until the mesh has formed; `None` when it does not.
fn until_converged(world: &mut World) -> Option<Duration> {
    while world.now().since(Instant::ORIGIN) < PATIENCE {
        world.run_for(Duration::from_millis(1));
        if world.converged() {
            return Some(world.now().since(Instant::ORIGIN));
        }
    }
    None
}

fn judge(world: &World, victims: &[usize], killed: Instant, outcome: &mut Outcome) {
    let dead: BTreeSet<_> = victims.iter().map(|victim| world.id(*victim)).collect();
    let mut times = Vec::new();
    for told in world.told() {
        let Event::Left { record, reason: LeftReason::Failed } = &told.event else { continue };
        if told.at >= killed && dead.contains(&record.record().id) {
            times.push(told.at.since(killed));
        } else {
            outcome.false_deaths += 1;
        }
    }
    outcome.detection = times.iter().min().copied().zip(times.iter().max().copied());
    let survivors = world.running();
    let gone = |victim: &&usize| {
        survivors.iter().all(|survivor| {
            !world.sees(*survivor, **victim).is_some_and(|state| state.is_present())
        })
    };
    outcome.detected = victims.iter().filter(gone).count();
}

fn replay(sim: &Sim) -> String {
    format!(
        "cargo run --release -p hyperscale-tests --bin hyperscale -- sim --nodes {} --seed {} \
         --crash {} --loss {} --duration {}",
        sim.nodes, sim.seed, sim.crash, sim.loss, sim.duration
    )
}

fn ms(span: Duration) -> f64 {
    (span.as_secs_f64() * 1e6).round() / 1e3
}

fn json(sim: &Sim, outcome: &Outcome, passed: bool) -> String {
    serde_json::json!({
        "nodes": sim.nodes,
        "seed": sim.seed,
        "detector": "lifeguard",
        "loss": sim.loss,
        "crash": sim.crash,
        "duration_s": sim.duration,
        "converged_ms": outcome.converged.map(ms),
        "detection_first_ms": outcome.detection.map(|(first, _)| ms(first)),
        "detection_last_ms": outcome.detection.map(|(_, last)| ms(last)),
        "detected": outcome.detected,
        "missed": usize::from(sim.crash) - outcome.detected,
        "false_deaths": outcome.false_deaths,
        "datagrams": outcome.datagrams,
        "trace_hash": format!("{:016x}", outcome.trace_hash),
        "replay": replay(sim),
        "pass": passed,
    })
    .to_string()
}

fn print(sim: &Sim, outcome: &Outcome, passed: bool) {
    let shown =
        |span: Option<Duration>| span.map_or("never".into(), |span| format!("{} ms", ms(span)));
    println!("seed          {}", sim.seed);
    println!("replay        {}", replay(sim));
    println!("converged     {}", shown(outcome.converged));
    if sim.crash > 0 {
        println!("first removal {}", shown(outcome.detection.map(|(first, _)| first)));
        println!("last removal  {}", shown(outcome.detection.map(|(_, last)| last)));
        println!("detected      {} of {}", outcome.detected, sim.crash);
    }
    println!("false deaths  {}", outcome.false_deaths);
    println!("datagrams     {}", outcome.datagrams);
    println!("trace hash    {:016x}", outcome.trace_hash);
    println!("{}", if passed { "pass" } else { "FAIL" });
}

//! A flood of handshakes against a living mesh (rules S-6 and S-7).

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use mesh_gossip::link::stats::LinkStats;
use mesh_gossip::options::{Delivery, EngineOptions};
use mesh_gossip::proto::Stats;
use mesh_gossip::{Agent, Engine};

use crate::mesh::agents::{
    Tally, every_join_is_told, is_at_rest, links, nobody_was_lost, sees, stats, tally,
};
use crate::mesh::knocking::{Knock, Knocker, spoofed};
use crate::mesh::{Authority, Stage, alone_on_both_backends, until};

const AGENTS: usize = 16;
/// First flights, each from an address of its own that will never answer.
const INITS: u32 = 50_000;
/// The flood outlasts every wait for the newcomer, which it must not end before.
const MOST: u32 = 4 * INITS;
/// They come so many at a time, and so often: five thousand a second.
const WAVE: u32 = 50;
const PAUSE: Duration = Duration::from_millis(10);
/// Handshakes to their end, under certificates of somebody else's authority.
const FOREIGN: usize = 2_000;
const KNOCKERS: usize = 4;

/// Nobody loses anybody, the victim spends no more than its budget and holds no more than its
/// places, and somebody with a certificate of the mesh gets in by the victim all the while.
#[test]
fn a_flood_costs_a_tenth_of_a_core_and_nobody_is_lost() {
    alone_on_both_backends(|stage| {
        let authority = Authority::of("flooded");
        let mesh = Mesh::of(stage, &authority);
        until("16 of 16 in every view", || mesh.agents.iter().all(|agent| sees(agent, AGENTS)));
        until("all handshakes are over", || {
            mesh.agents.iter().all(|agent| is_at_rest(agent, AGENTS))
        });
        every_join_is_told(&mesh.agents);
        let before: Vec<Stats> = mesh.agents.iter().map(stats).collect();
        // The span of time contains both looks at the books, or a budget would seem overdrawn.
        let begun = Instant::now();
        let quiet = links(mesh.victim());
        let cpu = mesh.cpu();

        let (victim, other) = (mesh.victim().local_address(), mesh.agents[1].local_address());
        let foreign = Authority::of("flooded");
        let knocker = Knocker::of(&foreign, &authority, "intruder");
        let mut newcomer = None;
        let is_in = AtomicBool::new(false);
        let outcomes = thread::scope(|scope| {
            let flood = scope.spawn(|| flood(&knocker.hello(), victim, &is_in));
            let foreign = scope.spawn(|| knock(&knocker, [victim, other]));
            sleep(Duration::from_secs(1));
            newcomer = Some(mesh.newcomer(&authority));
            until("a member gets in", || mesh.agents.iter().all(|agent| sees(agent, AGENTS + 1)));
            assert!(!flood.is_finished(), "in the middle of the flood");
            is_in.store(true, Ordering::Relaxed);
            flood.join().unwrap();
            foreign.join().unwrap()
        });
        let spent = mesh.cpu().zip(cpu).map(|(after, before)| after - before);
        let after = links(mesh.victim());
        let elapsed = begun.elapsed();
        report(stage, &outcomes, &quiet, &after, elapsed, spent);
        bounded(&quiet, &after, elapsed);
        assert!(after.retries_out > 1_000 && after.cookies > 0, "{after:?}");
        assert!(outcomes.get("Finished").is_some_and(|count| *count > FOREIGN / 4), "{outcomes:?}");
        for agent in &mesh.agents[..2] {
            let refused = &links(agent).handshake_failures;
            assert!(refused.contains_key("unknown-ca"), "{refused:?}");
        }
        until("nothing is left of it", || links(mesh.victim()).half_open == 0);
        let doubted = nobody_was_lost(&mesh.agents, &before);
        println!("{:?}: doubted during the flood: {doubted}", stage.backend);
        // How late answers are is the machine's affair; that none is lost to a session is ours.
        for agent in &mesh.agents[..AGENTS] {
            let doubts = links(agent).doubts;
            let spoilt = ["refused", "unknown-session"].map(|cause| doubts.get(cause).copied());
            assert_eq!(spoilt, [None, None], "{}: {doubts:?}", agent.node_id());
        }
        for agent in &mesh.agents {
            let mut told = Tally::default();
            until("the newcomer is told", || {
                told.add(&tally(agent));
                told.joined > 0
            });
            let told = Tally { doubted: 0, ..told };
            assert_eq!(told, Tally { joined: 1, ..Tally::default() }, "{}", agent.node_id());
        }
    });
}

/// Rule S-7: processor time by the model, and places.
fn bounded(before: &LinkStats, after: &LinkStats, elapsed: Duration) {
    let (granted, elapsed) = (after.answering_us - before.answering_us, elapsed.as_micros() as u64);
    assert!(granted <= 102_000 + elapsed / 10, "{granted} µs in {elapsed} µs");
    assert!(after.half_open_peak <= 1_024, "{after:?}");
    assert!(after.sessions <= 2 * AGENTS as u64, "{after:?}");
}

/// Sixteen agents: the victim on an engine of its own, the rest on another.
struct Mesh {
    agents: Vec<Agent>,
    engine: Engine,
    /// The victim's thread, where it can be told from others.
    thread: Option<String>,
}

/// Threads are told apart by who was there before.
static STARTING: Mutex<()> = Mutex::new(());

impl Mesh {
    fn of(stage: &Stage, authority: &Authority) -> Self {
        let options =
            EngineOptions { backend: stage.backend, shards: Some(1), ..EngineOptions::default() };
        let (engine, alone, thread) = {
            let _one = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
            let engine = Engine::start(options).unwrap();
            let before = shard_threads();
            let alone = Engine::start(options).unwrap();
            let mut new = shard_threads();
            new.retain(|thread| !before.contains(thread));
            (engine, alone, new.pop().filter(|_| new.is_empty()))
        };
        let mut agents: Vec<Agent> = Vec::new();
        for number in 0..AGENTS {
            let engine = if number == 0 { &alone } else { &engine };
            let seeds = agents.first().map(|a| a.local_address().to_string());
            agents.push(start(engine, authority, &format!("member-{number}"), seeds));
        }
        Self { agents, engine, thread }
    }

    fn victim(&self) -> &Agent {
        &self.agents[0]
    }

    /// A further member that knows nobody but the victim.
    fn newcomer(&self, authority: &Authority) -> Agent {
        let seed = self.victim().local_address().to_string();
        start(&self.engine, authority, "newcomer", Some(seed))
    }

    /// Processor time of the victim's thread so far.
    fn cpu(&self) -> Option<Duration> {
        let path = format!("/proc/self/task/{}/schedstat", self.thread.as_ref()?);
        let text = std::fs::read_to_string(path).ok()?;
        Some(Duration::from_nanos(text.split_whitespace().next()?.parse().ok()?))
    }
}

fn shard_threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let is_shard = |task: &std::fs::DirEntry| {
        let name = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        name.starts_with("mesh-shard")
    };
    tasks.filter(is_shard).map(|task| task.file_name().to_string_lossy().into_owned()).collect()
}

fn start(engine: &Engine, authority: &Authority, name: &str, seed: Option<String>) -> Agent {
    let mut options = authority.options(name, "worker");
    options.control = None;
    options.events = Delivery::Immediate;
    options.seeds = seed.into_iter().collect();
    Agent::start(engine, options).unwrap()
}

/// A ClientHello from very many addresses, as another attempt each time: until the newcomer is in,
/// but no less than so many, and no more than [`MOST`].
fn flood(hello: &[u8], victim: SocketAddr, is_in: &AtomicBool) {
    let begun = Instant::now();
    let mut init = hello.to_vec();
    for n in 0..MOST {
        if n >= INITS && is_in.load(Ordering::Relaxed) {
            return;
        }
        init[24..32].copy_from_slice(&u64::from(n).to_le_bytes());
        let socket = UdpSocket::bind((spoofed(n), 0)).unwrap();
        socket.send_to(&init, victim).unwrap();
        if n % WAVE == WAVE - 1 {
            sleep((PAUSE * (n / WAVE)).saturating_sub(begun.elapsed()));
        }
    }
}

/// Foreign handshakes by turns against each victim; how they ended.
fn knock(knocker: &Knocker, victims: [SocketAddr; 2]) -> BTreeMap<String, usize> {
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(BTreeMap::new());
    let work = || {
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= FOREIGN {
                return;
            }
            let from = spoofed(MOST + n as u32);
            let outcome: Knock = knocker.knock(from, victims[n % 2], n as u64);
            *outcomes.lock().unwrap().entry(format!("{outcome:?}")).or_default() += 1;
        }
    };
    thread::scope(|scope| (0..KNOCKERS).for_each(|_| drop(scope.spawn(work))));
    outcomes.into_inner().unwrap()
}

fn report(
    stage: &Stage,
    outcomes: &BTreeMap<String, usize>,
    before: &LinkStats,
    after: &LinkStats,
    elapsed: Duration,
    spent: Option<Duration>,
) {
    println!(
        "{:?}: {INITS} INITs and {FOREIGN} foreign handshakes {outcomes:?} in {elapsed:?}; \
         granted {} µs, thread {spent:?}; half-open peak {}, RETRY {}, cookies {}, worthless {:?}, \
         dropped {:?}, failed {:?}",
        stage.backend,
        after.answering_us - before.answering_us,
        after.half_open_peak,
        after.retries_out,
        after.cookies,
        after.worthless_tokens,
        after.dropped,
        after.handshake_failures,
    );
}

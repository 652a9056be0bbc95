//! What an agent costs that has nothing to do: datagrams, bytes, processor, memory.
//!
//! `cargo run --release -p mesh-gossip-benches --bin idle -- --nodes 32 --seconds 60`
//!
//! All agents live in this process, on loopback, at default settings, with certificates of an
//! authority in memory; the first is everybody's seed. The method:
//!
//! 1. *Converged*: from the first start call until every view holds every agent Alive.
//! 2. *Settled*: until nothing waits to be told and, for five seconds, no more handshakes began
//!    than the looks at random members explain: one an agent and minute, counted twice. Until then
//!    agents meet their ring neighbours and make eight acquaintances each. When `--settle` ends
//!    first, what is left of it is measured too, and `settled_ms` is null;
//!    `handshake_bytes_per_s` tells how much that was.
//! 3. *Measured* for `--seconds`: counters of every agent before and after.
//!
//! Datagrams and bytes are those sent: each is received by one agent of the same process, so that
//! as many arrive. `bytes_per_s` is UDP payload; 20 bytes of IPv4 and 8 of UDP are added in
//! `bytes_with_headers_per_s`. Datagrams are counted by the shards, handshakes included.
//!
//! The processor's time is that of the process (`/proc/self/stat`, user and system, in ticks of
//! 10 ms) less that of the measuring thread. The kernel delivers a loopback datagram on its
//! sender's account, so that sending and receiving are both in it. Memory is `VmRSS` after the
//! span, less `VmRSS` when the engine ran and no agent did; the engine's own share is told apart.
//! Both are divided by the number of agents.
//!
//! Nobody dies here: every suspicion since the first start is a false one. The views are looked at
//! every 250 ms from convergence to the end.
//!
//! Invariant: the exit code is 0 only if every view was complete at every look and nobody was ever
//! suspected; with `--json` the last line is one object, also on failure.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use clap::{Parser, ValueEnum};
use mesh_gossip::bootstrap::{BootstrapError, CaValidity, CertificateAuthority, Subject};
use mesh_gossip::options::{
    Advertise, AgentOptions, BackendChoice, Delivery, PeerLabels, TlsOptions, UpkeepOptions,
};
use mesh_gossip::proto::Config;
use mesh_gossip::{Agent, AgentError, Engine, EngineOptions, Inspection, StartError};
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CLUSTER: &str = "idle";
/// The authority dies with the process.
const VALIDITY: Duration = Duration::from_secs(86_400);
const CONVERGE_LIMIT: Duration = Duration::from_secs(60);
const CONVERGE_LOOK: Duration = Duration::from_millis(2);
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// So long there are no handshakes but those that never end.
const CALM: Duration = Duration::from_secs(5);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// IPv4 and UDP.
const HEADER_BYTES: f64 = 28.0;
/// `USER_HZ`, which is 100 wherever Linux runs on x86 or ARM.
const TICKS_PER_S: f64 = 100.0;

/// Measures what agents cost that have nothing to do.
#[derive(Parser, Debug)]
struct Args {
    /// Agents to start.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(2..=4_096))]
    nodes: u16,
    /// Seconds to measure.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Seconds that sessions may take to come about before the measurement.
    #[arg(long, default_value_t = 45)]
    settle: u64,
    /// Datagram backend.
    #[arg(long, value_enum, default_value_t = Io::Auto)]
    io: Io,
    /// Shard threads.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    shards: u16,
    /// Ends with one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Io {
    Auto,
    Uring,
    Mmsg,
}

/// Why nothing was measured.
#[derive(Debug)]
enum IdleError {
    Mint(BootstrapError),
    Start(StartError),
    Inspect(AgentError),
    NotConverged { complete: usize },
    Proc(&'static str),
}

impl std::fmt::Display for IdleError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mint(error) => write!(f, "cannot mint certificates: {error}"),
            Self::Start(error) => error.fmt(f),
            Self::Inspect(error) => write!(f, "an agent does not tell its counters: {error}"),
            Self::NotConverged { complete } => write!(
                f,
                "after {CONVERGE_LIMIT:?} only {complete} views are complete; try fewer --nodes"
            ),
            Self::Proc(file) => write!(f, "{file} cannot be read or does not say what is needed"),
        }
    }
}

impl std::error::Error for IdleError {}

impl From<AgentError> for IdleError {
    fn from(error: AgentError) -> Self {
        Self::Inspect(error)
    }
}

/// What the looks at the views found.
#[derive(Clone, Copy, Debug)]
struct Looks {
    count: u64,
    /// Fewest complete views at any look.
    complete_min: usize,
}

/// Totals over all agents at one moment.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    datagrams: u64,
    bytes: u64,
    handshake_bytes: u64,
    opened: u64,
    syscalls: u64,
    suspicions: u64,
    sessions: u64,
    /// Handshakes begun.
    dials: u64,
    /// Handshakes and updates under way.
    pending: u64,
}

/// Everything that was found.
#[derive(Debug)]
struct Measured {
    backend: &'static str,
    converged: Duration,
    settled: Option<Duration>,
    span: Duration,
    before: Totals,
    after: Totals,
    cpu: Duration,
    engine_rss_bytes: u64,
    agents_rss_bytes: u64,
    looks: Looks,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let measured = measure(&args);
    match &measured {
        Ok(measured) => tell(&args, measured),
        Err(error) => eprintln!("error: {error}"),
    }
    let report = measured.as_ref().map_or_else(
        |error| json!({ "ok": false, "nodes": args.nodes, "error": error.to_string() }),
        |measured| report(&args, measured),
    );
    if args.json {
        println!("{report}");
    }
    if report["ok"] == true { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

fn measure(args: &Args) -> Result<Measured, IdleError> {
    let identities = mint(args.nodes)?;
    let bare = rss_bytes()?;
    let backend = match args.io {
        Io::Auto => BackendChoice::Auto,
        Io::Uring => BackendChoice::Uring,
        Io::Mmsg => BackendChoice::Mmsg,
    };
    let options =
        EngineOptions { backend, shards: Some(args.shards.into()), ..EngineOptions::default() };
    let engine = Engine::start(options).map_err(IdleError::Start)?;
    let with_engine = rss_bytes()?;

    let started = Instant::now();
    let agents = start(&engine, identities)?;
    let converged = converge(&agents, started)?;
    println!("{} agents converged after {} ms", agents.len(), converged.as_millis());

    let mut looks = Looks { count: 0, complete_min: agents.len() };
    let limit = Instant::now() + Duration::from_secs(args.settle);
    let settled = settle(&agents, usize::from(args.shards), started, limit, &mut looks)?;

    let shards = usize::from(args.shards);
    let before = totals(&agents, shards)?;
    let cpu_before = cpu()?;
    let begun = Instant::now();
    let end = begun + Duration::from_secs(args.seconds);
    while Instant::now() < end {
        look(&agents, &mut looks);
        std::thread::sleep(LOOK_EVERY.min(end.saturating_duration_since(Instant::now())));
    }
    let span = begun.elapsed();
    let cpu = cpu()?.saturating_sub(cpu_before);
    let after = totals(&agents, shards)?;
    look(&agents, &mut looks);
    let measured = Measured {
        backend: engine.backend().as_str(),
        converged,
        settled,
        span,
        before,
        after,
        cpu,
        engine_rss_bytes: with_engine.saturating_sub(bare),
        agents_rss_bytes: rss_bytes()?.saturating_sub(with_engine),
        looks,
    };
    drop(agents);
    engine.shutdown();
    Ok(measured)
}

fn mint(nodes: u16) -> Result<Vec<(String, TlsOptions)>, IdleError> {
    let now = SystemTime::now();
    let authority = CertificateAuthority::create("idle.local", CLUSTER, now, CaValidity::default())
        .map_err(IdleError::Mint)?;
    (1..=nodes)
        .map(|number| {
            let node = format!("idle-{number}");
            let subject = Subject::new(&node, "worker");
            let issued = authority.issue(&subject, now, VALIDITY).map_err(IdleError::Mint)?;
            Ok((node, issued.tls_options(&authority)))
        })
        .collect()
}

fn start(engine: &Engine, identities: Vec<(String, TlsOptions)>) -> Result<Vec<Agent>, IdleError> {
    let mut agents: Vec<Agent> = Vec::with_capacity(identities.len());
    for (node_id, tls) in identities {
        let seeds = agents.first().map(|first| first.local_address().to_string());
        let options = AgentOptions {
            protocol: Config::new(CLUSTER),
            node_id,
            role: "worker".into(),
            region: "local".into(),
            mesh_version: env!("CARGO_PKG_VERSION").into(),
            http3_support: false,
            labels: [("rack".to_owned(), "r1".to_owned())].into(),
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            advertise: Advertise::default(),
            seeds: seeds.into_iter().collect(),
            seed_file: None,
            metadata_refresh: Duration::from_secs(30),
            events: Delivery::default(),
            tls,
            control: None,
            peer_labels: PeerLabels::Auto,
            upkeep: UpkeepOptions::default(),
        };
        agents.push(Agent::start(engine, options).map_err(IdleError::Start)?);
    }
    Ok(agents)
}

/// Views that hold every agent Alive and nobody else present.
fn complete(agents: &[Agent]) -> usize {
    let is_complete = |agent: &&Agent| {
        let counts = agent.view().view.counts();
        counts.alive == agents.len() && counts.present() == agents.len()
    };
    agents.iter().filter(is_complete).count()
}

fn look(agents: &[Agent], looks: &mut Looks) {
    looks.count += 1;
    looks.complete_min = looks.complete_min.min(complete(agents));
}

fn converge(agents: &[Agent], started: Instant) -> Result<Duration, IdleError> {
    loop {
        let complete = complete(agents);
        let took = started.elapsed();
        if complete == agents.len() {
            return Ok(took);
        }
        if took >= CONVERGE_LIMIT {
            return Err(IdleError::NotConverged { complete });
        }
        std::thread::sleep(CONVERGE_LOOK);
    }
}

/// Waits until everything that starting caused is over; `None` when it is not by `limit`.
fn settle(
    agents: &[Agent],
    shards: usize,
    started: Instant,
    limit: Instant,
    looks: &mut Looks,
) -> Result<Option<Duration>, IdleError> {
    let explained = 1 + agents.len() as u64 * 2 * CALM.as_secs() / 60;
    let mut calm = (Instant::now(), totals(agents, shards)?.dials);
    loop {
        look(agents, looks);
        let totals = totals(agents, shards)?;
        let began = totals.dials - calm.1;
        if began > explained || totals.pending > 0 {
            calm = (Instant::now(), totals.dials);
        } else if calm.0.elapsed() >= CALM {
            let took = started.elapsed().saturating_sub(calm.0.elapsed());
            println!("settled after {} ms: {} sessions", took.as_millis(), totals.sessions);
            return Ok(Some(took));
        }
        if Instant::now() >= limit {
            println!("not settled: {began} handshakes began within {:?}", calm.0.elapsed());
            return Ok(None);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn totals(agents: &[Agent], shards: usize) -> Result<Totals, IdleError> {
    let mut totals = Totals::default();
    for (number, agent) in agents.iter().enumerate() {
        let Inspection { stats, links, io, .. } = agent.inspect(ANSWER_WITHIN)?;
        totals.bytes += links.bytes_out;
        totals.handshake_bytes += links.handshake_bytes_out;
        totals.opened += links.opened;
        totals.sessions += links.sessions;
        totals.dials += links.dials;
        totals.suspicions += stats.suspicions;
        totals.pending += links.half_open + stats.queue_depth;
        // Agents are dealt out to the shards in turn, and those of one shard share its counters.
        if number < shards {
            totals.datagrams += io.sent;
            totals.syscalls += io.syscalls;
        }
    }
    Ok(totals)
}

/// Time on a processor, the calling thread's excepted.
fn cpu() -> Result<Duration, IdleError> {
    let process = ticks("/proc/self/stat")?;
    let own = ticks("/proc/thread-self/stat")?;
    Ok(Duration::from_secs_f64(process.saturating_sub(own) as f64 / TICKS_PER_S))
}

/// User and system time of a `stat` file.
fn ticks(file: &'static str) -> Result<u64, IdleError> {
    let text = std::fs::read_to_string(file).map_err(|_| IdleError::Proc(file))?;
    ticks_of(&text).ok_or(IdleError::Proc(file))
}

/// The second field is a name in parentheses and may hold anything, spaces included.
fn ticks_of(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    // The state follows, which is field 3; user time is field 14, system time field 15.
    let mut fields = rest.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

fn rss_bytes() -> Result<u64, IdleError> {
    const STATUS: &str = "/proc/self/status";
    let text = std::fs::read_to_string(STATUS).map_err(|_| IdleError::Proc(STATUS))?;
    rss_bytes_of(&text).ok_or(IdleError::Proc(STATUS))
}

fn rss_bytes_of(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    Some(kib * 1_024)
}

/// Shares of one agent.
struct PerAgent {
    datagrams_per_s: f64,
    bytes_per_s: f64,
    bytes_with_headers_per_s: f64,
    handshake_bytes_per_s: f64,
    opened_per_s: f64,
    cpu_percent: f64,
    rss_bytes: u64,
    sessions: f64,
}

impl PerAgent {
    fn of(nodes: u16, measured: &Measured) -> Self {
        let Measured { before, after, span, .. } = measured;
        let agents = f64::from(nodes);
        let rate = |count: fn(&Totals) -> u64| {
            (count(after) - count(before)) as f64 / span.as_secs_f64() / agents
        };
        let datagrams_per_s = rate(|totals| totals.datagrams);
        let bytes_per_s = rate(|totals| totals.bytes);
        Self {
            datagrams_per_s,
            bytes_per_s,
            bytes_with_headers_per_s: bytes_per_s + HEADER_BYTES * datagrams_per_s,
            handshake_bytes_per_s: rate(|totals| totals.handshake_bytes),
            opened_per_s: rate(|totals| totals.opened),
            cpu_percent: measured.cpu.as_secs_f64() / span.as_secs_f64() / agents * 100.0,
            rss_bytes: measured.agents_rss_bytes / u64::from(nodes),
            sessions: after.sessions as f64 / agents,
        }
    }
}

fn syscalls_per_s(measured: &Measured) -> f64 {
    let count = measured.after.syscalls - measured.before.syscalls;
    count as f64 / measured.span.as_secs_f64()
}

fn tell(args: &Args, measured: &Measured) {
    let one = PerAgent::of(args.nodes, measured);
    let seconds = measured.span.as_secs_f64();
    println!(
        "measured for {seconds:.1} s on {}, {} shard(s); one agent of {}:",
        measured.backend, args.shards, args.nodes
    );
    println!("  {:>10.2} datagrams/s sent ({:.2} opened)", one.datagrams_per_s, one.opened_per_s);
    println!(
        "  {:>10.1} bytes/s of UDP payload, {:.1} of them handshakes; {:.1} with IP and UDP headers",
        one.bytes_per_s, one.handshake_bytes_per_s, one.bytes_with_headers_per_s
    );
    println!("  {:>10.4} % of a core", one.cpu_percent);
    println!(
        "  {:>10.1} KiB resident, with {:.1} sessions (the engine: {} KiB)",
        one.rss_bytes as f64 / 1_024.0,
        one.sessions,
        measured.engine_rss_bytes / 1_024
    );
    println!("all shards: {:.1} system calls/s", syscalls_per_s(measured));
    println!(
        "{} false suspicions; at the worst of {} looks {} of {} views were complete",
        measured.after.suspicions, measured.looks.count, measured.looks.complete_min, args.nodes
    );
}

fn report(args: &Args, measured: &Measured) -> Value {
    let one = PerAgent::of(args.nodes, measured);
    let whole_ms = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let false_suspicions = measured.after.suspicions;
    let views_complete = measured.looks.complete_min;
    json!({
        "ok": false_suspicions == 0 && views_complete == usize::from(args.nodes),
        "backend": measured.backend,
        "nodes": args.nodes,
        "shards": args.shards,
        "seconds": rounded(measured.span.as_secs_f64(), 1),
        "converged_ms": whole_ms(measured.converged),
        "settled_ms": measured.settled.map(whole_ms),
        "per_agent": {
            "datagrams_per_s": rounded(one.datagrams_per_s, 2),
            "opened_per_s": rounded(one.opened_per_s, 2),
            "bytes_per_s": rounded(one.bytes_per_s, 1),
            "bytes_with_headers_per_s": rounded(one.bytes_with_headers_per_s, 1),
            "handshake_bytes_per_s": rounded(one.handshake_bytes_per_s, 1),
            "cpu_percent_of_core": rounded(one.cpu_percent, 4),
            "rss_bytes": one.rss_bytes,
            "sessions": rounded(one.sessions, 1),
        },
        "engine_rss_bytes": measured.engine_rss_bytes,
        "syscalls_per_s": rounded(syscalls_per_s(measured), 1),
        "false_suspicions": false_suspicions,
        "views_complete_min": views_complete,
        "looks": measured.looks.count,
    })
}

/// Digits beyond what was measured would be noise.
fn rounded(number: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (number * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files_are_read_whatever_the_process_is_called() {
        let stat = "7 (a) b 9) S 1 7 7 0 -1 4194304 90 0 0 0 120 45 0 0 20 0 3 0 5 6 7";
        assert_eq!(ticks_of(stat), Some(165));
        assert_eq!(ticks_of("7 (idle) S 1"), None);
        let status = "Name:\tidle\nVmHWM:\t    9000 kB\nVmRSS:\t    8192 kB\nThreads:\t4\n";
        assert_eq!(rss_bytes_of(status), Some(8_192 * 1_024));
        assert_eq!(rss_bytes_of("Name:\tidle\n"), None);
    }
}

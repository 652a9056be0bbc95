//! What the stories on real sockets share: hosts with certificates of their own, a network that
//! can be cut and is recorded, log lines and metrics as values.
//!
//! Every story runs on both datagram backends, at once as a rule, so that waits overlap. No story is decided
//! by a clock: it waits for conditions, and the only durations in it are how long to wait at most
//! and how long a thing that must not happen gets to happen.

pub(crate) mod agents;
pub(crate) mod authority;
pub(crate) mod host;
pub(crate) mod knocking;
pub(crate) mod log;
pub(crate) mod metrics;
pub(crate) mod network;
pub(crate) mod recording;
pub(crate) mod trio;
pub(crate) mod uncertified;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{PoisonError, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use mesh_gossip::options::{BackendChoice, EngineOptions};
use mesh_gossip::proto::State;
use mesh_gossip::{Engine, StartError};

pub(crate) use authority::Authority;
pub(crate) use host::{Host, Spec, everyone_alive};
pub(crate) use log::{Line, Log, event_id};
pub(crate) use metrics::Metrics;
pub(crate) use network::{Door, Network};
pub(crate) use trio::Trio;

/// The longest that anything bound to come is waited for, on a machine that is busy otherwise.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// The variable that sets every seed of a run.
const SEED: &str = "MESH_SEED";

/// What one run of a story stands on.
pub(crate) struct Stage {
    /// The datagram backend that it is about.
    pub(crate) backend: BackendChoice,
    /// Decides what the network loses and what attackers send.
    pub(crate) seed: u64,
}

impl Stage {
    /// Random numbers of this run.
    pub(crate) fn random(&self) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.seed)
    }

    /// A network of this run.
    pub(crate) fn network(&self) -> Network {
        Network::seeded(self.seed)
    }
}

/// Stories run side by side; one that loads the machine has it to itself.
static MACHINE: RwLock<()> = RwLock::new(());

const BACKENDS: [BackendChoice; 2] = [BackendChoice::Uring, BackendChoice::Mmsg];

/// Runs `story` on io_uring and on `mmsg`, at the same time. Where the kernel or a container
/// refuses io_uring, a line says so.
pub(crate) fn on_both_backends(story: impl Fn(&Stage) + Sync) {
    let _beside_others = MACHINE.read().unwrap_or_else(PoisonError::into_inner);
    let name = name_of_test();
    let run = |backend| run_on(backend, &name, &story);
    let outcomes = thread::scope(|scope| {
        BACKENDS
            .map(|backend| scope.spawn(move || run(backend)))
            .map(|running| running.join().expect("panics are caught inside"))
    });
    for (backend, outcome) in BACKENDS.into_iter().zip(outcomes) {
        report(&name, backend, outcome);
    }
}

/// Runs `story` on one backend after the other, while no other story runs.
pub(crate) fn alone_on_both_backends(story: impl Fn(&Stage)) {
    let _alone = MACHINE.write().unwrap_or_else(PoisonError::into_inner);
    let name = name_of_test();
    for backend in BACKENDS {
        report(&name, backend, run_on(backend, &name, &story));
    }
}

/// Set, io_uring that is not usable is a failure and not a reason to leave it out.
const BOTH: &str = "MESH_GOSSIP_BOTH_BACKENDS";

fn name_of_test() -> String {
    thread::current().name().unwrap_or("?").to_owned()
}

fn run_on(backend: BackendChoice, name: &str, story: &dyn Fn(&Stage)) -> thread::Result<()> {
    if backend == BackendChoice::Uring
        && let Some(error) = uring_refusal()
    {
        assert!(std::env::var_os(BOTH).is_none(), "{BOTH} is set: {error}");
        // Past the test harness, which swallows what a passing test prints.
        let _ = writeln!(std::io::stderr(), "SKIPPED: {name} on io_uring: {error}");
        return Ok(());
    }
    let seed = seed_of(name);
    catch_unwind(AssertUnwindSafe(|| story(&Stage { backend, seed })))
}

fn report(name: &str, backend: BackendChoice, outcome: thread::Result<()>) {
    if let Err(panic) = outcome {
        let seed = seed_of(name);
        eprintln!(
            "{name} failed on {backend:?}, seed {seed:#x}; replay (its faults, not its timing): \
             {SEED}={seed:#x} cargo test -p mesh-gossip --test stories -- --exact {name}"
        );
        resume_unwind(panic);
    }
}

/// The seed from the environment, else one that follows from the test's name.
fn seed_of(name: &str) -> u64 {
    match std::env::var(SEED) {
        Ok(text) => u64::from_str_radix(text.trim_start_matches("0x"), 16)
            .unwrap_or_else(|error| panic!("{SEED}={text}: {error}; expected hexadecimal digits")),
        Err(_) => {
            let mut hasher = DefaultHasher::new();
            name.hash(&mut hasher);
            hasher.finish()
        }
    }
}

fn uring_refusal() -> Option<StartError> {
    let options = EngineOptions { backend: BackendChoice::Uring, ..EngineOptions::default() };
    Engine::start(options).err()
}

/// Waits for a value that is bound to come; `what` says what did not.
pub(crate) fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, look)
}

/// The same for what may take longer on a busy machine.
pub(crate) fn within<T>(patience: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "within {patience:?} it did not come about: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until a condition holds; returns how long that took.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    eventually(what, || holds().then_some(()));
    begun.elapsed()
}

/// Waits until every host has a session with each other: one that has told how far the other is. How
/// many sessions there are says less, for two may be with one peer.
pub(crate) fn all_talk_with_each_other(hosts: &[Host]) {
    until("everybody talks with everybody", || {
        hosts.iter().all(|host| {
            let others = hosts.iter().filter(|other| other.name() != host.name());
            others.map(|other| host.peer(other.name())).all(|peer| peer["rttMs"].is_number())
        })
    });
}

/// Of these pairs nobody lost the other: none was told to have left, and all are alive. How often one
/// was doubted meanwhile is the machine's affair (decision 59).
pub(crate) fn nobody_was_lost<'a>(pairs: impl IntoIterator<Item = (&'a Host, &'a Host)>) {
    let pairs: Vec<_> = pairs.into_iter().collect();
    until("all hold each other alive", || {
        pairs.iter().all(|(seer, seen)| seer.sees(seen.name()) == Some(State::Alive))
    });
    for (seer, seen) in pairs {
        let lines = seer.log.about(event_id::LEFT, seen.name());
        assert!(lines.is_empty(), "{}: {lines:?}", seer.name());
    }
}

/// Nobody is doubted once it is gone, however often it was before.
pub(crate) fn no_doubt_follows_the_departure(seer: &Host, gone: &str) {
    until("the departure is told", || !seer.log.about(event_id::LEFT, gone).is_empty());
    let lines = seer.log.lines();
    let last = |id| {
        let is_it = |line: &Line| line.field("EventId") == id && line.field("PeerId") == gone;
        lines.iter().rposition(is_it)
    };
    let (doubted, left) = (last(event_id::SUSPECT), last(event_id::LEFT));
    assert!(doubted < left, "{}: doubted in line {doubted:?}, left in {left:?}", seer.name());
}

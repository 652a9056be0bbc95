//! What sockets showed: the simulator's object, and beside it what only sockets have.
//!
//! Invariant: every field of the simulator is there; one that sockets do not tell is null, never a
//! zero.

use std::time::Duration;

use serde_json::{Value, json};

use super::cast::Cost;
use super::counters::Gauges;
use super::drill::Drilled;
use super::hunger::Starved;
use super::process::{Memory, Threads};
use super::proxy::Carried;
use super::trend::Trend;
use crate::measure::ms;
use crate::outcome::{Outcome, Run, rounded};
use crate::scenario::criteria::Check;

/// Fields of the simulator that sockets do not tell: what is inside a sealed datagram, whose verdict a
/// death was, what streams carried, a history that could be repeated.
const UNTOLD: [&str; 11] = [
    "false_verdicts",
    "false_verdicts_healthy",
    "body_bytes_per_node_s",
    "bytes_per_node_s_by_purpose",
    "bytes_per_node_s_peak",
    "stream_bytes_per_node_s",
    "settling_bytes",
    "settling_sketches",
    "words",
    "violations",
    "trace_hash",
];

/// How the start went, from the first agent's start call.
#[derive(Clone, Debug, Default)]
pub struct Joined {
    /// Until the last start call returned,
    pub started: Duration,
    /// and until every view held everybody.
    pub converged: Duration,
    /// What that took: handshakes begun,
    pub handshakes: u64,
    /// datagrams dropped because a socket was full,
    pub receive_drops: u64,
    /// suspicions, of members who all live,
    pub suspicions: u64,
    /// processor time by thread,
    pub threads: Threads,
    /// and resident bytes.
    pub resident: u64,
}

/// Resident memory of the process after each step, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Grown {
    /// Before anything.
    pub process: u64,
    /// All keys and certificates are made.
    pub certificates: u64,
    /// The engine's threads run.
    pub engine: u64,
    /// Every agent holds every other.
    pub joined: u64,
}

/// What one of many processes costs: the least, the median and the most of all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Among {
    /// The least,
    pub least: f64,
    /// the median
    pub p50: f64,
    /// and the most.
    pub most: f64,
}

impl Among {
    /// Of figures; none of none.
    pub fn of(mut figures: Vec<f64>) -> Option<Self> {
        figures.sort_by(f64::total_cmp);
        let (least, most) = (*figures.first()?, *figures.last()?);
        Some(Self { least, p50: figures[figures.len() / 2], most })
    }

    /// As JSON.
    pub fn json(self) -> Value {
        json!({ "least": rounded(self.least), "p50": rounded(self.p50), "most": rounded(self.most) })
    }
}

/// Hosts that have a process each, as they were at the end of the window.
#[derive(Clone, Copy, Debug)]
pub struct Each {
    /// How many were measured from its beginning to its end.
    pub processes: usize,
    /// Percent of a core in the window.
    pub cpu_percent: Among,
    /// Resident bytes,
    pub resident: Among,
    /// those that were allocated,
    pub anonymous: Among,
    /// and the resident ones, pages that processes share being divided among them.
    pub proportional: Among,
}

impl Each {
    /// Of those that lived through the whole window.
    pub(super) fn between(before: &[Cost], after: &[Cost], window: Duration) -> Option<Self> {
        let lived = after.iter().filter_map(|cost| {
            let earlier = before.iter().find(|earlier| earlier.node == cost.node)?;
            let used = cost.processor_ns.checked_sub(earlier.processor_ns)?;
            Some((*cost, 100.0 * used as f64 / window.as_nanos().max(1) as f64))
        });
        let lived: Vec<(Cost, f64)> = lived.collect();
        let bytes =
            |of: fn(&Cost) -> u64| Among::of(lived.iter().map(|(c, _)| of(c) as f64).collect());
        Some(Self {
            processes: lived.len(),
            cpu_percent: Among::of(lived.iter().map(|(_, percent)| *percent).collect())?,
            resident: bytes(|cost| cost.resident)?,
            anonymous: bytes(|cost| cost.anonymous)?,
            proportional: bytes(|cost| cost.proportional)?,
        })
    }

    fn json(self) -> Value {
        json!({
            "count": self.processes,
            "cpu_percent_of_core": self.cpu_percent.json(),
            "resident_bytes": self.resident.json(),
            "anonymous_bytes": self.anonymous.json(),
            "proportional_bytes": self.proportional.json(),
        })
    }
}

/// Sessions at the end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sessions {
    /// The median agent's.
    pub p50: usize,
    /// The most at one agent.
    pub max: usize,
    /// All agents together.
    pub all: usize,
    /// Those with expanded keys.
    pub hot: usize,
}

impl Sessions {
    pub(super) fn of(gauges: &[Gauges]) -> Self {
        let mut each: Vec<usize> = gauges.iter().map(|gauge| gauge.sessions).collect();
        each.sort_unstable();
        Self {
            p50: each.get(each.len() / 2).copied().unwrap_or(0),
            max: each.last().copied().unwrap_or(0),
            all: each.iter().sum(),
            hot: gauges.iter().map(|gauge| gauge.hot).sum(),
        }
    }
}

/// What only sockets have.
#[derive(Clone, Debug)]
pub struct Figures {
    /// The backend in use.
    pub backend: &'static str,
    /// How the start went.
    pub joined: Joined,
    /// The measured window.
    pub window: Duration,
    /// Processor time in it, by thread; the measuring thread's is left out.
    pub threads: Threads,
    /// Memory at its end.
    pub memory: Memory,
    /// Memory before.
    pub grown: Grown,
    /// Each process by itself, where every agent has one.
    pub each: Option<Each>,
    /// How memory and descriptors went on, in a window that is long enough.
    pub trend: Option<Trend>,
    /// What a drill showed.
    pub drill: Option<Drilled>,
    /// How those who hardly ever got a core fared.
    pub starved: Vec<Starved>,
    /// What the proxy between processes carried in the window.
    pub carried: Option<Carried>,
    /// Faults that have to show, by their names: a run without them shows nothing.
    pub promised: Vec<&'static str>,
    /// Sessions at its end.
    pub sessions: Sessions,
    /// Open descriptors at its end.
    pub descriptors: usize,
    /// Suspicions in it.
    pub suspicions: u64,
    /// Datagrams in it that the kernel dropped because a socket was full.
    pub receive_drops: u64,
    /// Tasks that wanted a core of this machine, before and after.
    pub load_average: (f64, f64),
    /// The command line that plays the same again.
    pub replay: String,
}

impl Figures {
    /// Processor time of all threads.
    pub fn processor(&self) -> Duration {
        self.threads.values().sum()
    }

    /// Share of one core in the window.
    pub fn cpu_percent(&self) -> f64 {
        self.share(self.processor())
    }

    fn share(&self, used: Duration) -> f64 {
        100.0 * used.as_secs_f64() / self.window.as_secs_f64().max(1e-9)
    }

    /// What starved members got and what they waited for: the least, the median and the most of all.
    fn hungry(&self) -> Value {
        let among = |of: fn(&Starved) -> Duration| {
            Among::of(self.starved.iter().map(|one| ms(of(one))).collect()).map(Among::json)
        };
        let ran = among(|one| one.turns.ran);
        let waited = among(|one| one.turns.waited);
        json!({ "count": self.starved.len(), "ran_ms": ran, "waited_ms": waited })
    }

    fn json(&self, nodes: usize) -> Value {
        let by_thread = |threads: &Threads, figure: &dyn Fn(Duration) -> f64| -> Value {
            threads
                .iter()
                .map(|(name, used)| (name.clone(), Value::from(rounded(figure(*used)))))
                .collect()
        };
        let Grown { process, certificates, engine, joined } = self.grown;
        let more = |after: u64, before: u64| after.saturating_sub(before);
        let total = self.memory.resident;
        json!({
            "backend": self.backend,
            "started_ms": ms(self.joined.started),
            "converged_ms": ms(self.joined.converged),
            "cpu_percent_of_core": rounded(self.cpu_percent()),
            "cpu_percent_of_core_per_node": rounded(self.cpu_percent() / nodes.max(1) as f64),
            "cpu_percent_of_core_by_thread": by_thread(&self.threads, &|used| self.share(used)),
            "until_converged": {
                "handshakes": self.joined.handshakes,
                "suspicions": self.joined.suspicions,
                "receive_drops": self.joined.receive_drops,
                "processor_ms": ms(self.joined.threads.values().sum()),
                "processor_ms_by_thread": by_thread(&self.joined.threads, &ms),
            },
            "memory_bytes": {
                "total": total,
                "anonymous": self.memory.anonymous,
                "program": self.memory.file,
                "before_anything": process,
                "certificates": more(certificates, process),
                "engine": more(engine, certificates),
                "agents_until_joined": more(joined, engine),
                "agents_after": more(total, joined),
                "per_node": more(total, engine) / nodes.max(1) as u64,
            },
            "sessions": { "all": self.sessions.all, "with_expanded_keys": self.sessions.hot },
            "processes": self.each.map(Each::json),
            "trend": self.trend.map(|trend| trend.json()),
            "drill": self.drill.as_ref().map(Drilled::json),
            "starved": self.hungry(),
            "proxy": self.carried,
            "members_held": nodes * nodes,
            "descriptors": self.descriptors,
            "suspicions": self.suspicions,
            "receive_drops": self.receive_drops,
            "load_average": [self.load_average.0, self.load_average.1],
        })
    }
}

/// A run on sockets.
#[derive(Clone, Debug)]
pub struct Report {
    /// As of the simulator.
    pub run: Run,
    /// What only sockets have.
    pub figures: Figures,
    /// Every threshold that applies.
    pub checks: Vec<Check>,
}

impl Report {
    pub(super) fn new(run: Run, figures: Figures) -> Self {
        Self { run, figures, checks: Vec::new() }
    }

    /// Whether every threshold was met.
    pub fn pass(&self) -> bool {
        self.checks.iter().all(|check| check.pass)
    }

    /// The simulator's figures.
    pub fn outcome(&self) -> Outcome {
        let mut outcome = self.run.outcome();
        outcome.replay.clone_from(&self.figures.replay);
        outcome.checks.clone_from(&self.checks);
        outcome.pass = self.pass();
        // Where nothing is joined or healed in the window, the start is the only convergence.
        let start = ms(self.figures.joined.converged);
        if self.run.converged.is_empty() {
            outcome.converged_ms = Some(start);
        }
        outcome
    }

    /// The JSON object of the run.
    ///
    /// # Errors
    /// What serde says; figures that are no numbers.
    pub fn json(&self) -> serde_json::Result<Value> {
        let mut object = serde_json::to_value(self.outcome())?;
        for field in UNTOLD {
            object[field] = Value::Null;
        }
        object["sockets"] = self.figures.json(self.run.plan.nodes);
        Ok(object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_not_there_all_the_time_is_not_compared() {
        let cost = |node, processor_ns| Cost { node, processor_ns, resident: 5, ..Cost::default() };
        let before = [cost(0, 100), cost(1, 100), cost(2, 900)];
        let after = [cost(0, 1_100), cost(2, 100), cost(3, 100)];
        let each = Each::between(&before, &after, Duration::from_micros(100)).expect("one");
        assert_eq!((each.processes, each.cpu_percent.p50, each.resident.most), (1, 1.0, 5.0));
        assert!(Each::between(&[], &after, Duration::from_secs(1)).is_none());
    }

    #[test]
    fn the_median_agent_has_so_many_sessions_and_all_together_more() {
        let gauge = |sessions| Gauges { sessions, hot: 1 };
        let sessions = Sessions::of(&[gauge(9), gauge(2), gauge(4)]);
        assert_eq!((sessions.p50, sessions.max, sessions.all, sessions.hot), (4, 9, 15, 3));
        assert_eq!(Sessions::of(&[]).max, 0);
    }
}

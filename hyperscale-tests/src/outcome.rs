//! What runs showed: raw facts that can be merged over seeds, and the JSON object made of them.
//!
//! Invariant: merging is appending samples, adding counts and taking the larger of two maxima, so
//! that the order of runs does not matter (trace hashes are folded with XOR).

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Settling;
use crate::ledger::Purposes;
use crate::measure::{Curve, Findings, Spread, ms};
use crate::plan::{Plan, Scenario};
use crate::scenario::criteria::{self, Check};
use crate::words::Heard;

/// What was sent in the measured window.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Load {
    /// Datagrams of the protocol.
    pub datagrams: u64,
    /// Their bytes, with seal, UDP and IP headers.
    pub bytes: u64,
    /// Bodies of records, proofs and certificates, part of `bytes`.
    pub body_bytes: u64,
    /// What they were for.
    pub by_purpose: Purposes,
    /// Handshakes started.
    pub handshakes: u64,
    /// Their bytes.
    pub handshake_bytes: u64,
    /// Bytes of bulk exchanges.
    pub stream_bytes: u64,
    /// Bytes between regions, part of `bytes`; none where that is not told apart.
    pub cross_region_bytes: Option<u64>,
    /// Bytes a node and second, second by second.
    pub series: Vec<f64>,
    /// The most that settling its differences cost a node which began behind the others; none where
    /// nobody did.
    pub settling: Option<Settling>,
    /// Sessions at the end: the median node's, and the most at one node.
    pub sessions: (usize, usize),
    /// The most successors of sessions that one pair of nodes made because certificates changed.
    pub rekeys_a_link: u32,
}

/// What a join storm cost the member that everybody joined through.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Storm {
    /// All that it sent in the measured window: datagrams, handshakes, streams.
    pub seed_egress_bytes: u64,
    /// What it takes to send its whole state once, at the end.
    pub snapshot_bytes: u64,
    /// Joiners that it answered (rule J-3).
    pub seed_tickets: u64,
    /// Those among them that it granted its state (rule J-4).
    pub seed_states_granted: u64,
}

impl Storm {
    /// Times that the seed sent as much as its state.
    pub fn snapshots(&self) -> f64 {
        self.seed_egress_bytes as f64 / self.snapshot_bytes.max(1) as f64
    }
}

/// One run, or several of one plan under different seeds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    /// What was run; the seed is the first one's. Whoever reads a run knows what it was to be.
    #[serde(skip, default = "no_plan")]
    pub plan: Plan,
    /// Every seed.
    pub seeds: Vec<u64>,
    /// Who learnt what, and when.
    pub found: Findings,
    /// What it cost.
    pub load: Load,
    /// Deaths of members without fault before the window opened.
    pub warmup_false_deaths: u64,
    /// For each run with a heal: from there until all held one view.
    pub converged: Vec<Option<Duration>>,
    /// What a join storm cost the seed; none where there was none.
    pub storm: Option<Storm>,
    /// Share of the nodes that hold the most common view, in seconds from the last heal.
    pub agreement: Vec<(f64, f64)>,
    /// Mean share of wrong entries in a view; none where none was sampled.
    pub view_error: Option<f64>,
    /// What hosts said and who heard it; none where nobody listened.
    pub words: Option<Heard>,
    /// Rules that were broken, the first of each run; none where no checker looked on.
    pub violations: Option<Vec<String>>,
    /// How often each kind of fault fired.
    pub fired: BTreeMap<String, u64>,
    /// Happenings simulated, warm-up included.
    pub events: u64,
    /// Real time that took.
    pub wall: Duration,
    /// Time on a core that took; less than real time where others want the core too.
    pub processor: Duration,
    /// Most memory that the process held.
    pub rss_bytes: u64,
    /// Hash over everything that happened.
    pub trace_hash: u64,
}

fn no_plan() -> Plan {
    Plan::new(Scenario::Steady, 0)
}

impl Run {
    /// Takes in another run of the same plan.
    pub fn merge(&mut self, other: Self) {
        self.seeds.extend(other.seeds);
        self.found.merge(other.found);
        self.load.merge(other.load);
        self.warmup_false_deaths += other.warmup_false_deaths;
        self.converged.extend(other.converged);
        let worse = |a: Storm, b: Storm| if a.snapshots() < b.snapshots() { b } else { a };
        self.storm = self.storm.zip(other.storm).map(|(a, b)| worse(a, b));
        if self.agreement.is_empty() {
            self.agreement = other.agreement;
        }
        self.view_error = self.view_error.zip(other.view_error).map(|(a, b)| a.max(b));
        self.violations = self.violations.take().zip(other.violations).map(|(mut a, b)| {
            a.extend(b);
            a
        });
        if let (Some(mine), Some(theirs)) = (&mut self.words, other.words) {
            mine.merge(theirs);
        }
        for (kind, times) in other.fired {
            *self.fired.entry(kind).or_default() += times;
        }
        self.events += other.events;
        self.wall += other.wall;
        self.processor += other.processor;
        self.rss_bytes = self.rss_bytes.max(other.rss_bytes);
        self.trace_hash ^= other.trace_hash;
    }

    /// Node-hours lived in the measured windows.
    pub fn node_hours(&self) -> f64 {
        self.found.lived.as_secs_f64() / 3_600.0
    }

    /// A count, a node and second.
    pub fn per_node_s(&self, count: u64) -> f64 {
        count as f64 / self.found.lived.as_secs_f64().max(1e-9)
    }

    /// Handshakes started, a node and minute.
    pub fn handshakes_per_node_min(&self) -> f64 {
        self.per_node_s(self.load.handshakes) * 60.0
    }

    /// Happenings simulated a second of real time.
    pub fn events_per_s(&self) -> f64 {
        self.events as f64 / self.wall.as_secs_f64().max(1e-9)
    }

    /// Happenings simulated a second of a core's time.
    pub fn events_per_core_s(&self) -> f64 {
        let core = if self.processor.is_zero() { self.wall } else { self.processor };
        self.events as f64 / core.as_secs_f64().max(1e-9)
    }

    /// From the heal until all held one view: the slowest run; none if one never did.
    pub fn converged_max(&self) -> Option<Duration> {
        let all: Option<Vec<Duration>> = self.converged.iter().copied().collect();
        all.and_then(|all| all.into_iter().max())
    }

    fn by_purpose(&self) -> BTreeMap<String, f64> {
        let named = self.load.by_purpose.named().into_iter();
        named.map(|(name, bytes)| (name, rounded(self.per_node_s(bytes)))).collect()
    }

    fn cross_region_share(&self) -> Option<f64> {
        let bytes = self.load.cross_region_bytes?;
        Some(rounded(bytes as f64 / self.load.bytes.max(1) as f64))
    }

    /// The JSON object of the run.
    pub fn outcome(&self) -> Outcome {
        let plan = &self.plan;
        let found = &self.found;
        let checks = criteria::judge(self);
        let batches = found.batches.iter().map(|count| f64::from(*count)).collect();
        Outcome {
            scenario: plan.scenario.name().into(),
            nodes: plan.nodes,
            seed: plan.seed,
            seeds: self.seeds.len(),
            detector: plan.detector.name().into(),
            table: if plan.shares_table() { "shared" } else { "dense" }.into(),
            loss: plan.loss,
            crash: plan.crashes(),
            duration_s: plan.duration.as_secs_f64(),
            warmup_s: plan.warmup.as_secs_f64(),
            t_first_ms: Spread::of_ms(&found.first),
            t_full_ms: Spread::of_ms(&found.full),
            t_pair_ms: found.curve.spread_ms(),
            detected: found.detected,
            missed: found.missed,
            unresolved: Some(found.unresolved),
            returned: found.returned,
            false_deaths: found.false_deaths,
            false_deaths_healthy: found.false_deaths_healthy,
            false_deaths_behind_cut: found.false_deaths_behind_cut,
            false_verdicts: found.false_verdicts,
            false_verdicts_healthy: found.false_verdicts_healthy,
            falsely_dead: found.falsely_dead,
            warmup_false_deaths: self.warmup_false_deaths,
            impaired_deaths: found.impaired_deaths,
            impaired_dead: found.impaired_dead,
            rejoin_ms: Spread::of_ms(&found.rejoin),
            not_rejoined: found.not_rejoined,
            node_hours: rounded(self.node_hours()),
            bytes_per_node_s: rounded(self.per_node_s(self.load.bytes)),
            body_bytes_per_node_s: rounded(self.per_node_s(self.load.body_bytes)),
            bytes_per_node_s_by_purpose: self.by_purpose(),
            bytes_per_node_s_peak: rounded(self.load.peak()),
            handshake_bytes_per_node_s: rounded(self.per_node_s(self.load.handshake_bytes)),
            handshakes_per_node_min: rounded(self.handshakes_per_node_min()),
            stream_bytes_per_node_s: rounded(self.per_node_s(self.load.stream_bytes)),
            messages_per_node_s: rounded(self.per_node_s(self.load.datagrams)),
            cross_region_share: self.cross_region_share(),
            settling_bytes: self.load.settling.map(|spent| spent.bytes),
            settling_sketches: self.load.settling.map(|spent| spent.sketches),
            sessions_per_node: Sessions { p50: self.load.sessions.0, max: self.load.sessions.1 },
            view_changes_max: found.view_changes_max,
            membership_changes_max: found.membership_changes_max,
            changes_of_one_max: found.changes_of_one_max,
            batches: Spread::of(batches),
            converged_ms: self.converged_max().map(ms),
            seed_egress_bytes: self.storm.map(|storm| storm.seed_egress_bytes),
            snapshot_bytes: self.storm.map(|storm| storm.snapshot_bytes),
            seed_tickets: self.storm.map(|storm| storm.seed_tickets),
            seed_states_granted: self.storm.map(|storm| storm.seed_states_granted),
            view_error: self.view_error.map(rounded),
            words: self.words.as_ref().map(|heard| Words::of(heard, plan)),
            violations: self.violations.clone(),
            events: self.events,
            events_per_s: self.events_per_s().round(),
            events_per_core_s: self.events_per_core_s().round(),
            wall_s: rounded(self.wall.as_secs_f64()),
            rss_bytes: self.rss_bytes,
            faults_fired: self.fired.clone(),
            trace_hash: format!("{:016x}", self.trace_hash),
            replay: plan.replay(),
            pass: checks.iter().all(|check| check.pass),
            checks,
        }
    }
}

/// Four places are enough for every figure.
pub fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

impl Load {
    /// The largest load of any second.
    pub fn peak(&self) -> f64 {
        self.series.iter().copied().fold(0.0, f64::max)
    }

    fn merge(&mut self, other: Self) {
        self.datagrams += other.datagrams;
        self.bytes += other.bytes;
        self.body_bytes += other.body_bytes;
        self.by_purpose.add(&other.by_purpose);
        self.handshakes += other.handshakes;
        self.handshake_bytes += other.handshake_bytes;
        self.stream_bytes += other.stream_bytes;
        self.cross_region_bytes =
            self.cross_region_bytes.zip(other.cross_region_bytes).map(|(a, b)| a + b);
        if self.series.len() < other.series.len() {
            self.series.resize(other.series.len(), 0.0);
        }
        for (mine, theirs) in self.series.iter_mut().zip(other.series) {
            *mine = mine.max(theirs);
        }
        if let (Some(mine), Some(theirs)) = (&mut self.settling, other.settling) {
            mine.raise(theirs);
        }
        self.rekeys_a_link = self.rekeys_a_link.max(other.rekeys_a_link);
        let (mine, theirs) = (self.sessions, other.sessions);
        self.sessions = (mine.0.max(theirs.0), mine.1.max(theirs.1));
    }
}

impl Findings {
    fn merge(&mut self, other: Self) {
        self.first.extend(other.first);
        self.full.extend(other.full);
        self.rejoin.extend(other.rejoin);
        self.not_rejoined += other.not_rejoined;
        self.detected += other.detected;
        self.missed += other.missed;
        self.unresolved += other.unresolved;
        self.returned += other.returned;
        self.false_deaths += other.false_deaths;
        self.false_deaths_healthy += other.false_deaths_healthy;
        self.false_deaths_behind_cut += other.false_deaths_behind_cut;
        self.false_verdicts += other.false_verdicts;
        self.false_verdicts_healthy += other.false_verdicts_healthy;
        self.falsely_dead += other.falsely_dead;
        self.impaired_deaths += other.impaired_deaths;
        self.impaired_dead += other.impaired_dead;
        self.lived += other.lived;
        self.view_changes_max = self.view_changes_max.max(other.view_changes_max);
        self.membership_changes_max = self.membership_changes_max.max(other.membership_changes_max);
        self.changes_of_one_max = self.changes_of_one_max.max(other.changes_of_one_max);
        self.batches.extend(other.batches);
        Curve::merge(&mut self.curve, &other.curve);
    }
}

/// Sessions that nodes hold at the end of a run.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Sessions {
    /// The median node's.
    pub p50: usize,
    /// The most at one node.
    pub max: usize,
}

/// Broadcasts of hosts.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Words {
    /// So many a second.
    pub per_s: u32,
    /// Said,
    pub said: usize,
    /// refused by the node of whoever wanted to say it,
    pub refused: usize,
    /// and judged: said long enough ago, by somebody who lived on.
    pub judged: usize,
    /// Time until all that were members throughout had it, of those that reached all.
    pub full_ms: Spread,
    /// The same of 99 in 100 of all that were judged; none where fewer reached all.
    pub p99_ms: Option<f64>,
    /// Words that somebody missed,
    pub missed: usize,
    /// and by how many, added up.
    pub missed_by: u64,
    /// Times that a host was told twice.
    pub twice: u64,
    /// The longest that an update of members waited to be sent for the first time.
    pub update_age_max_ms: f64,
}

impl Words {
    fn of(heard: &Heard, plan: &Plan) -> Self {
        Self {
            per_s: plan.words,
            said: heard.said,
            refused: heard.refused,
            judged: heard.judged(),
            full_ms: Spread::of_ms(&heard.full),
            p99_ms: heard.within(0.99),
            missed: heard.missed,
            missed_by: heard.missed_by,
            twice: heard.twice,
            update_age_max_ms: ms(heard.update_age),
        }
    }
}

/// What is printed of a run, as one JSON object.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are described in docs/testing.md")]
pub struct Outcome {
    pub scenario: String,
    pub nodes: usize,
    pub seed: u64,
    pub seeds: usize,
    pub detector: String,
    pub table: String,
    pub loss: f64,
    pub crash: usize,
    pub duration_s: f64,
    pub warmup_s: f64,
    pub t_first_ms: Spread,
    pub t_full_ms: Spread,
    pub t_pair_ms: Spread,
    pub detected: usize,
    pub missed: usize,
    /// Killed, and back before all had lost them; reports older than this figure lack it.
    #[serde(default)]
    pub unresolved: Option<usize>,
    pub returned: usize,
    pub false_deaths: u64,
    pub false_deaths_healthy: u64,
    pub false_deaths_behind_cut: u64,
    pub false_verdicts: u64,
    pub false_verdicts_healthy: u64,
    pub falsely_dead: usize,
    pub warmup_false_deaths: u64,
    pub impaired_deaths: u64,
    pub impaired_dead: usize,
    pub rejoin_ms: Spread,
    pub not_rejoined: usize,
    pub node_hours: f64,
    pub bytes_per_node_s: f64,
    pub body_bytes_per_node_s: f64,
    pub bytes_per_node_s_by_purpose: BTreeMap<String, f64>,
    pub bytes_per_node_s_peak: f64,
    pub handshake_bytes_per_node_s: f64,
    pub handshakes_per_node_min: f64,
    pub stream_bytes_per_node_s: f64,
    pub messages_per_node_s: f64,
    pub cross_region_share: Option<f64>,
    pub settling_bytes: Option<u64>,
    pub settling_sketches: Option<u64>,
    pub sessions_per_node: Sessions,
    pub view_changes_max: u32,
    pub membership_changes_max: u32,
    pub changes_of_one_max: u32,
    pub batches: Spread,
    pub converged_ms: Option<f64>,
    pub seed_egress_bytes: Option<u64>,
    pub snapshot_bytes: Option<u64>,
    pub seed_tickets: Option<u64>,
    pub seed_states_granted: Option<u64>,
    pub view_error: Option<f64>,
    pub words: Option<Words>,
    pub violations: Option<Vec<String>>,
    pub events: u64,
    pub events_per_s: f64,
    pub events_per_core_s: f64,
    pub wall_s: f64,
    pub rss_bytes: u64,
    pub faults_fired: BTreeMap<String, u64>,
    pub trace_hash: String,
    pub replay: String,
    pub checks: Vec<Check>,
    pub pass: bool,
}

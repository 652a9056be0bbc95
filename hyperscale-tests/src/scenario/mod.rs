//! From a plan to what it showed: warms a mesh up, plays the script, measures.
//!
//! Invariant: the same plan gives the same run; real time is read only to say how long that took.

use std::collections::BTreeMap;
use std::time::{Duration, Instant as Clock};

use mesh_gossip_proto::DenseTable;

use crate::ledger::peak_bytes;
use crate::outcome::{Load, Run};
use crate::plan::{Plan, Scenario};
use crate::progress::Progress;
use crate::scenario::script::{Act, Script};
use crate::scenario::stage::{Stage, Tally};
use crate::{SharedTable, SimTable};

pub mod cells;
pub mod criteria;
pub(crate) mod regions;
pub mod script;
mod stage;

/// Load is sampled so often ...
const SAMPLE: Duration = Duration::from_secs(1);
/// ... and, after a heal, agreement so often.
const AGREEMENT: Duration = Duration::from_millis(100);

/// Runs a plan. Its real time counts from here: building the nodes is part of it.
pub fn run(plan: &Plan, progress: &Progress) -> Run {
    let started = Clock::now();
    if plan.shares_table() {
        Play::<SharedTable>::new(plan).run(started, progress)
    } else {
        Play::<DenseTable>::new(plan).run(started, progress)
    }
}

/// A run under way.
struct Play<'a, T: SimTable> {
    plan: &'a Plan,
    script: Script,
    stage: Stage<T>,
    load: Load,
    last: Tally,
    healed: Option<Duration>,
    disagreed: Option<Duration>,
    agreement: Vec<(f64, f64)>,
    errors: (f64, u32),
}

impl<'a, T: SimTable> Play<'a, T> {
    fn new(plan: &'a Plan) -> Self {
        Self {
            plan,
            script: Script::of(plan),
            stage: Stage::warm(plan),
            load: Load::default(),
            last: Tally::default(),
            healed: None,
            disagreed: None,
            agreement: Vec::new(),
            errors: (0.0, 0),
        }
    }

    fn run(mut self, started: Clock, progress: &Progress) -> Run {
        let worked = processor_time();
        self.advance(self.plan.warmup, Duration::ZERO, progress);
        let warmed = self.stage.tally().events;
        let warmup_false_deaths = self.stage.open(&self.script);
        self.play(progress);
        progress.end();
        let wall = started.elapsed();
        let processor = processor_time().saturating_sub(worked);
        let closing = self.stage.tally();
        self.load.datagrams = closing.datagrams;
        self.load.bytes = closing.bytes;
        self.load.body_bytes = closing.body_bytes;
        self.load.by_purpose = closing.by_purpose;
        self.load.handshakes = closing.handshakes;
        self.load.handshake_bytes = closing.handshake_bytes;
        self.load.stream_bytes = closing.stream_bytes;
        self.load.cross_region_bytes = closing.cross_region_bytes;
        self.load.settling = self.stage.settling();
        self.load.sessions = self.stage.sessions();
        self.load.rekeys_a_link = self.stage.rekeys_a_link();
        let converged = self.converged();
        let words = self.stage.words();
        let storm = (self.plan.scenario == Scenario::JoinStorm).then(|| self.stage.storm());
        let trace_hash = self.stage.trace_hash();
        let fired: BTreeMap<String, u64> = self.stage.fired();
        Run {
            plan: self.plan.clone(),
            seeds: vec![self.plan.seed],
            violations: self.stage.violations(),
            words,
            found: self.stage.close(),
            load: self.load,
            warmup_false_deaths,
            converged,
            storm,
            agreement: self.agreement,
            view_error: (self.errors.1 > 0).then(|| self.errors.0 / f64::from(self.errors.1)),
            fired,
            events: warmed + closing.events,
            wall,
            processor,
            rss_bytes: peak_bytes(),
            trace_hash,
        }
    }

    /// Steps of a second, so that the bar moves.
    fn advance(&mut self, span: Duration, done: Duration, progress: &Progress) {
        let mut left = span;
        while left > Duration::ZERO {
            let step = left.min(SAMPLE);
            self.stage.run_for(step);
            left -= step;
            progress.reach((done + span - left).as_secs());
        }
    }

    fn play(&mut self, progress: &Progress) {
        let last_heal = self.script.healed_at();
        let mut acts = std::mem::take(&mut self.script.acts).into_iter().peekable();
        let mut now = Duration::ZERO;
        let mut sample = SAMPLE;
        if self.plan.scenario == Scenario::AntiEntropy {
            // Views differ from the start, and nothing keeps them from agreeing.
            (self.healed, self.disagreed) = (Some(now), Some(now));
        }
        let pause = Duration::from_secs(1).checked_div(self.plan.words);
        let mut word = pause;
        loop {
            let mut due = Vec::new();
            while let Some((_, act)) = acts.next_if(|(at, _)| *at <= now) {
                due.push(act);
            }
            if due.contains(&Act::Heal) && last_heal == Some(now) {
                self.healed = Some(now);
                self.disagreed = Some(now);
            }
            if due.iter().any(|act| matches!(act, Act::Join(_))) {
                self.healed = Some(now);
                self.disagreed = Some(now);
            }
            if !due.is_empty() {
                self.stage.apply(self.plan, &due, &self.script);
            }
            if now >= sample {
                self.sample(now, sample);
                sample += SAMPLE;
                progress.reach((self.plan.warmup + now).as_secs());
            }
            if let (Some(at), Some(pause)) = (word, pause)
                && now >= at
            {
                self.stage.speak();
                word = Some(at + pause);
            }
            if let Some(healed) = self.healed {
                self.watch_agreement(now, healed);
            }
            if now >= self.plan.duration {
                return;
            }
            let mut next = sample.min(self.plan.duration);
            if let Some((at, _)) = acts.peek() {
                next = next.min(*at);
            }
            next = word.map_or(next, |at| next.min(at));
            if self.healed.is_some() && self.watching(now) {
                next = next.min(now + AGREEMENT);
            }
            self.stage.run_for(next - now);
            now = next;
        }
    }

    fn sample(&mut self, now: Duration, due: Duration) {
        let tally = self.stage.tally();
        let nodes = self.stage.live().max(1) as f64;
        let seconds = (SAMPLE + (now - due)).as_secs_f64();
        self.load.series.push((tally.bytes - self.last.bytes) as f64 / nodes / seconds);
        self.last = tally;
        self.stage.listen();
        if self.plan.scenario == Scenario::Churn && now.as_secs().is_multiple_of(10) {
            self.errors.0 += self.stage.view_error();
            self.errors.1 += 1;
        }
    }

    /// Agreement is looked at closely until it has lasted for a while.
    fn watching(&self, now: Duration) -> bool {
        self.disagreed.is_some_and(|last| now.saturating_sub(last) < SAMPLE * 15)
    }

    fn watch_agreement(&mut self, now: Duration, healed: Duration) {
        let storm = self.plan.scenario == Scenario::JoinStorm;
        let share = if storm { self.stage.gathered() } else { self.stage.agreement() };
        self.agreement.push(((now - healed).as_secs_f64(), share));
        if share < 1.0 {
            self.disagreed = Some(now + AGREEMENT);
        }
    }

    /// From the last heal to the end of the last disagreement; never, if that goes on.
    fn converged(&self) -> Vec<Option<Duration>> {
        let (Some(healed), Some(last)) = (self.healed, self.disagreed) else { return Vec::new() };
        vec![(last <= self.plan.duration).then(|| last - healed)]
    }
}

/// Time that this thread has run on a core; zero where the kernel does not tell.
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split_whitespace().next().and_then(|word| word.parse().ok());
    Duration::from_nanos(nanos.unwrap_or_default())
}

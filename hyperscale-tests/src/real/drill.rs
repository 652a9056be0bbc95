//! What a drill looks at beside the measure: what views keep, how soon a member's description of itself is
//! everywhere, how long round trips take, and what the shipped alerts would have said.
//!
//! Invariant: what is waited for is let go of only when everybody who ran when it was looked for has it, when
//! the member that said it is killed before its time is over, or at the end; whatever had its time and is not
//! everywhere counts with its age.

use std::time::{Duration, Instant as Clock};

use mesh_gossip::proto::MemberId;
use serde_json::{Value, json};

use super::RealError;
use super::counters::ANSWER;
use super::hosts::Hosts;
use crate::measure::{Spread, ms};
use crate::outcome::rounded;
use crate::plan::Plan;
use crate::scenario::criteria::Check;
use crate::scenario::regions;
use alerts::{Alerts, Recorder};

mod alerts;

/// Views are looked into so often.
const LOOK: Duration = Duration::from_secs(1);
/// Who runs for so long is to be in every view that has stood for so long: what a rejoin may take.
const SETTLED: Duration = Duration::from_secs(3);
/// Share of the living that every view keeps.
const KEPT: f64 = 0.99;
/// Until everybody has what a member said of itself.
const EVERYWHERE: Duration = Duration::from_secs(5);
/// What the engine may add to the way there and back, at the 95th percentile.
const ADDED_MS: f64 = 20.0;
/// The label that members describe themselves anew by.
pub(super) const LABEL: &str = "drill";

/// What a member said of itself.
#[derive(Clone, Debug, PartialEq)]
enum Said {
    /// It described itself for the so manieth time.
    Label(u64),
    /// It runs this version.
    Version(String),
}

/// Something that is not everywhere yet.
struct Awaited {
    node: usize,
    since: Duration,
    said: Said,
    /// Those before it have it, or do not run.
    next: usize,
}

/// A drill under way.
pub(super) struct Drill<'a> {
    plan: &'a Plan,
    ids: Vec<MemberId>,
    clock: Clock,
    /// Since when each runs; from before the window, if not told.
    since: Vec<Option<Duration>>,
    described: Vec<u64>,
    awaited: Vec<Awaited>,
    labels: Vec<Duration>,
    versions: Vec<Duration>,
    withdrawn: usize,
    least_kept: f64,
    looked: Duration,
    recorder: Recorder,
}

impl<'a> Drill<'a> {
    /// Of members that all run.
    pub(super) fn new(plan: &'a Plan, ids: Vec<MemberId>) -> Self {
        Self {
            plan,
            clock: Clock::now(),
            since: vec![Some(Duration::ZERO); ids.len()],
            described: vec![0; ids.len()],
            awaited: Vec::new(),
            labels: Vec::new(),
            versions: Vec::new(),
            withdrawn: 0,
            least_kept: 1.0,
            looked: Duration::ZERO,
            recorder: Recorder::new(ids.len()),
            ids,
        }
    }

    /// The window opens.
    pub(super) fn open(&mut self) {
        self.clock = Clock::now();
    }

    /// These were killed: what they said last is waited for no longer.
    pub(super) fn killed(&mut self, nodes: &[usize]) {
        for node in nodes {
            self.since[*node] = None;
        }
        let now = self.clock.elapsed();
        let (labels, versions, withdrawn) =
            (&mut self.labels, &mut self.versions, &mut self.withdrawn);
        self.awaited.retain(|awaited| {
            let stays = !nodes.contains(&awaited.node);
            if !stays && awaited.is_late(now) {
                awaited.took(now, labels, versions);
            } else if !stays {
                *withdrawn += 1;
            }
            stays
        });
    }

    /// One runs again, with this version.
    pub(super) fn started(&mut self, node: usize, version: &str) {
        let now = self.clock.elapsed();
        self.since[node] = Some(now);
        self.wait_for(node, Said::Version(version.into()));
    }

    /// One describes itself anew, if it runs; says whether it does.
    pub(super) fn describe(&mut self, hosts: &Hosts, node: usize) -> Result<bool, RealError> {
        self.described[node] += 1;
        let word = self.described[node];
        let since = self.clock.elapsed();
        let done = hosts.describe(node, LABEL, &word.to_string())?;
        if done {
            self.awaited.push(Awaited { node, since, said: Said::Label(word), next: 0 });
        }
        Ok(done)
    }

    fn wait_for(&mut self, node: usize, said: Said) {
        let since = self.clock.elapsed();
        self.awaited.push(Awaited { node, since, said, next: 0 });
    }

    /// Looks at what can be seen now.
    pub(super) fn look(&mut self, hosts: &Hosts) -> Result<(), RealError> {
        self.spread(hosts);
        let now = self.clock.elapsed();
        if now >= self.looked {
            self.look_into_views(hosts, now);
            self.looked += LOOK;
        }
        self.recorder.record(now, |node| hosts.scrape(node))
    }

    /// What has come everywhere since the last look.
    fn spread(&mut self, hosts: &Hosts) {
        let ids = &self.ids;
        for Awaited { node, said, next, .. } in &mut self.awaited {
            while *next < ids.len()
                && hosts.agent(*next).is_none_or(|agent| {
                    agent.with_view(|published| {
                        published.view.member(ids[*node]).is_some_and(|member| {
                            let metadata = &member.record.record().metadata;
                            match said {
                                Said::Version(version) => metadata.mesh_version == *version,
                                Said::Label(word) => {
                                    let label = metadata.labels.get(LABEL);
                                    label.and_then(|word| word.parse().ok()) >= Some(*word)
                                }
                            }
                        })
                    })
                })
            {
                *next += 1;
            }
        }
        let now = self.clock.elapsed();
        let (labels, versions) = (&mut self.labels, &mut self.versions);
        self.awaited.retain(|awaited| {
            let there = awaited.next == ids.len();
            if there {
                awaited.took(now, labels, versions);
            }
            !there
        });
    }

    fn look_into_views(&mut self, hosts: &Hosts, now: Duration) {
        // Whoever ran when the window opened has settled.
        let settled = |since: &Duration| since.is_zero() || *since + SETTLED <= now;
        let living: Vec<usize> = (0..self.ids.len())
            .filter(|node| self.since[*node].as_ref().is_some_and(settled))
            .collect();
        for agent in living.iter().filter_map(|node| hosts.agent(*node)) {
            let kept = agent.with_view(|published| {
                let present = |node: &&usize| {
                    let state = published.view.state(self.ids[**node]);
                    state.is_some_and(|state| state.is_present())
                };
                living.iter().filter(present).count()
            });
            self.least_kept = self.least_kept.min(kept as f64 / living.len() as f64);
        }
    }

    /// What it showed.
    pub(super) fn close(mut self, hosts: &Hosts) -> Result<Drilled, RealError> {
        let now = self.clock.elapsed();
        let (labels, versions) = (&mut self.labels, &mut self.versions);
        for awaited in self.awaited.iter().filter(|awaited| awaited.is_late(now)) {
            awaited.took(now, labels, versions);
        }
        let (measured, injected): (Vec<f64>, Vec<f64>) =
            self.round_trips(hosts)?.into_iter().unzip();
        Ok(Drilled {
            least_kept: self.least_kept,
            labels: Spread::of_ms(&self.labels),
            versions: Spread::of_ms(&self.versions),
            withdrawn: self.withdrawn,
            pairs: measured.len(),
            rtt_p95_ms: percentile95(measured),
            injected_p95_ms: percentile95(injected),
            alerts: self.recorder.judge(),
        })
    }

    /// Of each pair that has measured it: the smoothed round trip, and what the network made of it on
    /// average, in milliseconds.
    fn round_trips(&self, hosts: &Hosts) -> Result<Vec<(f64, f64)>, RealError> {
        let latencies = regions::latencies(self.plan.regions);
        let way = |from: usize, to: usize| {
            let of = |node| usize::from(regions::of(node, self.plan.regions));
            let (low, high) = latencies[of(from)][of(to)];
            ms(low + high) / 2.0
        };
        let mut all = Vec::new();
        for (by, id) in self.ids.iter().enumerate() {
            let Some(agent) = hosts.agent(by) else { continue };
            let inspection = agent.inspect(ANSWER).map_err(RealError::Agent)?;
            for (peer, contact) in inspection.contacts {
                let to = self.ids.iter().position(|id| *id == peer);
                if let (Some(to), Some((smoothed, _))) = (to, contact.rtt())
                    && peer != *id
                {
                    all.push((ms(smoothed), way(by, to) + way(to, by)));
                }
            }
        }
        Ok(all)
    }
}

impl Awaited {
    /// Whether it had its time.
    fn is_late(&self, now: Duration) -> bool {
        self.since + EVERYWHERE <= now
    }

    fn took(&self, now: Duration, labels: &mut Vec<Duration>, versions: &mut Vec<Duration>) {
        let of_its_kind = match self.said {
            Said::Label(_) => labels,
            Said::Version(_) => versions,
        };
        of_its_kind.push(now - self.since);
    }
}

fn percentile95(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let rank = (figures.len() as f64 * 0.95).ceil() as usize;
    figures.get(rank.checked_sub(1)?).copied()
}

/// What a drill showed.
#[derive(Clone, Debug)]
pub struct Drilled {
    /// The least share of the living that any view held.
    least_kept: f64,
    /// Until a member's new description was everywhere,
    labels: Spread,
    /// and from the start of one with another version until that was.
    versions: Spread,
    /// Words of members that were killed before they were everywhere.
    withdrawn: usize,
    /// Pairs whose round trip was measured.
    pairs: usize,
    rtt_p95_ms: Option<f64>,
    injected_p95_ms: Option<f64>,
    alerts: Alerts,
}

impl Drilled {
    /// What a drill promises.
    pub(super) fn checks(&self) -> Vec<Check> {
        let limit = ms(EVERYWHERE);
        let everywhere = |what: &str, spread: &Spread| {
            let name = format!("{what} everywhere, max (ms)");
            let note = format!("of {}, p99 {:?}", spread.n, spread.p99.unwrap_or_default());
            Check::at_most(&name, spread.max, limit).beside(note)
        };
        let added = self.rtt_p95_ms.zip(self.injected_p95_ms).map(|(all, way)| all - way);
        let added = Check::at_most("P95 of round trips beyond the injected (ms)", added, ADDED_MS);
        let mut checks = vec![
            Check::at_least("least share of the living in a view", Some(self.least_kept), KEPT),
            everywhere("a description", &self.labels),
            everywhere("a new version", &self.versions),
            added.beside(format!(
                "{:.1} of {} pairs, {:.1} injected",
                self.rtt_p95_ms.unwrap_or_default(),
                self.pairs,
                self.injected_p95_ms.unwrap_or_default()
            )),
        ];
        checks.extend(self.alerts.checks());
        checks
    }

    /// As JSON.
    pub(super) fn json(&self) -> Value {
        let spread = |spread: &Spread| {
            let figure = |value: Option<f64>| value.map(rounded);
            json!({
                "p50": figure(spread.p50),
                "p99": figure(spread.p99),
                "max": figure(spread.max),
                "n": spread.n,
            })
        };
        json!({
            "least_share_kept": rounded(self.least_kept),
            "description_everywhere_ms": spread(&self.labels),
            "version_everywhere_ms": spread(&self.versions),
            "withdrawn": self.withdrawn,
            "rtt_p95_ms": self.rtt_p95_ms.map(rounded),
            "injected_p95_ms": self.injected_p95_ms.map(rounded),
            "rtt_pairs": self.pairs,
            "alerts": self.alerts.json(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Scenario;

    #[test]
    fn whatever_is_not_everywhere_in_time_counts_with_its_age() {
        let plan = Plan::new(Scenario::Drill, 4);
        let mut drill = Drill::new(&plan, (0..4).map(|node| MemberId([node; 16])).collect());
        drill.started(1, "next");
        drill.wait_for(2, Said::Label(1));
        drill.wait_for(3, Said::Label(1));
        drill.killed(&[3]);
        assert_eq!((drill.awaited.len(), drill.withdrawn, drill.since[3]), (2, 1, None));
        // Whoever is killed does not take along what was late already.
        drill.awaited.push(Awaited {
            node: 3,
            since: Duration::ZERO,
            said: Said::Label(2),
            next: 1,
        });
        drill.clock = Clock::now().checked_sub(EVERYWHERE).expect("the machine ran before");
        drill.killed(&[3]);
        assert_eq!((drill.labels.len(), drill.withdrawn), (1, 1));
        let (mut labels, mut versions) = (Vec::new(), Vec::new());
        for awaited in &drill.awaited {
            awaited.took(awaited.since + EVERYWHERE, &mut labels, &mut versions);
        }
        assert_eq!((labels, versions), (vec![EVERYWHERE], vec![EVERYWHERE]));
    }

    #[test]
    fn the_95th_percentile_is_a_sample() {
        assert_eq!(percentile95((1..=100).map(f64::from).collect()), Some(95.0));
        assert_eq!(percentile95(vec![7.0]), Some(7.0));
        assert_eq!(percentile95(Vec::new()), None);
    }
}

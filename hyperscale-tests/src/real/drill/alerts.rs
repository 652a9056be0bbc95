//! The shipped alerts on the metrics of a run: agents are scraped as Prometheus would scrape them, and
//! `promtool` evaluates the rules on what they told.
//!
//! Invariant: a series has a sample or a mark of absence for every round, in order.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::{env, fs, io, process};

use serde_json::{Value, json};

use crate::real::RealError;
use crate::scenario::criteria::Check;

/// The rules that users install.
const RULES: &str = include_str!("../../../../docs/deploy/prometheus/mesh-gossip.rules.yml");
const RULES_FILE: &str = "mesh-gossip.rules.yml";
const EVERY: Duration = Duration::from_secs(15);
const PREFIX: &str = "mesh_gossip_";
const ALERT: &str = "- alert: ";
/// What is to be nothing at the end: how often each alert stood.
const STOOD: &str = "count by (alertname) (count_over_time(ALERTS{alertstate=\"firing\"}[1d]))";
/// What promtool names an alert by that was not silent.
const SPOKE: &str = "alertname=\"";

/// Scrapes, one agent after the other, all of them once a round.
pub(super) struct Recorder {
    nodes: usize,
    taken: usize,
    wanted: BTreeSet<String>,
    /// Of each agent.
    series: Vec<BTreeMap<String, Vec<Option<String>>>>,
}

/// What the rules said.
#[derive(Clone, Debug)]
pub(super) struct Alerts {
    /// The fewest that any agent told.
    series: usize,
    rounds: usize,
    verdict: Verdict,
}

#[derive(Clone, Debug, PartialEq)]
enum Verdict {
    /// At so many agents each of these alerts stood.
    Stood(BTreeMap<String, u64>),
    /// There is nobody to evaluate rules.
    NoTool,
    /// What was recorded cannot be evaluated.
    Refused(String),
}

impl Recorder {
    pub(super) fn new(nodes: usize) -> Self {
        Self { nodes, taken: 0, wanted: wanted(), series: vec![BTreeMap::new(); nodes] }
    }

    /// Scrapes those whose turn has come; who does not run tells nothing.
    pub(super) fn record(
        &mut self,
        now: Duration,
        mut scrape: impl FnMut(usize) -> Result<Option<String>, RealError>,
    ) -> Result<(), RealError> {
        let due = now.as_secs_f64() / EVERY.as_secs_f64() * self.nodes as f64;
        while (self.taken as f64) <= due {
            let (round, node) = (self.taken / self.nodes, self.taken % self.nodes);
            for line in scrape(node)?.unwrap_or_default().lines() {
                self.take(round, node, line);
            }
            self.taken += 1;
        }
        Ok(())
    }

    /// One line of Prometheus' text format.
    fn take(&mut self, round: usize, node: usize, line: &str) {
        let Some((series, value)) = line.rsplit_once(' ') else { return };
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        if !self.wanted.contains(name) {
            return;
        }
        let labels = if labels == "}" { labels.to_owned() } else { format!(",{labels}") };
        let samples = self.series[node].entry(format!("{name}{{instance=\"node-{node}\"{labels}"));
        let samples = samples.or_default();
        samples.resize(round, None);
        samples.push(Some(value.to_owned()));
    }

    fn rounds(&self) -> usize {
        self.taken / self.nodes
    }

    /// Asks promtool what the rules say to that.
    pub(super) fn judge(&self) -> Alerts {
        let verdict = self.evaluate().unwrap_or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Verdict::NoTool,
            _ => Verdict::Refused(error.to_string()),
        });
        let series = self.series.iter().map(BTreeMap::len).min().unwrap_or_default();
        Alerts { series, rounds: self.rounds(), verdict }
    }

    fn evaluate(&self) -> io::Result<Verdict> {
        let folder = env::temp_dir().join(format!("mesh-gossip-drill-{}", process::id()));
        fs::create_dir_all(&folder)?;
        let said = self.ask(&folder);
        fs::remove_dir_all(&folder)?;
        said
    }

    fn ask(&self, folder: &Path) -> io::Result<Verdict> {
        let file = folder.join("recorded.yml");
        fs::write(folder.join(RULES_FILE), RULES)?;
        fs::write(&file, self.story())?;
        let output = Command::new("promtool").args(["test", "rules"]).arg(file).output()?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        let mut stood = BTreeMap::new();
        for rest in text.split(SPOKE).skip(1) {
            let name = rest.split('"').next().unwrap_or(rest);
            *stood.entry(name.to_owned()).or_default() += 1;
        }
        Ok(if output.status.success() != stood.is_empty() {
            Verdict::Refused(text.trim().to_owned())
        } else {
            Verdict::Stood(stood)
        })
    }

    /// What was recorded, as tests of rules in which every alert is silent: one for each agent, of which
    /// rules know nothing of others, since promtool bears few samples at a time.
    fn story(&self) -> String {
        let every = EVERY.as_secs();
        let mut text = format!(
            "rule_files: [{RULES_FILE}]\nevaluation_interval: {every}s\n\
             group_eval_order: [mesh-gossip-records, mesh-gossip-alerts]\ntests:\n"
        );
        for of_one in &self.series {
            let _ = writeln!(text, "  - interval: {every}s\n    input_series:");
            for (series, samples) in of_one {
                let mut values = String::new();
                for round in 0..self.rounds() {
                    let value = samples.get(round).and_then(Option::as_deref);
                    // Prometheus marks a series stale when a scrape misses it.
                    let _ = write!(values, " {}", value.unwrap_or("stale"));
                }
                let values = values.trim();
                let _ = writeln!(text, "      - series: '{series}'\n        values: '{values}'");
            }
            let _ = writeln!(
                text,
                "    promql_expr_test:\n      - expr: '{STOOD}'\n        eval_time: {}s\n        exp_samples: []",
                self.rounds().saturating_sub(1) as u64 * every
            );
        }
        text
    }
}

impl Alerts {
    pub(super) fn checks(&self) -> [Check; 2] {
        let name = "alerts of the shipped rules, at so many agents";
        let silent = match &self.verdict {
            Verdict::Stood(stood) => {
                Check::none(name, stood.values().sum()).beside(format!("{stood:?}"))
            }
            Verdict::NoTool => Check::not_judged(name, 0.0, "promtool is not installed".into()),
            Verdict::Refused(why) => Check::at_most(name, None, 0.0).beside(why.clone()),
        };
        // A rule without its series would be silent whatever happened.
        let series = Some(self.series as f64);
        let enough = alerts().count() as f64;
        let name = "series of each agent that the rules read";
        [silent, Check::at_least(name, series, enough).condition()]
    }

    pub(super) fn json(&self) -> Value {
        let stood = match &self.verdict {
            Verdict::Stood(stood) => json!(stood),
            Verdict::NoTool | Verdict::Refused(_) => Value::Null,
        };
        json!({ "series": self.series, "rounds": self.rounds, "stood": stood })
    }
}

/// Names of the alerts.
fn alerts() -> impl Iterator<Item = &'static str> {
    RULES.lines().filter_map(|line| line.trim().strip_prefix(ALERT))
}

/// Names of the series that rules read.
fn wanted() -> BTreeSet<String> {
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let words = RULES.split(|letter| !is_name(letter));
    words.filter(|word| word.starts_with(PREFIX)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two agents for 40 rounds, of which the second does not run in the first two.
    fn recorded(suspects: impl Fn(usize) -> usize) -> Recorder {
        let mut recorder = Recorder::new(2);
        let mut taken = 0;
        let scrape = |node| {
            taken += 1;
            let round = (taken - 1) / 2;
            Ok((node == 0 || round > 1).then(|| {
                format!(
                    "# HELP mesh_gossip_members Members by status.\n\
                     mesh_gossip_members{{mesh_status=\"suspect\"}} {}\n\
                     mesh_gossip_view_size 100\nmesh_gossip_leader 1\n",
                    suspects(round)
                )
            }))
        };
        recorder.record(EVERY * 40, scrape).expect("nothing fails");
        recorder
    }

    #[test]
    fn what_rules_read_is_kept_with_its_place_in_time() {
        let recorder = recorded(|_| 0);
        assert_eq!((recorder.rounds(), recorder.series[1].len()), (40, 2), "no leader");
        let late = &recorder.series[1]["mesh_gossip_view_size{instance=\"node-1\"}"];
        assert_eq!((late.len(), late[1].as_deref(), late[2].as_deref()), (40, None, Some("100")));
        assert!(wanted().contains("mesh_gossip_rtt_ms_bucket"));
        assert!(alerts().count() > 10);
    }

    #[test]
    fn an_alert_that_stands_is_told_and_silence_is_silence() {
        let quiet = recorded(|_| 0).judge();
        if quiet.verdict == Verdict::NoTool {
            println!("SKIPPED: promtool is not installed");
            return;
        }
        assert_eq!(quiet.verdict, Verdict::Stood(BTreeMap::new()));
        let loud = recorded(|round| round).judge();
        let Verdict::Stood(stood) = &loud.verdict else { panic!("{loud:?}") };
        let names: Vec<&String> = stood.keys().collect();
        assert_eq!(names, ["MeshGossipSuspectsClimbing"]);
        assert_eq!(stood["MeshGossipSuspectsClimbing"], 2);
        assert_eq!(loud.checks().map(|check| check.pass), [false, false], "two series each");
    }

    #[test]
    fn what_cannot_be_evaluated_fails() {
        let refused =
            Alerts { series: 99, rounds: 1, verdict: Verdict::Refused("no such rule".into()) };
        assert_eq!(refused.checks().map(|check| check.pass), [false, true]);
    }
}

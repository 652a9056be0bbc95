//! Prometheus' text format, read back.

use std::collections::BTreeMap;

/// The samples of one scrape.
#[derive(Debug)]
pub(crate) struct Metrics(Vec<Sample>);

#[derive(Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Metrics {
    /// Reads a scrape; a line that is neither comment nor sample is a failure.
    pub(crate) fn read(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self(samples.map(Sample::read).collect())
    }

    /// The sum of the samples of this name that carry all these labels; 0 where there are none.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let carries = |sample: &&Sample| {
            let has = |(key, value): &(&str, &str)| {
                sample.labels.get(*key).map(String::as_str) == Some(*value)
            };
            sample.name == name && labels.iter().all(has)
        };
        // Counters and gauges of ours are whole numbers.
        self.0.iter().filter(carries).map(|sample| sample.value as u64).sum()
    }

    /// Members with this status.
    pub(crate) fn members(&self, status: &str) -> u64 {
        self.sum("mesh_gossip_members", &[("mesh_status", status)])
    }

    /// Transitions of this name.
    pub(crate) fn transitions(&self, name: &str) -> u64 {
        self.sum("mesh_gossip_transitions_total", &[("mesh_transition", name)])
    }

    /// Datagrams dropped for this reason.
    pub(crate) fn dropped(&self, reason: &str) -> u64 {
        self.sum("mesh_gossip_datagrams_dropped_total", &[("mesh_reason", reason)])
    }

    /// Handshakes that failed for this reason.
    pub(crate) fn handshakes_failed(&self, reason: &str) -> u64 {
        let labels = [("mesh_outcome", "failure"), ("mesh_reason", reason)];
        self.sum("mesh_gossip_handshakes_total", &labels)
    }
}

impl Sample {
    fn read(line: &str) -> Self {
        let (series, value) = line.rsplit_once(' ').expect("a sample ends in its value");
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let labels = labels.strip_suffix('}').expect("labels end in a brace");
        let pairs = labels.split(',').filter(|pair| !pair.is_empty());
        let pair = |pair: &str| {
            let (key, value) = pair.split_once('=').expect("a label has a value");
            (key.to_owned(), value.trim_matches('"').to_owned())
        };
        Self {
            name: name.to_owned(),
            labels: pairs.map(pair).collect(),
            value: value.parse().expect("a number"),
        }
    }
}

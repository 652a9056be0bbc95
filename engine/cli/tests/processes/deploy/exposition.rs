//! Prometheus' text format, read back: which metrics there are, with which labels and values.

use std::collections::{BTreeMap, BTreeSet};

use super::promql::{Expression, Matcher};

/// Labels that a scrape adds.
const OF_THE_TARGET: [&str; 2] = ["instance", "job"];
/// Labels of `ALERTS`, which Prometheus makes of the rules.
const OF_ALERTS: [&str; 2] = ["alertname", "alertstate"];

type Labels = BTreeMap<String, String>;

/// Metrics that agents export and that recording rules make.
#[derive(Debug, Default)]
pub(crate) struct Known {
    samples: BTreeMap<String, Vec<Labels>>,
    records: BTreeMap<String, Expression>,
}

impl Known {
    /// Adds a scrape.
    pub(crate) fn scraped(&mut self, text: &str) {
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let series = line.rsplit_once(' ').map_or(line, |(series, _)| series);
            let (name, inner) = series.split_once('{').unwrap_or((series, ""));
            let labels = labels(inner.trim_end_matches('}'));
            self.samples.entry(name.to_owned()).or_default().push(labels);
        }
    }

    /// Labels of all samples of a family; a histogram's are those of its count.
    pub(crate) fn labels_of(&self, family: &str, is_histogram: bool) -> BTreeSet<String> {
        let name = if is_histogram { format!("{family}_count") } else { family.to_owned() };
        let samples = self.samples.get(&name).into_iter().flatten();
        samples.flat_map(|labels| labels.keys().cloned()).collect()
    }

    /// Adds what a recording rule makes.
    pub(crate) fn recorded(&mut self, name: &str, made_of: Expression) {
        self.records.insert(name.to_owned(), made_of);
    }

    /// Whatever of the expression nobody exports.
    pub(crate) fn complaints(&self, expression: &Expression) -> Vec<String> {
        let mut wrong = Vec::new();
        for selector in &expression.selectors {
            let metric = selector.metric.as_str();
            let is_known = self.samples.contains_key(metric)
                || self.records.contains_key(metric)
                || metric == "ALERTS";
            if !is_known {
                wrong.push(format!("nobody exports {metric}"));
                continue;
            }
            for matcher in &selector.matchers {
                if !self.has(metric, &matcher.label) {
                    wrong.push(format!("{metric} has no label {}", matcher.label));
                } else if let Some(value) = self.missing_value(metric, matcher) {
                    wrong.push(format!("{metric} has no {}=\"{value}\"", matcher.label));
                }
            }
        }
        for label in &expression.labels {
            if !self.speaks_of(expression, label) {
                wrong.push(format!("nothing in the expression has the label {label}"));
            }
        }
        wrong
    }

    /// Whether a metric of the expression can carry the label.
    pub(crate) fn speaks_of(&self, expression: &Expression, label: &str) -> bool {
        expression.selectors.iter().any(|selector| self.has(&selector.metric, label))
    }

    fn has(&self, metric: &str, label: &str) -> bool {
        if OF_THE_TARGET.contains(&label) || (metric == "ALERTS" && OF_ALERTS.contains(&label)) {
            return true;
        }
        if let Some(made_of) = self.records.get(metric) {
            return self.speaks_of(made_of, label);
        }
        let mut samples = self.samples.get(metric).into_iter().flatten();
        samples.any(|labels| labels.contains_key(label))
    }

    /// A value that the matcher names and that no sample has.
    fn missing_value(&self, metric: &str, matcher: &Matcher) -> Option<String> {
        let samples = self.samples.get(metric)?;
        // A value with a sign of a pattern, or of a variable, is left to Prometheus.
        let is_plain = |value: &&str| !value.is_empty() && !value.contains(['$', '.', '*', '+']);
        let is_there = |value: &str| {
            samples.iter().any(|labels| labels.get(&matcher.label).is_some_and(|it| it == value))
        };
        let alternatives: Vec<&str> = match matcher.operator.as_str() {
            "=~" | "!~" => matcher.value.split('|').collect(),
            _ => vec![&matcher.value],
        };
        let missing = alternatives.into_iter().filter(is_plain).find(|value| !is_there(value));
        missing.map(str::to_owned)
    }
}

/// `name="value"` with escapes, separated by commas.
fn labels(mut text: &str) -> Labels {
    let mut found = Labels::new();
    while let Some((name, rest)) = text.split_once("=\"") {
        let mut value = String::new();
        let mut signs = rest.char_indices();
        let mut end = rest.len();
        while let Some((at, sign)) = signs.next() {
            match sign {
                '"' => {
                    end = at + 1;
                    break;
                }
                '\\' => value.extend(signs.next().map(|(_, escaped)| escaped)),
                plain => value.push(plain),
            }
        }
        found.insert(name.trim_start_matches(',').to_owned(), value);
        text = &rest[end..];
    }
    found
}

mod tests {
    use super::*;
    use crate::deploy::promql::read;

    const SCRAPE: &str =
        "# HELP a Some.\n# TYPE a counter\na{x=\"1\",y=\"q\\\"z\"} 4\na{x=\"2\"} 0\nb 1\n";

    fn known() -> Known {
        let mut known = Known::default();
        known.scraped(SCRAPE);
        known.recorded("r:a", read("sum by (x) (a)").unwrap());
        known
    }

    #[test]
    fn what_is_exported_is_known() {
        for text in [
            "sum by (x, instance) (rate(a{x=\"1\"}[5m])) / b",
            "r:a{x=~\"1|2\"}",
            "a{y!~\"\"} and b",
            "a{x!=\"\", instance=~\"$node\"}",
            "ALERTS{alertname=~\"A.*\"}",
        ] {
            assert_eq!(known().complaints(&read(text).unwrap()), [""; 0], "{text}");
        }
    }

    #[test]
    fn what_nobody_exports_is_a_complaint() {
        for (text, complaint) in [
            ("c + a", "nobody exports c"),
            ("a{z=\"1\"}", "a has no label z"),
            ("a{x=\"3\"}", "a has no x=\"3\""),
            ("a{x=~\"1|3\"}", "a has no x=\"3\""),
            ("sum by (z) (a)", "nothing in the expression has the label z"),
            ("r:b", "nobody exports r:b"),
            ("r:a{z=\"1\"}", "r:a has no label z"),
        ] {
            assert_eq!(known().complaints(&read(text).unwrap()), [complaint], "{text}");
        }
    }
}

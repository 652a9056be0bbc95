//! The dashboard and the rules, against what running agents export.

use std::collections::{BTreeMap, BTreeSet};
use std::net::UdpSocket;

use serde_json::{Value, json};

use super::document;
use super::exposition::Known;
use super::promql::{self, Expression};
use super::yaml;
use crate::stage::{Outcome, Process, Stage, until};

const RULES: &str = "deploy/prometheus/mesh-gossip.rules.yml";
const STORIES: &str = "deploy/prometheus/mesh-gossip.test.yml";
const DASHBOARD: &str = "deploy/grafana/mesh-gossip.dashboard.json";
/// Variables that Grafana sets.
const OF_GRAFANA: [&str; 3] = ["__rate_interval", "__interval", "__range"];

/// A recording or alert rule.
pub(super) struct Rule {
    pub(super) name: String,
    pub(super) is_alert: bool,
    pub(super) expression: Expression,
    pub(super) annotations: Value,
}

pub(super) fn rules() -> Outcome<Vec<Rule>> {
    let mut found = Vec::new();
    for file in yaml::documents(&document(RULES)?)? {
        for group in file["groups"].as_array().ok_or("no groups")? {
            for rule in group["rules"].as_array().ok_or("no rules")? {
                let text = rule["expr"].as_str().ok_or("a rule without expression")?;
                let name = rule["alert"].as_str().or(rule["record"].as_str());
                found.push(Rule {
                    name: name.ok_or("a rule without name")?.to_owned(),
                    is_alert: rule["alert"].is_string(),
                    expression: promql::read(text)?,
                    annotations: rule["annotations"].clone(),
                });
            }
        }
    }
    assert!(found.len() > 15, "only {} rules read", found.len());
    Ok(found)
}

/// An expression, where it stands, and the texts that name its labels.
struct Query {
    place: String,
    expression: Expression,
    labels: Vec<String>,
}

fn queries(dashboard: &Value) -> Outcome<Vec<Query>> {
    let mut found = Vec::new();
    let mut add = |place: &str, text: &str, legends: &[&Value]| -> Outcome {
        let expression = promql::read(text).map_err(|error| format!("{place}: {error}"))?;
        let legends = legends.iter().filter_map(|legend| legend.as_str());
        let labels = legends.flat_map(promql::templated).collect();
        found.push(Query { place: place.to_owned(), expression, labels });
        Ok(())
    };
    for panel in dashboard["panels"].as_array().ok_or("no panels")? {
        let title = panel["title"].as_str().ok_or("a panel without title")?;
        for target in panel["targets"].as_array().into_iter().flatten() {
            let text = target["expr"].as_str().ok_or_else(|| format!("{title}: no query"))?;
            add(title, text, &[&target["legendFormat"]])?;
        }
    }
    for note in dashboard["annotations"]["list"].as_array().ok_or("no annotations")? {
        let text = note["expr"].as_str().ok_or("an annotation without query")?;
        add("annotations", text, &[&note["titleFormat"], &note["textFormat"]])?;
    }
    for variable in dashboard["templating"]["list"].as_array().ok_or("no variables")? {
        // A datasource's query is the kind of datasource.
        let Some(text) = variable["query"]["query"].as_str() else { continue };
        let inner = text.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
        let inner = inner.ok_or_else(|| format!("`{text}` is no call"))?;
        match text.strip_prefix("label_values").and(inner.rsplit_once(", ")) {
            Some((metric, label)) => {
                add("variables", metric, &[&format!("{{{{{label}}}}}").into()])?;
            }
            None => add("variables", inner, &[])?,
        }
    }
    assert!(found.len() > 60, "only {} queries read", found.len());
    Ok(found)
}

fn complaints(known: &Known, query: &Query) -> Vec<String> {
    let mut wrong = known.complaints(&query.expression);
    let strange = query.labels.iter().filter(|label| !known.speaks_of(&query.expression, label));
    wrong.extend(strange.map(|label| format!("the legend names {label}, which is no label of it")));
    wrong.into_iter().map(|what| format!("{}: {what}", query.place)).collect()
}

/// Two agents that have met, with leaders, and to whom something happened.
fn agents(stage: &Stage) -> Outcome<[Process; 2]> {
    let mut seed = None;
    let mut start = |node: &str, role: &str| -> Outcome<Process> {
        let mut settings = stage.settings(node, role)?;
        let first = format!("127.0.0.1:{}", settings["port"]);
        settings.insert("seedPeers".into(), json!([seed.get_or_insert(first)]));
        settings.insert("leadership".into(), json!({ "scopes": ["control"] }));
        settings.insert("interval".into(), json!("250ms"));
        stage.start(&stage.write(&format!("{node}.json"), &settings)?, &[])
    };
    let both = [start("watched-a", "dispatcher")?, start("watched-b", "worker")?];
    UdpSocket::bind("127.0.0.1:0")?.send_to(b"no datagram of ours", both[0].address)?;
    Ok(both)
}

/// Every metric and label that the dashboard and the rules use is exported by running agents, or made
/// by a rule.
#[test]
fn the_dashboard_and_the_rules_use_what_running_agents_export() -> Outcome {
    let dashboard: Value = serde_json::from_str(&document(DASHBOARD)?)?;
    let mut all = queries(&dashboard)?;
    let rules = rules()?;
    let stage = Stage::new("watched", "watched.test")?;
    let agents = agents(&stage)?;
    let mut left = Vec::new();
    let look = || -> Outcome<Known> {
        let mut known = Known::default();
        for agent in &agents {
            known.scraped(&agent.read("/metrics")?);
        }
        for rule in rules.iter().filter(|rule| !rule.is_alert) {
            known.recorded(&rule.name, rule.expression.clone());
        }
        Ok(known)
    };
    for rule in &rules {
        let texts = rule.annotations.as_object().into_iter().flat_map(serde_json::Map::values);
        let labels = texts.filter_map(Value::as_str).flat_map(promql::templated).collect();
        let (place, expression) = (rule.name.clone(), rule.expression.clone());
        all.push(Query { place, expression, labels });
    }
    // Leaders and exchanges come within seconds.
    let done = until("all that is used is exported", || {
        let known = look()?;
        left = all.iter().flat_map(|query| complaints(&known, query)).collect();
        Ok(left.is_empty().then_some(()))
    });
    assert!(done.is_ok(), "\n  {}\n", left.join("\n  "));
    Ok(())
}

/// The check above can fail: a dashboard with a name that nobody exports, and one with a legend of a label that
/// its query does not have.
#[test]
fn a_query_of_an_unknown_metric_is_found() -> Outcome {
    let mut known = Known::default();
    known.scraped("mesh_gossip_members{mesh_status=\"alive\"} 3\n");
    let query = |text: &str, legend: &str| -> Outcome<Query> {
        let labels = promql::templated(legend);
        Ok(Query { place: "P".into(), expression: promql::read(text)?, labels })
    };
    let good = query("sum by (mesh_status) (mesh_gossip_members)", "{{mesh_status}}")?;
    assert_eq!(complaints(&known, &good), [""; 0]);
    let planted = query("mesh_gossip_members + rate(mesh_gossip_phantoms_total[5m])", "")?;
    assert_eq!(complaints(&known, &planted), ["P: nobody exports mesh_gossip_phantoms_total"]);
    let legend = query("mesh_gossip_members", "{{mesh_state}}")?;
    let complaint = "P: the legend names mesh_state, which is no label of it";
    assert_eq!(complaints(&known, &legend), [complaint]);
    Ok(())
}

/// Grafana takes a dashboard whose panels overlap or share an id, and shows half of it.
#[test]
fn the_dashboard_is_one_that_grafana_shows_whole() -> Outcome {
    let dashboard: Value = serde_json::from_str(&document(DASHBOARD)?)?;
    let mut names: Vec<&str> = OF_GRAFANA.to_vec();
    for variable in dashboard["templating"]["list"].as_array().ok_or("no variables")? {
        names.push(variable["name"].as_str().ok_or("a variable without name")?);
    }
    for wanted in ["datasource", "cluster", "node"] {
        assert!(names.contains(&wanted), "no variable {wanted}");
    }
    for query in queries(&dashboard)? {
        for variable in &query.expression.variables {
            assert!(names.contains(&variable.as_str()), "{}: ${variable}", query.place);
        }
    }
    let mut cells = BTreeMap::new();
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().ok_or("no panels")? {
        let title = &panel["title"];
        assert!(ids.insert(panel["id"].as_u64()), "{title}: its id is taken");
        let is_row = panel["type"] == "row";
        if !is_row {
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
            assert!(panel["description"].as_str().is_some_and(|text| !text.is_empty()), "{title}");
        }
        let at = |key: &str| panel["gridPos"][key].as_u64().ok_or("no place");
        let (x, y, width, height) = (at("x")?, at("y")?, at("w")?, at("h")?);
        assert!(x + width <= 24, "{title} is too wide");
        for cell in (x..x + width).flat_map(|x| (y..y + height).map(move |y| (x, y))) {
            let other = cells.insert(cell, title);
            assert!(other.is_none(), "{title} lies over {other:?}");
        }
    }
    Ok(())
}

/// Each alert has a story for promtool in which it fires, and one in which it stays quiet.
#[test]
fn every_alert_has_a_story_in_which_it_fires_and_one_in_which_it_does_not() -> Outcome {
    let mut stories = Vec::new();
    for file in yaml::documents(&document(STORIES)?)? {
        for story in file["tests"].as_array().ok_or("no stories")? {
            for test in story["alert_rule_test"].as_array().into_iter().flatten() {
                let name = test["alertname"].as_str().ok_or("a story of no alert")?.to_owned();
                let fires = test["exp_alerts"].as_array().is_some_and(|alerts| !alerts.is_empty());
                stories.push((name, fires));
            }
        }
    }
    for alert in rules()?.iter().filter(|rule| rule.is_alert) {
        for fires in [true, false] {
            let told = stories.contains(&(alert.name.clone(), fires));
            assert!(told, "no story in which {} fires: {fires}", alert.name);
        }
    }
    Ok(())
}

/// The table of metrics says what agents export: each family with its kind, its labels and its words.
#[test]
fn the_table_of_metrics_is_what_running_agents_export() -> Outcome {
    let text = document("metrics.md")?;
    let mut stated = BTreeMap::new();
    for row in text.lines().filter(|line| line.starts_with("| `mesh_gossip_")) {
        let cells: Vec<&str> = row.trim_matches('|').splitn(4, '|').map(str::trim).collect();
        let [name, kind, labels, help] = cells[..] else { return Err(row.into()) };
        let labels: BTreeSet<String> =
            labels.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        let stated_of = (format!("{kind}: {help}"), labels);
        stated.insert(name.trim_matches('`').to_owned(), stated_of);
    }
    let stage = Stage::new("listed", "listed.test")?;
    let agents = agents(&stage)?;
    let mut exported: BTreeMap<String, (String, BTreeSet<String>)> = BTreeMap::new();
    let mut known = Known::default();
    let done = until("all that is stated is exported", || {
        for agent in &agents {
            let (mut help, scrape) = ("", agent.read("/metrics")?);
            known.scraped(&scrape);
            for line in scrape.lines() {
                if let Some(rest) = line.strip_prefix("# HELP ") {
                    help = rest.split_once(' ').ok_or("a metric without words")?.1;
                } else if let Some((name, kind)) =
                    line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
                {
                    let labels = known.labels_of(name, kind == "histogram");
                    exported.insert(name.to_owned(), (format!("{kind}: {help}"), labels));
                }
            }
        }
        // Some labels come with their first case.
        let is_there = |(name, of): (&String, &(_, _))| exported.get(name) == Some(of);
        Ok(stated.iter().all(is_there).then_some(()))
    });
    let missing: Vec<_> = exported.iter().filter(|(name, _)| !stated.contains_key(*name)).collect();
    assert!(missing.is_empty(), "docs/metrics.md lacks rows: {missing:#?}");
    assert_eq!(stated, exported, "docs/metrics.md says otherwise than what is exported");
    done
}

/// Whoever is woken by an alert is led to what to do: each has its place in the runbooks, and each runbook an
/// alert. Metrics that the runbooks name exist.
#[test]
fn every_alert_leads_to_its_runbook() -> Outcome {
    const RUNBOOKS: &str = "https://github.com/omnirelay/mesh-gossip/blob/main/docs/operations.md#";
    let text = document("operations.md")?;
    let (_, runbooks) = text.split_once("\n## Runbooks\n").ok_or("no runbooks")?;
    let runbooks = runbooks.split("\n## ").next().unwrap_or_default();
    let mut headings: Vec<&str> =
        runbooks.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let mut alerts: Vec<String> = Vec::new();
    for alert in rules()?.into_iter().filter(|rule| rule.is_alert) {
        let url = format!("{RUNBOOKS}{}", alert.name.to_ascii_lowercase());
        assert_eq!(alert.annotations["runbook_url"], url.as_str(), "{}", alert.name);
        alerts.push(alert.name);
    }
    headings.sort_unstable();
    alerts.sort_unstable();
    assert_eq!(headings, alerts);
    for heading in headings {
        let (_, body) = runbooks.split_once(&format!("### {heading}\n")).ok_or("a heading")?;
        let body = body.split("\n### ").next().unwrap_or_default();
        assert!(body.trim().len() > 150, "{heading} says next to nothing");
    }
    let metrics = document("metrics.md")?;
    for name in text.split('`').filter(|word| word.starts_with("mesh_gossip_")) {
        let name = name.split(['{', ' ']).next().unwrap_or_default();
        assert!(metrics.contains(&format!("| `{name}` |")), "{name} is in no table of metrics");
    }
    Ok(())
}

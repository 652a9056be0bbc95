//! The agent that runs with these settings, asked at its control URL.
//!
//! Invariant: an agent of another name is not taken for ours.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use mesh_gossip::options::AgentOptions;
use serde::Deserialize;

use super::report::Finding;
use crate::control::{Door, is_plain};
use crate::peers::{self, PeersError};

const DROPS: &str = "receive drops";
const ALARMS: &str = "alarms";

/// An agent of this name that answers.
pub(super) struct Running {
    pub(super) url: String,
    /// Where the URL needs mutual TLS.
    door: Option<Door>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    local_node_id: String,
}

impl Running {
    /// Asks where it was said, or where the settings say.
    pub(super) fn find(
        options: &AgentOptions,
        url: Option<&str>,
        patience: Duration,
    ) -> Option<Self> {
        let configured = || {
            let control = options.control.as_ref()?;
            let scheme = if control.tls.is_some() { "https" } else { "http" };
            let mut at = control.bind;
            match at.ip() {
                IpAddr::V4(ip) if ip.is_unspecified() => at.set_ip(Ipv4Addr::LOCALHOST.into()),
                IpAddr::V6(ip) if ip.is_unspecified() => at.set_ip(Ipv6Addr::LOCALHOST.into()),
                IpAddr::V4(_) | IpAddr::V6(_) => {}
            }
            // A port that the kernel chose is known to that agent alone.
            (at.port() != 0).then(|| format!("{scheme}://{at}"))
        };
        let url = url.map(str::to_owned).or_else(configured)?;
        // The node's own certificate may read.
        let door = if is_plain(&url) {
            None
        } else {
            Some(Door::secure(&url, &options.tls, Some(options.node_id.clone())).ok()?)
        };
        let body = fetch(&url, door.as_ref(), "/control/peers", patience).ok()?;
        let document: Document = serde_json::from_str(&body).ok()?;
        (document.local_node_id == options.node_id).then_some(Self { url, door })
    }

    /// What its counters tell since its start.
    pub(super) fn health(&self, patience: Duration) -> Vec<Finding> {
        match fetch(&self.url, self.door.as_ref(), "/metrics", patience) {
            Ok(metrics) => judged(&metrics),
            Err(error) => {
                let fix = "look at the agent's log: its shard may be busy or gone";
                vec![Finding::fail(ALARMS, error.to_string(), fix)]
            }
        }
    }
}

fn fetch(
    url: &str,
    door: Option<&Door>,
    path: &str,
    patience: Duration,
) -> Result<String, PeersError> {
    match door {
        None => peers::fetch_plain(&format!("{url}{path}"), patience),
        Some(door) => peers::fetch_through(door, path, patience),
    }
}

fn judged(metrics: &str) -> Vec<Finding> {
    let mut findings = vec![match counted(metrics, "mesh_gossip_receive_drops_total") {
        0 => Finding::pass(DROPS, "the kernel has dropped nothing of the running agent's"),
        drops => Finding::warn(
            DROPS,
            format!("the kernel dropped {drops} datagrams, as the running agent's buffer was full"),
            "raise net.core.rmem_max, or give the agent more processor time",
        ),
    }];
    let alarms = [
        (
            "two-certificates",
            "the records of a member are signed under two certificates in turns: two nodes have \
             one id",
            "the agent's log names the member; give one of the two another mesh:gossip:nodeId",
        ),
        (
            "clock-off",
            "the running agent's clock and its seeds' were more than ten minutes apart: it says \
             nothing while they are",
            "set the clocks by NTP (chronyc makestep), the wrong one first",
        ),
        (
            "future-life",
            "a member signed a life that begins more than ten minutes from now",
            "the agent's log names the member; set its clock by NTP",
        ),
    ];
    let before = findings.len();
    findings.extend(alarms.into_iter().filter_map(|(word, evidence, fix)| {
        let name = format!("mesh_gossip_alarms_total{{mesh_alarm=\"{word}\"}}");
        (counted(metrics, &name) > 0).then(|| Finding::fail(ALARMS, evidence, fix))
    }));
    if findings.len() == before {
        findings.push(Finding::pass(ALARMS, "the running agent has raised none"));
    }
    findings
}

/// A counter that has not counted yet may be absent.
fn counted(metrics: &str, name: &str) -> u64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::report::Verdict;
    use super::*;

    #[test]
    fn drops_and_alarms_of_a_running_agent_are_told() {
        let told = |metrics: &str| -> Vec<(Verdict, String)> {
            judged(metrics).into_iter().map(|found| (found.verdict, found.evidence)).collect()
        };
        let calm = told("mesh_gossip_receive_drops_total 0\n");
        assert!(calm.iter().all(|(verdict, _)| *verdict == Verdict::Pass), "{calm:?}");
        assert_eq!(calm.len(), 2);
        let troubled = told(
            "mesh_gossip_receive_drops_total 12\n\
             mesh_gossip_alarms_total{mesh_alarm=\"clock-off\"} 1\n\
             mesh_gossip_alarms_total{mesh_alarm=\"two-certificates\"} 3\n",
        );
        let parts = [
            (Verdict::Warn, "dropped 12 datagrams"),
            (Verdict::Fail, "two nodes have one id"),
            (Verdict::Fail, "more than ten minutes apart"),
        ];
        assert_eq!(troubled.len(), parts.len());
        for ((verdict, evidence), (expected, part)) in troubled.iter().zip(parts) {
            assert!(*verdict == expected && evidence.contains(part), "{evidence}");
        }
    }
}

//! Three hosts of one cluster, each behind a door of its own; the first one is the others' seed.

use std::time::Duration;

use mesh_gossip::options::AgentOptions;

use super::{Authority, Door, Host, Network, Spec, Stage, everyone_alive, until};

pub(crate) const CLUSTER: &str = "trio-cluster";
/// Names and roles. The seed is the middle one in the order of names.
pub(crate) const PEOPLE: [(&str, &str); 3] =
    [("mike", "gateway"), ("alpha", "dispatcher"), ("zulu", "worker")];

/// Three hosts.
pub(crate) struct Trio {
    pub(crate) authority: Authority,
    pub(crate) hosts: [Host; 3],
    pub(crate) doors: [Door; 3],
    pub(crate) network: Network,
}

impl Trio {
    /// Starts them; they may not have found each other yet.
    pub(crate) fn start(stage: &Stage) -> Self {
        Self::start_over(stage, stage.network())
    }

    /// Starts them over a network prepared by the story.
    pub(crate) fn start_over(stage: &Stage, network: Network) -> Self {
        Self::certified(stage, network, Authority::of(CLUSTER), &|options| options)
    }

    /// Starts them with certificates of this authority and with options that the story changed.
    pub(crate) fn certified(
        stage: &Stage,
        network: Network,
        authority: Authority,
        change: &dyn Fn(AgentOptions) -> AgentOptions,
    ) -> Self {
        let doors = PEOPLE.map(|(name, _)| network.door(name));
        let host = |number: usize| {
            let (name, role) = PEOPLE[number];
            let spec = Spec::new(change(authority.options(name, role)));
            let spec = if number == 0 { spec } else { spec.seed(doors[0].address()) };
            spec.start_behind(&doors[number], stage.backend)
        };
        let hosts = [host(0), host(1), host(2)];
        Self { authority, hosts, doors, network }
    }

    /// Starts them and waits until each holds all three alive.
    pub(crate) fn together(stage: &Stage) -> Self {
        let trio = Self::start(stage);
        trio.wait_until_whole();
        trio
    }

    /// Waits until each holds all three alive; returns how long that took.
    pub(crate) fn wait_until_whole(&self) -> Duration {
        until("every host holds all three alive", || everyone_alive(&self.all()))
    }

    /// All of them.
    pub(crate) fn all(&self) -> [&Host; 3] {
        self.hosts.each_ref()
    }

    /// Every host with every other.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&Host, &Host)> {
        let others =
            |seer| self.hosts.iter().filter(move |seen: &&Host| !std::ptr::eq(*seen, seer));
        self.hosts.iter().flat_map(move |seer| others(seer).map(move |seen| (seer, seen)))
    }
}

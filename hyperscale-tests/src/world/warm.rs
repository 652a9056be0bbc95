//! A world that begins in the middle: everybody knows everybody, and sessions between ring
//! neighbours are warm.

use std::sync::Arc;

use mesh_gossip_proto::node::Birth;
use mesh_gossip_proto::{
    Command, Duration, Extent, Incarnation, Instant, Member, MemberId, Node, SignedRecord, State,
};

use super::views::{Behind, Views};
use super::{What, World, address};
use crate::sessions::Made;
use crate::table::SimTable;

/// Time between two looks for what tables could share.
const FOLD_EVERY: Duration = Duration::from_secs(20);

impl<T: SimTable> World<T> {
    /// Adds `count` nodes that have known each other for a while: views agree, ring neighbours
    /// have sessions, joins are done. Their starts are spread over one interval. Events are not
    /// recorded unless asked for after this.
    ///
    /// # Panics
    /// When the world has nodes already.
    #[must_use]
    pub fn warm(self, count: usize) -> Self {
        self.warm_but(count, &Behind::default())
    }

    /// As [`World::warm`]; some nodes are behind.
    ///
    /// # Panics
    /// When the world has nodes already.
    #[must_use]
    pub fn warm_but(mut self, count: usize, behind: &Behind) -> Self {
        assert!(self.hosts.is_empty(), "a warm start is a start");
        self.recording = false;
        let interval = self.config.interval;
        let starts: Vec<Instant> = (0..count)
            .map(|_| {
                Instant::ORIGIN + Duration::from_nanos(self.rng.u64(..interval.as_nanos() as u64))
            })
            .collect();
        let cluster = &self.config.cluster_id;
        T::expect(&mut self.common, count, |index| MemberId::derive(cluster, &super::name(index)));
        let mut members = Vec::with_capacity(count);
        for start in &starts {
            let index = self.enter();
            let birth = self.birth(index, *start);
            members.push(self.author(birth, *start));
        }
        T::fill(&mut self.common, &self.config, members);
        for (index, start) in starts.iter().enumerate() {
            let mut table = T::full(&self.common);
            if behind.nodes.contains(&index) {
                self.set_back(&mut table, behind, &starts);
            }
            self.start_warm(index, *start, table);
        }
        self.views = (!behind.nodes.is_empty()).then(|| Box::new(Views::of(behind)));
        self.warm_neighbours();
        self.wheel.push(Instant::ORIGIN + FOLD_EVERY, What::Fold);
        self
    }

    /// Adds `count` nodes of which the first one alone starts; the others wait for
    /// [`World::begin`]. Events are not recorded.
    ///
    /// # Panics
    /// When the world has nodes already.
    #[must_use]
    pub fn asleep(mut self, count: usize) -> Self {
        assert!(self.hosts.is_empty(), "a first start is a start");
        self.recording = false;
        let cluster = &self.config.cluster_id;
        T::expect(&mut self.common, count, |index| MemberId::derive(cluster, &super::name(index)));
        for _ in 0..count {
            self.enter();
        }
        self.start(0);
        self.wheel.push(Instant::ORIGIN + FOLD_EVERY, What::Fold);
        self
    }

    /// Starts a node that waits, which joins through the seeds.
    ///
    /// # Panics
    /// When it runs.
    pub fn begin(&mut self, index: usize) {
        assert!(self.hosts[index].node.is_none(), "{}: node {index} runs", self.replay());
        self.fired.joins += 1;
        self.start(index);
    }

    /// The member that a node born so is.
    pub(super) fn author(&self, birth: Birth, since: Instant) -> Member {
        let Birth { config, metadata, addresses, born, authority, .. } = birth;
        let metadata = mesh_gossip_proto::Metadata { metadata_version: 1, ..metadata };
        let incarnation = Incarnation { generation: born.0, counter: 0 };
        let record = mesh_gossip_proto::membership::record::first_record(
            &config.cluster_id,
            incarnation,
            addresses,
            metadata,
        );
        let record = SignedRecord::author(record, authority.as_ref());
        let record = Arc::new(record.unwrap_or_else(|| panic!("{}: unsigned", self.replay())));
        self.notary.share(&record);
        Member { record, state: State::Alive, since }
    }

    fn start_warm(&mut self, index: usize, start: Instant, table: T) {
        let birth = self.birth(index, start);
        let node = match Node::on_table(start, birth, table) {
            Ok(node) => node,
            Err(error) => panic!("{}: {error}", self.replay()),
        };
        self.lives(index, node);
        let seeds: Vec<usize> =
            self.seeds.iter().filter_map(|seed| super::index_of(*seed)).collect();
        let ids: Vec<MemberId> = seeds.iter().map(|seed| self.ids[*seed]).collect();
        let addresses = self.seeds.clone();
        let replay = self.replay();
        let Some(node) = self.hosts[index].node.as_mut() else { return };
        // The join lies in the past: whom the seeds are was learnt then, and nothing is left to
        // ask for.
        node.handle_command(start, Command::Join(addresses))
            .unwrap_or_else(|error| panic!("{replay}: {error}"));
        for (seed, id) in seeds.into_iter().zip(ids) {
            if seed != index {
                node.handle_peer_proven(start, id, address(seed), true);
            }
        }
        node.handle_stream_closed(node.id(), Extent::Whole, true);
        let mut unsent = Vec::new();
        while node.poll_transmit(start, &mut unsent).is_some() {}
        while node.poll_event().is_some() {}
        while node.poll_stream().is_some() {}
        self.set_due(index);
    }

    /// Sessions between each node and those that precede it on a ring, as many as observe it.
    fn warm_neighbours(&mut self) {
        let rings = self.config.rings;
        for index in 0..self.hosts.len() {
            let id = self.ids[index];
            let mut neighbours: Vec<usize> = Vec::new();
            for ring in 0..rings {
                let mut before = self.node(index).table().before(ring, id);
                let fresh = before.find_map(|id| {
                    let other = self.roll.index(id)?;
                    (!neighbours.contains(&other)).then_some(other)
                });
                neighbours.extend(fresh);
            }
            for other in neighbours {
                self.acquaint(index, other);
            }
        }
    }

    /// Gives two running nodes a session.
    pub fn acquaint(&mut self, a: usize, b: usize) {
        let lives = (self.hosts[a].life, self.hosts[b].life);
        self.hosts[a].links.establish(self.now, b as u32, Made::earlier(lives.1));
        self.hosts[b].links.establish(self.now, a as u32, Made::earlier(lives.0));
    }

    /// Lets tables share what they have in common.
    pub(super) fn fold(&mut self) {
        let tables = self.hosts.iter().filter_map(|host| Some(host.node.as_deref()?.table()));
        T::fold(&mut self.common, tables);
        self.wheel.push(self.now + FOLD_EVERY, What::Fold);
    }
}

//! Faults take effect.

use mesh_gossip_proto::Command;

use super::{Held, What, World};
use crate::fault::{Fault, Fired};
use crate::table::SimTable;
use crate::trace::Kind;

impl<T: SimTable> World<T> {
    /// The scheduled fault with this number comes.
    pub(super) fn befall(&mut self, number: usize) {
        let fault = self.faults[number].clone();
        self.apply(&fault);
    }

    /// Applies a fault at once.
    pub fn apply(&mut self, fault: &Fault) {
        let told = format!("{fault:?}");
        self.trace.add(self.now.as_nanos(), Kind::Fault, 0, told.as_bytes());
        match fault {
            Fault::Crash(nodes) => self.each(nodes, true, Self::crash),
            Fault::Restart(nodes) => self.each(nodes, false, Self::restart),
            Fault::Pause(nodes) => self.each(nodes, true, Self::pause_node),
            Fault::Resume(nodes) => self.each(nodes, true, Self::resume_node),
            Fault::Leave(nodes) => self.each(nodes, true, Self::leave),
            Fault::JoinCold(count) => {
                for _ in 0..*count {
                    self.join_cold();
                }
            }
            Fault::Part { left, right } => self.network.part(left, right),
            Fault::PartByMask(sides) => self.network.part_by_mask(sides.clone()),
            Fault::CutOneWay { from, to } => self.network.cut_one_way(*from, *to),
            Fault::Heal => self.network.heal(),
            Fault::Loss(loss) => self.network.loss = *loss,
            Fault::Egress { nodes, loss } => {
                nodes.iter().for_each(|node| self.network.set_egress(*node, *loss));
            }
            Fault::Ingress { nodes, loss } => {
                nodes.iter().for_each(|node| self.network.set_ingress(*node, *loss));
            }
            Fault::Duplication(odds) => self.network.duplication = *odds,
            Fault::Reordering(odds) => self.network.reordering = *odds,
            Fault::Corruption(odds) => self.network.corruption = *odds,
            Fault::Garbling(odds) => self.network.garbling = *odds,
            Fault::Skew { nodes, by_ms } => {
                nodes.iter().for_each(|node| self.hosts[*node].skew_ms = *by_ms);
            }
            Fault::Rekey(nodes) => nodes.iter().for_each(|node| self.certify(*node, None)),
            Fault::Certify { nodes, root } => {
                nodes.iter().for_each(|node| self.certify(*node, Some(*root)));
            }
            Fault::Trust { nodes, roots } => {
                nodes.iter().for_each(|node| self.trust(*node, *roots));
            }
            Fault::Revoke { node, at } => self.revoke(*node, at),
            Fault::Expire(nodes) => self.expire(nodes),
            Fault::Inject { by, to, payload } => {
                self.fired.injected += u64::from(self.hosts[*to].node.is_some());
                self.deliver_forged(*to, *by, payload);
            }
            Fault::InjectState { by, to, entries } => {
                self.fired.injected += u64::from(self.hosts[*to].node.is_some());
                self.deliver_forged_state(*to, *by, entries);
            }
            Fault::Replay { by, to } => self.replay_old(*by, *to),
        }
    }

    /// Does something to those of `nodes` that run, or to those that do not.
    fn each(&mut self, nodes: &[usize], running: bool, act: impl Fn(&mut Self, usize)) {
        for index in nodes {
            if self.hosts[*index].node.is_some() == running {
                act(self, *index);
            }
        }
    }

    pub(super) fn pause_node(&mut self, index: usize) {
        let host = &mut self.hosts[index];
        if host.node.is_some() && host.paused.is_none() {
            host.paused = Some(Box::default());
            self.fired.pauses += 1;
            self.roll.set_paused(index, true);
        }
    }

    pub(super) fn resume_node(&mut self, index: usize) {
        let Some(held) = self.hosts[index].paused.take() else { return };
        self.roll.set_paused(index, false);
        let Held { arrived, leaving } = *held;
        for (transmit, buffer) in leaving {
            let bytes = self.pool.take(buffer);
            self.send(index, transmit, &bytes);
            self.pool.give_back(buffer, bytes);
        }
        for what in arrived {
            self.handle(what);
        }
    }

    pub(super) fn drop_held(&mut self, held: Held) {
        for (_, buffer) in held.leaving {
            self.pool.free(buffer);
        }
        for what in held.arrived {
            if let What::Datagram { bytes, .. } = what {
                self.pool.free(bytes);
            }
        }
    }

    fn leave(&mut self, index: usize) {
        if !self.roll.standing(index).leaving {
            self.fired.leaves += 1;
            self.command(index, Command::Leave);
        }
    }

    fn replay_old(&mut self, by: usize, to: usize) {
        let Some(tape) = &self.tape else { return };
        if tape.is_empty() {
            return;
        }
        let old = tape[self.rng.usize(..tape.len())].clone();
        self.fired.replayed += u64::from(self.hosts[to].node.is_some());
        self.deliver_forged(to, by, &old);
    }

    /// What was said lately, as far as it is [kept](World::taped), the oldest first.
    pub(crate) fn said_lately(&self) -> impl Iterator<Item = &[u8]> {
        self.tape.iter().flatten().map(Vec::as_slice)
    }

    /// Counters, for whoever makes something happen that is no fault of the world.
    pub(crate) fn fired_mut(&mut self) -> &mut Fired {
        &mut self.fired
    }

    /// Keeps what is said from here on, for [`Fault::Replay`].
    #[must_use]
    pub fn taped(mut self) -> Self {
        self.tape = Some(std::collections::VecDeque::new());
        self
    }
}

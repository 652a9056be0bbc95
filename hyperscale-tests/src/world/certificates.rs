//! Certificates change: sessions follow, old ones retire, and those that rest on what fell end
//! (rules S-15, S-16 and S-18).
//!
//! A certificate is a number: which one of its node's, counted from 0. Who issued each is written
//! down once for all; whom a node trusts is its own. Trust judges handshakes and sessions; records
//! count by their signatures, as a model of them says.
//!
//! Invariant: no session stands at a node that does not uphold the certificate that its peer showed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_gossip_proto::{Duration, Instant};

use super::{What, World, name};
use crate::authority::ModelAuthority;
use crate::sessions::{AT_ONCE, FIRST_REST, LONGEST_REST, Made, Place, Retirement, STEP, Target};
use crate::table::SimTable;
use crate::trace::Kind;

/// What is known of certificates, beyond the first of each node, which CA 0 issued.
#[derive(Debug, Default)]
pub(super) struct Papers {
    /// Who issued which certificate of whom.
    roots: BTreeMap<(u32, u32), u8>,
    /// Certificates that have expired.
    expired: BTreeSet<(u32, u32)>,
    /// CAs that a node trusts, where it does not trust all.
    trusted: BTreeMap<u32, u8>,
    /// Certificates that a node knows to be revoked.
    revoked: BTreeSet<(u32, (u32, u32))>,
    /// Successors made because certificates changed, by pair of nodes.
    rekeys: BTreeMap<(u32, u32), u32>,
}

impl Papers {
    fn refuse_nobody(&self) -> bool {
        self.trusted.is_empty() && self.expired.is_empty() && self.revoked.is_empty()
    }
}

impl<T: SimTable> World<T> {
    /// Whether `by` accepts the certificate of `peer` with this number.
    pub(super) fn upholds(&self, by: usize, peer: u32, edition: u32) -> bool {
        let papers = &self.papers;
        if papers.refuse_nobody() {
            return true;
        }
        let (by, certificate) = (by as u32, (peer, edition));
        let root = papers.roots.get(&certificate).copied().unwrap_or(0);
        papers.trusted.get(&by).is_none_or(|roots| roots & (1 << root) != 0)
            && !papers.expired.contains(&certificate)
            && !papers.revoked.contains(&(by, certificate))
    }

    /// Whether two nodes know each other from before the world began: both are who they were then,
    /// and show what they showed.
    pub(super) fn have_met(&self, from: usize, to: usize) -> bool {
        let (from, to) = (&self.hosts[from], &self.hosts[to]);
        from.life == 1 && to.life <= 2 && from.links.edition == 0 && to.links.edition == 0
    }

    /// Whether a datagram of `from` on this session is opened at `to`. The first one that comes on a
    /// session whose handshake `to` began confirms it (rule S-5): it may overtake the confirmation, or
    /// come where that was lost.
    pub(super) fn opens(&mut self, to: usize, from: u32, serial: u32) -> bool {
        let now = self.now;
        if let Some(target) = self.hosts[to].links.finishing(from, serial) {
            self.confirmed(to as u32, target, serial);
        } else if !self.hosts[to].links.opens(now, from, serial) {
            return false;
        }
        self.accepts(to, from as usize)
    }

    /// Whether `to` upholds the session that `from` sends on, although it did not write it down.
    fn accepts(&self, to: usize, from: usize) -> bool {
        if self.papers.refuse_nobody() {
            return true;
        }
        let shown = self.hosts[from].links.best(to as u32).map(|session| session.edition);
        shown.is_none_or(|edition| self.upholds(to, from as u32, edition))
    }

    /// Whether every node accepts every other one's present certificate.
    pub fn everybody_is_upheld(&self) -> bool {
        let shown = |peer: &usize| (*peer as u32, self.hosts[*peer].links.edition);
        let all = || 0..self.hosts.len();
        self.papers.refuse_nobody()
            || all().all(|peer| {
                let (peer, edition) = shown(&peer);
                all().all(|by| self.upholds(by, peer, edition))
            })
    }

    /// A node has another certificate, of another CA where one is named. One that is down will
    /// start with it.
    pub(super) fn certify(&mut self, index: usize, root: Option<u8>) {
        let (now, node) = (self.now, index as u32);
        let links = &mut self.hosts[index].links;
        let before = self.papers.roots.get(&(node, links.edition)).copied().unwrap_or(0);
        links.edition += 1;
        let edition = links.edition;
        self.papers.roots.insert((node, edition), root.unwrap_or(before));
        let authority = ModelAuthority::new(&name(index), edition, self.notary.clone());
        let replay = self.replay();
        let Some(node) = &mut self.hosts[index].node else { return };
        // Signed first: a record must not lag behind the certificate that peers see.
        node.handle_authority(now, Arc::new(authority))
            .unwrap_or_else(|error| panic!("{replay}: {error}"));
        self.notary.share(node.local());
        self.drain(index);
        let waiting = self.hosts[index].links.outdated(now).into();
        let links = &mut self.hosts[index].links;
        (links.walk.waiting, links.walk.rest) = (waiting, FIRST_REST);
        self.rekey_step(index, edition);
    }

    /// The next step of the walk, unless another certificate has come meanwhile.
    pub(super) fn rekey_step(&mut self, index: usize, edition: u32) {
        let now = self.now;
        let host = &mut self.hosts[index];
        if host.node.is_none() || host.links.edition != edition {
            return;
        }
        if host.links.walk.waiting.is_empty() {
            host.links.walk.waiting = host.links.outdated(now).into();
            if host.links.walk.waiting.is_empty() {
                return;
            }
        }
        for _ in 0..AT_ONCE.min(self.hosts[index].links.walk.waiting.len()) {
            let Some(peer) = self.hosts[index].links.walk.waiting.pop_front() else { break };
            let late = self.answers_as_before(index, peer);
            let links = &mut self.hosts[index].links;
            if late {
                links.walk.waiting.push_back(peer);
            } else if links.best(peer).is_some_and(|session| session.edition != edition) {
                self.succeed(index, peer);
            }
        }
        let walk = &mut self.hosts[index].links.walk;
        let after = if walk.waiting.is_empty() {
            let rest = walk.rest;
            walk.rest = (rest * 2).min(LONGEST_REST);
            rest
        } else {
            STEP
        };
        self.wheel.push(now + after, What::Rekey { node: index as u32, edition });
    }

    /// Whether a handshake of `peer` is under way that this node answered under an earlier
    /// certificate: it is waited for.
    fn answers_as_before(&mut self, index: usize, peer: u32) -> bool {
        let (life, edition) = (self.hosts[index].life, self.hosts[index].links.edition);
        [false, true].into_iter().any(|seed| {
            let target = Target { node: index as u32, seed };
            let dial = self.hosts[peer as usize].links.dialling(target);
            dial.is_some_and(|dial| dial.life == Some(life) && dial.server_edition != edition)
        })
    }

    /// Begins a handshake that makes the successor of the session with `peer`.
    fn succeed(&mut self, index: usize, peer: u32) {
        let target = Target { node: peer, seed: false };
        let serial = self.next_serial;
        self.dial(index, target);
        if self.next_serial != serial {
            self.fired.rekeyed += 1;
            if let Some(dial) = self.hosts[index].links.dialling(target) {
                dial.succeeds = true;
            }
        }
    }

    /// A session has its successor, by a handshake that `client` began.
    pub(super) fn succeeded(&mut self, client: u32, server: u32) {
        *self.papers.rekeys.entry((client.min(server), client.max(server))).or_default() += 1;
    }

    /// The most successors that a pair of nodes made because certificates changed.
    pub fn rekeys_a_link(&self) -> u32 {
        self.papers.rekeys.values().copied().max().unwrap_or(0)
    }

    /// A handshake is complete at one end.
    pub(super) fn establish(&mut self, now: Instant, at: usize, peer: u32, made: Made) {
        match self.hosts[at].links.establish(now, peer, made) {
            Place::Alone => {}
            Place::Above { retires } => self.retires(at, peer, retires),
            Place::Below => {
                self.retires(at, peer, made.serial);
                // The peer may see another order.
                if let Some(kept) = self.hosts[at].links.best(peer) {
                    self.say(at, peer, kept.serial);
                }
            }
        }
        let linger = self.linger();
        self.hosts[at].links.postpone(now, peer, linger);
    }

    fn linger(&self) -> Duration {
        Duration::from_secs(5).max(self.config.interval * 2)
    }

    fn retires(&mut self, at: usize, peer: u32, serial: u32) {
        let what = What::Retire { node: at as u32, peer, serial, told: 0 };
        self.wheel.push(self.now + self.linger(), what);
    }

    /// The time of an old session may have come.
    pub(super) fn retire(&mut self, node: u32, peer: u32, serial: u32, told: u8) {
        let (now, linger) = (self.now, self.linger());
        let links = &mut self.hosts[node as usize].links;
        let (after, told) = match links.retire(now, peer, serial, told, linger) {
            Retirement::Over => return,
            Retirement::Postponed { after } => {
                return self.wheel.push(now + after, What::Retire { node, peer, serial, told });
            }
            // The peer still sends on it: perhaps it never heard what is sent on.
            Retirement::Later { after } => (after, 0),
            Retirement::Told { after } => (after, told + 1),
        };
        if let Some(best) = links.announce(now, peer) {
            self.say(node as usize, peer, best);
        }
        self.wheel.push(now + after, What::Retire { node, peer, serial, told });
    }

    /// `from` says to `to` on which session it sends.
    fn say(&mut self, from: usize, to: u32, serial: u32) {
        let Some(session) = self.hosts[from].links.best(to) else { return };
        if self.hosts[from].paused.is_some() {
            return;
        }
        if let Some(delay) = self.carry_confirmation(from, to as usize) {
            let (from, life) = (from as u32, session.life);
            self.wheel.push(self.now + delay, What::Word { to, from, life, serial });
        }
    }

    /// A peer says on which session it sends: where the ends see two orders, the one with the
    /// higher id follows and the other one says so again.
    pub(super) fn word(&mut self, what: What, to: u32, from: u32, life: u32, serial: u32) {
        let (now, at) = (self.now, to as usize);
        let host = &mut self.hosts[at];
        if host.node.is_none() || host.life != life || self.holds(at, what) {
            return;
        }
        self.trace.add(now.as_nanos(), Kind::Handshake, at, &serial.to_le_bytes());
        if !self.opens(at, from, serial) {
            self.fired.left += 1;
            return self.send_hint(at, from as usize);
        }
        let Some(best) = self.hosts[at].links.best(from).map(|best| best.serial) else { return };
        if best == serial {
            return;
        }
        if self.ids[from as usize] < self.ids[at] {
            if let Some(displaced) = self.hosts[at].links.promote(from, serial) {
                self.retires(at, from, displaced);
            }
        } else {
            self.say(at, from, best);
        }
    }

    /// A node trusts these CAs alone.
    pub(super) fn trust(&mut self, index: usize, roots: u8) {
        self.papers.trusted.insert(index as u32, roots);
        self.look_at_sessions(index);
    }

    /// Nodes learn that the present certificate of `node` is revoked.
    pub(super) fn revoke(&mut self, node: usize, at: &[usize]) {
        let certificate = (node as u32, self.hosts[node].links.edition);
        let id = self.ids[node];
        let now = self.now;
        for index in at {
            self.papers.revoked.insert((*index as u32, certificate));
            self.look_at_sessions(*index);
            let Some(other) = &mut self.hosts[*index].node else { continue };
            if let Some(incarnation) = other.member(id).map(|member| member.incarnation()) {
                other.handle_revoked(now, id, incarnation);
                self.drain(*index);
            }
        }
    }

    /// Certificates expire: sessions end at once, at every peer.
    pub(super) fn expire(&mut self, nodes: &[usize]) {
        for node in nodes {
            self.papers.expired.insert((*node as u32, self.hosts[*node].links.edition));
        }
        (0..self.hosts.len()).for_each(|index| self.look_at_sessions(index));
    }

    fn look_at_sessions(&mut self, index: usize) {
        let mut links = std::mem::take(&mut self.hosts[index].links);
        let upheld = |peer: u32, session: &crate::sessions::Session| {
            self.upholds(index, peer, session.peer_edition)
        };
        self.fired.fallen += links.fell(upheld);
        self.hosts[index].links = links;
    }
}

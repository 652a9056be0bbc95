//! Who may make us begin a handshake (rule S-7).
//!
//! A stranger is answered while few ask; beyond that it is sent a cookie and forgotten. Whoever
//! shows the cookie receives at its address, and takes the place of a stranger that has shown
//! nothing. A current member, by the proof of a live session or by a cookie from the path of one,
//! finds places and processor time that nobody else can use up. What a datagram says about who
//! sent it plays no part: anybody can present anybody's certificate before possession is proven.
//!
//! Invariants: at most [`FEW`] places are held by strangers and at most [`MOST_HALF_OPEN`] in all;
//! of those at most [`OPEN_TO_ALL`] by others than members; a place is held by one of our books
//! or none; no member uses up what is kept for all of them.

use std::collections::HashMap;
use std::net::SocketAddr;

use mesh_gossip_proto::{Duration, Instant, MemberId};

use super::budget::{Budget, Draws};
use super::cookies::Cookies;
use super::pacing::Pace;
use crate::network::Network;

/// Half-open handshakes in all.
pub(super) const MOST_HALF_OPEN: u64 = 1_024;
/// Of those, places that are not kept for current members.
pub(super) const OPEN_TO_ALL: u64 = 768;
/// With so many half-open, or so many INITs a second, strangers are asked for a cookie.
pub(super) const FEW: u64 = 256;
const INITS: u32 = 200;
const INIT_PAUSE: Duration = Duration::from_millis(5);
/// Half-open handshakes of one address and port: a member and the same one as a seed, and again.
const MOST_A_SOURCE: usize = 4;
/// Half-open handshakes under a cookie from one network: an IPv4 address, or an IPv6 /64, that
/// may have any number of ports.
const MOST_A_NETWORK: u32 = 128;
/// Handshakes that one member may begin as a member: twice what its own pace (rule S-18) lets it.
/// Beyond that it shares what is there for others.
const OF_A_MEMBER: (u32, Duration) = (6, Duration::from_secs(5));
/// Members remembered for that; beyond it those that owe nothing are forgotten.
const MOST_MEMBERS: usize = 4_096;

/// What the client of a handshake has shown before any TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// Nothing.
    Stranger,
    /// A cookie: it receives where it sends from.
    Reachable,
    /// A cookie, on the path of a live session.
    Neighbour,
    /// The proof of a live session.
    Proven,
}

impl Claim {
    fn draws(self) -> Draws {
        match self {
            Self::Stranger => Draws::Half,
            Self::Reachable => Draws::ThreeQuarters,
            Self::Neighbour | Self::Proven => Draws::All,
        }
    }

    fn has_cookie(self) -> bool {
        match self {
            Self::Stranger | Self::Proven => false,
            Self::Reachable | Self::Neighbour => true,
        }
    }
}

/// What to do with the first INIT of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Begin, after this place was vacated.
    Answer { displaced: Option<u32> },
    /// Ask for a cookie.
    Retry,
    /// Drop, for this reason.
    Drop(&'static str),
}

/// The books of one responder.
pub(super) struct Admission {
    pub(super) cookies: Cookies,
    budget: Budget,
    strangers: Pace,
    /// Places of clients that have shown nothing, the oldest first.
    unvalidated: Vec<u32>,
    /// Unproven clients by source, the oldest first.
    sources: HashMap<SocketAddr, Vec<u32>>,
    /// Clients under a cookie that are no members, by network.
    networks: HashMap<Network, u32>,
    /// What members began as members of late.
    members: HashMap<MemberId, Pace>,
}

impl Default for Admission {
    fn default() -> Self {
        Self {
            cookies: Cookies::default(),
            budget: Budget::default(),
            strangers: Pace::new(INITS, INIT_PAUSE),
            unvalidated: Vec::new(),
            sources: HashMap::new(),
            networks: HashMap::new(),
            members: HashMap::new(),
        }
    }
}

impl Admission {
    /// Whether `member` may begin one more handshake as a member; if so, that counts.
    pub(super) fn admits(&mut self, now: Instant, member: MemberId) -> bool {
        if self.members.len() >= MOST_MEMBERS && !self.members.contains_key(&member) {
            self.members.retain(|_, pace| !pace.is_full(now));
            if self.members.len() >= MOST_MEMBERS {
                return false;
            }
        }
        let (burst, refill) = OF_A_MEMBER;
        self.members.entry(member).or_insert_with(|| Pace::new(burst, refill)).take(now)
    }

    /// Judges the first INIT of an attempt, and pays for what follows from it.
    pub(super) fn judge(
        &mut self,
        now: Instant,
        from: SocketAddr,
        claim: Claim,
        half_open: u64,
    ) -> Verdict {
        match self.place(now, from, claim, half_open) {
            Verdict::Answer { displaced } => {
                if self.budget.handshake(now, claim.draws()) {
                    Verdict::Answer { displaced }
                } else if claim == Claim::Stranger {
                    // It may ask again with a cookie; telling it so costs little.
                    self.retry(now)
                } else {
                    Verdict::Drop("budget")
                }
            }
            Verdict::Retry => self.retry(now),
            Verdict::Drop(reason) => Verdict::Drop(reason),
        }
    }

    fn retry(&mut self, now: Instant) -> Verdict {
        if self.budget.retry(now) { Verdict::Retry } else { Verdict::Drop("retry-budget") }
    }

    /// Where there is room for it.
    fn place(&mut self, now: Instant, from: SocketAddr, claim: Claim, half_open: u64) -> Verdict {
        let at_source = self.sources.get(&from).map(Vec::as_slice).unwrap_or_default();
        if !claim.has_cookie() && !at_source.is_empty() {
            return Verdict::Retry;
        }
        if at_source.len() >= MOST_A_SOURCE {
            return Verdict::Answer { displaced: at_source.first().copied() };
        }
        let open = match claim {
            Claim::Stranger if half_open >= FEW || !self.strangers.take(now) => {
                return Verdict::Retry;
            }
            Claim::Stranger => return Verdict::Answer { displaced: None },
            Claim::Reachable => {
                let theirs = self.networks.get(&Network::of(from));
                if theirs.is_some_and(|theirs| *theirs >= MOST_A_NETWORK) {
                    return Verdict::Drop("source-full");
                }
                OPEN_TO_ALL
            }
            Claim::Neighbour | Claim::Proven => MOST_HALF_OPEN,
        };
        if half_open < open {
            return Verdict::Answer { displaced: None };
        }
        match self.unvalidated.first() {
            Some(displaced) => Verdict::Answer { displaced: Some(*displaced) },
            None => Verdict::Drop("half-open-full"),
        }
    }

    /// A client got the place `index`.
    pub(super) fn entered(&mut self, from: SocketAddr, claim: Claim, index: u32) {
        self.sources.entry(from).or_default().push(index);
        match claim {
            Claim::Stranger => self.unvalidated.push(index),
            Claim::Reachable => *self.networks.entry(Network::of(from)).or_default() += 1,
            Claim::Neighbour | Claim::Proven => {}
        }
        assert!(self.unvalidated.len() as u64 <= FEW, "strangers hold few places");
    }

    /// The client at `index` is proven, or gone.
    pub(super) fn left(&mut self, from: SocketAddr, claim: Claim, index: u32) {
        if let Some(places) = self.sources.get_mut(&from) {
            places.retain(|place| *place != index);
            if places.is_empty() {
                self.sources.remove(&from);
            }
        }
        match claim {
            Claim::Stranger => self.unvalidated.retain(|place| *place != index),
            Claim::Reachable => {
                let network = Network::of(from);
                if let Some(count) = self.networks.get_mut(&network) {
                    *count -= 1;
                    if *count == 0 {
                        self.networks.remove(&network);
                    }
                }
            }
            Claim::Neighbour | Claim::Proven => {}
        }
    }

    /// Unproven clients in the books.
    #[cfg(feature = "fuzzing")]
    pub(super) fn places(&self) -> usize {
        self.sources.values().map(Vec::len).sum()
    }

    /// Processor time that was paid for, by the model.
    pub(super) fn spent(&self) -> Duration {
        self.budget.spent()
    }
}

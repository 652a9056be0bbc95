//! What the agents of one process have proven, kept once for all of them (rule S-11).
//!
//! A proof rests on what is proven, on what is trusted and on the moment. Agents that trust the same
//! form a circle: bundle, pins, revocation lists, trust domain and cluster are equal, compared
//! themselves and not by a hash. A chain that one of a circle has proven is proven for all of it;
//! each still asks whether it stands at the moment. That a signature fits a key and a message is
//! true whoever trusts whom, and needs no circle. Records that were verified become one copy.
//!
//! Invariants: nothing enters that was not proven first, so a full book only costs time; what a
//! circle has proven was judged from beginning to end by the one snapshot that the circle is named
//! after; the number of a circle is given once.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use mesh_gossip_proto::SignedRecord;
use mesh_gossip_proto::membership::record::RecordHash;
use rustls_pki_types::UnixTime;

use crate::tls::bounded::Bounded;
use crate::tls::identity::{Identity, NameRule};
use crate::tls::standing::Standing;
use crate::tls::trust::Trust;
use crate::tls::verifier::Verified;

/// Verified leaves remembered; the oldest goes when a new one comes.
pub const MAX_LEAVES: usize = 4_096;
/// Proven chains remembered for each agent: a handshake is complete moments after its certificate
/// has arrived, and few arrive in between ...
const CHAINS_AN_AGENT: usize = 128;
/// ... and for all of them together.
const MOST_CHAINS: usize = 4_096;
/// Signatures remembered where several agents may ask: the records and votes of a mesh as large as
/// one process holds.
const MOST_SIGNATURES: usize = 16_384;
/// Circles remembered: one a cluster, two while its trust is exchanged.
const MOST_CIRCLES: usize = 64;
/// Below so many copies nobody looks for those that are not needed any more.
const FEW_COPIES: usize = 1_024;

/// Agents that trust the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CircleId(u64);

impl CircleId {
    /// For the names of what the circle has proven.
    pub(super) fn to_bytes(self) -> [u8; 8] {
        self.0.to_le_bytes()
    }
}

/// What is kept of a verified leaf.
#[derive(Debug)]
pub(super) struct Leaf {
    pub(super) identity: Identity,
    pub(super) not_after: UnixTime,
    /// Asked again whenever it is looked up (rule S-16).
    pub(super) standing: Standing,
}

/// A chain and when it was proven.
#[derive(Clone)]
pub(super) struct Proven {
    pub(super) verified: Arc<Verified>,
    pub(super) at: UnixTime,
}

/// The books of one process.
pub struct Notary {
    /// Agents that ask here.
    agents: AtomicUsize,
    books: Mutex<Books>,
}

struct Books {
    circles: Vec<Circle>,
    next_circle: u64,
    chains: Bounded<Proven>,
    leaves: Bounded<Arc<Leaf>>,
    signatures: Bounded<()>,
    records: Copies<HashMap<RecordHash, Arc<SignedRecord>>>,
    bytes: Copies<HashSet<Arc<[u8]>>>,
}

/// A snapshot of trust that somebody has in force, and for whom.
struct Circle {
    id: CircleId,
    trust: Weak<Trust>,
    rule: NameRule,
    trust_domain: Box<str>,
    cluster: Box<str>,
}

/// What is held here and elsewhere, or goes with the next sweep.
#[derive(Default)]
struct Copies<B> {
    book: B,
    sweep_at: usize,
}

/// An agent that asks here, while this lives.
pub(super) struct Seat(Arc<Notary>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.agents.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Default for Notary {
    fn default() -> Self {
        let books = Books {
            circles: Vec::new(),
            next_circle: 0,
            chains: Bounded::new(CHAINS_AN_AGENT),
            leaves: Bounded::new(MAX_LEAVES),
            signatures: Bounded::new(MOST_SIGNATURES),
            records: Copies::default(),
            bytes: Copies::default(),
        };
        Self { agents: AtomicUsize::new(0), books: Mutex::new(books) }
    }
}

impl std::fmt::Debug for Notary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Notary").field("agents", &self.agents).finish_non_exhaustive()
    }
}

impl Notary {
    /// One more agent asks here.
    pub(super) fn enter(self: &Arc<Self>) -> Seat {
        let agents = self.agents.fetch_add(1, Ordering::Relaxed) + 1;
        self.books().chains.widen((CHAINS_AN_AGENT * agents).min(MOST_CHAINS));
        Seat(Arc::clone(self))
    }

    /// Whether what one agent holds may serve another: a single one keeps nothing twice.
    fn serves_many(&self) -> bool {
        self.agents.load(Ordering::Relaxed) > 1
    }

    /// The circle of those who trust this, for members of this trust domain and cluster.
    pub(super) fn circle_of(
        &self,
        trust: &Arc<Trust>,
        rule: NameRule,
        [trust_domain, cluster]: [&str; 2],
    ) -> CircleId {
        let mut books = self.books();
        books.circles.retain(|circle| circle.trust.strong_count() > 0);
        let equal = |circle: &&Circle| {
            circle.rule == rule
                && *circle.trust_domain == *trust_domain
                && *circle.cluster == *cluster
                && circle.trust.upgrade().is_some_and(|known| known.says_the_same(trust))
        };
        if let Some(circle) = books.circles.iter().find(equal) {
            return circle.id;
        }
        let id = CircleId(books.next_circle);
        books.next_circle += 1;
        if books.circles.len() >= MOST_CIRCLES {
            books.circles.remove(0);
        }
        let trust = Arc::downgrade(trust);
        let (trust_domain, cluster) = (trust_domain.into(), cluster.into());
        books.circles.push(Circle { id, trust, rule, trust_domain, cluster });
        id
    }

    pub(super) fn chain(&self, name: &[u8; 32]) -> Option<Proven> {
        self.books().chains.find(name).cloned()
    }

    pub(super) fn keep_chain(&self, name: [u8; 32], proven: Proven) {
        self.books().chains.insert(name, proven);
    }

    pub(super) fn leaf(&self, name: &[u8; 32]) -> Option<Arc<Leaf>> {
        self.books().leaves.find(name).cloned()
    }

    pub(super) fn keep_leaf(&self, name: [u8; 32], leaf: Arc<Leaf>) {
        self.books().leaves.insert(name, leaf);
    }

    /// Whether this signature was found to fit; `name` names key, message and signature.
    pub(super) fn fits(&self, name: &[u8; 32]) -> bool {
        self.books().signatures.find(name).is_some()
    }

    /// This signature fits.
    pub(super) fn keep_signature(&self, name: [u8; 32]) {
        if self.serves_many() {
            self.books().signatures.insert(name, ());
        }
    }

    /// The record that others hold already, byte for byte, in place of this one.
    pub(super) fn one_record(&self, record: Arc<SignedRecord>) -> Arc<SignedRecord> {
        if !self.serves_many() {
            return record;
        }
        let Copies { book, sweep_at } = &mut self.books().records;
        if let Some(known) = book.get(&record.hash())
            && known.envelope() == record.envelope()
        {
            return Arc::clone(known);
        }
        if book.len() >= (*sweep_at).max(FEW_COPIES) {
            book.retain(|_, record| Arc::strong_count(record) > 1);
            *sweep_at = 2 * book.len();
        }
        book.insert(record.hash(), Arc::clone(&record));
        record
    }

    /// The same for other bytes.
    pub(super) fn one_copy(&self, bytes: Arc<[u8]>) -> Arc<[u8]> {
        if !self.serves_many() {
            return bytes;
        }
        let Copies { book, sweep_at } = &mut self.books().bytes;
        if let Some(known) = book.get(&bytes) {
            return Arc::clone(known);
        }
        if book.len() >= (*sweep_at).max(FEW_COPIES) {
            book.retain(|bytes| Arc::strong_count(bytes) > 1);
            *sweep_at = 2 * book.len();
        }
        book.insert(Arc::clone(&bytes));
        bytes
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        // Every change is a single insertion: a panic elsewhere leaves nothing half done.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! Faults as data, and a count of how often each kind fired.
//!
//! A scenario is a list of faults with their times; a sweep whose faults never fired proves
//! nothing, so every kind is counted where it takes effect rather than where it is asked for.
//!
//! Invariant: a counter rises only when something happened differently because of its fault.

use std::time::Duration;

/// Something that befalls the world at a moment. Nodes are named by their index.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// Running nodes end without a goodbye.
    Crash(Vec<usize>),
    /// Ended nodes start again as new lives.
    Restart(Vec<usize>),
    /// Nodes neither receive nor send; their timers run on time.
    Pause(Vec<usize>),
    /// Paused nodes send and receive what waited.
    Resume(Vec<usize>),
    /// Running nodes leave by their signed word.
    Leave(Vec<usize>),
    /// So many nodes that nobody knows start and dial the seeds.
    JoinCold(usize),
    /// Nothing passes between the two sides. Whoever is on neither side reaches both.
    Part {
        /// One side.
        left: Vec<usize>,
        /// The other.
        right: Vec<usize>,
    },
    /// Nothing passes between nodes of different numbers; number 0 reaches everybody.
    PartByMask(Vec<u8>),
    /// Nothing passes from one node to another.
    CutOneWay {
        /// The sender.
        from: usize,
        /// The receiver.
        to: usize,
    },
    /// Ends every partition and every cut.
    Heal,
    /// Every datagram is lost with this probability.
    Loss(f64),
    /// Datagrams that these nodes send are lost with this probability; 0 ends it.
    Egress {
        /// The senders.
        nodes: Vec<usize>,
        /// Probability.
        loss: f64,
    },
    /// Datagrams to these nodes are lost with this probability; 0 ends it.
    Ingress {
        /// The receivers.
        nodes: Vec<usize>,
        /// Probability.
        loss: f64,
    },
    /// Every datagram arrives twice with this probability.
    Duplication(f64),
    /// Every datagram is held back, so that later ones overtake it, with this probability.
    Reordering(f64),
    /// Bits flip on the way with this probability: the receiver's seal does not open.
    Corruption(f64),
    /// A member seals bytes that its decoder never made, with this probability.
    Garbling(f64),
    /// The wall clocks of these nodes are off by so many milliseconds from their next start on.
    Skew {
        /// The nodes.
        nodes: Vec<usize>,
        /// Milliseconds ahead, negative for behind.
        by_ms: i64,
    },
    /// These nodes have a new certificate of the CA that issued the one before (rule S-15): each
    /// signs its record again, and its sessions get successors. Those that are down start with it.
    Rekey(Vec<usize>),
    /// These nodes have a new certificate, issued by this CA.
    Certify {
        /// The nodes.
        nodes: Vec<usize>,
        /// Number of the CA, from 0.
        root: u8,
    },
    /// These nodes trust these CAs alone: sessions that rest on another one fall (rule S-16).
    Trust {
        /// The nodes.
        nodes: Vec<usize>,
        /// A bit for each CA.
        roots: u8,
    },
    /// These nodes learn that a node's present certificate is revoked (rule S-16).
    Revoke {
        /// Whose certificate.
        node: usize,
        /// Who learns it.
        at: Vec<usize>,
    },
    /// The present certificates of these nodes expire, for everybody.
    Expire(Vec<usize>),
    /// A member sends bytes of somebody's choice.
    Inject {
        /// The malicious member.
        by: usize,
        /// The receiver.
        to: usize,
        /// The messages.
        payload: Vec<u8>,
    },
    /// A member brings a state of somebody's choice over a stream.
    InjectState {
        /// The malicious member.
        by: usize,
        /// The receiver.
        to: usize,
        /// The entries.
        entries: Vec<u8>,
    },
    /// A member sends what somebody said a while ago, as its own.
    Replay {
        /// The malicious member.
        by: usize,
        /// The receiver.
        to: usize,
    },
}

macro_rules! fired {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// How often faults took effect.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Fired {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Fired {
            /// Every counter with its name.
            pub fn by_name(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }

            /// Adds another world's counters.
            pub fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

fired! {
    /// Nodes ended without a goodbye.
    crashes,
    /// Nodes started again.
    restarts,
    /// Nodes paused.
    pauses,
    /// Datagrams that waited at a paused node.
    held,
    /// Datagrams for which a paused node had no room.
    overrun,
    /// Nodes that left.
    leaves,
    /// Nodes that came later.
    joins,
    /// Datagrams lost by chance.
    lost,
    /// Datagrams lost because their sender loses some.
    lost_egress,
    /// Datagrams lost because their receiver loses some.
    lost_ingress,
    /// Datagrams and streams stopped by a partition or a cut.
    withheld,
    /// Datagrams of which a second copy arrived; the later one is refused as a replay (rule S-3).
    duplicated,
    /// Those whose second copy came before the first.
    overtaken,
    /// Datagrams held back so that later ones overtake them.
    reordered,
    /// Datagrams dropped because their seal did not open.
    corrupted,
    /// Datagrams delivered with flipped bits behind a valid seal.
    garbled,
    /// Lives that began with a wrong wall clock.
    skewed,
    /// Handshakes begun because certificates changed.
    rekeyed,
    /// Sessions that ended because what the peer's certificate rests on fell.
    fallen,
    /// Handshakes refused for the certificate that was shown.
    refused,
    /// Forged datagrams delivered.
    injected,
    /// Old datagrams delivered anew.
    replayed,
    /// Datagrams on sessions that their receiver does not know.
    stale,
    /// Datagrams on sessions that their receiver has left although it lives on.
    left,
    /// Lies: doubts of others.
    lie_suspicion,
    /// Lies: deaths of others, without a proof.
    lie_death,
    /// Lies: words that their receiver is dead.
    lie_notice,
    /// Lies: updates that name a record which need not exist.
    lie_update,
    /// Lies: questions for records.
    lie_record_pull,
    /// Lies: questions about others.
    lie_verify,
    /// Lies: votes, signed by nobody or by the liar.
    lie_vote,
    /// Lies: hints at others.
    lie_hint,
    /// Lies: records of others with one bit changed.
    lie_spoiled_record,
    /// Lies: noise in place of a proof.
    lie_noise_as_proof,
    /// Lies: noise in place of any message.
    lie_noise,
    /// Lies: records of others, as they are.
    lie_echoed_record,
    /// Lies: words that their receiver is dead at its present incarnation.
    lie_own_notice,
    /// Lies: deaths with proofs that the liar signed.
    lie_proof,
    /// Lies: leaves of others, signed by the liar.
    lie_forged_leave,
    /// Lies: metadata of others, signed by the liar.
    lie_forged_metadata,
    /// Lies: superseded records, told again.
    lie_stale_record,
    /// Lies: superseded records in a state over a stream.
    lie_stale_state,
    /// Lies: proven deaths of lives that are over, told again.
    lie_replayed_death,
    /// Lies: deaths of the living with a quorum of forged votes.
    lie_forged_proof,
    /// Lies: datagrams full of notices.
    lie_notice_storm,
}

/// When a fault comes, for lists of them.
pub type Scheduled = (Duration, Fault);

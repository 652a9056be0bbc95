//! The steps of a random life.

use proptest::prelude::*;

use mesh_gossip_proto::{Incarnation, Lifecycle, SignedRecord, State};

use crate::NAMES;
use crate::reference::Name;
use crate::stage::{BORN, signed};

/// A record that somebody signed: few lives and changes, so that they meet; two texts, so that they
/// differ at one incarnation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signed {
    pub(crate) of: Name,
    pub(crate) at: Incarnation,
    pub(crate) leaving: bool,
    pub(crate) other_text: bool,
}

impl Signed {
    pub(crate) fn record(self) -> SignedRecord {
        let lifecycle = if self.leaving { Lifecycle::Leaving } else { Lifecycle::Active };
        signed(self.of, self.at, lifecycle, if self.other_text { "s" } else { "r" })
    }
}

/// One step.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Record {
        from: Name,
        record: Signed,
    },
    /// A record under somebody else's signature.
    Forged {
        from: Name,
        record: Signed,
        by: Name,
    },
    Update {
        from: Name,
        record: Signed,
    },
    Suspicion {
        from: Name,
        of: Name,
        at: Incarnation,
        accuser: Name,
    },
    Death {
        from: Name,
        of: Name,
        at: Incarnation,
        age_s: u32,
    },
    Notice {
        from: Name,
        at: Incarnation,
    },
    Ping {
        from: Name,
    },
    Ack {
        from: Name,
        at: Incarnation,
    },
    LeaveAck {
        from: Name,
    },
    Sync {
        from: Name,
        entries: Vec<(State, Signed)>,
    },
    Pass {
        ms: u64,
    },
    /// Whether a member answers pings from here on.
    Answers {
        who: Name,
        answers: bool,
    },
    Metadata {
        region: u8,
    },
    Lifecycle {
        cordoned: bool,
    },
    Leave,
    /// A new process, its clock moved by so much, with the table of the old one or without.
    Restart {
        clock: i64,
        remembers: bool,
    },
}

fn name() -> impl Strategy<Value = Name> + Clone {
    prop::sample::select(&NAMES[..])
}

fn other() -> impl Strategy<Value = Name> + Clone {
    prop::sample::select(&NAMES[1..])
}

fn incarnation() -> impl Strategy<Value = Incarnation> + Clone {
    let generation = prop_oneof![8 => Just(BORN), 1 => Just(BORN + 1), 1 => Just(BORN - 1)];
    (generation, 0u32..4).prop_map(|(generation, counter)| Incarnation { generation, counter })
}

pub(crate) fn record() -> impl Strategy<Value = Signed> + Clone {
    let texts = (prop::bool::weighted(0.15), prop::bool::weighted(0.2));
    (name(), incarnation(), texts).prop_map(|(of, at, (leaving, other_text))| Signed {
        of,
        at,
        leaving,
        other_text,
    })
}

fn word() -> impl Strategy<Value = Step> {
    let claim = (other(), name(), incarnation());
    let entry = (prop::sample::select(&State::ALL[..]), record());
    prop_oneof![
        10 => (other(), record()).prop_map(|(from, record)| Step::Record { from, record }),
        1 => (other(), record(), name())
            .prop_map(|(from, record, by)| Step::Forged { from, record, by }),
        4 => (other(), record()).prop_map(|(from, record)| Step::Update { from, record }),
        10 => (claim.clone(), name())
            .prop_map(|((from, of, at), accuser)| Step::Suspicion { from, of, at, accuser }),
        4 => (claim, 0u32..30).prop_map(|((from, of, at), age_s)| Step::Death { from, of, at, age_s }),
        1 => (other(), incarnation()).prop_map(|(from, at)| Step::Notice { from, at }),
        2 => other().prop_map(|from| Step::Ping { from }),
        1 => (other(), incarnation()).prop_map(|(from, at)| Step::Ack { from, at }),
        1 => other().prop_map(|from| Step::LeaveAck { from }),
        4 => (other(), prop::collection::vec(entry, 0..5))
            .prop_map(|(from, entries)| Step::Sync { from, entries }),
    ]
}

/// Any life.
pub(crate) fn life() -> impl Strategy<Value = Vec<Step>> {
    let pass = prop_oneof![4 => 0u64..3_000, 1 => 3_000u64..30_000];
    let step = prop_oneof![
        30 => word(),
        8 => pass.prop_map(|ms| Step::Pass { ms }),
        3 => (other(), any::<bool>()).prop_map(|(who, answers)| Step::Answers { who, answers }),
        1 => (0u8..2).prop_map(|region| Step::Metadata { region }),
        1 => any::<bool>().prop_map(|cordoned| Step::Lifecycle { cordoned }),
        1 => prop::bool::weighted(0.3)
            .prop_map(|leave| if leave { Step::Leave } else { Step::Pass { ms: 50 } }),
        1 => (-1i64..3, any::<bool>())
            .prop_map(|(clock, remembers)| Step::Restart { clock, remembers }),
    ];
    prop::collection::vec(step, 1..60)
}

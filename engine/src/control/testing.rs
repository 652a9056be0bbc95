//! What the tests of the control thread share: records, views, inspections, captured log lines.

use std::io;
use std::sync::{Arc, Mutex};

use mesh_gossip_proto::membership::record::{Authority, Claim, first_record};
use mesh_gossip_proto::{
    DenseTable, Incarnation, Instant, Member, MemberId, MemberTable, Metadata, PeerError,
    Signature, SignedRecord, State, Stats, View, WallTime,
};
use tracing_subscriber::fmt::MakeWriter;

use crate::io::IoStats;
use crate::link::stats::LinkStats;
use crate::orders::Inspection;
use crate::snapshot::Published;

/// A member of a made-up view; the first one is the local one.
pub(crate) struct Person {
    pub(crate) name: &'static str,
    pub(crate) state: State,
}

/// Signs with nothing: these records never meet a verifier.
struct Blank;

impl Authority for Blank {
    fn sign(&self, _message: &[u8]) -> Option<Signature> {
        Some(Signature { scheme: 1, bytes: vec![0; 64] })
    }

    fn leaf(&self) -> &[u8] {
        b"leaf"
    }

    fn intermediates(&self) -> &[[u8; 32]] {
        &[]
    }

    fn verify(&self, _claim: &Claim<'_>) -> Result<(), PeerError> {
        Ok(())
    }
}

/// The id of a test member.
pub(crate) fn id(name: &str) -> MemberId {
    MemberId::derive("test", name)
}

/// A record of the cluster `test`.
pub(crate) fn record(name: &str) -> Arc<SignedRecord> {
    let metadata = Metadata {
        node_id: name.into(),
        role: "worker".into(),
        region: "eu".into(),
        mesh_version: "1.0".into(),
        http3_support: true,
        metadata_version: 1,
        endpoint: format!("{name}:17421"),
        labels: [("rack".into(), "r1".into())].into(),
        ..Metadata::default()
    };
    let incarnation = Incarnation { generation: 1_000, counter: 0 };
    let record = first_record("test", incarnation, Vec::new(), metadata);
    Arc::new(SignedRecord::author(record, &Blank).unwrap())
}

/// A view whose owner is the first person.
pub(crate) fn view(people: &[Person]) -> View {
    let mut table = DenseTable::default();
    for person in people {
        let record = record(person.name);
        table.put(Member { record, state: person.state, since: Instant::ORIGIN });
    }
    table.view(id(people[0].name), 1, inspection().now)
}

/// The same, published at the time of [`inspection`].
pub(crate) fn published(people: &[Person]) -> Published {
    Published { view: view(people), at: inspection().wall }
}

/// A joined agent that has done nothing.
pub(crate) fn inspection() -> Inspection {
    Inspection {
        now: Instant::from_nanos(60_000_000_000),
        wall: WallTime(1_714_564_800_250),
        stats: Stats::default(),
        contacts: Vec::new(),
        links: LinkStats::default(),
        io: IoStats::default(),
        joined: true,
        agrees: false,
        fanout: 3,
    }
}

/// Log lines kept in memory.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    /// A subscriber that writes here, everything down to TRACE.
    pub(crate) fn subscriber(&self) -> impl tracing::Subscriber + Send + Sync + use<> {
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_env_filter("mesh_gossip=debug")
            .with_ansi(false)
            .without_time()
            .with_writer(self.clone())
            .finish()
    }

    /// What was written.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

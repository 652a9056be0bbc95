//! Members by the thousand, signed by nobody in particular: what a bench or a test of memory
//! needs is records of a usual size, not cryptography.

use std::net::SocketAddr;
use std::sync::Arc;

use mesh_gossip_proto::membership::record::{Claim, first_record};
use mesh_gossip_proto::{
    Authority, Incarnation, Instant, Member, Metadata, PeerError, Signature, SignedRecord, State,
};

/// The cluster that everybody is in.
pub const CLUSTER: &str = "bench";

/// Signs with zeros and believes everything.
pub struct Trusting;

impl Authority for Trusting {
    fn sign(&self, _message: &[u8]) -> Option<Signature> {
        Some(Signature { scheme: 0x0403, bytes: vec![0; 71] })
    }

    fn leaf(&self) -> &[u8] {
        &[0; 500]
    }

    fn intermediates(&self) -> &[[u8; 32]] {
        &[]
    }

    fn verify(&self, _claim: &Claim<'_>) -> Result<(), PeerError> {
        Ok(())
    }
}

/// What member `number` says of itself outside its record.
pub fn metadata(number: u32) -> Metadata {
    Metadata {
        cluster_id: CLUSTER.into(),
        node_id: format!("node-{number:06}"),
        role: "worker".into(),
        region: "eu-central".into(),
        mesh_version: "1.0.0".into(),
        ..Metadata::default()
    }
}

/// Where member `number` listens.
pub fn address(number: u32) -> SocketAddr {
    let [_, a, b, c] = number.to_be_bytes();
    SocketAddr::from(([10, a, b, c], 17_421))
}

/// Member `number`, as it is after `counter` changes.
///
/// # Panics
/// Never: nothing in the record exceeds its field.
pub fn member(number: u32, counter: u32) -> Member {
    let incarnation = Incarnation { generation: 1_700_000_000_000, counter };
    let record = first_record(CLUSTER, incarnation, vec![address(number)], metadata(number));
    let record = SignedRecord::author(record, &Trusting).expect("every part fits its field");
    Member { record: Arc::new(record), state: State::Alive, since: Instant::ORIGIN }
}

/// The first `count` members.
pub fn members(count: u32) -> Vec<Member> {
    (0..count).map(|number| member(number, 0)).collect()
}

//! Records: round trips, tampering and a golden vector.

use std::string::String;

use sha2::{Digest, Sha256};

use super::record::*;
use crate::error::{DecodeError, PeerError};
use crate::member::{Incarnation, Lifecycle, MemberId};
use crate::metadata::Metadata;

/// Signs by hashing: enough to see what is covered by a signature.
pub(crate) struct HashAuthority;

impl Authority for HashAuthority {
    fn sign(&self, message: &[u8]) -> Option<Signature> {
        Some(Signature { scheme: 1, bytes: Sha256::digest(message).to_vec() })
    }
    fn leaf(&self) -> &[u8] {
        b"leaf"
    }
    fn intermediates(&self) -> &[[u8; 32]] {
        &[[7; 32]]
    }
    fn verify(&self, claim: &Claim<'_>) -> Result<(), PeerError> {
        let signed = claim.scheme == 1 && claim.leaf == b"leaf";
        if signed && claim.signature == Sha256::digest(claim.message).as_slice() {
            Ok(())
        } else {
            Err(PeerError::Signature("hash"))
        }
    }
}

fn sample(lifecycle: Lifecycle) -> NodeRecord {
    let metadata = Metadata {
        node_id: "a".into(),
        role: "worker".into(),
        region: "r".into(),
        mesh_version: "1".into(),
        ..Metadata::default()
    };
    let incarnation = Incarnation { generation: 1_000, counter: 2 };
    let addresses =
        std::vec!["127.0.0.1:17421".parse().unwrap(), "[2001:db8::1]:9".parse().unwrap()];
    NodeRecord { lifecycle, ..first_record("c", incarnation, addresses, metadata) }
}

fn signed() -> SignedRecord {
    SignedRecord::author(sample(Lifecycle::Cordoned), &HashAuthority).unwrap()
}

/// Rule R-1.
#[test]
fn a_record_survives_the_wire_and_names_itself_by_hash() {
    let signed = signed();
    let read = SignedRecord::verify(signed.envelope(), "c", 4_096, &HashAuthority).unwrap();
    assert_eq!(read, signed);
    let id = MemberId::derive("c", "a");
    assert_eq!(
        peek(signed.envelope()),
        Ok((id, Incarnation { generation: 1_000, counter: 2 }, signed.hash()))
    );
}

/// Rule R-2: no byte of the envelope can change unnoticed.
#[test]
fn every_flipped_byte_is_noticed() {
    let signed = signed();
    for position in 0..signed.envelope().len() {
        let mut bytes = signed.envelope().to_vec();
        bytes[position] ^= 0x40;
        let outcome = SignedRecord::verify(&bytes, "c", 4_096, &HashAuthority);
        match outcome {
            Err(_) => {}
            // The hashes of intermediates only help to find the chain; nothing rests on them.
            Ok(read) => {
                assert!(position >= bytes.len() - 32, "byte {position} is not covered");
                assert_eq!(read.hash(), signed.hash());
            }
        }
    }
    for length in 0..signed.envelope().len() {
        assert!(
            SignedRecord::verify(&signed.envelope()[..length], "c", 4_096, &HashAuthority).is_err()
        );
        assert!(length < 84 || peek(&signed.envelope()[..length]).is_err());
    }
}

#[test]
fn foreign_clusters_wrong_ids_and_large_metadata_are_named() {
    let verify = |record: &SignedRecord, cluster| {
        SignedRecord::verify(record.envelope(), cluster, 64, &HashAuthority).map(|_| ())
    };
    let good = signed();
    assert_eq!(verify(&good, "other"), Err(PeerError::ForeignCluster));
    let mut wrong_id = sample(Lifecycle::Active);
    wrong_id.id = MemberId([9; 16]);
    let wrong_id = SignedRecord::author(wrong_id, &HashAuthority).unwrap();
    assert_eq!(verify(&wrong_id, "c"), Err(PeerError::WrongId));
    let mut large = sample(Lifecycle::Active);
    large.metadata.region = "x".repeat(80);
    let large = SignedRecord::author(large, &HashAuthority).unwrap();
    assert_eq!(verify(&large, "c"), Err(PeerError::Decode(DecodeError::Oversized("metadata"))));
}

/// Rule S-10: a record cannot make us send to a group or to nobody.
#[test]
fn addresses_of_groups_are_dropped() {
    let mut record = sample(Lifecycle::Active);
    record.addresses = ["224.0.0.1:5", "0.0.0.0:5", "127.0.0.1:0", "10.0.0.1:5"]
        .iter()
        .map(|address| address.parse().unwrap())
        .collect();
    let signed = SignedRecord::author(record, &HashAuthority).unwrap();
    let read = SignedRecord::verify(signed.envelope(), "c", 4_096, &HashAuthority).unwrap();
    assert_eq!(read.record().addresses, ["10.0.0.1:5".parse().unwrap()]);
}

/// These bytes are a public promise: envelope and body of `docs/wire.md` §5.
#[test]
fn golden_envelope() {
    let hex: String = signed().envelope().iter().map(|b| std::format!("{b:02x}")).collect();
    let parts = [
        // envelope: format, intermediates, scheme, lengths of body, signature, leaf; reserved
        "01",
        "01",
        "0100",
        "8400",
        "2000",
        "0400",
        "0000",
        // body: format, lifecycle, versions, lengths of cluster and node, addresses, reserved
        "01",
        "01",
        "01",
        "01",
        "01",
        "01",
        "02",
        "00",
        // metadata and extension lengths, counter, generation
        "1600",
        "0000",
        "02000000",
        "e803000000000000",
        // member id, signer
        "7fbf47d168eb62616bd6571cc5556177",
        "9f91161f43433e49a6de6db680d79f60159f2e4ac9172621a12846428158440b",
        // cluster id, node id, 127.0.0.1:17421, [2001:db8::1]:9
        "63",
        "61",
        "00000000000000000000ffff7f0000010d44",
        "20010db80000000000000000000000010900",
        // metadata document
        "08011201611a06776f726b65722201632a0172320131",
        // signature, leaf, hash of the intermediate
        "8e74bae774cbe3e21bdadb2b265241f504fed2cff01d3037d840040a0ac47917",
        "6c656166",
        "0707070707070707070707070707070707070707070707070707070707070707",
    ];
    assert_eq!(hex, parts.concat());
}

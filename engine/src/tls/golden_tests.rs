//! Golden vectors of the cryptographic formats: what was once signed and sealed stays readable.
//!
//! `golden/record.hex` was authored by a member named `golden` under a P-256 certificate of the CA
//! in `golden/ca.pem`; the key is gone.

use std::sync::Arc;

use mesh_gossip_proto::membership::record::RecordHash;
use mesh_gossip_proto::{Incarnation, Lifecycle, SignedRecord};
use zeroize::Zeroizing;

use crate::options::Material;
use crate::tls::authority::{Intermediates, MeshAuthority};
use crate::tls::certificates_tests::{CLUSTER, ROLE, Still, issue, mesh_ca, start};
use crate::tls::credentials::Credentials;

const CA: &str = include_str!("golden/ca.pem");
const RECORD: &str = include_str!("golden/record.hex");

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// Rules and S-11: a record of the first version, by a real certificate.
#[test]
fn a_record_of_the_first_version_stays_valid() {
    let ca = mesh_ca();
    let mut tls = issue(&ca, "reader").tls_options(&ca);
    tls.ca = Material::Bytes(Zeroizing::new([CA, &ca.bundle_pem()].concat().into_bytes()));
    let clock = Arc::new(Still(start()));
    let credentials = Credentials::load_with_clock(&tls, CLUSTER, "reader", ROLE, clock).unwrap();
    let reader = MeshAuthority::new(Arc::new(credentials), Arc::new(Intermediates::default()));
    let envelope = unhex(RECORD);
    let read = SignedRecord::verify(&envelope, CLUSTER, 4_096, &reader).unwrap();
    let record = read.record();
    assert_eq!(record.metadata.node_id, "golden");
    assert_eq!(record.metadata.labels["rack"], "r7");
    assert_eq!(record.incarnation, Incarnation { generation: 1_800_000_000_000, counter: 3 });
    assert_eq!(record.lifecycle, Lifecycle::Cordoned);
    assert_eq!(record.versions, (1, 1));
    assert_eq!(
        record.addresses,
        ["192.0.2.1:17421".parse().unwrap(), "[2001:db8::1]:9".parse().unwrap()]
    );
    assert_eq!(read.hash(), RecordHash(0x38cd_ed6c_25bd_7574));
}

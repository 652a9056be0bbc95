//! Members with real certificates, made once a process: keys cost more than any input.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use mesh_gossip_proto::Duration as Span;

use super::names::CLUSTER;
use crate::bootstrap::{CaValidity, CertificateAuthority, Issued, Subject};
use crate::link::{LinkOptions, Links};
use crate::tls::authority::{Intermediates, MeshAuthority};
use crate::tls::credentials::Credentials;

/// Longer than any input lets time pass; links count from when they verified.
const VALIDITY: Duration = Duration::from_secs(300 * 86_400);
/// Names of members; `z` is certified by another CA.
pub(super) const MEMBERS: [&str; 4] = ["a", "b", "c", "d"];
pub(super) const STRANGER: &str = "z";

/// A CA, and who got a certificate.
pub(super) struct Certified {
    pub(super) ca: CertificateAuthority,
    pub(super) issued: BTreeMap<&'static str, Issued>,
    credentials: BTreeMap<&'static str, Arc<Credentials>>,
}

static CERTIFIED: LazyLock<Certified> = LazyLock::new(|| {
    let (ca, foreign) = (authority(), authority());
    let mut certified = Certified { ca, issued: BTreeMap::new(), credentials: BTreeMap::new() };
    for name in MEMBERS {
        let issued = issue(&certified.ca, name);
        certified.credentials.insert(name, load(&certified.ca, &issued, name));
        certified.issued.insert(name, issued);
    }
    let stranger = load(&foreign, &issue(&foreign, STRANGER), STRANGER);
    certified.credentials.insert(STRANGER, stranger);
    certified
});

fn authority() -> CertificateAuthority {
    CertificateAuthority::create("fuzz", CLUSTER, SystemTime::now(), CaValidity::default())
        .expect("the names are canonical")
}

fn issue(ca: &CertificateAuthority, name: &str) -> Issued {
    ca.issue(&Subject::new(name, "worker"), SystemTime::now(), VALIDITY).expect("the CA lives on")
}

fn load(ca: &CertificateAuthority, issued: &Issued, name: &str) -> Arc<Credentials> {
    let credentials = Credentials::load(&issued.tls_options(ca), CLUSTER, name, "worker");
    Arc::new(credentials.expect("what is minted passes the verifier"))
}

/// The CA and its members.
pub(super) fn certified() -> &'static Certified {
    &CERTIFIED
}

impl Certified {
    /// What a member shows.
    pub(super) fn credentials(&self, name: &str) -> &Arc<Credentials> {
        &self.credentials[name]
    }

    /// An authority of a member that remembers nothing yet.
    pub(super) fn authority(&self, name: &str) -> Arc<MeshAuthority> {
        let credentials = Arc::clone(self.credentials(name));
        Arc::new(MeshAuthority::new(credentials, Arc::new(Intermediates::default())))
    }

    /// Links of a member, without a session.
    pub(super) fn links(&self, name: &str, seed: u64) -> Links {
        Links::new(LinkOptions {
            local: self.credentials(name).member_id(),
            cluster_id: CLUSTER.into(),
            authority: self.authority(name),
            seed,
            linger: Span::from_secs(5),
        })
    }
}

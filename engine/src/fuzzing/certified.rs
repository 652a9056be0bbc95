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
/// Certificates of one CA that say nothing new and fill a flight.
const REPEATED: usize = 7;
/// Names of members; `z` is certified by another CA.
pub(super) const MEMBERS: [&str; 4] = ["a", "b", "c", "d"];
pub(super) const STRANGER: &str = "z";

/// A CA, and who got a certificate.
pub(super) struct Certified {
    pub(super) ca: CertificateAuthority,
    pub(super) issued: BTreeMap<&'static str, Issued>,
    credentials: BTreeMap<&'static str, Arc<Credentials>>,
    /// As the second member, with a chain that fills more than three datagrams.
    long_winded: Arc<Credentials>,
}

static CERTIFIED: LazyLock<Certified> = LazyLock::new(|| {
    let (ca, foreign) = (authority(), authority());
    let issued: BTreeMap<_, _> = MEMBERS.map(|name| (name, issue(&ca, name))).into();
    let loaded = issued.iter().map(|(name, issued)| (*name, load(&ca, issued, name)));
    let mut credentials: BTreeMap<_, _> = loaded.collect();
    credentials.insert(STRANGER, load(&foreign, &issue(&foreign, STRANGER), STRANGER));
    let mut long = issue(&ca, MEMBERS[1]);
    let issuing = long.chain_pem.rfind("-----BEGIN").map_or("", |at| &long.chain_pem[at..]);
    long.chain_pem = long.chain_pem.clone() + &issuing.repeat(REPEATED);
    let long_winded = load(&ca, &long, MEMBERS[1]);
    Certified { ca, issued, credentials, long_winded }
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
        links(self.authority(name), seed)
    }

    /// Links of the second member, whose flights are longer than three of their causes.
    pub(super) fn long_winded(&self, seed: u64) -> Links {
        let credentials = Arc::clone(&self.long_winded);
        links(Arc::new(MeshAuthority::new(credentials, Arc::default())), seed)
    }
}

fn links(authority: Arc<MeshAuthority>, seed: u64) -> Links {
    Links::new(LinkOptions {
        local: authority.credentials().member_id(),
        cluster_id: CLUSTER.into(),
        authority,
        seed,
        linger: Span::from_secs(5),
    })
}

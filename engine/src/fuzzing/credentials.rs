//! Certificates, keys, trust bundles, revocation lists and stores, as an agent takes them: from
//! its operator's files, and from strangers who show them in a handshake or behind a record.

use std::sync::LazyLock;
use std::time::SystemTime;

use mesh_gossip_proto::membership::record::Claim;
use mesh_gossip_proto::{Authority, Incarnation};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use zeroize::Zeroizing;

use super::certified::{Certified, MEMBERS, certified};
use super::input::Input;
use super::names::CLUSTER;
use crate::bootstrap::ledger::Ledger;
use crate::bootstrap::{CRL_LIFE, pkcs12};
use crate::options::{Material, TlsOptions};
use crate::tls::authority::MeshAuthority;
use crate::tls::credentials::Credentials;
use crate::tls::revocation::{ListError, Taken};
use crate::tls::trust::{Pin, Trust};
use crate::tls::verifier::Usage;

/// Most changes to a genuine certificate.
const EDITS: usize = 8;
/// The password of every store.
pub(super) const PASSWORD: &str = "fuzz";

/// The first byte chooses what the others are.
pub fn credentials(data: &[u8]) {
    let Some((what, bytes)) = data.split_first() else { return };
    let certified = certified();
    match what % 10 {
        what @ 0..=4 => files(certified, what, bytes),
        5 => shown(certified, bytes),
        6 => edited(certified, bytes),
        7 => edited_list(certified, bytes),
        8 => {
            files(certified, 5, bytes);
            store(bytes);
        }
        _ => {
            let text = String::from_utf8_lossy(bytes);
            if let Some(Pin::Sha256(pin)) = Pin::parse(&text) {
                let hex: String = pin.iter().map(|byte| format!("{byte:02X}")).collect();
                assert_eq!(Pin::parse(&hex), Some(Pin::Sha256(pin)));
            }
        }
    }
}

/// One file of several is the input; the others are genuine. A certificate, key or bundle that is
/// refused is refused in words.
fn files(certified: &Certified, which: u8, bytes: &[u8]) {
    let material = Material::Bytes(Zeroizing::new(bytes.to_vec()));
    let genuine = certified.issued["a"].tls_options(&certified.ca);
    let options = match which {
        0 => TlsOptions { certificate: material, ..genuine },
        1 => TlsOptions { key: Some(material), ..genuine },
        2 => TlsOptions { ca: material, ..genuine },
        3 => {
            let mut options = genuine;
            options.revocation.lists = Some(material);
            options
        }
        4 => TlsOptions { certificate: material, key: None, ..genuine },
        _ => TlsOptions {
            certificate: material,
            key: None,
            password: Some(Zeroizing::new(PASSWORD.into())),
            ..genuine
        },
    };
    match Credentials::load(&options, CLUSTER, "a", "worker") {
        Ok(loaded) => {
            assert_eq!(loaded.identity().node_id, "a");
            let text = format!("{loaded:?} {:?}", loaded.warnings());
            assert!(!text.contains("PRIVATE"), "Rule S-21");
        }
        Err(error) => {
            let (text, told) = (String::from_utf8_lossy(bytes), format!("{error} {error:?}"));
            let long = text.lines().filter(|line| line.len() >= 32 && !line.starts_with('-'));
            assert!(!long.into_iter().any(|line| told.contains(line)), "Rule S-21: {told}");
        }
    }
}

/// A chain that a stranger shows: nothing that no CA of ours signed holds. Behind a record too.
fn shown(certified: &Certified, bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let leaf = CertificateDer::from(input.blob());
    let sent = [CertificateDer::from(input.blob()), CertificateDer::from(input.rest())];
    let credentials = certified.credentials("b");
    let genuine = MEMBERS.iter().any(|name| *certified.credentials(name).leaf() == leaf);
    let Some(now) = credentials.now() else { return };
    for usage in [Usage::Client, Usage::Server] {
        let chain = [leaf.clone(), sent[0].clone(), sent[1].clone()];
        let verdict = credentials.verifier().verify_peer(&chain, usage, now);
        if let Err(error) = &verdict {
            let _ = format!("{error} {}", error.reason());
        }
        assert!(verdict.is_err() || genuine, "a stranger was believed");
    }
    claim(&certified.authority("b"), &leaf);
}

fn claim(authority: &MeshAuthority, leaf: &CertificateDer<'_>) {
    let claim = Claim {
        cluster_id: CLUSTER,
        node_id: "a",
        role: "worker",
        incarnation: Incarnation { generation: 1, counter: 0 },
        message: b"message",
        scheme: 0x0403,
        signature: b"signature",
        leaf,
        intermediates: authority.intermediates(),
    };
    assert!(authority.verify(&claim).is_err(), "no one signed this");
    authority.learn(&[leaf.clone(), leaf.clone().into_owned()]);
}

/// Byte by byte: where, and what to do there.
fn edit(genuine: &[u8], input: &mut Input<'_>) -> Vec<u8> {
    let mut bytes = genuine.to_vec();
    for _ in 0..EDITS {
        if input.is_empty() || bytes.is_empty() {
            break;
        }
        let (how, at) = (input.byte(), usize::from(input.word()) % bytes.len());
        match how % 4 {
            0 => bytes[at] ^= input.byte(),
            1 => bytes[at] = bytes[at].wrapping_add(1),
            2 => bytes.insert(at, input.byte()),
            _ => {
                bytes.remove(at);
            }
        }
    }
    bytes
}

/// A member's certificate with a few bytes changed is nobody's.
fn edited(certified: &Certified, bytes: &[u8]) {
    let credentials = certified.credentials("b");
    let genuine = certified.credentials("a").chain();
    let mut input = Input::new(bytes);
    let (which, usage) = (input.below(2), [Usage::Client, Usage::Server][input.below(2)]);
    let changed = CertificateDer::from(edit(&genuine[which], &mut input));
    let same = changed == genuine[which];
    let mut chain = genuine.to_vec();
    chain[which] = changed;
    let Some(now) = credentials.now() else { return };
    let verdict = credentials.verifier().verify_peer(&chain, usage, now);
    if which == 0 {
        assert_eq!(verdict.is_ok(), same, "{verdict:?}");
        claim(&certified.authority("b"), &chain[0]);
    } else {
        // The bundle completes chains whose intermediates are spoilt.
        assert!(verdict.is_ok() || !same);
    }
}

/// A list of the CA's.
pub(super) fn list_pem() -> String {
    let now = SystemTime::now();
    let list = certified().ca.sign_crl(&Ledger::default(), 5, now, now + CRL_LIFE);
    list.expect("the CA lives on")
}

static LIST: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let pem = list_pem();
    let der = CertificateRevocationListDer::from_pem_slice(pem.as_bytes());
    der.expect("it is PEM").to_vec()
});

/// A revocation list with a few bytes changed is nobody's, or the same list in other words; any
/// other list is nobody's.
fn edited_list(certified: &Certified, bytes: &[u8]) {
    let bundle = CertificateDer::pem_slice_iter(certified.ca.bundle_pem().as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .expect("a bundle is PEM");
    let mut trust = Trust::of_bundle(bundle).expect("it has a root");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = UnixTime::since_unix_epoch(now);
    assert_eq!(trust.take_list(&LIST, now), Ok(Taken::Fresh));
    let mut input = Input::new(bytes);
    let der = if input.byte() == 0 { edit(&LIST, &mut input) } else { input.rest().to_vec() };
    match trust.take_list(&der, now) {
        Ok(taken) => assert_eq!(taken, Taken::Known),
        Err(error) => assert_ne!(error, ListError::Number, "two lists of one number: {error}"),
    }
}

/// A store gives a chain and a key, or one error for everything.
fn store(bytes: &[u8]) {
    if let Ok(pair) = pkcs12::read(bytes, PASSWORD) {
        assert!(pair.key_pem.contains("PRIVATE KEY"));
    }
}

//! Each refusal of the verifier, by its reason.

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, SanType};
use rustls_pki_types::CertificateDer;

use crate::tls::certificates_tests::{
    CLUSTER, DAY, LaxCa, TRUST_DOMAIN, mesh_ca, san_uri, start, unix, uri_of,
};
use crate::tls::identity::{Identity, IdentityError, NameRule};
use crate::tls::provider::{sha1_thumbprint, sha256};
use crate::tls::trust::{BundleError, Pin, Trust};
use crate::tls::verifier::{MeshVerifier, TrustError, Usage, Verified, reason_of};

fn verify(ca: &LaxCa, leaf: &CertificateDer<'static>) -> Result<Verified, TrustError> {
    ca.verifier().verify_peer(std::slice::from_ref(leaf), Usage::Client, unix(start()))
}

/// Asserts that a leaf of `uri`, spoilt by `edit`, is refused for `reason`, also by way of rustls.
fn refused(uri: &str, edit: impl FnOnce(&mut CertificateParams), reason: &str) -> TrustError {
    let ca = LaxCa::new("root");
    let error = verify(&ca, &ca.leaf(uri, edit).der).unwrap_err();
    assert_eq!(error.reason(), reason, "{error}");
    assert_eq!(reason_of(&error.clone().into()), reason, "the word survives rustls");
    error
}

/// Rule S-8.
#[test]
fn a_good_certificate_yields_whom_it_names_and_how_long() {
    let ca = LaxCa::new("root");
    let leaf = ca.leaf(&uri_of("n1"), |params| {
        params.subject_alt_names.push(SanType::DnsName("n1.example".try_into().unwrap()));
        params.serial_number = Some(vec![0x12, 0x34].into());
    });
    let verified = verify(&ca, &leaf.der).unwrap();
    assert_eq!(verified.identity.name(), uri_of("n1"));
    assert_eq!(verified.leaf_sha256, sha256(&leaf.der));
    assert_eq!(verified.serial, [0x12, 0x34]);
    assert_eq!(verified.not_after, unix(start() + DAY));
    assert!(verified.intermediates.is_empty());
}

/// Rule S-16: one judge for chain, validity and use.
#[test]
fn what_no_ca_of_ours_signed_for_today_is_refused() {
    let (ours, foreign) = (LaxCa::new("root"), LaxCa::new("other"));
    let leaf = foreign.leaf(&uri_of("n1"), |_| {});
    assert_eq!(verify(&ours, &leaf.der), Err(TrustError::UnknownCa));
    let namesake = LaxCa::new("root").leaf(&uri_of("n1"), |_| {});
    assert_eq!(verify(&ours, &namesake.der), Err(TrustError::UnknownCa), "same name, other key");
    let expired = |params: &mut CertificateParams| {
        params.not_before = (start() - 2 * DAY).into();
        params.not_after = (start() - DAY).into();
    };
    let error = refused(&uri_of("n1"), expired, "expired").to_string();
    assert!(error.contains("expired at 2027-01-14T08:00:00Z"), "{error}");
    refused(
        &uri_of("n1"),
        |params| params.not_before = (start() + DAY / 2).into(),
        "not-yet-valid",
    );
    refused(
        &uri_of("n1"),
        |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained),
        "chain",
    );
    assert_eq!(ours.verifier().verify_peer(&[], Usage::Client, unix(start())), {
        Err(TrustError::NoCertificate)
    });
    let garbage = CertificateDer::from(vec![0x30, 0x03, 1, 2, 3]);
    assert_eq!(verify(&ours, &garbage).unwrap_err().reason(), "chain");
}

#[test]
fn a_certificate_serves_only_the_uses_that_it_names() {
    let only_server = |params: &mut CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    };
    refused(&uri_of("n1"), only_server, "usage");
    // webpki alone would take a leaf that names no use for any use.
    refused(&uri_of("n1"), |params| params.extended_key_usages.clear(), "usage");
    let ca = LaxCa::new("root");
    let leaf = ca.leaf(&uri_of("n1"), only_server).der;
    assert!(ca.verifier().verify_peer(&[leaf], Usage::Server, unix(start())).is_ok());
}

/// Rule S-8.
#[test]
fn a_member_goes_by_one_rule_of_names_and_no_certificate_passes_both() {
    let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
    let own = Identity::by(NameRule::Dns, TRUST_DOMAIN, CLUSTER, "worker", "n1").unwrap().name();
    let judged = |names: Vec<SanType>| {
        let ca = LaxCa::new("root");
        let leaf = ca.leaf(&uri_of("n1"), |params| params.subject_alt_names = names);
        let chain = std::slice::from_ref(&leaf.der);
        [NameRule::Spiffe, NameRule::Dns].map(|rule| {
            let judge = ca.verifier().naming(rule);
            let by_uses = [Usage::Client, Usage::Server].map(|usage| {
                judge.verify_peer(chain, usage, unix(start())).map(|found| found.identity.name())
            });
            assert_eq!(by_uses[0], by_uses[1], "both ends judge alike");
            by_uses[0].clone().map_err(|error| error.reason())
        })
    };
    let (uri, good) = (san_uri(&uri_of("n1")), dns(&own));
    assert_eq!(judged(vec![good.clone()]), [Err("identity"), Ok(own)]);
    assert_eq!(judged(vec![uri.clone()]), [Ok(uri_of("n1")), Err("identity")]);
    // With both it is what its URI says, to those who go by URIs alone.
    let victim = dns(&format!("n2.worker.{CLUSTER}.mesh.{TRUST_DOMAIN}"));
    assert_eq!(judged(vec![uri, victim.clone()]), [Ok(uri_of("n1")), Err("identity")]);
    assert_eq!(judged(vec![good, victim]), [Err("identity"), Err("identity")]);
    for (name, reason) in [
        (format!("n1.operator.{CLUSTER}.mesh.{TRUST_DOMAIN}"), "identity"),
        (format!("*.worker.{CLUSTER}.mesh.{TRUST_DOMAIN}"), "identity"),
        (format!("n1.worker.c2.mesh.{TRUST_DOMAIN}"), "foreign-cluster"),
        (format!("n1.worker.{CLUSTER}.mesh.evil"), "foreign-trust-domain"),
        (format!("me.worker.{CLUSTER}.mesh.{TRUST_DOMAIN}"), "own-id"),
    ] {
        assert_eq!(judged(vec![dns(&name)]), [Err("identity"), Err(reason)], "{name}");
    }
}

/// Rule S-8.
#[test]
fn only_one_canonical_name_of_a_member_of_ours_is_an_identity() {
    let second = |params: &mut CertificateParams| {
        params.subject_alt_names.push(san_uri("https://elsewhere.example/"));
    };
    let error = refused(&uri_of("n1"), second, "identity");
    assert!(matches!(error, TrustError::Identity(IdentityError::SeveralNames { .. })));
    let error = refused(&uri_of("n1"), |params| params.subject_alt_names.clear(), "identity");
    assert_eq!(error, TrustError::Identity(IdentityError::NoName(NameRule::Spiffe)));
    refused(&uri_of("N1"), |_| {}, "identity");
    refused(&uri_of("n%31"), |_| {}, "identity");
    for role in ["operator", "bootstrap"] {
        let uri = Identity::new(TRUST_DOMAIN, CLUSTER, role, "n1").unwrap().name();
        refused(&uri, |_| {}, "identity");
    }
    let cluster = refused(&format!("spiffe://{TRUST_DOMAIN}/mesh/c2/worker/n1"), |_| {}, {
        "foreign-cluster"
    });
    assert!(cluster.to_string().contains("\"c2\", expected \"c1\""), "{cluster}");
    refused(&format!("spiffe://evil/mesh/{CLUSTER}/worker/n1"), |_| {}, "foreign-trust-domain");
    refused(&uri_of("me"), |_| {}, "own-id");
}

/// Rule S-17: a thumbprint narrows what the chain allows and never replaces it.
#[test]
fn thumbprints_restrict_and_never_vouch() {
    let (ca, foreign) = (LaxCa::new("root"), LaxCa::new("other"));
    let (listed, unlisted) =
        (ca.leaf(&uri_of("n1"), |_| {}).der, ca.leaf(&uri_of("n2"), |_| {}).der);
    let outside = foreign.leaf(&uri_of("n1"), |_| {}).der;
    let sha1 = Pin::Sha1(sha1_thumbprint(&listed));
    let sha256 = Pin::Sha256(sha256(&listed));
    for pin in [sha1, sha256] {
        let pins = vec![pin, Pin::Sha1(sha1_thumbprint(&outside))];
        let trust = Trust::of_bundle(vec![ca.der.clone()]).unwrap().restricted_to(pins);
        let verifier = MeshVerifier::new(trust, TRUST_DOMAIN, CLUSTER, None);
        let verify = |leaf: &CertificateDer<'static>| {
            let chain = std::slice::from_ref(leaf);
            verifier.verify_peer(chain, Usage::Client, unix(start())).map(|_| ())
        };
        assert_eq!(verify(&listed), Ok(()));
        assert_eq!(verify(&unlisted).unwrap_err().reason(), "pin");
        assert_eq!(verify(&outside).unwrap_err().reason(), "unknown-ca");
    }
}

#[test]
fn the_bundle_completes_chains_and_must_hold_a_root_and_no_leaf() {
    let ca = mesh_ca();
    let bundle = certificates(&ca.bundle_pem());
    assert_eq!(bundle.len(), 2);
    let trust = Trust::of_bundle(bundle.clone()).unwrap();
    assert_eq!((trust.anchors().len(), trust.intermediates().len()), (1, 1));
    let issued = crate::tls::certificates_tests::issue(&ca, "n1");
    let leaf = certificates(&issued.chain_pem).remove(0);
    let verifier = MeshVerifier::new(trust, TRUST_DOMAIN, CLUSTER, None);
    let short =
        verifier.verify_peer(std::slice::from_ref(&leaf), Usage::Server, unix(start())).unwrap();
    assert_eq!(short.intermediates, [bundle[1].clone()]);

    let without_root = Trust::of_bundle(vec![bundle[1].clone()]).unwrap_err();
    assert_eq!(without_root, BundleError::NoAnchor { intermediates: 1 });
    let with_leaf = Trust::of_bundle(vec![bundle[0].clone(), leaf]).unwrap_err();
    assert!(matches!(with_leaf, BundleError::NotCa { position: 2, .. }));
    assert_eq!(
        Trust::of_bundle(Vec::new()).unwrap_err(),
        BundleError::NoAnchor { intermediates: 0 }
    );
}

fn certificates(pem: &str) -> Vec<CertificateDer<'static>> {
    use rustls_pki_types::pem::PemObject;
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().unwrap()
}

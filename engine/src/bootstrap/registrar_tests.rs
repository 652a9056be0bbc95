//! What an authority promises, to whom, and once.

use std::fs;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use tempfile::TempDir;
use webpki::{CertRevocationList, EndEntityCert, KeyUsage, RevocationOptionsBuilder};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::inspect::crl_number_of;
use super::ledger::{Entry, Fate, Ledger, MAX_SUCCESSORS, Revocation};
use super::*;
use crate::tls::certificates_tests::{
    CLUSTER, DAY, ROLE, TRUST_DOMAIN, mesh_ca, san_uri, start, unix, uri_of,
};
use crate::tls::identity::{Identity, NameRule};
use crate::tls::provider::verification_algorithms;
use crate::tls::trust::Trust;

const HOUR: Duration = Duration::from_secs(3_600);

fn office() -> (TempDir, Registrar) {
    let home = tempfile::tempdir().unwrap();
    mesh_ca().write(home.path(), Existing::Refuse).unwrap();
    let registrar = Registrar::open(home.path(), None).unwrap();
    (home, registrar)
}

fn token(registrar: &Registrar, node_id: &str) -> Token {
    registrar.token(node_id, ROLE, HOUR, 30 * DAY, start()).unwrap()
}

fn join_at(
    registrar: &Registrar,
    token: &Token,
    key: &NodeKey,
    now: SystemTime,
) -> Result<Certified, BootstrapError> {
    registrar.join(token.text(), "n1", &key.request().unwrap(), now, None)
}

fn refusal<T: std::fmt::Debug>(answer: Result<T, BootstrapError>) -> Refusal {
    match answer.unwrap_err() {
        BootstrapError::Refused(refusal) => refusal,
        other => panic!("{other}"),
    }
}

fn leaf_of(certified: &Certified) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(certified.chain_pem.as_bytes()).unwrap()
}

fn key() -> NodeKey {
    NodeKey::generate().unwrap()
}

#[test]
fn a_token_leads_to_one_certificate_for_the_first_key() {
    let (_home, registrar) = office();
    let token = token(&registrar, "n1");
    let (mine, other) = (key(), key());
    let first = join_at(&registrar, &token, &mine, start()).unwrap();
    assert_eq!(first.certificate.key, mine.id());
    assert_eq!(refusal(join_at(&registrar, &token, &other, start())), Refusal::UsedToken);
    // The answer may have been lost: the same key may ask again, even after the token's end.
    let again = join_at(&registrar, &token, &mine, start() + 2 * HOUR).unwrap();
    assert_eq!(again, first);
    assert_eq!(registrar.ledger().unwrap().certificates().count(), 1);
}

#[test]
fn a_crash_between_entry_and_signature_changes_neither_key_nor_number() {
    let (home, registrar) = office();
    let token = token(&registrar, "n1");
    let (mine, other) = (key(), key());
    let first = join_at(&registrar, &token, &mine, start()).unwrap();
    let path = home.path().join(ISSUED).join(format!("{}.pem", first.certificate.serial));
    fs::remove_file(path).unwrap();
    drop(registrar);
    let registrar = Registrar::open(home.path(), None).unwrap();
    assert_eq!(refusal(join_at(&registrar, &token, &other, start())), Refusal::UsedToken);
    let again = join_at(&registrar, &token, &mine, start() + HOUR).unwrap();
    assert_eq!(again.certificate, first.certificate);
    let [before, after] = [&first, &again].map(leaf_of);
    let said = |der: &CertificateDer<'_>| {
        let (_, leaf) = X509Certificate::from_der(der).unwrap();
        leaf.tbs_certificate.as_ref().to_vec()
    };
    assert_eq!(said(&before), said(&after), "only the signature's randomness may differ");
}

#[test]
fn a_token_that_is_old_or_somebody_elses_or_made_up_leads_to_nothing() {
    let (_home, registrar) = office();
    let token = token(&registrar, "n1");
    let key = key();
    let request = key.request().unwrap();
    let ask = |text: &str, node_id: &str, now| registrar.join(text, node_id, &request, now, None);
    assert_eq!(refusal(ask(token.text(), "n1", start() + HOUR)), Refusal::ExpiredToken);
    assert_eq!(refusal(ask(token.text(), "n2", start())), Refusal::OtherNode);
    let mut forged = token.text().to_owned();
    let last = if forged.pop() == Some('A') { 'E' } else { 'A' };
    forged.push(last);
    for text in [forged.as_str(), "", "mesh1.0000000000000000.x"] {
        assert_eq!(refusal(ask(text, "n1", start())), Refusal::UnknownToken, "{text}");
    }
    let unproven = registrar.join(token.text(), "n1", "no request", start(), None);
    assert_eq!(refusal(unproven), Refusal::BadRequest);
    assert!(ask(token.text(), "n1", start() + HOUR - Duration::from_secs(1)).is_ok());
    for role in ["operator", "bootstrap"] {
        let refused = registrar.token("n1", role, HOUR, DAY, start()).unwrap_err();
        assert!(matches!(refused, BootstrapError::ReservedRole(_)), "{refused}");
    }
}

#[test]
fn near_the_issuing_cas_end_certificates_are_shorter_and_then_none() {
    let (_home, registrar) = office();
    let first = join_at(&registrar, &token(&registrar, "n1"), &key(), start()).unwrap();
    let mut leaf = leaf_of(&first);
    // The issuing CA of the tests lasts 730 days, the certificates 30.
    for day in (20..=720).step_by(20) {
        let now = start() + day * DAY;
        let next = registrar.renew(&leaf, &key().request().unwrap(), now, None).unwrap();
        let life_s = next.certificate.not_after_s - unix(now).as_secs();
        let left = 730 - u64::from(day);
        assert_eq!(life_s, left.min(30) * 86_400, "day {day}");
        leaf = leaf_of(&next);
    }
    let fresh = key().request().unwrap();
    let over = registrar.renew(&leaf, &fresh, start() + 730 * DAY, None).unwrap_err();
    assert!(matches!(over, BootstrapError::OutlivesIssuer { .. }), "{over}");
}

/// Rule S-8.
#[test]
fn a_request_that_asks_for_more_gets_a_plain_leaf() {
    let (_home, registrar) = office();
    let token = token(&registrar, "n1");
    let mut params = CertificateParams::new(vec!["evil.example".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any];
    let operator = format!("spiffe://{TRUST_DOMAIN}/mesh/{CLUSTER}/operator/root");
    params.subject_alt_names.push(san_uri(&operator));
    let request = params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap();
    let certified = registrar.join(token.text(), "n1", &request, start(), None).unwrap();
    let der = leaf_of(&certified);
    let (_, leaf) = X509Certificate::from_der(&der).unwrap();
    assert!(!leaf.is_ca());
    assert_eq!(Identity::of_leaf(NameRule::Spiffe, &der).unwrap().name(), uri_of("n1"));
    let names = leaf.subject_alternative_name().unwrap().unwrap();
    assert_eq!(names.value.general_names.len(), 1);
    assert_eq!(leaf.key_usage().unwrap().unwrap().value.flags, 1, "digitalSignature alone");
    let uses = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(uses.server_auth && uses.client_auth && !uses.any && uses.other.is_empty());
    let life = leaf.validity().not_after.timestamp() - unix(start()).as_secs() as i64;
    assert_eq!(life, 30 * 86_400, "as the token says");
    assert_eq!(leaf.subject().to_string(), "CN=n1");
}

#[test]
fn a_renewal_needs_a_live_certificate_and_a_new_key() {
    let (_home, registrar) = office();
    let first_key = key();
    let first = join_at(&registrar, &token(&registrar, "n1"), &first_key, start()).unwrap();
    let leaf = leaf_of(&first);
    let renew = |leaf: &CertificateDer<'_>, key: &NodeKey, now| {
        registrar.renew(leaf, &key.request().unwrap(), now, None)
    };
    assert_eq!(refusal(renew(&leaf, &first_key, start())), Refusal::KnownKey);
    let second_key = key();
    let later = start() + 20 * DAY;
    let second = renew(&leaf, &second_key, later).unwrap();
    assert_ne!(second.certificate.serial, first.certificate.serial);
    let names = |c: &Certified| (c.certificate.node_id.clone(), c.certificate.role.clone());
    assert_eq!(names(&second), names(&first));
    assert_eq!(second.certificate.validity_s, first.certificate.validity_s);
    // The answer may have been lost.
    assert_eq!(renew(&leaf, &second_key, later).unwrap(), second);
    assert_eq!(refusal(renew(&leaf, &key(), start() + 31 * DAY)), Refusal::Expired);
    for _ in 1..MAX_SUCCESSORS {
        renew(&leaf, &key(), later).unwrap();
    }
    assert_eq!(refusal(renew(&leaf, &key(), later)), Refusal::TooManyRenewals);
    let stranger = mesh_ca().issue(&Subject::new("n1", ROLE), start(), DAY).unwrap();
    let stranger = CertificateDer::from_pem_slice(stranger.chain_pem.as_bytes()).unwrap();
    assert_eq!(refusal(renew(&stranger, &key(), start())), Refusal::UnknownCertificate);

    registrar
        .revoke(Target::Serial(second.certificate.serial), Reason::KeyCompromise, later)
        .unwrap();
    assert_eq!(refusal(renew(&leaf_of(&second), &key(), later)), Refusal::Revoked);
}

#[test]
fn a_revoked_node_returns_only_when_somebody_asks_for_it_by_name() {
    let (_home, registrar) = office();
    let first = join_at(&registrar, &token(&registrar, "n1"), &key(), start()).unwrap();
    let second_key = key();
    let second = registrar.renew(&leaf_of(&first), &second_key.request().unwrap(), start(), None);
    let second = second.unwrap();
    let open = token(&registrar, "n1");
    let by_hand = registrar.issue(&Subject::new("n1", ROLE), start(), DAY).unwrap();
    let other = registrar.issue(&Subject::new("n2", ROLE), start(), DAY).unwrap();
    let revoked = registrar.revoke(Target::Node("n1"), Reason::Unspecified, start() + HOUR / 2);
    let mut expected = vec![first.certificate.serial, second.certificate.serial];
    expected.push(by_hand.serial.parse().unwrap());
    expected.sort();
    assert_eq!(revoked.unwrap().serials, expected);
    let ledger = registrar.ledger().unwrap();
    let spared = ledger.certificate(other.serial.parse().unwrap()).unwrap();
    assert_eq!(spared.1, None, "others are not concerned");
    assert_eq!(ledger.barred().collect::<Vec<_>>(), ["n1"]);

    let again = registrar.renew(&leaf_of(&second), &key().request().unwrap(), start(), None);
    assert_eq!(refusal(again), Refusal::Revoked);
    assert_eq!(refusal(join_at(&registrar, &open, &key(), start())), Refusal::VoidToken);
    let (fresh, fresh_key) = (token(&registrar, "n1"), key());
    assert!(join_at(&registrar, &fresh, &fresh_key, start()).is_ok());
    // A lost answer is no way back either.
    let serial = join_at(&registrar, &fresh, &fresh_key, start()).unwrap().certificate.serial;
    registrar.revoke(Target::Serial(serial), Reason::Superseded, start()).unwrap();
    assert_eq!(refusal(join_at(&registrar, &fresh, &fresh_key, start())), Refusal::Revoked);

    for target in [Target::Serial(serial), Target::Node("nobody")] {
        let nothing = registrar.revoke(target, Reason::Unspecified, start()).unwrap_err();
        assert!(matches!(nothing, BootstrapError::NothingToRevoke(_)), "{nothing}");
    }
}

/// Rule S-16: the lists are such as a verifier takes, and their numbers rise.
#[test]
fn each_list_has_a_higher_number_and_holds_under_the_issuing_key() {
    let (home, registrar) = office();
    let first = registrar.crl(start()).unwrap();
    assert_eq!(crl_number_of(&first), Some(1));
    assert_eq!(registrar.crl(start() + DAY).unwrap(), first, "not due yet");
    assert_eq!(crl_number_of(&registrar.crl(start() + 4 * DAY).unwrap()), Some(2));

    let certified = join_at(&registrar, &token(&registrar, "n1"), &key(), start()).unwrap();
    let serial = certified.certificate.serial;
    let revoked = registrar.revoke(Target::Serial(serial), Reason::KeyCompromise, start()).unwrap();
    assert_eq!(revoked.crl_number, 3);
    let list = registrar.crl(start()).unwrap();
    assert_eq!(crl_number_of(&list), Some(3));
    let other = registrar.issue(&Subject::new("n2", ROLE), start(), 30 * DAY).unwrap();
    assert_eq!(judged(&registrar, &certified.chain_pem, &list), Err(webpki::Error::CertRevoked));
    assert_eq!(judged(&registrar, &other.chain_pem, &list), Ok(()));

    // A crash after the entry and before the file: the next look writes it.
    fs::write(home.path().join(REVOCATION_LIST), first).unwrap();
    let registrar = Registrar::open(home.path(), None).unwrap();
    assert_eq!(crl_number_of(&registrar.crl(start()).unwrap()), Some(4));
    // Long after its end an entry goes.
    let late = registrar.crl(start() + 60 * DAY).unwrap();
    assert_eq!(judged(&registrar, &certified.chain_pem, &late), Ok(()));
}

/// Judges a leaf, and the signature of the list, as a verifier does.
fn judged(registrar: &Registrar, chain_pem: &str, list: &str) -> Result<(), webpki::Error> {
    let certificates = |pem: &str| -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().unwrap()
    };
    let trust = Trust::of_bundle(certificates(&registrar.authority().bundle_pem())).unwrap();
    let der = CertificateRevocationListDer::from_pem_slice(list.as_bytes()).unwrap();
    let list = CertRevocationList::from(webpki::OwnedCertRevocationList::from_der(&der).unwrap());
    let lists = [&list];
    let options = RevocationOptionsBuilder::new(&lists)
        .unwrap()
        .with_depth(webpki::RevocationCheckDepth::EndEntity)
        .build();
    let chain = certificates(chain_pem);
    let leaf = EndEntityCert::try_from(&chain[0]).unwrap();
    let verified = leaf.verify_for_usage(
        verification_algorithms().all,
        trust.anchors(),
        &chain[1..],
        unix(start()),
        KeyUsage::client_auth(),
        Some(options),
        None,
    );
    verified.map(|_| ())
}

/// Rule S-21.
#[test]
fn no_token_and_no_node_key_lies_in_the_authoritys_directory() {
    let (home, registrar) = office();
    let token = token(&registrar, "n1");
    let node_key = key();
    join_at(&registrar, &token, &node_key, start()).unwrap();
    let secret = token.text().rsplit('.').next().unwrap();
    let body = node_key.pem().lines().nth(1).unwrap().to_owned();
    let mut files = vec![home.path().to_owned()];
    let mut seen = 0;
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains(secret) && !text.contains(&body), "{}", path.display());
        seen += 1;
    }
    assert!(seen >= 8, "{seen} files");
    let audit = fs::read_to_string(home.path().join(AUDIT)).unwrap();
    let lines: Vec<serde_json::Value> =
        audit.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let acts: Vec<_> = lines.iter().map(|line| line["act"].as_str().unwrap()).collect();
    assert_eq!(acts, ["token", "join"]);
    assert_eq!(lines[1]["tokenId"], token.id());
    assert_eq!(lines[1]["outcome"], "ok");
    assert_eq!(lines[1]["serial"].as_str().unwrap().len(), 32);
}

#[test]
fn the_ledger_refuses_what_contradicts_it() {
    let (_home, registrar) = office();
    let certified = join_at(&registrar, &token(&registrar, "n1"), &key(), start()).unwrap();
    let mut ledger = registrar.ledger().unwrap();
    let mut second = certified.certificate.clone();
    second.serial = Serial::random().unwrap();
    let revocation = Revocation { reason: Reason::Unspecified, at_s: 1 };
    let (terms, fate) = ledger.tokens().next().map(|(t, f)| (t.clone(), f.clone())).unwrap();
    assert_eq!(fate, Fate::Used(certified.certificate.serial));
    for wrong in [
        Entry::Issued(certified.certificate.clone()),
        Entry::Issued(second),
        Entry::Token(terms.clone()),
        Entry::Voided { token: terms.id },
        Entry::Voided { token: "none".into() },
        Entry::Revoked { serial: Serial::random().unwrap(), revocation },
        Entry::Crl { number: 0, next_update_s: 0 },
    ] {
        assert!(ledger.apply(&wrong).is_err(), "{wrong:?}");
    }
    assert!(Ledger::default().apply(&Entry::Crl { number: 1, next_update_s: 0 }).is_ok());
}

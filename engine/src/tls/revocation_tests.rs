//! Revocation lists of real CAs: what counts, what does not, and what falls by them.

use std::time::Duration;

use rcgen::{CrlDistributionPoint, CrlIssuingDistributionPoint, CrlScope};
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::tls::certificates_tests::{CLUSTER, DAY, LaxCa, TRUST_DOMAIN, start, unix, uri_of};
use crate::tls::revocation::{ListError, Revocations, Taken};
use crate::tls::standing::{Fall, Serial};
use crate::tls::trust::{Pin, Trust};
use crate::tls::verifier::{MeshVerifier, TrustError, Usage};

fn now() -> UnixTime {
    unix(start())
}

fn trust(bundle: &[&LaxCa]) -> Trust {
    Trust::of_bundle(bundle.iter().map(|ca| ca.der.clone()).collect()).unwrap()
}

fn verifier(trust: Trust) -> MeshVerifier {
    MeshVerifier::new(trust, TRUST_DOMAIN, CLUSTER, None)
}

fn refused(trust: &mut Trust, list: &[u8]) -> ListError {
    trust.take_list(list, now()).unwrap_err()
}

/// Rule S-16: whoever a list names is refused, and nobody else; an intermediate's fall takes
/// along whom it signed.
#[test]
fn a_revoked_certificate_is_refused_in_both_roles_and_so_is_what_it_signed() {
    let root = LaxCa::new("root");
    let issuing = root.intermediate("issuing");
    let [bad, good] = ["bad", "good"].map(|name| issuing.leaf(&uri_of(name), |_| {}).der);
    let mut lists = trust(&[&root, &issuing]);
    let list = issuing.list(1, &[&bad], |_| {});
    assert_eq!(lists.take_list(&list, now()), Ok(Taken::Fresh));
    let judge = verifier(lists.clone());
    for usage in [Usage::Client, Usage::Server] {
        let verify = |leaf: &CertificateDer<'static>| {
            judge.verify_peer(std::slice::from_ref(leaf), usage, now()).map(|_| ())
        };
        assert!(matches!(verify(&bad), Err(TrustError::Revoked { .. })), "{usage}");
        assert_eq!(verify(&good), Ok(()), "{usage}");
    }
    let list = root.list(1, &[&issuing.der], |_| {});
    assert_eq!(lists.take_list(&list, now()), Ok(Taken::Fresh));
    let judge = verifier(lists);
    let refusal = judge.verify_peer(&[good], Usage::Client, now()).unwrap_err();
    assert_eq!(refusal.reason(), "revoked");
}

/// Rule S-16: the seal comes before the entries, and a CA revokes nobody but its own.
#[test]
fn a_list_counts_only_under_the_key_that_signed_it() {
    let (ours, theirs, namesake) = (LaxCa::new("ours"), LaxCa::new("theirs"), LaxCa::new("ours"));
    let leaf = ours.leaf(&uri_of("n1"), |_| {}).der;
    let mut lists = trust(&[&ours, &theirs]);
    let mut tampered = ours.list(1, &[&leaf], |_| {});
    let middle = tampered.len() / 2;
    tampered[middle] ^= 1;
    assert!(lists.take_list(&tampered, now()).is_err());
    assert_eq!(refused(&mut lists, &namesake.list(1, &[&leaf], |_| {})), ListError::Seal);
    let stranger = LaxCa::new("stranger").list(1, &[&leaf], |_| {});
    assert!(matches!(refused(&mut lists, &stranger), ListError::UnknownIssuer { .. }));
    assert_eq!(refused(&mut lists, b"no list"), ListError::Undecodable);
    assert_eq!(refused(&mut lists, &leaf), ListError::Undecodable);

    // A trusted CA names another one's certificate: that is no revocation.
    assert_eq!(lists.take_list(&theirs.list(1, &[&leaf], |_| {}), now()), Ok(Taken::Fresh));
    assert!(verifier(lists).verify_peer(&[leaf], Usage::Client, now()).is_ok());
}

/// Rule S-16: numbers only rise, so that nobody can bring back a list from before.
#[test]
fn an_older_list_never_takes_the_place_of_a_newer_one() {
    let ca = LaxCa::new("root");
    let [first, second] = ["n1", "n2"].map(|name| ca.leaf(&uri_of(name), |_| {}).der);
    let mut lists = trust(&[&ca]);
    let old = ca.list(255, &[&first], |_| {});
    let new = ca.list(256, &[&first, &second], |_| {});
    assert_eq!(lists.take_list(&old, now()), Ok(Taken::Fresh));
    assert_eq!(lists.take_list(&new, now()), Ok(Taken::Fresh));
    assert_eq!(lists.take_list(&new, now()), Ok(Taken::Known));
    assert_eq!(lists.take_list(&old, now()), Ok(Taken::Outdated));
    assert_eq!(refused(&mut lists, &ca.list(256, &[], |_| {})), ListError::Number);
    let refusal = verifier(lists).verify_peer(&[second], Usage::Client, now()).unwrap_err();
    assert_eq!(refusal.reason(), "revoked");
}

/// Rule S-16: what is not signed makes no other list; anybody may change it.
#[test]
fn another_encoding_of_a_list_is_the_same_list() {
    let ca = LaxCa::new("root");
    let mut lists = trust(&[&ca]);
    let list = ca.list(1, &[], |_| {});
    // Decoders let the outer tag pass without its bit for "constructed".
    let again = [&[list[0] ^ 0x20], &list[1..]].concat();
    assert_eq!(lists.take_list(&list, now()), Ok(Taken::Fresh));
    assert_eq!(lists.take_list(&again, now()), Ok(Taken::Known));
}

/// Rule S-16: a list that speaks of a part of the certificates would seem to clear the others.
#[test]
fn partial_and_untimely_lists_are_refused() {
    let ca = LaxCa::new("root");
    let mut lists = trust(&[&ca]);
    let partitioned = ca.list(1, &[], |params| {
        let distribution_point = CrlDistributionPoint { uris: vec!["http://a/crl".into()] };
        let scope = Some(CrlScope::UserCertsOnly);
        params.issuing_distribution_point =
            Some(CrlIssuingDistributionPoint { distribution_point, scope });
    });
    assert!(matches!(refused(&mut lists, &partitioned), ListError::Unsupported(_)));
    let ahead = |seconds| {
        let this_update = (start() + Duration::from_secs(seconds)).into();
        ca.list(1, &[], |params| params.this_update = this_update)
    };
    assert_eq!(refused(&mut lists, &ahead(601)), ListError::NotYetValid);
    assert_eq!(trust(&[&ca]).take_list(&ahead(600), now()), Ok(Taken::Fresh), "clocks differ");
    // Its number extension renamed, and sealed anew: a delta list by a CA that we trust.
    let delta = ca.sealed_anew(&ca.list(1, &[], |_| {}), |signed| {
        let number = [0x06, 0x03, 0x55, 0x1d, 20];
        let at = signed.windows(5).position(|window| window == number).unwrap();
        signed[at + 4] = 27;
    });
    assert_eq!(refused(&mut lists, &delta), ListError::Unsupported("a delta list"));
    assert_eq!(lists.revocations().lists().count(), 0);
    let sealed = ca.sealed_anew(&ca.list(1, &[], |_| {}), |_| {});
    assert_eq!(lists.take_list(&sealed, now()), Ok(Taken::Fresh));
}

/// Rule S-16: after the next update and its grace new handshakes fail, and what was verified
/// before stands.
#[test]
fn an_overdue_list_stops_newcomers_and_nobody_else() {
    let ca = LaxCa::new("root");
    let leaf = ca.leaf(&uri_of("n1"), |params| params.not_after = (start() + 9 * DAY).into()).der;
    let hour = Duration::from_secs(3_600);
    let mut lists = trust(&[&ca]).with_revocations(Revocations::with_grace(hour));
    lists.take_list(&ca.list(1, &[], |_| {}), now()).unwrap();
    let judge = verifier(lists);
    let chain = std::slice::from_ref(&leaf);
    let at = |time| judge.confirm_peer(chain, Usage::Client, unix(time));
    let standing = at(start()).unwrap().standing.clone();
    assert!(at(start() + DAY + hour).is_ok());
    let late = start() + DAY + 2 * hour;
    assert_eq!(at(late).unwrap_err().reason(), "stale-list");
    assert_eq!(judge.trust().load().upholds(&standing, unix(late)), Ok(()));
}

/// Rules S-16 and S-17: one look tells why a chain holds no longer; a chain that was remembered
/// is proven anew under another snapshot.
#[test]
fn a_change_of_trust_is_seen_by_what_was_verified_before() {
    let (ca, other) = (LaxCa::new("root"), LaxCa::new("other"));
    let leaf = ca.leaf(&uri_of("n1"), |_| {}).der;
    let chain = std::slice::from_ref(&leaf);
    let judge = verifier(trust(&[&ca]));
    let verified = judge.confirm_peer(chain, Usage::Client, now()).unwrap();
    let fall = |trust: &Trust, at| trust.upholds(&verified.standing, at);
    assert_eq!(fall(&judge.trust().load(), now()), Ok(()));
    assert_eq!(fall(&judge.trust().load(), unix(start() + 2 * DAY)), Err(Fall::Expired));
    assert_eq!(fall(&trust(&[&other]), now()), Err(Fall::Root));
    let pinned = trust(&[&ca]).restricted_to(vec![Pin::Sha1([1; 20])]);
    assert_eq!(fall(&pinned, now()), Err(Fall::Pin));
    let mut revoking = trust(&[&ca]);
    revoking.take_list(&ca.list(1, &[&leaf], |_| {}), now()).unwrap();
    let Err(Fall::Revoked(id)) = fall(&revoking, now()) else { panic!("it stands") };
    assert_eq!(id.serial, Serial::new(&verified.serial));

    let changes = judge.trust().watch();
    assert_eq!(judge.trust().replace(revoking), verified.standing.epoch + 1);
    assert!(changes.has_changed().unwrap());
    let refusal = judge.confirm_peer(chain, Usage::Client, now()).unwrap_err();
    assert_eq!(refusal.reason(), "revoked");
}

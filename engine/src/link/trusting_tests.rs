//! Certificates that fall while sessions live on them, and those of ours that are exchanged.

use std::sync::Arc;
use std::time::SystemTime;

use mesh_gossip_proto::Duration;

use super::tests::{Net, ca, credentials, links, message, ping};
use super::*;
use crate::bootstrap::{CertificateAuthority, Subject};
use crate::options::TlsOptions;
use crate::tls::certificates_tests::list_of;
use crate::tls::credentials::Credentials;
use crate::tls::revocation::Taken;
use crate::tls::trust::{Pin, Trust};

const SECOND: Duration = Duration::from_secs(1);

/// Two ends under one authority, and the serial number of the first one's certificate.
fn pair(ca: &CertificateAuthority) -> (Net, String) {
    let (a, b) = (credentials(ca, "c", "a"), credentials(ca, "c", "b"));
    let serial = a.verified().standing.serial.to_string();
    (Net::with([links(a, "c", 1), links(b, "c", 2)].into_iter()), serial)
}

/// Changes what `end` trusts; its sessions are not looked at.
fn change(end: &Links, edit: impl FnOnce(&mut Trust)) {
    let cell = end.authority.credentials().verifier().trust();
    let mut trust = Trust::clone(&cell.load());
    edit(&mut trust);
    cell.replace(trust);
}

pub(super) fn revoke(end: &Links, list: &[u8]) {
    let now = end.authority.credentials().now().unwrap();
    change(end, |trust| assert_eq!(trust.take_list(list, now), Ok(Taken::Fresh)));
}

/// Rule S-16: nothing is opened from a revoked peer and nothing sealed for it, whether or not
/// anybody has looked at all sessions; it is told once, with the serial number.
#[test]
fn a_revoked_peer_is_neither_heard_nor_spoken_to() {
    let ca = ca("c");
    for looked in [false, true] {
        let (mut net, serial) = pair(&ca);
        net.send(0, 1, &message(b"hello"));
        net.settle();
        net.ends[1].take_events();
        revoke(&net.ends[1], &list_of(&ca, 1, &[&serial]));
        if looked {
            net.ends[1].handle_trust(net.now);
            assert_eq!(net.ends[1].stats().sessions, 0);
        }
        net.send(0, 1, &message(b"revoked"));
        net.settle();
        net.send(1, 0, &message(b"to the revoked"));
        net.run_for(SECOND * 30);
        assert_eq!(net.received(1), [message(b"hello")]);
        assert!(net.received(0).is_empty());
        let stats = net.ends[1].stats();
        assert_eq!(stats.fallen, [("revoked", 1)].into());
        assert!(stats.handshake_failures["revoked"] > 0, "it cannot come back: {stats:?}");
        assert_eq!(stats.sessions, 0);
        let falls = net.ends[1].take_events().into_iter().filter_map(|event| match event {
            LinkEvent::Fallen { serial, reason, .. } => Some((serial.to_string(), reason)),
            _ => None,
        });
        assert_eq!(falls.collect::<Vec<_>>(), [(serial, "revoked")]);
    }
}

/// Rule S-16: other sessions stay, and cost one look.
#[test]
fn a_revocation_ends_no_other_session() {
    let ca = ca("c");
    let all = ["a", "b", "c"].map(|name| credentials(&ca, "c", name));
    let serial = all[0].verified().standing.serial.to_string();
    let ends = all.into_iter().enumerate().map(|(n, own)| links(own, "c", n as u64 + 1));
    let mut net = Net::with(ends);
    for other in [0, 2] {
        net.send(other, 1, &message(b"hello"));
    }
    net.settle();
    revoke(&net.ends[1], &list_of(&ca, 1, &[&serial]));
    net.ends[1].handle_trust(net.now);
    assert_eq!(net.ends[1].stats().sessions, 1);
    net.send(2, 1, &message(b"still here"));
    net.settle();
    assert_eq!(net.received(1).last(), Some(&&message(b"still here")[..]));
    assert_eq!(net.ends[1].stats().dropped, [].into());
}

/// Rule S-16: whatever moment of a handshake the revocation hits, the peer does not get in.
#[test]
fn a_handshake_that_began_before_a_revocation_does_not_survive_it() {
    let ca = ca("c");
    let (mut half_open, mut proven) = (0, 0);
    // The revoked one dials, or is dialled.
    for revoked in [0, 1] {
        for carried in 0..8 {
            let (a, b) = (credentials(&ca, "c", "a"), credentials(&ca, "c", "b"));
            let serials = [&a, &b].map(|own| own.verified().standing.serial.to_string());
            let mut net = Net::with([links(a, "c", 1), links(b, "c", 2)].into_iter());
            net.send(0, 1, &[ping(), message(b"hello")].concat());
            for _ in 0..carried {
                net.carry_one();
            }
            let judge = 1 - revoked;
            let before = net.received(judge).len();
            half_open += net.ends[judge].stats().half_open;
            let open = |(_, entry): (u32, &Entry)| matches!(entry, Entry::Open(_));
            proven += net.ends[judge].slots.iter().filter(|place| open(*place)).count();
            revoke(&net.ends[judge], &list_of(&ca, 1, &[&serials[revoked]]));
            net.send(revoked, judge, &message(b"more"));
            net.run_for(SECOND * 30);
            assert_eq!(net.received(judge).len(), before, "{revoked} after {carried}");
            let stats = net.ends[judge].stats();
            assert_eq!((stats.sessions, stats.half_open), (0, 0), "{revoked} after {carried}");
        }
    }
    assert!(half_open > 0 && proven > 0, "the sweep met handshakes at every stage");
}

/// Rules S-16 and S-17: a pin that goes and a root that goes end sessions as a revocation does.
#[test]
fn a_pin_or_a_root_that_goes_takes_its_sessions_along() {
    let (ca, other) = (ca("c"), ca("c"));
    let bundle = |ca: &CertificateAuthority| {
        use rustls_pki_types::pem::PemObject;
        let pem = ca.bundle_pem();
        let all = rustls_pki_types::CertificateDer::pem_slice_iter(pem.as_bytes());
        Trust::of_bundle(all.collect::<Result<_, _>>().unwrap()).unwrap()
    };
    let elsewhere = Trust::clone(&bundle(&other));
    let pinned = bundle(&ca).restricted_to(vec![Pin::Sha256([7; 32])]);
    for (trust, reason) in [(elsewhere, "unknown-ca"), (pinned, "pin")] {
        let (mut net, _) = pair(&ca);
        net.send(0, 1, &message(b"hello"));
        net.settle();
        change(&net.ends[1], |before| *before = trust);
        net.send(0, 1, &message(b"fallen"));
        net.send(1, 0, &message(b"to the fallen"));
        net.run_for(SECOND * 30);
        assert_eq!(net.received(1), [message(b"hello")]);
        let stats = net.ends[1].stats();
        assert_eq!((stats.sessions, &stats.fallen), (0, &[(reason, 1)].into()));
        assert!(stats.handshake_failures[reason] > 0, "{stats:?}");
    }
}

/// Rule S-16: the earliest end of a chain is a hard stop, without traffic too.
#[test]
fn a_session_ends_with_the_peers_certificate() {
    let ca = ca("c");
    let lasts = SECOND * 300;
    let issued = ca.issue(&Subject::new("a", "worker"), SystemTime::now(), lasts).unwrap();
    let a = Credentials::load(&issued.tls_options(&ca), "c", "a", "worker").unwrap();
    let ends = [links(Arc::new(a), "c", 1), links(credentials(&ca, "c", "b"), "c", 2)];
    let mut net = Net::with(ends.into_iter());
    net.send(0, 1, &message(b"hello"));
    net.run_for(SECOND * 250);
    assert_eq!(net.ends[1].stats().sessions, 1);
    net.run_for(SECOND * 60);
    let stats = net.ends[1].stats();
    assert_eq!((stats.sessions, stats.fallen), (0, [("expired", 1)].into()));
    assert_eq!(net.ends[0].stats().sessions, 1, "b's certificate lasts");
}

/// What `end` shows from here on: another certificate of the same name.
fn rotate(net: &mut Net, end: usize, ca: &CertificateAuthority, name: &str) {
    let issued = ca.issue(&Subject::new(name, "worker"), SystemTime::now(), SECOND * 86_400);
    let options: TlsOptions = issued.unwrap().tls_options(ca);
    let fresh = Credentials::load(&options, "c", name, "worker").unwrap();
    let learned = Arc::clone(net.ends[end].authority.learned());
    let authority = MeshAuthority::new(Arc::new(fresh), learned);
    net.ends[end].set_authority(net.now, Arc::new(authority));
}

/// Rule S-15: after an exchange every session gets a successor under the new certificate while
/// traffic goes on; nothing is lost, nothing refused, and the old one goes.
#[test]
fn sessions_follow_a_new_certificate_without_a_loss() {
    let ca = ca("c");
    let all = ["a", "b", "c", "d", "e", "f", "g"].map(|name| credentials(&ca, "c", name));
    let ends = all.into_iter().enumerate().map(|(n, own)| links(own, "c", n as u64 + 1));
    let mut net = Net::with(ends);
    for other in 1..7 {
        net.send(0, other, &message(b"hello"));
    }
    net.settle();
    let mut sent = 6;
    for round in 0..5 {
        rotate(&mut net, 0, &ca, "a");
        // Both ends at once, too.
        rotate(&mut net, 1, &ca, "b");
        assert_eq!(net.ends[0].stats().outdated, 6);
        let mut talk = |net: &mut Net| {
            for other in 1..7 {
                net.send(0, other, &message(b"there"));
                net.send(other, 0, &message(b"back"));
                sent += 2;
            }
        };
        talk(&mut net);
        net.run_for(SECOND);
        assert_eq!(net.ends[0].stats().outdated, 0, "round {round}");
        for _ in 0..20 {
            talk(&mut net);
            net.run_for(SECOND);
        }
    }
    let received: usize = (0..7).map(|end| net.received(end).len()).sum();
    assert_eq!(received, sent);
    for end in &net.ends {
        assert!(end.stats().dropped.is_empty(), "{:?}", end.stats());
        assert!(end.stats().fallen.is_empty());
    }
    assert_eq!(net.ends[0].stats().sessions, 6, "the old ones are gone");
    let shown = net.ends[2].slots.iter().filter_map(|(_, entry)| match entry {
        Entry::Open(session) => Some(session.standing.serial),
        _ => None,
    });
    let shown: Vec<_> = shown.collect();
    assert_eq!(shown, [net.ends[0].authority.credentials().verified().standing.serial]);
}

/// Rule S-15: who cannot be reached keeps its session, and is tried again later.
#[test]
fn a_session_that_cannot_be_succeeded_stays() {
    let ca = ca("c");
    let (mut net, _) = pair(&ca);
    net.send(0, 1, &message(b"hello"));
    net.settle();
    // Handshakes are lost, datagrams are not.
    net.fault = Box::new(|_, bytes| bytes[0] == DATA);
    rotate(&mut net, 0, &ca, "a");
    net.run_for(SECOND * 40);
    let stats = net.ends[0].stats();
    assert_eq!((stats.sessions, stats.outdated), (1, 1));
    assert!(stats.rekeys >= 2, "{stats:?}");
    net.send(0, 1, &message(b"still"));
    net.settle();
    assert_eq!(net.received(1).last(), Some(&&message(b"still")[..]));
    net.fault = Box::new(|_, _| true);
    net.run_for(SECOND * 120);
    assert_eq!(net.ends[0].stats().outdated, 0);
    assert!(net.ends[0].rekeying.due().is_none_or(|due| due > net.now));
}

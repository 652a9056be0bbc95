//! Chains that a member lacks, asked of whoever brought the record (rule S-11).

use std::sync::Arc;
use std::time::Duration;

use mesh_gossip_proto::node::Birth;
use mesh_gossip_proto::wire::message::{Packet, kind};
use mesh_gossip_proto::{Config, Destination, Instant, MemberId, Metadata, Node, State, WallTime};

use crate::options::{RevocationOptions, TlsOptions};
use crate::tls::authority::{Intermediates, MeshAuthority};
use crate::tls::certificates_tests::{
    CLUSTER, LaxCa, ROLE, Still, TRUST_DOMAIN, bytes, start, unix, uri_of,
};
use crate::tls::credentials::Credentials;
use crate::tls::identity::NameRule;

struct Member {
    name: &'static str,
    node: Node,
    authority: Arc<MeshAuthority>,
}

impl Member {
    fn id(&self) -> MemberId {
        self.node.id()
    }
}

/// A member whose certificate `ca` signed and who trusts `root` alone.
fn member(name: &'static str, root: &LaxCa, ca: &LaxCa, seed: u64) -> Member {
    let leaf = ca.leaf(&uri_of(name), |_| {});
    let issuing = if ca.pem == root.pem { "" } else { ca.pem.as_str() };
    let options = TlsOptions {
        certificate: bytes(&format!("{}{issuing}", leaf.pem)),
        key: Some(bytes(&leaf.key_pem)),
        password: None,
        ca: bytes(&root.pem),
        trust_domain: TRUST_DOMAIN.into(),
        identity: NameRule::Spiffe,
        allowed_thumbprints: Vec::new(),
        revocation: RevocationOptions::default(),
        reload_interval: TlsOptions::RELOAD_INTERVAL,
    };
    let clock = Arc::new(Still(start()));
    let credentials = Credentials::load_with_clock(&options, CLUSTER, name, ROLE, clock).unwrap();
    let learned = Arc::new(Intermediates::default());
    let authority = Arc::new(MeshAuthority::new(Arc::new(credentials), learned));
    let birth = Birth {
        config: Arc::new(Config::new(CLUSTER).validate().unwrap()),
        metadata: Metadata {
            node_id: name.into(),
            role: ROLE.into(),
            region: "r".into(),
            mesh_version: "1".into(),
            ..Metadata::default()
        },
        addresses: vec![([192, 0, 2, 1], 10_000 + seed as u16).into()],
        born: WallTime(unix(start()).as_secs() * 1_000),
        least_generation: 0,
        authority: authority.clone(),
        seed,
    };
    Member { name, node: Node::new(Instant::ORIGIN, birth).unwrap(), authority }
}

/// Hands a record of `author`'s over to `to` as though `from` had sent it.
fn brings(now: Instant, to: &mut Member, from: MemberId, author: &Member) {
    let mut packet = Packet::default();
    assert!(packet.push_raw(32_000, kind::RECORD, author.node.local().envelope()));
    let address = author.node.local().record().addresses[0];
    to.node.handle_datagram(now, from, address, packet.as_bytes());
}

/// Carries what the two say to each other until they have nothing left to say; returns the kinds.
fn talk(now: Instant, a: &mut Member, b: &mut Member) -> Vec<u8> {
    let mut kinds = Vec::new();
    let mut buffer = Vec::new();
    loop {
        let mut quiet = true;
        for turn in 0..2 {
            let (from, to) = if turn == 0 { (&mut *a, &mut *b) } else { (&mut *b, &mut *a) };
            while let Some(transmit) = from.node.poll_transmit(now, &mut buffer) {
                if transmit.to != Destination::Member(to.id()) {
                    continue;
                }
                quiet = false;
                kinds.push(buffer[0]);
                let address = from.node.local().record().addresses[0];
                to.node.handle_datagram(now, from.id(), address, &buffer);
            }
        }
        if quiet {
            return kinds;
        }
    }
}

fn sees(member: &Member, other: &Member) -> Option<State> {
    member.node.member(other.id()).map(|member| member.state)
}

/// Rule S-11: the record waits, the relay serves what it has verified, and then it counts.
#[test]
fn a_relay_completes_the_chain_of_what_it_brings() {
    let root = LaxCa::new("root");
    let issuing = root.intermediate("issuing");
    let carol = member("carol", &root, &issuing, 1);
    let [mut dave, mut erin] =
        [("dave", 2), ("erin", 3)].map(|(name, seed)| member(name, &root, &root, seed));
    let now = Instant::ORIGIN;
    brings(now, &mut erin, dave.id(), &dave);
    brings(now, &mut dave, erin.id(), &erin);
    // Erin has met Carol: a handshake showed the chain.
    erin.authority.learn(carol.authority.credentials().chain());
    brings(now, &mut erin, carol.id(), &carol);
    assert_eq!(sees(&erin, &carol), Some(State::Alive));

    brings(now, &mut dave, erin.id(), &carol);
    assert_eq!(sees(&dave, &carol), None, "it waits");
    assert_eq!(dave.node.stats().rejected.get("unknown-signer"), Some(&1));
    talk(now, &mut dave, &mut erin);
    assert_eq!(sees(&dave, &carol), Some(State::Alive), "{} knows", dave.name);
}

/// Rule S-11: a chain that leads to nobody whom we trust stays refused, and is not asked for for
/// ever.
#[test]
fn a_foreign_chain_is_asked_for_and_refused() {
    let (root, foreign) = (LaxCa::new("root"), LaxCa::new("foreign"));
    let issuing = foreign.intermediate("issuing");
    let mallory = member("mallory", &foreign, &issuing, 1);
    let [mut dave, mut erin] =
        [("dave", 2), ("erin", 3)].map(|(name, seed)| member(name, &root, &root, seed));
    let mut now = Instant::ORIGIN;
    brings(now, &mut erin, dave.id(), &dave);
    brings(now, &mut dave, erin.id(), &erin);
    talk(now, &mut dave, &mut erin);
    brings(now, &mut dave, erin.id(), &mallory);
    let mut buffer = Vec::new();
    let mut asked = 0;
    let end = now + Duration::from_secs(10);
    loop {
        while dave.node.poll_transmit(now, &mut buffer).is_some() {
            asked += buffer.windows(3).filter(|w| *w == [kind::CERTIFICATE_PULL, 32, 0]).count();
        }
        match dave.node.poll_timeout() {
            Some((due, _)) if due <= end => now = now.max(due),
            Some(_) | None => break,
        }
        dave.node.handle_timeout(now);
    }
    assert_eq!(asked, 8);
    assert_eq!(sees(&dave, &mallory), None);
    // It comes at last, from whom it will: it proves nothing.
    brings(now, &mut dave, erin.id(), &mallory);
    let mut packet = Packet::default();
    assert!(packet.push_raw(32_000, kind::CERTIFICATE, &issuing.der));
    let address = erin.node.local().record().addresses[0];
    dave.node.handle_datagram(now, erin.id(), address, packet.as_bytes());
    assert_eq!(sees(&dave, &mallory), None);
    let counted = dave.node.stats().rejected.get("unknown-signer").copied();
    assert!(counted >= Some(2), "{counted:?}");
}

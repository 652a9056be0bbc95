//! Where the fuzzers begin: one genuine example of everything that the targets read.

use mesh_gossip_proto::detector::proof::Proof;
use mesh_gossip_proto::detector::vote::{Finding, Seal, SignedVote};
use mesh_gossip_proto::membership::order::Sentence;
use mesh_gossip_proto::membership::record::{SignedRecord, first_record};
use mesh_gossip_proto::wire::header::{DataHeader, ResetHint};
use mesh_gossip_proto::wire::message::{Notice, Packet, Ping, Vote};
use mesh_gossip_proto::{
    Destination, Duration, Incarnation, Lifecycle, MemberId, Metadata, RecordHash, State, Transmit,
    WallTime,
};
use zerocopy::IntoBytes;

use super::certified::{MEMBERS, certified};
use super::credentials::{PASSWORD, list_pem};
use super::names::{CLUSTER, Names};
use super::wire::start;
use crate::bootstrap::pkcs12;
use crate::control::frames::Frame;
use crate::settings::keys::{Default, KEYS, ROOT};

/// Target, name and input of each seed.
pub fn seeds() -> Vec<(&'static str, String, Vec<u8>)> {
    let mut all = Vec::new();
    let mut add = |target: &'static str, inputs: Vec<Vec<u8>>| {
        let named = inputs.into_iter().enumerate();
        all.extend(named.map(|(n, input)| (target, format!("seed-{n:02}"), input)));
    };
    add("header", headers());
    add("handshake", handshakes());
    add("messages", messages());
    add("documents", documents());
    add("settings", settings());
    add("credentials", credentials());
    add("sessions", sessions());
    add("node", nodes());
    add("sketches", sketches());
    all
}

/// The first datagrams of a dial and of its answer, a sealed one and a hint.
fn headers() -> Vec<Vec<u8>> {
    let (mut a, mut b) = (certified().links(MEMBERS[0], 1), certified().links(MEMBERS[1], 2));
    let to = Destination::Member(certified().credentials(MEMBERS[1]).member_id());
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
    a.send(start(), &Transmit { to, address }, b"x", &mut Vec::new());
    let mut seeds: Vec<Vec<u8>> = std::iter::from_fn(|| a.poll_transmit()).map(|t| t.1).collect();
    b.receive(start(), address, &mut seeds[0].clone());
    seeds.extend(std::iter::from_fn(|| b.poll_transmit()).map(|sent| sent.1));
    let data = DataHeader::new(7, 9);
    seeds.push([data.as_bytes(), &[1; 40]].concat());
    seeds.push(ResetHint::answering(&data).as_bytes().to_vec());
    seeds
}

/// Scripts of [`super::handshake`].
fn handshakes() -> Vec<Vec<u8>> {
    let (dial, go) = ([0, 0], [2]);
    let made_up = [10, 5, 0x41, 0, 9, 0, 0, 1, 8, 0, 22, 3, 1, 0, 4, 1, 0, 0];
    vec![
        [&dial[..], &go, &go, &go, &go, &go].concat(),
        // Two clients and the stranger at once.
        [&dial[..], &[0, 1, 0, 3], &go.repeat(9), &[9, 4], &dial, &go].concat(),
        // In pieces, out of order, overlapping.
        [&dial[..], &[7, 0, 100, 0, 20, 1], &[7, 0, 50, 0, 9, 0], &go.repeat(4)].concat(),
        // Doubled, delayed, dropped, repeated.
        [&dial[..], &[4, 0, 1, 4, 0, 1], &go, &[5, 0, 11, 11], &go.repeat(5)].concat(),
        // Rewritten: offset, ack, index, attempt, a byte of the fragment.
        [&dial[..], &[6, 0, 6, 1, 0], &[6, 0, 7, 9, 9], &[6, 0, 5, 1, 2, 3, 4]].concat(),
        [&dial[..], &[6, 0, 10, 1, 2, 3, 4, 5, 6, 7, 8], &[6, 0, 13, 90, 0, 1], &go].concat(),
        // From another source, then from its own.
        [&dial[..], &[8, 0, 0, 5], &go.repeat(4), &[8, 0, 0, 6], &dial, &[8, 0, 0, 7]].concat(),
        [&made_up[..], &made_up, &dial, &go.repeat(5)].concat(),
    ]
}

/// Scripts of [`super::sessions`].
fn sessions() -> Vec<Vec<u8>> {
    let (a, b, settle) = ([0, 0, 8], [0, 1, 9], [11]);
    vec![
        [&a[..], &settle, &b, &settle].concat(),
        // Both at once; then replays and reflections of everything.
        [&a[..], &b, &settle, &[12, 0, 0, 12, 0, 1, 12, 2, 0, 12, 5, 1, 12, 6, 0]].concat(),
        // A day, a rekeying, a restored machine.
        [&a[..], &settle, &[9, 11], &settle, &a, &settle, &[13, 0, 10], &settle, &[14, 1, 0], &a]
            .concat(),
        // Lost, doubled, spoilt, from elsewhere.
        [&a[..], &[5, 0, 10, 6, 0, 2, 2, 7, 0, 0, 99, 0, 1], &b, &[8, 0, 1, 10, 10], &settle]
            .concat(),
        // A seed's dial, silence, a hint for a session that is gone.
        [&[0, 0, 6], &settle[..], &[14, 1, 0], &[0, 0, 8], &settle, &[9, 6], &settle, &b].concat(),
        [&a[..], &[2, 2, 15, 0, 16, 0, 0x50, 1, 0, 0, 1, 0, 0, 0, 1], &[15, 1, 2, 0, 1, 1]]
            .concat(),
    ]
}

/// Scripts of [`super::node`]: detector and seed, who answers, how many; then speaker and words.
fn nodes() -> Vec<Vec<u8>> {
    let mut scripts = Vec::new();
    for shape in [0, 2, 3] {
        for kind in 0..28 {
            let head = [shape, 0xff, 0, 12];
            let words = [3, 0, 0, kind, 2, 4, 0x12, 40, 1, 7, 7];
            let again = [4, 0, 0, kind, 0, 5, 0x09, 40, 1, 7, 7];
            let time = [0, 10, 11, 0, 9, 4, 5, 13];
            let state = [6, 8, 1, 2, 0x42, 9, 0, 0x13, 1, 1];
            let host = [1, 14, 0, 3, 1, 14, 1, 0x20, 2, 14, 2, 3, 1, 2, 3];
            scripts.push([&head[..], &words, &time, &again, &state, &host, &time].concat());
        }
        scripts.push(vec![shape, 0xff, 0xff, 6, 0, 14, 4, 0, 10, 9, 3, 0, 0, 13, 0, 0, 0, 0, 0]);
    }
    scripts
}

/// Scripts of [`super::sketches`]: how many members, then what they do.
fn sketches() -> Vec<Vec<u8>> {
    let (walk, wait) = ([1], [7, 0xd0, 7]);
    // Of peer 1, salt 9, one part: lacks five, has three of its own.
    let honest = [2, 1, 9, 0, 1, 0, 0, 0, 5, 3, 0];
    let spoilt = [2, 2, 9, 0, 1, 0, 0, 0, 5, 3, 3, 0, 0, 1, 12, 0, 0x80, 7, 4, 9];
    let much = [2, 3, 9, 0, 1, 0, 0, 0, 200, 90, 0];
    let (round, in_parts) = ([0, 9, 0, 1], [4, 1, 1, 1, 0, 0, 0, 60, 0]);
    let table: Vec<u8> = [3, 4, 9, 0, 2, 0, 1, 0, 0x20, 4]
        .into_iter()
        .chain((0..1_056_u16).map(|n| (n * 37 % 251) as u8))
        .collect();
    let part = |n: u8| [4, 1, 1, 2, 0, n, 0, 0, 0];
    vec![
        [&[100, 0][..], &honest, &walk, &honest, &spoilt, &walk, &wait, &walk].concat(),
        [&[250, 0][..], &much, &walk, &round, &walk, &in_parts, &wait, &walk].concat(),
        [&[250, 0][..], &round, &walk, &in_parts, &walk, &part(0), &part(1), &walk].concat(),
        [&[60, 0][..], &table[..], &walk, &[0, 9, 0, 4], &walk, &[4, 4, 0, 7, 0], &wait].concat(),
        // Shares looked for and wanted, ours and others.
        [&[20, 0][..], &[5, 1, 0, 3, 1, 0, 30, 0, 2, 0, 9, 9], &[6, 5, 0, 0, 6, 40, 0, 1], &walk]
            .concat(),
        // Whoever is asked does not ask.
        [&[20, 0][..], &[0, 9, 0, 1], &honest, &walk, &part(0), &wait, &round, &walk].concat(),
    ]
}

fn record(region: &str, lifecycle: Lifecycle) -> SignedRecord {
    let metadata = Metadata {
        node_id: "a".into(),
        role: "worker".into(),
        region: region.into(),
        mesh_version: "1".into(),
        labels: [("rack".to_owned(), "r7".to_owned())].into(),
        ..Metadata::default()
    };
    let incarnation = Incarnation { generation: 1_000, counter: 2 };
    let addresses = ["127.0.0.1:17421", "[2001:db8::1]:9", "224.0.0.1:5"];
    let addresses = addresses.iter().filter_map(|address| address.parse().ok()).collect();
    let mut record = first_record(CLUSTER, incarnation, addresses, metadata);
    record.lifecycle = lifecycle;
    SignedRecord::author(record, &Names::of("a")).expect("it fits")
}

/// Every decoder, its number first.
fn messages() -> Vec<Vec<u8>> {
    let at = Incarnation { generation: 1_000, counter: 2 };
    let (id, other) = (MemberId([0x11; 16]), MemberId([0x22; 16]));
    let mut all_kinds = Packet::default();
    // Fixed bodies are zeros well enough; their lengths matter.
    for kind in (1..=14).chain(24..=29).chain(32..=36).chain([200]) {
        all_kinds.push_raw(4_000, kind, &[0; 60]);
    }
    let mut said = Packet::default();
    said.push(1_168, &Ping { sequence: 7.into(), digest: 9.into() });
    let update = mesh_gossip_proto::wire::message::Update::new;
    said.push(1_168, &update(id, at, State::Alive, RecordHash(3)));
    said.push(1_168, &update(id, at, State::Left, RecordHash(4)));
    said.push(1_168, &Notice { incarnation: at.into(), announcer: other.0 });
    let (incarnation, round) = (at.into(), 7.into());
    let vote = Vote { subject: id.0, incarnation, round, ballot: 3, reserved: [0; 3] };
    said.push(1_168, &vote);
    let finding = Finding { subject: id, incarnation: at, round: 7 };
    let votes = ["a", "b", "c"].map(|name| {
        let voter = MemberId::derive(CLUSTER, name);
        let seal = Seal::sign(&finding, CLUSTER, voter, &Names::of(name)).expect("it signs");
        SignedVote { voter, seal }
    });
    let proof = Proof::new(finding, &votes);
    let sentence = Sentence {
        cluster_id: CLUSTER,
        subject: id,
        incarnation: at,
        issued: WallTime(1_000),
        lifetime: Duration::from_secs(60),
    };
    let order = sentence.sign(&Names::operator()).expect("it signs");
    said.push_raw(1_168, 29, &order);
    said.push_raw(1_168, 36, &proof.bytes);
    let record = record("r", Lifecycle::Cordoned);
    said.push_raw(1_168, 12, record.envelope());
    let length = (record.envelope().len() as u32).to_le_bytes();
    let entry = [&[1, 0, 0, 0, 9, 0, 0, 0], &length[..], record.envelope()].concat();
    let frames = [
        Frame::Request(vec![id, other]).encode(),
        Frame::Entries(entry.repeat(2)).encode(),
        Frame::End.encode(),
    ];
    let mut seeds = vec![
        [&[0], all_kinds.as_bytes()].concat(),
        [&[0], said.as_bytes()].concat(),
        [&[1], &**record.envelope()].concat(),
        [&[2], &**record.envelope()].concat(),
        [&[3], &*proof.bytes].concat(),
        [&[4], &entry[..], &entry].concat(),
        // Two bodies of two senders, part by part.
        vec![6, 0, 0, 9, 100, 0, 6, 1, 0, 7, 100, 0, 6, 0, 1, 9, 100, 0, 6, 1, 2, 7, 100, 0, 6],
        [&[7], order.as_slice()].concat(),
    ];
    seeds.extend(frames.iter().map(|frame| [&[5], frame.as_slice()].concat()));
    seeds
}

fn documents() -> Vec<Vec<u8>> {
    let metadata = record("eu-1", Lifecycle::Active).record().metadata.clone();
    let rich = Metadata {
        http3_support: true,
        metadata_version: 3,
        endpoint: "10.0.0.1:17421".into(),
        ..metadata.clone()
    };
    // A field of a later schema.
    let later = [rich.encode(), vec![0xe8, 0x04, 9, 0xa2, 6, 2, 8, 1]].concat();
    vec![metadata.encode(), rich.encode(), later]
}

/// Every key in a file, and every key in the environment.
fn settings() -> Vec<Vec<u8>> {
    let written = |default: &Default| match default {
        Default::Is(value) => (*value).to_owned(),
        Default::Derived(_) | Default::Unset => "x".to_owned(),
    };
    let json: Vec<String> = KEYS
        .iter()
        .map(|key| format!("\"{ROOT}:{}\": \"{}\"", key.name, written(&key.default)))
        .collect();
    let lines = |names: &str| -> String {
        let name = |key: &str| names.replace('*', &key.replace(':', "__"));
        let line = |key: &crate::settings::keys::Key| {
            format!("{}={}\n", name(key.name), written(&key.default))
        };
        KEYS.iter().map(line).collect()
    };
    let nested = r#"// comments may stand here
{"mesh": {"gossip": {"nodeId": "n1", "seedPeers": ["a:1", "[::1]:2"], "interval": "1s",
"labels": {"rack": "r7"}, "suspicionInterval": "00:00:05", "detector": "lifeguard", "port": 17421,
"tls": {"certificatePath": "/nowhere.pem", "caPath": "/ca.pem", "allowedThumbprints": null},},},}"#;
    let secret = "MESH_GOSSIP_CERT_DATA_SECRET=FUZZ_SECRET\nMESH__GOSSIP__TLS__CAPATH=/ca.pem\n";
    vec![
        format!("{{{}}}", json.join(",")).into_bytes(),
        format!("{nested}\0{{\"mesh:gossip\": {{\"port\": \"17422\"}}}}\0{secret}").into_bytes(),
        format!("\0\0{}", lines("mesh__gossip__*")).into_bytes(),
        format!("\0\0{}", lines("OMNIRELAY__MESH__GOSSIP__*")).into_bytes(),
        format!("{{}}\0{{}}\0{secret}mesh:gossip:tls:certificatePassword=x\nA=\n").into_bytes(),
    ]
}

/// No seed holds a key in clear: they are kept in the repository.
fn credentials() -> Vec<Vec<u8>> {
    let certified = certified();
    let issued = &certified.issued[MEMBERS[0]];
    let chain = certified.credentials(MEMBERS[0]).chain();
    let list = list_pem();
    let key = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEH\n-----END PRIVATE KEY-----\n";
    let store = pkcs12::write_after(1, &issued.chain_pem, &issued.key_pem, PASSWORD);
    let store = store.map(|store| store.to_vec()).unwrap_or_default();
    let blob = |der: &[u8]| [&(der.len() as u16).to_le_bytes(), der].concat();
    vec![
        [&[0], issued.chain_pem.as_bytes()].concat(),
        [&[1], key.as_bytes()].concat(),
        [&[2], certified.ca.bundle_pem().as_bytes()].concat(),
        [&[3], list.as_bytes()].concat(),
        [&[4], issued.chain_pem.as_bytes(), key.as_bytes()].concat(),
        [&[5][..], &blob(&chain[0]), &blob(&chain[1])].concat(),
        vec![6, 0, 0, 0, 40, 0, 1],
        vec![6, 1, 1, 3, 9, 0],
        vec![7, 0],
        vec![7, 0, 0, 30, 0, 1],
        [&[8], store.as_slice()].concat(),
        [&[9][..], "AB:".repeat(31).as_bytes(), b"AB"].concat(),
    ]
}

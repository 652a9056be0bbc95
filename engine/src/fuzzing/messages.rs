//! What an authenticated member can say: messages, records, proofs, states, frames.
//!
//! A member has a certificate and may be mad; whatever it seals is decoded by these.

use std::collections::BTreeSet;

use mesh_gossip_proto::detector::proof::Proof;
use mesh_gossip_proto::membership::record::{self, SignedRecord};
use mesh_gossip_proto::sync::snapshot::Entries;
use mesh_gossip_proto::wire::message::{FRAME, Message, Messages, Packet, ProofVote};
use mesh_gossip_proto::{MemberId, Metadata};

use super::names::{CLUSTER, Names};
use crate::control::frames::Frame;
use crate::tls::provider::sha256;

const METADATA_LIMIT: usize = 4_096;
/// No datagram is longer.
const DATAGRAM: usize = 65_535;

/// The first byte chooses the decoder.
pub fn messages(data: &[u8]) {
    let Some((decoder, bytes)) = data.split_first() else { return };
    match decoder % 6 {
        0 => datagram(bytes),
        1 => any_record(bytes),
        2 => any_record(&repaired(bytes)),
        3 => proof(bytes),
        4 => entries(bytes),
        _ => frame(bytes),
    }
}

/// Messages are read as far as they hold; what was read is written and read again.
fn datagram(payload: &[u8]) {
    let payload = &payload[..payload.len().min(DATAGRAM)];
    let mut packet = Packet::default();
    let mut read = Vec::new();
    let mut rest = payload;
    for message in Messages::new(payload) {
        let Ok(message) = message else { break };
        let body = body_of(&mut rest);
        assert!(write(&mut packet, &message, body), "it fitted before");
        match message {
            Message::Record(envelope) => any_record(envelope),
            Message::Proof(bytes) => proof(bytes),
            _ => {}
        }
        read.push(message);
    }
    let again: Result<Vec<_>, _> = Messages::new(packet.as_bytes()).collect();
    assert_eq!(again.as_deref(), Ok(read.as_slice()));
}

fn body_of<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let length = usize::from(u16::from_le_bytes([rest[1], rest[2]]));
    let (message, tail) = rest.split_at(FRAME + length);
    *rest = tail;
    &message[FRAME..]
}

fn write(packet: &mut Packet, message: &Message<'_>, body: &[u8]) -> bool {
    use mesh_gossip_proto::wire::message::kind;
    match *message {
        Message::Ping(body) => packet.push(DATAGRAM, body),
        Message::Ack(body) => packet.push(DATAGRAM, body),
        Message::PingRequest(body) => packet.push(DATAGRAM, body),
        Message::Nack(body) => packet.push(DATAGRAM, body),
        Message::RelayedAck(body) => packet.push(DATAGRAM, body),
        Message::Update(body) => packet.push(DATAGRAM, body),
        Message::Suspicion(body) => packet.push(DATAGRAM, body),
        Message::Death(body) => packet.push(DATAGRAM, body),
        Message::Notice(body) => packet.push(DATAGRAM, body),
        Message::RecordPull(body) => packet.push(DATAGRAM, body),
        Message::Record(body) => packet.push_raw(DATAGRAM, kind::RECORD, body),
        Message::RecordByStream(body) => packet.push(DATAGRAM, body),
        Message::LeaveAck(body) => packet.push(DATAGRAM, body),
        Message::Verify(body) => packet.push(DATAGRAM, body),
        Message::Vote(body) => packet.push(DATAGRAM, body),
        Message::Hint(body) => packet.push(DATAGRAM, body),
        Message::ProofPull(body) => packet.push(DATAGRAM, body),
        Message::Proof(body) => packet.push_raw(DATAGRAM, kind::PROOF, body),
        Message::Unknown(kind) => packet.push_raw(DATAGRAM, kind, body),
    }
}

/// A record that verifies is relayed as it came, and its content survives being written anew.
fn any_record(envelope: &[u8]) {
    let peeked = record::peek(envelope);
    let signer = record::signer(envelope);
    let Ok(signed) = SignedRecord::verify(envelope, CLUSTER, METADATA_LIMIT, &Names::anybody())
    else {
        return;
    };
    let content = signed.record();
    assert_eq!(peeked, Ok((content.id, content.incarnation, signed.hash())));
    assert_eq!(&**signed.envelope(), envelope, "Rule R-1: nobody encodes it again");
    let (leaf, _) = signer.expect("what verifies has a layout");
    let Some(again) = SignedRecord::author(content.clone(), &Names::signing_as(leaf)) else {
        return;
    };
    let read = SignedRecord::verify(again.envelope(), CLUSTER, METADATA_LIMIT, &Names::anybody());
    let read = read.expect("what we write we read");
    assert_eq!(read.record(), content);
    assert_eq!(Metadata::decode(&content.metadata.encode()).as_ref(), Ok(&content.metadata));
}

/// Hashes that no fuzzer guesses, put right: the signer's and the member's id.
fn repaired(envelope: &[u8]) -> Vec<u8> {
    const BODY: usize = 12;
    const NAMES: usize = BODY + 72;
    let mut bytes = envelope.to_vec();
    let Ok((leaf, _)) = record::signer(envelope) else { return bytes };
    let (Some(lengths), Some(place)) =
        (envelope.get(BODY + 4..BODY + 6), bytes.get_mut(BODY + 24..NAMES))
    else {
        return bytes;
    };
    let cluster_end = NAMES + usize::from(lengths[0]);
    let node = envelope.get(cluster_end..cluster_end + usize::from(lengths[1]));
    if let Some(node) = node.and_then(|node| std::str::from_utf8(node).ok()) {
        place[..16].copy_from_slice(&MemberId::derive(CLUSTER, node).0);
    }
    place[16..].copy_from_slice(&sha256(leaf));
    bytes
}

/// A proof names each voter once, and is written again as it was read.
fn proof(bytes: &[u8]) {
    let Ok(proof) = Proof::decode(bytes) else { return };
    let distinct: BTreeSet<_> = proof.voters.iter().collect();
    assert_eq!(distinct.len(), proof.voters.len());
    assert!(bytes.len() >= 40 + proof.voters.len() * size_of::<ProofVote>());
    assert_eq!(Proof::decode(&proof.bytes).as_ref(), Ok(&proof));
    let again = Proof::new(proof.subject, proof.incarnation, 7, proof.voters.clone());
    assert_eq!(Proof::decode(&again.bytes).as_ref(), Ok(&again));
    assert_eq!(again.voters, proof.voters);
}

/// Entries are read as far as they hold, byte for byte.
fn entries(bytes: &[u8]) {
    let mut again = Vec::new();
    for entry in Entries::new(bytes) {
        let Ok(entry) = entry else { break };
        again.extend_from_slice(&[entry.state as u8, 0, 0, 0]);
        again.extend_from_slice(&entry.age_ms.to_le_bytes());
        again.extend_from_slice(&(entry.envelope.len() as u32).to_le_bytes());
        again.extend_from_slice(entry.envelope);
        any_record(entry.envelope);
    }
    assert!(bytes.starts_with(&again));
}

/// Frames of a stream are written again as they were read.
fn frame(bytes: &[u8]) {
    if let Some(Ok((frame, length))) = Frame::of_bytes(bytes) {
        assert_eq!(frame.encode(), &bytes[..length]);
    }
}

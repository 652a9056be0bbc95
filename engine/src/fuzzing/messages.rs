//! What an authenticated member can say: messages, records, proofs, states, frames.
//!
//! A member has a certificate and may be mad; whatever it seals is decoded by these.

use std::collections::BTreeSet;

use mesh_gossip_proto::detector::proof::Proof;
use mesh_gossip_proto::membership::broadcast::Spoken;
use mesh_gossip_proto::membership::order::Order;
use mesh_gossip_proto::membership::record::{self, SignedRecord};
use mesh_gossip_proto::sync::sketch::{CELLS, Sketch};
use mesh_gossip_proto::sync::snapshot::Entries;
use mesh_gossip_proto::wire::message::{
    FRAME, Message, Messages, Packet, ProofVote, SKETCH_BYTES, kind,
};
use mesh_gossip_proto::wire::parts::{Parts, split};
use mesh_gossip_proto::{MemberId, Metadata};

use zerocopy::IntoBytes;

use super::input::Input;
use super::names::{CLUSTER, Names};
use crate::control::frames::Frame;
use crate::tls::provider::sha256;

const METADATA_LIMIT: usize = 4_096;
/// No datagram is longer.
const DATAGRAM: usize = 65_535;

/// The first byte chooses the decoder.
pub fn messages(data: &[u8]) {
    let Some((decoder, bytes)) = data.split_first() else { return };
    match decoder % 8 {
        0 => datagram(bytes),
        1 => any_record(bytes),
        2 => any_record(&repaired(bytes)),
        3 => proof(bytes),
        4 => entries(bytes),
        5 => frame(bytes),
        6 => parts(bytes),
        _ => order(bytes),
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
            Message::ForceLeave(bytes) => order(bytes),
            Message::Sketch(header, cells) => sketch(header.salt.get(), cells),
            Message::Broadcast(bytes) => drop(Spoken::decode(bytes)),
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
        Message::Vote(vote, seal) => {
            packet.push_raw(DATAGRAM, kind::VOTE, &[vote.as_bytes(), seal].concat())
        }
        Message::Part(header, bytes) => {
            packet.push_raw(DATAGRAM, kind::PART, &[header.as_bytes(), bytes].concat())
        }
        Message::CertificatePull(body) => packet.push(DATAGRAM, body),
        Message::Certificate(body) => packet.push_raw(DATAGRAM, kind::CERTIFICATE, body),
        Message::ListNotice(body) => packet.push(DATAGRAM, body),
        Message::ClockPull(body) => packet.push(DATAGRAM, body),
        Message::Clock(body) => packet.push(DATAGRAM, body),
        Message::ForceLeave(body) => packet.push_raw(DATAGRAM, kind::FORCE_LEAVE, body),
        Message::Hint(body) => packet.push(DATAGRAM, body),
        Message::ProofPull(body) => packet.push(DATAGRAM, body),
        Message::Proof(body) => packet.push_raw(DATAGRAM, kind::PROOF, body),
        Message::Sketch(header, cells) => {
            packet.push_raw(DATAGRAM, kind::SKETCH, &[header.as_bytes(), cells].concat())
        }
        Message::Difference(header, shares) => {
            let body = [header.as_bytes(), shares.as_bytes()].concat();
            packet.push_raw(DATAGRAM, kind::DIFFERENCE, &body)
        }
        Message::Want(shares) => packet.push_raw(DATAGRAM, kind::WANT, shares.as_bytes()),
        Message::Broadcast(body) => packet.push_raw(DATAGRAM, kind::BROADCAST, body),
        Message::Direct(head, bytes) => {
            packet.push_raw(DATAGRAM, kind::DIRECT, &[head.as_bytes(), bytes].concat())
        }
        Message::TicketPull(body) => packet.push(DATAGRAM, body),
        Message::Ticket(head, named) => {
            packet.push_raw(DATAGRAM, kind::TICKET, &[head.as_bytes(), named.as_bytes()].concat())
        }
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
    let again = Proof::new(proof.finding, &proof.votes());
    assert_eq!((&again.voters, again.finding), (&proof.voters, proof.finding));
    assert_eq!(again.votes(), proof.votes());
}

/// A table is written again as it was read, and decoding it ends with no more than it can hold.
fn sketch(salt: u64, cells: &[u8; SKETCH_BYTES]) {
    let sketch = Sketch::from_bytes(salt, cells);
    assert_eq!(&sketch.to_bytes(), cells);
    let found = sketch.decode();
    assert!(found.is_none_or(|found| found.ours.len() + found.theirs.len() <= CELLS));
}

/// An order that verifies names what its bytes name.
fn order(bytes: &[u8]) {
    if let Ok(order) = Order::verify(bytes, CLUSTER, &Names::anybody()) {
        assert_eq!(&*order.bytes, bytes);
        assert_eq!(Order::verify(&order.bytes, CLUSTER, &Names::anybody()).as_ref(), Ok(&order));
    }
}

/// Bodies in parts: whole bodies come out and no others.
fn parts(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut parts = Parts::default();
    while !input.is_empty() {
        let (from, at) = (MemberId([input.byte() & 3; 16]), input.below(8));
        let body = vec![input.byte(); input.word().into()];
        let room = usize::from(input.byte()) * 8 + 1;
        if let Some((header, part)) = split(kind::PROOF, &body, room).nth(at) {
            let whole = parts.take(from, &header, part);
            assert!(whole.is_none_or(|(_, whole)| whole == body), "a body of others' parts");
        }
    }
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

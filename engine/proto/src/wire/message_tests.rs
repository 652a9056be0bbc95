//! Golden vectors and properties of the sealed messages.

use zerocopy::IntoBytes;
use zerocopy::byteorder::little_endian::{I16, U16, U32, U64};

use super::*;
use crate::member::{Incarnation, MemberId};
use crate::membership::record::RecordHash;
use proptest::prelude::*;
use std::vec;

const INCARNATION: Incarnation =
    Incarnation { generation: 0x0102_0304_0506_0708, counter: 0x0a0b_0c0d };

fn hex(bytes: &[u8]) -> std::string::String {
    bytes.iter().map(|byte| std::format!("{byte:02x}")).collect()
}

fn encoded<B: Body>(body: &B) -> std::string::String {
    let mut packet = Packet::default();
    assert!(packet.push(1_200, body));
    hex(packet.as_bytes())
}

const WIRE_INCARNATION: &str = "0807060504030201" /* generation */;
const WIRE_COUNTER: &str = "0d0c0b0a";

/// Rule W-2: these bytes are a public promise.
#[test]
fn golden_vectors_hold() {
    let id = [0x11; 16];
    let other = [0x22; 16];
    let ids = "11".repeat(16);
    let others = "22".repeat(16);
    let inc = std::format!("{WIRE_INCARNATION}{WIRE_COUNTER}");
    let digest = U64::new(0xdead_beef_0000_0001);
    let wire = WireIncarnation::from(INCARNATION);
    let vectors = vec![
        (
            encoded(&Ping { sequence: U32::new(7), digest }),
            "020c00070000000100 0000efbeadde".replace(' ', ""),
        ),
        (
            encoded(&Ack {
                sequence: U32::new(7),
                incarnation: wire,
                digest,
                baseline: U16::new(0x1234),
                phase_error: I16::new(-2),
            }),
            std::format!("031c0007000000{inc}01000000efbeadde3412feff"),
        ),
        (
            encoded(&PingRequest {
                sequence: U32::new(9),
                timeout_ms: U16::new(400),
                reserved: U16::ZERO,
                target: id,
            }),
            std::format!("041800090000009001 0000{ids}").replace(' ', ""),
        ),
        (encoded(&Nack { sequence: U32::new(9) }), "05040009000000".into()),
        (
            encoded(&RelayedAck { sequence: U32::new(9), incarnation: wire }),
            std::format!("06100009000000{inc}"),
        ),
        (
            encoded(&Update::new(MemberId(id), INCARNATION, State::Left, RecordHash(0x99))),
            std::format!("072800{ids}{inc}040000009900000000000000"),
        ),
        (
            encoded(&Suspicion { id, incarnation: wire, accuser: other }),
            std::format!("082c00{ids}{inc}{others}"),
        ),
        (
            encoded(&Death {
                id,
                incarnation: wire,
                announcer: other,
                age_ms: U32::new(1_500),
                proof: U64::ZERO,
            }),
            std::format!("093800{ids}{inc}{others}dc0500000000000000000000"),
        ),
        (
            encoded(&Notice { incarnation: wire, announcer: other }),
            std::format!("0a1c00{inc}{others}"),
        ),
        (
            encoded(&RecordPull { id, hash: U64::new(0x99) }),
            std::format!("0b1800{ids}9900000000000000"),
        ),
        (encoded(&RecordByStream { id }), std::format!("0d1000{ids}")),
        (encoded(&LeaveAck { incarnation: wire }), std::format!("0e0c00{inc}")),
    ];
    for (found, expected) in vectors {
        assert_eq!(found, expected);
    }
}

/// Rules W-2 and S-16: a revocation list is announced by issuer, number and hash.
#[test]
fn the_golden_vector_of_a_list_notice_holds() {
    let notice = ListNotice { issuer: [0x11; 16], number: [0x33; 20], hash: U64::new(0x99) };
    let expected = std::format!("0f2c00{}{}9900000000000000", "11".repeat(16), "33".repeat(20));
    assert_eq!(encoded(&notice), expected);
}

/// Rules W-2 and A-4: sketches, differences and wants.
#[test]
fn golden_vectors_of_anti_entropy_hold() {
    let (salt, part, parts) = (U64::new(0x77), U16::new(3), U16::new(34));
    let head = "77000000000000000300 2200".replace(' ', "");
    let cells = [0xab; SKETCH_BYTES];
    let mut packet = Packet::default();
    let sketch = SketchHeader { salt, part, parts };
    assert!(packet.push_raw(1_168, kind::SKETCH, &[sketch.as_bytes(), &cells].concat()));
    assert_eq!(hex(packet.as_bytes()), std::format!("252c04{head}{}", "ab".repeat(SKETCH_BYTES)));
    let read: Vec<_> = Messages::new(packet.as_bytes()).collect();
    assert_eq!(read, [Ok(Message::Sketch(&sketch, &cells))]);

    let (size, offered) = (U32::new(2), U16::new(1));
    let difference = DifferenceHeader { salt, part, parts, size, offered, outcome: 3, reserved: 0 };
    let shares = [U64::new(1), U64::new(2)];
    let said = |difference: &DifferenceHeader| {
        let mut packet = Packet::default();
        let body = [difference.as_bytes(), shares.as_bytes()].concat();
        assert!(packet.push_raw(1_168, kind::DIFFERENCE, &body));
        packet.into_bytes()
    };
    let bytes = said(&difference);
    let (one, two) = ("0100000000000000", "0200000000000000");
    assert_eq!(hex(&bytes), std::format!("262400{head}0200000001000300{one}{two}"));
    let read: Vec<_> = Messages::new(&bytes).collect();
    assert_eq!(read, [Ok(Message::Difference(&difference, &shares))]);

    let mut packet = Packet::default();
    assert!(packet.push_raw(1_168, kind::WANT, &[shares.as_bytes(), &[9]].concat()));
    let read: Vec<_> = Messages::new(packet.as_bytes()).collect();
    assert_eq!(read, [Ok(Message::Want(&shares))], "a broken share is none");

    // What cannot be is refused.
    let refused = |kind, body: &[u8]| {
        let mut packet = Packet::default();
        assert!(packet.push_raw(2_000, kind, body));
        Messages::new(packet.as_bytes()).next() == Some(Err(DecodeError::Field("sketch part")))
            || Messages::new(packet.as_bytes()).next() == Some(Err(DecodeError::Truncated))
    };
    for (part, parts) in [(34, 34), (0, 0), (0, 513)] {
        let sketch = SketchHeader { salt, part: U16::new(part), parts: U16::new(parts) };
        assert!(refused(kind::SKETCH, &[sketch.as_bytes(), &cells].concat()));
    }
    assert!(refused(kind::SKETCH, &[sketch.as_bytes(), &cells[1..]].concat()));
    let more = DifferenceHeader { offered: U16::new(3), ..difference };
    assert!(refused(kind::DIFFERENCE, &said(&more)[FRAME..]));
}

/// Rule W-2: the messages of the observers.
#[test]
fn golden_vectors_of_the_observers_hold() {
    let subject = [0x11; 16];
    let ids = "11".repeat(16);
    let inc = std::format!("{WIRE_INCARNATION}{WIRE_COUNTER}");
    let (incarnation, round) = (WireIncarnation::from(INCARNATION), U64::new(0x77));
    let vectors = vec![
        (
            encoded(&Verify { subject, incarnation, round, elapsed_ms: U32::new(1_500) }),
            std::format!("202800{ids}{inc}7700000000000000dc050000"),
        ),
        (
            encoded(&Vote { subject, incarnation, round, ballot: 3, reserved: [0; 3] }),
            std::format!("212800{ids}{inc}770000000000000003000000"),
        ),
        (encoded(&Hint { subject }), std::format!("221000{ids}")),
        (
            encoded(&ProofPull { subject, proof: U64::new(0x99) }),
            std::format!("231800{ids}9900000000000000"),
        ),
        (
            encoded(&ProofHeader { subject, incarnation, round, count: 5, reserved: [0; 3] }),
            std::format!("242800{ids}{inc}770000000000000005000000"),
        ),
    ];
    for (found, expected) in vectors {
        assert_eq!(found, expected);
    }
}

/// Rules W-2 and J-3.
#[test]
fn golden_vectors_of_tickets_hold() {
    assert_eq!(encoded(&TicketPull { pointed: 1, reserved: [0; 3] }), "29040001000000");
    let header = TicketHeader { granted: 0, count: 1, reserved: [0; 2] };
    let peer = TicketPeer { id: [0x11; 16], address: [0x22; 16], port: U16::new(0x1234) };
    let body = [header.as_bytes(), peer.as_bytes()].concat();
    let mut packet = Packet::default();
    assert!(packet.push_raw(1_200, kind::TICKET, &body));
    let (ids, address) = ("11".repeat(16), "22".repeat(16));
    assert_eq!(hex(packet.as_bytes()), std::format!("2a260000010000{ids}{address}3412"));
    let read = Messages::new(packet.as_bytes()).next();
    assert_eq!(read, Some(Ok(Message::Ticket(&header, &[peer]))));
    let short = &packet.as_bytes()[..packet.as_bytes().len() - 1];
    assert!(Messages::new(short).any(|message| message.is_err()));
}

/// Rules W-2, S-11 and S-12: certificates, clocks, parts, seals.
#[test]
fn golden_vectors_of_certificates_and_clocks_hold() {
    let part = PartHeader {
        hash: U64::new(0x99),
        total: U16::new(0x1234),
        offset: U16::new(0x0480),
        kind: kind::PROOF,
        reserved: [0; 3],
    };
    let seal =
        SealHeader { signer: U64::new(0x99), scheme: U16::new(0x0403), length: U16::new(71) };
    let vote = ProofVote { voter: [0x11; 16], seal };
    let vectors = vec![
        (encoded(&part), "18100099000000000000003412800424000000".into()),
        (encoded(&CertificatePull { hash: [0x22; 32] }), std::format!("192000{}", "22".repeat(32))),
        (encoded(&ClockPull { token: U64::new(7) }), "1b08000700000000000000".into()),
        (
            encoded(&Clock { token: U64::new(7), wall_ms: U64::new(0x99) }),
            "1c100007000000000000009900000000000000".into(),
        ),
        (hex(vote.as_bytes()), std::format!("{}990000000000000003044700", "11".repeat(16))),
    ];
    for (found, expected) in vectors {
        assert_eq!(found, expected);
    }
}

/// Rules W-2 and U-6: what hosts say. The golden vector of a broadcast.
#[test]
fn golden_vectors_of_what_hosts_say_hold() {
    let direct = Direct { topic: U16::new(0x0102), reserved: U16::ZERO };
    assert_eq!(encoded(&direct), "2e040002010000");
    let mut packet = Packet::default();
    assert!(packet.push_raw(1_200, kind::DIRECT, &[direct.as_bytes(), b"hi"].concat()));
    assert!(packet.push_raw(1_200, kind::BROADCAST, b"card"));
    assert_eq!(hex(packet.as_bytes()), "2e06000201000068692d040063617264");
    let read: Vec<_> = Messages::new(packet.as_bytes()).collect();
    assert_eq!(read, [Ok(Message::Direct(&direct, b"hi")), Ok(Message::Broadcast(b"card"))]);
}

/// Rule W-1, foca#17: unknown kinds are skipped, longer bodies read by their known part.
#[test]
fn a_later_version_is_understood_as_far_as_this_build_reaches() {
    let mut packet = Packet::default();
    assert!(packet.push_raw(1_200, 200, b"from the future"));
    let mut longer = Nack { sequence: U32::new(5) }.as_bytes().to_vec();
    longer.extend_from_slice(b"tail");
    assert!(packet.push_raw(1_200, kind::NACK, &longer));
    let read: Vec<_> = Messages::new(packet.as_bytes()).collect();
    assert_eq!(
        read,
        [Ok(Message::Unknown(200)), Ok(Message::Nack(&Nack { sequence: U32::new(5) }))]
    );
}

#[test]
fn a_packet_never_exceeds_its_limit() {
    let mut packet = Packet::default();
    let update = Update::new(MemberId([1; 16]), INCARNATION, State::Alive, RecordHash(1));
    let mut pushed = 0;
    while packet.push(1_168, &update) {
        pushed += 1;
    }
    assert_eq!(pushed, 1_168 / 43);
    assert!(packet.as_bytes().len() <= 1_168);
}

proptest! {
    /// No bytes panic the reader, and it always ends.
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..1_300)) {
        let messages = Messages::new(&bytes);
        prop_assert!(messages.count() <= bytes.len() / FRAME + 1);
    }

    /// What is written is read back.
    #[test]
    fn updates_round_trip(id: [u8; 16], generation: u64, counter: u32, hash: u64, left: bool) {
        let state = if left { State::Left } else { State::Alive };
        let update =
            Update::new(MemberId(id), Incarnation { generation, counter }, state, RecordHash(hash));
        let mut packet = Packet::default();
        prop_assert!(packet.push(1_200, &update));
        let read: Vec<_> = Messages::new(packet.as_bytes()).collect();
        prop_assert_eq!(read, [Ok(Message::Update(&update))]);
    }
}

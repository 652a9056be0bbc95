//! Handshake datagrams: how a TLS stream's unacknowledged bytes become a flight.

use mesh_gossip_proto::session::stream::Sender;
use mesh_gossip_proto::wire::header::{FRAMING, HandshakeHeader, INIT, INIT_SIZE};
use zerocopy::IntoBytes;

use super::proofs::Ticket;

const HEADER: usize = size_of::<HandshakeHeader>();

/// The fields that all datagrams of one attempt share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Envelope {
    pub(super) kind: u8,
    pub(super) receiver: u32,
    pub(super) sender: u32,
    pub(super) ack: u16,
    pub(super) attempt: u64,
}

impl Envelope {
    /// One datagram; an INIT is padded to its full size (rule S-6).
    fn datagram(&self, offset: u16, fragment: &[u8], trailer: &[u8], ticket: &Ticket) -> Vec<u8> {
        let mut header = HandshakeHeader {
            kind: self.kind,
            framing: FRAMING,
            flags: 0,
            reserved: 0,
            receiver: self.receiver.into(),
            sender: self.sender.into(),
            offset: offset.into(),
            ack: self.ack.into(),
            fragment: (fragment.len() as u16).into(),
            trailer: (trailer.len() as u16).into(),
            reserved_word: 0.into(),
            attempt: self.attempt.into(),
            token: [0; 32],
        };
        ticket.stamp(&mut header, fragment);
        let mut datagram = Vec::with_capacity(INIT_SIZE);
        datagram.extend_from_slice(header.as_bytes());
        datagram.extend_from_slice(fragment);
        datagram.extend_from_slice(trailer);
        assert!(datagram.len() <= INIT_SIZE, "fragments leave room for header and trailer");
        if self.kind == INIT {
            datagram.resize(INIT_SIZE, 0);
        }
        datagram
    }

    /// Everything unacknowledged of `stream`, the trailer behind the last fragment. An empty
    /// stream gives one datagram that only acknowledges.
    pub(super) fn flight(&self, stream: &Sender, trailer: &[u8]) -> Vec<Vec<u8>> {
        self.flight_under(&Ticket::Nothing, stream, trailer)
    }

    /// The same, each datagram showing `ticket` (rule S-7).
    pub(super) fn flight_under(
        &self,
        ticket: &Ticket,
        stream: &Sender,
        trailer: &[u8],
    ) -> Vec<Vec<u8>> {
        let room = INIT_SIZE - HEADER - trailer.len();
        let fragments: Vec<(u16, &[u8])> = stream.fragments(room).collect();
        if fragments.is_empty() {
            return vec![self.datagram(0, &[], trailer, ticket)];
        }
        let last = fragments.len() - 1;
        let datagram = |(number, (offset, fragment)): (usize, &(u16, &[u8]))| {
            self.datagram(*offset, fragment, if number == last { trailer } else { &[] }, ticket)
        };
        fragments.iter().enumerate().map(datagram).collect()
    }
}

/// Bytes of a trailer that leave a fragment enough room to make progress.
pub(super) const TRAILER_LIMIT: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_gossip_proto::wire::header::{Handshake, RESP};

    #[test]
    fn a_long_stream_becomes_a_flight_with_the_trailer_last() {
        let mut stream = Sender::default();
        assert!(stream.push(&[7; 2_500]));
        let envelope = Envelope { kind: INIT, receiver: 1, sender: 2, ack: 3, attempt: 4 };
        let mut flight = envelope.flight(&stream, b"trailer");
        assert_eq!(flight.len(), 3);
        let mut carried = 0;
        for (number, datagram) in flight.iter_mut().enumerate() {
            assert_eq!(datagram.len(), INIT_SIZE, "Rule S-6: an INIT is always full");
            let parts = Handshake::split(datagram).unwrap();
            assert_eq!(usize::from(parts.header.offset.get()), carried);
            carried += parts.fragment.len();
            assert_eq!(parts.trailer.is_empty(), number != 2);
        }
        assert_eq!(carried, 2_500);
        let ack = Envelope { kind: RESP, ..envelope }.flight(&Sender::default(), &[]);
        assert_eq!((ack.len(), ack[0].len()), (1, HEADER));
    }
}

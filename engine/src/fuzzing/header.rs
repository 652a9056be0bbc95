//! The front of a datagram: whatever arrives on the socket is read by this first (rule W-3).

use mesh_gossip_proto::wire::header::{DataHeader, Handshake, ResetHint};
use zerocopy::IntoBytes;

/// Any bytes as each of the three headers: refused, or written again as they were read.
pub fn header(data: &[u8]) {
    let mut bytes = data.to_vec();
    if let Ok((header, body)) = DataHeader::split(&mut bytes) {
        let again = DataHeader::new(header.receiver.get(), header.packet_number.get());
        assert_eq!(again, header, "a header that passed has no other fields");
        assert_eq!([again.as_bytes(), body].concat(), data);
    }
    if let Ok(parts) = Handshake::split(&mut bytes) {
        let again = [parts.header.as_bytes(), parts.fragment, parts.trailer].concat();
        assert!(data.starts_with(&again), "header, fragment and trailer stand in this order");
        // A trailer is a sealed datagram.
        let trailer = parts.trailer.to_vec();
        if let Ok((header, body)) = DataHeader::split(parts.trailer) {
            assert_eq!([header.as_bytes(), body].concat(), trailer);
        }
    }
    if let Ok(hint) = ResetHint::read(data) {
        assert_eq!(hint.as_bytes(), data, "a hint is 16 bytes and no more");
    }
}

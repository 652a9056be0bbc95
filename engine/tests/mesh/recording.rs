//! What a network carried, byte by byte.

/// A datagram on its way to a host or back from it.
#[derive(Clone, Debug)]
pub(crate) struct Datagram {
    /// The name of the host that sent it; `None`: a stranger.
    pub(crate) from: Option<String>,
    /// The name of the host that it was for; `None`: a stranger.
    pub(crate) to: Option<String>,
    pub(crate) bytes: Vec<u8>,
}

/// Everything that was put on the wire, what got lost included.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recording {
    pub(crate) datagrams: Vec<Datagram>,
    /// One entry a direction of a connection, in the order of their first bytes.
    pub(crate) streams: Vec<Vec<u8>>,
}

impl Recording {
    /// Bytes of all datagrams.
    pub(crate) fn datagram_bytes(&self) -> usize {
        self.datagrams.iter().map(|datagram| datagram.bytes.len()).sum()
    }

    /// Bytes of all streams.
    pub(crate) fn stream_bytes(&self) -> usize {
        self.streams.iter().map(Vec::len).sum()
    }

    /// Whether `needle` stands in one datagram or one direction of a stream.
    pub(crate) fn holds(&self, needle: &[u8]) -> bool {
        assert!(!needle.is_empty(), "everything holds nothing");
        let datagrams = self.datagrams.iter().map(|datagram| &datagram.bytes);
        let mut pieces = datagrams.chain(&self.streams);
        pieces.any(|bytes| bytes.windows(needle.len()).any(|window| window == needle))
    }
}

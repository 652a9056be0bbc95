//! TLS: credentials, verification, handshakes over datagrams, session channels.

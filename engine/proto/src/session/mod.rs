//! Sessions: what two members share after a handshake. No TLS here.

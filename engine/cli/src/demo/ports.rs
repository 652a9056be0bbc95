//! The first free port at or after a wanted one.
//!
//! Invariant: looking holds nothing. Between the look and the use somebody else may take the
//! port, so the caller looks again when its own bind fails.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};

use super::DemoError;

/// Ports looked at before giving up.
const TRIES: u16 = 1_000;

/// The first port at or after `from` that `is_free`.
pub(crate) fn first_free(from: u16, is_free: impl Fn(u16) -> bool) -> Result<u16, DemoError> {
    let last = from.saturating_add(TRIES - 1);
    let tried = last - from + 1;
    (from..=last).find(|port| is_free(*port)).ok_or(DemoError::NoPort { from, tried })
}

/// Whether datagrams and the bulk-sync listener can both have this port.
pub(crate) fn gossip_is_free(ip: IpAddr, port: u16) -> bool {
    let address = SocketAddr::new(ip, port);
    let datagrams = UdpSocket::bind(address);
    !is_taken(&datagrams) && control_is_free(ip, port)
}

/// Whether a listener can have this port.
pub(crate) fn control_is_free(ip: IpAddr, port: u16) -> bool {
    !is_taken(&TcpListener::bind(SocketAddr::new(ip, port)))
}

/// Only a port in use is worth moving off; whatever else is wrong, the next port has it too, and
/// the engine explains it better.
fn is_taken<T>(bound: &std::io::Result<T>) -> bool {
    matches!(bound, Err(error) if error.kind() == ErrorKind::AddrInUse)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const IP: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn a_busy_datagram_port_and_a_busy_stream_port_are_both_moved_off() -> std::io::Result<()> {
        let datagrams = UdpSocket::bind((IP, 0))?;
        let busy = datagrams.local_addr()?.port();
        assert!(!gossip_is_free(IP, busy));
        assert!(first_free(busy, |port| gossip_is_free(IP, port)).is_ok_and(|port| port > busy));

        let listener = TcpListener::bind((IP, 0))?;
        let busy = listener.local_addr()?.port();
        assert!(!gossip_is_free(IP, busy), "bulk sync listens on the gossip port number");
        assert!(!control_is_free(IP, busy));
        assert!(first_free(busy, |port| control_is_free(IP, port)).is_ok_and(|port| port > busy));
        Ok(())
    }

    #[test]
    fn the_search_is_bounded_and_its_end_told() {
        let none = first_free(17_421, |_| false);
        assert!(matches!(none, Err(DemoError::NoPort { from: 17_421, tried: 1_000 })));
        let end = first_free(u16::MAX, |_| false);
        assert!(matches!(end, Err(DemoError::NoPort { tried: 1, .. })));
        assert!(matches!(first_free(5, |port| port == 9), Ok(9)));
    }
}

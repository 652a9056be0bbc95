//! Who counts as one source where addresses are counted.
//!
//! An IPv4 address is one; of IPv6 every host has a whole /64 to choose from, so that is.

use std::net::{IpAddr, SocketAddr};

/// An IPv4 address, mapped ones too, or an IPv6 /64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Network(u64);

impl Network {
    /// The network of an address.
    pub(crate) fn of(from: SocketAddr) -> Self {
        let octets = match from.ip().to_canonical() {
            IpAddr::V4(ip) => return Self(u64::from(u32::from(ip))),
            IpAddr::V6(ip) => ip.octets(),
        };
        let [a, b, c, d, e, f, g, h, ..] = octets;
        Self(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_of_ipv6_is_one_network_and_one_of_ipv4_an_address() {
        let of = |text: &str| Network::of(text.parse().unwrap());
        assert_eq!(of("[2001:db8:0:1::1]:1"), of("[2001:db8:0:1:ffff::9]:2"));
        assert_ne!(of("[2001:db8:0:1::1]:1"), of("[2001:db8:0:2::1]:1"));
        assert_ne!(of("192.0.2.1:1"), of("192.0.2.2:1"));
        assert_eq!(of("192.0.2.1:1"), of("[::ffff:192.0.2.1]:2"), "mapped");
    }
}

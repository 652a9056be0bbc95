//! Socket addresses as the kernel reads and writes them.
//!
//! A `sockaddr` is 16 or 28 bytes whose offsets never change, so it is written and read byte by
//! byte: the kernel's copy in a receive buffer is unaligned anyway.
//!
//! Invariant: one peer has one `SocketAddr`. IPv4 is IPv4 whether it arrived on an IPv4 or on a
//! dual-stack socket, and flow labels are not part of an address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Room for the longest address that a socket of ours can meet.
pub(crate) const ADDRESS_BYTES: usize = 32;

const V4_BYTES: usize = size_of::<libc::sockaddr_in>();
const V6_BYTES: usize = size_of::<libc::sockaddr_in6>();
const _: () = assert!(V4_BYTES == 16 && V6_BYTES == 28 && V6_BYTES <= ADDRESS_BYTES);

/// What a socket speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// IPv4 only.
    V4,
    /// IPv6, and IPv4 in mapped form where it is dual-stack.
    V6,
}

impl Family {
    /// Of a socket bound to `local`.
    pub(crate) fn of(local: SocketAddr) -> Self {
        match local {
            SocketAddr::V4(_) => Self::V4,
            SocketAddr::V6(_) => Self::V6,
        }
    }
}

/// A `sockaddr` in the kernel's layout.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C, align(8))]
pub(crate) struct RawAddress {
    bytes: [u8; ADDRESS_BYTES],
    len: u32,
}

impl RawAddress {
    /// Room for an address.
    pub(crate) const EMPTY: Self = Self { bytes: [0; ADDRESS_BYTES], len: 0 };

    /// `to` as a socket of `family` has to be told it; `None` when it cannot reach it.
    pub(crate) fn encode(to: SocketAddr, family: Family) -> Option<Self> {
        match (family, to.ip()) {
            (Family::V4, IpAddr::V4(ip)) => Some(Self::v4(ip, to.port())),
            (Family::V4, IpAddr::V6(ip)) => ip.to_ipv4_mapped().map(|ip| Self::v4(ip, to.port())),
            (Family::V6, IpAddr::V4(ip)) => Some(Self::v6(ip.to_ipv6_mapped(), to.port(), 0)),
            (Family::V6, IpAddr::V6(ip)) => {
                let scope = match to {
                    SocketAddr::V6(to) => to.scope_id(),
                    SocketAddr::V4(_) => 0,
                };
                Some(Self::v6(ip, to.port(), scope))
            }
        }
    }

    fn v4(ip: Ipv4Addr, port: u16) -> Self {
        let mut raw = Self { len: V4_BYTES as u32, ..Self::EMPTY };
        raw.head(libc::AF_INET, port);
        raw.bytes[4..8].copy_from_slice(&ip.octets());
        raw
    }

    fn v6(ip: Ipv6Addr, port: u16, scope: u32) -> Self {
        let mut raw = Self { len: V6_BYTES as u32, ..Self::EMPTY };
        raw.head(libc::AF_INET6, port);
        raw.bytes[8..24].copy_from_slice(&ip.octets());
        raw.bytes[24..28].copy_from_slice(&scope.to_ne_bytes());
        raw
    }

    fn head(&mut self, family: i32, port: u16) {
        self.bytes[..2].copy_from_slice(&(family as u16).to_ne_bytes());
        self.bytes[2..4].copy_from_slice(&port.to_be_bytes());
    }

    /// Where the kernel finds it.
    pub(crate) fn as_ptr(&self) -> *const u8 {
        self.bytes.as_ptr()
    }

    /// Where the kernel puts it.
    pub(crate) fn as_mut_ptr(&mut self) -> *mut u8 {
        self.bytes.as_mut_ptr()
    }

    /// How long it is.
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// Equal for equal addresses.
    pub(crate) fn hash(&self) -> u32 {
        let (words, _) = self.bytes.as_chunks::<8>();
        let mix = |hash: u64, word: &[u8; 8]| {
            (hash.rotate_left(5) ^ u64::from_ne_bytes(*word)).wrapping_mul(0x9E37_79B9_7F4A_7C15)
        };
        (words.iter().fold(0, mix) >> 32) as u32
    }

    /// All of its room.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Reads a `sockaddr`; `None` when it is neither IPv4 nor IPv6 or too short.
pub(crate) fn decode(bytes: &[u8]) -> Option<SocketAddr> {
    let family = i32::from(u16::from_ne_bytes(array(bytes, 0)?));
    let port = u16::from_be_bytes(array(bytes, 2)?);
    match family {
        libc::AF_INET => {
            let ip = Ipv4Addr::from(array::<4>(bytes, 4)?);
            Some(SocketAddr::V4(SocketAddrV4::new(ip, port)))
        }
        libc::AF_INET6 => {
            let ip = Ipv6Addr::from(array::<16>(bytes, 8)?);
            let scope = u32::from_ne_bytes(array(bytes, 24)?);
            Some(match ip.to_ipv4_mapped() {
                Some(ip) => SocketAddr::V4(SocketAddrV4::new(ip, port)),
                None => SocketAddr::V6(SocketAddrV6::new(ip, port, 0, scope)),
            })
        }
        _ => None,
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(to: &str, family: Family) -> Option<SocketAddr> {
        let raw = RawAddress::encode(to.parse().unwrap(), family)?;
        decode(&raw.bytes[..raw.len as usize])
    }

    #[test]
    fn a_peer_has_one_address_whatever_socket_it_was_met_on() {
        for family in [Family::V4, Family::V6] {
            let back = round_trip("192.0.2.7:7946", family);
            assert_eq!(back, Some("192.0.2.7:7946".parse().unwrap()));
            let mapped = round_trip("[::ffff:192.0.2.7]:7946", family);
            assert_eq!(mapped, Some("192.0.2.7:7946".parse().unwrap()));
        }
    }

    #[test]
    fn link_local_keeps_its_interface() {
        let to = "[fe80::1%3]:7946".parse().unwrap();
        let raw = RawAddress::encode(to, Family::V6).unwrap();
        assert_eq!(decode(raw.bytes()), Some(to));
    }

    #[test]
    fn ipv6_is_out_of_reach_for_an_ipv4_socket() {
        assert_eq!(round_trip("[2001:db8::1]:7946", Family::V4), None);
    }

    #[test]
    fn a_short_or_foreign_name_is_no_address() {
        let raw = RawAddress::encode("[::1]:1".parse().unwrap(), Family::V6).unwrap();
        for len in 0..V6_BYTES {
            assert_eq!(decode(&raw.bytes[..len]), None, "{len} bytes");
        }
        let mut unix = [0_u8; V6_BYTES];
        unix[..2].copy_from_slice(&(libc::AF_UNIX as u16).to_ne_bytes());
        assert_eq!(decode(&unix), None);
    }
}

//! Cookies: who shows one receives at the address that it sends from (rule S-7).
//!
//! The responder keeps no state for a source that it sent a cookie to: what it has to remember
//! travels in the cookie, under a key that only it knows. A cookie is bound to the address and to
//! the one attempt that it was asked for in.
//!
//! Invariants: two keys are valid at most, and a cookie lives for [`LIFE`]; tags are compared in
//! constant time.

use std::net::{IpAddr, SocketAddr};

use mesh_gossip_proto::{Duration, Instant};
use ring::hmac;
use subtle::ConstantTimeEq;

use crate::entropy::NoEntropy;

/// Bytes of a cookie: u32 seconds, u8 key id, 3 zero, the tag.
pub(super) const COOKIE: usize = 32;
const STAMP: usize = 4;
const FRONT: usize = 8;
/// Bytes of the tag, the first ones of an HMAC-SHA-256.
const TAG: usize = COOKIE - FRONT;
/// A key makes cookies for so long.
const ROTATION: Duration = Duration::from_secs(60);
/// A cookie counts for so long.
const LIFE: u32 = 10;
/// Keeps these tags apart from any other.
const PREFIX: &[u8] = b"mesh-gossip cookie v1\0";

/// What a cookie is bound to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) from: SocketAddr,
    pub(super) attempt: u64,
    /// The client's index.
    pub(super) sender: u32,
}

struct Key {
    id: u8,
    since: Instant,
    key: hmac::Key,
}

/// The responder's keys.
#[derive(Default)]
pub(super) struct Cookies {
    current: Option<Key>,
    previous: Option<Key>,
}

impl Cookies {
    /// A cookie for who asked; `fresh` gives the bytes of a new key when one is due.
    pub(super) fn issue(
        &mut self,
        now: Instant,
        asked: &Asked,
        fresh: impl FnOnce() -> Result<[u8; 32], NoEntropy>,
    ) -> Result<[u8; COOKIE], NoEntropy> {
        if self.current.as_ref().is_none_or(|key| now.since(key.since) >= ROTATION) {
            let bytes = zeroize::Zeroizing::new(fresh()?);
            let id = self.current.as_ref().map_or(0, |key| key.id.wrapping_add(1));
            let key = hmac::Key::new(hmac::HMAC_SHA256, bytes.as_ref());
            self.previous = self.current.replace(Key { id, since: now, key });
        }
        let key = self.current.as_ref().ok_or(NoEntropy)?;
        let mut cookie = [0; COOKIE];
        cookie[..STAMP].copy_from_slice(&seconds(now).to_le_bytes());
        cookie[STAMP] = key.id;
        let tag = tag(&key.key, asked, seconds(now));
        cookie[FRONT..].copy_from_slice(&tag);
        Ok(cookie)
    }

    /// Whether `cookie` is one of ours, for who asked, and young.
    pub(super) fn holds(&self, now: Instant, asked: &Asked, cookie: &[u8; COOKIE]) -> bool {
        let [s0, s1, s2, s3, id, 0, 0, 0, given @ ..] = cookie else { return false };
        let stamp = u32::from_le_bytes([*s0, *s1, *s2, *s3]);
        let age = seconds(now).checked_sub(stamp);
        if age.is_none_or(|age| age > LIFE) {
            return false;
        }
        let mut keys = self.current.iter().chain(&self.previous);
        let Some(key) = keys.find(|key| key.id == *id) else { return false };
        tag(&key.key, asked, stamp).ct_eq(given).into()
    }
}

/// On the responder's own clock; nobody else reads it.
fn seconds(now: Instant) -> u32 {
    (now.as_nanos() / 1_000_000_000) as u32
}

fn tag(key: &hmac::Key, asked: &Asked, stamp: u32) -> [u8; TAG] {
    let ip = match asked.from.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let mut context = hmac::Context::with_key(key);
    context.update(PREFIX);
    context.update(&ip.octets());
    context.update(&asked.from.port().to_le_bytes());
    context.update(&asked.attempt.to_le_bytes());
    context.update(&asked.sender.to_le_bytes());
    context.update(&stamp.to_le_bytes());
    let full = context.sign();
    let mut tag = [0; TAG];
    tag.copy_from_slice(&full.as_ref()[..TAG]);
    tag
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::ORIGIN + Duration::from_secs(seconds)
    }

    fn asked() -> Asked {
        Asked { from: SocketAddr::from(([192, 0, 2, 1], 17_421)), attempt: 5, sender: 6 }
    }

    /// Rule S-7: a cookie counts for whom it was made, in its attempt, for ten seconds.
    #[test]
    fn a_cookie_is_bound_to_who_asked_and_lives_ten_seconds() {
        let mut cookies = Cookies::default();
        let cookie = cookies.issue(at(100), &asked(), || Ok([1; 32])).unwrap();
        assert!(cookies.holds(at(100), &asked(), &cookie));
        assert!(cookies.holds(at(110), &asked(), &cookie));
        assert!(!cookies.holds(at(111), &asked(), &cookie));
        assert!(!cookies.holds(at(99), &asked(), &cookie), "from the future");
        let others = [
            Asked { from: SocketAddr::from(([192, 0, 2, 1], 17_422)), ..asked() },
            Asked { from: SocketAddr::from(([192, 0, 2, 2], 17_421)), ..asked() },
            Asked { attempt: 9, ..asked() },
            Asked { sender: 9, ..asked() },
        ];
        assert!(others.iter().all(|other| !cookies.holds(at(100), other, &cookie)));
        for byte in 0..COOKIE {
            let mut changed = cookie;
            changed[byte] ^= 1;
            assert!(!cookies.holds(at(100), &asked(), &changed), "byte {byte}");
        }
        let mapped = "[::ffff:192.0.2.1]:17421".parse().unwrap();
        assert!(cookies.holds(at(100), &Asked { from: mapped, ..asked() }, &cookie));
    }

    /// Rule S-7: keys change after a minute; the one before still opens what it made.
    #[test]
    fn two_keys_are_valid_and_each_is_fresh() {
        let mut cookies = Cookies::default();
        let mut made = 0;
        let mut issue = |cookies: &mut Cookies, second| {
            let fresh = || {
                made += 1;
                Ok([made; 32])
            };
            cookies.issue(at(second), &asked(), fresh).unwrap()
        };
        let first = issue(&mut cookies, 100);
        let same = issue(&mut cookies, 159);
        assert_eq!((first[4], same[4]), (0, 0));
        let second = issue(&mut cookies, 160);
        assert_eq!(second[4], 1);
        assert!(cookies.holds(at(165), &asked(), &same), "made by the key before");
        assert!(cookies.holds(at(165), &asked(), &second));
        let third = issue(&mut cookies, 220);
        assert_eq!((third[4], made), (2, 3));
        assert!(cookies.current.is_some() && cookies.previous.is_some());
        let mut relabelled = third;
        relabelled[4] = 0;
        assert!(!cookies.holds(at(220), &asked(), &relabelled), "the first key is gone");
    }

    /// Rule S-7: an independent implementation of HMAC-SHA-256 gave this cookie.
    #[test]
    fn a_golden_cookie_holds() {
        let cookie = Cookies::default().issue(at(100), &asked(), || Ok([7; 32])).unwrap();
        let hex: String = cookie.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "6400000000000000213afcf90edec9261b4bf16ff8c4bdf965a5dc9c383dbd1c");
        assert_eq!(
            Cookies::default().issue(at(1), &asked(), || Err(NoEntropy)),
            Err(NoEntropy),
            "without randomness there is no cookie"
        );
    }
}

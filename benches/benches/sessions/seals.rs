//! Sealing and opening one datagram: through the links of two agents, by QUIC's packet protection,
//! and by the AEADs of both providers with nothing around them.

use std::sync::Arc;

use mesh_gossip::tls::credentials::Credentials;
use mesh_gossip::tls::provider::provider;
use mesh_gossip_benches::meeting::{End, meet, message};
use rustls::Side;
use rustls::quic::Version;

use super::now;
use super::slices::{Work, compare};

/// The last one fills a datagram of 1,200 bytes.
const SIZES: [usize; 3] = [64, 256, 1_168];
const HEADER: [u8; 16] = [7; 16];
const TAG: usize = 16;
/// A session seals 2^23 datagrams; a bench begins anew long before.
const MOST: u32 = 1 << 21;

pub(crate) fn run(pair: &[Arc<Credentials>; 2], rounds: usize) {
    for size in SIZES {
        println!("seal and open {size} bytes, ns");
        compare(
            rounds,
            vec![
                ("mesh-gossip links, AES-128-GCM", links(pair, size)),
                ("rustls quic keys (quinn-proto's)", quic(size)),
                ("ring, AES-128-GCM", ring(&ring::aead::AES_128_GCM, size)),
                ("ring, ChaCha20-Poly1305", ring(&ring::aead::CHACHA20_POLY1305, size)),
                ("aws-lc-rs, AES-128-GCM", aws(&aws_lc_rs::aead::AES_128_GCM, size)),
                ("aws-lc-rs, ChaCha20-Poly1305", aws(&aws_lc_rs::aead::CHACHA20_POLY1305, size)),
            ],
        );
    }
}

/// Lookup, trust, recency, replay window: everything but the socket.
fn links(pair: &[Arc<Credentials>; 2], size: usize) -> Work<'static> {
    let pair = pair.clone();
    let payload = message(size);
    let mut ends: Option<[End; 2]> = None;
    let (mut sealed, mut sealed_so_far) = (Vec::new(), 0);
    Box::new(move |times| {
        if ends.is_none() || sealed_so_far > MOST {
            let mut fresh = [End::new(pair[0].clone(), 1), End::new(pair[1].clone(), 2)];
            let [a, b] = &mut fresh;
            meet(now(), a, b, &payload);
            (ends, sealed_so_far) = (Some(fresh), 0);
        }
        sealed_so_far += times;
        let Some([a, b]) = &mut ends else { unreachable!("there are ends") };
        let (now, from) = (now(), a.address());
        for _ in 0..times {
            assert!(a.seal(now, b, &payload, &mut sealed).is_some());
            assert!(b.links.receive(now, from, &mut sealed).is_some());
        }
    })
}

/// Packet and header protection of QUIC version 1.
fn quic(size: usize) -> Work<'static> {
    let provider = provider();
    let suite = provider.cipher_suites[0].tls13().and_then(|suite| suite.quic_suite());
    let suite = suite.expect("AES-128-GCM protects QUIC");
    let keys = [Side::Client, Side::Server].map(|side| suite.keys(&[7; 8], side, Version::V1));
    let mut number = 0u64;
    // A short header: flags, an 8-byte connection id, a 4-byte packet number.
    let mut header = [0x43, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0];
    let payload = vec![7; size];
    let mut body = Vec::with_capacity(size + TAG);
    Box::new(move |times| {
        for _ in 0..times {
            number += 1;
            header[0] = 0x43;
            header[9..].copy_from_slice(&(number as u32).to_be_bytes());
            body.clear();
            body.extend_from_slice(&payload);
            let tag = keys[0].local.packet.encrypt_in_place(number, &header, &mut body);
            body.extend_from_slice(tag.expect("it seals").as_ref());
            let sample = keys[0].local.header.sample_len();
            let (first, rest) = header.split_at_mut(1);
            let protect = &keys[0].local.header;
            protect.encrypt_in_place(&body[..sample], &mut first[0], &mut rest[8..]).expect("ok");
            let unprotect = &keys[1].remote.header;
            unprotect.decrypt_in_place(&body[..sample], &mut first[0], &mut rest[8..]).expect("ok");
            let opened = keys[1].remote.packet.decrypt_in_place(number, &header, &mut body);
            assert_eq!(opened.expect("it opens").len(), size);
        }
    })
}

fn nonce(number: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&number.to_le_bytes());
    nonce
}

fn ring(algorithm: &'static ring::aead::Algorithm, size: usize) -> Work<'static> {
    use ring::aead::{Aad, LessSafeKey, Nonce, UnboundKey};
    let key = UnboundKey::new(algorithm, &[7; 32][..algorithm.key_len()]).expect("a key");
    let (key, payload) = (LessSafeKey::new(key), vec![7; size]);
    let (mut number, mut body) = (0, Vec::with_capacity(size + TAG));
    Box::new(move |times| {
        for _ in 0..times {
            number += 1;
            body.clear();
            body.extend_from_slice(&payload);
            let unique = || Nonce::assume_unique_for_key(nonce(number));
            let tag = key.seal_in_place_separate_tag(unique(), Aad::from(HEADER), &mut body);
            body.extend_from_slice(tag.expect("it seals").as_ref());
            let opened = key.open_in_place(unique(), Aad::from(HEADER), &mut body);
            assert_eq!(opened.expect("it opens").len(), size);
        }
    })
}

fn aws(algorithm: &'static aws_lc_rs::aead::Algorithm, size: usize) -> Work<'static> {
    use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce, UnboundKey};
    let key = UnboundKey::new(algorithm, &[7; 32][..algorithm.key_len()]).expect("a key");
    let (key, payload) = (LessSafeKey::new(key), vec![7; size]);
    let (mut number, mut body) = (0, Vec::with_capacity(size + TAG));
    Box::new(move |times| {
        for _ in 0..times {
            number += 1;
            body.clear();
            body.extend_from_slice(&payload);
            let unique = || Nonce::assume_unique_for_key(nonce(number));
            let tag = key.seal_in_place_separate_tag(unique(), Aad::from(HEADER), &mut body);
            body.extend_from_slice(tag.expect("it seals").as_ref());
            let opened = key.open_in_place(unique(), Aad::from(HEADER), &mut body);
            assert_eq!(opened.expect("it opens").len(), size);
        }
    })
}

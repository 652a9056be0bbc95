//! From a finished handshake to packet keys (rule S-2).
//!
//! Both sides export 64 bytes from TLS: 32 for each direction. The export's context covers who
//! speaks, in which cluster, under which indices and attempt, so that a changed unauthenticated
//! field gives the two sides different keys instead of a session that means two things.
//!
//! Invariant: a secret has one owner, which is no `Clone`, shows it to nobody, never moves it about
//! in memory and wipes it in the end. Keys are expanded from it whenever they are needed.

use super::proof::{PROOF, ProofKey, ProofKeys};
use mesh_gossip_proto::MemberId;
use mesh_gossip_proto::session::channel::Seal;
use mesh_gossip_proto::wire::header::TAG;
use ring::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::digest::{Context, SHA256};
use ring::hkdf::{HKDF_SHA256, KeyType, Prk};
use rustls::{CipherSuite, ConnectionCommon};
use zeroize::Zeroizing;

const EXPORTER_LABEL: &[u8] = b"EXPORTER-mesh-gossip-v1";
const SECRET: usize = 32;
const IV: usize = 12;

/// Everything that both sides must agree on, or their keys differ.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Binding<'a> {
    pub(crate) client: MemberId,
    pub(crate) server: MemberId,
    pub(crate) cluster_id: &'a str,
    pub(crate) client_index: u32,
    pub(crate) server_index: u32,
    pub(crate) attempt: u64,
}

/// The handshake did not give what keys are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyError {
    /// TLS negotiated a suite that was not offered.
    Suite,
    /// The exporter refused.
    Export,
}

/// One direction's key.
pub(crate) struct PacketKey {
    key: LessSafeKey,
    iv: Zeroizing<[u8; IV]>,
}

impl std::fmt::Debug for PacketKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PacketKey(redacted)")
    }
}

/// Both directions' keys, ready for use.
#[derive(Debug)]
pub(crate) struct PacketKeys {
    pub(crate) send: PacketKey,
    pub(crate) receive: PacketKey,
}

/// Which end of a handshake we were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

/// What a finished handshake exported: the client's direction, then the server's.
pub(crate) struct SessionKeys {
    exported: Zeroizing<Vec<u8>>,
    algorithm: &'static aead::Algorithm,
}

impl std::fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionKeys(redacted)")
    }
}

impl SessionKeys {
    /// Exports the secrets of a finished handshake.
    pub(crate) fn export<D>(
        tls: &ConnectionCommon<D>,
        binding: &Binding<'_>,
    ) -> Result<Self, KeyError> {
        let suite = tls.negotiated_cipher_suite().ok_or(KeyError::Suite)?.suite();
        let algorithm = algorithm(suite)?;
        let context = binding.context(suite, tls.alpn_protocol().unwrap_or_default());
        // On the heap: what moves is a pointer, and no copy stays behind.
        let exported = tls
            .export_keying_material(
                Zeroizing::new(vec![0; 2 * SECRET]),
                EXPORTER_LABEL,
                Some(context.as_ref()),
            )
            .map_err(|_| KeyError::Export)?;
        Ok(Self { exported, algorithm })
    }

    /// Made-up secrets.
    #[cfg(test)]
    pub(crate) fn of_bytes(bytes: [u8; 2 * SECRET]) -> Self {
        Self { exported: Zeroizing::new(bytes.to_vec()), algorithm: &aead::AES_128_GCM }
    }
}

/// What a session keeps of its keys while it is not used: 32 bytes a direction (rule S-4).
pub(crate) struct Secrets {
    /// Ours to send with, then ours to receive with.
    bytes: Zeroizing<[u8; 2 * SECRET]>,
    suite: Suite,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Suite {
    Aes128Gcm,
    ChaCha20Poly1305,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets(redacted)")
    }
}

impl Secrets {
    /// None yet: they are filled in where they will stay, because a move would leave a copy.
    pub(crate) fn vacant() -> Self {
        Self { bytes: Zeroizing::new([0; 2 * SECRET]), suite: Suite::Aes128Gcm }
    }

    /// Takes over what a handshake exported.
    pub(crate) fn fill(&mut self, keys: &SessionKeys, side: Side) {
        let (client, server) = keys.exported.split_at(SECRET);
        let (send, receive) = match side {
            Side::Client => (client, server),
            Side::Server => (server, client),
        };
        self.bytes[..SECRET].copy_from_slice(send);
        self.bytes[SECRET..].copy_from_slice(receive);
        self.suite = if *keys.algorithm == aead::AES_128_GCM {
            Suite::Aes128Gcm
        } else {
            Suite::ChaCha20Poly1305
        };
    }

    /// What possession of the session is proven with, which is the same each time (rule S-7).
    pub(crate) fn proofs(&self) -> ProofKeys {
        let (ours, theirs) = self.bytes.split_at(SECRET);
        match (proof_key(ours), proof_key(theirs)) {
            (Ok(ours), Ok(theirs)) => ProofKeys { ours, theirs },
            (Err(_), _) | (_, Err(_)) => unreachable!("a secret is long enough for a key"),
        }
    }

    /// The keys, which are the same each time.
    pub(crate) fn expand(&self) -> PacketKeys {
        let algorithm = match self.suite {
            Suite::Aes128Gcm => &aead::AES_128_GCM,
            Suite::ChaCha20Poly1305 => &aead::CHACHA20_POLY1305,
        };
        let (send, receive) = self.bytes.split_at(SECRET);
        match (PacketKey::expand(algorithm, send), PacketKey::expand(algorithm, receive)) {
            (Ok(send), Ok(receive)) => PacketKeys { send, receive },
            (Err(_), _) | (_, Err(_)) => {
                unreachable!("a secret is long enough for a key and an iv")
            }
        }
    }
}

fn algorithm(suite: CipherSuite) -> Result<&'static aead::Algorithm, KeyError> {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => Ok(&aead::AES_128_GCM),
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => Ok(&aead::CHACHA20_POLY1305),
        _ => Err(KeyError::Suite),
    }
}

impl Binding<'_> {
    fn context(&self, suite: CipherSuite, alpn: &[u8]) -> ring::digest::Digest {
        let mut hash = Context::new(&SHA256);
        let parts: [&[u8]; 8] = [
            &self.client.0,
            &self.server.0,
            self.cluster_id.as_bytes(),
            &self.client_index.to_le_bytes(),
            &self.server_index.to_le_bytes(),
            &self.attempt.to_le_bytes(),
            alpn,
            &u16::from(suite).to_le_bytes(),
        ];
        for part in parts {
            hash.update(&(part.len() as u32).to_le_bytes());
            hash.update(part);
        }
        hash.finish()
    }
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF-Expand-Label of RFC 8446 §7.1 with an empty context.
fn expand_label(secret: &Prk, label: &[u8], out: &mut [u8]) -> Result<(), KeyError> {
    let prefixed = [b"tls13 ", label].concat();
    let info: [&[u8]; 4] =
        [&(out.len() as u16).to_be_bytes(), &[prefixed.len() as u8], &prefixed, &[0]];
    let expanded = secret.expand(&info, Length(out.len())).map_err(|_| KeyError::Export)?;
    expanded.fill(out).map_err(|_| KeyError::Export)
}

fn proof_key(secret: &[u8]) -> Result<ProofKey, KeyError> {
    let mut key = Zeroizing::new([0; PROOF]);
    expand_label(&Prk::new_less_safe(HKDF_SHA256, secret), b"mesh proof", key.as_mut())?;
    Ok(ProofKey::new(key))
}

impl PacketKey {
    fn expand(algorithm: &'static aead::Algorithm, secret: &[u8]) -> Result<Self, KeyError> {
        let secret = Prk::new_less_safe(HKDF_SHA256, secret);
        let mut key = Zeroizing::new(vec![0; algorithm.key_len()]);
        expand_label(&secret, b"mesh key", &mut key)?;
        let mut iv = Zeroizing::new([0; IV]);
        expand_label(&secret, b"mesh iv", iv.as_mut())?;
        let key = UnboundKey::new(algorithm, &key).map_err(|_| KeyError::Export)?;
        Ok(Self { key: LessSafeKey::new(key), iv })
    }

    fn nonce(&self, packet_number: u64) -> Nonce {
        let mut nonce = *self.iv;
        for (byte, number) in nonce[4..].iter_mut().zip(packet_number.to_le_bytes()) {
            *byte ^= number;
        }
        Nonce::assume_unique_for_key(nonce)
    }
}

impl Seal for PacketKey {
    fn seal(&self, packet_number: u64, header: &[u8], body: &mut [u8]) -> [u8; TAG] {
        let nonce = self.nonce(packet_number);
        let sealed = self.key.seal_in_place_separate_tag(nonce, Aad::from(header), body);
        let mut bytes = [0; TAG];
        match sealed {
            Ok(tag) => bytes.copy_from_slice(tag.as_ref()),
            // The AEAD refuses only bodies of gigabytes.
            Err(_) => unreachable!("a datagram is short enough for the AEAD"),
        }
        bytes
    }

    fn open(&self, packet_number: u64, header: &[u8], body: &mut [u8]) -> bool {
        self.key.open_in_place(self.nonce(packet_number), Aad::from(header), body).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_gossip_proto::wire::header::DataHeader;
    use zerocopy::IntoBytes;

    fn binding(cluster_id: &str) -> Binding<'_> {
        Binding {
            client: MemberId([1; 16]),
            server: MemberId([2; 16]),
            cluster_id,
            client_index: 3,
            server_index: 4,
            attempt: 5,
        }
    }

    /// Rule S-2: every field of the binding changes the context.
    #[test]
    fn each_bound_field_changes_the_context() {
        let suite = CipherSuite::TLS13_AES_128_GCM_SHA256;
        let base = binding("c");
        let context = |binding: &Binding<'_>| binding.context(suite, b"a").as_ref().to_vec();
        let reference = context(&base);
        let variants = [
            Binding { client: MemberId([9; 16]), ..base },
            Binding { server: MemberId([9; 16]), ..base },
            Binding { client: base.server, server: base.client, ..base },
            binding("d"),
            Binding { client_index: 9, ..base },
            Binding { server_index: 9, ..base },
            Binding { attempt: 9, ..base },
        ];
        for variant in &variants {
            assert_ne!(context(variant), reference, "{variant:?}");
        }
        let other = CipherSuite::TLS13_CHACHA20_POLY1305_SHA256;
        assert_ne!(base.context(other, b"a").as_ref(), reference);
        assert_ne!(base.context(suite, b"b").as_ref(), reference);
    }

    /// Rule S-2: golden keys, computed by an independent HKDF-Expand-Label.
    #[test]
    fn key_and_iv_follow_the_tls_label_encoding() {
        let secret = Prk::new_less_safe(HKDF_SHA256, &[7; 32]);
        let mut key = [0; 16];
        expand_label(&secret, b"mesh key", &mut key).unwrap();
        let mut info = vec![0, 16, 14];
        info.extend_from_slice(b"tls13 mesh key\x00");
        let mut expected = info.clone();
        expected.push(1);
        let hmac = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &[7; 32]);
        assert_eq!(key, ring::hmac::sign(&hmac, &expected).as_ref()[..16]);
    }

    /// Rule S-2: the key of proofs has a label of its own; an independent implementation of HKDF
    /// and HMAC gave this proof.
    #[test]
    fn a_golden_proof_key_holds() {
        let proof = proof_key(&[7; 32]).unwrap().prove(&[1; 32], b"");
        let hex: String = proof.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "d6fa31c7c02b5f28c02bb5eaa31b888325271bb3dee14bed684a0d0be5b14230");
    }

    /// Rule S-2: sealed bytes for a known secret, number and header; an independent
    /// implementation of HKDF and both AEADs gave them.
    #[test]
    fn golden_datagrams_hold() {
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let golden = [
            (&aead::AES_128_GCM, "d5a395198c4ec7b640b024b53fb330139e719e8a62a28a"),
            (&aead::CHACHA20_POLY1305, "a1810542b7cbd94f4a5b5607b716676835bf12786c0345"),
        ];
        for (algorithm, expected) in golden {
            let key = PacketKey::expand(algorithm, &[7; 32]).unwrap();
            let header = DataHeader::new(0x0a0b_0c0d, 5);
            let mut body = vec![2, 4, 0, 1, 2, 3, 4];
            let tag = key.seal(5, header.as_bytes(), &mut body);
            assert_eq!(hex(&body) + &hex(&tag), expected);
        }
    }

    /// Rules S-4 and S-21: whoever holds a secret wipes it, and shows it to nobody.
    #[test]
    fn secrets_are_wiped_and_never_formatted() {
        fn wiped<T: zeroize::ZeroizeOnDrop>(_: &T) {}
        let keys = SessionKeys::of_bytes([7; 64]);
        let mut secrets = Secrets::vacant();
        secrets.fill(&keys, Side::Server);
        wiped(&keys.exported);
        wiped(&secrets.bytes);
        let shown = format!("{keys:?} {secrets:?} {:?}", secrets.expand());
        let redacted = "PacketKeys { send: PacketKey(redacted), receive: PacketKey(redacted) }";
        assert_eq!(shown, format!("SessionKeys(redacted) Secrets(redacted) {redacted}"));
    }

    /// The ends mirror each other, and keys expanded anew are the same.
    #[test]
    fn keys_are_the_same_each_time_they_are_expanded() {
        let mut exported = [1; 64];
        exported[32..].fill(2);
        let keys = SessionKeys::of_bytes(exported);
        let (mut client, mut server) = (Secrets::vacant(), Secrets::vacant());
        client.fill(&keys, Side::Client);
        server.fill(&keys, Side::Server);
        for number in 0..3 {
            let mut body = b"payload".to_vec();
            let tag = client.expand().send.seal(number, b"header", &mut body);
            body.extend_from_slice(&tag);
            assert!(!server.expand().send.open(number, b"header", &mut body.clone()));
            assert!(server.expand().receive.open(number, b"header", &mut body));
        }
    }

    #[test]
    fn a_key_opens_what_it_sealed_under_the_same_number_only() {
        for algorithm in [&aead::AES_128_GCM, &aead::CHACHA20_POLY1305] {
            let key = PacketKey::expand(algorithm, &[1; 32]).unwrap();
            let mut body = b"payload".to_vec();
            let tag = key.seal(7, b"header", &mut body);
            assert_ne!(body, b"payload");
            body.extend_from_slice(&tag);
            assert!(!key.open(8, b"header", &mut body.clone()));
            assert!(!key.open(7, b"Header", &mut body.clone()));
            assert!(key.open(7, b"header", &mut body));
            assert_eq!(&body[..7], b"payload");
        }
        assert_eq!(
            format!("{:?}", PacketKey::expand(&aead::AES_128_GCM, &[1; 32]).unwrap()),
            "PacketKey(redacted)"
        );
    }
}

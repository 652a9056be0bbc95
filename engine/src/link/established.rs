//! What a finished TLS handshake yields: who the peer is and keys for both directions.

use std::io::Read;

use mesh_gossip_proto::session::stream::{Receiver, Sender};
use mesh_gossip_proto::{Duration, MemberId};
use rustls::ConnectionCommon;

use super::failure::Failure;
use super::stats::TlsSummary;
use crate::tls::alpn;
use crate::tls::authority::MeshAuthority;
use crate::tls::keys::{Binding, SessionKeys};

pub(super) use crate::tls::keys::Side;
use crate::tls::standing::Standing;
use crate::tls::verifier::Usage;

/// No session lasts as long; what is left of a certificate beyond it does not matter.
const MOST_LEFT: Duration = Duration::from_secs(365 * 86_400);

/// A TLS connection whose bytes travel in datagrams.
pub(super) struct Tunnel {
    pub(super) out: Sender,
    pub(super) input: Receiver,
    ready: Vec<u8>,
}

impl Tunnel {
    pub(super) fn new() -> Self {
        Self { out: Sender::default(), input: Receiver::default(), ready: Vec::new() }
    }

    /// Feeds one fragment; says whether it brought anything new, in order or ahead of it.
    pub(super) fn feed<D>(
        &mut self,
        tls: &mut ConnectionCommon<D>,
        offset: u16,
        ack: u16,
        fragment: &[u8],
    ) -> Result<bool, Failure> {
        self.out.acknowledge(ack);
        let news =
            self.input.take(offset, fragment, &mut self.ready).map_err(|_| Failure::Stream)?;
        let mut unread = self.ready.as_slice();
        while !unread.is_empty() {
            let taken = tls.read_tls(&mut unread.by_ref()).map_err(|_| Failure::Stream)?;
            if taken == 0 {
                return Err(Failure::Stream);
            }
            tls.process_new_packets().map_err(|error| Failure::from(&error))?;
        }
        self.ready.clear();
        self.pull(tls)?;
        Ok(news)
    }

    /// Takes what TLS wants to send.
    pub(super) fn pull<D>(&mut self, tls: &mut ConnectionCommon<D>) -> Result<(), Failure> {
        let mut bytes = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut bytes).map_err(|_| Failure::Stream)?;
        }
        if self.out.push(&bytes) { Ok(()) } else { Err(Failure::Stream) }
    }
}

/// What every handshake of ours says about us.
#[derive(Clone, Copy)]
pub(super) struct Us<'a> {
    pub(super) local: MemberId,
    pub(super) cluster_id: &'a str,
    pub(super) authority: &'a MeshAuthority,
}

/// The part of the key binding that both sides know from the datagrams.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt<'a> {
    pub(super) side: Side,
    pub(super) local: MemberId,
    pub(super) cluster_id: &'a str,
    pub(super) local_index: u32,
    pub(super) peer_index: u32,
    pub(super) attempt: u64,
}

/// A mutually authenticated peer.
#[derive(Debug)]
pub(super) struct Established {
    pub(super) peer: MemberId,
    pub(super) keys: SessionKeys,
    pub(super) tls: TlsSummary,
    /// What its certificate rests on.
    pub(super) standing: Standing,
    /// How long the first certificate of its chain still lasts.
    pub(super) left: Duration,
}

impl Established {
    /// Reads identity, protocol and keys off a finished handshake.
    pub(super) fn of<D>(
        tls: &ConnectionCommon<D>,
        attempt: &Attempt<'_>,
        authority: &MeshAuthority,
    ) -> Result<Self, Failure> {
        // rustls accepts a peer that offers no protocol at all (rule S-1).
        if !alpn::ok(tls.alpn_protocol(), alpn::GOSSIP) {
            return Err(Failure::Alpn);
        }
        let chain = tls.peer_certificates().unwrap_or_default();
        let credentials = authority.credentials();
        let now = credentials.now().ok_or(Failure::Tls("clock"))?;
        let usage = match attempt.side {
            Side::Client => Usage::Server,
            Side::Server => Usage::Client,
        };
        // Trust may have changed since the certificate arrived (rule S-16).
        let verified = credentials
            .verifier()
            .confirm_peer(chain, usage, now)
            .map_err(|error| Failure::Tls(error.reason()))?;
        let peer = verified.identity.member_id();
        authority.learn(chain);
        let (client, server, client_index, server_index) = match attempt.side {
            Side::Client => (attempt.local, peer, attempt.local_index, attempt.peer_index),
            Side::Server => (peer, attempt.local, attempt.peer_index, attempt.local_index),
        };
        let keys = SessionKeys::export(
            tls,
            &Binding {
                client,
                server,
                cluster_id: attempt.cluster_id,
                client_index,
                server_index,
                attempt: attempt.attempt,
            },
        )?;
        let version = tls.protocol_version().and_then(|version| version.as_str());
        let suite = tls.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str());
        let tls = TlsSummary {
            version: if version == Some("TLSv1_3") { "TLSv1.3" } else { "unknown" },
            suite: suite.unwrap_or("unknown"),
        };
        let left = verified.not_after.as_secs().saturating_sub(now.as_secs());
        let left = Duration::from_secs(left.min(MOST_LEFT.as_secs()));
        Ok(Self { peer, keys, tls, standing: verified.standing.clone(), left })
    }
}

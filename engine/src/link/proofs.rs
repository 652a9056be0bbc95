//! What an INIT shows before any TLS: nothing, a cookie, or a proof (rule S-7).
//!
//! A client that has a live session with the peer proves it in its first INIT; one that was sent a
//! RETRY shows the cookie. A token that does not hold is worth nothing and costs nothing: a peer
//! that was restarted knows neither our session nor its own old cookies, and must still answer.

use std::net::SocketAddr;

use mesh_gossip_proto::Instant;
use mesh_gossip_proto::wire::header::{FLAG_COOKIE, FLAG_PROOF, HandshakeHeader, RETRY};
use zerocopy::IntoBytes;

use super::admission::{Claim, Verdict};
use super::cookies::{Asked, COOKIE};
use super::session::Session;
use super::targets::Target;
use super::{Entry, Handshake, Links, decode_reason};
use crate::entropy;
use crate::tls::proof::{COVERED, ProofKey};

/// What a client shows until the server has let it a place.
#[derive(Debug, Default)]
pub(super) enum Ticket {
    #[default]
    Nothing,
    Cookie([u8; COOKIE]),
    /// The session that the peer calls `receiver` is ours too.
    Proof {
        receiver: u32,
        key: ProofKey,
    },
}

impl Ticket {
    /// Marks the header of a datagram that carries `fragment`.
    pub(super) fn stamp(&self, header: &mut HandshakeHeader, fragment: &[u8]) {
        match self {
            Self::Nothing => {}
            Self::Cookie(cookie) => {
                header.flags = FLAG_COOKIE;
                header.token = *cookie;
            }
            Self::Proof { receiver, key } => {
                header.flags = FLAG_PROOF;
                header.receiver = (*receiver).into();
                header.token = key.prove(&covered(header), fragment);
            }
        }
    }
}

fn covered(header: &HandshakeHeader) -> [u8; COVERED] {
    let mut bytes = [0; COVERED];
    bytes.copy_from_slice(&header.as_bytes()[..COVERED]);
    bytes
}

/// Whether the header names a place that the server has let: nothing is shown any more.
pub(super) fn names_a_place(header: &HandshakeHeader) -> bool {
    header.receiver.get() != 0 && header.flags & FLAG_PROOF == 0
}

impl Links {
    /// What a dial of `target` at `path` can show: the session that it is to succeed, if any.
    pub(super) fn ticket_for(&self, target: Target, path: SocketAddr) -> Ticket {
        let index = match target {
            Target::Member(id) => self.members.get(&id).and_then(|order| order.first()),
            Target::Address(_) => self.paths.get(&path),
        };
        match index.and_then(|index| self.slots.get(*index)) {
            Some(Entry::Open(session)) => {
                Ticket::Proof { receiver: session.channel.peer_index(), key: session.proofs().ours }
            }
            Some(Entry::Dialing(_) | Entry::Answering(_)) | None => Ticket::Nothing,
        }
    }

    /// Decides about the first INIT of an attempt. `Ok` names the place to vacate before it is
    /// answered.
    pub(super) fn admit(
        &mut self,
        now: Instant,
        from: SocketAddr,
        parts: &Handshake<'_>,
    ) -> Result<(Claim, Option<u32>), &'static str> {
        let claim = self.claim(now, from, parts)?;
        let verdict = self.admission.judge(now, from, claim, self.half_open);
        match verdict {
            Verdict::Answer { displaced } => Ok((claim, displaced)),
            Verdict::Retry => Err(self.send_retry(now, from, &parts.header)),
            Verdict::Drop(reason) => Err(reason),
        }
    }

    fn claim(
        &mut self,
        now: Instant,
        from: SocketAddr,
        parts: &Handshake<'_>,
    ) -> Result<Claim, &'static str> {
        let header = &parts.header;
        let named = header.receiver.get();
        match header.flags {
            FLAG_PROOF if named == 0 => Err("token"),
            FLAG_PROOF => {
                let upheld = self.upheld(now, named);
                let holds = |session: &Session| {
                    // Bound to the path, or a recorded one would be good everywhere; looked at
                    // before a key is derived, which is in nobody's budget.
                    session.path == from
                        && session.confirmed().is_some()
                        && session.proofs().theirs.holds(
                            &covered(header),
                            parts.fragment,
                            &header.token,
                        )
                };
                let peer = match self.slots.get(named) {
                    Some(Entry::Open(session)) if upheld && holds(session) => session.peer,
                    Some(_) | None => return Ok(self.worthless("proof")),
                };
                if !self.admission.admits(now, peer) {
                    return Ok(self.worthless("member-pace"));
                }
                self.stats.proofs += 1;
                Ok(Claim::Proven)
            }
            FLAG_COOKIE => {
                let asked = asked(from, header);
                if !self.admission.cookies.holds(now, &asked, &header.token) {
                    return Ok(self.worthless("cookie"));
                }
                self.stats.cookies += 1;
                let session = self.paths.get(&from).and_then(|index| self.slots.get(*index));
                let neighbour = match session {
                    Some(Entry::Open(session)) => self.admission.admits(now, session.peer),
                    Some(Entry::Dialing(_) | Entry::Answering(_)) | None => false,
                };
                Ok(if neighbour { Claim::Neighbour } else { Claim::Reachable })
            }
            _ => Ok(Claim::Stranger),
        }
    }

    fn worthless(&mut self, token: &'static str) -> Claim {
        *self.stats.worthless_tokens.entry(token).or_default() += 1;
        Claim::Stranger
    }

    /// Sends a cookie and keeps nothing; returns what the INIT is counted under.
    fn send_retry(
        &mut self,
        now: Instant,
        from: SocketAddr,
        header: &HandshakeHeader,
    ) -> &'static str {
        let cookie = self.admission.cookies.issue(now, &asked(from, header), entropy::key);
        let Ok(cookie) = cookie else { return "entropy" };
        let retry = HandshakeHeader::retry(header, cookie);
        self.push(from, retry.as_bytes().to_vec());
        self.stats.retries_out += 1;
        "cookie-asked"
    }

    /// The server asks for a cookie: shown once, at once.
    pub(super) fn receive_retry(&mut self, now: Instant, from: SocketAddr, datagram: &mut [u8]) {
        let header = match Handshake::split(datagram) {
            Ok(parts) => parts.header,
            Err(error) => return self.count_drop(decode_reason(error)),
        };
        let index = header.receiver.get();
        let taken = match self.slots.get_mut(index) {
            Some(Entry::Dialing(dial)) => {
                dial.path == from
                    && dial.attempt == header.attempt.get()
                    && header.kind == RETRY
                    && header.flags == FLAG_COOKIE
                    && dial.asked_for_cookie(header.token)
            }
            Some(Entry::Answering(_) | Entry::Open(_)) | None => false,
        };
        if taken {
            self.stats.retries_in += 1;
            self.send_dial_flight(now, index);
        } else {
            self.count_drop("retry");
        }
    }
}

fn asked(from: SocketAddr, header: &HandshakeHeader) -> Asked {
    Asked { from, attempt: header.attempt.get(), sender: header.sender.get() }
}

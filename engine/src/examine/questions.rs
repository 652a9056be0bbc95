//! What a member says over a stream about us, our datagrams and others.
//!
//! A stream takes another way than a datagram, so that it can tell what became of one; and a third
//! member sees what we do not.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mesh_gossip_proto::membership::record::{SignedRecord, peek};
use mesh_gossip_proto::sync::snapshot::Entries;
use mesh_gossip_proto::{MemberId, State};

use super::streams::{Line, TlsTrouble};
use crate::control::frames::Frame;
use crate::tls::authority::{Intermediates, MeshAuthority};
use crate::tls::credentials::Credentials;

/// A state of so many bytes is read, some 30,000 members; who asks about one member needs no more.
const MOST_BYTES: usize = 32 * 1_024 * 1_024;
/// As a metadata document's own limit at most is.
const METADATA_BYTES: usize = 65_535;

/// What a member holds of another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Whom.
    pub id: MemberId,
    /// Its state there.
    pub state: State,
    /// For how long.
    pub since: Duration,
    /// Its name and addresses, where its record could be verified here.
    pub record: Option<(String, Vec<SocketAddr>)>,
}

/// How many of these datagrams the member at `address` says came there; `sent` as
/// [`Echo`](super::Echo) has it.
///
/// # Errors
/// [`TlsTrouble`], also where that member does not know the question.
pub fn heard(
    credentials: &Credentials,
    address: SocketAddr,
    sent: &[u64],
    patience: Duration,
) -> Result<usize, TlsTrouble> {
    let mut line = Line::open(credentials, address, patience)?;
    line.ask(&Frame::Heard(sent.to_vec()).encode(), |bytes| match next(bytes)? {
        Some((Frame::Heard(came), _)) => Ok(Some(came.len())),
        Some(_) => Err(nonsense()),
        None => Ok(None),
    })
}

/// What the member at `address` holds of these members; of all, when none is named.
///
/// # Errors
/// [`TlsTrouble`].
pub fn held(
    credentials: &Arc<Credentials>,
    address: SocketAddr,
    members: &[MemberId],
    patience: Duration,
) -> Result<Vec<Held>, TlsTrouble> {
    let mut question = Frame::Request(members.to_vec()).encode();
    if members.is_empty() {
        // Whole states go both ways; ours is empty.
        question.extend(Frame::End.encode());
    }
    let authority = MeshAuthority::new(Arc::clone(credentials), Arc::new(Intermediates::default()));
    let (mut found, mut done) = (Vec::new(), 0);
    let mut line = Line::open(credentials, address, patience)?;
    line.ask(&question, |bytes| {
        if bytes.len() > MOST_BYTES {
            return Err(nonsense());
        }
        while let Some((frame, length)) = next(&bytes[done..])? {
            done += length;
            match frame {
                Frame::Entries(entries) => found.extend(held_of(&entries, credentials, &authority)),
                Frame::End => return Ok(Some(())),
                Frame::Request(_)
                | Frame::Lists(_)
                | Frame::List(_)
                | Frame::Bytes(_)
                | Frame::Heard(_) => return Err(nonsense()),
            }
        }
        Ok(None)
    })?;
    Ok(found)
}

fn held_of(entries: &[u8], credentials: &Credentials, authority: &MeshAuthority) -> Vec<Held> {
    let cluster = &credentials.identity().cluster;
    let entries = Entries::new(entries).filter_map(Result::ok);
    let told = entries.filter_map(|entry| {
        let (id, ..) = peek(entry.envelope).ok()?;
        let record = SignedRecord::verify(entry.envelope, cluster, METADATA_BYTES, authority).ok();
        let record = record.map(|signed| {
            let record = signed.record();
            (record.metadata.node_id.clone(), record.addresses.clone())
        });
        let since = Duration::from_millis(entry.age_ms.into());
        Some(Held { id, state: entry.state, since, record })
    });
    told.collect()
}

fn next(bytes: &[u8]) -> Result<Option<(Frame, usize)>, TlsTrouble> {
    Frame::of_bytes(bytes).transpose().map_err(|_| nonsense())
}

fn nonsense() -> TlsTrouble {
    TlsTrouble::Broken(io::ErrorKind::InvalidData.into())
}

//! The door for other machines: mutual TLS, and rights by role (rule S-20).
//!
//! A gatehouse: whoever comes shows a passport of the mesh before a word is said, several are
//! looked at beside each other so that nobody who dawdles holds up the rest, and who is inside
//! leaves when the passport ends.
//!
//! Invariants: nothing of HTTP is read from somebody whose certificate does not count; strangers
//! hold no place of those who were let in, and none of their own for longer than a handshake takes.

use std::collections::VecDeque;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::guard::Caller;
use super::listener::{Admitted, Door, Standing};
use crate::control::Site;
use crate::control::agents::listen;
use crate::network::Network;
use crate::options::{ControlTls, Material};
use crate::shared::Shared;
use crate::tls::credentials::{Credentials, CredentialsError, Fault, Pair, TRUST_DOMAIN};
use crate::tls::material::{Stamp, stamps};
use crate::tls::verifier::Verified;

/// Until somebody has proved who it is, and has a place.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Strangers who do so at a time, and of one network: whoever comes beyond takes the place of the
/// one that has been at it longest, so that nobody who dawdles keeps an operator out.
const MOST_HANDSHAKES: usize = 32;
const OF_ONE_NETWORK: usize = MOST_HANDSHAKES / 2;
/// A certificate's end is looked at so often at least: the clock may be set.
const LOOK: Duration = Duration::from_secs(60);

/// Where HTTP is served over TCP.
pub(crate) struct HttpPort {
    pub(crate) listener: TcpListener,
    /// How it is kept; `None`: loopback only, and only to read.
    pub(crate) gate: Option<Arc<Gate>>,
}

/// What the control server shows, and whose word it takes about others.
pub(crate) struct Gate {
    shared: Arc<Shared>,
    apart: Option<Apart>,
}

/// A certificate of the control server's own.
struct Apart {
    certificate: Material,
    key: Option<Material>,
    credentials: ArcSwap<Credentials>,
}

impl Gate {
    /// Reads what is to be shown and judges it as the node's own certificate is judged.
    ///
    /// # Errors
    /// [`CredentialsError`] names the setting, the file and the fix.
    pub(crate) fn new(options: &ControlTls, shared: Arc<Shared>) -> Result<Self, CredentialsError> {
        let apart = match options {
            ControlTls::OfTheNode => None,
            ControlTls::Apart { certificate, key } => {
                let pair = Pair::load_control(certificate, key.as_ref())?;
                let credentials = ArcSwap::from_pointee(beside(&shared, pair)?);
                Some(Apart { certificate: certificate.clone(), key: key.clone(), credentials })
            }
        };
        Ok(Self { shared, apart })
    }

    /// What a connection that begins at present is shown; it is judged by the trust of the mesh.
    fn credentials(&self) -> Arc<Credentials> {
        match &self.apart {
            None => self.shared.credentials.load_full(),
            Some(apart) => apart.credentials.load_full(),
        }
    }

    /// What tells that a file of the control server's own was changed.
    pub(crate) fn stamps(&self) -> Vec<Stamp> {
        let of = |apart: &Apart| {
            [Some(&apart.certificate), apart.key.as_ref()]
                .into_iter()
                .flatten()
                .flat_map(stamps)
                .collect()
        };
        self.apart.as_ref().map(of).unwrap_or_default()
    }

    /// Whether the control server's own certificate can be read at all. Blocks.
    ///
    /// # Errors
    /// As for [`Gate::new`].
    pub(crate) fn weigh(&self) -> Result<(), CredentialsError> {
        let Some(apart) = &self.apart else { return Ok(()) };
        Pair::load_control(&apart.certificate, apart.key.as_ref()).map(drop)
    }

    /// Reads the control server's own certificate again, for connections from here on; returns
    /// whether it is another one. What does not hold changes nothing. Blocks.
    ///
    /// # Errors
    /// As for [`Gate::new`].
    pub(crate) fn renew(&self) -> Result<bool, CredentialsError> {
        let Some(apart) = &self.apart else { return Ok(false) };
        let pair = Pair::load_control(&apart.certificate, apart.key.as_ref())?;
        if apart.credentials.load().shows(&pair) {
            return Ok(false);
        }
        apart.credentials.store(Arc::new(beside(&self.shared, pair)?));
        Ok(true)
    }
}

/// Another certificate of the same node, under the same trust.
fn beside(shared: &Shared, pair: Pair) -> Result<Credentials, CredentialsError> {
    let own = shared.credentials.load_full();
    let no_clock = CredentialsError { key: TRUST_DOMAIN, path: None, fault: Fault::NoClock };
    let now = own.now().ok_or(no_clock)?;
    let verified = pair.judge(own.identity(), own.verifier(), now)?;
    Credentials::over(Arc::clone(own.verifier()), Arc::clone(own.clock()), pair, verified)
}

/// The listening side of a gate.
pub(super) struct TlsDoor {
    listener: tokio::net::TcpListener,
    gate: Arc<Gate>,
    site: Arc<dyn Site>,
    handshakes: JoinSet<Result<Admitted, &'static str>>,
    /// The same, the oldest first, and where they come from.
    strangers: VecDeque<(Network, AbortHandle)>,
}

impl Door {
    /// A listener for whoever has a certificate, on this runtime.
    pub(super) fn tls(
        listener: TcpListener,
        gate: Arc<Gate>,
        site: Arc<dyn Site>,
    ) -> io::Result<Self> {
        let listener = listen(listener)?;
        Ok(Self::Tls(TlsDoor {
            listener,
            gate,
            site,
            handshakes: JoinSet::new(),
            strangers: VecDeque::new(),
        }))
    }
}

impl TlsDoor {
    /// The next one who proved who it is.
    pub(super) async fn admit(&mut self, places: &Arc<Semaphore>) -> io::Result<Admitted> {
        loop {
            tokio::select! {
                Some(ended) = self.handshakes.join_next() => match ended {
                    Ok(Ok(admitted)) => return Ok(admitted),
                    Ok(Err(why)) => self.site.metrics().control_dropped(why),
                    Err(ended) if ended.is_cancelled() => {
                        self.site.metrics().control_dropped("crowded");
                    }
                    // A panic was told by its own hook, and its connection is closed.
                    Err(_) => {}
                },
                accepted = self.listener.accept() => {
                    let (stream, from) = accepted?;
                    let network = Network::of(from);
                    self.make_room(network);
                    let node_id = self.site.node_id().to_owned();
                    let (credentials, places) = (self.gate.credentials(), Arc::clone(places));
                    let handshake = meet(credentials, stream, places, node_id);
                    self.strangers.push_back((network, self.handshakes.spawn(handshake)));
                }
            }
        }
    }
}

impl TlsDoor {
    fn make_room(&mut self, network: Network) {
        self.strangers.retain(|(_, handshake)| !handshake.is_finished());
        let is_of_it = |(of, _): &(Network, AbortHandle)| *of == network;
        let crowded = self.strangers.iter().filter(|stranger| is_of_it(stranger)).count();
        let oldest = if crowded >= OF_ONE_NETWORK {
            self.strangers.iter().position(is_of_it)
        } else {
            (self.strangers.len() >= MOST_HANDSHAKES).then_some(0)
        };
        if let Some((_, handshake)) = oldest.and_then(|oldest| self.strangers.remove(oldest)) {
            handshake.abort();
        }
    }
}

/// Lets one in, or says in a word why not.
async fn meet(
    credentials: Arc<Credentials>,
    stream: TcpStream,
    places: Arc<Semaphore>,
    node_id: String,
) -> Result<Admitted, &'static str> {
    let refused = |why: &dyn std::fmt::Display| {
        tracing::debug!(target: "mesh_gossip", NodeId = node_id, Reason = %why, "control client refused");
        "handshake"
    };
    stream.set_nodelay(true).map_err(|error| refused(&error))?;
    let acceptor = TlsAcceptor::from(Arc::clone(credentials.control_server()));
    let stream = timeout(HANDSHAKE, acceptor.accept(stream))
        .await
        .map_err(|_| refused(&"the handshake took too long"))?
        .map_err(|error| refused(&error))?;
    // Subscribed first: what changes while the chain is judged is seen.
    let changes = credentials.verifier().trust().watch();
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let now = credentials.now().ok_or_else(|| refused(&"this machine has no clock"))?;
    let verified = credentials.verifier().verify_caller(chain, now);
    let verified = verified.map_err(|error| refused(&error))?;
    let caller = match verified.identity.require_operator() {
        Ok(()) => Caller::Operator(verified.identity.name().into()),
        Err(_) => Caller::Member,
    };
    let place = timeout(HANDSHAKE, places.acquire_owned()).await;
    let place = place.ok().and_then(Result::ok).ok_or("crowded")?;
    let standing = Standing::Until(Box::pin(fallen(credentials, verified, changes)));
    Ok(Admitted { stream: Box::new(stream), caller, standing, place })
}

/// Ends when this certificate counts no longer: it was revoked, its root or pin was dropped, or its
/// time is over (rule S-16).
async fn fallen(
    credentials: Arc<Credentials>,
    verified: Verified,
    mut changes: watch::Receiver<u64>,
) {
    let stands = || {
        let now = credentials.now()?;
        let trust = credentials.verifier().trust().load();
        trust.upholds(&verified.standing, now).ok()?;
        Some(Duration::from_secs(verified.not_after.as_secs().saturating_sub(now.as_secs()) + 1))
    };
    while let Some(left) = stands() {
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = sleep(left.min(LOOK)) => {}
        }
    }
}

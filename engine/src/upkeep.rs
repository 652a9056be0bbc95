//! Certificates and trust of one agent, kept up to date while it runs (rules S-15 and S-16).
//!
//! Whatever the occasion, a changed file, a signal, bytes from the host, it goes one way: read
//! everything, judge it as peers will, and only then put it in force: trust first, so that a
//! certificate of a new CA meets peers that know it, then our own certificate, then the shard is
//! told and answers. What does not hold changes nothing.
//!
//! Invariants: changes take turns from reading to the shard's answer; success means that the
//! shard acts on it; a certificate in force was judged by the trust in force.

use std::fmt;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::thread;
use std::time::Duration;
#[cfg(feature = "bootstrap")]
use std::time::SystemTime;

use mesh_gossip_proto::{CommandError, Incarnation, MemberId, WallTime};
use rustls_pki_types::UnixTime;

use crate::clock::Clock;
use crate::control::Gate;
use crate::error::AgentError;
use crate::options::TlsOptions;
use crate::orders::{AgentId, Order, Refused, Renewal, ShardHandle};
use crate::shared::Shared;
use crate::state::StateDirectory;
use crate::tls::authority::{MeshAuthority, RevokedSteps};
use crate::tls::credentials::{
    Credentials, CredentialsError, Fault, IDENTITY_RULE, Pair, TRUST_DOMAIN, expected_identity,
    load_trust,
};
use crate::tls::material::{Stamp, split_lists, stamps};
use crate::tls::revocation::{ListError, Taken};
use crate::tls::trust::Trust;
use crate::tls::verifier::{MeshVerifier, TrustError, Usage};

/// A shard answers within milliseconds; one that takes this long is in trouble.
const PATIENCE: Duration = Duration::from_secs(5);
/// Looks at the view for members whose signer is revoked: the second finds what came in between.
const MOST_SWEEPS: usize = 8;

/// What is to be taken into force.
pub(crate) enum Change<'a> {
    /// Whatever the files hold now.
    Again,
    /// These options in place of those before.
    Options(Box<TlsOptions>),
    /// Further revocation lists, PEM or DER.
    Lists(&'a [u8]),
}

/// What a change came to.
#[derive(Debug, Default)]
pub struct Renewed {
    /// Our own certificate is another one.
    pub certificate: bool,
    /// Anchors, thumbprints or revocation lists are others.
    pub trust: bool,
    /// So many members left our view because their certificate is revoked.
    pub revoked: usize,
    /// A revocation list was offered that is older than the one in force, which stays.
    pub outdated: bool,
    /// A new certificate of ours that peers would refuse; the one before stays, and new trust is
    /// in force all the same.
    pub refused: Option<CredentialsError>,
}

/// Nothing has changed.
#[derive(Debug)]
pub enum RenewError {
    /// What was read does not hold.
    Credentials(Box<CredentialsError>),
    /// A revocation list does not count.
    List(ListError),
    /// It is in force, but the shard has not acted on it yet.
    Agent(AgentError),
}

impl fmt::Display for RenewError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credentials(error) => error.fmt(f),
            Self::List(error) => write!(f, "a revocation list does not count: {error}"),
            Self::Agent(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RenewError {}

impl From<CredentialsError> for RenewError {
    fn from(error: CredentialsError) -> Self {
        Self::Credentials(Box::new(error))
    }
}

impl From<AgentError> for RenewError {
    fn from(error: AgentError) -> Self {
        Self::Agent(error)
    }
}

/// Keeps one agent's certificates and trust.
pub(crate) struct Keeper {
    agent: AgentId,
    shard: ShardHandle,
    shared: Arc<Shared>,
    state: Option<Arc<StateDirectory>>,
    clock: Clock,
    /// What the control server shows, where that is a certificate of its own.
    gate: Option<Arc<Gate>>,
    held: Mutex<Held>,
}

/// What changes with the certificates.
pub(crate) struct Held {
    pub(crate) options: TlsOptions,
    pub(crate) authority: Arc<MeshAuthority>,
}

impl Keeper {
    pub(crate) fn new(
        agent: AgentId,
        shard: ShardHandle,
        shared: Arc<Shared>,
        held: Held,
        state: Option<Arc<StateDirectory>>,
        clock: Clock,
    ) -> Self {
        Self { agent, shard, shared, state, clock, gate: None, held: Mutex::new(held) }
    }

    /// Keeps what the control server shows as well.
    pub(crate) fn with_gate(self, gate: Option<Arc<Gate>>) -> Self {
        Self { gate, ..self }
    }

    /// What the agent is certified by at present. Waits for a change that is under way.
    #[cfg(feature = "bootstrap")]
    pub(crate) fn options(&self) -> TlsOptions {
        self.held().options.clone()
    }

    /// Begin and end of our certificate.
    #[cfg(feature = "bootstrap")]
    pub(crate) fn lifetime(&self) -> (SystemTime, SystemTime) {
        let credentials = self.shared.credentials.load();
        let at = |time: UnixTime| SystemTime::UNIX_EPOCH + Duration::from_secs(time.as_secs());
        let verified = credentials.verified();
        (at(verified.not_before), at(verified.leaf_not_after))
    }

    /// Our name.
    #[cfg(feature = "bootstrap")]
    pub(crate) fn node_id(&self) -> &str {
        &self.shared.node_id
    }

    /// Counts what came of asking for another certificate.
    #[cfg(feature = "bootstrap")]
    pub(crate) fn renewal_ended(&self, outcome: &'static str) {
        self.shared.metrics.renewal_ended(outcome);
    }

    /// Our generation, where it has risen and is not kept yet: somebody held a higher one of ours
    /// (rule S-12).
    pub(crate) fn risen_generation(&self) -> Option<u64> {
        let published = self.shared.snapshot.load();
        let own = published.view.member(self.shared.id)?.incarnation().generation;
        self.state.as_ref()?.lacks_generation(own).then_some(own)
    }

    /// Keeps a generation. Blocks.
    pub(crate) fn keep_generation(&self, generation: u64) {
        let kept = self.state.as_ref().map(|state| state.keep_generation(generation));
        if let Some(Err(error)) = kept {
            tracing::error!(
                target: "mesh_gossip",
                NodeId = %self.shared.node_id,
                Reason = %error,
                "our generation is not kept"
            );
        }
    }

    /// Keeps the lists in force. A disk that refuses is no reason to let the revoked in: they stay
    /// in force, and the next look tries again.
    fn keep_lists(&self) {
        let Some(state) = &self.state else { return };
        let trust = self.shared.credentials.load().verifier().trust().load_full();
        if let Err(error) = state.keep_lists(trust.revocations().lists().map(|list| &**list)) {
            tracing::error!(
                target: "mesh_gossip",
                NodeId = %self.shared.node_id,
                Reason = %error,
                "the revocation lists in force are not kept: a restart would know older ones"
            );
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// What tells that a file was changed, and how often files are read again at least; `None`
    /// while a change is under way. Never waits.
    pub(crate) fn look(&self) -> Option<(Vec<Stamp>, Duration)> {
        let held = match self.held.try_lock() {
            Ok(held) => held,
            Err(TryLockError::Poisoned(held)) => held.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        let options = &held.options;
        let lists = options.revocation.lists.as_ref();
        let materials =
            [Some(&options.certificate), options.key.as_ref(), Some(&options.ca), lists];
        let own = materials.into_iter().flatten().flat_map(stamps);
        let of_the_gate = self.gate.iter().flat_map(|gate| gate.stamps());
        Some((own.chain(of_the_gate).collect(), options.reload_interval))
    }

    /// Takes a change into force and waits for the shard. Blocks: files are read.
    pub(crate) fn renew(&self, change: Change<'_>) -> Result<Renewed, RenewError> {
        let mut held = self.held();
        let metrics = &self.shared.metrics;
        // What was asked for is taken whole or not at all; a look at changed files goes on with the
        // node's own certificate, whatever became of the other one.
        if let (Change::Options(_), Some(gate)) = (&change, &self.gate) {
            gate.weigh().inspect_err(|_| metrics.reloaded("refused"))?;
        }
        let judged = match change {
            Change::Again => self.take_options(&mut held, None),
            Change::Options(options) => self.take_options(&mut held, Some(*options)),
            Change::Lists(bytes) => self.take_lists(bytes),
        };
        let (mut renewed, authority) = judged.inspect_err(|_| metrics.reloaded("refused"))?;
        self.keep_lists();
        if let Some(Err(error)) = self.gate.as_ref().map(|gate| gate.renew()) {
            renewed.refused.get_or_insert(error);
        }
        if renewed.certificate || renewed.trust {
            metrics.trust_is(&self.shared.credentials.load().verifier().trust().load());
            renewed.revoked = self.tell_shard(&held, authority)?;
        }
        metrics.reloaded(match &renewed {
            Renewed { refused: Some(_), .. } => "refused",
            Renewed { certificate: false, trust: false, .. } => "unchanged",
            Renewed { .. } => "renewed",
        });
        Ok(renewed)
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_lists(&self, bytes: &[u8]) -> Judged {
        let credentials = self.shared.credentials.load();
        let cell = credentials.verifier().trust();
        let now = credentials.now().ok_or(RenewError::List(ListError::NotYetValid))?;
        let mut trust = Trust::clone(&cell.load());
        let mut renewed = Renewed::default();
        for list in split_lists(bytes).ok_or(RenewError::List(ListError::Undecodable))? {
            match trust.take_list(&list, now).map_err(RenewError::List)? {
                Taken::Fresh => renewed.trust = true,
                Taken::Known => {}
                Taken::Outdated => renewed.outdated = true,
            }
        }
        if renewed.trust {
            cell.replace(trust);
        }
        Ok((renewed, None))
    }

    fn take_options(&self, held: &mut Held, options: Option<TlsOptions>) -> Judged {
        let options = options.unwrap_or_else(|| held.options.clone());
        let fixed = |key| CredentialsError { key, path: None, fault: Fault::Fixed };
        if options.trust_domain != held.options.trust_domain {
            return Err(fixed(TRUST_DOMAIN).into());
        }
        if options.identity != held.options.identity {
            return Err(fixed(IDENTITY_RULE).into());
        }
        let credentials = self.shared.credentials.load_full();
        let verifier = credentials.verifier();
        let no_clock = CredentialsError { key: TRUST_DOMAIN, path: None, fault: Fault::NoClock };
        let now = credentials.now().ok_or(no_clock)?;
        let pair = Pair::load(&options)?;
        let before = verifier.trust().load();
        let mut trust = load_trust(&options, pair.chain(), now, Some(before.revocations()))?;

        let own = credentials.identity();
        let expected = expected_identity(&options, &own.cluster, &own.role, &own.node_id)?;
        let judge = MeshVerifier::new(
            trust.clone(),
            &options.trust_domain,
            &own.cluster,
            Some(&own.node_id),
        )
        .naming(options.identity);
        let mut renewed = Renewed::default();
        let verified = match pair.judge(&expected, &judge, now) {
            Ok(verified) => Some(verified),
            Err(error) if still_shown(&credentials, &judge, now) => {
                // Who else is revoked counts all the same, by the CAs of the chain that stays.
                trust = load_trust(&options, credentials.chain(), now, Some(before.revocations()))?;
                renewed.refused = Some(error);
                None
            }
            Err(error) => return Err(error.into()),
        };
        renewed.trust = !trust.says_the_same(&before);
        if renewed.trust {
            verifier.trust().replace(trust);
        }
        let mut authority = None;
        if let Some(verified) = verified
            && !credentials.shows(&pair)
        {
            let clock = Arc::clone(credentials.clock());
            let fresh = Arc::new(Credentials::over(Arc::clone(verifier), clock, pair, verified)?);
            for warning in fresh.warnings() {
                tracing::warn!(target: "mesh_gossip", NodeId = %own.node_id, "{warning}");
            }
            let learned = Arc::clone(held.authority.learned());
            held.authority = Arc::new(MeshAuthority::new(Arc::clone(&fresh), learned));
            authority = Some(Arc::clone(&held.authority));
            let not_after = fresh.verified().leaf_not_after.as_secs();
            self.shared.metrics.certificate_expires(WallTime(not_after * 1_000));
            self.shared.credentials.store(fresh);
            renewed.certificate = true;
        }
        held.options = match renewed.refused {
            None => options,
            // The next look must not bring back the trust before.
            Some(_) => TlsOptions {
                certificate: held.options.certificate.clone(),
                key: held.options.key.clone(),
                password: held.options.password.clone(),
                ..options
            },
        };
        Ok((renewed, authority))
    }

    /// Has the shard act on it; returns how many members left the view as revoked. A record that
    /// was verified just before trust changed is found by the next look.
    fn tell_shard(
        &self,
        held: &Held,
        mut authority: Option<Arc<MeshAuthority>>,
    ) -> Result<usize, AgentError> {
        let mut gone = 0;
        for sweep in 0..MOST_SWEEPS {
            let revoked = self.revoked_members(&held.authority);
            if revoked.is_empty() && sweep > 0 {
                break;
            }
            gone += revoked.len();
            let trust = self.shared.credentials.load().verifier().trust().load_full();
            let lists = trust.revocations().notices();
            self.order(Renewal { authority: authority.take(), revoked, lists })?;
        }
        Ok(gone)
    }

    /// Present members whose record was signed under a certificate that is revoked.
    fn revoked_members(&self, authority: &MeshAuthority) -> Vec<(MemberId, Incarnation)> {
        let trust = authority.credentials().verifier().trust().load();
        if trust.revocations().lists().next().is_none() {
            return Vec::new();
        }
        let published = self.shared.snapshot.load();
        let mut steps = RevokedSteps::default();
        let present = published.view.members().filter(|member| member.state.is_present());
        present
            .filter(|member| member.id() != self.shared.id)
            .filter(|member| authority.is_revoked(member.record.envelope(), &mut steps))
            .map(|member| (member.id(), member.incarnation()))
            .collect()
    }

    fn order(&self, renewal: Renewal) -> Result<(), AgentError> {
        let (sender, answer) = mpsc::sync_channel::<Result<(), CommandError>>(1);
        let Renewal { authority, revoked, lists } = renewal;
        let until = self.clock.now() + PATIENCE;
        loop {
            let sender = sender.clone();
            let reply = Box::new(move |outcome| {
                // Whoever asked may have given up.
                let _ = sender.try_send(outcome);
            });
            let (authority, revoked, lists) = (authority.clone(), revoked.clone(), lists.clone());
            let renewal = Renewal { authority, revoked, lists };
            match self.shard.order(Order::Renew { agent: self.agent, renewal, reply }) {
                Ok(()) => break,
                Err(Refused::Busy) if self.clock.now() < until => {
                    thread::sleep(Duration::from_millis(1));
                }
                Err(refused) => return Err(refused.into()),
            }
        }
        drop(sender);
        match answer.recv_timeout(PATIENCE) {
            Ok(outcome) => Ok(outcome?),
            Err(RecvTimeoutError::Timeout) => Err(AgentError::Timeout),
            Err(RecvTimeoutError::Disconnected) => Err(AgentError::Stopped),
        }
    }
}

/// What came of reading and judging: nothing is in force before this.
type Judged = Result<(Renewed, Option<Arc<MeshAuthority>>), RenewError>;

/// Whether the certificate that we show may go on being shown under this trust: peers accept it,
/// or it is revoked and nothing that we do would make it better.
fn still_shown(credentials: &Credentials, judge: &MeshVerifier, now: UnixTime) -> bool {
    let chain = credentials.chain();
    match judge.verify_certificate(&chain[0], &chain[1..], Usage::Client, now) {
        Ok(_) | Err(TrustError::Revoked { .. } | TrustError::Expired { .. }) => true,
        Err(_) => false,
    }
}

//! An agent renews its own certificate, and fetches the authority's revocation list (rule S-15).
//!
//! At two thirds of the certificate's life, a little earlier for some, the authority's server is
//! asked for the next one, for a new key; what comes is put where the one before was and goes the
//! way of every change, make before break. After a failure it is tried again, later each time.
//!
//! Invariant: one thing is asked at a time, on a thread that may block, and never more often than
//! the schedule says.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use crate::bootstrap::client::{ClientError, Obtained};
use crate::bootstrap::wallet::Wallet;
use crate::bootstrap::{Renewer, random_word, wall};
use crate::options::RenewalOptions;
use crate::upkeep::{Change, Keeper, RenewError};

/// Wall time may be set, and a certificate exchanged by others: it is looked at this often.
const LOOK: Duration = Duration::from_secs(30);
const LEAST_LOOK: Duration = Duration::from_millis(50);

/// Renews for as long as the agent is served.
pub(super) async fn keep_certified(
    keeper: Arc<Keeper>,
    from: RenewalOptions,
    readers: Arc<Semaphore>,
) {
    let mut work = Work { keeper, from, wallet: None, readers };
    let (mut begun, mut end) = work.keeper.lifetime();
    let mut renewer = Renewer::new(begun, end, random());
    let mut list_due = Instant::now();
    loop {
        let until_list = list_due.saturating_duration_since(Instant::now());
        let wait = renewer.wait(wall()).min(until_list).min(LOOK);
        sleep(wait.max(LEAST_LOOK)).await;
        if list_due <= Instant::now() {
            let spread = work.from.list_interval.mul_f64(random() as f64 / u64::MAX as f64 / 10.0);
            list_due = Instant::now() + work.from.list_interval + spread;
            work.fetch_list().await;
        }
        let now_in_force = work.keeper.lifetime();
        if now_in_force != (begun, end) {
            // Somebody else exchanged it.
            (begun, end) = now_in_force;
            renewer = Renewer::new(begun, end, random());
        }
        if !renewer.wait(wall()).is_zero() {
            continue;
        }
        match work.renew().await {
            Ok(obtained) => {
                (begun, end) = work.keeper.lifetime();
                // From here on, not from its backdated start: a short life is never due at once.
                renewer = Renewer::new(wall(), obtained.not_after, random());
                let wait = renewer.wait(wall());
                tell_renewed(work.keeper.node_id(), &obtained, wait);
                work.keeper.renewal_ended("renewed");
            }
            Err(failure) => {
                let pause = renewer.failed(wall(), random());
                let is_alarming = wall() >= begun + life_of(begun, end) / 4 * 3;
                tell_failure(work.keeper.node_id(), &failure, pause, is_alarming);
                work.keeper.renewal_ended(failure.reason());
            }
        }
    }
}

fn life_of(begun: SystemTime, end: SystemTime) -> Duration {
    end.duration_since(begun).unwrap_or_default()
}

/// Spreads a fleet; without randomness it comes all at once, which is no reason not to renew.
fn random() -> u64 {
    random_word().unwrap_or_default()
}

/// Why there is no new certificate.
enum Failure {
    /// It was not given, or could not be put in place.
    Client(ClientError),
    /// It was given, and peers would refuse it.
    Judged(RenewError),
    /// The thread that did the work has ended.
    Ended,
}

impl Failure {
    fn reason(&self) -> &'static str {
        match self {
            Self::Client(error) => error.reason(),
            Self::Judged(_) => "judged",
            Self::Ended => "ended",
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Client(error) => error.fmt(f),
            Self::Judged(error) => write!(f, "the new certificate is refused: {error}"),
            Self::Ended => f.write_str("the thread that asked has ended"),
        }
    }
}

struct Work {
    keeper: Arc<Keeper>,
    from: RenewalOptions,
    /// Away while a thread works with it.
    wallet: Option<Wallet>,
    readers: Arc<Semaphore>,
}

impl Work {
    /// Has a thread that may block do something with the wallet as it is now.
    async fn with<R: Send + 'static>(
        &mut self,
        act: impl FnOnce(&Keeper, &mut Wallet, &RenewalOptions) -> R + Send + 'static,
    ) -> Option<R> {
        let _turn = Arc::clone(&self.readers).acquire_owned().await.ok()?;
        let (keeper, from) = (Arc::clone(&self.keeper), self.from.clone());
        let wallet = self.wallet.take();
        let worked = spawn_blocking(move || {
            let options = keeper.options();
            let mut wallet = wallet.unwrap_or_else(|| Wallet::new(options.clone()));
            wallet.update(options);
            let result = act(&keeper, &mut wallet, &from);
            (result, wallet)
        });
        // It failed to run only if it panicked, which its thread has told.
        let (result, wallet) = worked.await.ok()?;
        self.wallet = Some(wallet);
        Some(result)
    }

    async fn renew(&mut self) -> Result<Obtained, Failure> {
        let renewed = self.with(|keeper, wallet, from| {
            let (obtained, changed) = wallet.renew(from).map_err(Failure::Client)?;
            let change = match changed {
                Some(options) => Change::Options(Box::new(options)),
                None => Change::Again,
            };
            let renewed = keeper.renew(change).map_err(Failure::Judged)?;
            match renewed.refused {
                Some(error) => Err(Failure::Judged(error.into())),
                None => Ok(obtained),
            }
        });
        renewed.await.unwrap_or(Err(Failure::Ended))
    }

    async fn fetch_list(&mut self) {
        let fetched = self.with(|keeper, wallet, from| {
            let list = wallet.list(from).map_err(Failure::Client)?;
            keeper.renew(Change::Lists(list.as_bytes())).map_err(Failure::Judged)
        });
        let fetched = fetched.await.unwrap_or(Err(Failure::Ended));
        let node_id = self.keeper.node_id();
        match fetched {
            Ok(renewed) if renewed.trust => tracing::info!(
                target: "mesh_gossip",
                NodeId = node_id,
                Revoked = renewed.revoked,
                "a newer revocation list came from the authority"
            ),
            Ok(_) => {}
            Err(failure) => tracing::warn!(
                target: "mesh_gossip",
                NodeId = node_id,
                Reason = %failure,
                "the authority's revocation list could not be fetched"
            ),
        }
    }
}

fn tell_renewed(node_id: &str, obtained: &Obtained, wait: Duration) {
    tracing::info!(
        target: "mesh_gossip",
        NodeId = node_id,
        Serial = %obtained.serial,
        NextInSeconds = wait.as_secs(),
        "our certificate was renewed"
    );
}

fn tell_failure(node_id: &str, failure: &Failure, pause: Duration, is_alarming: bool) {
    let pause = pause.as_secs();
    if is_alarming {
        tracing::error!(
            target: "mesh_gossip",
            NodeId = node_id,
            Reason = %failure,
            AgainInSeconds = pause,
            "our certificate nears its end unrenewed"
        );
    } else {
        tracing::warn!(
            target: "mesh_gossip",
            NodeId = node_id,
            Reason = %failure,
            AgainInSeconds = pause,
            "our certificate was not renewed yet"
        );
    }
}

//! Cordon, drain and resume of one agent, and the parts of its host that take part.
//!
//! Think of a shop that closes for the day: the sign at the door turns first, so that nobody comes
//! in any more, then every clerk finishes with the customers that are there, each with so much time.
//! Whoever asked for it may go home: the shop closes all the same, and whoever asks again is told how
//! far it is. If a clerk cannot finish, asking again lets that clerk, and nobody else, try once more.
//!
//! Invariants: the lifecycle is published before a participant is asked, and `drained` only when
//! every participant is; what belongs to an earlier round changes nothing.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use mesh_gossip_proto::{Command, CommandError, Lifecycle, WallTime};
use serde::Serialize;

use crate::clock;
use crate::error::AgentError;
use crate::orders::{AgentId, Order, ShardHandle};
use crate::wall::rfc3339;

/// A shard answers orders within microseconds; one that takes this long is in trouble.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of a reason, at most.
pub(super) const MOST_REASON: usize = 1_024;

/// Whoever asks for longer has no deadline that anybody would live to see.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

fn soon(within: Duration) -> Instant {
    Instant::now() + within.min(LONGEST)
}

/// A part of the host that has work to hand over.
pub trait DrainParticipant: Send + Sync + 'static {
    /// Hands the work over, on a thread of its own; it may block. An error is shown to the operator,
    /// who may ask again.
    ///
    /// # Errors
    /// Why the work could not be handed over.
    fn drain(&self, order: &DrainOrder) -> Result<(), String>;

    /// The drain is over or called off: take work again.
    fn resume(&self) {}
}

/// What a participant is told.
#[derive(Debug)]
pub struct DrainOrder {
    reason: Option<String>,
    until: Instant,
    called_off: Arc<AtomicBool>,
}

impl DrainOrder {
    /// Why, in the operator's words.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// How long it may take from here on.
    pub fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// Whether the node resumes its work: there is nothing left to hand over.
    pub fn is_called_off(&self) -> bool {
        self.called_off.load(Ordering::Acquire)
    }
}

/// How far a node is with its drain; serialised it is what `GET /control/upgrade` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UpgradeStatus {
    /// `active`, `cordoned`, `draining`, `drained`, `leaving`; `failed`: draining, and a participant
    /// could not finish.
    pub state: &'static str,
    /// Why, in the operator's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it changed last, RFC 3339.
    pub updated_at: String,
    /// The host's parts, in the order of their registration.
    pub participants: Vec<ParticipantStatus>,
}

/// How far one part of the host is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ParticipantStatus {
    /// Its name.
    pub name: String,
    /// `idle`, `draining`, `drained`, `failed` or `late`.
    pub state: &'static str,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Why nothing changed.
#[derive(Debug)]
pub enum UpgradeError {
    /// The node is in a state in which this cannot be asked; what would be right.
    Conflict(String),
    /// The agent does not obey.
    Agent(AgentError),
}

impl fmt::Display for UpgradeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict(why) => f.write_str(why),
            Self::Agent(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for UpgradeError {}

/// Takes its participant out when it is dropped.
#[derive(Debug)]
pub struct DrainRegistration {
    upgrade: Arc<Upgrade>,
    id: u64,
}

impl Drop for DrainRegistration {
    fn drop(&mut self) {
        self.upgrade.standing().seats.retain(|seat| seat.id != self.id);
        // What is left may be all drained.
        self.upgrade.settle();
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Progress {
    Idle,
    Draining,
    Drained,
    Failed(String),
    Late,
}

struct Seat {
    id: u64,
    name: String,
    within: Duration,
    participant: Arc<dyn DrainParticipant>,
    progress: Progress,
    /// Of its last attempt.
    called_off: Arc<AtomicBool>,
}

struct Standing {
    lifecycle: Lifecycle,
    reason: Option<String>,
    updated: WallTime,
    seats: Vec<Seat>,
    next_id: u64,
    /// Rises when a drain is called off.
    round: u64,
}

/// See the module's description.
pub(crate) struct Upgrade {
    agent: AgentId,
    /// The node's id, for its log.
    node: Box<str>,
    shard: ShardHandle,
    /// Held while a lifecycle is published: one change at a time.
    changing: Mutex<()>,
    standing: Mutex<Standing>,
    moved: Condvar,
}

impl fmt::Debug for Upgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgrade").field("lifecycle", &self.lifecycle()).finish_non_exhaustive()
    }
}

impl Upgrade {
    pub(crate) fn new(agent: AgentId, node: &str, shard: ShardHandle) -> Self {
        let node = node.into();
        let standing = Standing {
            lifecycle: Lifecycle::Active,
            reason: None,
            updated: clock::wall(),
            seats: Vec::new(),
            next_id: 0,
            round: 0,
        };
        let (changing, moved) = (Mutex::new(()), Condvar::new());
        Self { agent, node, shard, changing, standing: Mutex::new(standing), moved }
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was published last.
    pub(crate) fn lifecycle(&self) -> Lifecycle {
        self.standing().lifecycle
    }

    /// Adds a part of the host; one that comes while the node drains is asked when somebody asks again.
    pub(crate) fn register(
        self: &Arc<Self>,
        name: &str,
        within: Duration,
        participant: Arc<dyn DrainParticipant>,
    ) -> DrainRegistration {
        let mut standing = self.standing();
        let id = standing.next_id;
        standing.next_id += 1;
        let (progress, called_off) = (Progress::Idle, Arc::default());
        let name = name.to_owned();
        standing.seats.push(Seat { id, name, within, participant, progress, called_off });
        DrainRegistration { upgrade: Arc::clone(self), id }
    }

    /// How far it is.
    pub(crate) fn status(&self) -> UpgradeStatus {
        let standing = self.standing();
        let any = |wanted: fn(&Progress) -> bool| {
            standing.seats.iter().any(|seat| wanted(&seat.progress))
        };
        let has_failed = standing.lifecycle == Lifecycle::Draining
            && !any(|progress| *progress == Progress::Draining)
            && any(|progress| matches!(progress, Progress::Failed(_) | Progress::Late));
        let participant = |seat: &Seat| {
            let (state, error) = match &seat.progress {
                Progress::Idle => ("idle", None),
                Progress::Draining => ("draining", None),
                Progress::Drained => ("drained", None),
                Progress::Failed(why) => ("failed", Some(why.clone())),
                Progress::Late => ("late", Some(format!("not done after {:?}", seat.within))),
            };
            ParticipantStatus { name: seat.name.clone(), state, error }
        };
        UpgradeStatus {
            state: if has_failed { "failed" } else { standing.lifecycle.as_str() },
            reason: standing.reason.clone(),
            updated_at: rfc3339(standing.updated),
            participants: standing.seats.iter().map(participant).collect(),
        }
    }

    /// Publishes `lifecycle` in the host's own words, whatever drain is under way.
    pub(crate) fn set(&self, lifecycle: Lifecycle) -> Result<(), AgentError> {
        let _turn = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.publish(lifecycle)?;
        if self.lifecycle() != lifecycle {
            self.becomes(lifecycle, None);
        }
        Ok(())
    }

    /// Takes no new work of the mesh.
    pub(crate) fn cordon(&self, reason: Option<String>) -> Result<UpgradeStatus, UpgradeError> {
        self.change(|lifecycle| match lifecycle {
            Lifecycle::Active | Lifecycle::Cordoned => Ok(Some((Lifecycle::Cordoned, reason))),
            Lifecycle::Draining | Lifecycle::Drained => {
                Err("the node is draining: resume it first".into())
            }
            Lifecycle::Leaving => Err("the node leaves".into()),
        })
    }

    /// Takes new work again.
    pub(crate) fn uncordon(&self) -> Result<UpgradeStatus, UpgradeError> {
        self.change(|lifecycle| match lifecycle {
            Lifecycle::Active => Ok(None),
            Lifecycle::Cordoned => Ok(Some((Lifecycle::Active, None))),
            Lifecycle::Draining | Lifecycle::Drained => {
                Err("the node is draining, not cordoned: resume it".into())
            }
            Lifecycle::Leaving => Err("the node leaves".into()),
        })
    }

    /// Ends or calls off a drain.
    pub(crate) fn resume(&self) -> Result<UpgradeStatus, UpgradeError> {
        self.change(|lifecycle| match lifecycle {
            Lifecycle::Active => Ok(None),
            Lifecycle::Draining | Lifecycle::Drained => Ok(Some((Lifecycle::Active, None))),
            Lifecycle::Cordoned => Err("the node is cordoned, not draining: uncordon it".into()),
            Lifecycle::Leaving => Err("the node leaves".into()),
        })
    }

    /// Hands the work over: publishes `draining`, asks those participants that have not done it, and
    /// returns; what goes on needs nobody. Asked again it tells how far it is, and lets those who
    /// failed try again.
    pub(crate) fn drain(
        self: &Arc<Self>,
        reason: Option<String>,
    ) -> Result<UpgradeStatus, UpgradeError> {
        self.change(|lifecycle| match lifecycle {
            Lifecycle::Active | Lifecycle::Cordoned => Ok(Some((Lifecycle::Draining, reason))),
            Lifecycle::Draining | Lifecycle::Drained => {
                let standing = self.standing();
                if reason.is_some() && reason != standing.reason {
                    let held = standing.reason.as_deref().unwrap_or("none was given");
                    return Err(format!("the node drains already, for another reason: {held}"));
                }
                // Whoever registered since has work to hand over as well.
                let is_new = |seat: &Seat| seat.progress == Progress::Idle;
                let again = lifecycle == Lifecycle::Drained && standing.seats.iter().any(is_new);
                Ok(again.then(|| (Lifecycle::Draining, standing.reason.clone())))
            }
            Lifecycle::Leaving => Err("the node leaves".into()),
        })?;
        self.ask();
        self.settle();
        Ok(self.status())
    }

    /// The node says goodbye: what was under way is called off.
    pub(crate) fn leaves(&self) {
        let _turn = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever asked for the goodbye tells it, and so does its end.
        if self.lifecycle() != Lifecycle::Leaving {
            self.becomes(Lifecycle::Leaving, None);
        }
    }

    /// One change, as `next` decides it from the lifecycle that stands.
    fn change(
        &self,
        next: impl FnOnce(Lifecycle) -> Result<Option<(Lifecycle, Option<String>)>, String>,
    ) -> Result<UpgradeStatus, UpgradeError> {
        let turn = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((lifecycle, reason)) = next(self.lifecycle()).map_err(UpgradeError::Conflict)? {
            self.publish(lifecycle).map_err(|error| match error {
                AgentError::Command(CommandError::Stopped) => {
                    UpgradeError::Conflict("the node leaves".into())
                }
                error => UpgradeError::Agent(error),
            })?;
            self.becomes(lifecycle, reason);
        }
        drop(turn);
        Ok(self.status())
    }

    fn log(&self, from: Lifecycle, to: Lifecycle, reason: Option<&str>) {
        tracing::info!(
            target: "mesh_gossip",
            NodeId = &*self.node,
            From = from.as_str(),
            To = to.as_str(),
            Reason = reason.unwrap_or_default(),
            "the lifecycle changed"
        );
    }

    fn becomes(&self, lifecycle: Lifecycle, reason: Option<String>) {
        let mut standing = self.standing();
        self.log(standing.lifecycle, lifecycle, reason.as_deref());
        standing.lifecycle = lifecycle;
        standing.reason = reason;
        standing.updated = clock::wall();
        if matches!(lifecycle, Lifecycle::Draining | Lifecycle::Drained) {
            return;
        }
        standing.round += 1;
        let mut asked = Vec::new();
        for seat in &mut standing.seats {
            seat.called_off.store(true, Ordering::Release);
            if std::mem::replace(&mut seat.progress, Progress::Idle) != Progress::Idle {
                asked.push(Arc::clone(&seat.participant));
            }
        }
        drop(standing);
        self.moved.notify_all();
        if !asked.is_empty() {
            // A host's code may take its time; nobody waits for it.
            spawn("mesh-resume", move || asked.iter().for_each(|seat| seat.resume()));
        }
    }

    /// Asks every participant that is not done and not at it.
    fn ask(self: &Arc<Self>) {
        let mut standing = self.standing();
        if standing.lifecycle != Lifecycle::Draining {
            return;
        }
        let (round, reason) = (standing.round, standing.reason.clone());
        let mut asked = Vec::new();
        for seat in &mut standing.seats {
            match seat.progress {
                Progress::Draining | Progress::Drained => continue,
                Progress::Idle | Progress::Failed(_) | Progress::Late => {}
            }
            seat.progress = Progress::Draining;
            // An attempt that is late is told to give up: the next one has begun.
            seat.called_off.store(true, Ordering::Release);
            seat.called_off = Arc::default();
            let (until, called_off) = (soon(seat.within), Arc::clone(&seat.called_off));
            let order = DrainOrder { reason: reason.clone(), until, called_off };
            asked.push((seat.id, Arc::clone(&seat.participant), order));
        }
        drop(standing);
        for (id, participant, order) in asked {
            let (until, attempt) = (order.until, Arc::clone(&order.called_off));
            let upgrade = Arc::clone(self);
            let attempt_of_it = Arc::clone(&attempt);
            let started = spawn("mesh-drain", move || {
                // A participant that panics has failed, and nobody else with it.
                let work = std::panic::AssertUnwindSafe(|| participant.drain(&order));
                let outcome = std::panic::catch_unwind(work)
                    .unwrap_or_else(|_panic| Err("the participant panicked".into()));
                let progress = outcome.map_or_else(Progress::Failed, |()| Progress::Drained);
                upgrade.reports(round, id, &attempt_of_it, progress);
            });
            let upgrade = Arc::clone(self);
            let watched = started
                && spawn("mesh-drain-watch", {
                    let attempt = Arc::clone(&attempt);
                    move || upgrade.waits(round, id, &attempt, until)
                });
            if !watched {
                let why = Progress::Failed("no thread could be started".into());
                self.reports(round, id, &attempt, why);
            }
        }
    }

    /// An attempt ended; one that ends late counts as well.
    fn reports(&self, round: u64, id: u64, attempt: &Arc<AtomicBool>, progress: Progress) {
        let mut standing = self.standing();
        if standing.round == round
            && let Some(seat) = standing.seats.iter_mut().find(|seat| seat.id == id)
            && Arc::ptr_eq(&seat.called_off, attempt)
        {
            seat.progress = progress;
            standing.updated = clock::wall();
        }
        drop(standing);
        self.moved.notify_all();
        self.settle();
    }

    /// Waits until the attempt ends or its time is over.
    fn waits(&self, round: u64, id: u64, attempt: &Arc<AtomicBool>, until: Instant) {
        let mut standing = self.standing();
        loop {
            let current = standing.round == round;
            let seat = standing
                .seats
                .iter_mut()
                .find(|seat| current && seat.id == id && Arc::ptr_eq(&seat.called_off, attempt));
            let Some(seat) = seat.filter(|seat| seat.progress == Progress::Draining) else {
                return;
            };
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                seat.progress = Progress::Late;
                standing.updated = clock::wall();
                return;
            }
            let waited = self.moved.wait_timeout(standing, left);
            standing = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Publishes `drained` once every participant is.
    fn settle(&self) {
        let _turn = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let is_done = {
            let standing = self.standing();
            standing.lifecycle == Lifecycle::Draining
                && standing.seats.iter().all(|seat| seat.progress == Progress::Drained)
        };
        // Refused, it stays draining, and who asks again is served.
        if is_done && self.publish(Lifecycle::Drained).is_ok() {
            let mut standing = self.standing();
            self.log(standing.lifecycle, Lifecycle::Drained, standing.reason.as_deref());
            standing.lifecycle = Lifecycle::Drained;
            standing.updated = clock::wall();
        }
    }

    fn publish(&self, lifecycle: Lifecycle) -> Result<(), AgentError> {
        let (sender, answered) = mpsc::sync_channel(1);
        let reply = Box::new(move |answer| {
            // Whoever asked may have given up.
            let _ = sender.try_send(answer);
        });
        let command = Command::SetLifecycle(lifecycle);
        self.shard.order(Order::Command { agent: self.agent, command, reply })?;
        match answered.recv_timeout(PATIENCE) {
            Ok(done) => Ok(done?),
            Err(mpsc::RecvTimeoutError::Timeout) => Err(AgentError::Timeout),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(AgentError::Stopped),
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> bool {
    thread::Builder::new().name(name.into()).spawn(work).is_ok()
}

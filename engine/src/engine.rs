//! The threads: shards and the control thread, their start and stop order.
//!
//! Start: a shard makes its backend on its own thread, then the control thread starts on the
//! runtime that fits, then the shard begins to turn. Where the number of shards is left to the
//! engine, one agent has one shard and more agents bring more shards, up to one a core. Stop:
//! shards first, so that nothing asks a control thread that is gone.
//!
//! Invariant: when the last handle of an engine and of its agents is dropped, its threads have
//! ended.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::clock::Clock;
use crate::control::runtime::{Control, ControlHandle};
use crate::error::StartError;
#[cfg(feature = "weather")]
use crate::io::weather::Weather;
use crate::io::{self as datagrams, AnyDatagrams, Backend, Datagrams, Startup, Waker};
use crate::options::{BackendChoice, EngineOptions};
use crate::orders::{AgentId, Order, Orders, Refused, ShardHandle};
use crate::shard::Shard;
use crate::tls::notary::Notary;
use crate::trace;

/// Orders that wait for one shard.
const ORDERS: usize = 8_192;
/// Messages that wait for the control thread.
const MESSAGES: usize = 16_384;
/// Most shards of one engine.
const MOST_SHARDS: usize = 256;

/// Threads that host agents. Cheap to clone; the threads end with the last handle.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    /// Locked only while an agent starts.
    shards: Mutex<Vec<Running>>,
    /// Declared after the shards and dropped after them.
    control: Control,
    clock: Clock,
    startup: Startup,
    next_agent: AtomicU32,
    /// What agents have proven, for all of them.
    notary: Arc<Notary>,
    how: How,
    /// Shards grow with the agents up to so many.
    most_shards: usize,
}

/// How shards run.
#[derive(Clone)]
struct How {
    pin: bool,
    spin: Duration,
    #[cfg(feature = "weather")]
    weather: Option<Arc<dyn Weather>>,
}

impl How {
    /// The backend as its shard drives it.
    fn dress(&self, mut io: AnyDatagrams, clock: Clock) -> AnyDatagrams {
        io.spin(self.spin);
        #[cfg(feature = "weather")]
        if let Some(weather) = &self.weather {
            return io.weathered(Arc::clone(weather), clock);
        }
        // Who has no weather needs no clock.
        let _ = clock;
        io
    }
}

struct Running {
    handle: ShardHandle,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("backend", &self.inner.startup.backend)
            .finish_non_exhaustive()
    }
}

/// A shard thread that has its backend and waits for the control thread.
struct Prepared {
    startup: Startup,
    waker: Waker,
    go: mpsc::Sender<ControlHandle>,
    orders: Arc<Orders>,
    thread: JoinHandle<()>,
}

impl Engine {
    /// Starts the threads.
    ///
    /// # Errors
    /// [`StartError`] when the chosen backend is not usable or a thread cannot be had.
    pub fn start(options: EngineOptions) -> Result<Self, StartError> {
        Self::start_as(options, |pin, spin| How {
            pin,
            spin,
            #[cfg(feature = "weather")]
            weather: None,
        })
    }

    /// Starts the threads on a network that is as `weather` says, for experiments.
    ///
    /// # Errors
    /// As [`Engine::start`].
    #[cfg(feature = "weather")]
    pub fn start_under(
        options: EngineOptions,
        weather: Arc<dyn Weather>,
    ) -> Result<Self, StartError> {
        Self::start_as(options, |pin, spin| How { pin, spin, weather: Some(weather) })
    }

    fn start_as(
        options: EngineOptions,
        how: impl FnOnce(bool, Duration) -> How,
    ) -> Result<Self, StartError> {
        let EngineOptions { backend, shards, pin, spin } = options;
        let clock = Clock::start();
        let most_shards = shards.unwrap_or_else(cores).clamp(1, MOST_SHARDS);
        let count = shards.map_or(1, |_| most_shards);
        let how = how(pin, spin);
        let first = Self::prepare(clock, backend, 0, &how)?;
        // The others follow the first: one engine, one backend.
        let choice = same_again(first.startup.backend);
        let mut prepared = vec![first];
        for number in 1..count {
            prepared.push(Self::prepare(clock, choice, number, &how)?);
        }
        let startup = prepared[0].startup;
        let control = Control::start(startup.backend, MESSAGES).map_err(StartError::Thread)?;
        let handle = control.handle();
        let shards = prepared.into_iter().map(|shard| shard.run(handle.clone())).collect();
        tracing::info!(
            target: "mesh_gossip",
            Backend = startup.backend.as_str(),
            Shards = count,
            Streams = ?control.driver(),
            "mesh gossip engine: {startup}"
        );
        let inner = Inner {
            shards: Mutex::new(shards),
            control,
            clock,
            startup,
            next_agent: AtomicU32::new(0),
            notary: Arc::default(),
            how,
            most_shards,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    fn prepare(
        clock: Clock,
        backend: BackendChoice,
        number: usize,
        how: &How,
    ) -> Result<Prepared, StartError> {
        let orders = Arc::new(Orders::new(ORDERS));
        let (ready, started) = mpsc::sync_channel(1);
        let (go, control) = mpsc::channel::<ControlHandle>();
        let queue = Arc::clone(&orders);
        let how = how.clone();
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        let body = move || {
            let _log = trace::follow(&dispatch);
            let io = prepare_thread(number, how.pin)
                .map_err(StartError::Thread)
                .and_then(|()| datagrams::start(backend).map_err(StartError::Io));
            match io {
                Ok((io, startup)) => {
                    let io = how.dress(io, clock);
                    let _ = ready.send(Ok((startup, io.waker())));
                    // An engine that fails to start hangs up instead.
                    if let Ok(control) = control.recv() {
                        Shard::new(clock, io, queue, control).run();
                    }
                }
                Err(error) => drop(ready.send(Err(error))),
            }
        };
        let thread = thread::Builder::new()
            .name(format!("mesh-shard-{number}"))
            .spawn(body)
            .map_err(StartError::Thread)?;
        let gone = |_| Err(StartError::Thread(io::Error::other("a shard ended while it started")));
        let (startup, waker) = started.recv().unwrap_or_else(gone)?;
        Ok(Prepared { startup, waker, go, orders, thread })
    }

    /// The datagram backend in use.
    pub fn backend(&self) -> Backend {
        self.inner.startup.backend
    }

    /// The backend in use, and why it is not io_uring where that was wished for.
    pub fn startup(&self) -> Startup {
        self.inner.startup
    }

    /// Gives up this handle; the threads end when the agents' handles are gone too.
    pub fn shutdown(self) {}

    pub(crate) fn clock(&self) -> Clock {
        self.inner.clock
    }

    /// The network that agents stand on, where it is a made one.
    #[cfg(feature = "weather")]
    pub(crate) fn weather(&self) -> Option<Arc<dyn Weather>> {
        self.inner.how.weather.clone()
    }

    pub(crate) fn control(&self) -> ControlHandle {
        self.inner.control.handle()
    }

    pub(crate) fn notary(&self) -> Arc<Notary> {
        Arc::clone(&self.inner.notary)
    }

    pub(crate) fn next_agent(&self) -> AgentId {
        AgentId(self.inner.next_agent.fetch_add(1, Ordering::Relaxed))
    }

    /// The shard of this agent: a new one while there are fewer than agents and cores, else each
    /// in turn.
    pub(crate) fn shard_of(&self, agent: AgentId) -> ShardHandle {
        let Inner { shards, control, clock, startup, how, most_shards, .. } = &*self.inner;
        let mut shards = shards.lock().unwrap_or_else(PoisonError::into_inner);
        let number = agent.0 as usize;
        if number >= shards.len() && shards.len() < *most_shards {
            let choice = same_again(startup.backend);
            match Self::prepare(*clock, choice, shards.len(), how) {
                Ok(shard) => shards.push(shard.run(control.handle())),
                // Another ring may exceed a limit; the shards that run can host one more.
                Err(error) => tracing::warn!(
                    target: "mesh_gossip",
                    Reason = %error,
                    "no further shard, agents share those that run"
                ),
            }
        }
        shards[number % shards.len()].handle.clone()
    }
}

impl Prepared {
    fn run(self, control: ControlHandle) -> Running {
        // The shard waits for this; if it has died, its orders will say so.
        let _ = self.go.send(control);
        let handle = ShardHandle::new(self.orders, self.waker);
        Running { handle, thread: Some(self.thread) }
    }
}

fn same_again(backend: Backend) -> BackendChoice {
    match backend {
        Backend::Uring => BackendChoice::Uring,
        Backend::Mmsg => BackendChoice::Mmsg,
    }
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

fn prepare_thread(number: usize, pin: bool) -> io::Result<()> {
    datagrams::signals::block_all()?;
    if pin {
        datagrams::affinity::pin_to(number)?;
    }
    Ok(())
}

impl Drop for Inner {
    fn drop(&mut self) {
        let shards = self.shards.get_mut().unwrap_or_else(PoisonError::into_inner);
        for shard in &mut *shards {
            // A full queue is being emptied; a closed one needs no order.
            while shard.handle.order(Order::Shutdown) == Err(Refused::Busy) {
                thread::sleep(Duration::from_millis(1));
            }
        }
        for shard in shards {
            if let Some(thread) = shard.thread.take() {
                // A panic there was reported by its own thread.
                let _ = thread.join();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Settings, Sources};

    #[test]
    fn an_engine_has_as_many_shards_as_it_is_told() {
        let threads = |io: &str| {
            let text = format!(
                r#"{{"mesh:gossip": {{"tls": {{"certificatePath": "a", "caPath": "b"}},
                    "io": {{"backend": "mmsg"{io}}}}}}}"#
            );
            let settings = Settings::load(&Sources::new().json("app.json", &text)).unwrap();
            let engine = Engine::start(settings.resolve().unwrap().0).unwrap();
            engine.inner.shards.lock().unwrap().len()
        };
        assert_eq!([threads(""), threads(r#", "shards": 1"#)], [1, 1]);
        assert_eq!(threads(r#", "shards": 3"#), 3);
    }
}

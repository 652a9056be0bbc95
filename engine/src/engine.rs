//! The threads: shards and the control thread, their start and stop order.
//!
//! Start: shards make their backends on their own threads, then the control thread starts on the
//! runtime that fits, then shards begin to turn. Stop: shards first, so that nothing asks a
//! control thread that is gone.
//!
//! Invariant: when the last handle of an engine and of its agents is dropped, its threads have
//! ended.

use std::io;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use crossbeam::queue::ArrayQueue;

use crate::clock::Clock;
use crate::control::runtime::{Control, ControlHandle};
use crate::error::StartError;
use crate::io::{self as datagrams, Backend, Datagrams, Startup, Waker};
use crate::options::{BackendChoice, EngineOptions};
use crate::orders::{AgentId, Order, ShardHandle};
use crate::shard::Shard;

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
    shards: Vec<Running>,
    /// Declared after the shards and dropped after them.
    control: Control,
    clock: Clock,
    startup: Startup,
    next_agent: AtomicU32,
    next_shard: AtomicUsize,
}

struct Running {
    handle: ShardHandle,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("backend", &self.inner.startup.backend)
            .field("shards", &self.inner.shards.len())
            .finish()
    }
}

/// A shard thread that has its backend and waits for the control thread.
struct Prepared {
    startup: Startup,
    waker: Waker,
    go: mpsc::Sender<ControlHandle>,
    orders: Arc<ArrayQueue<Order>>,
    thread: JoinHandle<()>,
}

impl Engine {
    /// Starts the threads.
    ///
    /// # Errors
    /// [`StartError`] when the chosen backend is not usable or a thread cannot be had.
    pub fn start(options: EngineOptions) -> Result<Self, StartError> {
        let EngineOptions { backend, shards, pin } = options;
        let clock = Clock::start();
        let count = shards.unwrap_or(1).clamp(1, MOST_SHARDS);
        let first = Self::prepare(clock, backend, 0, pin)?;
        // The others follow the first: one engine, one backend.
        let choice = match first.startup.backend {
            Backend::Uring => BackendChoice::Uring,
            Backend::Mmsg => BackendChoice::Mmsg,
        };
        let mut prepared = vec![first];
        for number in 1..count {
            prepared.push(Self::prepare(clock, choice, number, pin)?);
        }
        let startup = prepared[0].startup;
        let control = Control::start(startup.backend, MESSAGES).map_err(StartError::Thread)?;
        let shards = prepared
            .into_iter()
            .map(|shard| {
                // The shard waits for this; if it has died, its orders will say so.
                let _ = shard.go.send(control.handle());
                let handle = ShardHandle::new(shard.orders, shard.waker);
                Running { handle, thread: Some(shard.thread) }
            })
            .collect();
        tracing::info!(
            target: "mesh_gossip",
            Backend = startup.backend.as_str(),
            Shards = count,
            Streams = ?control.driver(),
            "mesh gossip engine: {startup}"
        );
        let (next_agent, next_shard) = (AtomicU32::new(0), AtomicUsize::new(0));
        let inner = Inner { shards, control, clock, startup, next_agent, next_shard };
        Ok(Self { inner: Arc::new(inner) })
    }

    fn prepare(
        clock: Clock,
        backend: BackendChoice,
        number: usize,
        pin: bool,
    ) -> Result<Prepared, StartError> {
        let orders = Arc::new(ArrayQueue::new(ORDERS));
        let (ready, started) = mpsc::sync_channel(1);
        let (go, control) = mpsc::channel::<ControlHandle>();
        let queue = Arc::clone(&orders);
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        let body = move || {
            let _log = tracing::dispatcher::set_default(&dispatch);
            let io = prepare_thread(number, pin)
                .map_err(StartError::Thread)
                .and_then(|()| datagrams::start(backend).map_err(StartError::Io));
            match io {
                Ok((io, startup)) => {
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

    pub(crate) fn control(&self) -> ControlHandle {
        self.inner.control.handle()
    }

    pub(crate) fn next_agent(&self) -> AgentId {
        AgentId(self.inner.next_agent.fetch_add(1, Ordering::Relaxed))
    }

    /// The shard of the next agent: each in turn.
    pub(crate) fn next_shard(&self) -> ShardHandle {
        let number = self.inner.next_shard.fetch_add(1, Ordering::Relaxed);
        self.inner.shards[number % self.inner.shards.len()].handle.clone()
    }
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
        for shard in &mut self.shards {
            while shard.handle.order(Order::Shutdown).is_err() {
                let ended = shard.thread.as_ref().is_none_or(JoinHandle::is_finished);
                if ended {
                    break;
                }
                thread::yield_now();
            }
        }
        for shard in &mut self.shards {
            if let Some(thread) = shard.thread.take() {
                // A panic there was reported by its own thread.
                let _ = thread.join();
            }
        }
    }
}

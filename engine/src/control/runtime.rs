//! The thread itself and the runtime it runs on.
//!
//! Where the engine's datagrams go over io_uring, tokio-uring drives the streams as well; where
//! they do not, because the kernel or a container forbids it, plain tokio does. Nobody outside
//! this module and `stream` can tell.
//!
//! Invariant: when [`Control`] is dropped its thread has ended.

use std::cell::Cell;
use std::io;
use std::thread::{self, JoinHandle};

use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;

use super::agents::Agents;
use super::stream::Driver;
use super::{ControlMessage, sync::SyncLimits};
use crate::io::{Backend, signals};
use crate::orders::Refused;
use crate::trace;

/// Entries of the control ring. Streams are few, and each has one operation at a time; a small
/// ring fits the locked-memory limit of an unprivileged process beside those of the shards.
const RING_ENTRIES: u32 = 64;

thread_local! {
    static IS_CONTROL_THREAD: Cell<bool> = const { Cell::new(false) };
}

/// Whether the calling thread is an engine's control thread, which must not wait for itself.
pub(crate) fn is_control_thread() -> bool {
    IS_CONTROL_THREAD.get()
}

/// The control thread of one engine.
pub(crate) struct Control {
    messages: mpsc::Sender<ControlMessage>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    driver: Driver,
}

/// The way to the control thread; cheap to clone, never blocks.
#[derive(Clone)]
pub(crate) struct ControlHandle(mpsc::Sender<ControlMessage>);

impl ControlHandle {
    /// Queues a message.
    pub(crate) fn try_send(&self, message: ControlMessage) -> Result<(), Refused> {
        self.offer(message).map_err(|(_unsent, refused)| refused)
    }

    /// Whether half of the queue is taken: what can be done without waits elsewhere.
    pub(crate) fn is_busy(&self) -> bool {
        self.0.capacity() < self.0.max_capacity() / 2
    }

    /// Queues a message, or gives it back.
    pub(crate) fn offer(&self, message: ControlMessage) -> Result<(), (ControlMessage, Refused)> {
        self.0.try_send(message).map_err(|error| match error {
            mpsc::error::TrySendError::Full(unsent) => (unsent, Refused::Busy),
            mpsc::error::TrySendError::Closed(unsent) => (unsent, Refused::Stopped),
        })
    }
}

impl Control {
    /// Starts the thread; `capacity` messages wait at most, and the caller's log subscriber is
    /// its too.
    pub(crate) fn start(backend: Backend, capacity: usize) -> io::Result<Self> {
        Self::start_within(backend, capacity, SyncLimits::default())
    }

    pub(super) fn start_within(
        backend: Backend,
        capacity: usize,
        limits: SyncLimits,
    ) -> io::Result<Self> {
        let (messages, inbox) = mpsc::channel(capacity);
        let (stop, stopped) = oneshot::channel();
        let (ready, started) = std::sync::mpsc::sync_channel(1);
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        let thread = thread::Builder::new().name("mesh-control".into()).spawn(move || {
            IS_CONTROL_THREAD.set(true);
            let _log = trace::follow(&dispatch);
            let runtime = match signals::block_all().and_then(|()| Runtime::new(backend)) {
                Ok(runtime) => runtime,
                Err(error) => return drop(ready.send(Err(error))),
            };
            let driver = runtime.driver();
            // The starter waits for this very message.
            let _ = ready.send(Ok(driver));
            runtime.block_on(async move {
                tokio::select! {
                    () = Agents::new(driver, limits).serve(inbox) => {}
                    _ = stopped => {}
                }
            });
        })?;
        let driver = started.recv().unwrap_or_else(|_gone| {
            Err(io::Error::other("the control thread ended while it started"))
        })?;
        Ok(Self { messages, stop: Some(stop), thread: Some(thread), driver })
    }

    /// The way in.
    pub(crate) fn handle(&self) -> ControlHandle {
        ControlHandle(self.messages.clone())
    }

    /// Which runtime drives the streams.
    pub(crate) fn driver(&self) -> Driver {
        self.driver
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        drop(self.stop.take());
        // A host's closure may hold the last handle: the thread cannot wait for itself.
        let joinable = |thread: &JoinHandle<()>| thread.thread().id() != thread::current().id();
        if let Some(thread) = self.thread.take().filter(joinable) {
            // A panic there was reported by its own thread.
            let _ = thread.join();
        }
    }
}

enum Runtime {
    Ring(tokio_uring::Runtime),
    Poll(tokio::runtime::Runtime),
}

impl Runtime {
    fn new(backend: Backend) -> io::Result<Self> {
        match backend {
            Backend::Uring => {
                match tokio_uring::Runtime::new(tokio_uring::builder().entries(RING_ENTRIES)) {
                    Ok(runtime) => Ok(Self::Ring(runtime)),
                    Err(error) => {
                        tracing::warn!(
                            target: "mesh_gossip",
                            Reason = %error,
                            "no ring for the control thread, going on without one"
                        );
                        Self::poll()
                    }
                }
            }
            Backend::Mmsg => Self::poll(),
        }
    }

    fn poll() -> io::Result<Self> {
        tokio::runtime::Builder::new_current_thread().enable_all().build().map(Self::Poll)
    }

    fn driver(&self) -> Driver {
        match self {
            Self::Ring(_) => Driver::Ring,
            Self::Poll(_) => Driver::Poll,
        }
    }

    /// Runs `future` and the local tasks that it starts; ends with it.
    fn block_on(self, future: impl Future<Output = ()>) {
        match self {
            Self::Ring(runtime) => runtime.block_on(future),
            Self::Poll(runtime) => LocalSet::new().block_on(&runtime, future),
        }
    }
}

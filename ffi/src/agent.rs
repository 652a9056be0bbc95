//! An agent as C holds it.
//!
//! Invariant: after a stop has returned, no thread of the agent runs and its ports are free; what
//! was published can still be read.

use std::ffi::{CString, c_char};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use engine::options::TlsOptions;
use engine::proto::MemberId;
use engine::{Agent, Engine, Renewed, StartError};
use tracing::Dispatch;

use crate::code::{MESH_GOSSIP_ERR_IO, MESH_GOSSIP_ERR_STOPPED, MeshGossipResult};
use crate::error::{Failure, MeshGossipError};
use crate::guard::{self, Seal, Sealed, outside_callbacks, outside_log, run, run_on};
use crate::log;
use crate::options::{MeshGossipOptions, MeshGossipStartOptions};
use crate::post::Hole;
use crate::snapshot::Gallery;

/// A member of a mesh, with an engine of its own: two threads for the protocol, one for events.
/// Owned by the caller; freed with `mesh_gossip_agent_free`.
pub struct MeshGossipAgent {
    seal: Seal,
    id: MemberId,
    node_id: CString,
    address: CString,
    running: RwLock<Option<Agent>>,
    events: Mutex<Option<JoinHandle<()>>>,
    hole: Arc<Hole>,
    gallery: Gallery,
    log: Option<Dispatch>,
    /// The credentials that the host gave last.
    tls: Mutex<TlsOptions>,
}

impl Sealed for MeshGossipAgent {
    fn seal(&self) -> &Seal {
        &self.seal
    }
}

impl MeshGossipAgent {
    fn start(options: &MeshGossipOptions, start: MeshGossipStartOptions) -> Result<Self, Failure> {
        log::listen_by_thread();
        let log = log::dispatch(&start)?;
        let (of_engine, of_agent) = options.resolve()?;
        let tls = of_agent.tls.clone();
        // Threads log where the one that starts them does.
        let agent = logged(log.as_ref(), || -> Result<Agent, StartError> {
            let engine = Engine::start(of_engine)?;
            Agent::start(&engine, of_agent)
        })?;
        let opened = Hole::open(agent.events(), start);
        let (hole, events) = opened.map_err(|error| {
            let why = format_args!("no descriptor or thread for events: {error}");
            Failure::new(MESH_GOSSIP_ERR_IO, why)
        })?;
        Ok(Self {
            seal: Seal::new(),
            id: agent.member_id(),
            node_id: CString::new(agent.node_id()).unwrap_or_default(),
            address: CString::new(agent.local_address().to_string()).unwrap_or_default(),
            gallery: Gallery::new(agent.reader()),
            running: RwLock::new(Some(agent)),
            events: Mutex::new(Some(events)),
            hole,
            log,
            tls: Mutex::new(tls),
        })
    }

    pub(crate) fn id(&self) -> MemberId {
        self.id
    }

    pub(crate) fn hole(&self) -> &Hole {
        &self.hole
    }

    pub(crate) fn gallery(&self) -> &Gallery {
        &self.gallery
    }

    /// Has the agent do something, while it runs.
    pub(crate) fn with<T, E: Into<Failure>>(
        &self,
        act: impl FnOnce(&Agent) -> Result<T, E>,
    ) -> Result<T, Failure> {
        outside_log()?;
        let running = self.running.read().unwrap_or_else(PoisonError::into_inner);
        let Some(agent) = &*running else {
            return Err(Failure::new(MESH_GOSSIP_ERR_STOPPED, "the agent has been stopped"));
        };
        logged(self.log.as_ref(), || act(agent)).map_err(Into::into)
    }

    /// Changes the credentials that the host gave last.
    pub(crate) fn rotate(
        &self,
        change: impl FnOnce(TlsOptions) -> TlsOptions,
    ) -> Result<Renewed, Failure> {
        outside_log()?;
        // Held until they are in force, so that the last one is what it says.
        let mut tls = self.tls.lock().unwrap_or_else(PoisonError::into_inner);
        let next = change(tls.clone());
        let renewed = self.with(|agent| agent.rotate(next.clone()))?;
        *tls = next;
        Ok(renewed)
    }

    fn stop(&self) {
        if let Some(agent) = &*self.running.read().unwrap_or_else(PoisonError::into_inner) {
            // Whoever waits for an answer gets one by this, so that the lock below is not long in
            // coming.
            agent.stop();
        }
        drop(self.running.write().unwrap_or_else(PoisonError::into_inner).take());
        self.hole.close();
        if let Some(events) = self.events.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // A panic there was reported by its own thread.
            let _ = events.join();
        }
    }
}

/// Does something whose lines go to the host's log, where it has one.
fn logged<T>(log: Option<&Dispatch>, act: impl FnOnce() -> T) -> T {
    match log {
        Some(log) => tracing::dispatcher::with_default(log, act),
        None => act(),
    }
}

/// Starts an agent; `start` may be NULL. Returns once its ports are bound; joining the mesh goes
/// on by itself and ends with a JOIN_COMPLETE event where there is anybody to join. Blocks while
/// files are read and names looked up. Not from a callback.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_agent_start_with(
    options: *const MeshGossipOptions,
    start: *const MeshGossipStartOptions,
    out: *mut *mut MeshGossipAgent,
    err: *mut *mut MeshGossipError,
) -> MeshGossipResult {
    let body = |options: &MeshGossipOptions| {
        if out.is_null() {
            return Err(Failure::argument("out", "is NULL"));
        }
        outside_callbacks()?;
        // SAFETY: null or a structure with its size in it, as the crate's contract says.
        let start = unsafe { MeshGossipStartOptions::read(start) }?;
        let agent = MeshGossipAgent::start(options, start)?;
        // SAFETY: not null, and writable as the crate's contract says.
        unsafe { out.write(Box::into_raw(Box::new(agent))) };
        Ok(())
    };
    // SAFETY: handle and `err` are as the crate's contract says.
    unsafe { run_on(options, err, body) }
}

/// The same with the defaults of what only a program can say.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_agent_start(
    options: *const MeshGossipOptions,
    out: *mut *mut MeshGossipAgent,
    err: *mut *mut MeshGossipError,
) -> MeshGossipResult {
    // SAFETY: handed on as the crate's contract says.
    unsafe { mesh_gossip_agent_start_with(options, std::ptr::null(), out, err) }
}

/// Says goodbye and waits up to `timeout_ms` until enough members know. The agent has to be
/// stopped or freed afterwards all the same. Not from a callback.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_agent_leave(
    agent: *const MeshGossipAgent,
    timeout_ms: u64,
    err: *mut *mut MeshGossipError,
) -> MeshGossipResult {
    let body = |agent: &MeshGossipAgent| {
        outside_callbacks()?;
        agent.with(|agent| agent.leave(Duration::from_millis(timeout_ms)))?;
        Ok(())
    };
    // SAFETY: handle and `err` are as the crate's contract says.
    unsafe { run_on(agent, err, body) }
}

/// Stops without a goodbye; returns once the ports are free and no callback runs any more. Calls
/// under way fail with `MESH_GOSSIP_ERR_STOPPED`. Again, it does nothing. Not from a callback.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_agent_stop(
    agent: *const MeshGossipAgent,
    err: *mut *mut MeshGossipError,
) -> MeshGossipResult {
    let body = |agent: &MeshGossipAgent| {
        outside_callbacks()?;
        agent.stop();
        Ok(())
    };
    // SAFETY: handle and `err` are as the crate's contract says.
    unsafe { run_on(agent, err, body) }
}

/// Stops and frees an agent; NULL is fine. The one function that may not run beside another call
/// on the same agent. Within a callback, and in a forked child, it refuses and frees nothing.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_agent_free(agent: *mut MeshGossipAgent) -> MeshGossipResult {
    let body = || {
        if agent.is_null() {
            return Ok(());
        }
        outside_callbacks()?;
        // SAFETY: not null, and live as the crate's contract says.
        let handle = unsafe { &*agent };
        if handle.seal.is_forked() {
            return handle.seal.check();
        }
        handle.stop();
        // SAFETY: it was made by `Box::into_raw` and is freed once.
        drop(unsafe { Box::from_raw(agent) });
        Ok(())
    };
    // SAFETY: no error object is wanted.
    unsafe { run(std::ptr::null_mut(), body) }
}

/// The agent's name within the cluster, borrowed from the agent; "" for NULL.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_agent_node_id(agent: *const MeshGossipAgent) -> *const c_char {
    // SAFETY: null or a live agent, as the crate's contract says.
    unsafe { guard::look_at(agent, c"".as_ptr(), |agent| agent.node_id.as_ptr()) }
}

/// `address:port` that the agent listens on, borrowed from the agent; "" for NULL.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_agent_address(agent: *const MeshGossipAgent) -> *const c_char {
    // SAFETY: null or a live agent, as the crate's contract says.
    unsafe { guard::look_at(agent, c"".as_ptr(), |agent| agent.address.as_ptr()) }
}

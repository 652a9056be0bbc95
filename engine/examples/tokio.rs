//! A service on tokio that is a member of a mesh, without a web framework: changes come as a stream
//! of events beside its own work, and it says goodbye when it is told to stop.
//!
//! The agent has threads of its own; nothing of it runs on tokio's. Starting and leaving are awaited,
//! waiting for events goes to tokio's threads for what blocks, and reading a view never blocks.
//!
//! `cargo run -p mesh-gossip --example tokio`, in a directory with an `appsettings.json`; Ctrl-C or
//! SIGTERM stops it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mesh_gossip::{Agent, HostEvent};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Events that wait for a busy service; the agent waits with the rest, and says when some were lost.
const WAITING: usize = 16;

fn main() -> Outcome<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(service())
}

async fn service() -> Outcome<()> {
    // From the settings files and the environment; none where `enabled` is false.
    let Some(agent) = Agent::builder().start_async().await? else { return Ok(()) };
    println!("{} listens on {}; Ctrl-C leaves", agent.node_id(), agent.local_address());
    let stopping = Arc::new(AtomicBool::new(false));
    let mut events = follow(Arc::clone(&agent), Arc::clone(&stopping));
    let mut terminated = signal(SignalKind::terminate())?;
    let mut work = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            Some(told) = events.recv() => println!("{:?}", told.event),
            _ = work.tick() => tend(&agent),
            interrupted = tokio::signal::ctrl_c() => break interrupted?,
            _ = terminated.recv() => break,
        }
    }
    stopping.store(true, Ordering::Relaxed);
    let acknowledged = agent.shutdown(Duration::from_secs(5)).await?;
    println!("{acknowledged} members know that we left");
    Ok(())
}

/// The agent's events on a channel, until the service stops.
fn follow(agent: Arc<Agent>, stopping: Arc<AtomicBool>) -> mpsc::Receiver<HostEvent> {
    let (tell, events) = mpsc::channel(WAITING);
    spawn_blocking(move || {
        while !stopping.load(Ordering::Relaxed) {
            for told in agent.next_events(Duration::from_millis(200)).into_iter().flatten() {
                if tell.blocking_send(told).is_err() {
                    return;
                }
            }
        }
    });
    events
}

/// The service's own work, which needs to know who is there.
fn tend(agent: &Agent) {
    let present = agent.with_view(|published| published.view.counts().present());
    assert!(present > 0, "we are one of them");
}

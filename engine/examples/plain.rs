//! A host with a plain `main`: settings from files and environment, one agent, its events on
//! stdout, a goodbye when Enter is pressed.
//!
//! `cargo run -p mesh-gossip --example plain`, in a directory with an `appsettings.json`, such as
//! docs/samples/resource-lease-mesh-demo.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mesh_gossip::settings::{Settings, Sources};
use mesh_gossip::{Agent, Engine};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let settings = Settings::load(&Sources::from_process(None))?;
    if !settings.enabled() {
        return Ok(());
    }
    for note in settings.notes() {
        eprintln!("note: {note}");
    }
    let (engine, options) = settings.resolve()?;
    let engine = Engine::start(engine)?;
    let agent = Agent::start(&engine, options)?;
    println!("{} listens on {}; Enter leaves", agent.node_id(), agent.local_address());

    let leaving = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !leaving.load(Ordering::Relaxed) {
                for told in agent.next_events(Duration::from_millis(200)).into_iter().flatten() {
                    println!("{:?}", told.event);
                }
            }
        });
        let read = std::io::stdin().read_line(&mut String::new());
        leaving.store(true, Ordering::Relaxed);
        read
    })?;
    let acknowledged = agent.leave(Duration::from_secs(5))?;
    println!("{acknowledged} members know that we left");
    Ok(())
}

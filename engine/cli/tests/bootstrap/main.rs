//! `mesh bootstrap` as people run it: real processes and sockets on loopback.

mod joins;
mod life;
mod office;
#[path = "../processes/stage.rs"]
#[allow(dead_code, reason = "the agents' stage; not every part of it is played here")]
mod stage;
mod strangers;
mod walk;
mod wire;

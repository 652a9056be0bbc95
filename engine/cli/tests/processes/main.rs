//! Processes of the built binary, from outside: separate certificates, separate settings files,
//! real signals, and what the wire shows of it all.
//!
//! Limits on time are generous, because two busy cores must not fail a promise that is kept on
//! idle ones; the measured times are printed (`cargo test -- --nocapture`).

mod bad_input;
mod browser;
#[cfg(target_os = "linux")]
mod capture;
mod config;
mod demo;
mod deploy;
mod doctor;
mod ears;
mod environment;
mod feature;
mod hosts;
mod keys;
mod lives;
mod manual;
mod newcomer;
mod owner;
mod page;
#[cfg(target_os = "linux")]
mod refused;
mod remote;
mod signals;
mod stage;

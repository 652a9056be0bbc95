//! Everybody who plays, wherever they run: what a stage has to know of its hosts.
//!
//! Invariant: whoever was killed has counted all the same, so that sums over all hosts never fall.

use std::io;

use mesh_gossip::proto::{Instant, MemberId};

use super::RealError;
use super::counters::{Counters, Gauges};
use super::hosts::Hosts;
use super::hunger::Starved;
use super::process::{Memory, Threads};
use super::proxy::Carried;
use super::trend::Holding;
use super::weather::Sky;
use crate::measure::Seen;

/// Hosts in this process, or each in one of its own.
pub(super) trait Cast {
    /// How many there are, running or not.
    fn len(&self) -> usize;

    /// Who is who.
    fn ids(&self) -> Vec<MemberId>;

    /// The backend that their engines chose.
    fn backend(&self) -> &'static str;

    /// Those of this process, whose views can be looked into.
    fn within(&mut self) -> Option<&mut Hosts> {
        None
    }

    /// The network, where it is not loopback's own.
    fn sky(&self) -> Option<&Sky>;

    /// Starts a host that does not run; everybody's seed is the first.
    fn start(&mut self, node: usize) -> Result<(), RealError>;

    /// Ends these without a goodbye, all at the same time; returns when.
    fn kill(&mut self, nodes: &[usize]) -> Result<Instant, RealError>;

    /// A node has a new certificate of the CA with this number.
    fn certify(&mut self, node: usize, by: u8) -> Result<(), RealError>;

    /// A node trusts these CAs alone, a bit for each.
    fn trust(&mut self, node: usize, roots: u8) -> Result<(), RealError>;

    /// These hardly ever get a core from here on.
    fn starve(&mut self, nodes: &[usize]) -> Result<(), RealError> {
        let shared = io::Error::other(format!("{nodes:?} share a process with others"));
        Err(RealError::Machine(shared))
    }

    /// Nobody starves any more.
    fn feed(&mut self) {}

    /// How those who starve fare.
    fn starved(&self) -> Vec<Starved> {
        Vec::new()
    }

    /// What hosts were told since they were last asked, and when; an event that the measure does not
    /// look at is none, and counts.
    fn told(&mut self, take: &mut dyn FnMut(usize, Instant, Option<Seen>))
    -> Result<(), RealError>;

    /// How many run.
    fn running(&self) -> usize;

    /// Running hosts that hold exactly the running ones present, and nobody in doubt if that counts.
    fn complete(&self, doubted_too: bool) -> usize;

    /// Share of wrong entries in the views of running hosts.
    fn view_error(&mut self) -> Result<f64, RealError>;

    /// Everything counted so far, and the gauges of those that run.
    fn counters(&mut self) -> Result<(Counters, Vec<Gauges>), RealError>;

    /// What the machine has given to them so far.
    fn costs(&self) -> Costs;

    /// What they hold of it now, to be looked at again and again.
    fn holds(&self) -> Result<Holding, RealError>;

    /// Starts of members of an older build, and of such that had been older, by these names.
    fn upgrades(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }

    /// What the proxy between them has carried, where there is one.
    fn carried(&self) -> Option<Carried> {
        None
    }
}

/// What hosts cost the machine, the threads that measure left out.
#[derive(Clone, Debug, Default)]
pub(super) struct Costs {
    /// Processor time by the names of threads.
    pub(super) threads: Threads,
    /// Memory of all processes.
    pub(super) memory: Memory,
    /// The most that was resident, summed over processes.
    pub(super) peak: u64,
    /// Open descriptors.
    pub(super) descriptors: usize,
    /// Each process by itself, where each host has one.
    pub(super) each: Vec<Cost>,
}

/// What one process costs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// Whose it is.
    pub node: usize,
    /// Processor time so far, nanoseconds.
    pub processor_ns: u64,
    /// Resident memory.
    pub resident: u64,
    /// What it allocated.
    pub anonymous: u64,
    /// Its part of the resident memory, pages that processes share being divided among them.
    pub proportional: u64,
}

//! The demo for people: converge, show the members, follow their changes.

use std::time::{Duration, Instant};

use mesh_gossip::Agent;
use mesh_gossip::proto::Instant as NodeInstant;

use super::board::{Board, Rtts};
use super::mesh::{self, FirstPorts};
use super::report::{CONVERGE_BUDGET, whole_ms};
use super::voice::{Notice, Voice};
use super::{DemoArgs, DemoError, options};
use crate::signals::Stop;

/// When a mesh that has not converged is given up.
pub(crate) const CONVERGE_LIMIT: Duration = Duration::from_secs(10);
/// Time between looks at the views.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Time between updates of the round-trip times.
const MEASURE_EVERY: Duration = Duration::from_secs(1);
/// How long the first agent may take to tell them.
const MEASURE_LIMIT: Duration = Duration::from_millis(500);

/// Runs until a signal or the end of `--duration`.
pub(crate) fn run(args: &DemoArgs, stop: &Stop, voice: &mut Voice) -> Result<(), DemoError> {
    let identities = options::mint(args.nodes)?;
    let started = Instant::now();
    let end = args.duration.map(|span| started + span);
    let engine = mesh::start_engine(args.backend(), args.nodes)?;
    let backend = engine.backend().as_str();
    voice.tell(&Notice::Started { backend, nodes: args.nodes })?;
    let first = FirstPorts { gossip: args.port, control: args.control_port };
    let agents = mesh::start_agents(&engine, &identities, first, voice)?;
    let done = watch(&agents, started, end, stop, voice);
    drop(agents);
    engine.shutdown();
    done
}

fn watch(
    agents: &[Agent],
    started: Instant,
    end: Option<Instant>,
    stop: &Stop,
    voice: &mut Voice,
) -> Result<(), DemoError> {
    let limit = started + CONVERGE_LIMIT;
    let deadline = end.map_or(limit, |end| end.min(limit));
    let converged = mesh::wait(started, deadline, stop, || mesh::converged(agents), || Ok(()))?;
    let Some(took) = converged else {
        if stop.is_asked() {
            return Ok(());
        }
        let missing = mesh::blind_spots(agents);
        return Err(DemoError::NotConverged { after: started.elapsed(), missing });
    };
    let (ms, budget_ms) = (whole_ms(took), whole_ms(CONVERGE_BUDGET));
    voice.tell(&Notice::Converged { nodes: agents.len(), ms, budget_ms })?;
    let control = agents.first().and_then(Agent::control_address).map(|at| format!("http://{at}"));
    let mut follower = Follower::new(control);
    follower.begin(agents, voice)?;
    while !stop.is_asked() {
        let next = Instant::now() + LOOK_EVERY;
        if end.is_some_and(|end| next >= end) {
            stop.wait_until(end);
            break;
        }
        stop.wait_until(Some(next));
        follower.look(agents, voice)?;
    }
    Ok(())
}

/// Shows the members and then whatever changes.
#[derive(Debug)]
pub(crate) struct Follower {
    control: Option<String>,
    shown: Board,
    versions: Vec<u64>,
    rtts: Rtts,
    measured: Option<NodeInstant>,
    measure_at: Instant,
}

impl Follower {
    /// Nothing is shown yet.
    pub(crate) fn new(control: Option<String>) -> Self {
        Self {
            control,
            shown: Board::default(),
            versions: Vec::new(),
            rtts: Rtts::new(),
            measured: None,
            measure_at: Instant::now(),
        }
    }

    /// Shows everything.
    pub(crate) fn begin(&mut self, agents: &[Agent], voice: &mut Voice) -> Result<(), DemoError> {
        self.measure(agents);
        self.note(agents);
        self.shown = Board::take(agents, &self.rtts);
        Ok(voice.show(&self.shown, self.control.as_deref())?)
    }

    /// Takes note of the members without a word; changes from here on are shown.
    pub(crate) fn note(&mut self, agents: &[Agent]) {
        self.versions = versions(agents);
        self.shown = Board::take(agents, &self.rtts);
    }

    /// Shows what has changed, if anything has.
    pub(crate) fn look(&mut self, agents: &[Agent], voice: &mut Voice) -> Result<(), DemoError> {
        if !self.refresh_for(agents, voice.redraws()) {
            return Ok(());
        }
        let board = Board::take(agents, &self.rtts);
        if board != self.shown {
            voice.follow(&board, &self.shown, self.control.as_deref())?;
            self.shown = board;
        }
        Ok(())
    }

    /// Whether the members or their round-trip times differ from what was last seen.
    pub(crate) fn refresh(&mut self, agents: &[Agent]) -> bool {
        if !self.refresh_for(agents, true) {
            return false;
        }
        let board = Board::take(agents, &self.rtts);
        board != std::mem::replace(&mut self.shown, board.clone())
    }

    /// What was last seen.
    pub(crate) fn board(&self) -> &Board {
        &self.shown
    }

    fn refresh_for(&mut self, agents: &[Agent], measures: bool) -> bool {
        let versions = versions(agents);
        let measured = measures && Instant::now() >= self.measure_at && self.measure(agents);
        let changed = versions != self.versions;
        self.versions = versions;
        changed || measured
    }

    /// Reads the first agent's round-trip times; an agent too busy to tell them keeps the old.
    fn measure(&mut self, agents: &[Agent]) -> bool {
        self.measure_at = Instant::now() + MEASURE_EVERY;
        let Some(Ok(inspection)) = agents.first().map(|agent| agent.inspect(MEASURE_LIMIT)) else {
            return false;
        };
        let rtts = inspection.contacts.iter();
        self.rtts = rtts.filter_map(|(id, contact)| Some((*id, contact.rtt()?.0))).collect();
        self.measured.replace(inspection.now) != Some(inspection.now)
    }
}

fn versions(agents: &[Agent]) -> Vec<u64> {
    agents.iter().map(|agent| agent.view().view.version()).collect()
}

//! One member in a process of its own: it is told who it is on its standard input and tells what it sees on
//! its standard output.
//!
//! Invariant: it ends when its input does, at once and without a goodbye.

use std::collections::HashMap;
use std::io::{self, BufRead, BufWriter, Stdout, Write};
use std::process;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use mesh_gossip::options::{Advertise, AgentOptions};
use mesh_gossip::proto::MemberId;
use mesh_gossip::{Agent, Engine, HostEvent};

use super::RealError;
use super::counters::Counters;
use super::flags::{Io, Sockets};
use super::hosts;
use super::papers::{self, CLUSTER};
use super::pipe::{Begin, Order, Word};
use super::process::Memory;
use crate::flags;
use crate::measure::Seen;

/// The view and events are looked at so often.
const TICK: Duration = Duration::from_millis(10);

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    flags: flags::Flags,
}

/// Orders as they come; their end is the end of this process.
pub(crate) fn orders() -> io::Result<Receiver<Order>> {
    let (sender, orders) = mpsc::channel();
    thread::Builder::new().name("orders".into()).spawn(move || {
        for line in io::stdin().lock().lines() {
            let order = line.ok().and_then(|line| serde_json::from_str(&line).ok());
            let Some(order) = order else { break };
            if sender.send(order).is_err() {
                break;
            }
        }
        process::exit(0);
    })?;
    Ok(orders)
}

/// Standard output, for words.
pub(crate) struct Mouth(BufWriter<Stdout>);

impl Mouth {
    pub(crate) fn open() -> Self {
        Self(BufWriter::new(io::stdout()))
    }

    /// Says a word. Who cannot be heard has nobody to run for.
    pub(crate) fn say(&mut self, word: &Word) {
        let said = serde_json::to_string(word).map_err(io::Error::other);
        if said.and_then(|text| writeln!(self.0, "{text}")).is_err() {
            process::exit(1);
        }
    }

    pub(crate) fn flush(&mut self) {
        if self.0.flush().is_err() {
            process::exit(1);
        }
    }
}

/// Runs until its input ends.
///
/// # Errors
/// What keeps it from running; it was said as a word too.
pub fn run() -> Result<(), Box<dyn std::error::Error>> {
    let mut mouth = Mouth::open();
    let lived = orders().map_err(Into::into).and_then(|orders| live(&orders, &mut mouth));
    if let Err(error) = &lived {
        mouth.say(&Word::Failed(error.to_string()));
        mouth.flush();
    }
    lived
}

fn live(orders: &Receiver<Order>, mouth: &mut Mouth) -> Result<(), Box<dyn std::error::Error>> {
    let before = Memory::now();
    let Ok(Order::Begin(begin)) = orders.recv() else { return Err("no beginning".into()) };
    let words = std::iter::once("member").chain(begin.flags.split_whitespace());
    let plan = Line::try_parse_from(words)?.flags.plan()?;
    let io = Io::from_str(&begin.io, true)?;
    let engine = Engine::start(Sockets { io, shards: begin.shards }.engine())?;
    let grown = Memory::now();
    let Begin { node, bind, advertise, ref seeds, ref papers, .. } = *begin;
    let agent = Agent::start(
        &engine,
        AgentOptions {
            bind,
            advertise: Advertise {
                host: advertise.map(|at| at.ip().to_string()),
                port: advertise.map(|at| at.port()),
            },
            seeds: seeds.clone(),
            ..hosts::options(&plan, node, papers.tls_options())
        },
    )?;
    let ids = (0..plan.nodes).map(|node| (MemberId::derive(CLUSTER, &papers::name(node)), node));
    let ids: HashMap<MemberId, usize> = ids.collect();
    let backend = engine.backend().as_str().to_owned();
    mouth.say(&Word::Started { at: agent.local_address(), backend, before, engine: grown });
    let mut held = None;
    loop {
        tell(&agent, &ids, mouth);
        let counts = agent.with_view(|published| published.view.counts());
        let holds = (counts.present(), counts.suspect);
        if held.replace(holds) != Some(holds) {
            mouth.say(&Word::Holds { present: holds.0, doubted: holds.1 });
        }
        mouth.flush();
        match orders.recv_timeout(TICK) {
            Ok(order) => obey(&agent, &ids, order, mouth)?,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

/// Says what its host was told.
fn tell(agent: &Agent, ids: &HashMap<MemberId, usize>, mouth: &mut Mouth) {
    let mut told = 0;
    while let Some(batch) = agent.next_events(Duration::ZERO) {
        for HostEvent { at, event } in batch {
            let seen = Seen::of(&event);
            let seen = seen.and_then(|seen| Some((*ids.get(&seen.subject)?, seen.how)));
            match seen {
                Some((of, how)) => {
                    mouth.say(&Word::Saw { at_ms: at.0, of, how: how.word().into() });
                }
                None => told += 1,
            }
        }
    }
    if told > 0 {
        mouth.say(&Word::Told(told));
    }
}

fn obey(
    agent: &Agent,
    ids: &HashMap<MemberId, usize>,
    order: Order,
    mouth: &mut Mouth,
) -> Result<(), RealError> {
    match order {
        // Nobody begins twice.
        Order::Begin(_) => {}
        Order::Papers(papers) => {
            agent.rotate(papers.tls_options())?;
        }
        Order::Count => {
            let (counters, gauges) = Counters::of(agent).map_err(RealError::Agent)?;
            mouth.say(&Word::Counted(counters, gauges));
        }
        Order::View => {
            let published = agent.view();
            let present = ids.iter().filter(|(id, _)| {
                published.view.state(**id).is_some_and(|state| state.is_present())
            });
            mouth.say(&Word::Present(present.map(|(_, node)| *node).collect()));
        }
    }
    Ok(())
}

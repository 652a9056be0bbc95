//! One mesh of one library, from its first member to its last loss.
//!
//! Invariant: what is counted is counted by the proxy, and what is seen is said by the members, the same way
//! for all.

use std::env;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::join::Begin;
use super::table::{Death, Row};
use super::{Flags, Kind};
use crate::Network;
use crate::measure::How;
use crate::plan::{Plan, Scenario};
use crate::real::cast::Cost;
use crate::real::child::{Child, Mailbox};
use crate::real::figures::Each;
use crate::real::papers::Papers;
use crate::real::pipe::{self, Order, Word};
use crate::real::process::{self, Memory};
use crate::real::proxy::{self, Proxy};
use crate::real::timeline;
use crate::real::weather::Sky;

const LOOK: Duration = Duration::from_millis(5);

type Failed = Box<dyn std::error::Error>;

/// Members and what each of them holds.
struct Mesh {
    kind: Kind,
    members: Vec<Option<Child>>,
    /// Whom each holds present, by number.
    held: Vec<Vec<bool>>,
    /// Members named gone: when, by whom, who; while they run or not.
    gone: Vec<(u64, usize, usize)>,
    mailbox: Mailbox,
    proxy: Proxy,
    sky: Arc<Sky>,
    binds: Vec<SocketAddr>,
    papers: Papers,
    plan: Plan,
}

fn now_ms() -> u64 {
    timeline::now().as_nanos() / 1_000_000
}

/// Plays it.
pub(super) fn play(flags: &Flags, kind: Kind, nodes: usize) -> Result<Row, Failed> {
    let mut mesh = Mesh::asleep(flags, kind, nodes)?;
    mesh.start(0)?;
    // The seed is up before the storm begins.
    mesh.listen_for(Duration::from_secs(2))?;
    let (begun, before) = (Instant::now(), mesh.proxy.carried());
    for node in 1..nodes {
        mesh.start(node)?;
    }
    while mesh.complete() < nodes && begun.elapsed() < flags.join() {
        mesh.listen_for(LOOK)?;
    }
    let complete = mesh.complete();
    let mut row = Row::of(kind, nodes);
    row.joined_ms = (complete == nodes).then(|| begun.elapsed().as_secs_f64() * 1e3);
    row.complete = complete;
    row.join_bytes_per_node = mesh.proxy.carried().since(before).total() as f64 / nodes as f64;
    mesh.listen_for(flags.settle())?;

    let (opened, before, costs) = (Instant::now(), mesh.proxy.carried(), mesh.costs());
    let buried = mesh.gone.len();
    mesh.listen_for(flags.idle())?;
    let (window, carried) = (opened.elapsed(), mesh.proxy.carried().since(before));
    let per_second = window.as_secs_f64() * nodes as f64;
    row.idle(Each::between(&costs, &mesh.costs(), window));
    row.bytes_per_node_s = carried.total() as f64 / per_second;
    row.messages_per_node_s = carried.datagrams as f64 / per_second;
    row.idle_false_deaths = mesh.false_deaths(buried, &[]);

    let mut killed = Vec::new();
    for loss in std::iter::once(0.0).chain(flags.loss.iter().copied()) {
        let death = mesh.lose_one(loss, flags.window(), &mut killed)?;
        row.deaths.push(death);
    }
    let carried = mesh.proxy.carried();
    row.dropped = carried.stray + carried.overrun;
    Ok(row)
}

impl Mesh {
    fn asleep(flags: &Flags, kind: Kind, nodes: usize) -> Result<Self, Failed> {
        let latency = (Duration::ZERO, Duration::ZERO);
        let network = Network::of_latency(latency);
        let sky = Arc::new(Sky::between(nodes, flags.seed, network, 0.0));
        let plan = Plan { seed: flags.seed, ..Plan::new(Scenario::Steady, nodes) };
        let proxy = Proxy::start(nodes, Arc::clone(&sky))?;
        let mut binds = Vec::new();
        for node in 0..nodes {
            let bind = proxy::free_port()?;
            proxy.place(node, bind);
            binds.push(bind);
        }
        Ok(Self {
            kind,
            members: (0..nodes).map(|_| None).collect(),
            held: vec![vec![false; nodes]; nodes],
            gone: Vec::new(),
            mailbox: Mailbox::new(),
            proxy,
            sky,
            binds,
            papers: Papers::mint(&plan)?,
            plan,
        })
    }

    fn start(&mut self, node: usize) -> Result<(), Failed> {
        let fronts: Vec<SocketAddr> =
            (0..self.members.len()).map(|node| self.proxy.front(node)).collect();
        let bind = self.binds[node];
        let this = |verb: &str| -> Result<Command, Failed> {
            let mut command = Command::new(env::current_exe()?);
            command.arg(verb);
            Ok(command)
        };
        let (command, first) = match self.kind {
            Kind::Serf => (serf(node, bind, &fronts)?, None),
            Kind::Ours => {
                let replay = self.plan.replay();
                let (_, flags) = replay.split_once(" sim ").unwrap_or_default();
                let order = Order::Begin(Box::new(pipe::Begin {
                    flags: flags.to_owned(),
                    node,
                    io: "auto".into(),
                    shards: Some(1),
                    bind,
                    advertise: Some(fronts[node]),
                    seeds: fronts
                        .first()
                        .filter(|_| node > 0)
                        .map(ToString::to_string)
                        .into_iter()
                        .collect(),
                    papers: pipe::Papers::of(&self.papers.tls_options(node)),
                }));
                (this("member")?, Some(serde_json::to_string(&order)?))
            }
            Kind::Foca | Kind::Memberlist | Kind::Chitchat => {
                let begin = Begin { kind: self.kind, node, bind, fronts };
                (this("peer")?, Some(serde_json::to_string(&begin)?))
            }
        };
        let mut child = self.mailbox.start(node, command)?;
        self.proxy.belongs(node, child.id());
        if let Some(first) = first {
            child.say(&first)?;
        }
        self.members[node] = Some(child);
        self.held[node][node] = true;
        Ok(())
    }

    /// Reads what members say for so long.
    fn listen_for(&mut self, span: Duration) -> Result<(), Failed> {
        let until = Instant::now() + span;
        loop {
            while let Some(mail) = self.mailbox.next() {
                let Some(child) = &self.members[mail.node] else { continue };
                if child.life() != mail.life {
                    continue;
                }
                let Some(line) = mail.line else {
                    return Err(format!("{} {} has ended", self.kind.name(), mail.node).into());
                };
                self.hear(mail.node, &line)?;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            thread::sleep(LOOK.min(left));
        }
    }

    fn hear(&mut self, by: usize, line: &str) -> Result<(), Failed> {
        let seen = match self.kind {
            Kind::Serf => of_serf(line).map(|(of, present)| (now_ms(), of, present)),
            Kind::Ours | Kind::Foca | Kind::Memberlist | Kind::Chitchat => {
                match serde_json::from_str(line)? {
                    Word::Saw { at_ms, of, how } => {
                        presence(How::read(&how)).map(|present| (at_ms, of, present))
                    }
                    Word::Failed(what) => return Err(what.into()),
                    Word::Started { .. }
                    | Word::Holds { .. }
                    | Word::Told(_)
                    | Word::Counted(..)
                    | Word::Present(_) => None,
                }
            }
        };
        let Some((at, of, present)) = seen else { return Ok(()) };
        let Some(held) = self.held[by].get_mut(of).filter(|_| of != by) else { return Ok(()) };
        if *held && !present {
            self.gone.push((at, by, of));
        }
        *held = present;
        Ok(())
    }

    /// Running members that hold exactly the running ones.
    fn complete(&self) -> usize {
        let runs: Vec<bool> = self.members.iter().map(Option::is_some).collect();
        let views = self.held.iter().zip(&runs);
        views.filter(|(held, up)| **up && **held == runs).count()
    }

    /// Living members that were named gone, counted by who said so, since the entry `from`.
    fn false_deaths(&self, from: usize, dead: &[usize]) -> usize {
        self.gone[from..].iter().filter(|(_, _, of)| !dead.contains(of)).count()
    }

    fn costs(&self) -> Vec<Cost> {
        let cost = |(node, child): (usize, &Option<Child>)| {
            let id = child.as_ref()?.id().to_string();
            // The first thread of our own programs looks on; of serf all threads work.
            let threads = match self.kind {
                Kind::Serf => process::all_threads_of(&id),
                Kind::Ours | Kind::Foca | Kind::Memberlist | Kind::Chitchat => {
                    process::threads_of(&id)
                }
            };
            let (used, memory) = (threads.values().sum::<Duration>(), Memory::of(&id));
            Some(Cost {
                node,
                processor_ns: u64::try_from(used.as_nanos()).unwrap_or(u64::MAX),
                resident: memory.resident,
                anonymous: memory.anonymous,
                proportional: process::proportional_of(&id),
            })
        };
        self.members.iter().enumerate().filter_map(cost).collect()
    }

    /// From here on so much is lost; kills one, and looks at everybody for so long.
    fn lose_one(
        &mut self,
        loss: f64,
        window: Duration,
        killed: &mut Vec<usize>,
    ) -> Result<Death, Failed> {
        // What was said before is heard before, so that it is none of the verdicts.
        self.listen_for(LOOK)?;
        self.sky.change(|network| network.loss = loss);
        let lost_before = self.sky.fired();
        let (from, carried) = (self.gone.len(), self.proxy.carried());
        let victim = self.members.len() - 1 - killed.len();
        let survivors = |mesh: &Self| -> Vec<usize> {
            (0..victim).filter(|by| mesh.members[*by].is_some()).collect()
        };
        let buried: Vec<usize> =
            survivors(self).into_iter().filter(|by| !self.held[*by][victim]).collect();
        let at = now_ms();
        // Dropped: SIGKILL, and it is waited for.
        drop(self.members[victim].take());
        killed.push(victim);
        self.listen_for(window)?;
        let survivors = survivors(self);
        let learned = survivors.iter().filter(|by| !self.held[**by][victim]).count();
        // Of each the verdict that it came to: the last one.
        let verdicts: Vec<u64> = survivors
            .iter()
            .filter(|by| !buried.contains(by) && !self.held[**by][victim])
            .filter_map(|by| {
                let told = self.gone[from..]
                    .iter()
                    .filter(|(told, who, of)| *who == *by && *of == victim && *told >= at);
                told.map(|(told, ..)| told - at).max()
            })
            .collect();
        let first = self.gone[from..]
            .iter()
            .filter(|(told, _, of)| *of == victim && *told >= at)
            .map(|(told, ..)| told - at)
            .min();
        let count = |fired: &[(&'static str, u64)]| {
            fired.iter().find(|(name, _)| *name == "lost").map_or(0, |(_, times)| *times)
        };
        let carried = self.proxy.carried().since(carried);
        let running = survivors.len();
        let all = learned == running;
        Ok(Death {
            loss,
            first_ms: first.map(|ms| ms as f64),
            full_ms: verdicts.iter().max().filter(|_| all).map(|ms| *ms as f64),
            learned,
            of: running,
            before: buried.len(),
            false_deaths: self.false_deaths(from, killed),
            complete: self.complete(),
            lost: count(&self.sky.fired()) - count(&lost_before),
            bytes_per_node_s: carried.total() as f64 / (window.as_secs_f64() * running as f64),
        })
    }
}

/// Whether who is seen so is a member; nothing where that says neither.
fn presence(how: Option<How>) -> Option<bool> {
    match how? {
        How::Joined | How::Returned | How::Cleared => Some(true),
        How::Failed | How::Left => Some(false),
        How::Suspected | How::Unreachable => None,
    }
}

/// An agent of serf. It gets no orders, so that the kernel ends it where its run does.
fn serf(node: usize, bind: SocketAddr, fronts: &[SocketAddr]) -> Result<Command, Failed> {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "serf", "agent", "-profile=lan", "-log-level=info"]);
    command.arg(format!("-node=node-{node}"));
    command.arg(format!("-bind={bind}")).arg(format!("-advertise={}", fronts[node]));
    command.arg(format!("-rpc-addr={}", proxy::free_port()?));
    if node > 0 {
        command.arg(format!("-retry-join={}", fronts[0])).arg("-retry-interval=1s");
    }
    Ok(command)
}

/// Whom a line of serf's log is about, and whether it is a member.
fn of_serf(line: &str) -> Option<(usize, bool)> {
    let (_, event) = line.split_once("serf: EventMember")?;
    let (what, whom) = event.split_once(": node-")?;
    let node = whom.split_whitespace().next()?.parse().ok()?;
    match what {
        "Join" => Some((node, true)),
        "Failed" | "Leave" | "Reap" => Some((node, false)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serf_is_read_by_its_log() {
        let join = "    2026/11/29 22:29:53 [INFO] serf: EventMemberJoin: node-12 127.0.0.1";
        assert_eq!(of_serf(join), Some((12, true)));
        assert_eq!(of_serf("[INFO] serf: EventMemberFailed: node-3 127.0.0.1"), Some((3, false)));
        assert_eq!(of_serf("[INFO] agent: Received event: member-join"), None);
    }

    #[test]
    fn doubt_is_neither_presence_nor_absence() {
        assert_eq!(presence(Some(How::Returned)), Some(true));
        assert_eq!(presence(Some(How::Failed)), Some(false));
        assert_eq!(presence(Some(How::Suspected)), None);
    }
}

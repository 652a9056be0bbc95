//! Hosts in processes of their own: one member each, with a certificate that was issued to it alone.
//!
//! A killed member gets SIGKILL. Where the plan asks for a network, a [`Proxy`] stands between all of them.
//!
//! Invariant: a process that ends by itself ends the run, with the reason that it gave.

use std::env;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant as Clock};

use mesh_gossip::io::Backend;
use mesh_gossip::proto::{Instant, MemberId};

use super::RealError;
use super::cast::{Cast, Cost, Costs};
use super::child::{Child, Mail, Mailbox};
use super::counters::{Counters, Gauges};
use super::flags::{Ground, Io, Sockets};
use super::hunger::{Hunger, Starved};
use super::papers::{self, CLUSTER, Papers};
use super::pipe::{Begin, Order, Papers as Text, Word};
use super::process::{self, Memory, Threads};
use super::proxy::{self, Carried, Proxy};
use super::timeline;
use super::trend::Holding;
use super::weather::Sky;
use crate::measure::{How, Seen};
use crate::plan::Plan;

/// Every process has started, or has answered, by then.
const ANSWER: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(2);

/// A member that runs.
struct Member {
    child: Child,
    address: Option<SocketAddr>,
    /// Present in its view, and in doubt.
    holds: (usize, usize),
    counted: Option<(Counters, Gauges)>,
    present: Option<Vec<usize>>,
}

/// Members, each a process.
pub(super) struct Processes {
    // Whoever is starved ends soon once it is not.
    hunger: Hunger,
    // Members end before the proxy does, so that nobody is told that all others are gone.
    members: Vec<Option<Member>>,
    proxy: Option<Proxy>,
    sky: Option<Arc<Sky>>,
    mailbox: Mailbox,
    papers: Papers,
    flags: String,
    sockets: Sockets,
    busy: u16,
    /// Another build, which members are of until they start again; how many started so, and otherwise.
    older: Option<PathBuf>,
    started: [u64; 2],
    binds: Vec<Option<SocketAddr>>,
    ids: Vec<MemberId>,
    /// Events that nobody asked for yet.
    told: Vec<(usize, Instant, Option<Seen>)>,
    backend: &'static str,
    /// Before anything, and with an engine: all processes together.
    pub(super) grown: [Memory; 2],
    gone: Counters,
    gone_threads: Threads,
}

impl Processes {
    /// Nobody runs yet.
    pub(super) fn asleep(
        plan: &Plan,
        ground: &Ground,
        sky: Option<Arc<Sky>>,
    ) -> Result<Self, RealError> {
        let proxy = sky.clone().map(|sky| Proxy::start(plan.nodes, sky));
        let replay = plan.replay();
        let (_, flags) = replay.split_once(" sim ").unwrap_or_default();
        let ids = (0..plan.nodes).map(|node| MemberId::derive(CLUSTER, &papers::name(node)));
        Ok(Self {
            hunger: Hunger::default(),
            members: (0..plan.nodes).map(|_| None).collect(),
            proxy: proxy.transpose().map_err(RealError::Machine)?,
            sky,
            mailbox: Mailbox::new(),
            papers: Papers::mint(plan)?,
            flags: flags.to_owned(),
            sockets: ground.sockets,
            busy: ground.busy,
            older: ground.older.clone(),
            started: [0; 2],
            binds: vec![None; plan.nodes],
            ids: ids.collect(),
            told: Vec::new(),
            backend: "unknown",
            grown: [Memory::default(); 2],
            gone: Counters::default(),
            gone_threads: Threads::new(),
        })
    }

    fn those_running(&self) -> impl Iterator<Item = (usize, &Member)> {
        let members = self.members.iter().enumerate();
        members.filter_map(|(node, member)| Some((node, member.as_ref()?)))
    }

    /// Where a member listens: on the port that it had before, or any free one.
    fn bind(&mut self, node: usize) -> Result<SocketAddr, RealError> {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let bind = match (self.binds[node], &self.proxy) {
            (Some(bind), _) => bind,
            // The proxy has to know it before the member's first datagram.
            (None, Some(_)) => proxy::free_port().map_err(RealError::Machine)?,
            (None, None) => any,
        };
        if let Some(proxy) = &self.proxy {
            proxy.place(node, bind);
        }
        Ok(bind)
    }

    /// Reads everything that members have said.
    fn hear(&mut self) -> Result<(), RealError> {
        while let Some(Mail { node, life, line }) = self.mailbox.next() {
            let member = self.members[node].as_mut();
            // Who was killed has nothing to say any more.
            let Some(member) = member.filter(|member| member.child.life() == life) else {
                continue;
            };
            let process = |what: String| RealError::Process { node, what };
            let Some(line) = line else { return Err(process("it has ended".into())) };
            let word = serde_json::from_str(&line);
            let word = word.map_err(|error| process(format!("{error} in: {line}")))?;
            match word {
                Word::Failed(what) => return Err(process(what)),
                Word::Started { at, backend, before, engine } => {
                    member.address = Some(at);
                    self.binds[node] = Some(at);
                    self.backend = known(&backend);
                    self.grown[0].add(before);
                    self.grown[1].add(engine);
                }
                Word::Holds { present, doubted } => member.holds = (present, doubted),
                Word::Saw { at_ms, of, how } => {
                    let seen = How::read(&how).zip(self.ids.get(of).copied());
                    let seen = seen.map(|(how, subject)| Seen { subject, how });
                    self.told.push((node, timeline::at_ms(at_ms), seen));
                }
                Word::Told(times) => {
                    let nothing = (node, timeline::now(), None);
                    self.told.extend((0..times).map(|_| nothing));
                }
                Word::Counted(counters, gauges) => member.counted = Some((counters, gauges)),
                Word::Present(nodes) => member.present = Some(nodes),
            }
        }
        Ok(())
    }

    /// Gives these members an order and waits until all have answered.
    fn ask(
        &mut self,
        nodes: &[usize],
        order: &Order,
        answered: fn(&Member) -> bool,
    ) -> Result<(), RealError> {
        for node in nodes {
            self.order(*node, order)?;
        }
        let begun = Clock::now();
        loop {
            self.hear()?;
            let silent = nodes
                .iter()
                .find(|node| self.members[**node].as_ref().is_some_and(|member| !answered(member)));
            let Some(node) = silent else { return Ok(()) };
            if begun.elapsed() >= ANSWER {
                let what = format!("it has not answered for {ANSWER:?}");
                return Err(RealError::Process { node: *node, what });
            }
            thread::sleep(LOOK);
        }
    }

    fn order(&mut self, node: usize, order: &Order) -> Result<(), RealError> {
        let Some(member) = &mut self.members[node] else { return Ok(()) };
        let ordered = member.child.order(order);
        ordered.map_err(|error| RealError::Process { node, what: error.to_string() })
    }

    /// What these have counted, each.
    fn counts(&mut self, nodes: &[usize]) -> Result<Vec<(Counters, Gauges)>, RealError> {
        for node in nodes {
            if let Some(member) = &mut self.members[*node] {
                member.counted = None;
            }
        }
        self.ask(nodes, &Order::Count, |member| member.counted.is_some())?;
        Ok(nodes.iter().filter_map(|node| self.members[*node].as_ref()?.counted).collect())
    }

    fn renew(&mut self, node: usize) -> Result<(), RealError> {
        let papers = Text::of(&self.papers.tls_options(node));
        self.order(node, &Order::Papers(papers))
    }

    /// The seed's address as others have it.
    fn seed(&mut self) -> Result<Option<SocketAddr>, RealError> {
        if let Some(proxy) = &self.proxy {
            return Ok(Some(proxy.front(0)));
        }
        let begun = Clock::now();
        loop {
            self.hear()?;
            match &self.members[0] {
                None => return Ok(None),
                Some(Member { address: Some(address), .. }) => return Ok(Some(*address)),
                Some(_) if begun.elapsed() >= ANSWER => {
                    let what = "it has not started".into();
                    return Err(RealError::Process { node: 0, what });
                }
                Some(_) => thread::sleep(LOOK),
            }
        }
    }
}

/// One of the names that an engine gives its backends.
fn known(name: &str) -> &'static str {
    let all = [Backend::Uring, Backend::Mmsg].map(Backend::as_str);
    all.into_iter().find(|known| *known == name).unwrap_or("unknown")
}

impl Cast for Processes {
    fn len(&self) -> usize {
        self.members.len()
    }

    fn ids(&self) -> Vec<MemberId> {
        self.ids.clone()
    }

    fn backend(&self) -> &'static str {
        self.backend
    }

    fn sky(&self) -> Option<&Sky> {
        self.sky.as_deref()
    }

    /// It returns before the process is up: a storm of members waits for none of them.
    fn start(&mut self, node: usize) -> Result<(), RealError> {
        assert!(self.members[node].is_none(), "node {node} is started once");
        let seed = if node == 0 { None } else { self.seed()? };
        let io = match self.sockets.io {
            Io::Auto => "auto",
            Io::Uring => "uring",
            Io::Mmsg => "mmsg",
        };
        let begin = Begin {
            flags: self.flags.clone(),
            node,
            io: io.into(),
            shards: self.sockets.shards,
            bind: self.bind(node)?,
            advertise: self.proxy.as_ref().map(|proxy| proxy.front(node)),
            seeds: seed.map(|seed| seed.to_string()).into_iter().collect(),
            papers: Text::of(&self.papers.tls_options(node)),
        };
        let first = self.binds[node].is_none();
        let program = match &self.older {
            Some(older) if first => older.clone(),
            Some(_) | None => env::current_exe().map_err(RealError::Machine)?,
        };
        self.started[usize::from(!first)] += 1;
        let mut command = Command::new(program);
        command.arg("member");
        let child = self.mailbox.start(node, command).map_err(RealError::Machine)?;
        if let Some(proxy) = &self.proxy {
            proxy.belongs(node, child.id());
        }
        let holds = (0, 0);
        let member = Member { child, address: None, holds, counted: None, present: None };
        self.members[node] = Some(member);
        self.order(node, &Order::Begin(Box::new(begin)))
    }

    fn kill(&mut self, nodes: &[usize]) -> Result<Instant, RealError> {
        for (counters, _) in self.counts(nodes)? {
            self.gone.add(&counters);
        }
        let mut dying = Vec::with_capacity(nodes.len());
        for node in nodes {
            let member = self.members[*node].take();
            let member = member.unwrap_or_else(|| panic!("node {node} is killed while it runs"));
            let used = process::threads_of(&member.child.id().to_string());
            process::add_threads(&mut self.gone_threads, &used);
            dying.push(member);
        }
        let at = timeline::now();
        dying.iter_mut().for_each(|member| member.child.kill());
        Ok(at)
    }

    fn certify(&mut self, node: usize, by: u8) -> Result<(), RealError> {
        self.papers.certify(node, by)?;
        self.renew(node)
    }

    fn trust(&mut self, node: usize, roots: u8) -> Result<(), RealError> {
        if self.papers.trust(node, roots) { self.renew(node) } else { Ok(()) }
    }

    fn starve(&mut self, nodes: &[usize]) -> Result<(), RealError> {
        let process = |node: &usize| Some((*node, self.members[*node].as_ref()?.child.id()));
        let members: Vec<(usize, u32)> = nodes.iter().filter_map(process).collect();
        self.hunger.begin(&members, self.busy).map_err(RealError::Machine)
    }

    fn feed(&mut self) {
        self.hunger = Hunger::default();
    }

    fn starved(&self) -> Vec<Starved> {
        self.hunger.starved()
    }

    fn told(
        &mut self,
        take: &mut dyn FnMut(usize, Instant, Option<Seen>),
    ) -> Result<(), RealError> {
        self.hear()?;
        self.told.drain(..).for_each(|(node, at, seen)| take(node, at, seen));
        Ok(())
    }

    fn running(&self) -> usize {
        self.those_running().count()
    }

    fn complete(&self, doubted_too: bool) -> usize {
        let running = self.those_running().count();
        let whole = |member: &Member| {
            let (present, doubted) = member.holds;
            member.address.is_some() && present == running && (doubted_too || doubted == 0)
        };
        self.those_running().filter(|(_, member)| whole(member)).count()
    }

    fn view_error(&mut self) -> Result<f64, RealError> {
        let nodes: Vec<usize> = self.those_running().map(|(node, _)| node).collect();
        for node in &nodes {
            if let Some(member) = &mut self.members[*node] {
                member.present = None;
            }
        }
        self.ask(&nodes, &Order::View, |member| member.present.is_some())?;
        let (mut wrong, mut looks) = (0, 0);
        for (_, member) in self.those_running() {
            let present = member.present.as_deref().unwrap_or_default();
            looks += self.members.len();
            let misses = |(node, up): (usize, &Option<Member>)| {
                usize::from(present.contains(&node) != up.is_some())
            };
            wrong += self.members.iter().enumerate().map(misses).sum::<usize>();
        }
        Ok(wrong as f64 / looks.max(1) as f64)
    }

    fn counters(&mut self) -> Result<(Counters, Vec<Gauges>), RealError> {
        let nodes: Vec<usize> = self.those_running().map(|(node, _)| node).collect();
        let (mut total, mut all) = (self.gone, Vec::new());
        for (counters, gauges) in self.counts(&nodes)? {
            total.add(&counters);
            all.push(gauges);
        }
        Ok((total, all))
    }

    fn upgrades(&self) -> Vec<(&'static str, u64)> {
        let [older, newer] = self.started;
        match self.older {
            Some(_) => vec![("older", older), ("upgraded", newer)],
            None => Vec::new(),
        }
    }

    fn holds(&self) -> Result<Holding, RealError> {
        let mut holding = Holding::default();
        for (_, member) in self.those_running() {
            let id = member.child.id().to_string();
            holding.resident += Memory::of(&id).resident;
            holding.descriptors += process::descriptors_of(&id);
        }
        Ok(holding)
    }

    fn costs(&self) -> Costs {
        let mut costs = Costs { threads: self.gone_threads.clone(), ..Costs::default() };
        for (node, member) in self.those_running() {
            let id = member.child.id().to_string();
            let (threads, memory) = (process::threads_of(&id), Memory::of(&id));
            let processor: Duration = threads.values().sum();
            process::add_threads(&mut costs.threads, &threads);
            costs.memory.add(memory);
            costs.peak += process::peak_of(&id);
            costs.descriptors += process::descriptors_of(&id);
            costs.each.push(Cost {
                node,
                processor_ns: u64::try_from(processor.as_nanos()).unwrap_or(u64::MAX),
                resident: memory.resident,
                anonymous: memory.anonymous,
                proportional: process::proportional_of(&id),
            });
        }
        costs
    }

    fn carried(&self) -> Option<Carried> {
        self.proxy.as_ref().map(Proxy::carried)
    }
}

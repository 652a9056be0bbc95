//! The crates, each as its documentation runs it; what they see is looked at from the first thread, so that
//! looking costs them nothing that is counted.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::io::{self, BufRead, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroU32;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use chitchat::transport::UdpTransport;
use chitchat::{
    ChitchatConfig, ChitchatId, FailureDetectorConfig, ProtocolVersion, spawn_chitchat,
};
use foca::{AccumulatingRuntime, Config, Foca, Identity, OwnedNotification, PostcardCodec, Timer};
use memberlist::Memberlist;
use memberlist::net::NetTransportOptions;
use memberlist::proto::MaybeResolvedAddress;
use memberlist::tokio::{TokioNetTransport, TokioSocketAddrResolver, TokioTcp};
use memberlist::transport::NodeId;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};

use super::Kind;
use super::join::Begin;
use crate::measure::How;
use crate::real::member::Mouth;
use crate::real::pipe::Word;
use crate::real::timeline;

/// Views are compared so often.
const LOOK: Duration = Duration::from_millis(20);
/// Who has found nobody asks again.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Chitchat's own default in the product that it was made for.
const CHITCHAT_INTERVAL: Duration = Duration::from_secs(1);

type Failed = Box<dyn std::error::Error>;

pub(super) fn run() -> Result<(), Failed> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    let begin: Begin = serde_json::from_str(&line)?;
    thread::Builder::new().name("orders".into()).spawn(|| {
        // Nothing more is said; the end ends this process.
        for _ in io::stdin().lock().lines() {}
        std::process::exit(0);
    })?;
    let ran = match begin.kind {
        Kind::Foca => foca(&begin),
        Kind::Memberlist => memberlist(&begin),
        Kind::Chitchat => chitchat(&begin),
        Kind::Ours | Kind::Serf => Err("it has a program of its own".into()),
    };
    if let Err(error) = &ran {
        let mut mouth = Mouth::open();
        mouth.say(&Word::Failed(error.to_string()));
        mouth.flush();
    }
    ran
}

/// What a view holds, told as it changes.
struct Teller {
    mouth: Mouth,
    fronts: Vec<SocketAddr>,
    own: usize,
    held: BTreeSet<usize>,
}

impl Teller {
    fn of(begin: &Begin) -> Self {
        let (fronts, own) = (begin.fronts.clone(), begin.node);
        Self { mouth: Mouth::open(), fronts, own, held: BTreeSet::new() }
    }

    /// Says what is different from the last look.
    fn look(&mut self, present: impl Iterator<Item = SocketAddr>) {
        let number = |at: SocketAddr| self.fronts.iter().position(|front| *front == at);
        let present: BTreeSet<usize> =
            present.filter_map(number).filter(|node| *node != self.own).collect();
        let at_ms = timeline::now().as_nanos() / 1_000_000;
        for (changed, how) in [
            (present.difference(&self.held).copied().collect::<Vec<_>>(), How::Joined),
            (self.held.difference(&present).copied().collect(), How::Failed),
        ] {
            for of in changed {
                self.mouth.say(&Word::Saw { at_ms, of, how: how.word().into() });
            }
        }
        self.held = present;
        self.mouth.flush();
    }
}

/// Waits on this thread, which is not counted: a timer of the runtime would wake the one that is.
fn pause() {
    thread::sleep(LOOK);
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()
}

/// Where a foca member is, and since when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Who {
    at: SocketAddr,
    life: u64,
}

impl Identity for Who {
    type Addr = SocketAddr;

    /// Whoever is declared down while it lives comes back by itself.
    fn renew(&self) -> Option<Self> {
        Some(Self { at: self.at, life: self.life + 1 })
    }

    fn addr(&self) -> SocketAddr {
        self.at
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self.life > adversary.life
    }
}

/// A deadline of foca's, by time, then as it came.
struct Due(Instant, u64, Timer<Who>);

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.1 == other.1
    }
}

impl Eq for Due {}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

fn foca(begin: &Begin) -> Result<(), Failed> {
    let (sender, views) = mpsc::channel::<Vec<SocketAddr>>();
    let socket = UdpSocket::bind(begin.bind)?;
    let (node, fronts) = (begin.node, begin.fronts.clone());
    thread::Builder::new().name("foca".into()).spawn(move || {
        let drove = drive_foca(node, &fronts, &socket, &sender);
        eprintln!("foca: {drove:?}");
        std::process::exit(1);
    })?;
    let mut teller = Teller::of(begin);
    while let Ok(view) = views.recv() {
        teller.look(view.into_iter());
    }
    Ok(())
}

/// Datagrams and deadlines of one foca; its view is handed on whenever it has changed.
fn drive_foca(
    node: usize,
    fronts: &[SocketAddr],
    socket: &UdpSocket,
    views: &mpsc::Sender<Vec<SocketAddr>>,
) -> io::Result<()> {
    let members = u32::try_from(fronts.len()).ok().and_then(NonZeroU32::new);
    let config = Config::new_lan(members.unwrap_or(NonZeroU32::MIN));
    let mut bytes = vec![0; config.max_packet_size.get()];
    let rng = Xoshiro256PlusPlus::seed_from_u64(node as u64);
    let life = timeline::now().as_nanos() / 1_000_000;
    let mut foca = Foca::new(Who { at: fronts[node], life }, config, rng, PostcardCodec);
    let mut runtime = AccumulatingRuntime::new();
    let (mut due, mut numbers) = (BinaryHeap::<Reverse<Due>>::new(), 0);
    let mut asked = None::<Instant>;
    loop {
        if node > 0
            && foca.num_members() == 0
            && asked.is_none_or(|last| last.elapsed() >= ASK_AGAIN)
        {
            let seed = Who { at: fronts[0], life: 0 };
            // Errors of foca tell of one datagram or deadline, and it goes on.
            let _ = foca.announce(seed, &mut runtime);
            asked = Some(Instant::now());
        }
        while due.peek().is_some_and(|Reverse(Due(at, ..))| *at <= Instant::now()) {
            let Some(Reverse(Due(.., timer))) = due.pop() else { break };
            let _ = foca.handle_timer(timer, &mut runtime);
        }
        let mut changed = false;
        while let Some((to, data)) = runtime.to_send() {
            let _ = socket.send_to(&data, to.at);
        }
        while let Some((after, timer)) = runtime.to_schedule() {
            numbers += 1;
            due.push(Reverse(Due(Instant::now() + after, numbers, timer)));
        }
        while let Some(notification) = runtime.to_notify() {
            changed |= matches!(
                notification,
                OwnedNotification::MemberUp(_)
                    | OwnedNotification::MemberDown(_)
                    | OwnedNotification::Rename(..)
                    | OwnedNotification::Rejoin(_)
            );
        }
        if changed
            && views.send(foca.iter_members().map(|member| member.id().at).collect()).is_err()
        {
            return Ok(());
        }
        let next = due.peek().map_or(ASK_AGAIN, |Reverse(Due(at, ..))| {
            at.saturating_duration_since(Instant::now()).min(ASK_AGAIN)
        });
        socket.set_read_timeout(Some(next.max(Duration::from_micros(100))))?;
        match socket.recv_from(&mut bytes) {
            Ok((size, _)) => {
                let _ = foca.handle_data(&bytes[..size], &mut runtime);
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
}

fn memberlist(begin: &Begin) -> Result<(), Failed> {
    type List = Memberlist<TokioNetTransport<NodeId, TokioSocketAddrResolver, TokioTcp>>;
    let mut teller = Teller::of(begin);
    runtime()?.block_on(async {
        let id = NodeId::new(format!("node-{}", begin.node)).map_err(|error| error.to_string())?;
        let mut net = NetTransportOptions::<NodeId, TokioSocketAddrResolver, TokioTcp>::new(id)
            .with_advertise_address(begin.fronts[begin.node]);
        net.add_bind_address(begin.bind);
        let list = List::new(net, memberlist::Options::lan()).await;
        let list = list.map_err(|error| error.to_string())?;
        let mut asked = None::<Instant>;
        loop {
            if begin.node > 0
                && list.num_online_members().await <= 1
                && asked.is_none_or(|last| last.elapsed() >= ASK_AGAIN)
            {
                // Whoever cannot be reached yet is asked again.
                let _ = list.join(MaybeResolvedAddress::resolved(begin.fronts[0])).await;
                asked = Some(Instant::now());
            }
            let online = list.online_members().await;
            teller.look(online.iter().map(|member| *member.address()));
            pause();
        }
    })
}

fn chitchat(begin: &Begin) -> Result<(), Failed> {
    let mut teller = Teller::of(begin);
    runtime()?.block_on(async {
        let front = begin.fronts[begin.node];
        let config = ChitchatConfig {
            chitchat_id: ChitchatId::new(format!("node-{}", begin.node), 1, front),
            cluster_id: "peers".into(),
            gossip_interval: CHITCHAT_INTERVAL,
            listen_addr: begin.bind,
            seed_nodes: vec![begin.fronts[0].to_string()],
            failure_detector_config: FailureDetectorConfig::default(),
            marked_for_deletion_grace_period: Duration::from_secs(3_600),
            catchup_callback: None,
            extra_liveness_predicate: None,
            protocol_version: ProtocolVersion::V1,
        };
        let chitchat = spawn_chitchat(config, Vec::new(), &UdpTransport).await;
        let chitchat = chitchat.map_err(|error| error.to_string())?;
        loop {
            let live: Vec<SocketAddr> = chitchat
                .with_chitchat(|view| {
                    view.live_nodes().map(|node| node.gossip_advertise_addr).collect()
                })
                .await;
            teller.look(live.into_iter());
            pause();
        }
    })
}

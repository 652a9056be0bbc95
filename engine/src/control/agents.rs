//! The agents that the control thread serves, and who does what for which.
//!
//! Invariant: with an agent go its listeners, its exchanges and its resolver; what it had under
//! way is dropped at its next wait.

use std::collections::HashMap;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use mesh_gossip_proto::{Event, StreamRequest, WallTime};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet, spawn_blocking, spawn_local};
use tokio::time::{sleep, timeout};

use super::crowd::Crowd;
use super::http::HttpServer;
use super::lists::{Fetcher, Paces};
use super::post::Post;
use super::refresh::{self, MetadataSource};
#[cfg(feature = "bootstrap")]
use super::renewals;
use super::seeds::{SeedList, Seeds};
use super::stream::Driver;
use super::sync::{self, SyncError, SyncLimits};
use super::{AgentPort, ControlMessage, Desk, HostEvent, http, watch};
use crate::metrics::SyncRole;
use crate::orders::{AgentId, Order, PIECES, Work};
use crate::trace::{self, Tracer};

/// Every agent of the engine.
pub(super) struct Agents {
    by_id: HashMap<AgentId, Agent>,
    driver: Driver,
    limits: SyncLimits,
    shared: Places,
}

/// What takes a thread of its own for a while: so many at a time for all agents.
#[derive(Clone)]
struct Places {
    resolvers: Arc<Semaphore>,
    readers: Arc<Semaphore>,
}

/// Names looked up at a time for all agents: each takes a thread for as long as a resolver takes.
const RESOLVERS: usize = 4;
/// Members that are asked for revocation lists, one after the other; a further notice comes again.
const FETCHES: usize = 8;
/// Agents that read their certificate files at a time, likewise.
const READERS: usize = 2;

impl Agents {
    pub(super) fn new(driver: Driver, limits: SyncLimits) -> Self {
        let shared = Places {
            resolvers: Arc::new(Semaphore::new(RESOLVERS)),
            readers: Arc::new(Semaphore::new(READERS)),
        };
        Self { by_id: HashMap::new(), driver, limits, shared }
    }

    /// Serves until every sender is gone.
    pub(super) async fn serve(mut self, mut inbox: mpsc::Receiver<ControlMessage>) {
        while let Some(message) = inbox.recv().await {
            match message {
                ControlMessage::AddAgent { port, done } => done(self.add(*port)),
                ControlMessage::FollowMetadata { agent, period, source } => {
                    if let Some(agent) = self.by_id.get_mut(&agent) {
                        agent.follow_metadata(period, source);
                    }
                }
                ControlMessage::Seeds { agent, seeds, file } => {
                    let resolvers = Arc::clone(&self.shared.resolvers);
                    if let Some(agent) = self.by_id.get_mut(&agent) {
                        agent.follow_seeds(Seeds::new(seeds, file), resolvers);
                    }
                }
                ControlMessage::RemoveAgent { agent, done } => match self.by_id.remove(&agent) {
                    // On its own, so that nobody waits for it but who asked.
                    Some(agent) => drop(spawn_local(async move {
                        agent.stop().await;
                        done(());
                    })),
                    None => done(()),
                },
                ControlMessage::Work(work) => self.work(work),
            }
        }
    }

    fn add(&mut self, port: AgentPort) -> io::Result<()> {
        let id = port.agent;
        let agent = Agent::start(port, self.driver, &self.limits, &self.shared)?;
        self.by_id.insert(id, agent);
        Ok(())
    }

    fn work(&mut self, work: Work) {
        match work {
            Work::Stream { agent, request } => {
                if let Some(agent) = self.by_id.get_mut(&agent) {
                    agent.wish(request);
                }
            }
            Work::Lists { agent, wish } => {
                if let Some(agent) = self.by_id.get_mut(&agent) {
                    agent.fetch_lists(wish);
                }
            }
            Work::Event { agent, at, event } => {
                if let Some(agent) = self.by_id.get_mut(&agent) {
                    agent.event(at, event);
                }
            }
            Work::Link { agent, event } => {
                if let Some(agent) = self.by_id.get_mut(&agent) {
                    let joined = agent.desk.site.is_joined();
                    agent.tracer.link(&event, joined);
                }
            }
        }
    }
}

/// One agent.
struct Agent {
    desk: Arc<Desk>,
    tracer: Tracer,
    /// To the host.
    post: Post,
    /// Listener, resolver and the post's deliveries; they end with this.
    tasks: JoinSet<()>,
    /// Reads the host's metadata source.
    description: Option<AbortHandle>,
    /// Whom it finds the mesh through.
    seed_list: Arc<SeedList>,
    /// Resolves seeds.
    seeds: AbortHandle,
    /// Exchanges that we wished for.
    wishes: JoinSet<()>,
    /// Revocation lists that are asked for.
    fetches: JoinSet<()>,
    outbound: Arc<Semaphore>,
    /// Gets revocation lists from other members.
    fetcher: Option<Arc<Fetcher>>,
    http: Option<HttpServer>,
}

impl Agent {
    fn start(
        port: AgentPort,
        driver: Driver,
        limits: &SyncLimits,
        shared: &Places,
    ) -> io::Result<Self> {
        let limits = limits.clone();
        #[cfg(feature = "weather")]
        let weather = match port.weather {
            Some(weather) => Some((weather, port.sync_listener.local_addr()?)),
            None => None,
        };
        let desk = Arc::new(Desk {
            agent: port.agent,
            shard: port.shard,
            site: port.site,
            upgrade: port.upgrade,
            leases: port.leases,
            logging: port.logging,
            driver,
            limits,
            served: Paces::new(),
            pieces: Arc::new(Semaphore::new(PIECES)),
            #[cfg(feature = "weather")]
            weather,
        });
        let mut tasks = JoinSet::new();
        let listener = listen(port.sync_listener)?;
        tasks.spawn_local(serve_sync(Arc::clone(&desk), listener));
        let seeds = Seeds::new(port.seeds, port.seed_file);
        let seed_list = port.seed_list;
        let resolvers = Arc::clone(&shared.resolvers);
        let joining = seeds.keep_joining(Arc::clone(&seed_list), resolvers, joined(&desk));
        let seeds = tasks.spawn_local(joining);
        let fetcher = port.keeper.clone().map(|keeper| Arc::new(Fetcher::new(keeper)));
        #[cfg(feature = "bootstrap")]
        if let (Some(keeper), Some(from)) = (&port.keeper, port.renewal) {
            let (keeper, readers) = (Arc::clone(keeper), Arc::clone(&shared.readers));
            tasks.spawn_local(renewals::keep_certified(keeper, from, readers));
        }
        if let Some(keeper) = port.keeper {
            tasks.spawn_local(watch::keep_fresh(keeper, Arc::clone(&shared.readers)));
        }
        let http = match (port.http, port.socket) {
            (None, None) => None,
            (tcp, socket) => Some(http::serve(Arc::clone(&desk), tcp, socket)?),
        };
        let tracer = Tracer::new(desk.site.node_id());
        let outbound = Arc::new(Semaphore::new(desk.limits.outbound));
        let (wishes, fetches) = (JoinSet::new(), JoinSet::new());
        let description = None;
        let (post, deliveries) = port.events.open();
        tasks.spawn_local(deliveries);
        Ok(Self {
            desk,
            tracer,
            post,
            tasks,
            description,
            seed_list,
            seeds,
            wishes,
            fetches,
            outbound,
            fetcher,
            http,
        })
    }

    /// Ends everything; returns once both listeners are closed.
    async fn stop(mut self) {
        if let Some(http) = self.http.take() {
            http.stop().await;
        }
        self.tasks.shutdown().await;
    }

    /// Reads the host's description from `source`, and from no earlier one any more.
    fn follow_metadata(&mut self, period: Duration, source: MetadataSource) {
        let following = refresh::follow(Arc::clone(&self.desk), period, source);
        let before = self.description.replace(self.tasks.spawn_local(following));
        if let Some(before) = before {
            before.abort();
        }
    }

    /// Finds the mesh through `seeds` and what the host named, and through no earlier settings'
    /// any more.
    fn follow_seeds(&mut self, seeds: Seeds, resolvers: Arc<Semaphore>) {
        self.seeds.abort();
        let list = Arc::clone(&self.seed_list);
        let joining = seeds.keep_joining(list, resolvers, joined(&self.desk));
        self.seeds = self.tasks.spawn_local(joining);
    }

    /// Exchanges state with a peer, when its turn comes.
    fn wish(&mut self, request: StreamRequest) {
        while self.wishes.try_join_next().is_some() {}
        let desk = Arc::clone(&self.desk);
        if self.wishes.len() >= desk.limits.outbound + desk.limits.wishes {
            request_ended::<()>(&desk, &request, &Err(SyncError::Crowded));
            // A shard that takes no orders wishes for nothing meanwhile either, so these are few.
            self.wishes.spawn_local(async move {
                sync::insist(&desk, || closed(&desk, &request, false)).await;
            });
            return;
        }
        let (outbound, fetcher) = (Arc::clone(&self.outbound), self.fetcher.clone());
        self.wishes.spawn_local(async move {
            let Ok(_turn) = outbound.acquire().await else { return };
            let outcome = sync::request(&desk, &request).await;
            request_ended(&desk, &request, &outcome);
            let complete = outcome.is_ok();
            if let (Some(fetcher), Ok(lists)) = (&fetcher, outcome) {
                fetcher.take(&desk, request.peer, lists).await;
            }
            sync::insist(&desk, || closed(&desk, &request, complete)).await;
        });
    }

    /// Asks a member for a revocation list.
    fn fetch_lists(&mut self, wish: StreamRequest) {
        while self.fetches.try_join_next().is_some() {}
        let Some(fetcher) = self.fetcher.clone() else { return };
        if self.fetches.len() >= FETCHES || !fetcher.may_ask(&self.desk, wish.peer) {
            return;
        }
        let desk = Arc::clone(&self.desk);
        self.fetches.spawn_local(async move { fetcher.fetch(&desk, &wish).await });
    }

    /// Logs an event at once and posts it to the host.
    fn event(&mut self, at: WallTime, event: Event) {
        self.tracer.event(&event, &self.desk.site.published());
        if matches!(event, Event::RoundTrip { .. } | Event::ProbeFailed(_)) {
            // They are here for the log alone; a host must not get them depending on its level.
            return;
        }
        if matches!(event, Event::LeaveComplete { .. }) {
            // By whoever's wish, an operator's order included; it waits for changes under way.
            let desk = Arc::clone(&self.desk);
            drop(spawn_blocking(move || desk.upgrade.leaves()));
        }
        let lost = self.post.post(HostEvent { at, event });
        self.desk.site.metrics().events_lost(lost);
    }
}

/// Tells the node which of its exchanges ended, and how.
fn closed(desk: &Desk, request: &StreamRequest, complete: bool) -> Order {
    let (from, extent) = (request.peer, request.extent());
    Order::StreamClosed { agent: desk.agent, from, extent, complete }
}

fn request_ended<T>(desk: &Desk, request: &StreamRequest, outcome: &Result<T, SyncError>) {
    let reason = match outcome {
        Ok(_) => "complete",
        Err(error) => {
            let target = format_args!("{} ({})", request.address, request.peer).to_string();
            trace::request_failed(desk.site.node_id(), &target, error);
            error.reason()
        }
    };
    desk.site.metrics().sync_ended(SyncRole::Requester, reason);
}

/// A listener of the host's on this runtime.
pub(super) fn listen(listener: TcpListener) -> io::Result<tokio::net::TcpListener> {
    listener.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(listener)
}

/// Accepts exchanges for ever.
async fn serve_sync(desk: Arc<Desk>, listener: tokio::net::TcpListener) {
    let places = Arc::new(Semaphore::new(desk.limits.inbound));
    let crowd = Crowd::new();
    let mut exchanges = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_ended) = exchanges.join_next() => continue,
        };
        let stream = match accepted {
            Ok((stream, _address)) => stream,
            Err(error) => {
                // Out of descriptors, most likely: accepting at once again would spin.
                tracing::debug!(target: "mesh_gossip", Reason = %error, "accept failed");
                sleep(desk.limits.retry * 20).await;
                continue;
            }
        };
        if exchanges.len() >= desk.limits.inbound + desk.limits.waiting {
            response_ended(&desk, &Err(SyncError::Crowded));
            continue;
        }
        let (desk, places, crowd) = (Arc::clone(&desk), Arc::clone(&places), crowd.clone());
        exchanges.spawn_local(async move {
            let outcome = match timeout(desk.limits.handshake, places.acquire()).await {
                Ok(Ok(_place)) => sync::respond(&desk, stream, &crowd).await,
                Ok(Err(_)) | Err(_) => Err(SyncError::Crowded),
            };
            response_ended(&desk, &outcome);
        });
    }
}

fn response_ended(desk: &Desk, outcome: &Result<(), SyncError>) {
    let reason = match outcome {
        Ok(()) => "complete",
        Err(error) => {
            tracing::trace!(
                target: "mesh_gossip",
                NodeId = desk.site.node_id(),
                Reason = %error,
                "mesh sync not served"
            );
            error.reason()
        }
    };
    desk.site.metrics().sync_ended(SyncRole::Responder, reason);
}

/// Whether the agent of this desk has found the mesh.
fn joined(desk: &Arc<Desk>) -> impl Fn() -> bool + use<> {
    let desk = Arc::clone(desk);
    move || desk.site.is_joined()
}

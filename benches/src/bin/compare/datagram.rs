//! Datagrams a second and core: one datagram is one receive, one send, and what the kernel does for
//! both of them on this core.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use mesh_gossip::options::BackendChoice;
use mesh_gossip::tls::credentials::Credentials;
use mesh_gossip_benches::meeting::Notary;
use serde_json::{Value, json};

use crate::bare::Bare;
use crate::crowd::{Crowd, Shape};
use crate::ours::{Ours, Party};
use crate::quic::Quic;
use crate::raw::{self, Raw};
use crate::report::{Goal, Picture, Table, number, spread_json};
use crate::tokio_ring::TokioRing;
use crate::tokio_udp::Tokio;
use crate::turns::{Alternative, Found, Mistake, Plan, take_turns};

/// UDP payloads, header and tag included.
const SIZES: [usize; 3] = [64, 256, 1_200];
/// Everybody under way is somebody else.
pub(crate) const DIFFERENT: Shape = Shape { peers: 64, depth: 1 };
/// As many datagrams under way, eight to each.
const BURSTS: Shape = Shape { peers: 8, depth: 8 };
/// Shares of the raw calls that a change may not fall below, by size.
const NEVER_BELOW: [f64; 3] = [0.82, 0.80, 0.75];

const FULL: Plan = Plan { runs: 5, run: Duration::from_millis(4_500) };
const FULL_BURSTS: Plan = Plan { runs: 5, run: Duration::from_millis(2_000) };
const QUICK: Plan = Plan { runs: 3, run: Duration::from_millis(2_000) };

/// Certificates are made once.
pub(crate) struct Cast {
    hub: Arc<Credentials>,
    peers: Vec<Arc<Credentials>>,
}

impl Cast {
    pub(crate) fn new() -> Self {
        let notary = Notary::new();
        let peers = (0..DIFFERENT.peers as u32).map(|number| notary.credentials(number)).collect();
        Self { hub: notary.credentials(1_000), peers }
    }

    pub(crate) fn party(&self) -> Party<'_> {
        Party { hub: &self.hub, peers: &self.peers }
    }
}

/// Why nothing was compared.
#[derive(Debug)]
pub(crate) enum Trouble {
    Io(io::Error),
    Mistake(&'static str),
    Below { size: usize, best: f64, least: f64 },
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Mistake(what) => f.write_str(what),
            Self::Below { size, best, least } => write!(
                f,
                "at {size} bytes the best of three runs reaches {best:.3} of the raw calls, and \
                 {least:.2} is the least"
            ),
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Mistake> for Trouble {
    fn from(mistake: Mistake) -> Self {
        Self::Mistake(mistake.0)
    }
}

/// What the engine takes when nobody chooses.
pub(crate) fn default_name() -> Result<&'static str, Trouble> {
    let (io, _) = mesh_gossip::io::start(BackendChoice::Auto).map_err(io::Error::other)?;
    Ok(name_of(mesh_gossip::io::Datagrams::backend(&io)))
}

/// The name under which a backend of ours takes its turns.
pub(crate) fn name_of(backend: mesh_gossip::io::Backend) -> &'static str {
    match backend {
        mesh_gossip::io::Backend::Uring => "mesh-gossip, uring",
        mesh_gossip::io::Backend::Mmsg => "mesh-gossip, mmsg",
    }
}

/// Everybody, or whoever a quick look needs.
fn alternatives<'a>(
    crowd: &'a RefCell<Crowd>,
    cast: &Cast,
    (shape, size): (Shape, usize),
    quick: bool,
) -> Result<Vec<Box<dyn Alternative + 'a>>, Trouble> {
    let (party, payload) = (cast.party(), Ours::payload_of(size));
    let mut all: Vec<Box<dyn Alternative + 'a>> =
        vec![Box::new(Raw::open(crowd, shape, size)?), Box::new(Raw::sealed(crowd, shape, size)?)];
    let own = |choice| Ours::new(crowd, shape, &party, choice, payload.clone());
    if quick {
        all.push(Box::new(own(BackendChoice::Auto)?));
        return Ok(all);
    }
    all.push(Box::new(Tokio::open(crowd, shape, size)?));
    all.push(Box::new(Tokio::sealed(crowd, shape, size)?));
    match own(BackendChoice::Uring) {
        Ok(uring) => {
            all.push(Box::new(uring));
            all.push(Box::new(Bare::new(crowd, shape, BackendChoice::Uring, size)?));
            all.push(Box::new(TokioRing::new(crowd, shape, size)?));
        }
        Err(error) => eprintln!("without io_uring: {error}"),
    }
    all.push(Box::new(own(BackendChoice::Mmsg)?));
    all.push(Box::new(Bare::new(crowd, shape, BackendChoice::Mmsg, size)?));
    // On a busy machine batches of its bursts stay without any answer; why is not known.
    if shape.depth == 1 {
        all.push(Box::new(Quic::new(crowd, shape, &party, size)?));
    }
    Ok(all)
}

/// All sizes of one shape.
fn measure(shape: Shape, plan: Plan, quick: bool) -> Result<BTreeMap<usize, Found>, Trouble> {
    let (cast, crowd) = (Cast::new(), RefCell::new(Crowd::of(shape.peers)?));
    let mut found = BTreeMap::new();
    for size in SIZES {
        let mut all = alternatives(&crowd, &cast, (shape, size), quick)?;
        found.insert(size, take_turns(plan, &mut all)?);
    }
    Ok(found)
}

/// The smallest check: below its least share of the raw calls nothing may fall. All sizes are told
/// before the first that is below ends it.
pub(crate) fn quick() -> Result<Value, Trouble> {
    let (own, found) = (default_name()?, measure(DIFFERENT, QUICK, true)?);
    let mut shares = serde_json::Map::new();
    let mut below = None;
    for ((size, found), least) in found.iter().zip(NEVER_BELOW) {
        let (share, sealed) = (found.ratio(own, raw::OPEN), found.ratio(own, raw::SEALED));
        println!(
            "{size:>5} bytes: {} of the raw calls, least {least:.2}; {} of those that seal",
            number(share, 3),
            number(sealed, 3)
        );
        if share.max < least {
            below.get_or_insert(Trouble::Below { size: *size, best: share.max, least });
        }
        shares.insert(
            size.to_string(),
            json!({ "vs_raw": spread_json(share), "vs_raw_sealed": spread_json(sealed) }),
        );
    }
    below.map_or(Ok(json!({ "datagram_quick": shares })), Err)
}

/// The whole comparison.
pub(crate) fn full(plot: Option<&std::path::Path>) -> Result<Value, Trouble> {
    let own = default_name()?;
    let different = measure(DIFFERENT, FULL, false)?;
    tables("64 different peers", &different);
    let bursts = measure(BURSTS, FULL_BURSTS, false)?;
    tables("bursts of 8 to each of 8 peers", &bursts);
    parts(own, &different);
    goals(own, &different, &bursts);
    if let Some(path) = plot {
        let title = "Datagrams a second and core, 64 different peers";
        std::fs::write(path, Picture::of(title, &different).draw()?)?;
    }
    let mut sizes = serde_json::Map::new();
    for (size, found) in &different {
        let against = |reference| spread_json(found.ratio(own, reference));
        sizes.insert(
            size.to_string(),
            json!({
                "vs_raw": against(raw::OPEN),
                "vs_raw_sealed": against(raw::SEALED),
                "vs_tokio_sealed": against("tokio, sealed"),
                "vs_tokio": against("tokio"),
            }),
        );
    }
    Ok(json!({ "datagram": sizes }))
}

fn tables(shape: &str, found: &BTreeMap<usize, Found>) {
    for (size, found) in found {
        let title = format!("{shape}, {size} bytes");
        println!("{}", Table::new(&title, "datagrams/s", found, [raw::OPEN, "tokio, sealed"]));
    }
}

/// Where the time of one datagram goes, by what is left when something is left out.
fn parts(own: &str, different: &BTreeMap<usize, Found>) {
    let bare = match own {
        "mesh-gossip, uring" => "uring, unsealed",
        _ => "mmsg, unsealed",
    };
    println!("ns of one datagram by part, medians of {own}");
    for (size, found) in different {
        let ns = |name| found.ns(name).median;
        let (kernel, loops) = (ns(raw::OPEN), ns(bare) - ns(raw::OPEN));
        let aead = ns(raw::SEALED) - ns(raw::OPEN);
        let session = ns(own) - ns(bare) - aead;
        println!(
            "  {size:>5} bytes: raw calls {kernel:.0}, loop and copies {loops:+.0}, \
             AEAD {aead:+.0}, sessions and messages {session:+.0}"
        );
    }
}

/// What was aimed at, and what came of it.
fn goals(own: &str, different: &BTreeMap<usize, Found>, bursts: &BTreeMap<usize, Found>) {
    // What raw calls with the AEAD alone do not reach is out of reach; bursts gain by what raw calls
    // do not do.
    let goals = [
        ("share of the raw calls", different, raw::OPEN, [0.88, 0.87, 0.82], true),
        ("times tokio, sealed", different, "tokio, sealed", [1.30, 1.28, 1.25], true),
        ("times tokio, sealed, in bursts", bursts, "tokio, sealed", [5.0, 5.0, 3.5], false),
    ];
    for (what, found, reference, wanted, is_bounded) in goals {
        for ((size, found), wanted) in found.iter().zip(wanted) {
            let reached = found.ratio(own, reference);
            let most = is_bounded.then(|| found.ratio(raw::SEALED, reference));
            println!("{}", Goal { what, size: *size, wanted, reached, most });
        }
    }
}

//! The way to each seed: TLS over TCP, datagrams small and large, and the seed's clock.
//!
//! Invariant: no session is made under the name of an agent that may be running; its peers would
//! send to the doctor what it should hear.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use mesh_gossip::examine::{self, Echo, LARGE, Meeting, NoMeeting, SMALL, TlsTrouble};
use mesh_gossip::options::AgentOptions;
use mesh_gossip::proto::{MemberId, WallTime};
use mesh_gossip::tls::credentials::Credentials;
use mesh_gossip::tls::identity::Identity;

use super::report::Finding;
use super::seeds::Seed;
use super::thirds;

const TLS: &str = "mTLS";
const NAME: &str = "node id";
const UDP: &str = "UDP";
const MTU: &str = "MTU";
const CLOCK: &str = "clock";

/// A node says nothing while its clock and that of its seeds are further apart.
const MOST_SKEW: Duration = Duration::from_secs(600);
/// Certificates count from a minute before they were issued.
const SMALL_SKEW: Duration = Duration::from_secs(60);

/// What the looks need.
pub(super) struct Looks<'a> {
    pub(super) options: &'a AgentOptions,
    pub(super) credentials: &'a Arc<Credentials>,
    /// No agent of this name runs here.
    pub(super) alone: bool,
    /// This node's agent runs, and answered.
    pub(super) runs: bool,
    pub(super) patience: Duration,
    /// Our clock; `None`: the system's.
    pub(super) wall: Option<fn() -> WallTime>,
}

/// One seed, as it was found.
pub(super) struct Way {
    pub(super) seed: Seed,
    /// Whose certificate it showed, where both sides accept each other.
    pub(super) member: Option<MemberId>,
    /// Its datagrams come back.
    pub(super) answers: bool,
}

impl Looks<'_> {
    /// Everything about the ways to these seeds, and what they say of each other and of us.
    pub(super) fn at(&self, seeds: &[Seed]) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut ways = Vec::new();
        for seed in seeds.iter().filter(|seed| !self.is_own(seed.address)) {
            let (found, way) = self.at_one(seed);
            findings.extend(found);
            ways.push(way);
        }
        findings.extend(thirds::check(self, &ways));
        findings
    }

    /// A list of seeds may name this node too.
    fn is_own(&self, address: SocketAddr) -> bool {
        let bound = self.options.bind;
        let here = |ip: IpAddr| UdpSocket::bind((ip, 0)).is_ok();
        bound.port() == address.port()
            && (bound.ip() == address.ip() || (bound.ip().is_unspecified() && here(address.ip())))
    }

    fn at_one(&self, seed: &Seed) -> (Vec<Finding>, Way) {
        let tls = examine::tls(self.credentials, seed.address, self.patience);
        let member = tls.as_ref().ok().map(Identity::member_id);
        let mut findings = vec![handshake(seed, tls)];
        let (found, answers) = self.datagrams(seed, member.is_some());
        findings.extend(found);
        (findings, Way { seed: seed.clone(), member, answers })
    }

    /// What was found, and whether datagrams were answered.
    fn datagrams(&self, seed: &Seed, trusted: bool) -> (Vec<Finding>, bool) {
        let failed = |error: &dyn std::fmt::Display| {
            let fix = "let this process send datagrams to it";
            (vec![Finding::fail(UDP, format!("{seed}: {error}"), fix)], false)
        };
        let any: IpAddr =
            if seed.address.is_ipv4() { [0, 0, 0, 0].into() } else { [0u16; 8].into() };
        let socket = match UdpSocket::bind((any, 0)) {
            Ok(socket) => socket,
            Err(error) => return failed(&error),
        };
        let echo = |size| examine::echo(&socket, seed.address, size, self.patience);
        match echo(SMALL) {
            Ok(Echo { came_back: true, .. }) => {}
            Ok(Echo { sent, .. }) => return (vec![self.unheard(seed, trusted, &sent)], false),
            Err(error) => return failed(&error),
        }
        let mut findings =
            vec![Finding::pass(UDP, format!("{seed}: a datagram of {SMALL} bytes came back"))];
        match echo(LARGE) {
            Ok(Echo { came_back: true, .. }) if self.alone && trusted => {
                findings.extend(self.session(seed));
            }
            Ok(Echo { came_back: true, .. }) => {
                let evidence = format!("{seed}: a datagram of {LARGE} bytes arrives there");
                findings.push(Finding::pass(MTU, evidence));
            }
            Ok(_) => findings.push(narrow(seed, "to")),
            Err(error) => findings.extend(failed(&error).0),
        }
        (findings, true)
    }

    /// No datagram was answered: over TCP the seed tells which way lost them.
    fn unheard(&self, seed: &Seed, trusted: bool, sent: &[u64]) -> Finding {
        let heard = || examine::heard(self.credentials, seed.address, sent, self.patience).ok();
        silent(seed, trusted, trusted.then(heard).flatten(), sent.len())
    }

    fn session(&self, seed: &Seed) -> Vec<Finding> {
        match examine::meet(self.credentials, seed.address, self.patience, self.wall) {
            Ok(Meeting { ahead_ms }) => {
                let evidence = format!("{seed}: datagrams of {LARGE} bytes pass both ways");
                let mut findings = vec![Finding::pass(MTU, evidence)];
                findings.extend(ahead_ms.map(|ahead| clock(seed, ahead)));
                findings
            }
            Err(NoMeeting::Silence) => vec![narrow(seed, "from")],
            Err(NoMeeting::Failed("own-id")) => vec![doubled(seed)],
            Err(error @ (NoMeeting::Failed(_) | NoMeeting::Io(_))) => {
                let fix = "see the log of that member";
                vec![Finding::fail(UDP, format!("{seed}: {error}"), fix)]
            }
        }
    }
}

fn handshake(seed: &Seed, tls: Result<Identity, TlsTrouble>) -> Finding {
    let Err(trouble) = tls else {
        return Finding::pass(TLS, format!("{seed}: both sides accept each other"));
    };
    let fix = match &trouble {
        TlsTrouble::Refused { reason: "own-id", .. } => return doubled(seed),
        TlsTrouble::Dial(_) => {
            "start the member there, and let TCP and UDP pass to its gossip port"
        }
        TlsTrouble::Broken(_) => "check that a mesh agent listens at that port, and no proxy",
        TlsTrouble::Refused { reason, .. } => match *reason {
            "unknown-ca" => {
                "give both nodes certificates of one CA, or both roots to mesh:gossip:tls:caPath"
            }
            "expired" => "renew that member's certificate, or set the clock",
            "not-yet-valid" => "set the clock, here or there",
            "revoked" => "issue that member another certificate",
            "foreign-cluster" => "name members of this cluster in mesh:gossip:seedPeers",
            "foreign-trust-domain" => "set mesh:gossip:tls:trustDomain as that member has it",
            "pin" => "add its thumbprint to mesh:gossip:tls:allowedThumbprints",
            "stale-list" => "fetch the authority's newest revocation list",
            _ => "check that the seed is a member of this mesh, and issue its certificate again",
        },
        TlsTrouble::RefusesUs { alert } => match alert.as_str() {
            "UnknownCA" => "give that member our root in its mesh:gossip:tls:caPath",
            "CertificateExpired" => "renew our certificate, or set that member's clock",
            "CertificateRevoked" => "issue this node another certificate",
            _ => "compare cluster, trust domain and thumbprints there; its log tells the reason",
        },
    };
    Finding::fail(TLS, format!("{seed}: {trouble}"), fix)
}

fn doubled(seed: &Seed) -> Finding {
    let evidence = format!("{seed} shows a certificate of this node's own id: two nodes have it");
    Finding::fail(NAME, evidence, "give one of them another mesh:gossip:nodeId and certificate")
}

/// `heard`: how many of those sent the seed says that it saw.
fn silent(seed: &Seed, trusted: bool, heard: Option<usize>, sent: usize) -> Finding {
    let port = seed.address.port();
    let lost = format!("{seed}: TCP works, but no datagram of {SMALL} bytes came back");
    match heard {
        Some(0) => Finding::fail(
            UDP,
            format!("{lost}, and it saw none of {sent}: UDP is blocked on the way to the seed"),
            format!("let UDP pass from here to port {port} there"),
        ),
        Some(seen) => Finding::fail(
            UDP,
            format!("{lost}, yet it saw {seen} of {sent}: UDP is blocked on the way from the seed"),
            format!("let UDP pass from its port {port} back to here"),
        ),
        None if trusted => Finding::fail(
            UDP,
            format!("{lost}: UDP is blocked on the way there or on the way back"),
            format!("let UDP pass to port {port} there, and answers from it back"),
        ),
        None => Finding::fail(
            UDP,
            format!("{seed}: no datagram came back"),
            format!("let UDP pass to port {port} there, both ways"),
        ),
    }
}

fn narrow(seed: &Seed, lost: &str) -> Finding {
    let evidence = format!(
        "{seed}: datagrams of {SMALL} bytes pass both ways, those of up to {LARGE} bytes are lost \
         on the way {lost} the seed: a path with a small MTU that drops in silence"
    );
    let fix =
        "let IP packets of 1,248 bytes pass: raise the MTU of the tunnel or interface between";
    Finding::fail(MTU, evidence, fix)
}

fn clock(seed: &Seed, ahead_ms: i64) -> Finding {
    let apart = Duration::from_millis(ahead_ms.unsigned_abs());
    let side = if ahead_ms < 0 { "behind" } else { "ahead of" };
    let evidence = format!("ours is {:.3} s {side} that of {seed}", apart.as_secs_f64());
    let fix = "set the clocks by NTP (chronyc makestep), the wrong one first";
    if apart >= MOST_SKEW {
        let evidence = format!("{evidence}: a node says nothing from ten minutes on");
        Finding::fail(CLOCK, evidence, fix)
    } else if apart >= SMALL_SKEW {
        Finding::warn(CLOCK, evidence, fix)
    } else {
        Finding::pass(CLOCK, evidence)
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use mesh_gossip::bootstrap::{CaValidity, CertificateAuthority, Subject};
    use mesh_gossip::settings::{Settings, Sources};
    use mesh_gossip::{Agent, Engine};

    use super::super::report::Verdict;
    use super::*;

    type Outcome = Result<(), Box<dyn std::error::Error>>;

    /// Settings of a node on loopback with certificates of this authority.
    fn options(
        ca: &CertificateAuthority,
        node: &str,
    ) -> Result<AgentOptions, Box<dyn std::error::Error>> {
        let text = format!(
            r#"{{"mesh:gossip": {{"clusterId": "c1", "nodeId": "{node}", "port": 0,
                "bindAddress": "127.0.0.1", "control": {{"port": 0}},
                "tls": {{"certificatePath": "a", "caPath": "b", "trustDomain": "td.test"}}}}}}"#
        );
        let settings = Settings::load(&Sources::new().json("app.json", &text))?;
        let (_, mut options) = settings.resolve()?;
        let day = Duration::from_secs(86_400);
        let issued = ca.issue(&Subject::new(node, "worker"), SystemTime::now(), day)?;
        options.tls = issued.tls_options(ca);
        Ok(options)
    }

    fn unix_ms() -> u64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// A real seed is asked for the time through a real session; only our clock is made up.
    #[test]
    fn a_clock_that_is_ten_minutes_off_is_told() -> Outcome {
        let ca = CertificateAuthority::create(
            "td.test",
            "c1",
            SystemTime::now(),
            CaValidity::default(),
        )?;
        let engine = Engine::start(mesh_gossip::EngineOptions::default())?;
        let seed = Agent::start(&engine, options(&ca, "seed")?)?;
        let address = seed.local_address();
        let seed = [Seed { name: address.to_string(), address }];
        let options = options(&ca, "n1")?;
        let loaded = Credentials::load(&options.tls, "c1", "n1", "worker")?;
        let (credentials, patience) = (&Arc::new(loaded), Duration::from_secs(10));
        let told = |wall: Option<fn() -> WallTime>| {
            let looks =
                Looks { options: &options, credentials, alone: true, runs: false, patience, wall };
            let found = looks.at(&seed).into_iter().find(|found| found.check == CLOCK);
            found.ok_or("the clock is judged")
        };
        assert_eq!(told(None)?.verdict, Verdict::Pass);
        let ahead = told(Some(|| WallTime(unix_ms() + 11 * 60_000)))?;
        assert_eq!(ahead.verdict, Verdict::Fail);
        assert!(ahead.evidence.contains("s ahead of that of 127.0.0.1"), "{ahead:?}");
        let behind = told(Some(|| WallTime(unix_ms() - 11 * 60_000)))?;
        assert_eq!(behind.verdict, Verdict::Fail);
        assert!(behind.evidence.contains("s behind that of"), "{behind:?}");
        let little = told(Some(|| WallTime(unix_ms() + 5 * 60_000)))?;
        assert_eq!(little.verdict, Verdict::Warn);
        Ok(())
    }
}

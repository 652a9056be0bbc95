//! `omnirelay mesh force-leave`: an operator's order that a member's life is over.
//!
//! The order is made where the operator's key is, and handed to any one member, which passes it on.
//! What was done is told on stderr; the order goes to an agent through its control socket, to a
//! file, or to stdout as one line of hex.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::Args;
use mesh_gossip::options::{Material, RevocationOptions, TlsOptions};
use mesh_gossip::proto::{Incarnation, MemberId, WallTime};
use mesh_gossip::tls::identity::NameRule;
use mesh_gossip::tls::operator::{Operator, OperatorError};

use crate::control::{CertificateArgs, ControlError, Door};
use crate::duration::parse_positive;
use crate::peers::base;
use crate::say::tell;

/// Signs the order that a member is to be gone from the mesh.
///
/// The order names one life of the member, as `mesh peers --format json` shows it: a member that
/// starts again is not meant. Needs the certificate of an operator (`mesh bootstrap issue
/// --operator`).
#[derive(Args, Debug)]
pub(crate) struct ForceLeaveArgs {
    /// Certificate chain of the operator, PEM; the key may stand in the same file.
    #[arg(long, value_name = "FILE")]
    certificate: PathBuf,
    /// Key of the operator, PEM.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Name of the member.
    #[arg(long, value_name = "ID")]
    node: String,
    /// Its incarnation: start of its life in Unix milliseconds, a dot, and a counter.
    #[arg(long, value_name = "MS.N", value_parser = incarnation)]
    incarnation: Incarnation,
    /// How long the order holds, a day at most.
    #[arg(long, default_value = "1h", value_parser = parse_positive)]
    lifetime: Duration,
    /// Where the order is written; without it, --socket and --url one line of hex goes to stdout.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Control socket (mesh:gossip:control:socket) of an agent of this machine that obeys the order
    /// and passes it on.
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    socket: Option<PathBuf>,
    /// Control URL, https, of an agent on another machine that obeys the order and passes it on; it
    /// is shown the operator's certificate.
    #[arg(short, long, value_parser = base, requires = "ca")]
    url: Option<String>,
    /// Certificate authorities of the mesh, PEM, which that agent's certificate must be of.
    #[arg(long, value_name = "FILE", requires = "url")]
    ca: Option<PathBuf>,
    /// How long that agent's answer may take; exit code 2 when it does not come in time.
    #[arg(long, default_value = "10s", value_parser = parse_positive)]
    timeout: Duration,
}

/// Why there is no order.
#[derive(Debug)]
pub(crate) enum ForceLeaveError {
    Operator(OperatorError),
    File(PathBuf, std::io::Error),
    Stdout(std::io::Error),
    Control(ControlError),
}

impl ForceLeaveError {
    /// Whether waiting longer might have helped.
    pub(crate) fn is_timeout(&self) -> bool {
        match self {
            Self::Control(error) => error.is_timeout(),
            Self::Operator(_) | Self::File(..) | Self::Stdout(_) => false,
        }
    }
}

impl fmt::Display for ForceLeaveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator(error) => error.fmt(f),
            Self::File(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Control(error) => error.fmt(f),
            Self::Stdout(error) => write!(f, "the order could not be printed: {error}"),
        }
    }
}

fn incarnation(text: &str) -> Result<Incarnation, String> {
    let parts = text.split_once('.').and_then(|(generation, counter)| {
        Some(Incarnation { generation: generation.parse().ok()?, counter: counter.parse().ok()? })
    });
    parts.ok_or_else(|| {
        "write it as `mesh peers --format json` shows it, such as 1764355833000.2".to_owned()
    })
}

/// Signs the order, and writes or sends it.
pub(crate) fn run(args: &ForceLeaveArgs) -> Result<(), ForceLeaveError> {
    let options = TlsOptions {
        certificate: Material::Path(args.certificate.clone()),
        key: args.key.clone().map(Material::Path),
        password: None,
        // An operator judges nobody.
        ca: Material::Path(args.certificate.clone()),
        trust_domain: String::new(),
        identity: NameRule::default(),
        allowed_thumbprints: Vec::new(),
        revocation: RevocationOptions::default(),
        reload_interval: TlsOptions::RELOAD_INTERVAL,
    };
    let operator = Operator::load(&options).map_err(ForceLeaveError::Operator)?;
    let cluster = &operator.identity().cluster;
    let subject = MemberId::derive(cluster, &args.node);
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let issued = WallTime(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
    let order = operator
        .force_leave(subject, args.incarnation, issued, args.lifetime)
        .map_err(ForceLeaveError::Operator)?;
    if let Some(path) = &args.out {
        std::fs::write(path, &order).map_err(|error| ForceLeaveError::File(path.clone(), error))?;
        tell!(
            "wrote {}: {} of {cluster} at {} is over, an order of {}",
            path.display(),
            args.node,
            args.incarnation,
            operator.identity()
        );
    }
    if let Some(door) = door(args).map_err(ForceLeaveError::Control)? {
        door.ask("POST", "/control/force-leave", &order, args.timeout)
            .map_err(ForceLeaveError::Control)?;
        tell!(
            "sent: {} of {cluster} at {} is over, an order of {}",
            args.node,
            args.incarnation,
            operator.identity()
        );
    }
    if args.out.is_none() && args.socket.is_none() && args.url.is_none() {
        return print(&order);
    }
    Ok(())
}

/// The way to the agent that obeys, if one is named.
fn door(args: &ForceLeaveArgs) -> Result<Option<Door>, ControlError> {
    if let Some(socket) = &args.socket {
        return Ok(Some(Door::Socket(socket.clone())));
    }
    let Some(url) = &args.url else { return Ok(None) };
    let papers = CertificateArgs::of(&args.certificate, args.key.as_ref(), args.ca.as_ref());
    papers.door(url).map(Some)
}

/// One line of hex.
fn print(order: &[u8]) -> Result<(), ForceLeaveError> {
    let mut line = String::with_capacity(2 * order.len() + 1);
    for byte in order {
        write!(line, "{byte:02x}").expect("a string takes what it is given");
    }
    line.push('\n');
    std::io::stdout().lock().write_all(line.as_bytes()).map_err(ForceLeaveError::Stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incarnation_is_read_as_it_is_shown() {
        let shown = Incarnation { generation: 1_764_355_833_000, counter: 2 };
        assert_eq!(incarnation(&shown.to_string()), Ok(shown));
        for text in ["", "7", "1.2.3", "a.b", "-1.0"] {
            assert!(incarnation(text).is_err(), "{text}");
        }
    }
}

//! `omnirelay mesh force-leave`: an operator's order that a member's life is over.
//!
//! The order is made where the operator's key is, and handed to any one member, which passes it on.
//! What was done is told on stderr; the order goes to a file, or to stdout as one line of hex.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::Args;
use mesh_gossip::options::{Material, RevocationOptions, TlsOptions};
use mesh_gossip::proto::{Incarnation, MemberId, WallTime};
use mesh_gossip::tls::operator::{Operator, OperatorError};

use crate::duration::parse_positive;

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
    /// Where the order is written; without it one line of hex goes to stdout.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Why there is no order.
#[derive(Debug)]
pub(crate) enum ForceLeaveError {
    Operator(OperatorError),
    File(PathBuf, std::io::Error),
    Stdout(std::io::Error),
}

impl fmt::Display for ForceLeaveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator(error) => error.fmt(f),
            Self::File(path, error) => write!(f, "{}: {error}", path.display()),
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

/// Signs and writes the order.
pub(crate) fn run(args: &ForceLeaveArgs) -> Result<(), ForceLeaveError> {
    let options = TlsOptions {
        certificate: Material::Path(args.certificate.clone()),
        key: args.key.clone().map(Material::Path),
        password: None,
        // An operator judges nobody.
        ca: Material::Path(args.certificate.clone()),
        trust_domain: String::new(),
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
    match &args.out {
        Some(path) => {
            std::fs::write(path, &order)
                .map_err(|error| ForceLeaveError::File(path.clone(), error))?;
            eprintln!(
                "wrote {}: {} of {cluster} at {} is over, an order of {}",
                path.display(),
                args.node,
                args.incarnation,
                operator.identity()
            );
            Ok(())
        }
        None => {
            let mut line = String::with_capacity(2 * order.len() + 1);
            for byte in &order {
                write!(line, "{byte:02x}").expect("a string takes what it is given");
            }
            line.push('\n');
            std::io::stdout().lock().write_all(line.as_bytes()).map_err(ForceLeaveError::Stdout)
        }
    }
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

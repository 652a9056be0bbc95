//! What this machine grants: addresses to listen at, and io_uring.
//!
//! Invariant: whatever is bound or started to see whether it can be is gone again afterwards.

use std::io;
use std::net::{SocketAddr, TcpListener};

use mesh_gossip::io::{Backend, Refusal, Startup, bind_pair};
use mesh_gossip::options::{AgentOptions, BackendChoice, EngineOptions};
use mesh_gossip::{Engine, StartError};

use super::report::Finding;
use super::running::Running;

const BINDS: &str = "binds";
const IO: &str = "io_uring";

/// Whether everything can be bound that an agent binds, or is bound by it.
pub(super) fn binds(options: &AgentOptions, running: Option<&Running>) -> Vec<Finding> {
    let mut findings =
        vec![bind("mesh:gossip:port", options.bind, running, |at| bind_pair(at).map(drop))];
    match options.control.as_ref().map(|control| (control.bind, control.tls.is_some())) {
        None => {}
        Some((at, false)) if !at.ip().is_loopback() => {
            let error = StartError::ControlExposed(at).to_string();
            let fix = "set mesh:gossip:control:tls:enabled to true, or the address to 127.0.0.1";
            findings.push(Finding::fail(BINDS, error, fix));
        }
        Some((at, _)) => findings.push(bind("mesh:gossip:control:port", at, running, |at| {
            TcpListener::bind(at).map(drop)
        })),
    }
    findings
}

/// Whether nobody has these ports; port 0 is always free, and says nothing.
pub(super) fn is_free(gossip: SocketAddr) -> bool {
    bind_pair(gossip).is_ok()
}

fn bind(
    key: &'static str,
    address: SocketAddr,
    running: Option<&Running>,
    attempt: impl FnOnce(SocketAddr) -> io::Result<()>,
) -> Finding {
    match (attempt(address), running) {
        (Ok(()), _) => Finding::pass(BINDS, format!("{key}: {address} can be bound")),
        (Err(error), Some(running)) if error.kind() == io::ErrorKind::AddrInUse => {
            let evidence =
                format!("{key}: {address} is held by this node's agent ({})", running.url);
            Finding::pass(BINDS, evidence)
        }
        (Err(error), _) => {
            let error = StartError::Bind { key, address, error }.to_string();
            Finding::fail_of(BINDS, &error, "choose an address and port that this process may bind")
        }
    }
}

/// Which backend an engine gets, and why it is not io_uring.
pub(super) fn datagrams(options: EngineOptions) -> Finding {
    let one = EngineOptions { shards: Some(1), pin: false, ..options };
    judged(options.backend, Engine::start(one).map(|engine| engine.startup()))
}

fn judged(choice: BackendChoice, started: Result<Startup, StartError>) -> Finding {
    match started {
        Ok(Startup { fallback: Some(refusal), backend }) => Finding::warn(
            IO,
            format!("{refusal}; datagrams go through {}", backend.as_str()),
            cure(&refusal),
        ),
        Ok(Startup { backend: Backend::Uring, fallback: None }) => {
            Finding::pass(IO, "a ring has carried a datagram to itself")
        }
        Ok(Startup { backend: Backend::Mmsg, fallback: None }) => {
            Finding::pass(IO, "not wished for: mesh:gossip:io:backend is mmsg")
        }
        Err(error) => {
            let fix = match choice {
                BackendChoice::Uring => "set mesh:gossip:io:backend to auto",
                BackendChoice::Auto | BackendChoice::Mmsg => {
                    "raise the limits on threads and file descriptors of this process"
                }
            };
            Finding::fail(IO, error.to_string(), fix)
        }
    }
}

fn cure(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Kernel { .. } => {
            "run a kernel of 6.1 or later, or set mesh:gossip:io:backend to mmsg"
        }
        Refusal::Seccomp { .. } => {
            "allow io_uring_setup, io_uring_enter and io_uring_register in the container's seccomp \
             profile, or set mesh:gossip:io:backend to mmsg"
        }
        Refusal::Sysctl { .. } => {
            "sysctl kernel.io_uring_disabled=0, or set mesh:gossip:io:backend to mmsg"
        }
        Refusal::Memlock { .. } => "raise RLIMIT_MEMLOCK (LimitMEMLOCK= of the unit)",
        Refusal::Descriptors => "raise RLIMIT_NOFILE (LimitNOFILE= of the unit)",
        Refusal::Deaf | Refusal::Other { .. } => "set mesh:gossip:io:backend to mmsg",
    }
}

#[cfg(test)]
mod tests {
    use mesh_gossip::io::{IoError, Step};

    use super::super::report::Verdict;
    use super::*;

    /// `auto` works on without io_uring, which is worth a warning; who insists gets no engine.
    #[test]
    fn io_uring_refused_is_told_with_the_reason_and_a_cure() {
        let reasons = [
            (Refusal::Seccomp { step: Step::Ring }, "seccomp profile forbids", "io_uring_setup"),
            (Refusal::Sysctl { value: 2 }, "kernel.io_uring_disabled = 2", "sysctl"),
            (Refusal::Kernel { step: Step::Buffers }, "6.1 has it", "kernel of 6.1"),
            (Refusal::Memlock { limit_bytes: Some(8) }, "RLIMIT_MEMLOCK is 8", "LimitMEMLOCK"),
            (Refusal::Descriptors, "RLIMIT_NOFILE", "LimitNOFILE"),
            (Refusal::Deaf, "never arrived", "mmsg"),
        ];
        for (refusal, evidence, fix) in reasons {
            let startup = Startup { backend: Backend::Mmsg, fallback: Some(refusal) };
            let found = judged(BackendChoice::Auto, Ok(startup));
            assert_eq!(found.verdict, Verdict::Warn);
            assert!(found.evidence.contains(evidence), "{found:?}");
            assert!(found.fix.as_deref().is_some_and(|text| text.contains(fix)), "{found:?}");

            let refused = StartError::Io(IoError::UringRefused(refusal));
            let found = judged(BackendChoice::Uring, Err(refused));
            assert_eq!(found.verdict, Verdict::Fail);
            assert!(found.evidence.contains(evidence), "{found:?}");
            assert_eq!(found.fix.as_deref(), Some("set mesh:gossip:io:backend to auto"));
        }
        let chosen = Startup { backend: Backend::Mmsg, fallback: None };
        assert_eq!(judged(BackendChoice::Mmsg, Ok(chosen)).verdict, Verdict::Pass);
    }
}

//! The ports and files of an agent, taken before the node exists.
//!
//! Invariant: what is bound is free again when this is dropped.

use std::net::{SocketAddr, TcpListener, UdpSocket};

use crate::control::OwnerSocket;
use crate::error::StartError;
use crate::io;
use crate::options::{AgentOptions, ControlSocket};
use crate::trace;

/// What is bound before the node exists.
pub(super) struct Bound {
    pub(super) datagrams: UdpSocket,
    pub(super) streams: TcpListener,
    pub(super) local: SocketAddr,
    pub(super) http: Option<(TcpListener, SocketAddr)>,
    pub(super) socket: Option<OwnerSocket>,
}

impl Bound {
    pub(super) fn bind(options: &AgentOptions) -> Result<Self, StartError> {
        let failed = |key, address| move |error| StartError::Bind { key, address, error };
        let gossip = failed("mesh:gossip:port", options.bind);
        let (datagrams, streams) = io::bind_pair(options.bind).map_err(gossip)?;
        let local = datagrams.local_addr().map_err(failed("mesh:gossip:port", options.bind))?;
        let http = match &options.control {
            None => None,
            Some(control) if control.tls.is_none() && !control.bind.ip().is_loopback() => {
                return Err(StartError::ControlExposed(control.bind));
            }
            Some(control) => {
                let failed = |error| StartError::Bind {
                    key: "mesh:gossip:control:port",
                    address: control.bind,
                    error,
                };
                let listener = TcpListener::bind(control.bind).map_err(failed)?;
                let at = listener.local_addr().map_err(failed)?;
                Some((listener, at))
            }
        };
        let socket = match options.control.as_ref().map(|control| &control.socket) {
            None | Some(ControlSocket::Off) => None,
            Some(ControlSocket::At(path)) => Some(
                OwnerSocket::bind(path)
                    .map_err(|error| StartError::ControlSocket { path: path.clone(), error })?,
            ),
            Some(ControlSocket::IfPossible(path)) => OwnerSocket::bind(path)
                .inspect_err(|error| trace::no_socket(&options.node_id, path, error))
                .ok(),
        };
        Ok(Self { datagrams, streams, local, http, socket })
    }
}

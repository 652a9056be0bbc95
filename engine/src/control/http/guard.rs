//! Who asks, and what it may (rule S-20).
//!
//! A browser is kept out by two headers that it cannot help sending: the name that it looked up
//! (`Host`) and the page that asked (`Origin`). Over TLS the first is the handshake's affair: a
//! page of another name cannot complete one under that name.
//!
//! Invariant: a request reaches a handler only if whoever made the connection may make it.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::Response;
use axum::serve::IncomingStream;
use tokio::time::timeout;

use super::listener::BoundedListener;
use super::{ANSWER_WITHIN, Front, MOST_BODY, refusal};

/// Whoever made a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// Anybody on this machine, over loopback: reads.
    Neighbour,
    /// The agent's owner, over its socket: reads and changes.
    Owner,
    /// A member of the mesh, by its certificate: reads.
    Member,
    /// An operator, by its certificate: reads and changes.
    Operator(Arc<str>),
}

impl Connected<IncomingStream<'_, BoundedListener>> for Caller {
    fn connect_info(stream: IncomingStream<'_, BoundedListener>) -> Self {
        stream.remote_addr().clone()
    }
}

/// Who may ask, and for how long.
pub(super) async fn guard(
    State(front): State<Arc<Front>>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    request: Request,
    next: Next,
) -> Response {
    let dropped = |why| front.desk.site.metrics().control_dropped(why);
    if let Some(why) = forbidden(&request, &caller) {
        dropped("forbidden");
        return refusal(StatusCode::FORBIDDEN, why);
    }
    if let Caller::Operator(name) = &caller
        && !tells(request.method())
    {
        tracing::info!(
            target: "mesh_gossip",
            NodeId = front.desk.site.node_id(),
            Operator = %name,
            Method = %request.method(),
            Path = request.uri().path(),
            "an operator asks for a change"
        );
    }
    match timeout(ANSWER_WITHIN, next.run(request)).await {
        Ok(response) => {
            if response.status() == StatusCode::PAYLOAD_TOO_LARGE {
                dropped("large");
                let why = format!("a body has {MOST_BODY} bytes at most");
                return refusal(StatusCode::PAYLOAD_TOO_LARGE, &why);
            }
            response
        }
        Err(_elapsed) => {
            dropped("late");
            refusal(StatusCode::SERVICE_UNAVAILABLE, "no answer in time")
        }
    }
}

fn tells(method: &Method) -> bool {
    method == Method::GET || method == Method::HEAD
}

/// Why this may not be asked here, if so.
fn forbidden(request: &Request, caller: &Caller) -> Option<&'static str> {
    if request.headers().contains_key(header::ORIGIN) {
        return Some("requests of web pages are refused");
    }
    match caller {
        Caller::Neighbour if !is_local(request.uri(), request.headers()) => {
            Some("the Host header names no loopback address")
        }
        Caller::Neighbour if !tells(request.method()) => Some(
            "this port only tells; changes need the control socket (mesh:gossip:control:socket)",
        ),
        Caller::Member if !tells(request.method()) => {
            Some("this certificate only reads; changes need one of the role operator")
        }
        Caller::Neighbour | Caller::Member | Caller::Owner | Caller::Operator(_) => None,
    }
}

/// Exactly one Host header, of a loopback name; an absolute target must agree.
fn is_local(uri: &Uri, headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    host.to_str().is_ok_and(is_loopback_name)
        && uri.authority().is_none_or(|authority| is_loopback_name(authority.as_str()))
}

/// `localhost`, `127.0.0.0/8` or `[::1]`, with any port or none.
fn is_loopback_name(host: &str) -> bool {
    if let Some(bracketed) = host.strip_prefix('[') {
        let Some((ip, port)) = bracketed.split_once(']') else { return false };
        let port_is_fine = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return port_is_fine && ip.parse().is_ok_and(|ip: std::net::Ipv6Addr| ip.is_loopback());
    }
    let (name, port_is_fine) = match host.split_once(':') {
        Some((name, port)) => (name, is_port(port)),
        None => (host, true),
    };
    let is_loopback = name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    port_is_fine && (is_loopback || name.eq_ignore_ascii_case("localhost"))
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rule S-20.
    #[test]
    fn only_loopback_names_are_names_of_ours() {
        for ours in ["localhost", "LocalHost:8080", "127.0.0.1", "127.9.9.9:1", "[::1]", "[::1]:8"]
        {
            assert!(is_loopback_name(ours), "{ours}");
        }
        for foreign in [
            "",
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "localhost:",
            "localhost:80@evil.example",
            "10.0.0.1:8080",
            "[2001:db8::1]:8080",
            "[::1]evil",
            "[::1",
            "0.0.0.0",
        ] {
            assert!(!is_loopback_name(foreign), "{foreign}");
        }
    }
}

//! `omnirelay mesh peers watch`: members as they change, until Ctrl-C.
//!
//! Invariant: a connection that breaks is made again from the last event that was printed, so that
//! nothing is missed and nothing told twice.

use std::io::{BufRead, Write};
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Document, Format, PATH, Peer, PeersError, as_table, no_way, row};
use crate::control::{ControlError, Door};
use crate::{stdout, table};

/// The server shows life every five seconds.
const SILENCE: Duration = Duration::from_secs(15);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(250);

/// What comes after the first answer.
#[derive(Deserialize)]
struct Changes<'a> {
    #[serde(borrow)]
    peers: Vec<&'a RawValue>,
    /// Absent in the first answer.
    #[serde(default)]
    removed: Vec<String>,
}

/// Prints what comes; a server that is gone for `timeout` ends it.
pub(super) fn run(door: &Door, format: Format, timeout: Duration) -> Result<(), PeersError> {
    let (what, path) = (door.to_string(), format!("{PATH}/watch"));
    let broken = |error| no_way(&format!("{what}{path}"), error);
    let (mut last, mut since) = (None, None::<Instant>);
    loop {
        let outcome = door
            .open(&path, last.as_deref(), SILENCE.min(timeout))
            .and_then(|mut stream| follow(&mut stream, format, &mut last, &mut since, &what));
        match outcome {
            Ok(Ended::Output(error)) => return Err(PeersError::Output(error)),
            Ok(Ended::Server) => {}
            Err(error @ ControlError::Refused { .. }) => return Err(broken(error)),
            // Somebody who was never reached is more likely a mistake than a restart.
            Err(error) if last.is_none() => return Err(broken(error)),
            Err(error) => {
                let since = *since.get_or_insert_with(Instant::now);
                if since.elapsed() >= timeout {
                    return Err(broken(error));
                }
            }
        }
        thread::sleep(PAUSE);
    }
}

/// Why a stream is followed no longer.
enum Ended {
    Server,
    Output(std::io::Error),
}

fn follow(
    stream: &mut impl BufRead,
    format: Format,
    last: &mut Option<String>,
    since: &mut Option<Instant>,
    what: &str,
) -> Result<Ended, ControlError> {
    let (mut id, mut data) = (None, None);
    loop {
        let mut line = String::new();
        let read = stream.read_line(&mut line);
        match read {
            Ok(0) => return Ok(Ended::Server),
            // Signs of life too are a moment to see whether anybody listens.
            Ok(_) => match stdout::still_read() {
                Ok(()) => *since = None,
                Err(error) => return Ok(Ended::Output(error)),
            },
            Err(error) => return Err(ControlError::Io { what: what.into(), error }),
        }
        let line = line.trim_end_matches(['\r', '\n']);
        if let Some(value) = line.strip_prefix("id: ") {
            id = Some(value.to_owned());
        } else if let Some(value) = line.strip_prefix("data: ") {
            data = Some(value.to_owned());
        } else if line.is_empty()
            && let Some(data) = data.take()
        {
            let text = render(&data, format).map_err(|error| {
                ControlError::Failed(format!("an event of {what} is not understood: {error}"))
            })?;
            let text = format.painted(text);
            let mut out = std::io::stdout().lock();
            if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
                return Ok(Ended::Output(error));
            }
            *last = id.take().or(last.take());
        }
    }
}

/// One event as it is printed.
fn render(data: &str, format: Format) -> Result<String, serde_json::Error> {
    let changes: Changes<'_> = serde_json::from_str(data)?;
    let gone = |node: &String| serde_json::json!({"nodeId": node, "status": "Removed"}).to_string();
    Ok(match format {
        Format::Json => format!("{data}\n"),
        Format::Ndjson => {
            let peers = changes.peers.iter().map(|peer| peer.get().to_owned());
            peers.chain(changes.removed.iter().map(gone)).map(|line| line + "\n").collect()
        }
        Format::Table => match serde_json::from_str::<Document>(data) {
            Ok(document) => as_table(&document) + "\n",
            Err(_) => {
                let peers = changes.peers.iter().map(|peer| serde_json::from_str(peer.get()));
                let peers: Vec<Peer> = peers.collect::<Result<_, _>>()?;
                let removed = |node: &String| format!("{}  Removed\n", table::harmless(node));
                let line = |peer: &Peer| {
                    let cells = row(peer).map(|cell| table::harmless(&cell));
                    let apart = peer.set_apart().map(table::harmless);
                    let apart = apart.map(|apart| format!("  {apart}")).unwrap_or_default();
                    format!("{}{apart}\n", cells.join("  "))
                };
                peers.iter().map(line).chain(changes.removed.iter().map(removed)).collect()
            }
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = r#"{"nodeId":"w","status":"Suspect","metadata":{"role":"worker","clusterId":"c","region":"eu","meshVersion":"1","http3Support":false},"later":1}"#;

    #[test]
    fn changes_are_lines_and_the_first_answer_is_a_table() -> Result<(), serde_json::Error> {
        let first = format!(r#"{{"generatedAt":"t","localNodeId":"m","peers":[{PEER}]}}"#);
        let text = render(&first, Format::Table)?;
        assert!(text.starts_with("Generated at: t\nLocal node: m\n\nNode"), "{text}");
        let later = format!(r#"{{"generatedAt":"t","peers":[{PEER}],"removed":["x\u001b"]}}"#);
        let expected = "w  Suspect  worker  c  eu  1  no  -\nx\u{fffd}  Removed\n";
        assert_eq!(render(&later, Format::Table)?, expected);
        let lines = format!("{PEER}\n{}\n", r#"{"nodeId":"x\u001b","status":"Removed"}"#);
        assert_eq!(render(&later, Format::Ndjson)?, lines);
        assert_eq!(render(&later, Format::Json)?, format!("{later}\n"));
        let drained = later.replace("\"status\"", "\"lifecycle\":\"drained\",\"status\"");
        let text = render(&drained, Format::Table)?;
        assert!(text.starts_with("w  Suspect  worker  c  eu  1  no  -  drained\n"), "{text}");
        Ok(())
    }

    #[test]
    fn a_stream_is_followed_over_signs_of_life_to_its_end() {
        let text = format!(
            ": still here\n\nevent: changes\nid: 1-2\ndata: {{\"peers\":[{PEER}]}}\n\n: still here\n\n"
        );
        let (mut last, mut since) = (Some("1-1".to_owned()), Some(Instant::now()));
        let ended = follow(&mut text.as_bytes(), Format::Json, &mut last, &mut since, "x");
        assert!(matches!(ended, Ok(Ended::Server)));
        assert_eq!((last.as_deref(), since), (Some("1-2"), None));
    }
}

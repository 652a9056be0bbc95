//! What the wire shows: every frame of the loopback interface is recorded while a mesh lives, and
//! nothing that names anybody is among them.
//!
//! Nobody asks these agents over HTTP, which would show the members in clear on the same
//! interface; their logs say how far they are. So the whole recording is held against the claim,
//! and not only what looks like ours.

use std::io::{ErrorKind, Read};
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mesh_gossip::proto::MemberId;
use serde_json::{Map, Value, json};
use socket2::{Domain, Protocol, Socket, Type};

use crate::stage::{Outcome, Process, Stage, skipped, until};

const ETH_P_ALL: u16 = 0x0003;
/// A frame of the loopback interface: segments are joined there before they are shown.
const FRAME_BYTES: usize = 128 * 1_024;
const ETHERNET_BYTES: usize = 14;
/// How long the recording goes on after it was asked to end.
const LINGER: Duration = Duration::from_secs(1);
const TCP: u8 = 6;
const UDP: u8 = 17;

/// All that must not be seen, unmistakable and each of two halves: of a value that is cut by the
/// end of a datagram one half stays whole.
const CLUSTER: &str = "clu7zqxvk-wjpy3fq9n";
const TRUST_DOMAIN: &str = "dom8kqzvx.jwq4ypz7h";
const NODES: [&str; 3] = ["one5xqzjv-kwp8yqf2", "two6vjqzx-pyk3wqf9", "thr4qvzjx-fwy7kpq5"];
const ROLE: &str = "rol3zvqjk-xpw9fyq6";
const REGIONS: [&str; 2] = ["reg2jqzxv-ykf8wpq4", "aft5kzqvj-wxp3yfq8"];
const LABEL: (&str, &str) = ("key9xvqzj-fpk4wyq7", "val8qjzvx-kyw5pfq3");
const VERSION: &str = "ver6zjxqv-pwf2kyq9";

/// What is looked for: every half of every name, and the members' ids.
fn needles() -> Vec<Vec<u8>> {
    let names = [CLUSTER, TRUST_DOMAIN, ROLE, LABEL.0, LABEL.1, VERSION];
    let halves = names.into_iter().chain(NODES).chain(REGIONS).flat_map(|n| n.split(['-', '.']));
    let mut needles: Vec<_> = halves.map(|half| half.as_bytes().to_vec()).collect();
    needles.extend(NODES.iter().map(|node| MemberId::derive(CLUSTER, node).0.to_vec()));
    needles
}

fn holds(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window.eq_ignore_ascii_case(needle))
}

/// One frame as it was on the interface.
struct Frame(Vec<u8>);

impl Frame {
    /// Protocol, source port, destination port; of IPv4, which is all that the agents speak here.
    fn ports(&self) -> Option<(u8, u16, u16)> {
        let packet = self.0.get(ETHERNET_BYTES..)?;
        let header = packet.first().filter(|first| *first >> 4 == 4)?;
        let segment = packet.get(usize::from(header & 0x0f) * 4..)?;
        let port = |at| Some(u16::from_be_bytes([*segment.get(at)?, *segment.get(at + 1)?]));
        Some((*packet.get(9)?, port(0)?, port(2)?))
    }

    /// On loopback both hardware addresses are zero; what the machine speaks to others is not
    /// looked at.
    fn is_loopback(&self) -> bool {
        self.0.len() > ETHERNET_BYTES && self.0[..12].iter().all(|byte| *byte == 0)
    }
}

/// A thread that records.
struct Capture {
    stop: Arc<AtomicBool>,
    /// Frames recorded so far that went to the control port.
    controls: Arc<AtomicUsize>,
    recording: JoinHandle<std::io::Result<Vec<Frame>>>,
}

impl Capture {
    /// Begins; `None` where this process may not listen to an interface.
    fn start(control_port: u16) -> Outcome<Option<Self>> {
        let all = Protocol::from(i32::from(ETH_P_ALL.to_be()));
        let socket = match Socket::new(Domain::PACKET, Type::RAW, Some(all)) {
            Ok(socket) => socket,
            Err(error) => {
                skipped(&format!("no packet socket without CAP_NET_RAW: {error}"));
                return Ok(None);
            }
        };
        // Best effort: the reader is quick, and the frames are few.
        let _ = socket.set_recv_buffer_size(8 * 1_024 * 1_024);
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let stop = Arc::new(AtomicBool::new(false));
        let controls = Arc::new(AtomicUsize::new(0));
        let (asked, counted) = (stop.clone(), controls.clone());
        let recording = thread::spawn(move || {
            record(&socket, &asked, |frame| {
                let is_control =
                    frame.ports().is_some_and(|(p, _, to)| (p, to) == (UDP, control_port));
                counted.fetch_add(usize::from(is_control), Ordering::Relaxed);
            })
        });
        Ok(Some(Self { stop, controls, recording }))
    }

    /// Says `plain` to `control` itself until that is recorded: on a busy machine a frame may be missed.
    fn show(&self, control: &UdpSocket, plain: &[u8]) -> Outcome {
        let before = self.controls.load(Ordering::Relaxed);
        until("what is said in clear is recorded", || {
            control.send_to(plain, control.local_addr()?)?;
            thread::sleep(Duration::from_millis(20));
            Ok((self.controls.load(Ordering::Relaxed) > before).then_some(()))
        })
    }

    fn end(self) -> Outcome<Vec<Frame>> {
        self.stop.store(true, Ordering::Relaxed);
        Ok(self.recording.join().map_err(|_| "the recording thread panicked")??)
    }
}

/// Ends with the first silence after it was asked to, so that nothing sent before is missed; other
/// tests may never fall silent, so that it also ends some time after.
fn record(
    mut socket: &Socket,
    stop: &AtomicBool,
    note: impl Fn(&Frame),
) -> std::io::Result<Vec<Frame>> {
    let mut frames = Vec::new();
    let mut buffer = vec![0; FRAME_BYTES];
    let mut end = None;
    while end.is_none_or(|end| Instant::now() < end) {
        if end.is_none() && stop.load(Ordering::Relaxed) {
            end = Some(Instant::now() + LINGER);
        }
        match socket.read(&mut buffer) {
            Ok(length) => {
                let frame = Frame(buffer[..length].to_vec());
                note(&frame);
                frames.push(frame);
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if end.is_some() {
                    break;
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(frames)
}

fn settings(stage: &Stage, node: &str, seed: &mut Option<String>) -> Outcome<Map<String, Value>> {
    let mut settings = stage.settings(node, ROLE)?;
    let seed = seed.get_or_insert_with(|| format!("127.0.0.1:{}", settings["port"]));
    settings.insert("seedPeers".into(), json!([seed]));
    settings.insert("region".into(), json!(REGIONS[0]));
    settings.insert("meshVersion".into(), json!(VERSION));
    settings.insert("labels".into(), json!({ LABEL.0: LABEL.1 }));
    Ok(settings)
}

/// Waits until `process` has logged `event` of `node`, after its first `known` lines.
fn logged(process: &Process, known: usize, event: u32, node: &str) -> Outcome<Value> {
    until(&format!("event {event} of {node} is logged"), || {
        let mut lines = process.log().into_iter().skip(known);
        Ok(lines.find(|line| line["EventId"] == event && line["PeerId"] == node))
    })
}

/// Birth, death, return with other metadata, goodbye; returns the ports of the three and the
/// first, which can still tell of the others.
fn live(stage: &Stage) -> Outcome<([u16; 3], Process)> {
    let (joined, recovered, left) = (3, 4, 6);
    let mut seed = None;
    let mut file = |node: &str| stage.write(node, &settings(stage, node, &mut seed)?);
    let files = [file(NODES[0])?, file(NODES[1])?, file(NODES[2])?];
    let a = stage.start(&files[0], &[])?;
    let b = stage.start(&files[1], &[])?;
    let c = stage.start(&files[2], &[])?;
    let ports = [&a, &b, &c].map(|process| process.address.port());
    for process in [&a, &b, &c] {
        for node in NODES {
            if !process.log().iter().any(|line| line["NodeId"] == node) {
                let line = logged(process, 0, joined, node)?;
                assert_eq!(line["Region"], REGIONS[0]);
            }
        }
    }
    let known = a.log().len();
    c.kill()?;
    logged(&a, known, left, NODES[2])?;
    let mut c = stage.start(&files[2], &[("MESH__GOSSIP__REGION", REGIONS[1])])?;
    logged(&a, known, recovered, NODES[2])?;
    for node in &NODES[..2] {
        logged(&c, 0, joined, node)?;
    }
    let known = a.log().len();
    assert_eq!(c.terminate()?.code(), Some(0));
    logged(&a, known, left, NODES[2])?;
    Ok((ports, a))
}

#[test]
fn a_recording_of_a_whole_life_names_nobody() -> Outcome {
    let needles = needles();
    // A plaintext that must be found, before and after, proves that the recording misses nothing.
    let control = UdpSocket::bind("127.0.0.1:0")?;
    let control_port = control.local_addr()?.port();
    let Some(capture) = Capture::start(control_port)? else { return Ok(()) };
    let plain = needles.concat();
    capture.show(&control, &plain)?;
    let stage = Stage::new(CLUSTER, TRUST_DOMAIN)?;
    let lived = live(&stage);
    capture.show(&control, &plain)?;
    let mut frames = capture.end()?;
    let (ports, survivor) = lived?;
    let heard = survivor.peer(NODES[2])?.ok_or("not listed")?;
    assert_eq!(heard["metadata"]["region"], REGIONS[1], "the names did travel");
    assert_eq!(heard["metadata"]["labels"], json!({ LABEL.0: LABEL.1 }));
    frames.retain(Frame::is_loopback);

    let to = |protocol, port| {
        move |frame: &&Frame| frame.ports().is_some_and(|(p, _, to)| (p, to) == (protocol, port))
    };
    let controls: Vec<_> = frames.iter().filter(to(UDP, control_port)).collect();
    assert!(controls.len() >= 2, "the recording misses what was sent in clear");
    for frame in controls {
        assert!(needles.iter().all(|needle| holds(&frame.0, needle)), "the search finds nothing");
    }
    for port in ports {
        let datagrams = frames.iter().filter(to(UDP, port)).count();
        let segments = frames.iter().filter(to(TCP, port)).count();
        println!("port {port}: {datagrams} datagrams and {segments} segments recorded");
        assert!(datagrams >= 10, "only {datagrams} datagrams to port {port}");
    }
    for frame in frames.iter().filter(|frame| !to(UDP, control_port)(frame)) {
        for needle in &needles {
            let shown = String::from_utf8_lossy(needle);
            assert!(!holds(&frame.0, needle), "{shown:?} in clear, {:?}", frame.ports());
        }
    }
    Ok(())
}

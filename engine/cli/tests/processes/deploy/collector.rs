//! A collector in miniature: it takes logs and traces over HTTP and keeps them, and an agent that exports
//! to it.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use serde_json::{Value, json};

use crate::stage::{Outcome, Stage, free_port, until};

/// One request.
#[derive(Clone, Debug)]
struct Taken {
    path: String,
    headers: BTreeSet<String>,
    body: Value,
}

/// Whatever was taken; the first request of each path is put off.
#[derive(Default)]
struct Collector {
    taken: Mutex<Vec<Taken>>,
    put_off: Mutex<BTreeSet<String>>,
}

impl Collector {
    /// Listens until the test ends.
    fn start() -> Outcome<(Arc<Self>, String)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let collector = Arc::new(Self::default());
        let behind = collector.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // One that broke off is the agent's to tell.
                let _ = behind.serve(stream);
            }
        });
        Ok((collector, endpoint))
    }

    fn serve(&self, stream: TcpStream) -> Outcome {
        let mut reader = BufReader::new(stream);
        let mut first = String::new();
        reader.read_line(&mut first)?;
        let path = first.split(' ').nth(1).ok_or("no path")?.to_owned();
        let (mut headers, mut length) = (BTreeSet::new(), 0);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let line = line.trim_end().to_owned();
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(": ").ok_or("a header")?;
            if name.eq_ignore_ascii_case("content-length") {
                length = value.parse()?;
            }
            headers.insert(format!("{}: {value}", name.to_ascii_lowercase()));
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let is_first =
            self.put_off.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone());
        let status = if is_first { "503 Service Unavailable" } else { "200 OK" };
        if !is_first {
            let taken = Taken { path, headers, body: serde_json::from_slice(&body)? };
            self.taken.lock().unwrap_or_else(PoisonError::into_inner).push(taken);
        }
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\
             Connection: close\r\n\r\n{{}}"
        );
        Ok(reader.get_mut().write_all(answer.as_bytes())?)
    }

    fn taken(&self) -> Vec<Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Log records, or spans, with their attributes as one object.
    fn records(&self, kind: Kind) -> Vec<Value> {
        let (path, resources, scopes, records) = match kind {
            Kind::Logs => ("/v1/logs", "resourceLogs", "scopeLogs", "logRecords"),
            Kind::Traces => ("/v1/traces", "resourceSpans", "scopeSpans", "spans"),
        };
        let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
        let bodies = self.taken().into_iter().filter(|taken| taken.path == path);
        let resources = bodies.flat_map(|taken| list(&taken.body, resources));
        let scopes = resources.flat_map(|resource| list(&resource, scopes));
        let found = scopes.flat_map(|scope| list(&scope, records));
        found
            .map(|mut record| {
                record["attributes"] = attributes(&record["attributes"]);
                record
            })
            .collect()
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Logs,
    Traces,
}

fn attributes(list: &Value) -> Value {
    let pairs = list.as_array().into_iter().flatten().map(|pair| {
        let value = pair["value"].as_object().and_then(|one| one.values().next());
        (pair["key"].as_str().unwrap_or_default().to_owned(), value.cloned().unwrap_or_default())
    });
    Value::Object(pairs.collect())
}

fn about<'a>(logs: &'a [Value], message: &str, peer: &str) -> Vec<&'a Value> {
    let is_it =
        |log: &&Value| log["body"]["stringValue"] == message && log["attributes"]["PeerId"] == peer;
    logs.iter().filter(is_it).collect()
}

/// What an agent logs comes to the collector, each line once although the first request was put off; the way
/// into the mesh and the doubt of a killed member are spans that their lines name; the last line is there when the
/// process has ended.
#[test]
fn logs_and_stories_of_a_death_reach_the_collector() -> Outcome {
    let (collector, endpoint) = Collector::start()?;
    let stage = Stage::new("told", "told.test")?;
    let mut settings = stage.settings("told-a", "dispatcher")?;
    let seed = format!("127.0.0.1:{}", settings["port"]);
    settings.insert("interval".into(), json!("250ms"));
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-scope=mesh%20one"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test"),
    ];
    let mut agent = stage.start(&stage.write("told-a.json", &settings)?, &environment)?;
    let mut other = stage.settings("told-b", "worker")?;
    other.insert("seedPeers".into(), json!([seed]));
    let other = stage.start(&stage.write("told-b.json", &other)?, &[])?;
    until("the other one's coming is told", || {
        let logs = collector.records(Kind::Logs);
        Ok((!about(&logs, "mesh peer joined", "told-b").is_empty()).then_some(()))
    })?;
    other.kill()?;
    let doubt = until("the doubt is told to its end", || {
        let spans = collector.records(Kind::Traces);
        let ended = |span: &&Value| {
            span["name"] == "mesh.suspicion" && span["attributes"]["Outcome"] == "left"
        };
        Ok(spans.iter().find(ended).cloned())
    })?;
    assert_eq!(doubt["attributes"]["PeerId"], "told-b");
    let time = |key: &str| -> Outcome<u64> { Ok(doubt[key].as_str().ok_or("a time")?.parse()?) };
    assert!(time("startTimeUnixNano")? < time("endTimeUnixNano")?);
    assert_eq!(agent.terminate()?.code(), Some(0));

    let (logs, spans) = (collector.records(Kind::Logs), collector.records(Kind::Traces));
    for (message, severity) in [("mesh peer suspect", "WARN"), ("mesh peer left", "WARN")] {
        let lines = about(&logs, message, "told-b");
        let last = lines.last().ok_or_else(|| format!("no {message:?} in {logs:#?}"))?;
        assert_eq!((&last["traceId"], &last["spanId"]), (&doubt["traceId"], &doubt["spanId"]));
        assert_eq!(last["severityText"], severity);
    }
    assert!(spans.iter().any(|span| span["name"] == "mesh.join"), "{spans:#?}");
    let said: Vec<&str> =
        logs.iter().filter_map(|log| log["body"]["stringValue"].as_str()).collect();
    assert_eq!(said.iter().filter(|line| **line == "mesh gossip listening").count(), 1, "{said:?}");
    assert_eq!(said.iter().filter(|line| **line == "left the mesh").count(), 1, "{said:?}");
    // What the log on stderr says, and nothing else.
    let lines = agent.log().len();
    assert_eq!(said.len(), lines, "{said:#?}");
    for taken in collector.taken() {
        assert!(taken.headers.contains("x-scope: mesh one"), "{taken:?}");
        assert!(taken.headers.contains("content-type: application/json"), "{taken:?}");
        let (logs, traces) = (&taken.body["resourceLogs"], &taken.body["resourceSpans"]);
        let resource = if logs.is_array() { &logs[0] } else { &traces[0] };
        let resource = attributes(&resource["resource"]["attributes"]);
        assert_eq!(resource["service.name"], "mesh-gossip");
        assert_eq!(resource["service.instance.id"], "told-a");
        assert_eq!(resource["deployment.environment"], "test");
    }
    Ok(())
}

/// Nobody waits for a collector that is not there: the agent runs, says so once, and ends.
#[test]
fn a_collector_that_is_away_holds_nobody_up() -> Outcome {
    let stage = Stage::new("untold", "untold.test")?;
    let settings = stage.settings("untold-a", "worker")?;
    let endpoint = format!("http://127.0.0.1:{}", free_port()?);
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())];
    let mut agent = stage.start(&stage.write("untold-a.json", &settings)?, &environment)?;
    assert_eq!(agent.peers()?[0]["status"], "Alive");
    let told = |process: &crate::stage::Process| {
        let is_it = |line: &Value| {
            line["message"].as_str().is_some_and(|said| said.contains("the collector does not"))
        };
        process.log().into_iter().filter(is_it).count()
    };
    until("it is told", || Ok((told(&agent) == 1).then_some(())))?;
    assert_eq!(agent.terminate()?.code(), Some(0));
    assert_eq!(told(&agent), 1);
    Ok(())
}

/// A variable that cannot be is named, and nothing more.
#[test]
fn a_collector_that_cannot_be_is_named() -> Outcome {
    let stage = Stage::new("misled", "misled.test")?;
    let settings = stage.settings("misled-a", "worker")?;
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317")];
    let mut agent = stage.start(&stage.write("misled-a.json", &settings)?, &environment)?;
    let named = |line: &Value| {
        let said = line["message"].as_str().unwrap_or_default();
        said.contains("OTEL_EXPORTER_OTLP_ENDPOINT = collector:4317") && line["level"] == "WARN"
    };
    assert!(agent.log().iter().any(named), "{:?}", agent.log());
    assert_eq!(agent.terminate()?.code(), Some(0));
    Ok(())
}

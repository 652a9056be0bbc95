//! The built binary from outside: exit codes, and what is said where.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn omnirelay(arguments: &[&str]) -> std::io::Result<Output> {
    Command::new(env!("CARGO_BIN_EXE_omnirelay")).args(arguments).stdin(Stdio::null()).output()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Answers one HTTP request with `body`; returns the URL and the thread, which ends with the
/// request's first line.
fn serve(
    status: &'static str,
    body: &'static str,
) -> std::io::Result<(String, std::thread::JoinHandle<std::io::Result<String>>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept()?;
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte)? == 1 {
            request.push(byte[0]);
        }
        write!(
            stream,
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n{body}",
            body.len()
        )?;
        let request = String::from_utf8_lossy(&request).into_owned();
        Ok(request.lines().next().unwrap_or_default().to_owned())
    });
    Ok((url, answering))
}

#[test]
fn usage_errors_exit_with_1_and_help_with_0() -> Outcome {
    for line in [
        "",
        "mesh",
        "mesh nonsense",
        "mesh peers --format yaml",
        "mesh peers --timeout 10",
        "mesh peers --timeout 0s",
        "mesh peers -u not-a-url",
        "mesh peers -u https://127.0.0.1:1",
        "mesh demo --nodes 0",
        "mesh demo --io epoll",
        "mesh bootstrap init",
        "mesh bootstrap issue --days 0",
    ] {
        let arguments: Vec<_> = line.split_whitespace().collect();
        let output = omnirelay(&arguments)?;
        assert_eq!(output.status.code(), Some(1), "'{line}' said {}", stderr(&output));
        assert!(stdout(&output).is_empty(), "'{line}'");
        assert!(!stderr(&output).is_empty(), "'{line}'");
    }
    for line in ["--help", "--version", "mesh demo --help", "mesh peers list --help"] {
        let arguments: Vec<_> = line.split_whitespace().collect();
        let output = omnirelay(&arguments)?;
        assert_eq!(output.status.code(), Some(0), "'{line}'");
        assert!(!stdout(&output).is_empty(), "'{line}'");
    }
    Ok(())
}

#[test]
fn peers_prints_the_table_of_the_agent_at_the_url() -> Outcome {
    let body = r#"{"schemaVersion":"v1","generatedAt":"2026-01-02T03:04:05+00:00",
        "localNodeId":"a","peers":[{"nodeId":"a","status":"Alive","rttMs":1.50,"metadata":{
        "role":"worker","clusterId":"c","region":"r","meshVersion":"dev","http3Support":true}}]}"#;
    let (url, answering) = serve("200 OK", body)?;
    let output = omnirelay(&["mesh", "peers", "list", "-u", &url])?;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let expected = "\
Generated at: 2026-01-02T03:04:05+00:00
Local node: a

Node  Status  Role    Cluster  Region  Version  HTTP/3  rtt (ms)
a     Alive   worker  c        r       dev      yes     1.5
";
    assert_eq!(stdout(&output), expected);
    let request = answering.join().map_err(|_| "the server panicked")??;
    assert_eq!(request, "GET /control/peers HTTP/1.1");
    Ok(())
}

#[test]
fn peers_exits_with_1_when_nobody_listens_and_names_the_url_and_the_fix() -> Outcome {
    let free = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let url = format!("http://{free}");
    let output = omnirelay(&["mesh", "peers", "-u", &url])?;
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(
        said.contains(&url) && said.contains("-u URL") && said.contains("mesh agent"),
        "{said}"
    );
    assert!(stdout(&output).is_empty());
    Ok(())
}

#[test]
fn peers_exits_with_1_when_the_answer_is_something_else() -> Outcome {
    for (status, body) in [("404 Not Found", "{}"), ("200 OK", "<html>"), ("200 OK", "{}")] {
        let (url, answering) = serve(status, body)?;
        let output = omnirelay(&["mesh", "peers", "-u", &url, "--format", "json"])?;
        assert_eq!(output.status.code(), Some(1), "{status} {body}");
        assert!(stderr(&output).contains(&url), "{}", stderr(&output));
        answering.join().map_err(|_| "the server panicked")??;
    }
    Ok(())
}

#[test]
fn peers_exits_with_2_when_the_answer_does_not_come_in_time() -> Outcome {
    // Accepted by the kernel and never answered.
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", silent.local_addr()?);
    let asked = Instant::now();
    let output = omnirelay(&["mesh", "peers", "-u", &url, "--timeout", "200ms"])?;
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("--timeout"), "{}", stderr(&output));
    assert!(asked.elapsed() < Duration::from_secs(9));
    Ok(())
}

#[test]
fn bootstrap_prints_the_settings_that_use_what_it_wrote() -> Outcome {
    let home = tempfile::tempdir()?;
    let ca = home.path().join("ca").to_string_lossy().into_owned();
    let out = home.path().join("nodes").to_string_lossy().into_owned();
    let init = ["mesh", "bootstrap", "init", "--dir", &ca, "--trust-domain", "t.local"];
    let init = [&init[..], &["--cluster", "c"]].concat();
    assert_eq!(omnirelay(&init)?.status.code(), Some(0));
    let again = omnirelay(&init)?;
    assert_eq!(again.status.code(), Some(1), "an authority is never replaced unasked");

    let issue = ["mesh", "bootstrap", "issue", "--dir", &ca, "--node", "n1", "--role", "worker"];
    let issued = omnirelay(&[&issue[..], &["--out", &out]].concat())?;
    assert_eq!(issued.status.code(), Some(0), "{}", stderr(&issued));
    let settings: serde_json::Value = serde_json::from_slice(&issued.stdout)?;
    let gossip = &settings["mesh"]["gossip"];
    assert_eq!(gossip["nodeId"], "n1");
    assert_eq!(gossip["clusterId"], "c");
    assert_eq!(gossip["tls"]["trustDomain"], "t.local");
    for key in ["certificatePath", "keyPath", "caPath"] {
        let path = gossip["tls"][key].as_str().ok_or(key)?;
        assert!(std::path::Path::new(path).is_file(), "{key}: {path}");
    }

    for role in ["operator", "bootstrap"] {
        let reserved = [&issue[..7], &["--role", role, "--out", &out, "--force"]].concat();
        let refused = omnirelay(&reserved)?;
        assert_eq!(refused.status.code(), Some(1));
        assert!(stdout(&refused).is_empty(), "no settings that no agent takes");
        let said = stderr(&refused);
        assert!(said.contains(role) && said.contains("never gossip"), "{said}");
    }

    let missing = omnirelay(
        &[&issue[..3], &["--dir", "/nowhere", "--node", "n", "--role", "r"], &["--out", &out]]
            .concat(),
    )?;
    assert_eq!(missing.status.code(), Some(1));
    assert!(stderr(&missing).contains("/nowhere"), "{}", stderr(&missing));
    Ok(())
}

/// An agent reads the list whenever it changes: it is another file under the same name, never half of one.
#[test]
fn a_revocation_list_is_replaced_as_a_whole() -> Outcome {
    use std::os::unix::fs::MetadataExt as _;

    let home = tempfile::tempdir()?;
    let file = |name: &str| home.path().join(name).to_string_lossy().into_owned();
    let (ca, list) = (file("ca"), file("crl.pem"));
    let init = ["mesh", "bootstrap", "init", "--dir", &ca, "--trust-domain", "t", "--cluster", "c"];
    assert_eq!(omnirelay(&init)?.status.code(), Some(0));
    let written = || -> std::io::Result<u64> {
        let output = omnirelay(&["mesh", "bootstrap", "crl", "--dir", &ca, "--out", &list])?;
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        Ok(std::fs::metadata(&list)?.ino())
    };
    assert_ne!(written()?, written()?, "another file takes its place");
    let nowhere = file("nowhere/crl.pem");
    let output = omnirelay(&["mesh", "bootstrap", "crl", "--dir", &ca, "--out", &nowhere])?;
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("nowhere/crl.pem"), "{}", stderr(&output));
    let names = std::fs::read_dir(home.path())?.count();
    assert_eq!(names, 2, "the authority and the list, and nothing half done");
    Ok(())
}

/// Rule F-6: the promise ends at 16 members, and the demo does not judge beyond it.
#[test]
fn a_demo_that_cannot_start_still_ends_on_the_json_line() -> Outcome {
    for (nodes, why) in [("1", "--nodes 2 at least"), ("17", "suspicionInterval"), ("17", "16")] {
        let output = omnirelay(&["mesh", "demo", "--assert", "--json", "--nodes", nodes])?;
        assert_eq!(output.status.code(), Some(1));
        let text = stdout(&output);
        assert!(text.starts_with("error: ") && text.contains(why), "{text}");
        let line: serde_json::Value = serde_json::from_str(text.lines().last().ok_or("no line")?)?;
        assert_eq!(line["ok"], false);
        assert_eq!(line["nodes"].to_string(), nodes);
        assert_eq!(line["suspicion_interval_ms"], 5_000);
        for key in ["backend", "converged_ms", "killed", "removed_ms"] {
            assert!(line[key].is_null(), "{key}: {line}");
        }
    }
    Ok(())
}

#[test]
fn a_demo_that_is_over_ends_well_and_an_assertion_cut_short_does_not() -> Outcome {
    // Longer than a mesh gets to converge: on a busy machine that takes its time.
    let output = omnirelay(&["mesh", "demo", "--json", "--duration", "12s"])?;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    let events: Vec<serde_json::Value> =
        text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let named = |name: &str| events.iter().filter(|event| event["event"] == name).count();
    assert_eq!(named("started"), 1, "{text}");
    assert_eq!(named("listening"), 3, "{text}");
    assert_eq!(named("converged"), 1, "{text}");
    assert_eq!(named("control"), 1, "{text}");
    assert!(named("member") >= 3, "{text}");

    let output = omnirelay(&["mesh", "demo", "--assert", "--json", "--duration", "1ms"])?;
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    let line: serde_json::Value = serde_json::from_str(text.lines().last().ok_or("no line")?)?;
    assert_eq!(line["ok"], false, "{text}");
    Ok(())
}

/// Rule S-14: an operator's certificate makes an order for one life; a member's makes none.
#[test]
fn an_order_is_made_by_an_operator_alone() -> Outcome {
    use mesh_gossip::bootstrap::{CaValidity, CertificateAuthority, Existing, Subject};

    let directory = tempfile::tempdir()?;
    let now = std::time::SystemTime::now();
    let authority = CertificateAuthority::create("mesh.test", "prod", now, CaValidity::default())?;
    for (node, role) in [("alice", "operator"), ("node-1", "worker")] {
        let issued = authority.issue(&Subject::new(node, role), now, Duration::from_secs(3_600))?;
        issued.write(directory.path(), Existing::Refuse)?;
    }
    let file = |name: &str| directory.path().join(name).display().to_string();
    let sign = |who: &str, more: &[&str]| {
        let (certificate, key) = (file(&format!("{who}.pem")), file(&format!("{who}.key")));
        let mut line = vec!["mesh", "force-leave", "--certificate", &certificate, "--key", &key];
        line.extend(["--node", "node-2", "--incarnation", "1764355833000.2"]);
        line.extend(more);
        omnirelay(&line)
    };
    let path = file("order");
    let written = sign("alice", &["--out", &path])?;
    assert!(written.status.success(), "{}", stderr(&written));
    assert!(stderr(&written).contains("operator/alice"), "{}", stderr(&written));
    let order = std::fs::read(&path)?;
    assert!(order.windows(4).any(|bytes| bytes == b"prod"), "it names its cluster");
    let printed = sign("alice", &[])?;
    let line = stdout(&printed);
    assert!(line.trim_end().bytes().all(|byte| byte.is_ascii_hexdigit()), "{line}");
    assert_eq!(line.trim_end().len() / 2 / 16, order.len() / 16, "as many bytes, but for the seal");

    let member = sign("node-1", &[])?;
    assert_eq!((member.status.code(), stdout(&member).as_str()), (Some(1), ""));
    assert!(stderr(&member).contains("operator"), "{}", stderr(&member));
    let long = sign("alice", &["--lifetime", "25h"])?;
    assert_eq!(long.status.code(), Some(1));
    Ok(())
}

const LEADERS: &str = r#"{"generatedAt":"2026-01-02T03:04:05.000+00:00","tokens":[
  {"scope":"control","scopeKind":"global","leaderId":"gw-1","term":3,"fenceToken":3274028,
   "issuedAt":"2026-01-02T03:00:00.000+00:00","expiresAt":"2026-01-02T03:04:10.000+00:00",
   "labels":{"advisory":"true"}}]}"#;

/// Rule E-8.
#[test]
fn leaders_prints_who_leads_as_the_agent_at_the_url_tells() -> Outcome {
    let (url, answering) = serve("200 OK", LEADERS)?;
    let line = ["mesh", "leaders", "status", "--scope", "control", "-u", &url];
    let output = omnirelay(&line)?;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let expected = "\
Generated at: 2026-01-02T03:04:05.000+00:00

Scope    Kind    Leader  Term  Fence token  Issued at                      Expires at
control  global  gw-1    3     3274028      2026-01-02T03:00:00.000+00:00  2026-01-02T03:04:10.000+00:00
";
    assert_eq!(stdout(&output), expected);
    let request = answering.join().map_err(|_| "the server panicked")??;
    assert_eq!(request, "GET /control/leaders?scope=control HTTP/1.1");

    let (url, _answering) = serve("200 OK", LEADERS)?;
    let output = omnirelay(&["mesh", "leaders", "status", "-u", &url, "--format", "json"])?;
    assert_eq!(stdout(&output), LEADERS.replace('\n', "") + "\n");
    Ok(())
}

/// Rule E-8: the exit codes are those of `mesh peers`, and the server's reason is passed on.
#[test]
fn leaders_says_why_it_cannot_tell() -> Outcome {
    for line in
        ["mesh leaders", "mesh leaders status --scope a?b", "mesh leaders status --format x"]
    {
        let arguments: Vec<_> = line.split_whitespace().collect();
        assert_eq!(omnirelay(&arguments)?.status.code(), Some(1), "{line}");
    }
    for (status, body, said) in [
        ("404 Not Found", r#"{"error":"unknown scope \"x\""}"#, "unknown scope \"x\""),
        ("404 Not Found", "<html>", "control URL"),
        ("200 OK", r#"{"peers":[]}"#, "list of leaders"),
    ] {
        let (url, answering) = serve(status, body)?;
        let output = omnirelay(&["mesh", "leaders", "status", "-u", &url])?;
        assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(1), ""), "{body}");
        assert!(stderr(&output).contains(said), "{}", stderr(&output));
        answering.join().map_err(|_| "the server panicked")??;
    }
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", silent.local_addr()?);
    let output = omnirelay(&["mesh", "leaders", "status", "-u", &url, "--timeout", "200ms"])?;
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    Ok(())
}

/// A watch tells what changed and nothing twice, and ends with the first answer that fails.
#[test]
fn a_watch_of_leaders_tells_changes() -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    let later = LEADERS.replace("03:04:05", "03:04:06");
    let next = LEADERS.replace("gw-1", "gw-2").replace("\"term\":3", "\"term\":4");
    let answers = [LEADERS.to_owned(), later, next];
    let answering = std::thread::spawn(move || -> std::io::Result<()> {
        for body in answers {
            let (mut stream, _) = listener.accept()?;
            let (mut request, mut byte) = (Vec::new(), [0]);
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte)? == 1 {
                request.push(byte[0]);
            }
            let length = body.len();
            write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            )?;
        }
        Ok(())
    });
    let line = ["mesh", "leaders", "status", "--watch", "--format", "json", "-u", &url];
    let output = omnirelay(&line)?;
    answering.join().map_err(|_| "the server panicked")??;
    assert_eq!(output.status.code(), Some(1), "nobody listens any more");
    let text = stdout(&output);
    let terms: Vec<bool> = text.lines().map(|line| line.contains("\"term\":4")).collect();
    assert_eq!(terms, [false, true], "{text}");
    Ok(())
}

//! A newcomer's walk: the shell blocks of a page, as somebody types them who reads it for the first
//! time, in their order and in one directory.
//!
//! A comment before a block says what is special: `<!-- walk: stays, WORDS -->` for what goes on until
//! it is ended, once it has said these words, `<!-- walk: skip, REASON -->` for what this walk does not do. The blocks of
//! docs/bootstrap.md are walked by a test of its own; that no other page shows a command that is
//! not there is a test of the command's parser.

use std::cell::Cell;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::stage::{Outcome, free_port, omnirelay, until};

/// What is to be done with a block.
#[derive(Debug, PartialEq, Eq)]
enum Walk {
    Run,
    /// Until it has said so.
    Stays(String),
    Skip(String),
}

/// The shell blocks of a page, each with what the comment before it says.
fn blocks(page: &str) -> Vec<(Walk, String)> {
    let mut found = Vec::new();
    let mut rest = page;
    while let Some((before, tail)) = rest.split_once("```sh\n") {
        let (block, after) = tail.split_once("```").expect("a block has an end");
        let mark = before.trim_end().rsplit('\n').next().unwrap_or_default();
        let mark = mark.strip_prefix("<!-- walk: ").and_then(|mark| mark.strip_suffix(" -->"));
        let walk = match mark {
            None => Walk::Run,
            Some(other) => match other.split_once(", ") {
                Some(("skip", reason)) => Walk::Skip(reason.to_owned()),
                Some(("stays", words)) => Walk::Stays(words.to_owned()),
                Some(_) | None => panic!("what does {other:?} mean?"),
            },
        };
        found.push((walk, block.to_owned()));
        rest = after;
    }
    found
}

/// Ends with its handle.
struct Background {
    child: Child,
    log: PathBuf,
}

impl Drop for Background {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Somebody in a directory, with what was exported and what still runs.
struct Newcomer {
    home: TempDir,
    /// What stands in the page, and what is free here.
    ports: Vec<(&'static str, String)>,
    exported: String,
    running: Vec<Background>,
    /// What was started, each with a log of its own.
    started: Cell<usize>,
    ran: usize,
    skipped: usize,
}

impl Newcomer {
    /// Takes a page's ports by others that are free.
    fn new(ports: &[&'static str]) -> Outcome<Self> {
        let free = |port: &&'static str| Ok((*port, free_port()?.to_string()));
        let ports = ports.iter().map(free).collect::<Outcome<Vec<_>>>()?;
        let (home, exported) = (tempfile::tempdir()?, String::new());
        Ok(Self {
            home,
            ports,
            exported,
            running: Vec::new(),
            started: Cell::new(0),
            ran: 0,
            skipped: 0,
        })
    }

    /// A shell that finds the binary, without the settings that surround this test.
    fn shell(&self, block: &str) -> Outcome<Command> {
        let binary = Path::new(env!("CARGO_BIN_EXE_omnirelay"));
        let mut command = Command::new("sh");
        command.current_dir(self.home.path()).stdin(Stdio::null());
        for (name, value) in omnirelay(self.home.path()).get_envs() {
            if value.is_none() {
                command.env_remove(name);
            }
        }
        let own = binary.parent().ok_or("the binary has a directory")?.to_path_buf();
        let others = std::env::var_os("PATH").unwrap_or_default();
        let path = std::iter::once(own).chain(std::env::split_paths(&others));
        command.env("PATH", std::env::join_paths(path)?);
        // The owner's sockets of agents lie where nobody else's do.
        command.env("XDG_RUNTIME_DIR", self.home.path());
        command.args(["-ec", &format!("{}{block}", self.exported)]);
        Ok(command)
    }

    fn local(&self, block: &str) -> String {
        let ports = self.ports.iter();
        ports.fold(block.to_owned(), |block, (page, here)| block.replace(page, here))
    }

    /// Walks through a page.
    fn walk(&mut self, page: &str) -> Outcome {
        for (walk, block) in blocks(page) {
            let block = self.local(&block);
            match walk {
                Walk::Skip(reason) => {
                    assert!(reason.len() > 10, "why is this left out: {block}");
                    self.skipped += 1;
                    continue;
                }
                Walk::Run => self.to_its_end(&block)?,
                Walk::Stays(words) => self.until_it_says(&block, &self.local(&words))?,
            }
            self.ran += 1;
            for line in block.lines().filter(|line| line.starts_with("export ")) {
                self.exported.push_str(line);
                self.exported.push('\n');
            }
        }
        for Background { child, log } in &mut self.running {
            let ended = child.try_wait()?;
            assert!(ended.is_none(), "it ended: {}", fs::read_to_string(log)?);
        }
        Ok(())
    }

    fn start(&self, block: &str) -> Outcome<Background> {
        let number = self.started.replace(self.started.get() + 1);
        let log = self.home.path().join(format!("{number}.log"));
        let out = File::create(&log)?;
        let mut command = self.shell(block)?;
        let child = command.stdout(out.try_clone()?).stderr(out).spawn()?;
        Ok(Background { child, log })
    }

    fn to_its_end(&self, block: &str) -> Outcome {
        let mut block_runs = self.start(block)?;
        let status = until(block, || Ok(block_runs.child.try_wait()?))?;
        let said = fs::read_to_string(&block_runs.log)?;
        assert!(status.success(), "{block}\n{status}: {said}");
        Ok(())
    }

    fn until_it_says(&mut self, block: &str, words: &str) -> Outcome {
        // The shell makes way for the program, so that ending the one ends the other.
        let mut runs = self.start(&block.replace("omnirelay mesh", "exec omnirelay mesh"))?;
        until(&format!("{words:?} said by {block}"), || {
            let said = fs::read_to_string(&runs.log)?;
            if let Some(status) = runs.child.try_wait()? {
                return Err(format!("{block}\nended with {status}: {said}").into());
            }
            Ok(said.contains(words).then_some(()))
        })?;
        self.running.push(runs);
        Ok(())
    }
}

fn page(name: &str) -> Outcome<(PathBuf, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name);
    let text = fs::read_to_string(&path)?;
    Ok((path, text))
}

#[test]
fn the_readme_can_be_typed_from_its_first_line_to_its_last() -> Outcome {
    let mut newcomer = Newcomer::new(&["17421", "17422", "8080", "8081"])?;
    let (_, readme) = page("README.md")?;
    // The first agent's ports are the defaults, which may be somebody's here; the page names the
    // scope in its text.
    let [(_, gossip), _, (_, control), _] = &newcomer.ports[..] else { return Err("four".into()) };
    newcomer.exported = format!(
        "export MESH__GOSSIP__PORT=${{MESH__GOSSIP__PORT:-{gossip}}}\n\
         export MESH__GOSSIP__CONTROL__PORT=${{MESH__GOSSIP__CONTROL__PORT:-{control}}}\n\
         export MESH__GOSSIP__LEADERSHIP__SCOPES=control\n"
    );
    newcomer.walk(&readme)?;
    assert!(newcomer.running.len() >= 4, "two agents and two that watch");
    assert!(newcomer.ran >= 7, "{} blocks ran, {} did not", newcomer.ran, newcomer.skipped);
    println!("{} blocks ran, {} did not", newcomer.ran, newcomer.skipped);
    Ok(())
}

#[test]
fn the_sample_of_a_lease_mesh_can_be_typed() -> Outcome {
    let mut newcomer = Newcomer::new(&["17421", "17422", "17423"])?;
    let (path, readme) = page("docs/samples/resource-lease-mesh-demo/README.md")?;
    for entry in fs::read_dir(path.parent().ok_or("it has a directory")?)? {
        let path = entry?.path();
        if path.extension().is_some_and(|kind| kind == "json") {
            let text = newcomer.local(&fs::read_to_string(&path)?);
            fs::write(newcomer.home.path().join(path.file_name().ok_or("a name")?), text)?;
        }
    }
    newcomer.walk(&readme)?;
    assert_eq!((newcomer.ran, newcomer.skipped, newcomer.running.len()), (4, 0, 3));
    // What was typed is a mesh: each of the three knows all three.
    let everybody = ["dispatcher-1", "gateway-1", "worker-1"];
    for Background { log, .. } in &newcomer.running {
        let said = fs::read_to_string(log)?;
        let (_, url) = said.split_once("control ").ok_or("no control URL was told")?;
        let url = url.split_whitespace().next().ok_or("a URL")?;
        until(&format!("{url} lists all three"), || {
            let text = ureq::get(format!("{url}/control/peers?status=Alive")).call()?;
            let document: Value = serde_json::from_str(&text.into_body().read_to_string()?)?;
            let peers = document["peers"].as_array().ok_or("a list")?.iter();
            let mut names: Vec<&str> = peers.filter_map(|peer| peer["nodeId"].as_str()).collect();
            names.sort_unstable();
            Ok((names == everybody).then_some(()))
        })?;
        let listed = newcomer.shell(&format!("omnirelay mesh peers -u {url}"))?.output()?;
        let table = String::from_utf8(listed.stdout)?;
        assert!(
            listed.status.success() && everybody.iter().all(|name| table.contains(name)),
            "{table}"
        );
    }
    Ok(())
}

/// An authority, and what it issued, in files of the names that a page uses.
fn with_papers(newcomer: &mut Newcomer, issued: &[(&str, &str, &str)]) -> Outcome {
    newcomer.to_its_end(
        "omnirelay mesh bootstrap init --dir ca --trust-domain example.org --cluster prod > cluster.json",
    )?;
    for (node, standing, name) in issued {
        newcomer.to_its_end(&format!(
            "omnirelay mesh bootstrap issue --dir ca --node {node} {standing} --out issued > {name}.json\n\
             cp issued/{node}.pem {name}.pem; cp issued/{node}.key {name}.key"
        ))?;
    }
    newcomer.to_its_end("cp ca/ca.pem ca.pem")
}

/// A scraper's and an operator's command over mutual TLS, to an agent on this machine.
#[test]
fn the_commands_of_the_control_page_can_be_typed() -> Outcome {
    let mut newcomer = Newcomer::new(&["17421", "8080"])?;
    let [(_, gossip), (_, control)] = &newcomer.ports[..] else { return Err("two".into()) };
    let agent = format!(
        "MESH__GOSSIP__BINDADDRESS=127.0.0.1 MESH__GOSSIP__PORT={gossip} \
         MESH__GOSSIP__CONTROL__PORT={control} MESH__GOSSIP__CONTROL__TLS__ENABLED=true \
         omnirelay mesh agent --config gateway.json"
    );
    let papers = [
        ("gateway-1", "--role gateway", "gateway"),
        ("me", "--role observer", "me"),
        ("alice", "--operator", "alice"),
    ];
    with_papers(&mut newcomer, &papers)?;
    newcomer.until_it_says(&agent, "gateway-1 listens on")?;
    let (_, text) = page("docs/control.md")?;
    newcomer.walk(&text.replace("gateway-1:8080", "127.0.0.1:8080"))?;
    assert_eq!((newcomer.ran, newcomer.skipped), (1, 0));
    Ok(())
}

#[test]
fn the_commands_of_the_operations_page_can_be_typed() -> Outcome {
    let mut newcomer = Newcomer::new(&["17421", "8080", "4318"])?;
    let [(_, gossip), (_, control), _] = &newcomer.ports[..] else { return Err("three".into()) };
    newcomer.exported = format!(
        "export MESH__GOSSIP__BINDADDRESS=127.0.0.1 MESH__GOSSIP__PORT={gossip}\n\
         export MESH__GOSSIP__CONTROL__PORT={control}\n"
    );
    with_papers(&mut newcomer, &[("node-1", "--role worker", "node-1")])?;
    let (_, text) = page("docs/operations.md")?;
    newcomer.walk(&text)?;
    assert_eq!((newcomer.ran, newcomer.skipped, newcomer.running.len()), (1, 0, 1));
    Ok(())
}

#[test]
fn the_tokens_of_the_kubernetes_page_can_be_made() -> Outcome {
    let mut newcomer = Newcomer::new(&[])?;
    with_papers(&mut newcomer, &[])?;
    let (_, text) = page("docs/deploy/kubernetes/README.md")?;
    newcomer.walk(&text)?;
    assert_eq!((newcomer.ran, newcomer.skipped), (1, 1));
    for pod in ["mesh-gossip-0", "mesh-gossip-1", "mesh-gossip-2"] {
        assert!(newcomer.home.path().join("tokens").join(pod).exists(), "{pod} has no token");
    }
    Ok(())
}

/// Pages whose blocks are walked by a test; in each other page a block says why it is not.
const WALKED: [&str; 6] = [
    "README.md",
    "docs/bootstrap.md",
    "docs/control.md",
    "docs/operations.md",
    "docs/deploy/kubernetes/README.md",
    "docs/samples/resource-lease-mesh-demo/README.md",
];

fn pages_below(directory: &Path, found: &mut Vec<PathBuf>) -> Outcome {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            pages_below(&path, found)?;
        } else if path.extension().is_some_and(|kind| kind == "md") {
            found.push(path);
        }
    }
    Ok(())
}

#[test]
fn every_block_of_the_docs_is_walked_or_says_why_not() -> Outcome {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut pages = Vec::new();
    pages_below(&root.join("docs"), &mut pages)?;
    let (mut silent, mut blocks_read) = (Vec::new(), 0);
    for path in pages {
        let name = path.strip_prefix(&root)?.to_string_lossy().into_owned();
        for (walk, block) in blocks(&fs::read_to_string(&path)?) {
            blocks_read += 1;
            let is_told = matches!(&walk, Walk::Skip(reason) if reason.len() > 10);
            if !is_told && !WALKED.contains(&name.as_str()) {
                silent.push(format!("{name}: {block}"));
            }
        }
    }
    assert!(silent.is_empty(), "neither walked nor left out for a reason: {silent:#?}");
    assert!(blocks_read > 20, "only {blocks_read} blocks were found");
    Ok(())
}

#[test]
fn what_a_comment_says_of_a_block_is_understood() {
    let page = "a\n```sh\none\n```\n<!-- walk: stays, so to say -->\n```sh\ntwo\n```\n\n\
                <!-- walk: skip, it is far too long -->\n```sh\nthree\n```\n```text\nno\n```\n";
    let expected = [
        (Walk::Run, "one\n".to_owned()),
        (Walk::Stays("so to say".into()), "two\n".to_owned()),
        (Walk::Skip("it is far too long".into()), "three\n".to_owned()),
    ];
    assert_eq!(blocks(page), expected);
}

//! docs/bootstrap.md, as somebody types it who reads it for the first time.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::stage::{Outcome, free_port, omnirelay, stderr};

/// Ends with its handle.
struct Background(Child);

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A shell in `home` that finds the binary, without the settings that surround this test.
fn shell(home: &Path) -> Outcome<Command> {
    let binary = Path::new(env!("CARGO_BIN_EXE_omnirelay"));
    let mut command = Command::new("sh");
    command.current_dir(home).stdin(Stdio::null());
    for (name, value) in omnirelay(home).get_envs() {
        if value.is_none() {
            command.env_remove(name);
        }
    }
    let own = binary.parent().ok_or("the binary has a directory")?.to_path_buf();
    let others = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(own).chain(std::env::split_paths(&others));
    command.env("PATH", std::env::join_paths(path)?);
    command.env("MESH__GOSSIP__PORT", free_port()?.to_string());
    command.env("MESH__GOSSIP__CONTROL__PORT", "0");
    Ok(command)
}

#[test]
fn the_walk_of_the_manual_works_line_by_line() -> Outcome {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/bootstrap.md");
    let page = std::fs::read_to_string(page)?;
    let port = free_port()?.to_string();
    let home = tempfile::tempdir()?;
    let mut running = Vec::new();
    let mut blocks = 0;
    for block in page.split("```sh\n").skip(1) {
        let block = block.split("```").next().ok_or("a block has an end")?;
        let block = block
            .replace("17420", &port)
            .replace("serve --dir ca", &format!("serve --dir ca --listen 127.0.0.1:{port}"));
        blocks += 1;
        let mut command = shell(home.path())?;
        if !["bootstrap serve", "mesh agent", "--daemon"].iter().any(|word| block.contains(word)) {
            let output = command.args(["-ec", &block]).output()?;
            assert!(output.status.success(), "{block}\n{}", stderr(&output));
            continue;
        }
        let is_quiet = block.contains("--daemon");
        // The shell makes way for the program, so that ending the one ends the other.
        let line = block.replace("omnirelay", "exec omnirelay");
        command.args(["-ec", &line]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = Background(command.spawn()?);
        if !is_quiet {
            let out = child.0.stdout.take().ok_or("stdout is piped")?;
            let mut said = String::new();
            BufReader::new(out).read_line(&mut said)?;
            assert!(!said.is_empty(), "it ended at once: {block}");
        }
        running.push(child);
    }
    assert_eq!((blocks, running.len()), (15, 4), "the page has other blocks than this test knows");
    for child in &mut running[..3] {
        assert!(child.0.try_wait()?.is_none(), "server and agents run to the end");
    }
    Ok(())
}

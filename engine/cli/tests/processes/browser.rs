//! A headless Chromium, spoken to through the pipe of its DevTools protocol: no port, no library.
//!
//! Invariant: the browser ends with its handle, and its profile with it.

use std::fs::File;
use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::stage::{Outcome, PATIENCE};

/// One browser with one page.
pub(crate) struct Browser {
    child: Child,
    orders: PipeWriter,
    answers: Receiver<Value>,
    session: Value,
    last: u64,
    _profile: TempDir,
}

impl Browser {
    /// Starts the browser; `None` where there is none.
    pub(crate) fn start() -> Outcome<Option<Self>> {
        let is_there = Command::new("chromium")
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if !is_there.is_ok_and(|status| status.success()) {
            return Ok(None);
        }
        let profile = tempfile::tempdir()?;
        let (theirs_in, orders) = std::io::pipe()?;
        let (answers, theirs_out) = std::io::pipe()?;
        // The shell puts the pipes where the browser looks for them; ours are closed on exec.
        let line = format!(
            "exec 3<&0 4>&1 0</dev/null 1>/dev/null; exec chromium --headless --no-sandbox \
             --disable-gpu --disable-dev-shm-usage --no-first-run --window-size=1100,760 \
             --disable-background-networking --remote-debugging-pipe \
             --user-data-dir='{}' about:blank",
            profile.path().display()
        );
        let log = File::create(profile.path().join("stderr"))?;
        let child = Command::new("sh")
            .args(["-c", &line])
            .stdin(theirs_in)
            .stdout(theirs_out)
            .stderr(log)
            .spawn()?;
        let answers = reader(answers);
        let mut browser =
            Self { child, orders, answers, session: Value::Null, last: 0, _profile: profile };
        let target = browser.call("Target.createTarget", &json!({ "url": "about:blank" }))?;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        browser.session = browser.call("Target.attachToTarget", &attach)?["sessionId"].take();
        Ok(Some(browser))
    }

    /// Opens a page.
    pub(crate) fn open(&mut self, url: &str) -> Outcome {
        let told = self.call("Page.navigate", &json!({ "url": url }))?;
        assert!(told.get("errorText").is_none(), "{told}");
        Ok(())
    }

    /// The value of an expression on the page.
    pub(crate) fn value(&mut self, expression: &str) -> Outcome<Value> {
        let asked = json!({ "expression": expression, "returnByValue": true });
        let mut told = self.call("Runtime.evaluate", &asked)?;
        assert!(told.get("exceptionDetails").is_none(), "{told}");
        Ok(told["result"]["value"].take())
    }

    /// One question and its answer; events in between are nobody's.
    pub(crate) fn call(&mut self, method: &str, parameters: &Value) -> Outcome<Value> {
        self.last += 1;
        let mut asked = json!({ "id": self.last, "method": method, "params": parameters });
        if !self.session.is_null() {
            asked["sessionId"] = self.session.clone();
        }
        let mut bytes = serde_json::to_vec(&asked)?;
        bytes.push(0);
        self.orders.write_all(&bytes)?;
        loop {
            let mut told = self.answers.recv_timeout(PATIENCE).map_err(|error| match error {
                RecvTimeoutError::Timeout => format!("{method}: no answer in {PATIENCE:?}"),
                RecvTimeoutError::Disconnected => format!("{method}: the browser has ended"),
            })?;
            if told["id"] == self.last {
                assert!(told.get("error").is_none(), "{method}: {told}");
                return Ok(told["result"].take());
            }
        }
    }
}

/// Messages are JSON, each ended by a zero byte.
fn reader(pipe: PipeReader) -> Receiver<Value> {
    let (found, answers) = channel();
    thread::spawn(move || {
        for message in BufReader::new(pipe).split(0).map_while(Result::ok) {
            let Ok(message) = serde_json::from_slice(&message) else { return };
            if found.send(message).is_err() {
                return;
            }
        }
    });
    answers
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its own goodbye ends its children as well; whoever is left is killed.
        self.session = Value::Null;
        let _ = self.call("Browser.close", &json!({}));
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

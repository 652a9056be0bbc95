//! Processes of this program that a run has started: what they say comes into one mailbox, and none of them
//! outlives the run.
//!
//! Invariant: a child is ended by its own id and waited for; where even that does not happen any more, the
//! end of its input ends it.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child as Process, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use super::pipe::Order;

/// One process.
pub(crate) struct Child {
    process: Process,
    input: Option<ChildStdin>,
    /// Which of all processes that ever were children of the mailbox.
    life: u64,
}

/// A line of a child, or its end.
pub(crate) struct Mail {
    pub(crate) node: usize,
    pub(crate) life: u64,
    /// None where it says nothing any more.
    pub(crate) line: Option<String>,
}

/// Where all children are heard.
pub(crate) struct Mailbox {
    sender: Sender<Mail>,
    mail: Receiver<Mail>,
    lives: u64,
}

impl Mailbox {
    pub(crate) fn new() -> Self {
        let (sender, mail) = mpsc::channel();
        Self { sender, mail, lives: 0 }
    }

    /// Starts a process for a node.
    pub(crate) fn start(&mut self, node: usize, mut command: Command) -> io::Result<Child> {
        let process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        self.lives += 1;
        let mut child = Child { process, input: None, life: self.lives };
        child.input = child.process.stdin.take();
        let (output, sender) = (child.process.stdout.take(), self.sender.clone());
        let life = child.life;
        let listen = move || {
            let lines = output.into_iter().flat_map(|output| BufReader::new(output).lines());
            // A line that was cut off is none.
            for line in lines.map_while(Result::ok) {
                if sender.send(Mail { node, life, line: Some(line) }).is_err() {
                    return;
                }
            }
            let _ = sender.send(Mail { node, life, line: None });
        };
        thread::Builder::new().name("mail".into()).stack_size(128 * 1_024).spawn(listen)?;
        Ok(child)
    }

    /// The next line, if there is one.
    pub(crate) fn next(&self) -> Option<Mail> {
        self.mail.try_recv().ok()
    }
}

impl Child {
    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Which of all children it is.
    pub(crate) fn life(&self) -> u64 {
        self.life
    }

    /// Gives an order. Whether the child still hears it shows by its mail.
    pub(crate) fn order(&mut self, order: &Order) -> io::Result<()> {
        self.say(&serde_json::to_string(order)?)
    }

    /// Gives it a line.
    pub(crate) fn say(&mut self, line: &str) -> io::Result<()> {
        let Some(input) = &mut self.input else { return Ok(()) };
        writeln!(input, "{line}")
    }

    /// Ends it at once: SIGKILL, to this process alone.
    pub(crate) fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.input = None;
        self.kill();
        if let Err(error) = self.process.wait() {
            eprintln!("process {} was not waited for: {error}", self.id());
        }
    }
}

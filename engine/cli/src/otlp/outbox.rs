//! The queue to the collector, and the thread that empties it.
//!
//! Invariant: what logs never waits for the network: a full queue drops the newest and counts. A
//! batch is sent until it is taken or has been refused for good, and never twice once it was taken.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use super::record::{LogRecord, SpanRecord};
use super::settings::Target;
use super::{OWN_TARGET, encode};

/// Records that wait, of either kind.
const MOST: usize = 8_192;
/// So many are worth a request at once.
const BATCH: usize = 512;
/// Fewer are collected for so long.
const COLLECT: Duration = Duration::from_secs(1);
/// Times that a batch is tried, and the wait after the first; it doubles.
const TRIES: u32 = 4;
const FIRST_WAIT: Duration = Duration::from_millis(500);

#[derive(Default)]
struct Queue {
    logs: Vec<LogRecord>,
    spans: Vec<SpanRecord>,
    /// Dropped since the collector was last told of.
    lost: usize,
    /// The end of the process is waiting.
    is_hurried: bool,
    /// A batch is on its way.
    is_sending: bool,
}

impl Queue {
    fn waiting(&self) -> usize {
        self.logs.len().max(self.spans.len())
    }

    fn is_settled(&self) -> bool {
        self.waiting() == 0 && !self.is_sending
    }
}

/// The queue.
pub(super) struct Outbox {
    queue: Mutex<Queue>,
    /// There is something to do for the sender.
    woken: Condvar,
    /// Nothing waits and nothing is on its way.
    settled: Condvar,
}

impl Outbox {
    /// With a thread that lives as long as the process.
    ///
    /// # Errors
    /// The kernel refused the thread.
    pub(super) fn start(target: Target) -> io::Result<Arc<Self>> {
        let outbox = Arc::new(Self {
            queue: Mutex::default(),
            woken: Condvar::new(),
            settled: Condvar::new(),
        });
        let sender = Sender { outbox: outbox.clone(), agent: agent(target.timeout), target };
        thread::Builder::new().name("otlp-export".into()).spawn(move || sender.run())?;
        Ok(outbox)
    }

    pub(super) fn log(&self, log: LogRecord) {
        let mut queue = self.queue();
        if queue.logs.len() < MOST {
            queue.logs.push(log);
        } else {
            queue.lost += 1;
        }
        self.wake(&queue);
    }

    pub(super) fn span(&self, span: SpanRecord) {
        let mut queue = self.queue();
        if queue.spans.len() < MOST {
            queue.spans.push(span);
        } else {
            queue.lost += 1;
        }
        self.wake(&queue);
    }

    /// Returns when everything was sent or given up, or after `patience`.
    pub(super) fn flush(&self, patience: Duration) {
        let mut queue = self.queue();
        queue.is_hurried = true;
        self.woken.notify_all();
        let waited = self.settled.wait_timeout_while(queue, patience, |queue| !queue.is_settled());
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    fn wake(&self, queue: &Queue) {
        if queue.waiting() >= BATCH {
            self.woken.notify_all();
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next batch, after it was collected.
    fn next(&self) -> (Vec<LogRecord>, Vec<SpanRecord>) {
        let mut queue = self.queue();
        queue.is_sending = false;
        if queue.is_settled() {
            self.settled.notify_all();
        }
        loop {
            let due = Instant::now() + COLLECT;
            while !queue.is_hurried && queue.waiting() < BATCH {
                let left = due.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                let woken = self.woken.wait_timeout(queue, left);
                queue = woken.unwrap_or_else(PoisonError::into_inner).0;
            }
            if queue.waiting() > 0 {
                queue.is_sending = true;
                return (std::mem::take(&mut queue.logs), std::mem::take(&mut queue.spans));
            }
            // Hurried with nothing to do: whoever waits has been told; sleep until something comes.
            queue =
                self.woken.wait_timeout(queue, COLLECT).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits between two tries; at the end of the process there is no time for it.
    fn pause(&self, wait: Duration) {
        let queue = self.queue();
        let waited = self.woken.wait_timeout_while(queue, wait, |queue| !queue.is_hurried);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    fn lost(&self, more: usize) -> usize {
        let mut queue = self.queue();
        queue.lost += more;
        queue.lost
    }
}

/// What a request came to.
#[derive(Debug)]
enum Outcome {
    Taken,
    /// Worth another try.
    Later(String),
    /// The same again would be refused again.
    Refused(String),
}

struct Sender {
    outbox: Arc<Outbox>,
    agent: ureq::Agent,
    target: Target,
}

impl Sender {
    fn run(self) {
        let mut is_failing = false;
        loop {
            let (logs, spans) = self.outbox.next();
            let mut given_up = None;
            if !logs.is_empty() {
                let body = encode::logs(&self.target.resource, &logs);
                given_up = self.deliver(&self.target.logs, &body, logs.len());
            }
            if !spans.is_empty() {
                let body = encode::spans(&self.target.resource, &spans);
                given_up = self.deliver(&self.target.traces, &body, spans.len()).or(given_up);
            }
            // Told once a transition, to the log alone.
            match (&given_up, is_failing) {
                (Some(why), false) => tracing::warn!(
                    target: OWN_TARGET,
                    Reason = why,
                    "the collector does not take logs and traces; they are dropped"
                ),
                (None, true) => tracing::info!(
                    target: OWN_TARGET,
                    Lost = self.outbox.lost(0),
                    "the collector takes logs and traces again"
                ),
                (Some(_), true) | (None, false) => {}
            }
            is_failing = given_up.is_some();
        }
    }

    /// Sends until it is taken or given up; then why.
    fn deliver(&self, url: &str, body: &Json, records: usize) -> Option<String> {
        let mut wait = FIRST_WAIT;
        let mut last = String::new();
        for attempt in 1..=TRIES {
            match self.post(url, body) {
                Outcome::Taken => return None,
                Outcome::Later(why) => last = why,
                Outcome::Refused(why) => {
                    last = why;
                    break;
                }
            }
            if attempt < TRIES {
                self.outbox.pause(wait);
                wait *= 2;
            }
        }
        self.outbox.lost(records);
        Some(format!("{url}: {last}"))
    }

    fn post(&self, url: &str, body: &Json) -> Outcome {
        let mut request = self.agent.post(url).header("content-type", "application/json");
        for (name, value) in &self.target.headers {
            request = request.header(name, value);
        }
        match request.send(body.to_string()) {
            Err(error) => Outcome::Later(error.to_string()),
            Ok(answer) => match answer.status().as_u16() {
                200..=299 => Outcome::Taken,
                status @ (429 | 502 | 503 | 504) => Outcome::Later(format!("HTTP status {status}")),
                status => Outcome::Refused(format!("HTTP status {status}")),
            },
        }
    }
}

fn agent(timeout: Duration) -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_global(Some(timeout))
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .build()
        .new_agent()
}

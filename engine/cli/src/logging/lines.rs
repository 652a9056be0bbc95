//! Log lines on their way to stderr.
//!
//! A letter box with a carrier. Whoever reads the log may stop reading: a terminal that is held, a pipe to a
//! collector whose disk is full. A write then takes as long as that lasts, and so would the thread that logs, which
//! serves HTTP or answers signals. So one thread carries the lines, and everybody else drops them into a box.
//!
//! Invariants: who logs never waits; lines keep their order; what found no room is counted, and told once there is room.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait; a few seconds of the loudest level.
const ROOM: usize = 8_192;

/// What the carrier gets.
enum Letter {
    Line(Vec<u8>),
    /// Everything before this was carried.
    Receipt(SyncSender<()>),
}

/// The box.
#[derive(Clone)]
pub(super) struct Lines {
    letters: SyncSender<Letter>,
    lost: Arc<AtomicU64>,
}

impl Lines {
    /// To stderr; without a thread to carry them, lines are lost.
    pub(super) fn to_stderr() -> Self {
        Self::carried(ROOM, io::stderr())
    }

    fn carried(room: usize, out: impl io::Write + Send + 'static) -> Self {
        let (letters, received) = sync_channel(room);
        let lost = Arc::<AtomicU64>::default();
        let counted = Arc::clone(&lost);
        let carrier = move || carry(&received, out, &counted);
        // Without it the box stays full, and what does not fit is dropped.
        let _ = thread::Builder::new().name("log".into()).spawn(carrier);
        Self { letters, lost }
    }

    /// Waits until what was logged before has been carried, or for `limit`.
    pub(super) fn flush(&self, limit: Duration) {
        let (carried, receipt) = sync_channel(1);
        if self.letters.try_send(Letter::Receipt(carried)).is_ok() {
            // Whoever is not done by then is not waited for.
            let _ = receipt.recv_timeout(limit);
        }
    }
}

fn carry(letters: &Receiver<Letter>, mut out: impl io::Write, lost: &AtomicU64) {
    while let Ok(letter) = letters.recv() {
        match letter {
            // A stderr that is closed, or a disk that is full: the line is lost, and the agent runs on.
            Letter::Line(line) => drop(out.write_all(&line)),
            Letter::Receipt(carried) => drop(carried.try_send(())),
        }
        match lost.swap(0, Ordering::Relaxed) {
            0 => {}
            // By the way of all others, so that it has their form.
            lines => tracing::warn!(Lines = lines, "lines of this log were lost: nobody took them"),
        }
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> &'a Self {
        self
    }
}

impl io::Write for &Lines {
    /// One line: the formatter hands each over as a whole.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.letters.try_send(Letter::Line(line.to_vec())).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::sync::Mutex;

    use super::*;

    /// A reader who takes nothing while the gate is closed.
    #[derive(Clone, Default)]
    struct Gated {
        gate: Arc<Mutex<()>>,
        read: Arc<Mutex<Vec<u8>>>,
    }

    impl io::Write for Gated {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _passed = self.gate.lock().unwrap();
            self.read.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn who_logs_never_waits_for_who_reads() {
        let reader = Gated::default();
        let lines = Lines::carried(4, reader.clone());
        let closed = reader.gate.lock().unwrap();
        // One is with the carrier, at most, and four are in the box.
        for number in 0..20 {
            (&lines).write_all(format!("{number}\n").as_bytes()).unwrap();
        }
        let lost = lines.lost.load(Ordering::Relaxed);
        assert!((15..=16).contains(&lost), "{lost}");
        lines.flush(Duration::from_millis(10));
        drop(closed);
        let in_order: String = (0..20 - lost).map(|number| format!("{number}\n")).collect();
        let until = std::time::Instant::now() + Duration::from_secs(20);
        while *reader.read.lock().unwrap() != in_order.as_bytes() {
            assert!(std::time::Instant::now() < until, "{:?}", reader.read.lock().unwrap());
            thread::sleep(Duration::from_millis(1));
        }
        (&lines).write_all(b"later\n").unwrap();
        lines.flush(Duration::from_secs(20));
        assert!(reader.read.lock().unwrap().ends_with(b"later\n"));
        assert_eq!(lines.lost.load(Ordering::Relaxed), 0, "they were told");
    }
}

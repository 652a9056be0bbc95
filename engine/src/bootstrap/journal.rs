//! The ledger on disk: one file, one line a transaction, written and synced before it counts.
//!
//! Several processes share an authority's directory: a server, and people at a shell. A lock on
//! the file makes them take turns; whoever has the turn first reads what the others wrote.
//!
//! Invariant: what a transaction has committed is on the disk when [`Turn::commit`] returns, and a
//! line that a crash cut short never happened.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{FlockOperation, flock};

use crate::bootstrap::BootstrapError;
use crate::bootstrap::files;
use crate::bootstrap::ledger::{Entry, Ledger};

/// Largest journal read, in bytes: about half a million certificates.
pub(super) const MAX_JOURNAL: u64 = 256 * 1_048_576;

/// The journal of one authority.
pub(super) struct Journal {
    path: PathBuf,
    inner: Mutex<Inner>,
}

struct Inner {
    file: File,
    ledger: Ledger,
    /// Bytes taken in so far, all whole lines.
    read: u64,
    lines: u64,
}

/// A turn at the journal: nobody else reads or writes until it is dropped.
pub(super) struct Turn<'a> {
    inner: MutexGuard<'a, Inner>,
    path: &'a Path,
}

impl Journal {
    /// Opens the journal below `directory`, and makes it where there is none.
    pub(super) fn open(directory: &Path) -> Result<Self, BootstrapError> {
        let path = directory.join(files::LEDGER);
        let file = files::owners_options()
            .read(true)
            .append(true)
            .create(true)
            .open(&path)
            .map_err(|error| files::io_error(&path, error))?;
        files::sync_directory(directory)?;
        let inner = Inner { file, ledger: Ledger::default(), read: 0, lines: 0 };
        Ok(Self { path, inner: Mutex::new(inner) })
    }

    /// The ledger below `directory` as it stands, without a lock and without a trace.
    pub(super) fn peek(directory: &Path) -> Result<Ledger, BootstrapError> {
        let path = directory.join(files::LEDGER);
        let mut ledger = Ledger::default();
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(ledger),
            Err(error) => return Err(files::io_error(&path, error)),
        };
        let lines = text.split_inclusive(|byte| *byte == b'\n').filter(|l| l.ends_with(b"\n"));
        for (line, text) in (1..).zip(lines) {
            let taken = take_in(&mut ledger, text);
            taken.map_err(|why| BootstrapError::Ledger { path: path.clone(), line, why })?;
        }
        Ok(ledger)
    }

    /// Waits for the turn and reads what others have written.
    pub(super) fn turn(&self) -> Result<Turn<'_>, BootstrapError> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let fault = |error| files::io_error(&self.path, error);
        flock(&inner.file, FlockOperation::LockExclusive).map_err(|error| fault(error.into()))?;
        let turn = catch_up(&mut inner, &self.path);
        // From here on the turn's end unlocks.
        let held = Turn { inner, path: &self.path };
        turn.map(|()| held)
    }
}

fn catch_up(inner: &mut Inner, path: &Path) -> Result<(), BootstrapError> {
    let fault = |error| files::io_error(path, error);
    let length = inner.file.metadata().map_err(fault)?.len();
    if length > MAX_JOURNAL || length < inner.read {
        let expected = "a ledger that only grows, up to 256 MiB";
        return Err(BootstrapError::Load { path: path.to_owned(), expected });
    }
    inner.file.seek(SeekFrom::Start(inner.read)).map_err(fault)?;
    let mut text = Vec::new();
    (&inner.file).take(length - inner.read).read_to_end(&mut text).map_err(fault)?;
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    for line in text[..whole].split_inclusive(|byte| *byte == b'\n') {
        if let Err(why) = take_in(&mut inner.ledger, line) {
            let line = inner.lines + 1;
            inner.forget();
            return Err(BootstrapError::Ledger { path: path.to_owned(), line, why });
        }
        inner.read += line.len() as u64;
        inner.lines += 1;
    }
    if whole < text.len() {
        // A writer died in the middle of its line, before it could answer anybody.
        inner.file.set_len(inner.read).map_err(fault)?;
    }
    Ok(())
}

fn take_in(ledger: &mut Ledger, line: &[u8]) -> Result<(), String> {
    let entries: Vec<Entry> = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    entries.iter().try_for_each(|entry| ledger.apply(entry).map_err(|error| error.to_string()))
}

impl Inner {
    /// The next turn reads everything again.
    fn forget(&mut self) {
        (self.ledger, self.read, self.lines) = (Ledger::default(), 0, 0);
    }
}

impl Turn<'_> {
    /// All that has happened.
    pub(super) fn ledger(&self) -> &Ledger {
        &self.inner.ledger
    }

    /// Makes entries happen together: all of them are on disk when this returns, or none counts.
    pub(super) fn commit(&mut self, entries: &[Entry]) -> Result<(), BootstrapError> {
        let fault = |error| files::io_error(self.path, error);
        let mut line = serde_json::to_vec(entries).map_err(|error| fault(error.into()))?;
        line.push(b'\n');
        let before = self.inner.read;
        if before + line.len() as u64 > MAX_JOURNAL {
            return Err(fault(io::ErrorKind::FileTooLarge.into()));
        }
        if let Err(why) = take_in(&mut self.inner.ledger, &line) {
            let line = self.inner.lines + 1;
            self.inner.forget();
            return Err(BootstrapError::Ledger { path: self.path.to_owned(), line, why });
        }
        let written = self.inner.file.write_all(&line).and_then(|()| self.inner.file.sync_data());
        if let Err(error) = written {
            // What may have been written must not count for whoever comes next.
            let _ = self.inner.file.set_len(before);
            self.inner.forget();
            return Err(fault(error));
        }
        self.inner.read += line.len() as u64;
        self.inner.lines += 1;
        Ok(())
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // Unlocking fails only for a file that is not open.
        let _ = flock(&self.inner.file, FlockOperation::Unlock);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crl(number: u64) -> Entry {
        Entry::Crl { number, next_update_s: 1 }
    }

    #[test]
    fn two_processes_see_what_each_other_wrote() {
        let directory = tempfile::tempdir().unwrap();
        let (one, other) =
            (Journal::open(directory.path()).unwrap(), Journal::open(directory.path()).unwrap());
        one.turn().unwrap().commit(&[crl(1)]).unwrap();
        let mut turn = other.turn().unwrap();
        assert_eq!(turn.ledger().crl_number(), 1);
        turn.commit(&[crl(2)]).unwrap();
        drop(turn);
        assert_eq!(one.turn().unwrap().ledger().crl_number(), 2);
        assert_eq!(Journal::peek(directory.path()).unwrap().crl_number(), 2);
        let empty = tempfile::tempdir().unwrap();
        assert_eq!(Journal::peek(empty.path()).unwrap().crl_number(), 0);
        assert_eq!(std::fs::read_dir(empty.path()).unwrap().count(), 0, "looking leaves no trace");
    }

    #[test]
    fn a_line_that_a_crash_cut_short_never_happened() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(files::LEDGER);
        Journal::open(directory.path()).unwrap().turn().unwrap().commit(&[crl(1)]).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let second = br#"[{"event":"crl","number":2,"nextUpdateS":1}]"#;
        for cut in 0..=second.len() {
            std::fs::write(&path, [&whole[..], &second[..cut]].concat()).unwrap();
            let journal = Journal::open(directory.path()).unwrap();
            assert_eq!(journal.turn().unwrap().ledger().crl_number(), 1, "cut at {cut}");
            journal.turn().unwrap().commit(&[crl(3)]).unwrap();
            let again = Journal::open(directory.path()).unwrap();
            assert_eq!(again.turn().unwrap().ledger().crl_number(), 3, "cut at {cut}");
        }
    }

    #[test]
    fn a_batch_that_contradicts_the_ledger_leaves_no_trace() {
        let directory = tempfile::tempdir().unwrap();
        let journal = Journal::open(directory.path()).unwrap();
        journal.turn().unwrap().commit(&[crl(5)]).unwrap();
        let refused = journal.turn().unwrap().commit(&[crl(6), crl(6)]).unwrap_err();
        assert!(refused.to_string().contains("does not rise"), "{refused}");
        assert_eq!(journal.turn().unwrap().ledger().crl_number(), 5);
    }

    #[test]
    fn a_line_that_is_no_entry_is_named_and_nothing_is_guessed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(files::LEDGER);
        std::fs::write(&path, "[{\"event\":\"crl\",\"number\":2,\"nextUpdateS\":1}]\nx\n").unwrap();
        let journal = Journal::open(directory.path()).unwrap();
        let text = journal.turn().err().unwrap().to_string();
        assert!(text.contains("ledger.jsonl") && text.contains("line 2"), "{text}");
    }
}

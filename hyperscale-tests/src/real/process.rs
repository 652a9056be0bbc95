//! What this process costs the machine: processor time by thread, memory by kind, load.
//!
//! Invariant: the thread that asks is left out of every processor time; it measures and is not measured.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Resident memory of the process, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// All of it.
    pub resident: u64,
    /// What was allocated: heap, stacks, rings.
    pub anonymous: u64,
    /// Pages of the program and of libraries.
    pub file: u64,
}

impl Memory {
    /// As of this moment.
    pub fn now() -> Self {
        Self::of("self")
    }

    /// Of another process, by its id; nothing where there is none.
    pub fn of(process: &str) -> Self {
        Self::read(&fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default())
    }

    /// Takes in the memory of another process.
    pub fn add(&mut self, other: Self) {
        self.resident += other.resident;
        self.anonymous += other.anonymous;
        self.file += other.file;
    }

    fn read(status: &str) -> Self {
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
            kib.unwrap_or(0) * 1_024
        };
        Self {
            resident: bytes("VmRSS:"),
            anonymous: bytes("RssAnon:"),
            file: bytes("RssFile:") + bytes("RssShmem:"),
        }
    }
}

/// Processor time so far, by the names of threads without their numbers.
pub type Threads = BTreeMap<String, Duration>;

/// Time on a core of every thread but the one that asks. Threads that have ended are not among them.
pub fn threads() -> Threads {
    let own = fs::read_link("/proc/thread-self").ok();
    let own = own.as_deref().and_then(|path| path.file_name());
    threads_but("self", own)
}

/// Likewise of another process, whose first thread asks and whose others work.
pub fn threads_of(process: &str) -> Threads {
    threads_but(process, Some(OsStr::new(process)))
}

/// Likewise with all of its threads.
pub fn all_threads_of(process: &str) -> Threads {
    threads_but(process, None)
}

fn threads_but(process: &str, left_out: Option<&OsStr>) -> Threads {
    let mut threads = Threads::new();
    let tasks = fs::read_dir(format!("/proc/{process}/task"));
    for entry in tasks.into_iter().flatten().flatten() {
        if Some(entry.file_name().as_os_str()) == left_out {
            continue;
        }
        // A thread may end between the listing and the look.
        let read = |file: &str| fs::read_to_string(entry.path().join(file)).unwrap_or_default();
        let name = kind_of(read("comm").trim());
        *threads.entry(name).or_default() += time_of(&read("schedstat"));
    }
    threads
}

/// What each kind of thread has used since `before`.
pub fn used_since(before: &Threads) -> Threads {
    used_between(before, threads())
}

/// What each kind of thread used from one look to the next.
pub fn used_between(before: &Threads, after: Threads) -> Threads {
    let since = |(name, after): (String, Duration)| {
        let used = after.saturating_sub(before.get(&name).copied().unwrap_or_default());
        (name, used)
    };
    after.into_iter().map(since).collect()
}

/// Adds the times of other threads to those of the same names.
pub fn add_threads(sum: &mut Threads, other: &Threads) {
    for (name, used) in other {
        *sum.entry(name.clone()).or_default() += *used;
    }
}

/// Bytes of one line of a process's files below `/proc`.
fn bytes_of(path: &str, name: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1_024
}

/// Bytes of this process that are in use, as its allocator counts them: what is resident beyond them is
/// free or never was the heap's. Nothing where the allocator is not glibc's.
pub fn allocated() -> Option<u64> {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: the function takes nothing, locks what it reads and returns numbers.
        let info = unsafe { libc::mallinfo2() };
        Some((info.uordblks + info.hblkhd) as u64)
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    None
}

/// The most that was ever resident in a process.
pub fn peak_of(process: &str) -> u64 {
    bytes_of(&format!("/proc/{process}/status"), "VmHWM:")
}

/// Resident memory of a process, pages that several share being divided among them.
pub fn proportional_of(process: &str) -> u64 {
    bytes_of(&format!("/proc/{process}/smaps_rollup"), "Pss:")
}

/// What became of the wish of threads to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turns {
    /// They ran for so long,
    pub ran: Duration,
    /// and waited for a core for so long, each by itself.
    pub waited: Duration,
}

impl Turns {
    /// What came after an earlier look.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        let ran = self.ran.saturating_sub(earlier.ran);
        Self { ran, waited: self.waited.saturating_sub(earlier.waited) }
    }

    fn add(&mut self, schedstat: &str) {
        let mut words = schedstat.split_whitespace().map(|word| word.parse().ok());
        let mut next = || Duration::from_nanos(words.next().flatten().unwrap_or_default());
        self.ran += next();
        self.waited += next();
    }
}

/// Of all threads of a process that live.
pub fn turns_of(process: &str) -> Turns {
    let mut turns = Turns::default();
    let tasks = fs::read_dir(format!("/proc/{process}/task"));
    for entry in tasks.into_iter().flatten().flatten() {
        // A thread may end between the listing and the look.
        turns.add(&fs::read_to_string(entry.path().join("schedstat")).unwrap_or_default());
    }
    turns
}

fn kind_of(name: &str) -> String {
    let without = name.trim_end_matches(|letter: char| letter.is_ascii_digit());
    without.trim_end_matches('-').to_owned()
}

fn time_of(schedstat: &str) -> Duration {
    let nanos = schedstat.split_whitespace().next().and_then(|word| word.parse().ok());
    Duration::from_nanos(nanos.unwrap_or_default())
}

/// Tasks that want a core, averaged over a minute: whether the machine was ours.
pub fn load_average() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or_default()
}

/// Open descriptors of the process.
pub fn descriptors() -> usize {
    // The listing itself is one of them.
    descriptors_of("self").saturating_sub(1)
}

/// Open descriptors of another process.
pub fn descriptors_of(process: &str) -> usize {
    fs::read_dir(format!("/proc/{process}/fd")).map_or(0, Iterator::count)
}

/// Whether a process holds the stream whose own end is this address.
pub fn holds_stream(process: &str, end: SocketAddr) -> bool {
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let Some(inode) = stream_at(&table, end) else { return false };
    let wanted = format!("socket:[{inode}]");
    let held = fs::read_dir(format!("/proc/{process}/fd"));
    held.into_iter()
        .flatten()
        .flatten()
        .any(|entry| fs::read_link(entry.path()).is_ok_and(|to| to.as_os_str() == wanted.as_str()))
}

/// The inode of the socket at an address, in a table as `/proc/net/tcp` is.
fn stream_at(table: &str, end: SocketAddr) -> Option<u64> {
    let SocketAddr::V4(end) = end else { return None };
    let number = u32::from_ne_bytes(end.ip().octets());
    let wanted = format!("{number:08X}:{:04X}", end.port());
    let lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut ours = lines.filter(|words| words.get(1) == Some(&wanted.as_str()));
    ours.find_map(|words| words.get(9)?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_told_by_kind() {
        let status = "VmHWM:\t 900 kB\nVmRSS:\t 800 kB\nRssAnon:\t 500 kB\nRssFile:\t 290 kB\n\
                      RssShmem:\t 10 kB\n";
        let memory = Memory::read(status);
        assert_eq!(memory.resident, 800 * 1_024);
        assert_eq!(memory.anonymous + memory.file, memory.resident);
    }

    #[test]
    fn a_stream_is_found_at_its_own_end_and_not_at_the_other() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
        let near = std::net::TcpStream::connect(listener.local_addr().expect("bound"));
        let near = near.expect("a stream").local_addr();
        let own = std::process::id().to_string();
        // The stream above is closed, so nobody's; the listener is this process's.
        assert!(holds_stream(&own, listener.local_addr().expect("bound")));
        assert!(!holds_stream("1", listener.local_addr().expect("bound")));
        let table =
            "sl local rem st q t r uid t inode\n 0: 0100007F:1F90 0A00007F:1F91 01 0 0 0 0 0 77 1";
        assert_eq!(stream_at(table, "127.0.0.1:8080".parse().expect("an address")), Some(77));
        assert_eq!(stream_at(table, "127.0.0.10:8081".parse().expect("an address")), None);
        assert!(near.is_ok());
    }

    #[test]
    fn threads_are_added_up_by_name_and_the_asking_one_is_not_among_them() {
        assert_eq!(kind_of("mesh-shard-17"), "mesh-shard");
        assert_eq!(kind_of("mesh-control"), "mesh-control");
        assert_eq!(time_of("1500000000 7 9"), Duration::from_millis(1_500));
        let mut turns = Turns::default();
        ["1500000000 7 9", "", "1 3 1"].iter().for_each(|line| turns.add(line));
        let nanos = |nanos| Duration::from_nanos(nanos);
        assert_eq!((turns.ran, turns.waited), (nanos(1_500_000_001), nanos(10)));
        let named = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let busy = named("busy-1").spawn(move || {
            while stopped.try_recv() != Err(std::sync::mpsc::TryRecvError::Disconnected) {
                std::hint::spin_loop();
            }
        });
        let asking = named("asking-1").spawn(|| {
            let before = threads();
            let seen = || used_since(&before).get("busy").copied().unwrap_or_default();
            while seen().is_zero() {
                std::thread::yield_now();
            }
            threads().contains_key("asking")
        });
        let own = asking.expect("a thread").join().expect("no panic");
        drop(stop);
        busy.expect("a thread").join().expect("no panic");
        assert!(!own);
    }
}

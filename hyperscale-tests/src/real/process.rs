//! What this process costs the machine: processor time by thread, memory by kind, load.
//!
//! Invariant: the thread that asks is left out of every processor time; it measures and is not measured.

use std::collections::BTreeMap;
use std::fs;
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
        Self::read(&fs::read_to_string("/proc/self/status").unwrap_or_default())
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
    let own = own.as_deref().and_then(|path| path.file_name()).map(ToOwned::to_owned);
    let mut threads = Threads::new();
    for entry in fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        if Some(entry.file_name()) == own {
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
    let since = |(name, after): (String, Duration)| {
        let used = after.saturating_sub(before.get(&name).copied().unwrap_or_default());
        (name, used)
    };
    threads().into_iter().map(since).collect()
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
    fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count().saturating_sub(1))
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
    fn threads_are_added_up_by_name_and_the_asking_one_is_not_among_them() {
        assert_eq!(kind_of("mesh-shard-17"), "mesh-shard");
        assert_eq!(kind_of("mesh-control"), "mesh-control");
        assert_eq!(time_of("1500000000 7 9"), Duration::from_millis(1_500));
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

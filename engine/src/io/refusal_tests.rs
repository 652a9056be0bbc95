//! What happens where system calls are forbidden: the way in which most hosts lack io_uring.

use std::io;
use std::process::Command;
use std::thread;
use std::time::Duration;

use super::{Backend, Datagrams, IoError, Refusal, Step, bind, start};
use crate::options::BackendChoice;

/// Runs a story on a thread whose calls of number `call` fail with `errno`.
fn refusing<T: Send>(call: libc::c_long, errno: i32, story: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let told = scope.spawn(|| {
            forbid(call, errno).unwrap();
            story()
        });
        told.join().unwrap()
    })
}

/// Installs a seccomp filter for the calling thread.
fn forbid(call: libc::c_long, errno: i32) -> io::Result<()> {
    let step = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut filter = [
        // The number of the call is the first word of `struct seccomp_data`.
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, call as u32),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | errno as u32),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: takes no pointer.
    let set = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    if set != 0 {
        return Err(io::Error::last_os_error());
    }
    let mode = libc::SECCOMP_MODE_FILTER as libc::c_ulong;
    // SAFETY: the kernel copies the program, which is ours, during the call.
    let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program) };
    if set != 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn refusal(errno: i32) -> Refusal {
    refusing(libc::SYS_io_uring_setup, errno, || match start(BackendChoice::Uring) {
        Err(IoError::UringRefused(refusal)) => refusal,
        Err(error @ IoError::Mmsg(_)) => panic!("{error}"),
        Ok(_) => panic!("a ring without io_uring_setup"),
    })
}

#[test]
fn a_forced_ring_that_is_refused_is_an_error_that_names_the_reason() {
    let error = refusing(libc::SYS_io_uring_setup, libc::EPERM, || {
        start(BackendChoice::Uring).map(|_| ()).unwrap_err().to_string()
    });
    assert!(error.contains("forced to uring"), "{error}");
    // A machine whose administrator has disabled io_uring answers with that.
    assert!(error.contains("seccomp") || error.contains("io_uring_disabled"), "{error}");
}

#[test]
fn each_refusal_is_told_apart() {
    assert_eq!(refusal(libc::ENOSYS), Refusal::Kernel { step: Step::Ring });
    assert_eq!(refusal(libc::EINVAL), Refusal::Kernel { step: Step::Ring });
    assert_eq!(refusal(libc::EMFILE), Refusal::Descriptors);
    assert!(matches!(refusal(libc::ENOMEM), Refusal::Memlock { .. }));
    let other = Refusal::Other { step: Step::Ring, errno: libc::EIO };
    assert_eq!(refusal(libc::EIO), other);
}

#[test]
fn without_registration_the_buffers_are_what_was_refused() {
    let refused = refusing(libc::SYS_io_uring_register, libc::EINVAL, || {
        start(BackendChoice::Uring).map(|_| ()).unwrap_err()
    });
    let IoError::UringRefused(refusal) = refused else { panic!("{refused}") };
    // Where rings cannot be made at all, that is told before.
    let step = |step| Refusal::Kernel { step };
    if start(BackendChoice::Uring).is_ok() {
        assert_eq!(refusal, step(Step::Buffers));
    }
}

#[test]
fn auto_falls_back_and_the_startup_line_says_why() {
    let line = refusing(libc::SYS_io_uring_setup, libc::ENOSYS, || {
        let (mut io, startup) = start(BackendChoice::Auto).unwrap();
        assert_eq!((io.backend(), startup.backend), (Backend::Mmsg, Backend::Mmsg));
        assert_eq!(io.turn(Some(Duration::ZERO), &mut |_, _, _| {}).unwrap(), 0);
        startup.to_string()
    });
    assert_eq!(
        line,
        "mmsg (io_uring is not usable: the kernel lacks what is needed for making a ring (6.1 has \
         it))"
    );
}

#[test]
fn every_refusal_says_something_that_helps() {
    let step = Step::Turn;
    let told = [
        (Refusal::Kernel { step }, "6.1"),
        (Refusal::Seccomp { step }, "seccomp"),
        (Refusal::Sysctl { value: 2 }, "kernel.io_uring_disabled = 2"),
        (Refusal::Memlock { limit_bytes: Some(65_536) }, "RLIMIT_MEMLOCK is 65536 bytes"),
        (Refusal::Memlock { limit_bytes: None }, "memory"),
        (Refusal::Descriptors, "RLIMIT_NOFILE"),
        (Refusal::Deaf, "never arrived"),
        (Refusal::Other { step, errno: libc::EIO }, "Input/output error"),
    ];
    for (refusal, words) in told {
        let text = refusal.to_string();
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn short_waits_work_where_the_kernel_lacks_the_newer_call() {
    for errno in [libc::ENOSYS, libc::EPERM] {
        refusing(libc::SYS_epoll_pwait2, errno, || {
            let (mut io, _) = start(BackendChoice::Mmsg).unwrap();
            let socket = bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let addr = socket.local_addr().unwrap();
            let id = io.open(socket).unwrap();
            for wait_us in [1, 200, 2_000] {
                let wait = Some(Duration::from_micros(wait_us));
                assert_eq!(io.turn(wait, &mut |_, _, _| {}).unwrap(), 0);
            }
            io.send(id, addr, b"hello");
            assert_eq!(io.turn(None, &mut |_, _, _| {}).unwrap(), 1);
            io.waker().wake();
            assert_eq!(io.turn(None, &mut |_, _, _| {}).unwrap(), 0);
        });
    }
}

/// A start that fails half-way gives back what it had.
#[test]
fn a_ring_that_fails_half_way_leaves_no_descriptor_open() {
    // Other tests open and close theirs meanwhile, one a thread.
    const ROUNDS: usize = 60;
    let open = || {
        let descriptors = std::fs::read_dir("/proc/self/fd").unwrap();
        let named = descriptors.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok());
        named.filter(|name| name.to_string_lossy().contains("io_uring")).count()
    };
    for call in [libc::SYS_io_uring_register, libc::SYS_eventfd2] {
        let before = open();
        let last = refusing(call, libc::EINVAL, || {
            let mut last = None;
            for _ in 0..ROUNDS {
                last = start(BackendChoice::Uring).map(|_| ()).err();
            }
            last
        });
        assert!(last.is_some());
        assert!(open() < before + ROUNDS / 2, "{before} before, {} after", open());
    }
}

/// Set, the test below is its own child.
const UNPRIVILEGED: &str = "MESH_GOSSIP_UNPRIVILEGED";

/// Root is exempt from RLIMIT_MEMLOCK, which hides what an ordinary process meets: a limit that has
/// no room for a ring. The change is for a whole process, so it is a child that makes it.
#[test]
fn an_unprivileged_process_gets_a_ring_or_a_reason() {
    const NOBODY: libc::uid_t = 65_534;
    if std::env::var_os(UNPRIVILEGED).is_some() {
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the kernel reads the limit, which is ours, during the call.
        let limited = unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const none) };
        assert_eq!(limited, 0);
        // SAFETY: takes no pointer. It fails where we are nobody special already.
        unsafe { libc::setresuid(NOBODY, NOBODY, NOBODY) };
        // SAFETY: takes no pointer.
        assert_ne!(unsafe { libc::geteuid() }, 0);
        let (mut io, startup) = start(BackendChoice::Auto).unwrap();
        let socket = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let addr = socket.local_addr().unwrap();
        let id = io.open(socket).unwrap();
        io.send(id, addr, b"hello");
        let heard = (0..100)
            .any(|_| io.turn(Some(Duration::from_millis(50)), &mut |_, _, _| {}).unwrap() > 0);
        assert!(heard);
        println!("started: {startup}");
        return;
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture"])
        .arg("io::refusal_tests::an_unprivileged_process_gets_a_ring_or_a_reason")
        .env(UNPRIVILEGED, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{said}{}", String::from_utf8_lossy(&child.stderr));
    let line = said.lines().find_map(|line| line.split_once("started: ")).expect("it says").1;
    let usable = start(BackendChoice::Uring).is_ok();
    let expected = match line.strip_prefix("mmsg (io_uring is not usable: ") {
        None => line == "uring",
        // Kernels before 5.12 count a ring as locked memory; an administrator may allow a group.
        Some(why) if usable => {
            why.contains("RLIMIT_MEMLOCK is 0 bytes") || why.contains("io_uring_disabled")
        }
        Some(why) => !why.is_empty(),
    };
    assert!(expected, "{line}");
}

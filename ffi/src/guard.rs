//! The counter's glass: whatever goes wrong behind it comes out as a code and an error.
//!
//! Invariant: no panic passes, and nothing is written where a call fails but `*err`. Every exported
//! function is one call of a function of this module, which a test reads in the sources.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::code::{
    MESH_GOSSIP_ERR_FORKED, MESH_GOSSIP_ERR_PANIC, MESH_GOSSIP_ERR_POISONED,
    MESH_GOSSIP_ERR_REENTRANT, MESH_GOSSIP_OK, MeshGossipResult,
};
use crate::error::{Failure, MeshGossipError};
use crate::fork;

thread_local! {
    static WHERE: Cell<Where> = const { Cell::new(Where::Outside) };
}

/// Where a thread is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Where {
    Outside,
    /// In a function of the host's, on a thread that nobody but the host waits for.
    Woken,
    /// In a function of the host's, on a thread that the engine may need to go on.
    Logging,
}

/// Marks a thread as being inside the host's function, for as long as it lives.
pub(crate) struct Inside(Where);

impl Inside {
    pub(crate) fn callback() -> Self {
        Self(WHERE.replace(Where::Woken))
    }

    pub(crate) fn log() -> Self {
        Self(WHERE.replace(Where::Logging))
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        // A line may be logged from within a callback.
        WHERE.set(self.0);
    }
}

/// Whoever waits for a callback's thread must not be that thread.
pub(crate) fn outside_callbacks() -> Result<(), Failure> {
    match WHERE.get() {
        Where::Outside => Ok(()),
        Where::Woken | Where::Logging => Err(reentrant()),
    }
}

/// Whoever waits for the engine must not be a thread of the engine.
pub(crate) fn outside_log() -> Result<(), Failure> {
    match WHERE.get() {
        Where::Outside | Where::Woken => Ok(()),
        Where::Logging => Err(reentrant()),
    }
}

fn reentrant() -> Failure {
    let why = "called within a callback: it would wait for itself; call it from another thread";
    Failure::new(MESH_GOSSIP_ERR_REENTRANT, why)
}

/// What every handle that does something carries.
pub(crate) struct Seal {
    made_in: u32,
    poisoned: AtomicBool,
}

impl Seal {
    pub(crate) fn new() -> Self {
        Self { made_in: fork::watched(), poisoned: AtomicBool::new(false) }
    }

    /// Whether the handle belongs to a parent process.
    pub(crate) fn is_forked(&self) -> bool {
        self.made_in != fork::generation()
    }

    /// A call panicked on this handle: what it left half done is not to be looked at.
    pub(crate) fn spoil(&self) {
        self.poisoned.store(true, Ordering::Relaxed);
    }

    pub(crate) fn check(&self) -> Result<(), Failure> {
        if self.is_forked() {
            return Err(Failure::new(
                MESH_GOSSIP_ERR_FORKED,
                "this handle was made before a fork and belongs to the parent process",
            ));
        }
        if self.poisoned.load(Ordering::Relaxed) {
            return Err(Failure::new(
                MESH_GOSSIP_ERR_POISONED,
                "a call panicked on this handle before; free it and start anew",
            ));
        }
        Ok(())
    }
}

/// Something with a seal.
pub(crate) trait Sealed {
    fn seal(&self) -> &Seal;
}

/// Runs the body of a function that has no handle.
///
/// # Safety
/// `err` is null or may be written to.
pub(crate) unsafe fn run(
    err: *mut *mut MeshGossipError,
    body: impl FnOnce() -> Result<(), Failure>,
) -> MeshGossipResult {
    let outcome = caught(body).unwrap_or_else(|panic| Err(defect(&*panic)));
    // SAFETY: handed on as promised.
    unsafe { tell(err, outcome) }
}

/// Runs the body of a function on a handle; a panic spoils the handle.
///
/// # Safety
/// `handle` is null or live; `err` is null or may be written to.
pub(crate) unsafe fn run_on<T: Sealed>(
    handle: *const T,
    err: *mut *mut MeshGossipError,
    body: impl FnOnce(&T) -> Result<(), Failure>,
) -> MeshGossipResult {
    // SAFETY: the caller promises null or a live handle.
    let outcome = match unsafe { handle.as_ref() } {
        None => Err(Failure::argument("handle", "is NULL")),
        Some(handle) => handle.seal().check().and_then(|()| {
            caught(|| body(handle)).unwrap_or_else(|panic| {
                handle.seal().spoil();
                Err(defect(&*panic))
            })
        }),
    };
    // SAFETY: handed on as promised.
    unsafe { tell(err, outcome) }
}

/// Runs the body of a function that returns no code; `otherwise` where it panics.
pub(crate) fn look<R>(otherwise: R, body: impl FnOnce() -> R) -> R {
    caught(body).unwrap_or(otherwise)
}

/// The same on what never changes; `otherwise` for null as well.
///
/// # Safety
/// `thing` is null, or live for as long as what the body returns is used.
pub(crate) unsafe fn look_at<'a, T: 'a, R>(
    thing: *const T,
    otherwise: R,
    body: impl FnOnce(&'a T) -> R,
) -> R {
    // SAFETY: the caller promises null or something live.
    match unsafe { thing.as_ref() } {
        Some(thing) => look(otherwise, || body(thing)),
        None => otherwise,
    }
}

/// The same on a handle that may be used; a panic spoils it.
///
/// # Safety
/// `handle` is null or live.
pub(crate) unsafe fn look_on<T: Sealed, R>(
    handle: *const T,
    otherwise: R,
    body: impl FnOnce(&T) -> R,
) -> R {
    // SAFETY: the caller promises null or a live handle.
    let Some(handle) = (unsafe { handle.as_ref() }) else { return otherwise };
    if handle.seal().check().is_err() {
        return otherwise;
    }
    caught(|| body(handle)).unwrap_or_else(|_| {
        handle.seal().spoil();
        otherwise
    })
}

/// Frees what was handed out; null is fine.
///
/// # Safety
/// `thing` is null, or was made by `Box::into_raw` and is freed once.
pub(crate) unsafe fn free<T>(thing: *mut T) {
    look((), || {
        if !thing.is_null() {
            // SAFETY: not null, and the caller promises that it is a box that nobody else frees.
            drop(unsafe { Box::from_raw(thing) });
        }
    });
}

fn caught<R>(body: impl FnOnce() -> R) -> std::thread::Result<R> {
    catch_unwind(AssertUnwindSafe(|| {
        #[cfg(feature = "hooks")]
        planted::meet();
        body()
    }))
}

/// A defect for tests: behind a feature, and armed by a function that only the library for tests has.
#[cfg(feature = "hooks")]
pub(crate) mod planted {
    use std::sync::atomic::{AtomicBool, Ordering};

    static ARMED: AtomicBool = AtomicBool::new(false);

    #[allow(dead_code, reason = "the library that is given away arms nothing")]
    pub(crate) fn arm() {
        ARMED.store(true, Ordering::SeqCst);
    }

    /// Whether nobody has met it yet.
    pub(crate) fn disarm() -> bool {
        ARMED.swap(false, Ordering::SeqCst)
    }

    pub(super) fn meet() {
        assert!(!disarm(), "planted");
    }
}

/// Hands the outcome to C.
///
/// # Safety
/// `err` is null or may be written to.
unsafe fn tell(err: *mut *mut MeshGossipError, outcome: Result<(), Failure>) -> MeshGossipResult {
    match outcome {
        Ok(()) => MESH_GOSSIP_OK,
        Err(failure) => {
            let code = failure.code;
            if !err.is_null() {
                let object = Box::into_raw(Box::new(failure.into_object()));
                // SAFETY: not null, and the caller promises that it may be written to.
                unsafe { err.write(object) };
            }
            code
        }
    }
}

fn defect(panic: &(dyn Any + Send)) -> Failure {
    let words = words(panic);
    Failure::new(MESH_GOSSIP_ERR_PANIC, format_args!("a defect of the library: {words}"))
}

/// What a panic says.
pub(crate) fn words(panic: &dyn Any) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ptr;

    struct Thing(Seal);

    impl Sealed for Thing {
        fn seal(&self) -> &Seal {
            &self.0
        }
    }

    #[test]
    fn a_panic_is_a_code_and_spoils_the_handle() {
        let thing = Thing(Seal::new());
        let on = |body: fn(&Thing) -> Result<(), Failure>| {
            // SAFETY: a live handle, and no wish for an error.
            unsafe { run_on(&thing, ptr::null_mut(), body) }
        };
        assert_eq!(on(|_| Ok(())), MESH_GOSSIP_OK);
        assert_eq!(on(|_| panic!("planted")), MESH_GOSSIP_ERR_PANIC);
        assert_eq!(on(|_| Ok(())), MESH_GOSSIP_ERR_POISONED);
    }

    #[test]
    fn a_panic_of_what_returns_no_code_is_what_it_returns_for_nothing() {
        assert_eq!(look(7, || 1), 1);
        assert_eq!(look(7, || panic!("planted")), 7);
        let thing = Thing(Seal::new());
        let at = |thing: *const Thing, body: fn(&Thing) -> u32| {
            // SAFETY: live or null.
            unsafe { look_at(thing, 7, body) }
        };
        assert_eq!(at(&raw const thing, |_| panic!("planted")), 7);
        assert_eq!(at(&raw const thing, |_| 1), 1);
        assert_eq!(at(ptr::null(), |_| 1), 7);
        let on = |body: fn(&Thing) -> u32| {
            // SAFETY: a live handle.
            unsafe { look_on(&raw const thing, 7, body) }
        };
        assert_eq!(on(|_| 1), 1);
        assert_eq!(on(|_| panic!("planted")), 7);
        // Spoilt.
        assert_eq!(on(|_| 1), 7);
    }

    #[test]
    fn a_panic_while_something_is_freed_stays_inside() {
        struct Bad;
        impl Drop for Bad {
            fn drop(&mut self) {
                panic!("planted");
            }
        }
        for thing in [Box::into_raw(Box::new(Bad)), ptr::null_mut()] {
            // SAFETY: a box of our own, and nothing.
            unsafe { free(thing) };
        }
    }

    #[test]
    fn inside_a_callback_nobody_waits_for_it() {
        assert!(outside_callbacks().is_ok());
        let inside = Inside::callback();
        assert_eq!(outside_callbacks().unwrap_err().code, MESH_GOSSIP_ERR_REENTRANT);
        assert!(outside_log().is_ok());
        let logging = Inside::log();
        assert_eq!(outside_log().unwrap_err().code, MESH_GOSSIP_ERR_REENTRANT);
        drop(logging);
        assert!(outside_log().is_ok());
        assert!(outside_callbacks().is_err());
        drop(inside);
        assert!(outside_callbacks().is_ok());
    }
}

//! The counter's glass: whatever goes wrong behind it comes out as a code and an error.
//!
//! Invariant: no panic passes, and nothing is written where a call fails but `*err`.

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
    let outcome = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(defect(&*panic)));
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
    let handle = unsafe { handle.as_ref() };
    let guarded = || {
        let handle = handle.ok_or_else(|| Failure::argument("handle", "is NULL"))?;
        let seal = handle.seal();
        seal.check()?;
        catch_unwind(AssertUnwindSafe(|| body(handle))).unwrap_or_else(|panic| {
            seal.spoil();
            Err(defect(&*panic))
        })
    };
    // SAFETY: handed on as promised.
    unsafe { run(err, guarded) }
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

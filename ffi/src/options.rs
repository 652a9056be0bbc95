//! What an agent is started with: settings as people write them, and what only a program can say.
//!
//! Invariant: a setting that is refused changes nothing.

use std::ffi::{c_char, c_void};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use engine::options::{AgentOptions, EngineOptions};
use engine::settings::{Settings, Sources};

use crate::code::{MESH_GOSSIP_ERR_DISABLED, MESH_GOSSIP_ERR_STRUCT_SIZE, MeshGossipResult};
use crate::error::{Failure, MeshGossipError};
use crate::guard::{self, Seal, Sealed, run, run_on};
use crate::log::MeshGossipLogFn;
use crate::text;

/// Settings of an agent. Owned by the caller; freed with `mesh_gossip_options_free`. An agent
/// keeps a copy of what it was started with.
pub struct MeshGossipOptions {
    seal: Seal,
    written: Mutex<Written>,
}

#[derive(Clone)]
struct Written {
    base: Sources,
    /// Keys in lower case, each as a JSON text; the last word on a key replaces those before.
    set: Vec<(String, String)>,
}

impl Written {
    fn sources(&self) -> Sources {
        let name = "mesh_gossip_options_set";
        self.set.iter().fold(self.base.clone(), |sources, (_, text)| sources.last_word(name, text))
    }
}

impl Sealed for MeshGossipOptions {
    fn seal(&self) -> &Seal {
        &self.seal
    }
}

impl MeshGossipOptions {
    fn of(base: Sources) -> Result<Self, Failure> {
        let written = Written { base, set: Vec::new() };
        Settings::load(&written.sources())?;
        Ok(Self { seal: Seal::new(), written: Mutex::new(written) })
    }

    fn set(&self, key: &str, value: Option<&str>) -> Result<(), Failure> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let full = if key.to_ascii_lowercase().starts_with("mesh:gossip:") {
            key.to_owned()
        } else {
            format!("mesh:gossip:{key}")
        };
        let json = serde_json::json!({ full.as_str(): value }).to_string();
        let mut next = written.clone();
        let lower = full.to_lowercase();
        next.set.retain(|(key, _)| *key != lower);
        next.set.push((lower, json));
        Settings::load(&next.sources())?;
        *written = next;
        Ok(())
    }

    pub(crate) fn resolve(&self) -> Result<(EngineOptions, AgentOptions), Failure> {
        let sources = self.written.lock().unwrap_or_else(PoisonError::into_inner).sources();
        let settings = Settings::load(&sources)?;
        if !settings.enabled() {
            let why = "mesh:gossip:enabled is false: there is nothing to start";
            return Err(Failure::new(MESH_GOSSIP_ERR_DISABLED, why).about("mesh:gossip:enabled"));
        }
        Ok(settings.resolve()?)
    }
}

/// Called when the first event waits, on a thread that does nothing else; not once a stop has
/// returned. It may not block. Starting, leaving, stopping and freeing an agent, this one or another
/// one, fails within it with `MESH_GOSSIP_ERR_REENTRANT`; commands, views and events are fine.
pub type MeshGossipWakeFn = Option<unsafe extern "C" fn(user: *mut c_void)>;

/// What only a program can say. `struct_size` comes first; fields are added at the end. Filled
/// with defaults by `mesh_gossip_start_options_init`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct MeshGossipStartOptions {
    /// Size of this structure as the caller knows it.
    pub struct_size: usize,
    /// Called when the first event waits; NULL: never.
    pub wake: MeshGossipWakeFn,
    /// Handed to `wake`; has to live until the agent is stopped.
    pub wake_user: *mut c_void,
    /// Events that wait for `mesh_gossip_agent_take_events` beside those within the engine
    /// (`mesh:gossip:limits:events`); 0 stands for 1,024, and more than 1,048,576 for that.
    pub events_capacity: usize,
    /// Takes the lines of the log; NULL: nobody does.
    pub log: MeshGossipLogFn,
    /// Handed to `log`; has to live until the agent is stopped.
    pub log_user: *mut c_void,
    /// The least that is told, `MESH_GOSSIP_LOG_*`; 0 stands for `MESH_GOSSIP_LOG_INFO`.
    pub log_level: u32,
    /// Zero.
    pub reserved: u32,
}

const _: () = assert!(size_of::<MeshGossipStartOptions>() == 56 || size_of::<usize>() != 8);

impl MeshGossipStartOptions {
    pub(crate) const DEFAULT: Self = Self {
        struct_size: size_of::<Self>(),
        wake: None,
        wake_user: std::ptr::null_mut(),
        events_capacity: 0,
        log: None,
        log_user: std::ptr::null_mut(),
        log_level: 0,
        reserved: 0,
    };

    /// Reads what a caller of any version wrote.
    ///
    /// # Safety
    /// `given` is null or covers as many bytes as its first field says.
    pub(crate) unsafe fn read(given: *const Self) -> Result<Self, Failure> {
        if given.is_null() {
            return Ok(Self::DEFAULT);
        }
        // SAFETY: every version of the structure begins with its size.
        let size = unsafe { given.cast::<usize>().read_unaligned() };
        let known = size_of::<Self>();
        if !is_a_size(size) {
            return Err(wrong_size(size));
        }
        // SAFETY: the caller promises `size` bytes from there.
        let bytes = unsafe { std::slice::from_raw_parts(given.cast::<u8>(), size) };
        if bytes.get(known..).is_some_and(|tail| tail.iter().any(|byte| *byte != 0)) {
            let why = "start options say something that this version of the library does not know";
            return Err(Failure::new(MESH_GOSSIP_ERR_STRUCT_SIZE, why).about("struct_size"));
        }
        let mut own = Self::DEFAULT;
        // SAFETY: both cover that many bytes, they do not overlap, and what is copied is made of
        // whole fields, each of which is valid where the rest keeps its default.
        unsafe {
            std::ptr::copy_nonoverlapping(
                bytes.as_ptr(),
                (&raw mut own).cast::<u8>(),
                size.min(known),
            );
        };
        if own.reserved != 0 {
            // A later version may give it a meaning, which would be passed over here.
            let why = "reserved has to be zero";
            return Err(Failure::new(MESH_GOSSIP_ERR_STRUCT_SIZE, why).about("reserved"));
        }
        own.struct_size = known;
        Ok(own)
    }
}

/// Whether a structure of some version has this size: whole fields of this one, which are as wide
/// as a pointer but for the last two, or more. Of a pointer that is half there the rest would be
/// made up, and called.
fn is_a_size(size: usize) -> bool {
    let pointer = size_of::<usize>();
    let whole = size >= size_of::<MeshGossipStartOptions>() || size.is_multiple_of(pointer);
    whole && (pointer..=4_096).contains(&size)
}

fn wrong_size(size: usize) -> Failure {
    let why = format_args!("struct_size {size} is none of this structure's sizes");
    Failure::new(MESH_GOSSIP_ERR_STRUCT_SIZE, why).about("struct_size")
}

/// Fills start options with defaults; `size` is `sizeof *options`.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_start_options_init(
    options: *mut MeshGossipStartOptions,
    size: usize,
) -> MeshGossipResult {
    let body = || {
        if options.is_null() {
            return Err(Failure::argument("options", "is NULL"));
        }
        if !is_a_size(size) {
            return Err(wrong_size(size));
        }
        // SAFETY: the caller promises `size` bytes from there.
        unsafe { options.cast::<u8>().write_bytes(0, size) };
        // SAFETY: the first field lies within `size` bytes. All other defaults are zero.
        unsafe { options.cast::<usize>().write_unaligned(size) };
        Ok(())
    };
    // SAFETY: no error object is wanted.
    unsafe { run(std::ptr::null_mut(), body) }
}

/// Hands out options.
///
/// # Safety
/// `out` is null or may be written to.
unsafe fn hand_out(out: *mut *mut MeshGossipOptions, base: Sources) -> Result<(), Failure> {
    if out.is_null() {
        return Err(Failure::argument("out", "is NULL"));
    }
    let options = Box::into_raw(Box::new(MeshGossipOptions::of(base)?));
    // SAFETY: not null, and the caller promises that it may be written to.
    unsafe { out.write(options) };
    Ok(())
}

/// Options from JSON text alone, `{"mesh":{"gossip":{...}}}`; no file and no variable counts.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_options_from_json(
    json: *const c_char,
    out: *mut *mut MeshGossipOptions,
    err: *mut *mut MeshGossipError,
) -> MeshGossipResult {
    let body = || {
        // SAFETY: null or a string, as the crate's contract says.
        let json = unsafe { text::required(json, "json") }?;
        // SAFETY: null or writable, as the crate's contract says.
        unsafe { hand_out(out, Sources::new().json("json", &json)) }
    };
    // SAFETY: `err` is the caller's, as the crate's contract says.
    unsafe { run(err, body) }
}

/// Options from a JSON file, under the variables of the environment (`MESH__GOSSIP__*`). The file
/// is read here and once more by the start. The environment is read here, all of it, as by getenv:
/// no other thread may call setenv, putenv or unsetenv meanwhile.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_options_from_file(
    path: *const c_char,
    out: *mut *mut MeshGossipOptions,
    err: *mut *mut MeshGossipError,
) -> MeshGossipResult {
    let body = || {
        // SAFETY: null or a string, as the crate's contract says.
        let path = unsafe { text::required(path, "path") }?;
        let sources = Sources::new().file(Path::new(&path)).environment_os(std::env::vars_os());
        // SAFETY: null or writable, as the crate's contract says.
        unsafe { hand_out(out, sources) }
    };
    // SAFETY: `err` is the caller's, as the crate's contract says.
    unsafe { run(err, body) }
}

/// Sets a key, `"fanout"` or `"tls:caPath"`, over file and environment; NULL as the value takes
/// back what they say.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_options_set(
    options: *mut MeshGossipOptions,
    key: *const c_char,
    value: *const c_char,
    err: *mut *mut MeshGossipError,
) -> MeshGossipResult {
    let body = |options: &MeshGossipOptions| {
        // SAFETY: null or a string, as the crate's contract says.
        let key = unsafe { text::required(key, "key") }?;
        // SAFETY: null or a string, as the crate's contract says.
        let value = unsafe { text::optional(value, "value") }?;
        options.set(&key, value.as_deref())
    };
    // SAFETY: handle and `err` are as the crate's contract says.
    unsafe { run_on(options, err, body) }
}

/// Frees options; NULL is fine. Agents that were started with them go on.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_options_free(options: *mut MeshGossipOptions) {
    // SAFETY: it was made by `Box::into_raw` and is freed once.
    unsafe { guard::free(options) };
}

//! The engine's log lines, handed to a host's function one by one.
//!
//! Invariant: a line's texts live for the call alone, and nothing is logged from within a
//! callback.

use std::ffi::{CString, c_char, c_void};
use std::fmt;
use std::sync::{Once, OnceLock};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Level, Metadata, Subscriber};

use crate::error::Failure;
use crate::guard::{Inside, words};
use crate::options::MeshGossipStartOptions;

/// Something failed that somebody has to look at.
pub const MESH_GOSSIP_LOG_ERROR: u32 = 1;
/// Something is wrong and may right itself.
pub const MESH_GOSSIP_LOG_WARN: u32 = 2;
/// Transitions.
pub const MESH_GOSSIP_LOG_INFO: u32 = 3;
/// Failures that are part of the day.
pub const MESH_GOSSIP_LOG_DEBUG: u32 = 4;
/// Everything.
pub const MESH_GOSSIP_LOG_TRACE: u32 = 5;

/// Takes a line of the log: `MESH_GOSSIP_LOG_*`, what happened in words, and its fields as a JSON
/// object (`{"EventId":3,"PeerId":"b"}`). Both texts live until it returns. Called on threads of
/// the engine, several at once, and on the caller's within a call; not once a stop has returned. It
/// may not block. Whatever would wait for an engine, of this agent or of another one, fails within
/// it with `MESH_GOSSIP_ERR_REENTRANT`: starting, leaving, stopping, freeing and every command.
/// Views can be acquired and read, events taken.
pub type MeshGossipLogFn = Option<
    unsafe extern "C" fn(
        user: *mut c_void,
        level: u32,
        message: *const c_char,
        fields: *const c_char,
    ),
>;

/// Where lines go.
struct Sink {
    function: unsafe extern "C" fn(*mut c_void, u32, *const c_char, *const c_char),
    user: *mut c_void,
    most: LevelFilter,
}

// SAFETY: the host says with `log_user` that `log` may be called with it from any thread.
unsafe impl Send for Sink {}
// SAFETY: likewise, from several at once.
unsafe impl Sync for Sink {}

/// What carries lines to the host's function; `None` where it gave none: then they go where this
/// thread's go.
pub(crate) fn dispatch(start: &MeshGossipStartOptions) -> Result<Option<Dispatch>, Failure> {
    let most = match start.log_level {
        MESH_GOSSIP_LOG_ERROR => LevelFilter::ERROR,
        MESH_GOSSIP_LOG_WARN => LevelFilter::WARN,
        0 | MESH_GOSSIP_LOG_INFO => LevelFilter::INFO,
        MESH_GOSSIP_LOG_DEBUG => LevelFilter::DEBUG,
        MESH_GOSSIP_LOG_TRACE => LevelFilter::TRACE,
        6.. => return Err(Failure::argument("log_level", "is none of MESH_GOSSIP_LOG_*")),
    };
    let Some(function) = start.log else { return Ok(None) };
    hook_panics();
    Ok(Some(Dispatch::new(Sink { function, user: start.log_user, most })))
}

/// Whether a line is wanted is remembered at its place in the code, for all threads. Where there is one
/// sink alone, that is asked of the thread that comes there first: one that logs nowhere would have
/// nobody hear of it again. So there are always two that hear nothing, from before the first thread on,
/// and every thread is asked by itself.
pub(crate) fn listen_by_thread() {
    static NOBODIES: OnceLock<[Dispatch; 2]> = OnceLock::new();
    NOBODIES.get_or_init(|| [Dispatch::new(Nobody), Dispatch::new(Nobody)]);
}

/// Wants no line.
struct Nobody;

impl Subscriber for Nobody {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        false
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::OFF)
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// What a defect says goes to the log of the thread that it happened on, beside whatever else
/// hears of panics.
fn hook_panics() {
    static HOOKED: Once = Once::new();
    HOOKED.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            let words = words(panic.payload());
            tracing::error!(target: "mesh_gossip", Place = %place, "a defect: {words}");
            before(panic);
        }));
    });
}

impl Subscriber for Sink {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.most
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.most)
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        // Lines are whole by themselves: spans are not told.
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let text = |text: String| CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default();
        let message = text(line.message);
        let fields = text(Value::Object(line.fields).to_string());
        let level = match *event.metadata().level() {
            Level::ERROR => MESH_GOSSIP_LOG_ERROR,
            Level::WARN => MESH_GOSSIP_LOG_WARN,
            Level::INFO => MESH_GOSSIP_LOG_INFO,
            Level::DEBUG => MESH_GOSSIP_LOG_DEBUG,
            Level::TRACE => MESH_GOSSIP_LOG_TRACE,
        };
        let _inside = Inside::log();
        // SAFETY: the host gave both, for as long as the agent is not stopped; the texts live
        // until the end of this function.
        unsafe { (self.function)(self.user, level, message.as_ptr(), fields.as_ptr()) };
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// A line's words and fields.
#[derive(Default)]
struct Line {
    message: String,
    fields: Map<String, Value>,
}

impl Line {
    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(words)) => self.message = words,
            (name, value) => drop(self.fields.insert(name.to_owned(), value)),
        }
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, Value::String(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;
    use std::sync::Mutex;

    type Lines = Mutex<Vec<(u32, String, Value)>>;

    unsafe extern "C" fn keep(
        user: *mut c_void,
        level: u32,
        message: *const c_char,
        fields: *const c_char,
    ) {
        // SAFETY: the test handed over its list, and outlives the dispatcher.
        let lines = unsafe { &*user.cast::<Lines>() };
        // SAFETY: both end with a zero byte.
        let [message, fields] = [message, fields].map(|text| unsafe { CStr::from_ptr(text) });
        let fields = serde_json::from_slice(fields.to_bytes()).unwrap();
        lines.lock().unwrap().push((level, message.to_str().unwrap().to_owned(), fields));
        assert!(crate::guard::outside_callbacks().is_err());
    }

    fn options(lines: &Lines, log_level: u32) -> MeshGossipStartOptions {
        let log_user = std::ptr::from_ref(lines).cast_mut().cast();
        MeshGossipStartOptions {
            log: Some(keep),
            log_user,
            log_level,
            ..MeshGossipStartOptions::DEFAULT
        }
    }

    #[test]
    fn lines_reach_the_host_with_level_words_and_fields() {
        let lines = Lines::default();
        let sink = dispatch(&options(&lines, MESH_GOSSIP_LOG_WARN)).unwrap().unwrap();
        tracing::dispatcher::with_default(&sink, || {
            tracing::warn!(EventId = 3_u64, PeerId = "b", Why = %"cold", "peer {} is gone", 7);
            tracing::info!("too quiet for this host");
        });
        let fields = serde_json::json!({"EventId": 3, "PeerId": "b", "Why": "cold"});
        let told = (MESH_GOSSIP_LOG_WARN, "peer 7 is gone".to_owned(), fields);
        assert_eq!(*lines.lock().unwrap(), [told]);
    }

    #[test]
    fn a_panic_is_told_by_the_log() {
        let lines = Lines::default();
        let sink = dispatch(&options(&lines, 0)).unwrap().unwrap();
        tracing::dispatcher::with_default(&sink, || {
            assert!(std::panic::catch_unwind(|| panic!("planted")).is_err());
        });
        let lines = lines.lock().unwrap();
        let [(level, message, fields)] = &**lines else { panic!("{lines:?}") };
        assert_eq!((*level, message.as_str()), (MESH_GOSSIP_LOG_ERROR, "a defect: planted"));
        assert!(fields["Place"].as_str().unwrap().contains("log.rs"), "{fields}");
    }

    #[test]
    fn an_unknown_level_is_refused_and_no_function_means_no_lines() {
        let lines = Lines::default();
        assert!(dispatch(&options(&lines, 6)).is_err());
        assert!(dispatch(&MeshGossipStartOptions::DEFAULT).unwrap().is_none());
    }
}

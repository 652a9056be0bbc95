//! What became of a call that failed, as an object that its caller owns.
//!
//! Invariant: an error is made once and never changes; nothing is kept by thread.

use std::ffi::{CString, c_char};
use std::fmt::Display;
use std::ptr;

use engine::proto::CommandError;
use engine::settings::SettingsErrors;
use engine::{AgentError, DocumentError, LeaseError, RenewError, StartError};

use crate::code::{
    MESH_GOSSIP_ERR_ARGUMENT, MESH_GOSSIP_ERR_BUSY, MESH_GOSSIP_ERR_CONFIG,
    MESH_GOSSIP_ERR_CREDENTIALS, MESH_GOSSIP_ERR_IO, MESH_GOSSIP_ERR_NOT_FOUND,
    MESH_GOSSIP_ERR_REFUSED, MESH_GOSSIP_ERR_STOPPED, MESH_GOSSIP_ERR_TIMEOUT,
    MESH_GOSSIP_ERR_TOO_LARGE, MeshGossipResult,
};
use crate::guard;

/// Why a call failed. Owned by whoever passed `err`; freed with `mesh_gossip_error_free`.
pub struct MeshGossipError {
    code: MeshGossipResult,
    message: CString,
    field: Option<CString>,
}

/// The same on its way out.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: MeshGossipResult,
    message: String,
    field: Option<String>,
}

impl Failure {
    pub(crate) fn new(code: MeshGossipResult, message: impl Display) -> Self {
        Self { code, message: message.to_string(), field: None }
    }

    /// About this argument or setting.
    pub(crate) fn about(self, field: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..self }
    }

    pub(crate) fn argument(name: &str, why: &str) -> Self {
        Self::new(MESH_GOSSIP_ERR_ARGUMENT, format_args!("{name} {why}")).about(name)
    }

    pub(crate) fn into_object(self) -> MeshGossipError {
        let text = |text: String| CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default();
        let Self { code, message, field } = self;
        MeshGossipError { code, message: text(message), field: field.map(text) }
    }
}

impl From<SettingsErrors> for Failure {
    fn from(errors: SettingsErrors) -> Self {
        let field = errors.iter().find_map(|error| error.key());
        let failure = Self::new(MESH_GOSSIP_ERR_CONFIG, errors);
        Self { field, ..failure }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let code = match &error {
            StartError::Credentials(_) => MESH_GOSSIP_ERR_CREDENTIALS,
            StartError::Config(_)
            | StartError::NoRenewal
            | StartError::ControlExposed(_)
            | StartError::Advertise { .. }
            | StartError::Metadata(_) => MESH_GOSSIP_ERR_CONFIG,
            StartError::Io(_)
            | StartError::Thread(_)
            | StartError::State(_)
            | StartError::Bind { .. }
            | StartError::ControlSocket { .. }
            | StartError::Entropy
            | StartError::Refused(_) => MESH_GOSSIP_ERR_IO,
        };
        let message = error.to_string();
        // Messages begin with the key that they are about.
        let end = message.find(": ").unwrap_or(0);
        let key = Some(&message[..end]).filter(|key| key.starts_with("mesh:gossip"));
        let field = key.map(str::to_owned);
        Self { code, field, message }
    }
}

impl From<AgentError> for Failure {
    fn from(error: AgentError) -> Self {
        let code = match &error {
            AgentError::Command(error) => match error {
                CommandError::Stopped => MESH_GOSSIP_ERR_STOPPED,
                CommandError::MetadataTooLarge(..) | CommandError::TooLarge(..) => {
                    MESH_GOSSIP_ERR_TOO_LARGE
                }
                CommandError::TooFast => MESH_GOSSIP_ERR_BUSY,
                CommandError::NoSuchMember => MESH_GOSSIP_ERR_NOT_FOUND,
                CommandError::MetadataMissing(_)
                | CommandError::Stale
                | CommandError::Immutable(_)
                | CommandError::Signing
                | CommandError::NoOrder(_)
                | CommandError::Order(_) => MESH_GOSSIP_ERR_REFUSED,
            },
            AgentError::Refused(engine::Refused::Busy) => MESH_GOSSIP_ERR_BUSY,
            AgentError::Refused(engine::Refused::Stopped) | AgentError::Stopped => {
                MESH_GOSSIP_ERR_STOPPED
            }
            AgentError::Timeout => MESH_GOSSIP_ERR_TIMEOUT,
        };
        Self::new(code, error)
    }
}

impl From<RenewError> for Failure {
    fn from(error: RenewError) -> Self {
        match error {
            RenewError::Agent(error) => error.into(),
            error @ (RenewError::Credentials(_) | RenewError::List(_)) => {
                Self::new(MESH_GOSSIP_ERR_CREDENTIALS, error)
            }
        }
    }
}

impl From<DocumentError> for Failure {
    fn from(error: DocumentError) -> Self {
        match error {
            DocumentError::Agent(error) => error.into(),
            error @ DocumentError::Unknown(_) => Self::new(MESH_GOSSIP_ERR_NOT_FOUND, error),
            error @ DocumentError::Json(_) => Self::new(MESH_GOSSIP_ERR_REFUSED, error),
        }
    }
}

impl From<LeaseError> for Failure {
    fn from(error: LeaseError) -> Self {
        let (code, field) = match error {
            LeaseError::TooManyPeers(_) => (MESH_GOSSIP_ERR_REFUSED, "node_id"),
            LeaseError::TooManyLeases(_) => (MESH_GOSSIP_ERR_TOO_LARGE, "activeLeases"),
            LeaseError::TooLongName(_) => (MESH_GOSSIP_ERR_TOO_LARGE, "node_id"),
            LeaseError::TooLongLease(_) => (MESH_GOSSIP_ERR_TOO_LARGE, "leaseId"),
        };
        Self::new(code, error).about(field)
    }
}

/// What is wrong and what would be right, UTF-8. Lives as long as the error; "" for NULL.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_error_message(error: *const MeshGossipError) -> *const c_char {
    // SAFETY: null or a live error, as the crate's contract says.
    unsafe { guard::look_at(error, c"".as_ptr(), |error| error.message.as_ptr()) }
}

/// The argument or setting that the error is about, NULL where it is about none. Lives as long as
/// the error.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_error_field(error: *const MeshGossipError) -> *const c_char {
    // SAFETY: null or a live error, as the crate's contract says.
    unsafe {
        guard::look_at(error, ptr::null(), |error| {
            error.field.as_ref().map_or(ptr::null(), |field| field.as_ptr())
        })
    }
}

/// The code that the call returned; `MESH_GOSSIP_OK` for NULL.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_error_code(error: *const MeshGossipError) -> MeshGossipResult {
    // SAFETY: null or a live error, as the crate's contract says.
    unsafe { guard::look_at(error, 0, |error| error.code) }
}

/// Frees an error; NULL is fine.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_error_free(error: *mut MeshGossipError) {
    // SAFETY: it was made by `Box::into_raw` and is freed once.
    unsafe { guard::free(error) };
}

//! One file that is read as it was written, or not at all.
//!
//! A head of one line names the kind and the SHA-256 of what follows. It is no seal against an
//! owner who lies to himself; it tells a file that a disk or a hand has damaged.
//!
//! Invariants: a reader finds the old bytes or the new ones, whatever dies in between; a file is
//! its owner's alone from its first byte on.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::StateError;
use crate::tls::provider::sha256;

const HEAD: &str = "mesh-gossip state 1";

/// Longer than any head.
const MAX_HEAD: usize = 128;

/// Writes `body` through a new file and a rename: on the disk when this returns.
pub(super) fn write(path: &Path, kind: &str, body: &[u8]) -> Result<(), StateError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let fresh = path.with_file_name(name);
    let head = format!("{HEAD} {kind} {}\n", hex(&sha256(body)));
    let fault = |error| StateError::Io { path: path.to_owned(), error };
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fault(error)),
        Ok(()) | Err(_) => {}
    }
    let mut file = owners().write(true).create_new(true).open(&fresh).map_err(fault)?;
    file.write_all(head.as_bytes())
        .and_then(|()| file.write_all(body))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&fresh, path))
        .map_err(fault)?;
    sync_directory(path.parent().unwrap_or(Path::new(".")))
}

/// What was written; `None` where there is no such file.
pub(super) fn read(path: &Path, kind: &str, most: usize) -> Result<Option<Vec<u8>>, StateError> {
    let fault = |error| StateError::Io { path: path.to_owned(), error };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fault(error)),
    };
    let mut bytes = Vec::new();
    let room = (MAX_HEAD + most + 1) as u64;
    file.take(room).read_to_end(&mut bytes).map_err(fault)?;
    let body = body_of(&bytes, kind).filter(|body| body.len() <= most);
    let body = body.ok_or_else(|| StateError::Damaged { path: path.to_owned() })?;
    Ok(Some(body.to_vec()))
}

fn body_of<'a>(bytes: &'a [u8], kind: &str) -> Option<&'a [u8]> {
    let end = bytes.iter().take(MAX_HEAD).position(|byte| *byte == b'\n')?;
    let body = &bytes[end + 1..];
    let expected = format!("{HEAD} {kind} {}", hex(&sha256(body)));
    (bytes[..end] == *expected.as_bytes()).then_some(body)
}

/// Makes a directory for its owner alone; one that exists is left as it is.
pub(super) fn make_directory(path: &Path) -> Result<(), StateError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| StateError::Io { path: path.to_owned(), error })
}

/// For files that are their owner's alone when they are made.
pub(super) fn owners() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

/// A warning when others than the owner may write below the directory: they could put an older
/// revocation list back.
pub(super) fn permission_warning(path: &Path) -> Option<String> {
    let mode = fs::metadata(path).ok()?.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then(|| {
        let path = path.display();
        format!(
            "{path} holds what outlives a restart and has mode {mode:04o}; run: chmod 700 {path}"
        )
    })
}

/// Moves a damaged file out of the way and keeps it for whoever looks into it.
pub(super) fn set_aside(path: &Path) -> Result<PathBuf, StateError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".damaged");
    let aside = path.with_file_name(name);
    fs::rename(path, &aside)
        .map_err(|error| StateError::Io { path: path.to_owned(), error })
        .and_then(|()| sync_directory(path.parent().unwrap_or(Path::new("."))))?;
    Ok(aside)
}

/// A name is on the disk when its directory is.
pub(super) fn sync_directory(directory: &Path) -> Result<(), StateError> {
    let synced = File::open(directory).and_then(|file| file.sync_all());
    synced.map_err(|error| StateError::Io { path: directory.to_owned(), error })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

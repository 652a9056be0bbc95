//! The Unix socket through which its owner changes things (rule S-20).
//!
//! Invariants: only its owner may connect; the file goes with the listener, and a file that somebody
//! listens behind is never taken away.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// A bound socket and whose it is.
#[derive(Debug)]
pub(crate) struct OwnerSocket {
    /// Declared before the listener and dropped before it, so that whoever finds no file may bind.
    pub(super) file: SocketFile,
    pub(super) listener: UnixListener,
    /// Who may connect, besides root.
    pub(super) owner: u32,
}

/// Takes the file away when it is dropped.
#[derive(Debug)]
pub(crate) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // It may be gone with its directory.
        let _ = fs::remove_file(&self.0);
    }
}

impl OwnerSocket {
    /// Binds at `path`; a directory that is missing is made for its owner alone.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty())
        {
            DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        }
        let listener = match UnixListener::bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                let is_socket = fs::symlink_metadata(path)?.file_type().is_socket();
                if !is_socket || UnixStream::connect(path).is_ok() {
                    return Err(error);
                }
                // Its process died without taking it away.
                fs::remove_file(path)?;
                UnixListener::bind(path)?
            }
            bound => bound?,
        };
        let file = SocketFile(path.to_owned());
        // Who connects before this is turned away by its user id.
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
        let owner = fs::symlink_metadata(path)?.uid();
        Ok(Self { file, listener, owner })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rule S-20.
    #[test]
    fn a_socket_is_its_owners_and_leftovers_are_taken_over() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("run/mesh-gossip/me.sock");
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        let socket = OwnerSocket::bind(&path).unwrap();
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        let taken = OwnerSocket::bind(&path).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse, "somebody listens");
        assert!(UnixStream::connect(&path).is_ok(), "and is not disturbed");
        drop(socket);
        assert!(!path.exists());
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "left behind");
        drop(OwnerSocket::bind(&path).unwrap());
        fs::write(&path, "a letter").unwrap();
        assert!(OwnerSocket::bind(&path).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"a letter", "what is no socket stays");
    }
}

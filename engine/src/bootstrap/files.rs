//! Certificates and keys on disk.
//!
//! Invariant: a key file is its owner's alone from its first byte on, and no file is replaced
//! unless that was asked for.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::bootstrap::BootstrapError;

/// Root certificate.
pub const ROOT_CERTIFICATE: &str = "root.pem";
/// Root key: move it offline.
pub const ROOT_KEY: &str = "root.key";
/// Issuing certificate.
pub const ISSUING_CERTIFICATE: &str = "issuing.pem";
/// Issuing key.
pub const ISSUING_KEY: &str = "issuing.key";
/// What nodes trust by: root and issuing certificate.
pub const TRUST_BUNDLE: &str = "ca.pem";
/// Tokens, certificates and revocations, one transaction a line.
pub const LEDGER: &str = "ledger.jsonl";
/// Who asked for what and what came of it, one JSON object a line.
pub const AUDIT: &str = "audit.jsonl";
/// Newest certificate revocation list.
pub const REVOCATION_LIST: &str = "crl.pem";
/// Directory of the chains that were signed for tokens and renewals, by serial number.
pub const ISSUED: &str = "issued";

/// What happens to a file that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Nothing is written and it is an error.
    Refuse,
    /// It is replaced.
    Replace,
}

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readers {
    Owner,
    All,
}

/// Makes a directory for its owner alone; one that exists is left as it is.
pub(super) fn make_directory(directory: &Path) -> Result<(), BootstrapError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        builder.mode(0o700);
    }
    builder.create(directory).map_err(|error| io_error(directory, error))
}

/// Writes all files or, when one exists and may not be replaced, none.
pub(super) fn write_all(
    directory: &Path,
    files: &[(&str, &str, Readers)],
    existing: Existing,
) -> Result<(), BootstrapError> {
    make_directory(directory)?;
    if existing == Existing::Refuse {
        for (name, _, _) in files {
            let path = directory.join(name);
            if fs::symlink_metadata(&path).is_ok() {
                return Err(BootstrapError::Exists(path));
            }
        }
    }
    for (number, (name, text, readers)) in files.iter().enumerate() {
        let path = directory.join(name);
        match existing {
            Existing::Refuse => write_new(&path, *text, *readers).inspect_err(|_| {
                // Half of them would only be in the way of who tries again. Whether they can be
                // taken away is the disk's affair; what is wrong was told.
                for (name, _, _) in &files[..number] {
                    let _ = fs::remove_file(directory.join(name));
                }
            })?,
            Existing::Replace => replace(&path, *text, *readers)?,
        }
    }
    sync_directory(directory)
}

pub(super) fn write_new(
    path: &Path,
    text: &(impl AsRef<[u8]> + ?Sized),
    readers: Readers,
) -> Result<(), BootstrapError> {
    let mut options = match readers {
        Readers::Owner => owners_options(),
        Readers::All => OpenOptions::new(),
    };
    options.write(true).create_new(true);
    let write = |mut file: File| -> io::Result<()> {
        file.write_all(text.as_ref()).and_then(|()| file.sync_all()).inspect_err(|_| {
            // It is ours since a moment ago, and half a file is worth nothing.
            let _ = fs::remove_file(path);
        })
    };
    options.open(path).and_then(write).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => BootstrapError::Exists(path.to_owned()),
        _ => io_error(path, error),
    })
}

/// For files that are their owner's alone when they are made.
pub(super) fn owners_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options
}

/// A name is on the disk when its directory is.
pub(super) fn sync_directory(directory: &Path) -> Result<(), BootstrapError> {
    let sync = |file: File| file.sync_all();
    File::open(directory).and_then(sync).map_err(|error| io_error(directory, error))
}

/// A warning when others than the owner may read or write the file.
pub(super) fn permission_warning(path: &Path) -> Option<String> {
    use std::os::unix::fs::PermissionsExt;

    let mode = fs::metadata(path).ok()?.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then(|| {
        let path = path.display();
        format!("{path} is its owner's secret and has mode {mode:04o}; run: chmod 600 {path}")
    })
}

/// Sets the promises of a replaced authority aside: they bind no other.
pub(super) fn retire(directory: &Path) -> Result<(), BootstrapError> {
    let ledger = directory.join(LEDGER);
    if ledger.exists() {
        rename(&ledger, &directory.join(format!("{LEDGER}.old")))?;
    }
    let list = directory.join(REVOCATION_LIST);
    match fs::remove_file(&list) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error(&list, error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Gives a file a new name, on the disk.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), BootstrapError> {
    fs::rename(from, to).map_err(|error| io_error(to, error))?;
    sync_directory(to.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")))
}

/// Through a new file and a rename: a reader sees the old or the new bytes, and the mode of the
/// old file is not inherited.
pub(super) fn replace(
    path: &Path,
    text: &(impl AsRef<[u8]> + ?Sized),
    readers: Readers,
) -> Result<(), BootstrapError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary: PathBuf = path.with_file_name(name);
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(io_error(&temporary, error));
        }
        Ok(()) | Err(_) => {}
    }
    write_new(&temporary, text, readers)?;
    rename(&temporary, path)
}

pub(super) fn read(path: &Path) -> Result<zeroize::Zeroizing<String>, BootstrapError> {
    fs::read_to_string(path).map(Into::into).map_err(|error| io_error(path, error))
}

pub(super) fn io_error(path: &Path, error: io::Error) -> BootstrapError {
    BootstrapError::Io { path: path.to_owned(), error }
}

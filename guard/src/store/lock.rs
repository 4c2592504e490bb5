//! One writer at a time: an advisory lock on a file beside the database.
//!
//! It is not the database itself, because closing any descriptor of that would drop
//! SQLite's own locks. The kernel ends the lock with the process, so none is stale.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::{StoreError, files};

/// The lock, for as long as this lives.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of the database at `path`, without waiting.
    ///
    /// # Errors
    /// When another process has it, or the file cannot be made.
    pub fn acquire(path: &Path) -> Result<Self, StoreError> {
        let unwritable = |cause| StoreError::unwritable(path, cause);
        let mut file = files::open_or_make(&lock_path(path)).map_err(unwritable)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(StoreError::Held { path: path.to_owned(), pid: holder(&mut file) });
            }
            Err(errno) => return Err(unwritable(errno.into())),
        }
        // Who holds it is only for people to read: a full disk is no reason to stop.
        let _ = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| write!(file, "{}", std::process::id()));
        Ok(Self { _file: file })
    }
}

fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

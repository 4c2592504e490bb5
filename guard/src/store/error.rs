//! What can go wrong with the store, in words that say what to do.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use crate::core::jail::JailId;

/// Why the store cannot be used. Whatever it is, the files are left as they are.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no store.
    #[error("there is no store at {}: has the agent ever run with this configuration?", path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// The directory or the file cannot be made or written.
    #[error(
        "cannot write the store {}: {cause}; make its directory writable, free some space, or set another path in guard.toml",
        path.display()
    )]
    Unwritable {
        /// The database.
        path: PathBuf,
        /// The system's answer.
        cause: io::Error,
    },
    /// Another process has it.
    #[error("the store {} is held by another guard agent{}; stop that one first", path.display(), pid_in_words(*pid))]
    Held {
        /// The database.
        path: PathBuf,
        /// Whose lock it is, if it said so.
        pid: Option<u32>,
    },
    /// It is not an SQLite database, or damaged.
    #[error(
        "the store {} is damaged or not a database ({cause}); the agent puts it aside as it is and goes on in a new one; without the agent, move it away",
        path.display()
    )]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// It is damaged and cannot be put aside.
    #[error(
        "the store {} is damaged and cannot be put aside ({why}); move it away by hand, guard goes on in a new one then",
        path.display()
    )]
    NotPutAside {
        /// The database.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// It is a database of another program.
    #[error("{} is an SQLite database, but not guard's; set another path in guard.toml", path.display())]
    Foreign {
        /// The database.
        path: PathBuf,
    },
    /// A newer guard wrote it.
    #[error(
        "the store {} was written by a newer guard (format {found}, this one knows up to {known}); it is left as it is: install that version again, or move the file away",
        path.display()
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest format that this guard knows.
        known: i64,
    },
    /// SQLite failed otherwise.
    #[error("the store {}: {operation} failed: {cause}", path.display())]
    Sqlite {
        /// The database.
        path: PathBuf,
        /// What was done.
        operation: &'static str,
        /// SQLite's answer.
        cause: rusqlite::Error,
    },
    /// A change names a jail that has no name.
    #[error("a change belongs to jail number {}, but only {started} are started", jail.0)]
    UnknownJail {
        /// The number.
        jail: JailId,
        /// How many names there are.
        started: usize,
    },
}

impl StoreError {
    pub(crate) fn unwritable(path: &Path, cause: io::Error) -> Self {
        Self::Unwritable { path: path.to_owned(), cause }
    }

    pub(super) fn damaged(path: &Path, cause: &impl ToString) -> Self {
        Self::Damaged { path: path.to_owned(), cause: cause.to_string() }
    }

    /// Sorts SQLite's errors by what the user can do about them.
    pub(super) fn sqlite(path: &Path, operation: &'static str, cause: rusqlite::Error) -> Self {
        match cause.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
                Self::damaged(path, &cause)
            }
            Some(
                ErrorCode::CannotOpen
                | ErrorCode::ReadOnly
                | ErrorCode::DiskFull
                | ErrorCode::PermissionDenied
                | ErrorCode::SystemIoFailure,
            ) => Self::unwritable(path, io::Error::other(cause)),
            _ => Self::Sqlite { path: path.to_owned(), operation, cause },
        }
    }
}

fn pid_in_words(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
}

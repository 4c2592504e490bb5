//! A store as it was at one moment, to go back to.
//!
//! Input: a store. Output: all that it held, in memory; and the store with that again, in one
//! transaction of SQLite's.

use std::fmt;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ErrorCode, ffi};

use super::{Store, StoreError};

/// All that a store held.
pub struct Snapshot(Connection);

impl fmt::Debug for Snapshot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Snapshot").finish_non_exhaustive()
    }
}

impl Store {
    /// All that it holds now. It is as large in memory as on the disk.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let copy = || {
            let mut memory = Connection::open_in_memory()?;
            copy_all(&self.connection, &mut memory)?;
            Ok(Snapshot(memory))
        };
        copy().map_err(self.failed("copying it"))
    }

    /// Holds that again, and nothing that came since; it is on the disk when this returns.
    ///
    /// # Errors
    /// [`StoreError::Held`] when an agent runs; when it cannot be written: then it is as before.
    pub fn put_back(mut self, snapshot: &Snapshot) -> Result<(), StoreError> {
        self.hold()?;
        let copied = copy_all(&snapshot.0, &mut self.connection);
        copied.map_err(self.failed("putting it back"))?;
        self.settle()
    }
}

/// In one step, so that nobody writes in between.
fn copy_all(from: &Connection, to: &mut Connection) -> rusqlite::Result<()> {
    match Backup::new(from, to)?.step(-1)? {
        StepResult::Done => Ok(()),
        // Somebody else is writing, for longer than is waited.
        _ => Err(rusqlite::Error::SqliteFailure(
            ffi::Error { code: ErrorCode::DatabaseBusy, extended_code: ffi::SQLITE_BUSY },
            None,
        )),
    }
}

//! A store that can be read and not written, or must not be.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::{Store, StoreError, as_immutable, files, refuse_cut, schema};

impl Store {
    /// Opens a store that cannot or must not be written, to read what it holds.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_to_read(path: &Path, patience: Duration) -> Result<Self, StoreError> {
        refuse_cut(path)?;
        let failed = |cause| StoreError::sqlite(path, "opening it to read", cause);
        let real =
            files::real_directory(path).map_err(|cause| StoreError::unwritable(path, cause))?;
        let open = |place: &Path, more: OpenFlags| {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | more;
            let connection = Connection::open_with_flags(place, flags).map_err(failed)?;
            connection.busy_timeout(patience).map_err(failed)?;
            // Also after reading, what is damaged stays as it is.
            let untouched = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
            connection.set_db_config(untouched, true).map_err(failed)?;
            schema::check(&connection, path)?;
            Ok(Self::new(path, connection, None))
        };
        let refused = match open(&real, OpenFlags::SQLITE_OPEN_NOFOLLOW) {
            Err(error) => error,
            opened => return opened,
        };
        // SQLite wants to make side files even to read, but for what is said not to change: it
        // cannot where nothing can be written, and is whole without a log beside it.
        let mut log = real.clone().into_os_string();
        log.push("-wal");
        let unwritable = matches!(refused, StoreError::Unwritable { .. });
        if !unwritable || std::fs::metadata(log).is_ok_and(|log| log.len() > 0) {
            return Err(refused);
        }
        open(Path::new(&as_immutable(&real)), OpenFlags::SQLITE_OPEN_URI)
    }
}

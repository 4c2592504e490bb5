//! What must outlive the agent: bans, counted failures, what filters remember of
//! connections, where each source was read up to, and totals.
//!
//! Input: the [`Change`]s of an engine step, a batch of them in one transaction.
//! Output: [`Stored`], everything that is stored, at the start. Invariant: what is
//! stored is what some whole number of [`Store::persist`] calls led to, in their
//! order, whatever kills the process or the machine and whenever.
//!
//! Jails are stored by name, because a [`JailId`](crate::core::jail::JailId) changes
//! with the configuration. What belongs to a jail that is not started stays, and is
//! there again when the jail is.
//!
//! # What a power loss can cost
//!
//! The database is in WAL mode. A transaction with a ban, an unban or a pardon is on the
//! disk when [`Store::persist`] returns (`synchronous=FULL`). One with only failures,
//! correlations and positions is not waited for (`synchronous=NORMAL`); the next
//! ban, or SQLite's next checkpoint, takes it to the disk. So a power loss takes back
//! at most the failures since the last ban **together with the positions after
//! them**, and those entries are read again: a failure is lost only if the log lost
//! it as well. A killed agent (not the machine) loses nothing that was persisted, and what
//! the next one finds is brought to the disk before it is used.
//!
//! # Who may open it
//!
//! One agent: it holds an advisory lock on `PATH.lock` as long as it lives.
//! `guardctl` reads beside it at any time and changes bans only while holding the
//! same lock, so only when there is no agent. Nothing here ever deletes a database: a
//! damaged one is put [`aside`].

pub mod aside;
mod error;
pub mod fail2ban;
pub mod files;
pub mod fill;
pub mod import;
mod load;
mod lock;
mod persist;
pub mod record;
mod schema;
pub mod snapshot;
mod unban;
mod unwritable;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::core::addr::Prefix;
use crate::core::entry::Position;
use crate::core::history::Past;
use crate::core::jail::{AllowElsewhere, JailName};
use crate::core::reason::Reason;
use crate::core::time::Timestamp;
pub use lock::Lock;

pub use error::StoreError;

#[cfg(doc)]
use crate::core::effects::Change;

/// How long to wait for another process that is just writing.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// An open store.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    connection: Connection,
    /// Rows of the `jail` table that this connection has seen or made.
    jail_rows: HashMap<JailName, i64>,
    /// Whether the next commit waits for the disk.
    synchronous: Option<Durability>,
    /// Held by the agent for as long as it lives.
    lock: Option<Arc<Lock>>,
}

/// When a transaction is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Durability {
    /// When `persist` returns.
    Now,
    /// With the next transaction that is.
    Soon,
}

/// Everything that is stored.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stored {
    /// Every ban, one for each jail and source, also those that ended meanwhile.
    pub bans: Vec<StoredBan>,
    /// Every failure that counts, in the order in which they were counted.
    pub failures: Vec<StoredFailure>,
    /// What filters remember of connections.
    pub correlations: Vec<StoredCorrelation>,
    /// Whose failures until when do not count.
    pub pardons: Vec<StoredPardon>,
    /// Earlier bans that are remembered.
    pub history: Vec<StoredPast>,
    /// Bans that wait for an `ignorecommand`.
    pub awaited: Vec<StoredBan>,
    /// Failures whose client's name is not resolved yet, in their order.
    pub names: Vec<StoredName>,
    /// What names and files in allow-lists stood for.
    pub lists: Vec<(AllowElsewhere, Vec<Prefix>)>,
    /// Where each source was read up to.
    pub positions: Vec<Position>,
    /// Totals of each jail that ever counted.
    pub totals: Vec<Totals>,
}

/// A ban as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBan {
    /// The jail.
    pub jail: JailName,
    /// Who is banned.
    pub source: Prefix,
    /// When it began.
    pub since: Timestamp,
    /// When it ends; `None` is never.
    pub until: Option<Timestamp>,
    /// Why.
    pub reason: Reason,
}

impl StoredBan {
    /// Whether it ends when this one is unbanned: the very same, or an address in the
    /// network that it was counted with.
    pub fn ends_with(&self, whom: Prefix) -> bool {
        self.reason.ends_with(self.source, whom)
    }
}

/// A failure as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFailure {
    /// The jail.
    pub jail: JailName,
    /// Who failed.
    pub source: Prefix,
    /// When the daemon logged it.
    pub time: Timestamp,
    /// The user name tried.
    pub user: Option<String>,
    /// As how many it counts.
    pub weight: u32,
}

/// What is remembered of earlier bans of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPast {
    /// The jail.
    pub jail: JailName,
    /// The source.
    pub source: Prefix,
    /// Its past.
    pub past: Past,
}

/// A failure of a client of whom only the name is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredName {
    /// The jail.
    pub jail: JailName,
    /// The client's name.
    pub name: String,
    /// When the daemon logged it.
    pub time: Timestamp,
    /// The user name tried.
    pub user: Option<String>,
}

/// What a filter remembers of one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCorrelation {
    /// The jail.
    pub jail: JailName,
    /// The connection.
    pub key: String,
    /// The state in the filter's own encoding.
    pub state: String,
}

/// Failures that do not count, because their source was let in again since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPardon {
    /// The jail.
    pub jail: JailName,
    /// Whose; `None` is everybody's.
    pub source: Option<Prefix>,
    /// Logged until then.
    pub until: Timestamp,
}

/// Sums over a jail's whole life. Fail2Ban's "Total failed" and "Total banned" begin
/// anew at each of its starts; these began when the store was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Totals {
    /// The jail.
    pub jail: JailName,
    /// Failures found.
    pub failures: u64,
    /// Bans begun, those by hand included.
    pub bans: u64,
}

impl Store {
    /// Opens the agent's store, and makes it if there is none: directory mode 0700,
    /// file mode 0600. What was found in it may be used once it is [settled](Store::settle).
    ///
    /// # Errors
    /// When another agent holds it, when it cannot be written, is damaged, is not
    /// guard's, or is from a newer guard. Nothing is changed then.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_within(path, BUSY_TIMEOUT)
    }

    /// As [`Store::open`], but another process that is just writing is waited for no longer
    /// than this.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_within(path: &Path, patience: Duration) -> Result<Self, StoreError> {
        Self::open_holding(path, patience, Arc::new(Lock::acquire(path)?))
    }

    /// As [`Store::open_within`], by whoever has the store's lock already.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_holding(
        path: &Path,
        patience: Duration,
        lock: Arc<Lock>,
    ) -> Result<Self, StoreError> {
        // With narrow modes before SQLite makes it with wide ones; its side files take the mode
        // and the owner of the database.
        files::open_or_make(path).map_err(|cause| StoreError::unwritable(path, cause))?;
        refuse_cut(path)?;
        let mut connection = connect(path, patience)?;
        schema::migrate(&mut connection, path)?;
        Ok(Self::new(path, tidy_at_the_end(connection, path)?, Some(lock)))
    }

    /// Brings to the disk what can be read: an agent that was killed may have written it and
    /// not waited for the disk, and what the next one finds here it takes for certain.
    ///
    /// # Errors
    /// When it cannot be brought there.
    pub fn settle(&self) -> Result<(), StoreError> {
        let settled = self.connection.query_row("PRAGMA wal_checkpoint", [], |_| Ok(()));
        match settled.map_err(|cause| (cause.sqlite_error_code(), cause)) {
            // The log of what was written is on the disk before it is known to be full.
            Ok(()) | Err((Some(ErrorCode::DiskFull), _)) => Ok(()),
            Err((_, cause)) => {
                Err(StoreError::sqlite(&self.path, "bringing it to the disk", cause))
            }
        }
    }

    /// From now on another process that is just writing is waited for no longer than this.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn wait_at_most(&self, patience: Duration) -> Result<(), StoreError> {
        self.connection.busy_timeout(patience).map_err(self.failed("setting its patience"))
    }

    /// Closes a damaged store, every file of it as it is.
    pub fn abandon(self) {
        // What cannot be set stays as the close of a sound store would leave it.
        let _ = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
    }

    /// Opens a store that exists, for `guardctl` while no agent answers.
    ///
    /// # Errors
    /// As [`Store::open`], and [`StoreError::Missing`] when there is none.
    pub fn open_existing(path: &Path) -> Result<Self, StoreError> {
        match path.try_exists() {
            Ok(true) => {}
            Ok(false) => return Err(StoreError::Missing { path: path.to_owned() }),
            Err(cause) => return Err(StoreError::unwritable(path, cause)),
        }
        let connection = connect(path, BUSY_TIMEOUT)?;
        schema::check(&connection, path)?;
        Ok(Self::new(path, tidy_at_the_end(connection, path)?, None))
    }

    fn new(path: &Path, connection: Connection, lock: Option<Arc<Lock>>) -> Self {
        let path = path.to_owned();
        Self { path, connection, jail_rows: HashMap::new(), synchronous: None, lock }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Words an error of SQLite with what was done.
    fn failed(
        &self,
        operation: &'static str,
    ) -> impl FnOnce(rusqlite::Error) -> StoreError + use<> {
        let path = self.path.clone();
        move |cause| StoreError::sqlite(&path, operation, cause)
    }
}

/// A database that was cut to nothing while its log was not: SQLite would delete the log.
fn refuse_cut(path: &Path) -> Result<(), StoreError> {
    let log = files::beside(path, "-wal");
    let empty = std::fs::metadata(path).is_ok_and(|database| database.len() == 0);
    if empty && std::fs::metadata(log).is_ok_and(|log| log.len() > 0) {
        return Err(StoreError::damaged(path, &"it is empty, and the log beside it is not"));
    }
    Ok(())
}

fn connect(path: &Path, patience: Duration) -> Result<Connection, StoreError> {
    let failed = |cause| StoreError::sqlite(path, "opening it", cause);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    // SQLite would refuse links in the directory's path too, which may be on another disk.
    let real = files::real_directory(path).map_err(|cause| StoreError::unwritable(path, cause))?;
    let connection = Connection::open_with_flags(real, flags).map_err(failed)?;
    connection.busy_timeout(patience).map_err(failed)?;
    // What turns out to be damaged is closed as it is.
    let untouched = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
    connection.set_db_config(untouched, true).map_err(failed)?;
    schema::check(&connection, path)?;
    let mode: String =
        connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).map_err(failed)?;
    if mode != "wal" {
        // It is new, or its header is not as guard left it.
        schema::check_structure(&connection, path)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
    }
    connection.pragma_update(None, "foreign_keys", true).map_err(failed)?;
    // A batch of many bans makes a long WAL, which would keep its size for ever.
    connection.pragma_update(None, "journal_size_limit", 4 << 20).map_err(failed)?;
    Ok(connection)
}

/// Has the last who closes the database put its log into it, as SQLite does by itself.
fn tidy_at_the_end(connection: Connection, path: &Path) -> Result<Connection, StoreError> {
    let untouched = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
    match connection.set_db_config(untouched, false) {
        Ok(_) => Ok(connection),
        Err(cause) => Err(StoreError::sqlite(path, "opening it", cause)),
    }
}

/// The name by which SQLite opens a file that nobody changes.
fn as_immutable(path: &Path) -> String {
    let mut name = "file:".to_owned();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' => name.push(char::from(*byte)),
            plain if plain.is_ascii_alphanumeric() => name.push(char::from(*plain)),
            other => name.push_str(&format!("%{other:02x}")),
        }
    }
    name.push_str("?immutable=1");
    name
}

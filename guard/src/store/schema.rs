//! The tables, and how an older database becomes one of this version.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::StoreError;

/// `PRAGMA application_id` of guard's databases: "gurd".
const APPLICATION_ID: i64 = 0x6775_7264;

/// What leads from format n to format n + 1. `PRAGMA user_version` is the format.
///
/// - A source is one blob: 4 or 16 octets of the address, then the prefix length.
/// - A pardon's source is an empty blob when it is for everybody.
/// - Times are microseconds since the epoch.
/// - A reason is JSON, because it grows with the reasons that there are.
/// - An hour is a number of them since the epoch.
/// - A place in an allow-list is `name:HOST` or `file:PATH`, its entries are JSON.
const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE jail (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        failures INTEGER NOT NULL DEFAULT 0,
        bans INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE TABLE ban (
        jail INTEGER NOT NULL REFERENCES jail (id),
        source BLOB NOT NULL,
        since INTEGER NOT NULL,
        until INTEGER,
        reason TEXT NOT NULL,
        PRIMARY KEY (jail, source)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE failure (
        id INTEGER PRIMARY KEY,
        jail INTEGER NOT NULL REFERENCES jail (id),
        source BLOB NOT NULL,
        time INTEGER NOT NULL,
        user TEXT
    ) STRICT;
    CREATE INDEX failure_by_source ON failure (jail, source, time);
    CREATE TABLE correlation (
        jail INTEGER NOT NULL REFERENCES jail (id),
        key TEXT NOT NULL,
        state TEXT NOT NULL,
        PRIMARY KEY (jail, key)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE pardon (
        jail INTEGER NOT NULL REFERENCES jail (id),
        source BLOB NOT NULL,
        until INTEGER NOT NULL,
        PRIMARY KEY (jail, source)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE position (
        source TEXT NOT NULL PRIMARY KEY,
        place TEXT NOT NULL,
        time INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
",
    "
    ALTER TABLE failure ADD COLUMN weight INTEGER NOT NULL DEFAULT 1;
    CREATE TABLE history (
        jail INTEGER NOT NULL REFERENCES jail (id),
        source BLOB NOT NULL,
        count INTEGER NOT NULL,
        since INTEGER NOT NULL,
        length INTEGER,
        PRIMARY KEY (jail, source)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE awaited (
        jail INTEGER NOT NULL REFERENCES jail (id),
        source BLOB NOT NULL,
        since INTEGER NOT NULL,
        until INTEGER,
        reason TEXT NOT NULL,
        PRIMARY KEY (jail, source)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE named (
        id INTEGER PRIMARY KEY,
        jail INTEGER NOT NULL REFERENCES jail (id),
        name TEXT NOT NULL,
        time INTEGER NOT NULL,
        user TEXT
    ) STRICT;
    CREATE INDEX named_by_name ON named (name);
    CREATE TABLE listed (
        place TEXT NOT NULL PRIMARY KEY,
        entries TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
",
    "
    CREATE TABLE made (
        id INTEGER PRIMARY KEY,
        jail INTEGER NOT NULL REFERENCES jail (id),
        source BLOB NOT NULL,
        since INTEGER NOT NULL,
        failures INTEGER,
        took INTEGER
    ) STRICT;
    CREATE TABLE dropped (
        hour INTEGER PRIMARY KEY,
        packets INTEGER NOT NULL,
        bytes INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE counted (packets INTEGER NOT NULL, bytes INTEGER NOT NULL) STRICT;
    INSERT INTO made (jail, source, since, failures)
        SELECT jail, source, since, failures FROM (
            SELECT jail, source, since, json_extract(reason, '$.count') AS failures
            FROM ban ORDER BY since DESC LIMIT 100000
        ) ORDER BY since;
",
];

/// The first format with a [`record`](super::record): its bans in force begin it.
pub(super) const RECORD: i64 = 3;

/// The newest format that this guard knows.
pub(super) const FORMAT: i64 = MIGRATIONS.len() as i64;

/// Refuses a database that is not guard's, or newer than this guard.
pub(super) fn check(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let failed = |cause| StoreError::sqlite(path, "reading its header", cause);
    let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(failed)?;
    let found = number("user_version").map_err(failed)?;
    let application = number("application_id").map_err(failed)?;
    let untouched = tables == 0 && found == 0 && application == 0;
    if !untouched && application != APPLICATION_ID {
        return Err(StoreError::Foreign { path: path.to_owned() });
    }
    if found > FORMAT {
        return Err(StoreError::Newer { path: path.to_owned(), found, known: FORMAT });
    }
    Ok(())
}

/// Refuses a database whose structure is damaged. It is read from end to end.
pub(super) fn check_structure(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let found: rusqlite::Result<String> =
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0));
    match found.map_err(|cause| StoreError::sqlite(path, "checking it", cause))?.as_str() {
        "ok" => Ok(()),
        damage => Err(StoreError::damaged(path, &damage)),
    }
}

/// Brings a checked database to the newest format, in one transaction; one that is damaged is
/// left as it is.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let failed = |cause| StoreError::sqlite(path, "reading its header", cause);
    let found: i64 =
        connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
    if found < FORMAT {
        check_structure(connection, path)?;
    }
    migrate_to(connection, path, MIGRATIONS.len())
}

/// Brings it to a format, which older tests make databases with.
pub(super) fn migrate_to(
    connection: &mut Connection,
    path: &Path,
    format: usize,
) -> Result<(), StoreError> {
    let failed = |cause| StoreError::sqlite(path, "bringing it to the newest format", cause);
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let found: i64 =
        transaction.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
    let done = usize::try_from(found).unwrap_or(0);
    if done < format {
        for sql in &MIGRATIONS[done..format] {
            transaction.execute_batch(sql).map_err(failed)?;
        }
        transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed)?;
        transaction.pragma_update(None, "user_version", format as i64).map_err(failed)?;
    }
    transaction.commit().map_err(failed)
}

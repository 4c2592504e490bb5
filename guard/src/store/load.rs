//! Tables into values, at the start.

use std::collections::HashMap;
use std::net::IpAddr;

use rusqlite::Row;

use super::{
    Store, StoreError, Stored, StoredBan, StoredCorrelation, StoredFailure, StoredName,
    StoredPardon, StoredPast, Totals,
};
use crate::core::addr::Prefix;
use crate::core::entry::Position;
use crate::core::history::Past;
use crate::core::jail::{AllowElsewhere, JailName};
use crate::core::time::{Span, Timestamp};

/// Names of the stored jails by their row.
type Names = HashMap<i64, JailName>;

impl Store {
    /// Everything that is stored, as it was at one moment.
    ///
    /// # Errors
    /// When it cannot be read, or holds what guard never writes.
    pub fn load(&mut self) -> Result<Stored, StoreError> {
        let path = self.path.clone();
        let failed = |cause| worded(&path, cause);
        // One read transaction: a writer in between changes nothing of what is read.
        let snapshot = self.connection.transaction().map_err(failed)?;
        let (names, totals) = jails(&snapshot).map_err(failed)?;
        let stored = Stored {
            bans: bans(&snapshot, &names, "ban").map_err(failed)?,
            failures: failures(&snapshot, &names).map_err(failed)?,
            correlations: correlations(&snapshot, &names).map_err(failed)?,
            pardons: pardons(&snapshot, &names).map_err(failed)?,
            history: history(&snapshot, &names).map_err(failed)?,
            awaited: bans(&snapshot, &names, "awaited").map_err(failed)?,
            names: named(&snapshot, &names).map_err(failed)?,
            lists: lists(&snapshot).map_err(failed)?,
            positions: positions(&snapshot).map_err(failed)?,
            totals,
        };
        Ok(stored)
    }

    /// Every stored ban, also those that ended meanwhile.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub fn bans(&mut self) -> Result<Vec<StoredBan>, StoreError> {
        let path = self.path.clone();
        let failed = |cause| worded(&path, cause);
        let snapshot = self.connection.transaction().map_err(failed)?;
        let (names, _) = jails(&snapshot).map_err(failed)?;
        bans(&snapshot, &names, "ban").map_err(failed)
    }
}

fn jails(connection: &rusqlite::Connection) -> rusqlite::Result<(Names, Vec<Totals>)> {
    let mut names = Names::new();
    let mut totals = Vec::new();
    let mut statement =
        connection.prepare("SELECT id, name, failures, bans FROM jail ORDER BY name")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let name: String = row.get(1)?;
        let jail = JailName::new(&name).map_err(|cause| unreadable(1, cause))?;
        names.insert(row.get(0)?, jail.clone());
        let (failures, bans): (i64, i64) = (row.get(2)?, row.get(3)?);
        totals.push(Totals { jail, failures: failures.unsigned_abs(), bans: bans.unsigned_abs() });
    }
    totals.retain(|totals| totals.failures > 0 || totals.bans > 0);
    Ok((names, totals))
}

/// Bans in force, or those that wait, by the table.
fn bans(
    connection: &rusqlite::Connection,
    names: &Names,
    table: &str,
) -> rusqlite::Result<Vec<StoredBan>> {
    let sql = format!("SELECT jail, source, since, until, reason FROM {table}");
    let mut statement = connection.prepare(&sql)?;
    let rows = statement.query_map([], |row| {
        let reason = row.get_ref(4)?.as_str()?;
        Ok(StoredBan {
            jail: jail(row, names)?,
            source: source(row)?,
            since: Timestamp::from_micros(row.get(2)?),
            until: row.get::<_, Option<i64>>(3)?.map(Timestamp::from_micros),
            reason: serde_json::from_str(reason).map_err(|cause| unreadable(4, cause))?,
        })
    })?;
    rows.collect()
}

fn failures(
    connection: &rusqlite::Connection,
    names: &Names,
) -> rusqlite::Result<Vec<StoredFailure>> {
    let mut statement =
        connection.prepare("SELECT jail, source, time, user, weight FROM failure ORDER BY id")?;
    let rows = statement.query_map([], |row| {
        Ok(StoredFailure {
            jail: jail(row, names)?,
            source: source(row)?,
            time: Timestamp::from_micros(row.get(2)?),
            user: row.get(3)?,
            weight: row.get(4)?,
        })
    })?;
    rows.collect()
}

fn history(connection: &rusqlite::Connection, names: &Names) -> rusqlite::Result<Vec<StoredPast>> {
    let sql = "SELECT jail, source, count, since, length FROM history";
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map([], |row| {
        let past = Past {
            count: row.get(2)?,
            since: Timestamp::from_micros(row.get(3)?),
            length: row.get::<_, Option<i64>>(4)?.map(Span::from_micros),
        };
        Ok(StoredPast { jail: jail(row, names)?, source: source(row)?, past })
    })?;
    rows.collect()
}

fn named(connection: &rusqlite::Connection, names: &Names) -> rusqlite::Result<Vec<StoredName>> {
    let mut statement =
        connection.prepare("SELECT jail, name, time, user FROM named ORDER BY id")?;
    let rows = statement.query_map([], |row| {
        Ok(StoredName {
            jail: jail(row, names)?,
            name: row.get(1)?,
            time: Timestamp::from_micros(row.get(2)?),
            user: row.get(3)?,
        })
    })?;
    rows.collect()
}

fn lists(
    connection: &rusqlite::Connection,
) -> rusqlite::Result<Vec<(AllowElsewhere, Vec<Prefix>)>> {
    let mut statement = connection.prepare("SELECT place, entries FROM listed")?;
    let rows = statement.query_map([], |row| {
        let text: String = row.get(0)?;
        let place = match text.split_once(':') {
            Some(("name", name)) => AllowElsewhere::Name(name.to_owned()),
            Some(("file", path)) => AllowElsewhere::File(path.into()),
            _ => return Err(unreadable(0, format!("`{text}` is no place of an allow-list"))),
        };
        let entries = serde_json::from_str(row.get_ref(1)?.as_str()?);
        Ok((place, entries.map_err(|cause| unreadable(1, cause))?))
    })?;
    rows.collect()
}

fn correlations(
    connection: &rusqlite::Connection,
    names: &Names,
) -> rusqlite::Result<Vec<StoredCorrelation>> {
    let mut statement = connection.prepare("SELECT jail, key, state FROM correlation")?;
    let rows = statement.query_map([], |row| {
        Ok(StoredCorrelation { jail: jail(row, names)?, key: row.get(1)?, state: row.get(2)? })
    })?;
    rows.collect()
}

fn pardons(
    connection: &rusqlite::Connection,
    names: &Names,
) -> rusqlite::Result<Vec<StoredPardon>> {
    let mut statement = connection.prepare("SELECT jail, source, until FROM pardon")?;
    let rows = statement.query_map([], |row| {
        let everybody = row.get_ref(1)?.as_blob()?.is_empty();
        Ok(StoredPardon {
            jail: jail(row, names)?,
            source: if everybody { None } else { Some(source(row)?) },
            until: Timestamp::from_micros(row.get(2)?),
        })
    })?;
    rows.collect()
}

fn positions(connection: &rusqlite::Connection) -> rusqlite::Result<Vec<Position>> {
    let mut statement = connection.prepare("SELECT source, place, time FROM position")?;
    let rows = statement.query_map([], |row| {
        let time = Timestamp::from_micros(row.get(2)?);
        Ok(Position { source: row.get(0)?, place: row.get(1)?, time })
    })?;
    rows.collect()
}

/// The jail whose row is in the first column.
fn jail(row: &Row<'_>, names: &Names) -> rusqlite::Result<JailName> {
    let id: i64 = row.get(0)?;
    names.get(&id).cloned().ok_or_else(|| unreadable(0, format!("there is no jail {id}")))
}

/// The source that is in the second column.
fn source(row: &Row<'_>) -> rusqlite::Result<Prefix> {
    let blob = row.get_ref(1)?.as_blob()?;
    let decoded = blob.split_last().and_then(|(length, octets)| {
        let address = match octets.len() {
            4 => IpAddr::from(<[u8; 4]>::try_from(octets).ok()?),
            16 => IpAddr::from(<[u8; 16]>::try_from(octets).ok()?),
            _ => return None,
        };
        Prefix::new(address, *length).ok()
    });
    decoded.ok_or_else(|| unreadable(1, format!("{blob:02x?} is not an address")))
}

fn unreadable(
    column: usize,
    cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Null, cause.into())
}

/// What guard cannot have written is damage too.
fn worded(path: &std::path::Path, cause: rusqlite::Error) -> StoreError {
    match cause {
        rusqlite::Error::FromSqlConversionFailure(_, _, what) => StoreError::damaged(path, &what),
        rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::Utf8Error(..) => StoreError::damaged(path, &cause),
        other => StoreError::sqlite(path, "reading it", other),
    }
}

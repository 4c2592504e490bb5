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
use crate::core::reason::Reason;
use crate::core::time::{Span, Timestamp};

/// Names of the stored jails by their row.
pub(super) type Names = HashMap<i64, JailName>;

impl Store {
    /// Everything that is stored, as it was at one moment.
    ///
    /// # Errors
    /// When it cannot be read, or holds what guard never writes.
    pub fn load(&mut self) -> Result<Stored, StoreError> {
        let (stored, bans) = self.load_with(StoredBan::clone)?;
        Ok(Stored { bans, ..stored })
    }

    /// As [`Store::load`], but for the bans in force, which become what `make` makes of
    /// them: there may be a million.
    ///
    /// # Errors
    /// As [`Store::load`].
    pub fn load_with<T>(
        &mut self,
        make: impl FnMut(&StoredBan) -> T,
    ) -> Result<(Stored, Vec<T>), StoreError> {
        let path = self.path.clone();
        let failed = |cause| worded(&path, cause);
        // One read transaction: a writer in between changes nothing of what is read.
        let snapshot = self.connection.transaction().map_err(failed)?;
        let (names, totals) = jails(&snapshot).map_err(failed)?;
        let bans = bans(&snapshot, &names, "ban", make).map_err(failed)?;
        let stored = Stored {
            bans: Vec::new(),
            failures: failures(&snapshot, &names).map_err(failed)?,
            correlations: correlations(&snapshot, &names).map_err(failed)?,
            pardons: pardons(&snapshot, &names).map_err(failed)?,
            history: history(&snapshot, &names).map_err(failed)?,
            awaited: self::bans(&snapshot, &names, "awaited", StoredBan::clone).map_err(failed)?,
            names: named(&snapshot, &names).map_err(failed)?,
            lists: lists(&snapshot).map_err(failed)?,
            positions: positions(&snapshot).map_err(failed)?,
            totals,
        };
        Ok((stored, bans))
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
        bans(&snapshot, &names, "ban", StoredBan::clone).map_err(failed)
    }
}

pub(super) fn jails(connection: &rusqlite::Connection) -> rusqlite::Result<(Names, Vec<Totals>)> {
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

/// Bans in force, or those that wait, by the table, as `make` makes them.
fn bans<T>(
    connection: &rusqlite::Connection,
    names: &Names,
    table: &str,
    mut make: impl FnMut(&StoredBan) -> T,
) -> rusqlite::Result<Vec<T>> {
    let count: i64 =
        connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?;
    let sql = format!("SELECT jail, source, since, until, reason FROM {table}");
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([])?;
    let mut bans = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
    while let Some(row) = rows.next()? {
        bans.push(make(&StoredBan {
            jail: jail(row, names)?,
            source: source(row)?,
            since: Timestamp::from_micros(row.get(2)?),
            until: row.get::<_, Option<i64>>(3)?.map(Timestamp::from_micros),
            reason: reason(row.get_ref(4)?.as_str()?).map_err(|cause| unreadable(4, cause))?,
        }));
    }
    Ok(bans)
}

/// Why somebody is banned. What nearly all stored bans say is read by hand: a million of
/// them by serde would take a second.
fn reason(text: &str) -> serde_json::Result<Reason> {
    match common_reason(text) {
        Some(reason) => Ok(reason),
        None => serde_json::from_str(text),
    }
}

/// The reason in a text that is just as guard writes one of an address's own failures.
fn common_reason(text: &str) -> Option<Reason> {
    let rest = text.strip_prefix(r#"{"by":"failures","count":"#)?.strip_suffix('}')?;
    let (count, within) = rest.split_once(r#","within":"#)?;
    let digits = |text: &str| text.bytes().all(|octet| octet.is_ascii_digit());
    if !digits(count) || !digits(within) {
        return None;
    }
    let within = Span::from_micros(within.parse().ok()?);
    Some(Reason::Failures { count: count.parse().ok()?, within, last: None })
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
pub(super) fn source(row: &Row<'_>) -> rusqlite::Result<Prefix> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_read_by_hand_are_those_that_serde_reads() {
        for text in [
            r#"{"by":"failures","count":3,"within":600000000}"#,
            r#"{"by":"failures","count":0,"within":0}"#,
            r#"{"by":"failures","count":3,"within":9,"last":"192.0.2.1"}"#,
            r#"{"by":"manual","forced":true}"#,
            r#"{"by":"failures","count":4294967296,"within":1}"#,
            r#"{"by":"failures","count":+3,"within":1}"#,
            r#"{"by":"failures","count":,"within":1}"#,
            r#"{"by":"failures","count":3,"within":1}}"#,
            r#"{"within":1,"count":3,"by":"failures"}"#,
            "",
        ] {
            let serde: Option<Reason> = serde_json::from_str(text).ok();
            assert_eq!(reason(text).ok(), serde, "{text}");
        }
        let written = Reason::Failures { count: 3, within: Span::from_micros(70), last: None };
        let text = serde_json::to_string(&written).expect("text");
        assert_eq!(common_reason(&text), Some(written), "guard writes it so: {text}");
    }
}

//! Tables into values, at the start.

use std::cell::Cell;
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
        self.read_with(Damage::Refused, make).map_err(|cause| worded(&path, cause))
    }

    /// As [`Store::load_with`], but what cannot be read is left out, if anything can be read:
    /// for a store that is damaged. What is not damaged is as it was; where failures or
    /// positions are not whole there are none of either, so that the logs are read again.
    ///
    /// # Errors
    /// When nothing can be read.
    pub fn salvage_with<T>(
        &mut self,
        make: impl FnMut(&StoredBan) -> T,
    ) -> Result<(Stored, Vec<T>), StoreError> {
        let path = self.path.clone();
        self.read_with(Damage::LeftOut, make).map_err(|cause| worded(&path, cause))
    }

    fn read_with<T>(
        &mut self,
        damage: Damage,
        make: impl FnMut(&StoredBan) -> T,
    ) -> rusqlite::Result<(Stored, Vec<T>)> {
        // One read transaction: a writer in between changes nothing of what is read.
        let snapshot = self.connection.transaction()?;
        let (names, totals) = jails(&snapshot)?;
        let cut = Cell::new(false);
        let from = Tables { connection: &snapshot, names: &names, damage, cut: &cut };
        let bans = from.bans("ban", make)?;
        cut.set(false);
        let (mut failures, mut positions) = (from.failures()?, from.positions()?);
        if cut.get() {
            failures.clear();
            positions.clear();
        }
        let stored = Stored {
            bans: Vec::new(),
            failures,
            correlations: from.correlations()?,
            pardons: from.pardons()?,
            history: from.history()?,
            awaited: from.bans("awaited", StoredBan::clone)?,
            names: from.named()?,
            lists: from.lists()?,
            positions,
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
        let (damage, cut) = (Damage::Refused, &Cell::new(false));
        let from = Tables { connection: &snapshot, names: &names, damage, cut };
        from.bans("ban", StoredBan::clone).map_err(failed)
    }
}

/// What becomes of rows that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    Refused,
    LeftOut,
}

/// The tables of one moment.
struct Tables<'a> {
    connection: &'a rusqlite::Connection,
    names: &'a Names,
    damage: Damage,
    /// Set when a row is left out.
    cut: &'a Cell<bool>,
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

impl Tables<'_> {
    /// Bans in force, or those that wait, by the table, as `make` makes them.
    fn bans<T>(
        &self,
        table: &str,
        mut make: impl FnMut(&StoredBan) -> T,
    ) -> rusqlite::Result<Vec<T>> {
        let count = format!("SELECT count(*) FROM {table}");
        let count = self.connection.query_row(&count, [], |row| row.get(0));
        let count = usize::try_from(count.unwrap_or(0_i64)).unwrap_or(0);
        let sql = format!("SELECT jail, source, since, until, reason FROM {table}");
        self.rows(&sql, count, |row| {
            Ok(make(&StoredBan {
                jail: jail(row, self.names)?,
                source: source(row)?,
                since: Timestamp::from_micros(row.get(2)?),
                until: row.get::<_, Option<i64>>(3)?.map(Timestamp::from_micros),
                reason: reason(row.get_ref(4)?.as_str()?).map_err(|cause| unreadable(4, cause))?,
            }))
        })
    }

    fn failures(&self) -> rusqlite::Result<Vec<StoredFailure>> {
        self.rows("SELECT jail, source, time, user, weight FROM failure ORDER BY id", 0, |row| {
            Ok(StoredFailure {
                jail: jail(row, self.names)?,
                source: source(row)?,
                time: Timestamp::from_micros(row.get(2)?),
                user: row.get(3)?,
                weight: row.get(4)?,
            })
        })
    }

    fn history(&self) -> rusqlite::Result<Vec<StoredPast>> {
        self.rows("SELECT jail, source, count, since, length FROM history", 0, |row| {
            let past = Past {
                count: row.get(2)?,
                since: Timestamp::from_micros(row.get(3)?),
                length: row.get::<_, Option<i64>>(4)?.map(Span::from_micros),
            };
            Ok(StoredPast { jail: jail(row, self.names)?, source: source(row)?, past })
        })
    }

    fn named(&self) -> rusqlite::Result<Vec<StoredName>> {
        self.rows("SELECT jail, name, time, user FROM named ORDER BY id", 0, |row| {
            Ok(StoredName {
                jail: jail(row, self.names)?,
                name: row.get(1)?,
                time: Timestamp::from_micros(row.get(2)?),
                user: row.get(3)?,
            })
        })
    }

    fn lists(&self) -> rusqlite::Result<Vec<(AllowElsewhere, Vec<Prefix>)>> {
        self.rows("SELECT place, entries FROM listed", 0, |row| {
            let text: String = row.get(0)?;
            let place = match text.split_once(':') {
                Some(("name", name)) => AllowElsewhere::Name(name.to_owned()),
                Some(("file", path)) => AllowElsewhere::File(path.into()),
                _ => return Err(unreadable(0, format!("`{text}` is no place of an allow-list"))),
            };
            let entries = serde_json::from_str(row.get_ref(1)?.as_str()?);
            Ok((place, entries.map_err(|cause| unreadable(1, cause))?))
        })
    }

    fn correlations(&self) -> rusqlite::Result<Vec<StoredCorrelation>> {
        self.rows("SELECT jail, key, state FROM correlation", 0, |row| {
            let jail = jail(row, self.names)?;
            Ok(StoredCorrelation { jail, key: row.get(1)?, state: row.get(2)? })
        })
    }

    fn pardons(&self) -> rusqlite::Result<Vec<StoredPardon>> {
        self.rows("SELECT jail, source, until FROM pardon", 0, |row| {
            let everybody = row.get_ref(1)?.as_blob()?.is_empty();
            Ok(StoredPardon {
                jail: jail(row, self.names)?,
                source: if everybody { None } else { Some(source(row)?) },
                until: Timestamp::from_micros(row.get(2)?),
            })
        })
    }

    fn positions(&self) -> rusqlite::Result<Vec<Position>> {
        self.rows("SELECT source, place, time FROM position", 0, |row| {
            let time = Timestamp::from_micros(row.get(2)?);
            Ok(Position { source: row.get(0)?, place: row.get(1)?, time })
        })
    }

    /// Rows, of which there may be `count`, as `make` makes them.
    fn rows<T>(
        &self,
        sql: &str,
        count: usize,
        mut make: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Vec<T>> {
        let leave_out = self.damage == Damage::LeftOut;
        let mut made = Vec::with_capacity(count);
        let is_left_out = || {
            self.cut.set(leave_out);
            leave_out
        };
        let mut statement = match self.connection.prepare(sql) {
            Err(_) if is_left_out() => return Ok(made),
            statement => statement?,
        };
        let mut rows = statement.query([])?;
        loop {
            match rows.next() {
                Ok(None) => return Ok(made),
                // Of what comes after a damaged page nothing is known.
                Err(_) if is_left_out() => return Ok(made),
                row => match row?.map(&mut make).transpose() {
                    Ok(one) => made.extend(one),
                    Err(_) if is_left_out() => {}
                    Err(cause) => return Err(cause),
                },
            }
        }
    }
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

//! Changes into tables.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::{OptionalExtension as _, Transaction, params};

use super::{Durability, Store, StoreError, record};
use crate::core::addr::Prefix;
use crate::core::delta::Ban;
use crate::core::effects::Change;
use crate::core::failure::Failure;
use crate::core::history::Past;
use crate::core::jail::{AllowElsewhere, JailId, JailName};
use crate::core::reason::Reason;
use crate::core::time::{Span, Timestamp};

impl Store {
    /// Makes changes durable, all of them or none. `jails` are the names of the
    /// started jails; [`JailId`] is the index. When the disk has them is told in the
    /// [module's header](super).
    ///
    /// # Errors
    /// When they cannot be written; nothing is changed then, and the same call may be
    /// made again.
    pub fn persist(&mut self, changes: &[Change], jails: &[JailName]) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        self.wait_for_disk(durability(changes))?;
        self.change(jails, |writer| writer.write(changes))
    }

    pub(super) fn wait_for_disk(&mut self, durability: Durability) -> Result<(), StoreError> {
        if self.synchronous == Some(durability) {
            return Ok(());
        }
        let level = match durability {
            Durability::Now => "FULL",
            Durability::Soon => "NORMAL",
        };
        self.connection
            .pragma_update(None, "synchronous", level)
            .map_err(self.failed("choosing when to sync"))?;
        self.synchronous = Some(durability);
        Ok(())
    }
}

/// The wall clock, for what nothing depends on.
pub(super) fn now() -> Timestamp {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}

/// What must not be undone by a power loss: a ban or its end, and that somebody was let in
/// again who was not banned yet.
fn durability(changes: &[Change]) -> Durability {
    let lasting = |change: &Change| {
        matches!(
            change,
            Change::Ban(_)
                | Change::Prolong(_)
                | Change::Unban { .. }
                | Change::Await(_)
                | Change::Pardon { until: Some(_), .. }
        )
    };
    if changes.iter().any(lasting) { Durability::Now } else { Durability::Soon }
}

/// Bans in the order of their key, where many follow each other: the table is a tree
/// by that key, and is written in half the time so. Nothing else changes its place,
/// and of two bans of one jail and source the later stays the later.
fn in_key_order(changes: &[Change]) -> impl Iterator<Item = &Change> {
    let same_kind = |a: &Change, b: &Change| {
        matches!(
            (a, b),
            (Change::Ban(_), Change::Ban(_)) | (Change::Prolong(_), Change::Prolong(_))
        )
    };
    changes.chunk_by(same_kind).flat_map(|run| {
        let mut run: Vec<&Change> = run.iter().collect();
        run.sort_by_key(|change| match change {
            Change::Ban(ban) | Change::Prolong(ban) => Some((ban.jail, ban.source)),
            _ => None,
        });
        run
    })
}

/// A source as it is stored: the octets of the address, then the prefix length.
pub(super) fn encoded(source: &Prefix) -> Vec<u8> {
    let mut blob = match source.address() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    blob.push(source.length());
    blob
}

/// A place in an allow-list as it is stored.
fn place_text(place: &AllowElsewhere) -> String {
    match place {
        AllowElsewhere::Name(name) => format!("name:{name}"),
        AllowElsewhere::File(path) => format!("file:{}", path.display()),
    }
}

fn json(value: &impl serde::Serialize) -> Result<String, Failed> {
    let failed = |cause: serde_json::Error| rusqlite::Error::ToSqlConversionFailure(cause.into());
    Ok(serde_json::to_string(value).map_err(failed)?)
}

/// Why nothing was written.
pub(super) enum Failed {
    Sqlite(rusqlite::Error),
    UnknownJail(JailId),
}

impl From<rusqlite::Error> for Failed {
    fn from(cause: rusqlite::Error) -> Self {
        Self::Sqlite(cause)
    }
}

/// One transaction being filled.
pub(super) struct Writer<'a> {
    pub(super) transaction: &'a Transaction<'a>,
    pub(super) jails: &'a [JailName],
    pub(super) rows: &'a mut HashMap<JailName, i64>,
}

impl Writer<'_> {
    /// Writes what was known before, so that no total grows.
    pub(super) fn write_known(&mut self, changes: &[Change]) -> Result<(), Failed> {
        self.write_each(changes).map(drop)
    }

    /// Writes what happened just now.
    fn write(&mut self, changes: &[Change]) -> Result<(), Failed> {
        let totals = self.write_each(changes)?;
        if totals.values().any(|(_, bans)| *bans > 0) {
            self.execute(
                "DELETE FROM made WHERE id <= (SELECT max(id) FROM made) - ?1",
                [record::BANS],
            )?;
        }
        for (jail, (failures, bans)) in totals {
            self.execute(
                "UPDATE jail SET failures = failures + ?2, bans = bans + ?3 WHERE id = ?1",
                params![jail, failures, bans],
            )?;
        }
        Ok(())
    }

    /// Writes them; how many failures and bans of each jail were among them.
    fn write_each(&mut self, changes: &[Change]) -> Result<HashMap<i64, (i64, i64)>, Failed> {
        let mut totals: HashMap<i64, (i64, i64)> = HashMap::new();
        let now = now();
        let mut made = 0;
        for change in in_key_order(changes) {
            match change {
                Change::Count { failure, weight } => {
                    let jail = self.count(failure, *weight)?;
                    totals.entry(jail).or_default().0 += 1;
                }
                Change::Ban(ban) => {
                    let jail = self.ban("ban", ban)?;
                    if made < record::AT_ONCE {
                        self.made(jail, ban, now)?;
                        made += 1;
                    }
                    totals.entry(jail).or_default().1 += 1;
                }
                Change::Prolong(ban) => drop(self.ban("ban", ban)?),
                Change::Forget { jail, source, before } => self.forget(*jail, source, *before)?,
                Change::Unban { jail, source } => {
                    let jail = self.row(*jail)?;
                    self.execute(
                        "DELETE FROM ban WHERE jail = ?1 AND source = ?2",
                        params![jail, encoded(source)],
                    )?;
                }
                Change::Remember { jail, source, past } => {
                    self.remember(*jail, source, past.as_ref())?;
                }
                Change::Await(ban) => drop(self.ban("awaited", ban)?),
                Change::Decided { jail, source } => {
                    let jail = self.row(*jail)?;
                    self.execute(
                        "DELETE FROM awaited WHERE jail = ?1 AND source = ?2",
                        params![jail, encoded(source)],
                    )?;
                }
                Change::AwaitName { jail, name, time, user } => {
                    let jail = self.row(*jail)?;
                    self.execute(
                        "INSERT INTO named (jail, name, time, user) VALUES (?1, ?2, ?3, ?4)",
                        params![jail, name, time.micros(), user],
                    )?;
                }
                Change::NameDecided { name } => {
                    self.execute("DELETE FROM named WHERE name = ?1", [name])?;
                }
                Change::Listed { place, entries } => self.list(place, entries.as_deref())?,
                Change::Pardon { jail, source, until } => {
                    self.pardon(*jail, source.as_ref(), *until)?;
                }
                Change::Correlate { jail, key, state } => {
                    self.correlate(*jail, key, state.as_deref())?;
                }
                Change::Position(position) => self.execute(
                    "INSERT OR REPLACE INTO position (source, place, time) VALUES (?1, ?2, ?3)",
                    params![position.source, position.place, position.time.micros()],
                )?,
            }
        }
        Ok(totals)
    }

    /// Remembers for reports that a ban was made.
    fn made(&mut self, jail: i64, ban: &Ban, now: Timestamp) -> Result<(), Failed> {
        let (failures, took) = match ban.reason {
            Reason::Failures { count, .. } => (Some(count), Some((now - ban.since).micros())),
            Reason::Manual { .. } => (None, None),
        };
        self.execute(
            "INSERT INTO made (jail, source, since, failures, took) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![jail, encoded(&ban.source), ban.since.micros(), failures, took],
        )
    }

    fn count(&mut self, failure: &Failure, weight: u32) -> Result<i64, Failed> {
        let jail = self.row(failure.jail)?;
        self.execute(
            "INSERT INTO failure (jail, source, time, user, weight) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![jail, encoded(&failure.source), failure.time.micros(), failure.user, weight],
        )?;
        Ok(jail)
    }

    /// Puts a ban into the table of those in force, or of those that wait.
    fn ban(&mut self, table: &'static str, ban: &Ban) -> Result<i64, Failed> {
        let jail = self.row(ban.jail)?;
        let reason = json(&ban.reason)?;
        self.execute(
            &format!(
                "INSERT OR REPLACE INTO {table} (jail, source, since, until, reason) \
                 VALUES (?1, ?2, ?3, ?4, ?5)"
            ),
            params![
                jail,
                encoded(&ban.source),
                ban.since.micros(),
                ban.until.map(Timestamp::micros),
                reason
            ],
        )?;
        Ok(jail)
    }

    fn forget(
        &mut self,
        jail: JailId,
        source: &Prefix,
        before: Option<Timestamp>,
    ) -> Result<(), Failed> {
        let (jail, source) = (self.row(jail)?, encoded(source));
        match before {
            Some(before) => self.execute(
                "DELETE FROM failure WHERE jail = ?1 AND source = ?2 AND time < ?3",
                params![jail, source, before.micros()],
            ),
            None => self.execute(
                "DELETE FROM failure WHERE jail = ?1 AND source = ?2",
                params![jail, source],
            ),
        }
    }

    fn remember(
        &mut self,
        jail: JailId,
        source: &Prefix,
        past: Option<&Past>,
    ) -> Result<(), Failed> {
        let (jail, source) = (self.row(jail)?, encoded(source));
        match past {
            Some(Past { count, since, length }) => self.execute(
                "INSERT OR REPLACE INTO history (jail, source, count, since, length) \
                 VALUES (?1, ?2, ?3, ?4, ?5)",
                params![jail, source, count, since.micros(), length.map(Span::micros)],
            ),
            None => self.execute(
                "DELETE FROM history WHERE jail = ?1 AND source = ?2",
                params![jail, source],
            ),
        }
    }

    fn list(&self, place: &AllowElsewhere, entries: Option<&[Prefix]>) -> Result<(), Failed> {
        let place = place_text(place);
        match entries {
            Some(entries) => self.execute(
                "INSERT OR REPLACE INTO listed (place, entries) VALUES (?1, ?2)",
                params![place, json(&entries)?],
            ),
            None => self.execute("DELETE FROM listed WHERE place = ?1", [place]),
        }
    }

    fn pardon(
        &mut self,
        jail: JailId,
        source: Option<&Prefix>,
        until: Option<Timestamp>,
    ) -> Result<(), Failed> {
        let (jail, source) = (self.row(jail)?, source.map(encoded).unwrap_or_default());
        match until {
            Some(until) => self.execute(
                "INSERT OR REPLACE INTO pardon (jail, source, until) VALUES (?1, ?2, ?3)",
                params![jail, source, until.micros()],
            ),
            None => self.execute(
                "DELETE FROM pardon WHERE jail = ?1 AND source = ?2",
                params![jail, source],
            ),
        }
    }

    fn correlate(&mut self, jail: JailId, key: &str, state: Option<&str>) -> Result<(), Failed> {
        let jail = self.row(jail)?;
        match state {
            Some(state) => self.execute(
                "INSERT OR REPLACE INTO correlation (jail, key, state) VALUES (?1, ?2, ?3)",
                params![jail, key, state],
            ),
            None => self.execute(
                "DELETE FROM correlation WHERE jail = ?1 AND key = ?2",
                params![jail, key],
            ),
        }
    }

    pub(super) fn execute(&self, sql: &str, params: impl rusqlite::Params) -> Result<(), Failed> {
        self.transaction.prepare_cached(sql)?.execute(params)?;
        Ok(())
    }

    /// The jail's row, made at its first mention.
    pub(super) fn row(&mut self, jail: JailId) -> Result<i64, Failed> {
        self.row_of(self.jails.get(jail.index()).ok_or(Failed::UnknownJail(jail))?)
    }

    /// As [`Writer::row`], by the name.
    pub(super) fn row_of(&mut self, name: &JailName) -> Result<i64, Failed> {
        if let Some(row) = self.rows.get(name) {
            return Ok(*row);
        }
        let found = self
            .transaction
            .query_row("SELECT id FROM jail WHERE name = ?1", [name.as_str()], |row| row.get(0))
            .optional()?;
        let row = match found {
            Some(row) => row,
            None => {
                self.execute("INSERT INTO jail (name) VALUES (?1)", [name.as_str()])?;
                self.transaction.last_insert_rowid()
            }
        };
        self.rows.insert(name.clone(), row);
        Ok(row)
    }
}

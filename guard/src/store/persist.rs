//! Changes into tables.

use std::collections::HashMap;
use std::net::IpAddr;

use rusqlite::{OptionalExtension as _, Transaction, TransactionBehavior, params};

use super::{Durability, Store, StoreError, StoredBan, lock};
use crate::core::addr::Prefix;
use crate::core::delta::Ban;
use crate::core::effects::Change;
use crate::core::failure::Failure;
use crate::core::jail::{JailId, JailName};
use crate::core::time::Timestamp;

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
        let mut rows = std::mem::take(&mut self.jail_rows);
        let failed = self.failed("writing changes");
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let written = transaction.map_err(Failed::Sqlite).and_then(|transaction| {
            Writer { transaction: &transaction, jails, rows: &mut rows }.write(changes)?;
            transaction.commit().map_err(Failed::Sqlite)
        });
        match written {
            Ok(()) => {
                self.jail_rows = rows;
                Ok(())
            }
            // The rows made in this transaction are gone: the cache stays empty.
            Err(Failed::Sqlite(cause)) => Err(failed(cause)),
            Err(Failed::UnknownJail(jail)) => {
                Err(StoreError::UnknownJail { jail, started: jails.len() })
            }
        }
    }

    /// Removes bans that ended before `now`, of all jails, those included that are not
    /// started. Gives how many they were.
    ///
    /// # Errors
    /// When they cannot be removed.
    pub fn expire(&mut self, now: Timestamp) -> Result<usize, StoreError> {
        self.wait_for_disk(Durability::Now)?;
        self.connection
            .execute("DELETE FROM ban WHERE until <= ?1", [now.micros()])
            .map_err(self.failed("removing bans that ended"))
    }

    /// Ends bans while no agent runs: of one jail or of all, of these sources or of
    /// everybody. The failures that were counted against them are forgotten too, and those
    /// that were logged until `now` will not count, in the stored jails and in those that
    /// are `known`. Gives how many bans there were.
    ///
    /// # Errors
    /// [`StoreError::Held`] when an agent runs; otherwise as [`Store::persist`].
    pub fn unban(
        &mut self,
        jail: Option<&JailName>,
        sources: Option<&[Prefix]>,
        now: Timestamp,
        known: &[JailName],
    ) -> Result<usize, StoreError> {
        // Kept until the store is closed: no agent may start before the caller is done
        // with the kernel as well.
        if self.lock.is_none() {
            self.lock = Some(lock::Lock::acquire(&self.path)?);
        }
        self.wait_for_disk(Durability::Now)?;
        let failed = self.failed("ending bans");
        let jail = jail.map(JailName::as_str);
        let mut end = || -> rusqlite::Result<usize> {
            let transaction =
                self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for known in known {
                transaction
                    .execute("INSERT OR IGNORE INTO jail (name) VALUES (?1)", [known.as_str()])?;
            }
            let mut ended = 0;
            // `?2` is null when everybody is meant; asked so that the key is used.
            let whom = if sources.is_some() { "source = ?2" } else { "?2 IS NULL" };
            for (table, counts) in [("ban", true), ("failure", false)] {
                let mut statement = transaction.prepare(&format!(
                    "DELETE FROM {table} WHERE {whom} AND jail IN \
                     (SELECT id FROM jail WHERE ?1 IS NULL OR name = ?1)"
                ))?;
                let mut remove = |source: Option<Vec<u8>>| -> rusqlite::Result<()> {
                    let removed = statement.execute(params![jail, source])?;
                    ended += if counts { removed } else { 0 };
                    Ok(())
                };
                match sources {
                    None => remove(None)?,
                    Some(sources) => {
                        for source in sources {
                            remove(Some(encoded(source)))?;
                        }
                    }
                }
            }
            let mut pardon = transaction.prepare(
                "INSERT OR REPLACE INTO pardon (jail, source, until) \
                 SELECT id, ?2, ?3 FROM jail WHERE ?1 IS NULL OR name = ?1",
            )?;
            let pardoned = match sources {
                None => vec![Vec::new()],
                Some(sources) => sources.iter().map(encoded).collect(),
            };
            for source in pardoned {
                pardon.execute(params![jail, source, now.micros()])?;
            }
            drop(pardon);
            transaction.commit()?;
            Ok(ended)
        };
        end().map_err(failed)
    }

    /// Ends bans in all jails but these, which the agent's engine knows nothing of.
    ///
    /// # Errors
    /// As [`Store::persist`].
    pub fn unban_others(
        &mut self,
        started: &[JailName],
        sources: Option<&[Prefix]>,
    ) -> Result<(), StoreError> {
        let others: Vec<StoredBan> = self
            .bans()?
            .into_iter()
            .filter(|ban| !started.contains(&ban.jail))
            .filter(|ban| sources.is_none_or(|sources| sources.contains(&ban.source)))
            .collect();
        let names: Vec<JailName> = others.iter().map(|ban| ban.jail.clone()).collect();
        let unban = |(jail, ban): (JailId, &StoredBan)| {
            [
                Change::Unban { jail, source: ban.source },
                Change::Forget { jail, source: ban.source, before: None },
            ]
        };
        let changes: Vec<Change> = (0..).map(JailId).zip(&others).flat_map(unban).collect();
        self.persist(&changes, &names)
    }

    fn wait_for_disk(&mut self, durability: Durability) -> Result<(), StoreError> {
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

/// What must not be undone by a power loss: a ban or its end.
fn durability(changes: &[Change]) -> Durability {
    let lasting = |change: &Change| {
        matches!(change, Change::Ban(_) | Change::Prolong(_) | Change::Unban { .. })
    };
    if changes.iter().any(lasting) { Durability::Now } else { Durability::Soon }
}

/// Bans in the order of their key, where many follow each other: the table is a tree
/// by that key, and is written in half the time so. Nothing else changes its place,
/// and of two bans of one jail and source the later stays the later.
fn in_key_order(changes: &[Change]) -> impl Iterator<Item = &Change> {
    let same_kind = |a: &Change, b: &Change| matches!((a, b), (Change::Ban(_), Change::Ban(_)));
    changes.chunk_by(same_kind).flat_map(|run| {
        let mut run: Vec<&Change> = run.iter().collect();
        run.sort_by_key(|change| match change {
            Change::Ban(ban) => Some((ban.jail, ban.source)),
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

enum Failed {
    Sqlite(rusqlite::Error),
    UnknownJail(JailId),
}

impl From<rusqlite::Error> for Failed {
    fn from(cause: rusqlite::Error) -> Self {
        Self::Sqlite(cause)
    }
}

/// One transaction being filled.
struct Writer<'a> {
    transaction: &'a Transaction<'a>,
    jails: &'a [JailName],
    rows: &'a mut HashMap<JailName, i64>,
}

impl Writer<'_> {
    fn write(&mut self, changes: &[Change]) -> Result<(), Failed> {
        let mut totals: HashMap<i64, (i64, i64)> = HashMap::new();
        for change in in_key_order(changes) {
            match change {
                Change::Count(failure) => {
                    let jail = self.count(failure)?;
                    totals.entry(jail).or_default().0 += 1;
                }
                Change::Ban(ban) => {
                    let jail = self.ban(ban)?;
                    totals.entry(jail).or_default().1 += 1;
                }
                Change::Prolong(ban) => drop(self.ban(ban)?),
                Change::Forget { jail, source, before } => self.forget(*jail, source, *before)?,
                Change::Unban { jail, source } => {
                    let jail = self.row(*jail)?;
                    self.execute(
                        "DELETE FROM ban WHERE jail = ?1 AND source = ?2",
                        params![jail, encoded(source)],
                    )?;
                }
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
        for (jail, (failures, bans)) in totals {
            self.execute(
                "UPDATE jail SET failures = failures + ?2, bans = bans + ?3 WHERE id = ?1",
                params![jail, failures, bans],
            )?;
        }
        Ok(())
    }

    fn count(&mut self, failure: &Failure) -> Result<i64, Failed> {
        let jail = self.row(failure.jail)?;
        self.execute(
            "INSERT INTO failure (jail, source, time, user) VALUES (?1, ?2, ?3, ?4)",
            params![jail, encoded(&failure.source), failure.time.micros(), failure.user],
        )?;
        Ok(jail)
    }

    fn ban(&mut self, ban: &Ban) -> Result<i64, Failed> {
        let jail = self.row(ban.jail)?;
        let reason = serde_json::to_string(&ban.reason)
            .map_err(|cause| rusqlite::Error::ToSqlConversionFailure(cause.into()))?;
        self.execute(
            "INSERT OR REPLACE INTO ban (jail, source, since, until, reason) \
             VALUES (?1, ?2, ?3, ?4, ?5)",
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

    fn execute(&self, sql: &str, params: impl rusqlite::Params) -> Result<(), Failed> {
        self.transaction.prepare_cached(sql)?.execute(params)?;
        Ok(())
    }

    /// The jail's row, made at its first mention.
    fn row(&mut self, jail: JailId) -> Result<i64, Failed> {
        let name = self.jails.get(jail.index()).ok_or(Failed::UnknownJail(jail))?;
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

//! Everything that is known into a store at once, whatever it has.
//!
//! Input: all changes that make what is known, and totals. Output: one transaction. Invariant:
//! what belongs to jails that are not started stays; so does the record.

use rusqlite::types::FromSql;
use rusqlite::{OptionalExtension as _, TransactionBehavior, params};

use super::persist::{Failed, Writer, encoded};
use super::{Durability, Store, StoreError, Totals};
use crate::core::addr::Prefix;
use crate::core::effects::Change;
use crate::core::jail::{JailId, JailName};
use crate::core::reason::Reason;

/// Changes that are put in order and written in one go.
const AT_ONCE: usize = 10_000;

/// Whether what a store has counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rewrite {
    /// All of it is known, and what is known takes its place.
    Afresh,
    /// It could not be read: bans in it stay, and of two the one that lasts longer; so do
    /// pardons and earlier bans, and of these what tells of more. What was counted since is
    /// added to its totals.
    Beside,
}

/// All that is known of the started jails.
pub struct Whole<'a> {
    /// The changes that make it.
    pub changes: &'a mut dyn Iterator<Item = Change>,
    /// Totals of all of these jails.
    pub totals: &'a [Totals],
    /// Their names, by [`JailId`](crate::core::jail::JailId).
    pub jails: &'a [JailName],
    /// Whether earlier bans are among it, because a jail asks for them.
    pub history: bool,
}

impl std::fmt::Debug for Whole<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Whole").field("jails", &self.jails).finish_non_exhaustive()
    }
}

impl Store {
    /// Makes all that is known durable, in one transaction: of the started jails nothing else
    /// is stored then, but as [`Rewrite`] says.
    ///
    /// # Errors
    /// As [`Store::persist`].
    pub fn fill(&mut self, rewrite: Rewrite, whole: Whole<'_>) -> Result<(), StoreError> {
        let Whole { changes, totals, jails, history } = whole;
        self.wait_for_disk(Durability::Now)?;
        self.change(jails, |writer| {
            let mut tables = vec!["failure", "awaited", "named", "correlation"];
            if rewrite == Rewrite::Afresh {
                tables.extend(["ban", "pardon"]);
                tables.extend(history.then_some("history"));
            }
            for jail in jails {
                let row = writer.row_of(jail)?;
                for table in &tables {
                    writer.execute(&format!("DELETE FROM {table} WHERE jail = ?1"), [row])?;
                }
            }
            loop {
                let mut some: Vec<Change> = changes.take(AT_ONCE).collect();
                if some.is_empty() {
                    break;
                }
                if rewrite == Rewrite::Beside {
                    some = writer.what_tells_more(some)?;
                }
                writer.write_known(&some)?;
            }
            let sum = match rewrite {
                Rewrite::Afresh => "UPDATE jail SET failures = ?2, bans = ?3 WHERE id = ?1",
                Rewrite::Beside => {
                    "UPDATE jail SET failures = failures + ?2, bans = bans + ?3 WHERE id = ?1"
                }
            };
            for Totals { jail, failures, bans } in totals {
                let row = writer.row_of(jail)?;
                let number = |number: &u64| i64::try_from(*number).unwrap_or(i64::MAX);
                writer.execute(sum, params![row, number(failures), number(bans)])?;
            }
            Ok(())
        })
    }

    /// Does all of `work` in one transaction, or nothing.
    pub(super) fn change(
        &mut self,
        jails: &[JailName],
        work: impl FnOnce(&mut Writer<'_>) -> Result<(), Failed>,
    ) -> Result<(), StoreError> {
        let mut rows = std::mem::take(&mut self.jail_rows);
        let failed = self.failed("writing changes");
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let written = transaction.map_err(Failed::Sqlite).and_then(|transaction| {
            work(&mut Writer { transaction: &transaction, jails, rows: &mut rows })?;
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
}

impl Writer<'_> {
    /// The changes but for bans that end no later, and pasts with no more bans, than what is
    /// stored.
    fn what_tells_more(&mut self, changes: Vec<Change>) -> Result<Vec<Change>, Failed> {
        let mut more = Vec::with_capacity(changes.len());
        for change in changes {
            let tells_more = match &change {
                Change::Prolong(ban) => {
                    // Nobody knows how long a ban lasts that was taken over from the kernel.
                    let guessed = matches!(ban.reason, Reason::Failures { count: 0, .. });
                    let sql = "SELECT until FROM ban WHERE jail = ?1 AND source = ?2";
                    match self.stored::<Option<i64>>(sql, ban.jail, &ban.source)? {
                        None => true,
                        Some(None) => false,
                        Some(Some(until)) => {
                            !guessed && ban.until.is_none_or(|new| new.micros() > until)
                        }
                    }
                }
                Change::Remember { jail, source, past: Some(past) } => {
                    let sql = "SELECT count FROM history WHERE jail = ?1 AND source = ?2";
                    let stored = self.stored::<u32>(sql, *jail, source)?;
                    stored.is_none_or(|count| past.count > count)
                }
                Change::Pardon { jail, source, until: Some(until) } => {
                    let sql = "SELECT until FROM pardon WHERE jail = ?1 AND source = ?2";
                    let row = self.row(*jail)?;
                    let whom = source.as_ref().map(encoded).unwrap_or_default();
                    let mut statement = self.transaction.prepare_cached(sql)?;
                    let stored = statement.query_row(params![row, whom], |row| row.get(0));
                    stored.optional()?.is_none_or(|stored: i64| until.micros() > stored)
                }
                _ => true,
            };
            if tells_more {
                more.push(change);
            }
        }
        Ok(more)
    }

    fn stored<T: FromSql>(
        &mut self,
        sql: &str,
        jail: JailId,
        source: &Prefix,
    ) -> Result<Option<T>, Failed> {
        let jail = self.row(jail)?;
        let mut statement = self.transaction.prepare_cached(sql)?;
        let found = statement.query_row(params![jail, encoded(source)], |row| row.get(0));
        Ok(found.optional()?)
    }
}

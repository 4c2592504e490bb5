//! Everything that is known into a store at once, whatever it has.
//!
//! Input: all changes that make what is known, and totals. Output: one transaction. Invariant:
//! what belongs to jails that are not started stays; so does the record.

use rusqlite::{TransactionBehavior, params};

use super::persist::{Failed, Writer};
use super::{Durability, Store, StoreError, Totals};
use crate::core::effects::Change;
use crate::core::jail::JailName;

/// Changes that are put in order and written in one go.
const AT_ONCE: usize = 10_000;

/// Whether what a store has counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filling {
    /// All of it is known, and what is known takes its place.
    Afresh,
    /// It could not be read: bans in it stay, and so do totals and earlier bans.
    Beside,
}

impl Store {
    /// Makes all that is known durable, in one transaction: of the started `jails` nothing
    /// else is stored then, but as [`Filling`] says.
    ///
    /// # Errors
    /// As [`Store::persist`].
    pub fn fill(
        &mut self,
        filling: Filling,
        known: &mut dyn Iterator<Item = Change>,
        totals: &[Totals],
        jails: &[JailName],
    ) -> Result<(), StoreError> {
        self.wait_for_disk(Durability::Now)?;
        self.change(jails, |writer| {
            let mut tables = vec!["failure", "awaited", "named", "correlation"];
            if filling == Filling::Afresh {
                tables.extend(["ban", "pardon"]);
            }
            for jail in jails {
                let row = writer.row_of(jail)?;
                for table in &tables {
                    writer.execute(&format!("DELETE FROM {table} WHERE jail = ?1"), [row])?;
                }
            }
            loop {
                let some: Vec<Change> = known.take(AT_ONCE).collect();
                if some.is_empty() {
                    break;
                }
                writer.write_known(&some)?;
            }
            for Totals { jail, failures, bans } in totals {
                let row = writer.row_of(jail)?;
                let number = |number: &u64| i64::try_from(*number).unwrap_or(i64::MAX);
                writer.execute(
                    "UPDATE jail SET failures = ?2, bans = ?3 WHERE id = ?1",
                    params![row, number(failures), number(bans)],
                )?;
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

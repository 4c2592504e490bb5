//! Bans that end without an engine: their time is over, or somebody lifts them.

use std::sync::Arc;

use rusqlite::{TransactionBehavior, params};

use super::persist::encoded;
use super::{Durability, Lock, Store, StoreError, StoredBan};
use crate::core::addr::Prefix;
use crate::core::effects::Change;
use crate::core::jail::{JailId, JailName};
use crate::core::time::{Span, Timestamp};

/// For how long earlier bans stay stored while no started jail asks for them.
const UNUSED_HISTORY: Span = Span::from_seconds(366 * 86_400);

/// What goes with whoever is let in: the tables, and whether their rows are bans.
const TABLES: [(&str, bool); 4] =
    [("ban", true), ("failure", false), ("history", false), ("awaited", false)];

impl Store {
    /// Removes bans that ended before `now`, of all jails, those included that are not
    /// started, and what nobody asked for in a year. Gives how many bans they were.
    ///
    /// # Errors
    /// When they cannot be removed.
    pub fn expire(&mut self, now: Timestamp) -> Result<usize, StoreError> {
        self.wait_for_disk(Durability::Now)?;
        let removed = |sql: &str, until: Timestamp| {
            self.connection
                .execute(sql, [until.micros()])
                .map_err(self.failed("removing bans that ended"))
        };
        removed(
            "DELETE FROM history WHERE since + 3 * coalesce(length, 0) < ?1 \
             AND length IS NOT NULL",
            now - UNUSED_HISTORY,
        )?;
        removed("DELETE FROM ban WHERE until <= ?1", now)
    }

    /// Keeps agents from starting until the store is closed, so that whoever looked can
    /// be done with the kernel as well.
    ///
    /// # Errors
    /// [`StoreError::Held`] when an agent runs.
    pub fn hold(&mut self) -> Result<(), StoreError> {
        if self.lock.is_none() {
            self.lock = Some(Arc::new(Lock::acquire(&self.path)?));
        }
        Ok(())
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
        self.hold()?;
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
            for (table, counts) in TABLES {
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

    /// Ends all bans of a jail that is no more. What is remembered of its sources stays, as
    /// if the bans had ended in their time. Gives how many bans there were.
    ///
    /// # Errors
    /// When they cannot be removed.
    pub fn end_bans(&mut self, jail: &JailName) -> Result<usize, StoreError> {
        self.wait_for_disk(Durability::Now)?;
        let remove = |table: &str| {
            let sql =
                format!("DELETE FROM {table} WHERE jail IN (SELECT id FROM jail WHERE name = ?1)");
            self.connection
                .execute(&sql, [jail.as_str()])
                .map_err(self.failed("ending the bans of a jail"))
        };
        remove("awaited")?;
        remove("ban")
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
            .filter(|ban| sources.is_none_or(|all| all.iter().any(|whom| ban.ends_with(*whom))))
            .collect();
        let names: Vec<JailName> = others.iter().map(|ban| ban.jail.clone()).collect();
        let unban = |(jail, ban): (JailId, &StoredBan)| {
            [
                Change::Unban { jail, source: ban.source },
                Change::Forget { jail, source: ban.source, before: None },
                Change::Remember { jail, source: ban.source, past: None },
                Change::Decided { jail, source: ban.source },
            ]
        };
        let changes: Vec<Change> = (0..).map(JailId).zip(&others).flat_map(unban).collect();
        self.persist(&changes, &names)
    }
}

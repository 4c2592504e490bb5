//! What the store promises, as plain tables: the simulation's cheap store.
//!
//! Input: transactions. Output: what the engine is given at a start. What holds: a
//! transaction is whole or not at all; a kill of the agent costs none that was made; a
//! power loss costs at most those that were made since the last one with a ban, an end of a
//! ban, a ban that waits for an answer or a pardon, and of these the last ones first.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;

use guard::core::addr::Prefix;
use guard::core::delta::Ban;
use guard::core::effects::Change;
use guard::core::engine::Stored;
use guard::core::entry::Position;
use guard::core::failure::Failure;
use guard::core::history::Past;
use guard::core::jail::{JailId, JailName};
use guard::core::time::Timestamp;
use guard::daemon::keep::Keep;
use guard::daemon::perform::Total;
use guard::store::fill::{Rewrite, Whole};
use guard::store::{StoreError, Totals};

use crate::faults::{self, Numbers, Place, reach};

/// All tables.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tables {
    pub(crate) bans: BTreeMap<(u16, Prefix), Ban>,
    pub(crate) failures: Vec<(Failure, u32)>,
    pub(crate) pardons: BTreeMap<(u16, Option<Prefix>), Timestamp>,
    pub(crate) history: BTreeMap<(u16, Prefix), Past>,
    pub(crate) awaited: BTreeMap<(u16, Prefix), Ban>,
    pub(crate) position: Option<Position>,
    /// Failures and bans of each jail.
    pub(crate) totals: BTreeMap<u16, (u64, u64)>,
}

#[derive(Default)]
struct Memory {
    synced: Tables,
    unsynced: Vec<Vec<Change>>,
}

thread_local! {
    static MEMORY: RefCell<Memory> = RefCell::default();
}

/// Empties the calling thread's store.
pub(crate) fn clear() {
    MEMORY.set(Memory::default());
}

/// What the calling thread's store holds.
pub(crate) fn tables() -> Tables {
    MEMORY.with_borrow(Memory::tables)
}

/// The power is gone and back.
pub(crate) fn lose_power(number: u64) {
    MEMORY.with_borrow_mut(|memory| {
        let kept = Numbers(number).below(memory.unsynced.len() + 1);
        memory.unsynced.truncate(kept);
        memory.sync();
    });
}

impl Memory {
    fn tables(&self) -> Tables {
        let mut tables = self.synced.clone();
        self.unsynced.iter().for_each(|changes| tables.apply(changes));
        tables
    }

    fn sync(&mut self) {
        for changes in std::mem::take(&mut self.unsynced) {
            self.synced.apply(&changes);
        }
    }
}

/// Whether a power loss must not undo it.
fn lasts(change: &Change) -> bool {
    matches!(
        change,
        Change::Ban(_)
            | Change::Prolong(_)
            | Change::Unban { .. }
            | Change::Await(_)
            | Change::Pardon { until: Some(_), .. }
    )
}

/// The calling thread's store, as the agent has it.
#[derive(Debug)]
pub(crate) struct Kept;

impl Keep for Kept {
    fn persist(&mut self, changes: &[Change], _: &[JailName]) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        reach(Place::Write).map_err(refused)?;
        MEMORY.with_borrow_mut(|memory| {
            memory.unsynced.push(changes.to_vec());
            if changes.iter().any(lasts) {
                memory.sync();
            }
        });
        // It may die before it knows.
        reach(Place::Transaction).map_err(refused)
    }

    fn unban_others(&mut self, _: &[JailName], _: Option<&[Prefix]>) -> Result<(), StoreError> {
        Ok(())
    }

    fn record_drops(&mut self, _: Timestamp, _: u64, _: u64) -> Result<(), StoreError> {
        Ok(())
    }

    fn unban(
        &mut self,
        _: Option<&JailName>,
        _: Option<&[Prefix]>,
        _: Timestamp,
    ) -> Result<(), StoreError> {
        unreachable!("every store here can be read")
    }

    fn fill(&mut self, rewrite: Rewrite, whole: Whole<'_>) -> Result<(), StoreError> {
        let Whole { changes, totals, jails, .. } = whole;
        assert_eq!(rewrite, Rewrite::Afresh, "every store here can be read");
        reach(Place::Write).map_err(refused)?;
        // Nothing of what it had is left: what is known must be all.
        let mut tables = Tables::default();
        tables.apply(&changes.collect::<Vec<Change>>());
        tables.totals.clear();
        for Totals { jail, failures, bans } in totals {
            let jail = jails.iter().position(|name| name == jail).expect("a jail");
            let jail = u16::try_from(jail).expect("few");
            tables.totals.insert(jail, (*failures, *bans));
        }
        MEMORY.set(Memory { synced: tables, unsynced: Vec::new() });
        reach(Place::Transaction).map_err(refused)
    }

    fn wants_filling(&mut self) -> Option<Rewrite> {
        faults::lacking().then_some(Rewrite::Afresh)
    }
}

fn refused(failure: faults::Failure) -> StoreError {
    StoreError::Unwritable { path: "model".into(), cause: io::Error::other(format!("{failure:?}")) }
}

impl Tables {
    /// Makes the changes of one transaction.
    pub(crate) fn apply(&mut self, changes: &[Change]) {
        for change in changes {
            match change.clone() {
                Change::Count { failure, weight } => {
                    self.totals.entry(failure.jail.0).or_default().0 += 1;
                    self.failures.push((failure, weight));
                }
                Change::Forget { jail, source, before } => self.failures.retain(|(failure, _)| {
                    (failure.jail, failure.source) != (jail, source)
                        || before.is_some_and(|before| failure.time >= before)
                }),
                Change::Ban(ban) => {
                    self.totals.entry(ban.jail.0).or_default().1 += 1;
                    self.bans.insert((ban.jail.0, ban.source), ban);
                }
                Change::Prolong(ban) => _ = self.bans.insert((ban.jail.0, ban.source), ban),
                Change::Unban { jail, source } => _ = self.bans.remove(&(jail.0, source)),
                Change::Position(position) => self.position = Some(position),
                Change::Pardon { jail, source, until: Some(until) } => {
                    self.pardons.insert((jail.0, source), until);
                }
                Change::Pardon { jail, source, until: None } => {
                    self.pardons.remove(&(jail.0, source));
                }
                Change::Remember { jail, source, past: Some(past) } => {
                    self.history.insert((jail.0, source), past);
                }
                Change::Remember { jail, source, past: None } => {
                    self.history.remove(&(jail.0, source));
                }
                Change::Await(ban) => _ = self.awaited.insert((ban.jail.0, ban.source), ban),
                Change::Decided { jail, source } => _ = self.awaited.remove(&(jail.0, source)),
                Change::AwaitName { .. }
                | Change::NameDecided { .. }
                | Change::Correlate { .. }
                | Change::Listed { .. } => unreachable!("no jail here asks for names"),
            }
        }
    }

    /// Totals of so many jails.
    pub(crate) fn totals(&self, jails: usize) -> Vec<Total> {
        let of = |jail| self.totals.get(&jail).copied().unwrap_or_default();
        let total = |(failures, bans)| Total { failures, bans };
        (0..).take(jails).map(|jail| total(of(jail))).collect()
    }

    /// As the engine is given it.
    pub(crate) fn stored(&self) -> Stored {
        let by_key =
            |(&(jail, source), &past): (&(u16, Prefix), &Past)| (JailId(jail), source, past);
        let pardon = |(&(jail, source), &until): (&(u16, Option<Prefix>), &Timestamp)| {
            (JailId(jail), source, until)
        };
        Stored {
            bans: self.bans.values().copied().collect(),
            failures: self.failures.clone(),
            history: self.history.iter().map(by_key).collect(),
            awaited: self.awaited.values().copied().collect(),
            pardons: self.pardons.iter().map(pardon).collect(),
            ..Stored::default()
        }
    }
}

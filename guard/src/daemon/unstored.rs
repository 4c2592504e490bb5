//! Changes that the store does not have yet.
//!
//! Input: what each input led to, in the order of the inputs. Output: transactions for the
//! store, in that order. Invariants: what one input led to is in one transaction; what the
//! store refused is kept until it takes it; instead of more than [`MOST`] changes, and for a
//! store that lacks more than these, all that is known is written in one transaction.
//!
//! If the agent ends with something held, the store has neither these changes nor the
//! positions after them: what the log still has is read again.

use std::collections::{BTreeMap, VecDeque};

use crate::core::addr::Prefix;
use crate::core::effects::Change;
use crate::core::engine::Engine;
use crate::core::entry::Position;
use crate::core::jail::JailName;
use crate::core::reason::Reason;
use crate::daemon::keep::Keep;
use crate::daemon::perform::Total;
use crate::store::fill::Filling;
use crate::store::{StoreError, Totals};

/// So many changes are held one by one: some ten megabytes, the failures of a day on a host
/// that is attacked as usual.
const MOST: usize = 100_000;
/// Changes that make one transaction, so that what was held for long is written fast.
const AT_ONCE: usize = 1_000;

/// What waits for the store.
#[derive(Debug, Default)]
pub struct Unstored {
    units: VecDeque<Unit>,
    /// Changes in them.
    changes: usize,
    /// All that is known is to be written after them.
    filling: Option<Filling>,
    /// Changes that are not held, because all that is known will have them.
    known: usize,
    /// How far each source was read.
    positions: BTreeMap<String, Position>,
}

/// All that is known.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// What decides.
    pub engine: &'a Engine,
    /// Names of the started jails, by [`JailId`](crate::core::jail::JailId).
    pub names: &'a [JailName],
    /// Totals of the started jails.
    pub totals: &'a [Total],
}

#[derive(Debug)]
enum Unit {
    Changes(Vec<Change>),
    /// An end of bans in all jails that are not started.
    Others(Option<Vec<Prefix>>),
}

impl Unstored {
    /// Holds nothing, after the sources were read up to here.
    pub fn new(positions: &[Position]) -> Self {
        let mut new = Self::default();
        positions.iter().for_each(|position| new.note(position));
        new
    }

    /// Whether the store has everything.
    pub fn is_empty(&self) -> bool {
        self.units.is_empty() && self.filling.is_none()
    }

    /// How many changes the store does not have.
    pub fn len(&self) -> usize {
        self.changes + self.known
    }

    /// Adds what one input led to.
    pub fn push(&mut self, mut changes: Vec<Change>) {
        for change in &changes {
            if let Change::Position(position) = change {
                self.note(position);
            }
        }
        if let Some(filling) = self.filling {
            let before = changes.len();
            changes.retain(|change| is_held(change, filling));
            self.known += before - changes.len();
        }
        if changes.is_empty() {
            return;
        }
        self.append(changes);
        if self.changes > MOST {
            match self.filling {
                // What nobody could read for so long ends when it says itself.
                Some(_) => self.units.clear(),
                None => self.fill(Filling::Afresh),
            }
            self.recount();
        }
    }

    /// Adds an end of bans in jails that are not started.
    pub fn push_others(&mut self, sources: Option<Vec<Prefix>>) {
        self.changes += 1;
        self.units.push_back(Unit::Others(sources));
    }

    /// From now on all that is known is to be written, whatever the store has.
    pub fn fill(&mut self, filling: Filling) {
        self.filling = Some(filling);
        self.units.retain_mut(|unit| match unit {
            Unit::Others(_) => true,
            Unit::Changes(changes) => {
                changes.retain(|change| is_held(change, filling));
                !changes.is_empty()
            }
        });
        self.recount();
    }

    /// Has the store make one transaction of the oldest of them, or else of all that is known.
    ///
    /// # Errors
    /// As [`Keep::persist`]; it is still held then.
    pub fn write_one(&mut self, store: &mut dyn Keep, known: Known<'_>) -> Result<(), StoreError> {
        let names = known.names;
        match (self.units.front(), self.filling) {
            (Some(Unit::Changes(changes)), _) => store.persist(changes, names)?,
            (Some(Unit::Others(sources)), _) => store.unban_others(names, sources.as_deref())?,
            (None, Some(filling)) => {
                let positions = self.positions.values().cloned().map(Change::Position);
                let wanted = known.engine.knowledge().filter(|change| !is_guess(change, filling));
                let totals = if filling == Filling::Afresh { known.totals() } else { Vec::new() };
                store.fill(filling, &mut wanted.chain(positions), &totals, names)?;
                (self.filling, self.known) = (None, 0);
            }
            (None, None) => {}
        }
        self.units.pop_front();
        self.recount();
        Ok(())
    }

    fn append(&mut self, mut changes: Vec<Change>) {
        match self.units.back_mut() {
            Some(Unit::Changes(last)) if last.len() + changes.len() <= AT_ONCE => {
                let before = last.len();
                // In one transaction only the last position of a source is ever seen.
                last.retain(|change| !is_overtaken(change, &changes));
                last.append(&mut changes);
                self.changes = self.changes + last.len() - before;
            }
            _ => {
                self.changes += changes.len();
                self.units.push_back(Unit::Changes(changes));
            }
        }
    }

    fn note(&mut self, position: &Position) {
        match self.positions.get_mut(&position.source) {
            Some(known) => known.clone_from(position),
            None => _ = self.positions.insert(position.source.clone(), position.clone()),
        }
    }

    fn recount(&mut self) {
        let count = |unit: &Unit| match unit {
            Unit::Changes(changes) => changes.len(),
            Unit::Others(_) => 1,
        };
        self.changes = self.units.iter().map(count).sum();
    }
}

impl Known<'_> {
    fn totals(&self) -> Vec<Totals> {
        let of = |(jail, total): (&JailName, &Total)| Totals {
            jail: jail.clone(),
            failures: total.failures,
            bans: total.bans,
        };
        self.names.iter().zip(self.totals).map(of).collect()
    }
}

/// Whether a change is not in what is known later: the end of a ban that only a store knows
/// which nobody could read.
fn is_held(change: &Change, filling: Filling) -> bool {
    filling == Filling::Beside && matches!(change, Change::Unban { .. })
}

/// Whether it is a ban that was taken over from the kernel, and which a store that nobody could
/// read has with its true end and reason.
fn is_guess(change: &Change, filling: Filling) -> bool {
    let Change::Prolong(ban) = change else { return false };
    filling == Filling::Beside && matches!(ban.reason, Reason::Failures { count: 0, .. })
}

fn is_overtaken(change: &Change, by: &[Change]) -> bool {
    let Change::Position(old) = change else { return false };
    by.iter().any(|new| matches!(new, Change::Position(new) if new.source == old.source))
}

#[cfg(test)]
mod tests;

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
use crate::core::time::Timestamp;
use crate::daemon::keep::Keep;
use crate::daemon::perform::Total;
use crate::store::fill::{Rewrite, Whole};
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
    rewrite: Option<Rewrite>,
    /// Changes that are not held, because all that is known will have them.
    known: usize,
    /// The store has what nobody knows.
    unread: bool,
    /// It was given the totals of what was counted while nobody could read it.
    added: bool,
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
    /// An end of bans by hand, which a store that nobody could read may have: of one jail or of
    /// all, of these sources or of everybody.
    Ordered(Option<JailName>, Option<Vec<Prefix>>, Timestamp),
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
        self.units.is_empty() && self.rewrite.is_none()
    }

    /// Whether writing it takes long.
    pub fn is_large(&self) -> bool {
        self.rewrite.is_some()
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
        if self.rewrite.is_some() {
            self.known += changes.len();
            return;
        }
        if changes.is_empty() {
            return;
        }
        self.append(&mut changes);
        if self.changes > MOST {
            self.fill(if self.unread { Rewrite::Beside } else { Rewrite::Afresh });
        }
    }

    /// Adds an end of bans by hand: among the changes that it led to are only those of bans that
    /// are known. Said again, it is held once.
    pub fn push_ordered(
        &mut self,
        jail: Option<&JailName>,
        sources: Option<&[Prefix]>,
        now: Timestamp,
    ) {
        if !self.unread {
            return;
        }
        let is_same = |unit: &Unit| match unit {
            Unit::Ordered(of, whom, _) => of.as_ref() == jail && whom.as_deref() == sources,
            _ => false,
        };
        self.units.retain(|unit| !is_same(unit));
        let sources = sources.map(<[Prefix]>::to_vec);
        self.units.push_back(Unit::Ordered(jail.cloned(), sources, now));
        self.recount();
    }

    /// Adds an end of bans in jails that are not started.
    pub fn push_others(&mut self, sources: Option<Vec<Prefix>>) {
        self.changes += 1;
        self.units.push_back(Unit::Others(sources));
    }

    /// From now on all that is known is to be written, whatever the store has.
    pub fn fill(&mut self, rewrite: Rewrite) {
        self.rewrite = Some(rewrite);
        self.unread = rewrite == Rewrite::Beside;
        let before = self.changes;
        let unread = self.unread;
        // What is known has what came of the changes; not the ends of bans of which it does not
        // know how long they were to last.
        self.units.retain(|unit| match unit {
            Unit::Others(_) => true,
            Unit::Ordered(..) => unread,
            Unit::Changes(_) => false,
        });
        self.recount();
        self.known += before.saturating_sub(self.changes);
    }

    /// Has the store make one transaction of the oldest of them, or else of all that is known.
    ///
    /// # Errors
    /// As [`Keep::persist`]; it is still held then.
    pub fn write_one(&mut self, store: &mut dyn Keep, known: Known<'_>) -> Result<(), StoreError> {
        let names = known.names;
        match (self.units.front(), self.rewrite) {
            (Some(Unit::Changes(changes)), _) => store.persist(changes, names)?,
            (Some(Unit::Others(sources)), _) => store.unban_others(names, sources.as_deref())?,
            (Some(Unit::Ordered(jail, sources, now)), _) => {
                store.unban(jail.as_ref(), sources.as_deref(), *now)?;
            }
            (None, Some(rewrite)) => {
                let positions = self.positions.values().cloned().map(Change::Position);
                // Beside what nobody has read, what was counted since.
                let added = rewrite == Rewrite::Beside && self.added;
                let whole = Whole {
                    changes: &mut known.engine.knowledge().chain(positions),
                    totals: &if added { Vec::new() } else { known.totals() },
                    jails: names,
                    history: known.engine.remembers_bans(),
                };
                store.fill(rewrite, whole)?;
                (self.rewrite, self.known) = (None, 0);
                self.added |= rewrite == Rewrite::Beside;
            }
            (None, None) => {}
        }
        self.units.pop_front();
        self.recount();
        Ok(())
    }

    fn append(&mut self, changes: &mut Vec<Change>) {
        match self.units.back_mut() {
            Some(Unit::Changes(last)) if last.len() + changes.len() <= AT_ONCE => {
                let before = last.len();
                // In one transaction only the last position of a source is ever seen.
                last.retain(|change| !is_overtaken(change, changes));
                last.append(changes);
                self.changes = self.changes + last.len() - before;
            }
            _ => {
                self.changes += changes.len();
                self.units.push_back(Unit::Changes(std::mem::take(changes)));
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
            Unit::Others(_) | Unit::Ordered(..) => 1,
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

fn is_overtaken(change: &Change, by: &[Change]) -> bool {
    let Change::Position(old) = change else { return false };
    by.iter().any(|new| matches!(new, Change::Position(new) if new.source == old.source))
}

#[cfg(test)]
mod tests;

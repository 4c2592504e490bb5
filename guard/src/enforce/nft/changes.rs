//! From changes of the ban set to what changes in the kernel's sets.
//!
//! Input: deltas. Output: [`Changes`], sources that come and go in each set. Prefixes are
//! taken note of on the way, since what their set holds depends on all of them.

use std::collections::HashMap;

use crate::core::addr::Prefix;
use crate::core::delta::{Ban, Delta};
use crate::core::jail::JailId;
use crate::core::time::Timestamp;
use crate::enforce::EnforceError;
use crate::enforce::nft::nets::Turnover;
use crate::enforce::nft::rule::Family;
use crate::enforce::nft::{Nft, is_live};

/// What changes.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) sets: Vec<Change>,
    /// The prefixes that are banned since, or are not any more.
    noted: Vec<((JailId, Family), Prefix, bool)>,
}

/// What changes in one set.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) jail: JailId,
    pub(super) family: Family,
    pub(super) add: Vec<Prefix>,
    pub(super) remove: Vec<Prefix>,
}

impl Nft {
    /// What is left to do when the last change of each jail and source counts. Takes
    /// note of the prefixes among them.
    pub(super) fn changes(
        &mut self,
        deltas: &[Delta],
        now: Timestamp,
    ) -> Result<Changes, EnforceError> {
        let mut last = HashMap::with_capacity(deltas.len());
        for delta in deltas {
            match delta {
                Delta::Ban(ban) => last.insert((ban.jail, ban.source), is_live(ban, now)),
                Delta::Unban { jail, source } => last.insert((*jail, *source), false),
            };
        }
        for (jail, _) in last.keys() {
            self.jail(*jail)?;
        }
        let mut changes = Changes::default();
        let mut places = HashMap::new();
        let mut turnovers: HashMap<usize, Turnover> = HashMap::new();
        for delta in deltas {
            let (Delta::Ban(Ban { jail, source, .. }) | Delta::Unban { jail, source }) = delta;
            let Some(banned) = last.remove(&(*jail, *source)) else { continue };
            let (set, source) = ((*jail, Family::of(*source)), *source);
            if !banned && set.1 != Family::V4 && !self.present.contains(&set) {
                continue;
            }
            let place = *places.entry(set).or_insert_with(|| {
                let (add, remove) = (Vec::new(), Vec::new());
                changes.sets.push(Change { jail: set.0, family: set.1, add, remove });
                changes.sets.len() - 1
            });
            if !source.is_host() {
                let (nets, turnover) = (self.nets.entry(set).or_default(), turnovers.entry(place));
                let noted = match banned {
                    true => nets.insert(source, turnover.or_default()),
                    false => nets.remove(source, turnover.or_default()),
                };
                changes.noted.extend(noted.then_some((set, source, banned)));
                continue;
            }
            let change = &mut changes.sets[place];
            let list = if banned { &mut change.add } else { &mut change.remove };
            list.push(source);
        }
        for (place, turnover) in turnovers {
            let change = &mut changes.sets[place];
            (change.add, change.remove) = (turnover.of(true), turnover.of(false));
        }
        Ok(changes)
    }

    /// Forgets the prefixes that were taken note of for a change that did not come.
    pub(super) fn forget(&mut self, changes: Changes) {
        for (set, source, banned) in changes.noted.into_iter().rev() {
            let nets = self.nets.entry(set).or_default();
            let mut turnover = Turnover::default();
            _ = match banned {
                true => nets.remove(source, &mut turnover),
                false => nets.insert(source, &mut turnover),
            };
        }
    }
}

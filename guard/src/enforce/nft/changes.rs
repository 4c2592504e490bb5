//! From changes of the ban set to what changes in the kernel's sets.
//!
//! Input: deltas. Output: [`Changes`], sources that come and go in each set. Prefixes are
//! taken note of on the way, since what their set holds depends on all of them.

use std::collections::HashMap;

use crate::core::addr::Prefix;
use crate::core::delta::Delta;
use crate::core::jail::JailId;
use crate::core::time::Timestamp;
use crate::enforce::EnforceError;
use crate::enforce::nft::Nft;
use crate::enforce::nft::nets::{Allowed, Turnover};
use crate::enforce::nft::plan::is_live;
use crate::enforce::nft::rule::Family;

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
        let mut allowed = self.allowed.clone();
        let mut touched = Vec::new();
        for delta in deltas {
            match delta {
                Delta::Ban(ban) => _ = last.insert((ban.jail, ban.source), is_live(ban, now)),
                Delta::Unban { jail, source } => _ = last.insert((*jail, *source), false),
                Delta::Allow(prefix) => {
                    allowed.insert(*prefix);
                    touched.push(*prefix);
                }
                Delta::Disallow(prefix) => {
                    allowed.remove(prefix);
                    touched.push(*prefix);
                }
            }
        }
        for (jail, _) in last.keys() {
            self.jail(*jail)?;
        }
        let mut changes = Changes::default();
        let mut places = HashMap::new();
        let mut turnovers: HashMap<(JailId, Family), Turnover> = HashMap::new();
        if !touched.is_empty() {
            self.allow(allowed, &touched, &mut turnovers);
        }
        for (jail, source) in deltas.iter().filter_map(Delta::of_ban) {
            let Some(banned) = last.remove(&(jail, source)) else { continue };
            let set = (jail, Family::of(source));
            if !banned && set.1 != Family::V4 && !self.present.contains(&set) {
                continue;
            }
            if !source.is_host() {
                let nets = self.nets.entry(set).or_default();
                let turnover = turnovers.entry(set).or_default();
                let noted = match banned {
                    true => nets.insert(source, &self.allowed, turnover),
                    false => nets.remove(source, &self.allowed, turnover),
                };
                changes.noted.extend(noted.then_some((set, source, banned)));
                continue;
            }
            let place = *places.entry(set).or_insert_with(|| {
                let (add, remove) = (Vec::new(), Vec::new());
                changes.sets.push(Change { jail: set.0, family: set.1, add, remove });
                changes.sets.len() - 1
            });
            let change = &mut changes.sets[place];
            let list = if banned { &mut change.add } else { &mut change.remove };
            list.push(source);
        }
        for ((jail, family), turnover) in turnovers {
            let (add, remove) = (turnover.of(true), turnover.of(false));
            changes.sets.push(Change { jail, family, add, remove });
        }
        Ok(changes)
    }

    /// Takes note of who is allowed from now on.
    fn allow(
        &mut self,
        allowed: Allowed,
        touched: &[Prefix],
        turnovers: &mut HashMap<(JailId, Family), Turnover>,
    ) {
        let mut before = std::mem::take(&mut self.allowed);
        for prefix in touched {
            let mut after = before.clone();
            match allowed.contains(prefix) {
                true => after.insert(*prefix),
                false => after.remove(prefix),
            };
            for (set, nets) in &self.nets {
                if set.1.is_ipv4() == prefix.is_ipv4() {
                    nets.allow(*prefix, &before, &after, turnovers.entry(*set).or_default());
                }
            }
            before = after;
        }
        self.allowed = allowed;
    }

    /// Forgets the prefixes that were taken note of for a change that did not come.
    pub(super) fn forget(&mut self, changes: Changes) {
        for (set, source, banned) in changes.noted.into_iter().rev() {
            self.nets.entry(set).or_default().forget(source, banned);
        }
    }
}

//! The bans of prefixes that the maps were last made to hold, and who is let through
//! inside of them.
//!
//! A look-up in the kernel finds the longest prefix that contains an address and nothing of
//! the shorter ones. So an entry says what is cut off by its prefix and by every banned one
//! around it; and an allowed prefix inside a banned one has an entry that cuts nothing off.
//! What is banned inside of an allowed prefix was so by force: it stays cut off, by what is
//! banned there.

use std::collections::{BTreeMap, BTreeSet};

use guard_common::layout::{Ban, NetBan};

use super::bans::{JailHold, boot_nanos};
use super::classes::Classes;
use super::nested::Nested;
use super::value::{Hold, compile};
use crate::core::addr::Prefix;
use crate::core::delta::{Delta, Snapshot};
use crate::enforce::{EnforceError, Moment};

/// What is banned and allowed of prefixes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    bans: Nested<Vec<JailHold>>,
    allowed: Nested<()>,
}

/// What a change touches: the prefixes whose entries may become others, and whether the
/// map has one of them now.
pub(super) type Touched = BTreeMap<Prefix, bool>;

impl Known {
    /// What a snapshot says.
    pub(super) fn of(desired: &Snapshot, now: Moment) -> Self {
        let mut known = Self::default();
        let lasting = |until: Option<_>| until.is_none_or(|until| until > now.wall);
        for ban in &desired.bans {
            if !ban.source.is_host() && lasting(ban.until) {
                let hold = JailHold { jail: ban.jail, until: boot_nanos(ban.until, now) };
                match known.bans.get_mut(&ban.source) {
                    Some(list) => list.push(hold),
                    None => _ = known.bans.insert(ban.source, vec![hold]),
                }
            }
        }
        for prefix in &desired.allowed {
            known.allowed.insert(*prefix, ());
        }
        known
    }

    /// The bans of a prefix.
    pub(super) fn bans_of(&self, prefix: &Prefix) -> Option<&Vec<JailHold>> {
        self.bans.get(prefix)
    }

    /// Every prefix for which the map has an entry.
    pub(super) fn entries(&self) -> BTreeSet<Prefix> {
        let holes = self.allowed.prefixes().filter(|prefix| self.is_hole(*prefix));
        self.bans.prefixes().chain(holes).collect()
    }

    /// Takes note of changes; gives what they touch, nothing when none is of a prefix.
    pub(super) fn change(&mut self, deltas: &[Delta], now: Moment) -> Touched {
        let matters = |delta: &&Delta| match delta {
            Delta::Ban(ban) => !ban.source.is_host(),
            Delta::Unban { source, .. } => !source.is_host(),
            Delta::Allow(_) | Delta::Disallow(_) => true,
        };
        let mut touched = Touched::new();
        for delta in deltas.iter().filter(matters) {
            let changed = match delta {
                Delta::Ban(ban) => ban.source,
                Delta::Unban { source, .. } => *source,
                Delta::Allow(prefix) | Delta::Disallow(prefix) => *prefix,
            };
            self.touch(changed, &mut touched);
            match delta {
                Delta::Ban(ban) => {
                    let hold = JailHold { jail: ban.jail, until: boot_nanos(ban.until, now) };
                    self.change_bans(changed, |list| {
                        list.retain(|hold| hold.jail != ban.jail);
                        list.push(hold);
                    });
                }
                Delta::Unban { jail, .. } => {
                    self.change_bans(changed, |list| list.retain(|hold| hold.jail != *jail));
                }
                Delta::Allow(_) => _ = self.allowed.insert(changed, ()),
                Delta::Disallow(_) => _ = self.allowed.remove(&changed),
            }
        }
        touched
    }

    /// Notes every prefix whose entry depends on another, with whether it has one.
    fn touch(&self, changed: Prefix, touched: &mut Touched) {
        let depending = self.bans.within(changed).chain(self.allowed.within(changed));
        for prefix in depending.chain([changed]) {
            touched.entry(prefix).or_insert_with(|| self.has_entry(prefix));
        }
    }

    fn change_bans(&mut self, prefix: Prefix, change: impl FnOnce(&mut Vec<JailHold>)) {
        let mut list = self.bans.remove(&prefix).unwrap_or_default();
        change(&mut list);
        if !list.is_empty() {
            self.bans.insert(prefix, list);
        }
    }

    fn has_entry(&self, prefix: Prefix) -> bool {
        self.bans.get(&prefix).is_some() || self.is_hole(prefix)
    }

    /// Whether an allowed prefix needs an entry: where one around it is banned, and it is
    /// not banned itself.
    fn is_hole(&self, prefix: Prefix) -> bool {
        self.allowed.get(&prefix).is_some()
            && self.bans.get(&prefix).is_none()
            && self.bans.around(prefix).next().is_some()
    }

    /// The bans that cut a prefix off: its own, and those around it up to the first allowed
    /// prefix.
    fn around(&self, prefix: Prefix) -> impl Iterator<Item = &JailHold> {
        let allowed = self.allowed.around(prefix).next_back();
        let from = allowed.map_or(0, |(allowed, ())| allowed.length());
        let bans = self.bans.around(prefix).filter(move |(around, _)| around.length() >= from);
        bans.flat_map(|(_, list)| list)
    }

    /// What the map is to hold for a prefix; nothing when no ban of it lasts.
    pub(super) fn value(
        &self,
        prefix: Prefix,
        classes: &Classes,
        now: Moment,
    ) -> Result<Option<NetBan>, EnforceError> {
        let slots = |list: &mut dyn Iterator<Item = &JailHold>| -> Result<_, EnforceError> {
            let mut held = list
                .map(|hold| Ok(Hold { class: classes.bit(hold.jail)?, until: hold.until }))
                .collect::<Result<Vec<_>, EnforceError>>()?;
            Ok(compile(&mut held, now.boot_nanos).map(|compiled| compiled.slots))
        };
        if self.is_hole(prefix) {
            return Ok(Some(NetBan::default()));
        }
        let Some(own) = self.bans.get(&prefix) else { return Ok(None) };
        let Some(own) = slots(&mut own.iter())? else { return Ok(None) };
        let around = slots(&mut self.around(prefix))?.unwrap_or_default();
        Ok(Some(NetBan { ban: Ban { slots: around, ..Ban::default() }, own }))
    }
}

//! The prefix maps: what they hold for each banned prefix, made so and read back.
//!
//! A look-up in the kernel finds the longest banned prefix that contains an address, and
//! nothing of the shorter ones. So the entry of a prefix says what is cut off by itself
//! and by every banned prefix around it, and a change of one prefix rewrites the entries
//! of all that lie in it. What a prefix says of itself alone stands beside that in the
//! entry, so that the kernel alone tells which bans there are.
//!
//! Input: snapshots and changes. Output: [`Steps`], in two halves. Whoever is banned
//! before and after a change may be so by a prefix before and by an address after, or
//! the other way round: [`Nets::grow`] comes before the addresses change and lets nobody
//! out, [`Nets::shrink`] comes after and lets nobody in.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

use guard_common::layout::{Ban, NetBan, NetV4, NetV6, SLOTS, SOME_V4, SOME_V6, Slot};
use guard_common::names::{BANS_V4_NETS, BANS_V6_NETS};

use super::bans::{exactly, held_by};
use super::classes::Classes;
use super::known::Known;
use super::map::Map;
use super::value::{Hold, alike, compile, holds};
use crate::core::addr::Prefix;
use crate::core::delta::{Delta, Snapshot};
use crate::enforce::{EnforceError, Held, Moment};

/// The prefix maps of both families.
#[derive(Debug)]
pub(super) struct Nets {
    pub(super) v4: Map<NetV4, NetBan>,
    pub(super) v6: Map<NetV6, NetBan>,
    known: Known,
}

/// What is to be done to the maps.
#[derive(Debug)]
pub(super) struct Steps {
    steps: Vec<Step>,
    /// What is known from then on, if that is something else altogether.
    known: Option<Known>,
}

impl Steps {
    /// How many entries change.
    pub(super) fn len(&self) -> usize {
        self.steps.len()
    }
}

/// What becomes of one entry.
#[derive(Clone, Copy, Debug)]
struct Step {
    prefix: Prefix,
    present: Option<NetBan>,
    /// What it holds while addresses change; at least what it held and will hold.
    between: Option<NetBan>,
    wanted: Option<NetBan>,
}

impl Nets {
    pub(super) fn new(v4: Map<NetV4, NetBan>, v6: Map<NetV6, NetBan>) -> Self {
        Self { v4, v6, known: Known::default() }
    }

    /// What makes both maps hold exactly the snapshot's prefixes.
    pub(super) fn replacing(
        &self,
        desired: &Snapshot,
        classes: &Classes,
        now: Moment,
    ) -> Result<Steps, EnforceError> {
        let known = Known::of(desired, now);
        let present = self.entries()?;
        let mut all = known.entries();
        all.extend(present.keys());
        let mut steps = Vec::new();
        for prefix in all {
            let wanted = known.value(prefix, classes, now)?;
            steps.extend(step(prefix, present.get(&prefix).copied(), wanted, now));
        }
        Ok(Steps { steps, known: Some(known) })
    }

    /// What makes the changes so; nothing when there are none of prefixes. They are known
    /// from here on: when a step fails, only a whole snapshot makes good.
    pub(super) fn changing(
        &mut self,
        deltas: &[Delta],
        classes: &Classes,
        now: Moment,
    ) -> Result<Option<Steps>, EnforceError> {
        let touched = self.known.change(deltas, now);
        if touched.is_empty() {
            return Ok(None);
        }
        let mut steps = Vec::new();
        for (prefix, there) in touched {
            // A look-up that misses would find a prefix around this one.
            let present = if there { self.look_up(prefix)? } else { None };
            steps.extend(step(prefix, present, self.known.value(prefix, classes, now)?, now));
        }
        Ok(Some(Steps { steps, known: None }))
    }

    /// Writes what is new, on top of what is there. What lies in another comes before it: who
    /// is allowed is not cut off for a moment.
    pub(super) fn grow(&self, steps: &Steps) -> Result<(), EnforceError> {
        steps.steps.iter().rev().try_for_each(|step| match step.between {
            Some(value) => self.update(step.prefix, &value),
            None => Ok(()),
        })
    }

    /// Takes away what is to go; what is around others first.
    pub(super) fn shrink(&mut self, steps: Steps) -> Result<(), EnforceError> {
        for step in &steps.steps {
            match step.wanted {
                None if step.present.is_some() => self.delete(step.prefix)?,
                Some(wanted) if step.between != Some(wanted) => {
                    self.update(step.prefix, &wanted)?;
                }
                _ => {}
            }
        }
        if let Some(known) = steps.known {
            self.known = known;
        }
        Ok(())
    }

    /// Every ban of a prefix that the maps hold.
    pub(super) fn held(
        &self,
        classes: &Classes,
        now: Moment,
        found: &mut Vec<Held>,
    ) -> Result<(), EnforceError> {
        for (source, entry) in self.entries()? {
            let known = self.known.bans_of(&source);
            let own = Ban { slots: entry.own, ..Ban::default() };
            let dropped = Some(exactly(&entry.ban));
            found.extend(held_by(&own, known, source, dropped, classes, now));
        }
        Ok(())
    }

    /// Which of the maps have an entry, as `Meta::nets` says it.
    pub(super) fn some(&self) -> io::Result<u32> {
        let v4 = if self.v4.first_key()?.is_some() { SOME_V4 } else { 0 };
        let v6 = if self.v6.first_key()?.is_some() { SOME_V6 } else { 0 };
        Ok(v4 | v6)
    }

    fn entries(&self) -> Result<BTreeMap<Prefix, NetBan>, EnforceError> {
        let mut entries = BTreeMap::new();
        let read = |map, cause| failed(format!("read {map}"), cause);
        self.v4
            .each(|key, value| _ = entries.insert(key.prefix(), value))
            .map_err(|cause| read(BANS_V4_NETS, cause))?;
        self.v6
            .each(|key, value| _ = entries.insert(key.prefix(), value))
            .map_err(|cause| read(BANS_V6_NETS, cause))?;
        Ok(entries)
    }

    fn look_up(&self, prefix: Prefix) -> Result<Option<NetBan>, EnforceError> {
        let found = match prefix.address() {
            IpAddr::V4(_) => self.v4.look_up(&NetV4::of(prefix)),
            IpAddr::V6(_) => self.v6.look_up(&NetV6::of(prefix)),
        };
        found.map_err(|cause| failed(format!("look {prefix} up in {}", map_of(prefix)), cause))
    }

    fn update(&self, prefix: Prefix, value: &NetBan) -> Result<(), EnforceError> {
        let done = match prefix.address() {
            IpAddr::V4(_) => self.v4.update(&NetV4::of(prefix), value),
            IpAddr::V6(_) => self.v6.update(&NetV6::of(prefix), value),
        };
        done.map_err(|cause| {
            if cause.raw_os_error() == Some(libc::ENOSPC) {
                let limit = self.v4.info().max_entries as usize;
                return EnforceError::Full { what: map_of(prefix), limit };
            }
            failed(format!("ban {prefix} in {}", map_of(prefix)), cause)
        })
    }

    fn delete(&self, prefix: Prefix) -> Result<(), EnforceError> {
        let done = match prefix.address() {
            IpAddr::V4(_) => self.v4.delete(&NetV4::of(prefix)),
            IpAddr::V6(_) => self.v6.delete(&NetV6::of(prefix)),
        };
        done.map_err(|cause| failed(format!("remove {prefix} from {}", map_of(prefix)), cause))
    }
}

/// Key of a prefix map.
trait NetKey {
    fn of(prefix: Prefix) -> Self;
    fn prefix(self) -> Prefix;
}

impl NetKey for NetV4 {
    fn of(prefix: Prefix) -> Self {
        let mut address = [0; 8];
        if let IpAddr::V4(v4) = prefix.address() {
            address[..4].copy_from_slice(&v4.octets());
        }
        Self { length: prefix.length().into(), address }
    }

    fn prefix(self) -> Prefix {
        let [a, b, c, d, ..] = self.address;
        of_parts(IpAddr::from([a, b, c, d]), self.length)
    }
}

impl NetKey for NetV6 {
    fn of(prefix: Prefix) -> Self {
        let address = crate::enforce::mapped_octets(prefix.address());
        Self { length: prefix.length().into(), address }
    }

    fn prefix(self) -> Prefix {
        of_parts(IpAddr::from(self.address), self.length)
    }
}

/// A prefix as the kernel has it. What guard does not write, somebody else may have.
fn of_parts(address: IpAddr, length: u32) -> Prefix {
    let length = u8::try_from(length).unwrap_or(u8::MAX);
    Prefix::new(address, length).unwrap_or_else(|_| Prefix::host(address))
}

fn map_of(prefix: Prefix) -> &'static str {
    if prefix.is_ipv4() { BANS_V4_NETS } else { BANS_V6_NETS }
}

/// What is to be done to an entry, if it is not as it shall be.
fn step(
    prefix: Prefix,
    present: Option<NetBan>,
    wanted: Option<NetBan>,
    now: Moment,
) -> Option<Step> {
    let (present_now, wanted_now) = match (present, wanted) {
        (None, None) => return None,
        (Some(_), None) => return Some(Step { prefix, present, between: None, wanted }),
        (None, Some(_)) => return Some(Step { prefix, present, between: wanted, wanted }),
        (Some(present), Some(wanted)) => (present, wanted),
    };
    if alike(&present_now.ban.slots, &wanted_now.ban.slots)
        && alike(&present_now.own, &wanted_now.own)
    {
        return None;
    }
    let mut both: Vec<Hold> = holds(&present_now.ban.slots, now.boot_nanos)
        .chain(holds(&wanted_now.ban.slots, now.boot_nanos))
        .collect();
    let between = compile(&mut both, now.boot_nanos).map(|compiled| {
        let ban = with_slots(present_now.ban, compiled.slots);
        NetBan { ban, own: wanted_now.own }
    });
    let ban = with_slots(present_now.ban, wanted_now.ban.slots);
    Some(Step { prefix, present, between, wanted: Some(NetBan { ban, own: wanted_now.own }) })
}

/// Other slots, the same counters.
fn with_slots(ban: Ban, slots: [Slot; SLOTS]) -> Ban {
    Ban { slots, ..ban }
}

fn failed(operation: String, cause: io::Error) -> EnforceError {
    EnforceError::Kernel { operation, cause }
}

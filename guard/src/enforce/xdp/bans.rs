//! The ban maps: what they hold for each address, made so and read back. Prefixes are in
//! [`super::nets`].
//!
//! The kernel's entries are the only record of most bans: a change looks the entry up,
//! changes it and writes it back, counters included. Only where an entry cannot tell
//! its jails apart (more than [`SLOTS`](guard_common::layout::SLOTS) ends at one
//! address, or jails that share a class) the jails and ends are kept here as well.
//!
//! An entry is replaced as a whole under the kernel's bucket lock, so a packet meets
//! the old one or the new one. Entries go before new ones come, which cannot let
//! anybody out who stays banned, and makes room.

use std::collections::HashMap;
use std::io;

use guard_common::layout::{Ban, Counter, FOREVER, Slot};
use guard_common::names::SAMPLES_V4;

use super::classes::Classes;
use super::fill::{Filled, fill};
use super::map::Map;
use super::store::{Source, Store};
use super::table::BansV4;
use super::value::{Hold, alike, compile, holds};
use crate::core::addr::Prefix;
use crate::core::delta::{Ban as BanOfJail, Delta, Snapshot};
use crate::core::jail::{JailId, JailName};
use crate::core::time::Timestamp;
use crate::enforce::{Dropped, EnforceError, Held, Moment};

/// Changes that are looked at together.
const CHUNK: usize = 4096;

/// The ban maps of both families.
#[derive(Debug)]
pub(super) struct Bans {
    pub(super) v4: BansV4,
    pub(super) v6: Map<[u8; 16], Ban>,
    /// What entries cannot say of themselves.
    beyond: HashMap<Prefix, Vec<JailHold>>,
}

/// One ban of an address or a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct JailHold {
    pub(super) jail: JailId,
    pub(super) until: u64,
}

impl Bans {
    pub(super) fn new(v4: BansV4, v6: Map<[u8; 16], Ban>) -> Self {
        Self { v4, v6, beyond: HashMap::new() }
    }

    /// Makes both maps hold exactly the snapshot's bans of single addresses; how many
    /// entries that changed.
    pub(super) fn replace(
        &mut self,
        desired: &Snapshot,
        classes: &Classes,
        now: Moment,
    ) -> Result<usize, EnforceError> {
        self.beyond.clear();
        let Self { v4, v6, beyond } = self;
        let mut of_v6: &[_] = &desired.bans;
        let first = match fill(v4, beyond, desired, classes, now) {
            Ok(None) => replace_family(v4, beyond, &desired.bans, classes, now),
            Ok(Some(Filled { changed, more })) => {
                // A million that are none need not be looked at once more.
                of_v6 = if more { of_v6 } else { &[] };
                Ok(changed)
            }
            Err(error) => Err(error),
        };
        let second = replace_family(v6, beyond, of_v6, classes, now);
        Ok(first? + second?)
    }

    /// Makes the changes.
    pub(super) fn apply(
        &mut self,
        deltas: &[Delta],
        classes: &Classes,
        now: Moment,
    ) -> Result<(), EnforceError> {
        let Self { v4, v6, beyond } = self;
        let mut result = Ok(());
        for chunk in deltas.chunks(CHUNK) {
            result = result
                .and(apply_family(v4, beyond, chunk, classes, now))
                .and(apply_family(v6, beyond, chunk, classes, now));
        }
        result
    }

    /// Every ban that the maps hold.
    pub(super) fn held(&self, classes: &Classes, now: Moment) -> Result<Vec<Held>, EnforceError> {
        let mut found = Vec::new();
        let samples = self.v4.samples();
        let samples = samples.map_err(|cause| failed(format!("read {SAMPLES_V4}"), cause))?;
        let v4_dropped = |key: &[u8; 4], ban: &Ban| {
            if self.v4.is_counted(key) {
                return exactly(ban);
            }
            let Counter { packets, bytes } = samples.get(key).copied().unwrap_or_default();
            Dropped { packets, bytes, sampled: true }
        };
        held_family(&self.v4, v4_dropped, &self.beyond, classes, now, &mut found)?;
        held_family(&self.v6, |_, ban| exactly(ban), &self.beyond, classes, now, &mut found)?;
        Ok(found)
    }
}

/// The end of a ban on the kernel's clock.
pub(super) fn boot_nanos(until: Option<Timestamp>, now: Moment) -> u64 {
    let Some(until) = until else { return FOREVER };
    let left = i128::from(until.micros()) - i128::from(now.wall.micros());
    let at = i128::from(now.boot_nanos) + left * 1000;
    u64::try_from(at.max(0)).unwrap_or(FOREVER)
}

fn replace_family<K: Source, S: Store<K>>(
    map: &mut S,
    beyond: &mut HashMap<Prefix, Vec<JailHold>>,
    desired: &[BanOfJail],
    classes: &Classes,
    now: Moment,
) -> Result<usize, EnforceError> {
    let mut changed = 0;
    let mut wanted: Vec<(K, u32)> = (0..)
        .zip(desired)
        .filter(|(_, ban)| ban.source.is_host() && ban.until.is_none_or(|until| until > now.wall))
        .filter_map(|(place, ban)| Some((K::of(ban.source.address())?, place)))
        .collect();
    wanted.sort_unstable();
    let mut value_of = |group: &[(K, u32)]| -> Result<Option<Ban>, EnforceError> {
        let bans = group.iter().map(|&(_, place)| &desired[place as usize]);
        // Nearly all are the only ban of their address, and there may be a million.
        if let &[(_, place)] = group {
            let ban = &desired[place as usize];
            let (bit, until) = (classes.bit(ban.jail)?, boot_nanos(ban.until, now));
            if classes.jails(bit).len() == 1 && until > now.boot_nanos {
                let mut value = Ban::default();
                value.slots[0] = Slot { classes: 1 << bit, until };
                return Ok(Some(value));
            }
        }
        let list = bans
            .map(|ban| JailHold { jail: ban.jail, until: boot_nanos(ban.until, now) })
            .collect();
        value(group[0].0.prefix(), list, beyond, classes, now)
    };

    let heads = heads(&wanted);
    // What is there: removed, changed, or left as it is.
    let mut there = vec![0_u64; wanted.len().div_ceil(64)];
    let (mut keys, mut values) = (Vec::new(), Vec::new());
    let mut at = S::At::default();
    let mut more = true;
    while more {
        more = map
            .walk(&mut at, &mut keys, &mut values)
            .map_err(|cause| failed(format!("read {}", K::MAP), cause))?;
        let mut changes = Changes::default();
        for (key, present) in keys.iter().zip(&values) {
            // Only among those that begin alike: a search over all would miss the cache.
            let head = usize::from(key.head());
            let (first, last) = (heads[head] as usize, heads[head + 1] as usize);
            let start = first + wanted[first..last].partition_point(|(other, _)| other < key);
            let same = wanted[start..last].iter().take_while(|(other, _)| other == key);
            let end = start + same.count();
            if start == end {
                changes.gone.push(*key);
                continue;
            }
            there[start / 64] |= 1 << (start % 64);
            changes.add(*key, Some(*present), value_of(&wanted[start..end])?);
        }
        changed += changes.len();
        changes.make(map)?;
    }

    let groups = wanted.chunk_by(|a, b| a.0 == b.0).count();
    let found: u32 = there.iter().map(|word| word.count_ones()).sum();
    map.fit(groups - found as usize, now);
    let mut changes = Changes::default();
    let mut start = 0;
    for group in wanted.chunk_by(|a, b| a.0 == b.0) {
        if there[start / 64] >> (start % 64) & 1 == 0 {
            changes.add(group[0].0, None, value_of(group)?);
        }
        start += group.len();
        if changes.keys.len() >= CHUNK {
            changed += changes.len();
            std::mem::take(&mut changes).make(map)?;
        }
    }
    changed += changes.len();
    changes.make(map)?;
    map.fit(0, now);
    Ok(changed)
}

/// Where in a sorted list the addresses with each first two octets begin, and its end.
fn heads<K: Source>(sorted: &[(K, u32)]) -> Vec<u32> {
    let mut heads = vec![0_u32; (1 << 16) + 1];
    for (key, _) in sorted {
        heads[usize::from(key.head()) + 1] += 1;
    }
    let mut sum = 0;
    for head in &mut heads {
        sum += *head;
        *head = sum;
    }
    heads
}

fn apply_family<K: Source, S: Store<K>>(
    map: &mut S,
    beyond: &mut HashMap<Prefix, Vec<JailHold>>,
    deltas: &[Delta],
    classes: &Classes,
    now: Moment,
) -> Result<(), EnforceError> {
    let mut of_source: Vec<(K, usize)> = deltas
        .iter()
        .enumerate()
        .filter_map(|(place, delta)| Some((place, delta.of_ban()?.1)))
        .filter(|(_, source)| source.is_host())
        .filter_map(|(place, source)| Some((K::of(source.address())?, place)))
        .collect();
    // By source, and in their own order for each.
    of_source.sort_unstable();
    let mut changes = Changes::default();
    for group in of_source.chunk_by(|a, b| a.0 == b.0) {
        let key = group[0].0;
        let prefix = key.prefix();
        let present = map
            .look_up(&key)
            .map_err(|cause| failed(format!("look {prefix} up in {}", K::MAP), cause))?;
        let mut list = match (beyond.remove(&prefix), &present) {
            (Some(list), _) => list,
            (None, Some(present)) => jail_holds(present, classes, now).collect(),
            (None, None) => Vec::new(),
        };
        for &(_, place) in group {
            match &deltas[place] {
                Delta::Ban(ban) => {
                    list.retain(|hold| hold.jail != ban.jail);
                    list.push(JailHold { jail: ban.jail, until: boot_nanos(ban.until, now) });
                }
                Delta::Unban { jail, .. } => list.retain(|hold| hold.jail != *jail),
                Delta::Allow(_) | Delta::Disallow(_) => {}
            }
        }
        let wanted = value(prefix, list, beyond, classes, now)?;
        changes.add(key, present, wanted);
    }
    map.fit(changes.new, now);
    changes.make(map)?;
    map.fit(0, now);
    Ok(())
}

/// What a ban that counts has dropped.
pub(super) fn exactly(ban: &Ban) -> Dropped {
    Dropped { packets: ban.packets, bytes: ban.bytes, sampled: false }
}

fn held_family<K: Source, S: Store<K>>(
    map: &S,
    dropped: impl Fn(&K, &Ban) -> Dropped,
    beyond: &HashMap<Prefix, Vec<JailHold>>,
    classes: &Classes,
    now: Moment,
    found: &mut Vec<Held>,
) -> Result<(), EnforceError> {
    let (mut keys, mut values) = (Vec::new(), Vec::new());
    let mut at = S::At::default();
    let mut more = true;
    while more {
        more = map
            .walk(&mut at, &mut keys, &mut values)
            .map_err(|cause| failed(format!("read {}", K::MAP), cause))?;
        for (key, ban) in keys.iter().zip(&values) {
            let source = key.prefix();
            let known = beyond.get(&source);
            found.extend(held_by(ban, known, source, Some(dropped(key, ban)), classes, now));
        }
    }
    Ok(())
}

/// The bans of one source that an entry and what is `known` beside it tell, by jail.
pub(super) fn held_by(
    ban: &Ban,
    known: Option<&Vec<JailHold>>,
    source: Prefix,
    dropped: Option<Dropped>,
    classes: &Classes,
    now: Moment,
) -> impl Iterator<Item = Held> {
    let lasts = |list: &Vec<JailHold>, jail| {
        list.iter().any(|hold| hold.jail == jail && hold.until > now.boot_nanos)
    };
    let mut jails: Vec<JailId> = jail_holds(ban, classes, now)
        .map(|hold| hold.jail)
        .filter(|jail| known.is_none_or(|list| lasts(list, *jail)))
        .collect();
    jails.sort_unstable();
    jails.dedup();
    let held = move |name: &JailName| Held { jail: name.clone(), source, dropped };
    jails.into_iter().filter_map(|jail| classes.name(jail)).map(held)
}

/// The jails and ends that an entry tells.
pub(super) fn jail_holds<'a>(
    ban: &'a Ban,
    classes: &'a Classes,
    now: Moment,
) -> impl Iterator<Item = JailHold> + 'a {
    holds(&ban.slots, now.boot_nanos).flat_map(|hold| {
        classes.jails(hold.class).iter().map(move |&jail| JailHold { jail, until: hold.until })
    })
}

/// What the map is to hold for an address; `None` is nothing. Remembers in `beyond`
/// what that value cannot tell.
pub(super) fn value(
    source: Prefix,
    list: Vec<JailHold>,
    beyond: &mut HashMap<Prefix, Vec<JailHold>>,
    classes: &Classes,
    now: Moment,
) -> Result<Option<Ban>, EnforceError> {
    let mut held = list
        .iter()
        .map(|hold| Ok(Hold { class: classes.bit(hold.jail)?, until: hold.until }))
        .collect::<Result<Vec<_>, EnforceError>>()?;
    let Some(compiled) = compile(&mut held, now.boot_nanos) else { return Ok(None) };
    if !compiled.exact || held.iter().any(|hold| classes.jails(hold.class).len() > 1) {
        beyond.insert(source, list);
    }
    Ok(Some(Ban { slots: compiled.slots, ..Ban::default() }))
}

/// Changes of one map that are made together.
struct Changes<K> {
    gone: Vec<K>,
    keys: Vec<K>,
    values: Vec<Ban>,
    /// How many of the keys have no ban yet.
    new: usize,
}

impl<K> Default for Changes<K> {
    fn default() -> Self {
        Self { gone: Vec::new(), keys: Vec::new(), values: Vec::new(), new: 0 }
    }
}

impl<K: Source> Changes<K> {
    fn len(&self) -> usize {
        self.gone.len() + self.keys.len()
    }

    fn add(&mut self, key: K, present: Option<Ban>, wanted: Option<Ban>) {
        match (present, wanted) {
            (Some(_), None) => self.gone.push(key),
            (None, None) => {}
            (Some(present), Some(wanted)) if alike(&present.slots, &wanted.slots) => {}
            (present, Some(wanted)) => {
                self.new += usize::from(present.is_none());
                let Ban { packets, bytes, .. } = present.unwrap_or_default();
                self.keys.push(key);
                self.values.push(Ban { packets, bytes, ..wanted });
            }
        }
    }

    fn make(self, map: &mut impl Store<K>) -> Result<(), EnforceError> {
        map.remove(&self.gone)
            .map_err(|cause| failed(format!("remove bans from {}", K::MAP), cause))?;
        map.set(&self.keys, &self.values, self.new).map_err(|(done, cause)| {
            if cause.raw_os_error() == Some(libc::E2BIG) {
                return EnforceError::Full { what: K::MAP, limit: map.limit() };
            }
            let source =
                self.keys.get(done).map_or_else(String::new, |key| key.prefix().to_string());
            failed(format!("ban {source} in {}", K::MAP), cause)
        })
    }
}

fn failed(operation: String, cause: io::Error) -> EnforceError {
    EnforceError::Kernel { operation, cause }
}

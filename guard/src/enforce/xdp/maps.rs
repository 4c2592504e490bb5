//! The pinned maps as a whole: which are ours, what they are for, and the port classes.
//!
//! Input: a directory of pins. Output: [`Maps`]. Maps are adopted only when all are
//! there, of this layout and boot, and as large as configured; META is written last, so
//! maps that were left half-built have ABI 0 and are not.

use std::collections::HashMap;
use std::io;
use std::net::Ipv6Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use guard_common::layout::{
    ABI, Counter, MAX_CLASSES, Meta, OWN_FIRST, PORT_CLASS_ENTRIES, SCOPE_ALL, SCOPE_HOST,
};
use guard_common::names::{
    BANS_V4, BANS_V4_NETS, BANS_V6, BANS_V6_NETS, META, OWN_ADDRESSES, PORT_CLASSES, SAMPLES_V4,
    TABLE_V4, VERDICTS,
};
use guard_common::verdict::{self, Verdict};

use super::XdpOptions;
use super::bans::Bans;
use super::classes::{self, Classes};
use super::map::{Cursor, Map, each_per_cpu};
use super::nets::{Nets, Steps};
use super::pins;
use super::syscall;
use super::table::BansV4;
use crate::core::delta::{Delta, JailPorts, Snapshot};
use crate::core::jail::JailName;
use crate::enforce::{EnforceError, Held, Moment};

/// Jail name (64 bytes, filled up with zeros) → its bit (`u32`). No program reads it;
/// it tells the jails of a ban to who did not make it.
const JAILS: &str = "JAILS";
/// There are no more [`crate::core::jail::JailId`]s.
const MAX_JAILS: u32 = 65_536;

/// All maps of one generation.
#[derive(Debug)]
pub(super) struct Maps {
    pub(super) bans: Bans,
    nets: Nets,
    port_classes: Map<u32, u64>,
    pub(super) own: Map<[u8; 16], u8>,
    meta: Map<u32, Meta>,
    verdicts: OwnedFd,
    jails: Map<[u64; 8], u32>,
    /// What the counters of interfaces showed when these were covered.
    begun: HashMap<u32, Counter>,
    pub(super) classes: Classes,
    /// They hold a whole snapshot that this process has seen.
    pub(super) filled: bool,
    /// Entries that the last replacement changed.
    pub(super) replaced: usize,
}

impl Maps {
    /// Opens the pinned maps of a directory, whatever is in them.
    pub(super) fn open(directory: &Path, options: &XdpOptions) -> io::Result<Self> {
        let pin = |name: &str| syscall::open_pin(&directory.join(name));
        let v4 = Map::new(pin(BANS_V4)?)?;
        let v4 = BansV4::open(v4, pin(SAMPLES_V4)?, pin(TABLE_V4)?, directory, options)?;
        let mut maps = Self {
            bans: Bans::new(v4, Map::new(pin(BANS_V6)?)?),
            nets: Nets::new(Map::new(pin(BANS_V4_NETS)?)?, Map::new(pin(BANS_V6_NETS)?)?),
            port_classes: Map::new(pin(PORT_CLASSES)?)?,
            own: Map::new(pin(OWN_ADDRESSES)?)?,
            meta: Map::new(pin(META)?)?,
            verdicts: pin(VERDICTS)?,
            jails: Map::new(pin(JAILS)?)?,
            begun: HashMap::new(),
            classes: Classes::default(),
            filled: false,
            replaced: 0,
        };
        maps.classes = maps.pinned_classes()?;
        Ok(maps)
    }

    /// Adds the map that the object does not have.
    pub(super) fn pin_jails(directory: &Path) -> io::Result<()> {
        let map = syscall::create_map(
            JAILS,
            syscall::HASH,
            (64, 4),
            MAX_JAILS,
            syscall::NO_PREALLOCATION,
        )?;
        syscall::pin(map.as_fd(), &directory.join(JAILS))
    }

    /// Whether the bans in these maps hold as they are: layout, boot and size are right.
    pub(super) fn adoptable(&self, options: &XdpOptions, boot_id: [u8; 16]) -> io::Result<bool> {
        let meta = self.meta.look_up(&0)?.unwrap_or_default();
        Ok(meta.abi == ABI
            && meta.boot_id == boot_id
            && self.bans.v4.fits(options)
            && self.bans.v6.info().max_entries == options.bans
            && self.nets.v4.info().max_entries == options.bans
            && self.nets.v6.info().max_entries == options.bans
            && self.port_classes.info().max_entries == PORT_CLASS_ENTRIES)
    }

    /// Says what the maps are for. To be called when everything else is in place.
    pub(super) fn declare(&self, host_only: bool, boot_id: [u8; 16]) -> Result<(), EnforceError> {
        let scope = if host_only { SCOPE_HOST } else { SCOPE_ALL };
        let nets = self.nets.some().map_err(|cause| failed("read the prefix maps", cause))?;
        let broken = |cause| failed(&format!("read {OWN_ADDRESSES}"), cause);
        let own = first_own(&self.own_addresses().map_err(broken)?);
        self.write_meta(Meta { abi: ABI, scope, boot_id, nets, reserved: 0, own })
    }

    fn write_meta(&self, meta: Meta) -> Result<(), EnforceError> {
        let present = self.meta.look_up(&0).map_err(|cause| failed("read META", cause))?;
        if present == Some(meta) {
            return Ok(());
        }
        self.meta.update(&0, &meta).map_err(|cause| failed("write META", cause))
    }

    /// Lets the programs look into the prefix maps that have entries, and no others.
    fn show_nets(&self) -> Result<(), EnforceError> {
        let broken = |cause| failed("read the prefix maps", cause);
        let nets = self.nets.some().map_err(broken)?;
        let meta = self.meta.look_up(&0).map_err(|cause| failed("read META", cause))?;
        self.write_meta(Meta { nets, ..meta.unwrap_or_default() })
    }

    /// Makes classes and bans what the snapshot says.
    ///
    /// The table grows first, then the bans change, then the table shrinks: at no time
    /// does a banned source reach a port that it is to be cut off from. If all 64 bits
    /// were in use and jails have changed, a new jail takes over a bit, and for the
    /// moment of the change its sources may be cut off from the old jail's ports too.
    pub(super) fn replace(&mut self, desired: &Snapshot, now: Moment) -> Result<(), EnforceError> {
        let broken = |cause| failed(&format!("read {PORT_CLASSES}"), cause);
        let mut present = self.port_classes.values().map_err(broken)?;
        let (desired_classes, wanted) = self.plan_classes(&desired.jails, &present)?;
        let both: Vec<u64> = present.iter().zip(&wanted).map(|(a, b)| a | b).collect();
        self.write_table(&mut present, &both)?;
        drop(both);
        self.classes = desired_classes;
        self.write_jails()?;
        let steps = self.nets.replacing(desired, &self.classes, now)?;
        let grown = self.grow(&steps);
        let replaced = grown.and(self.bans.replace(desired, &self.classes, now));
        self.replaced = steps.len() + replaced.as_ref().copied().unwrap_or_default();
        let result = replaced.map(drop);
        // As many as fit are better than what was there before. Any other failure may
        // have left entries that mean the old table, so it stays.
        if matches!(result, Ok(()) | Err(EnforceError::Full { .. })) {
            self.nets.shrink(steps)?;
            self.show_nets()?;
            self.filled = true;
            if present != wanted {
                // Who still judges by a ban as it was needs the classes that it had.
                syscall::wait_for_programs();
                self.write_table(&mut present, &wanted)?;
            }
        }
        result
    }

    /// Adds what is new of prefixes, and lets the programs look for it.
    fn grow(&self, steps: &Steps) -> Result<(), EnforceError> {
        let grown = self.nets.grow(steps);
        self.show_nets()?;
        grown
    }

    /// Makes changes to the last snapshot.
    pub(super) fn apply(&mut self, deltas: &[Delta], now: Moment) -> Result<(), EnforceError> {
        if !self.filled {
            return Err(EnforceError::Unavailable(
                "the XDP maps take changes only after a whole snapshot".to_owned(),
            ));
        }
        let Some(steps) = self.nets.changing(deltas, &self.classes, now)? else {
            return self.bans.apply(deltas, &self.classes, now);
        };
        self.grow(&steps)?;
        self.bans.apply(deltas, &self.classes, now)?;
        self.nets.shrink(steps)?;
        self.show_nets()
    }

    /// Pins maps again whose pins are gone; what was so.
    pub(super) fn keep_pinned(&self, directory: &Path) -> Result<Vec<String>, EnforceError> {
        let others = [
            (BANS_V6, self.bans.v6.descriptor()),
            (BANS_V4_NETS, self.nets.v4.descriptor()),
            (BANS_V6_NETS, self.nets.v6.descriptor()),
            (PORT_CLASSES, self.port_classes.descriptor()),
            (OWN_ADDRESSES, self.own.descriptor()),
            (META, self.meta.descriptor()),
            (VERDICTS, self.verdicts.as_fd()),
            (JAILS, self.jails.descriptor()),
        ];
        let mut put_right = Vec::new();
        let in_place = self.bans.v4.keep_in_place();
        if in_place.map_err(|cause| failed("look at TABLE_V4", cause))? {
            put_right.push("the table of IPv4 bans had been taken from the programs".to_owned());
        }
        for (name, map) in self.bans.v4.pins().into_iter().chain(others) {
            let id = |map: BorrowedFd<'_>| syscall::map_info(map).map(|info| info.id);
            let own = id(map).map_err(|cause| failed(&format!("look at map {name}"), cause))?;
            let same = |found: BorrowedFd<'_>| id(found).is_ok_and(|found| found == own);
            if pins::keep_pinned(&directory.join(name), map, same)? {
                put_right.push(format!("the pin of map {name} was gone"));
            }
        }
        Ok(put_right)
    }

    /// Every ban that the maps hold.
    pub(super) fn held(&self, now: Moment) -> Result<Vec<Held>, EnforceError> {
        let mut held = self.bans.held(&self.classes, now)?;
        self.nets.held(&self.classes, now, &mut held)?;
        Ok(held)
    }

    fn plan_classes(
        &self,
        jails: &[JailPorts],
        present: &[u64],
    ) -> Result<(Classes, Vec<u64>), EnforceError> {
        let kept = |jail: &JailPorts| {
            let (_, bit) = self.classes.entries().iter().find(|(name, _)| *name == jail.name)?;
            classes::bit_means(present, *bit, &jail.ports).then_some(*bit)
        };
        let used = present.iter().fold(0, |used, entry| used | entry);
        let classes = classes::assign(jails, kept, used)?;
        let table = classes::table(jails, &classes);
        Ok((classes, table))
    }

    fn write_table(&self, present: &mut [u64], wanted: &[u64]) -> Result<(), EnforceError> {
        let changed = || (0_u32..).zip(present.iter().zip(wanted)).filter(|(_, (a, b))| a != b);
        let keys: Vec<u32> = changed().map(|(index, _)| index).collect();
        let values: Vec<u64> = changed().map(|(_, (_, value))| *value).collect();
        self.port_classes.update_batch(&keys, &values).map_err(|(done, cause)| {
            let index = keys.get(done).copied().unwrap_or_default();
            failed(&format!("write entry {index} of {PORT_CLASSES}"), cause)
        })?;
        present.copy_from_slice(wanted);
        Ok(())
    }

    fn write_jails(&self) -> Result<(), EnforceError> {
        let broken = |cause| failed("write JAILS", cause);
        for (name, bit) in self.classes.entries() {
            self.jails.update(&name_key(name), &u32::from(*bit)).map_err(broken)?;
        }
        for (key, _) in read_entries(&self.jails).map_err(broken)? {
            if !self.classes.entries().iter().any(|(name, _)| name_key(name) == key) {
                self.jails.delete(&key).map_err(broken)?;
            }
        }
        Ok(())
    }

    fn pinned_classes(&self) -> io::Result<Classes> {
        let mut entries: Vec<(JailName, u8)> = Vec::new();
        for (key, bit) in read_entries(&self.jails)? {
            let octets: Vec<u8> = key.iter().flat_map(|part| part.to_ne_bytes()).collect();
            let text = String::from_utf8_lossy(&octets);
            let name = JailName::new(text.trim_end_matches('\0')).map_err(io::Error::other)?;
            let bit = u8::try_from(bit).ok().filter(|bit| usize::from(*bit) < MAX_CLASSES);
            entries.push((name, bit.ok_or_else(|| io::Error::other("a class beyond the last"))?));
        }
        // No order of the jails is known yet; the first snapshot tells.
        entries.sort_unstable();
        Ok(Classes::new(entries))
    }

    /// Makes the map of own addresses hold exactly these: what is new comes before what
    /// is old goes.
    pub(super) fn replace_own(&self, mut wanted: Vec<[u8; 16]>) -> Result<(), EnforceError> {
        wanted.sort_unstable();
        wanted.dedup();
        let present = read_entries(&self.own)
            .map_err(|cause| failed(&format!("read {OWN_ADDRESSES}"), cause))?;
        let missing: Vec<[u8; 16]> = wanted
            .iter()
            .filter(|address| !present.iter().any(|(other, _)| other == *address))
            .copied()
            .collect();
        self.own.update_batch(&missing, &vec![1; missing.len()]).map_err(|(_, cause)| {
            if cause.raw_os_error() == Some(libc::E2BIG) {
                return EnforceError::Unavailable(format!(
                    "this host has {} addresses, {OWN_ADDRESSES} holds {}: use scope = \"all\" or backend = \"nft\"",
                    wanted.len(),
                    self.own.info().max_entries
                ));
            }
            failed(&format!("write {OWN_ADDRESSES}"), cause)
        })?;
        let meta = self.meta.look_up(&0).map_err(|cause| failed("read META", cause))?;
        self.write_meta(Meta { own: first_own(&wanted), ..meta.unwrap_or_default() })?;
        let gone: Vec<[u8; 16]> = present
            .iter()
            .map(|(address, _)| *address)
            .filter(|address| wanted.binary_search(address).is_err())
            .collect();
        self.own
            .delete_batch(&gone)
            .map_err(|cause| failed(&format!("remove from {OWN_ADDRESSES}"), cause))
    }

    /// Own addresses as the map has them.
    pub(super) fn own_addresses(&self) -> io::Result<Vec<[u8; 16]>> {
        Ok(read_entries(&self.own)?.into_iter().map(|(address, _)| address).collect())
    }

    /// One verdict's packets and bytes over all CPUs and interfaces.
    pub(super) fn verdict(&self, verdict: Verdict) -> Result<Counter, EnforceError> {
        self.sum(verdict::counters(verdict))
    }

    /// What was dropped on an interface since it is covered, as far as this process knows.
    pub(super) fn dropped_on(&self, interface: u32) -> Result<Counter, EnforceError> {
        let now = self.sum([verdict::counter(Verdict::Drop, interface)])?;
        let before = self.begun.get(&interface).copied().unwrap_or_default();
        Ok(Counter {
            packets: now.packets.saturating_sub(before.packets),
            bytes: now.bytes.saturating_sub(before.bytes),
        })
    }

    /// Lets an interface begin to count where one of before may have counted. The counter
    /// itself goes on: all of them together only ever grow.
    pub(super) fn begin_counting(&mut self, interface: u32) -> Result<(), EnforceError> {
        let before = self.sum([verdict::counter(Verdict::Drop, interface)])?;
        self.begun.insert(interface, before);
        Ok(())
    }

    fn sum(&self, counters: impl IntoIterator<Item = u32>) -> Result<Counter, EnforceError> {
        let mut sum = Counter::default();
        each_per_cpu(self.verdicts.as_fd(), counters, |one: &Counter| {
            sum.packets += one.packets;
            sum.bytes += one.bytes;
        })
        .map_err(|cause| failed("read VERDICTS", cause))?;
        Ok(sum)
    }
}

/// What META says of own addresses.
fn first_own(own: &[[u8; 16]]) -> [u32; OWN_FIRST] {
    let mut first = [0; OWN_FIRST];
    let v4 = own.iter().filter_map(|address| Ipv6Addr::from(*address).to_ipv4_mapped());
    for (to, address) in first.iter_mut().zip(v4) {
        *to = u32::from_ne_bytes(address.octets());
    }
    first
}

/// All entries of a small map.
fn read_entries<K: aya::Pod + Default, V: aya::Pod + Default>(
    map: &Map<K, V>,
) -> io::Result<Vec<(K, V)>> {
    let mut entries = Vec::new();
    let (mut keys, mut values) = (Vec::new(), Vec::new());
    let mut cursor = Cursor::default();
    let mut more = true;
    while more {
        more = map.walk(&mut cursor, &mut keys, &mut values)?;
        entries.extend(keys.iter().copied().zip(values.iter().copied()));
    }
    Ok(entries)
}

fn name_key(name: &JailName) -> [u64; 8] {
    let mut octets = [0; 64];
    octets[..name.as_str().len()].copy_from_slice(name.as_str().as_bytes());
    let mut key = [0; 8];
    for (part, bytes) in key.iter_mut().zip(octets.chunks_exact(8)) {
        *part = u64::from_ne_bytes(bytes.try_into().unwrap_or_default());
    }
    key
}

fn failed(operation: &str, cause: io::Error) -> EnforceError {
    EnforceError::Kernel { operation: operation.to_owned(), cause }
}

//! IPv4 bans of single addresses: the hash map, and beside it a table when they are many.
//!
//! Few bans are in the hash map, which counts for each what it dropped. More than
//! `exact` go to the table (`guard_common::table`), which costs a packet one line of
//! memory and a ban 16 to 32 bytes; there, drops are counted for all together. The hash
//! map keeps what a word cannot say. Input and output: as of a [`Store`] of bans.
//!
//! A table has three to four bans a bucket when it is full, and is then built anew with
//! more room beside the old one; likewise with less room when most have gone, and when its
//! epoch lies so far back that ends no longer fit.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use guard_common::layout::{Ban, Counter};
use guard_common::names::{BANS_V4, SAMPLES_V4, TABLE_V4};
use guard_common::table::{Bans, Elsewhere, Found, Header, MAX_SECONDS, Place, Table};

use super::XdpOptions;
use super::map::{Cursor, Map};
use super::store::Store;
use super::syscall;
use crate::enforce::Moment;

mod elements;
mod lines;

use elements::{Elements, Failure, SECOND, number};
pub(super) use elements::{entry, epoch, word};
use lines::Lines;

/// Whether this processor keeps loads and stores in order; the protocol was not tried on
/// others.
const SUPPORTED: bool = cfg!(target_arch = "x86_64");

/// Name of the pin of the table in place, and of one that is to take its place.
const PINS: [&str; 2] = ["TABLE_LINES", "TABLE_LINES_NEW"];

/// Bans a bucket has at most, on average, before there are more buckets.
const FULL: usize = 5;
/// Buckets for so many bans: as many as leave room to grow.
const fn buckets(bans: usize) -> usize {
    bans / 4 + 64
}

/// The IPv4 bans.
#[derive(Debug)]
pub(super) struct BansV4 {
    bans: Bans<Lines, Elements, InPlace>,
    /// What bans in the table dropped, by samples.
    samples: Map<[u8; 4], Counter>,
    limit: usize,
    /// More than so many go to a table.
    exact: usize,
    count: usize,
}

/// Where the programs find the table, and the agent after a restart.
#[derive(Debug)]
struct InPlace {
    outer: Map<u32, u32>,
    directory: PathBuf,
}

impl BansV4 {
    /// The bans in a hash map and in the table that `outer` names.
    pub(super) fn open(
        map: Map<[u8; 4], Ban>,
        samples: OwnedFd,
        outer: OwnedFd,
        directory: &Path,
        options: &XdpOptions,
    ) -> io::Result<Self> {
        let place = InPlace { outer: Map::new(outer)?, directory: directory.to_owned() };
        let table = place.table()?;
        let (limit, exact) = (options.bans as usize, options.exact_counters);
        let bans =
            Bans::adopt(table, Elements(map), place).map_err(|failure: Failure| failure.cause)?;
        let inside = bans.table().map_or(0, |table| table.entries().count());
        let count = inside + bans.elsewhere().each().map_err(|failure| failure.cause)?.len();
        Ok(Self { bans, samples: Map::new(samples)?, limit, exact, count })
    }

    /// How many bans the hash map is to hold. Beside a table it has those that no word can
    /// say and the few that find no room; an eighth of all is much more than that. Its
    /// buckets take memory whether they are used or not, and where they do not fit the
    /// processor's cache, every look-up waits for one, also with a single ban.
    pub(super) fn outside(options: &XdpOptions) -> u32 {
        if !SUPPORTED || options.bans as usize <= options.exact_counters {
            return options.bans;
        }
        let exact = u32::try_from(options.exact_counters).unwrap_or(u32::MAX);
        options.bans.div_ceil(8).max(exact)
    }

    /// Whether its maps are as large as they are to be.
    pub(super) fn fits(&self, options: &XdpOptions) -> bool {
        self.bans.elsewhere().0.info().max_entries == Self::outside(options)
    }

    /// Says that the pins are now in another directory.
    pub(super) fn moved(&mut self, directory: &Path) {
        self.bans.place_mut().directory = directory.to_owned();
    }

    /// What is to stay pinned, with its names.
    pub(super) fn pins(&self) -> Vec<(&'static str, BorrowedFd<'_>)> {
        let outer = self.bans.place().outer.descriptor();
        let mut pins = vec![(BANS_V4, self.bans.elsewhere().0.descriptor()), (TABLE_V4, outer)];
        pins.push((SAMPLES_V4, self.samples.descriptor()));
        pins.extend(self.bans.table().map(|table| (PINS[0], table.memory().fd())));
        pins
    }

    /// Whether it counts each packet that the ban of an address drops.
    pub(super) fn is_counted(&self, key: &[u8; 4]) -> bool {
        let table = self.bans.table();
        !table.is_some_and(|table| matches!(table.find(number(key)), Found::Here(_)))
    }

    /// What bans that are not counted have dropped, about.
    pub(super) fn samples(&self) -> io::Result<HashMap<[u8; 4], Counter>> {
        let mut all = HashMap::new();
        if self.bans.table().is_none() {
            return Ok(all);
        }
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        let mut cursor = Cursor::default();
        let mut more = true;
        while more {
            more = self.samples.walk(&mut cursor, &mut keys, &mut values)?;
            all.extend(keys.iter().copied().zip(values.iter().copied()));
        }
        Ok(all)
    }

    /// Puts the table back in its place if the programs look for it in vain; whether they
    /// did.
    pub(super) fn keep_in_place(&self) -> io::Result<bool> {
        let place = self.bans.place();
        let found = place.outer.look_up(&0)?;
        let Some(table) = self.bans.table() else { return Ok(false) };
        let lines = table.memory().fd();
        if found == Some(syscall::map_info(lines)?.id) {
            return Ok(false);
        }
        place.outer.update(&0, &syscall::number(lines))?;
        Ok(true)
    }

    /// Builds a table for so many bans, or goes without.
    fn rebuild(&mut self, bans: usize, now: Moment) -> Result<(), Failure> {
        if bans <= self.exact {
            return self.bans.rebuild(None);
        }
        self.bans.rebuild(Some(Self::room(bans, now)?))
    }

    /// Memory, all zeros, for a table of so many bans, and what is to be its first line.
    fn room(bans: usize, now: Moment) -> io::Result<(Lines, Header)> {
        let buckets = u32::try_from(buckets(bans)).map_err(io::Error::other)?;
        let header = Header { buckets, seed: lines::seed()?, epoch: epoch(now) };
        Ok((Lines::create(buckets + 1)?, header))
    }

    /// Whether so many bans would begin a table.
    pub(super) fn is_for_table(&self, bans: usize) -> bool {
        SUPPORTED && bans > self.exact && self.bans.table().is_none()
    }

    /// An empty table for so many bans, not in place yet; `None` when so many go elsewhere
    /// or when there are bans already.
    pub(super) fn begin(&self, bans: usize, now: Moment) -> io::Result<Option<Table<Lines>>> {
        let none = self.bans.elsewhere().0.first_key()?.is_none();
        if !none || bans > self.limit || !self.is_for_table(bans) {
            return Ok(None);
        }
        let (memory, header) = Self::room(bans, now)?;
        Ok(Table::create(memory, header))
    }

    /// Puts a table from [`BansV4::begin`] in place, which holds `inside` bans, and gives
    /// the hash map what the table does not hold.
    pub(super) fn finish(
        &mut self,
        table: Table<Lines>,
        inside: usize,
        outside: &[(u32, Ban)],
    ) -> io::Result<()> {
        self.bans.begin(table, outside).map_err(|failure| failure.cause)?;
        self.count = inside + outside.len();
        Ok(())
    }

    fn is_too_small(&self, bans: usize, now: Moment) -> bool {
        let Some(table) = self.bans.table() else { return SUPPORTED && bans > self.exact };
        let age = (now.boot_nanos / SECOND).saturating_sub(table.header().epoch);
        bans > table.header().buckets as usize * FULL || age > u64::from(MAX_SECONDS) / 2
    }

    fn is_too_large(&self) -> bool {
        let Some(table) = self.bans.table() else { return false };
        // Far from where it would have to grow again.
        self.count < self.exact / 2 || buckets(self.count) * 4 < table.header().buckets as usize
    }
}

/// Where a walk stands: the next line, then the hash map.
#[derive(Debug, Default)]
pub(super) struct At {
    line: u32,
    elements: Cursor,
}

impl Store<[u8; 4]> for BansV4 {
    type At = At;

    fn limit(&self) -> usize {
        // The table takes any number; what is full before is the hash map.
        if self.count < self.limit {
            return self.bans.elsewhere().0.info().max_entries as usize;
        }
        self.limit
    }

    fn look_up(&self, key: &[u8; 4]) -> io::Result<Option<Ban>> {
        self.bans.look_up(number(key)).map_err(|failure| failure.cause)
    }

    fn walk(
        &self,
        at: &mut At,
        keys: &mut Vec<[u8; 4]>,
        values: &mut Vec<Ban>,
    ) -> io::Result<bool> {
        const LINES: u32 = 512;
        if let Some(table) = self.bans.table().filter(|table| at.line < table.header().buckets) {
            let epoch = table.header().epoch;
            keys.clear();
            values.clear();
            for (address, entry) in table.entries_of(at.line + 1..=at.line + LINES) {
                keys.push(address.to_ne_bytes());
                values.push(Elements::ban(entry, epoch));
            }
            at.line += LINES;
            return Ok(true);
        }
        self.bans.elsewhere().0.walk(&mut at.elements, keys, values)
    }

    fn fit(&mut self, more: usize, now: Moment) {
        let all = self.count.saturating_add(more).min(self.limit);
        if self.is_too_small(all, now) || (more == 0 && self.is_too_large()) {
            // What finds no room in the table that there is goes to the hash map.
            if let Err(Failure { cause, .. }) = self.rebuild(all, now) {
                tracing::warn!("the table of IPv4 bans keeps its size, for {all} bans: {cause}");
            }
        }
    }

    fn remove(&mut self, keys: &[[u8; 4]]) -> io::Result<()> {
        let addresses: Vec<u32> = keys.iter().map(number).collect();
        self.bans.remove(&addresses).map_err(|failure| failure.cause)?;
        if self.bans.table().is_some() {
            self.samples.delete_batch(keys)?;
        }
        self.count -= keys.len().min(self.count);
        Ok(())
    }

    fn set(
        &mut self,
        keys: &[[u8; 4]],
        bans: &[Ban],
        new: usize,
    ) -> Result<(), (usize, io::Error)> {
        let free = self.limit.saturating_sub(self.count);
        let room = keys.len() - new.saturating_sub(free);
        let list: Vec<(u32, Ban)> =
            keys.iter().map(number).zip(bans.iter().copied()).take(room).collect();
        self.bans.set(&list).map_err(|failure| {
            let place = list.iter().position(|(address, _)| Some(*address) == failure.at);
            (place.unwrap_or(0), failure.cause)
        })?;
        self.count += new.min(free);
        if room < keys.len() {
            return Err((room, io::Error::from_raw_os_error(libc::E2BIG)));
        }
        Ok(())
    }
}

impl InPlace {
    /// The table that the programs use; pins of others are removed.
    fn table(&self) -> io::Result<Option<Table<Lines>>> {
        // For userspace, the value is the map's id.
        let id = self.outer.look_up(&0)?;
        let mut found = None;
        for name in PINS {
            let path = self.directory.join(name);
            let Ok(fd) = syscall::open_pin(&path) else { continue };
            if found.is_none() && Some(syscall::map_info(fd.as_fd())?.id) == id {
                if name == PINS[1] {
                    // Killed before it got its name.
                    std::fs::rename(&path, self.directory.join(PINS[0]))?;
                }
                found = Table::open(Lines::open(fd)?);
            } else {
                std::fs::remove_file(&path)?;
            }
        }
        if id.is_some() && found.is_none() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the table that the programs use is not pinned, or of another version",
            ));
        }
        Ok(found)
    }
}

impl Place<Lines> for InPlace {
    type Error = Failure;

    fn set(&mut self, table: Option<&Lines>) -> Result<(), Failure> {
        let [pin, new] = PINS.map(|name| self.directory.join(name));
        let Some(table) = table else {
            self.outer.delete(&0)?;
            drop(std::fs::remove_file(pin));
            return Ok(());
        };
        drop(std::fs::remove_file(&new));
        syscall::pin(table.fd(), &new)?;
        self.wait(table)?;
        Ok(std::fs::rename(&new, &pin)?)
    }

    /// The kernel lets no update of a map of maps return before all programs that may have
    /// seen the old value have ended (`maybe_wait_bpf_programs`), also when old and new
    /// are the same.
    fn wait(&mut self, table: &Lines) -> Result<(), Failure> {
        Ok(self.outer.update(&0, &syscall::number(table.fd()))?)
    }
}

//! The whole set of IPv4 bans into maps that hold none, at the speed of memory.
//!
//! Input: a snapshot. Output: a table in place, built aside, and what it cannot hold in the
//! hash map. A start with a million bans comes this way; every other change goes through
//! [`super::bans`], which compares with what is there.
//!
//! Nothing is sorted and no line of the table is fetched twice: bans are dealt out to
//! piles of neighbouring lines first, and a pile's lines stay in the processor's cache
//! while it is entered.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use guard_common::layout::Ban;
use guard_common::names::BANS_V4;
use guard_common::table::{Entry, Found, Header, Memory, Table};

use super::bans::{JailHold, boot_nanos, value};
use super::classes::Classes;
use super::table::{self, BansV4};
use crate::core::addr::Prefix;
use crate::core::delta::Snapshot;
use crate::core::jail::JailId;
use crate::enforce::{EnforceError, Moment};

/// One ban that a word can say.
type Word = (u32, Entry);

/// Piles at most: few enough that each has a line in the cache while they are dealt.
const PILES: usize = 1024;

/// What cannot be said in a word of its address, by address.
type Rest = Vec<(u32, JailHold)>;

/// What was filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Filled {
    /// How many entries that are.
    pub(super) changed: usize,
    /// Whether the snapshot has bans of IPv6.
    pub(super) more: bool,
}

/// Makes empty maps hold the snapshot's IPv4 bans of single addresses. `None`: nothing was
/// done, because it is not the time for a table.
pub(super) fn fill(
    map: &mut BansV4,
    beyond: &mut HashMap<Prefix, Vec<JailHold>>,
    desired: &Snapshot,
    classes: &Classes,
    now: Moment,
) -> Result<Option<Filled>, EnforceError> {
    // No more than there are bans at all, so that few bans cost nothing here.
    if !map.is_for_table(desired.bans.len()) {
        return Ok(None);
    }
    let (words, mut rest, more) = read(desired, classes, now)?;
    let broken = |operation: &str| {
        let operation = format!("{operation} {BANS_V4}");
        move |cause: io::Error| EnforceError::Kernel { operation, cause }
    };
    let begun = map.begin(words.len() + rest.len(), now).map_err(broken("make a table for"))?;
    let Some(mut table) = begun else { return Ok(None) };
    let words = deal(words, table.header());
    let mut inside = enter(&mut table, &words, classes, &mut rest);

    rest.sort_unstable_by_key(|(address, _)| *address);
    let epoch = table.header().epoch;
    let mut outside: Vec<(u32, Ban)> = Vec::new();
    for group in rest.chunk_by(|a, b| a.0 == b.0) {
        let address = group[0].0;
        let mut list: Vec<JailHold> = group.iter().map(|(_, hold)| *hold).collect();
        if let Found::Here(entry) = table.find(address) {
            list.extend(hold(entry, epoch, classes));
            table.clear(address);
            inside -= 1;
        }
        let source = Prefix::host(IpAddr::from(address.to_ne_bytes()));
        let Some(ban) = value(source, list, beyond, classes, now)? else { continue };
        match table::word(&ban, epoch) {
            Some(entry) if table.enter(address, entry).is_ok() => inside += 1,
            _ => outside.push((address, ban)),
        }
    }
    let changed = inside + outside.len();
    map.finish(table, inside, &outside).map_err(broken("fill"))?;
    Ok(Some(Filled { changed, more }))
}

/// The bans that have not ended: those that a word can say, and the others; and whether
/// there are any of IPv6.
fn read(
    desired: &Snapshot,
    classes: &Classes,
    now: Moment,
) -> Result<(Vec<Word>, Rest, bool), EnforceError> {
    let epoch = table::epoch(now);
    // A class that jails share does not tell whose ban it is.
    let own_class = |jail| classes.bit(jail).ok().filter(|class| classes.jails(*class).len() == 1);
    let own_classes: Vec<Option<u8>> =
        (0..).map(JailId).take(desired.jails.len()).map(own_class).collect();
    let mut words = Vec::with_capacity(desired.bans.len());
    let (mut rest, mut more) = (Rest::new(), false);
    for ban in &desired.bans {
        let IpAddr::V4(address) = ban.source.address() else {
            more = true;
            continue;
        };
        let until = boot_nanos(ban.until, now);
        if !ban.source.is_host() || until <= now.boot_nanos {
            continue;
        }
        let address = number(address);
        let class = own_classes.get(ban.jail.index()).copied().flatten();
        match class.and_then(|class| table::entry(class, until, epoch)) {
            Some(entry) => words.push((address, entry)),
            None => rest.push((address, JailHold { jail: ban.jail, until })),
        }
    }
    Ok((words, rest, more))
}

fn number(address: Ipv4Addr) -> u32 {
    u32::from_ne_bytes(address.octets())
}

/// The same bans, those of neighbouring lines together.
fn deal(words: Vec<Word>, header: &Header) -> Vec<Word> {
    let Some(&first) = words.first() else { return words };
    let lines = header.buckets as usize + 1;
    let shift = lines.div_ceil(PILES).next_power_of_two().trailing_zeros();
    let pile = |address| (header.line(address) >> shift) as usize;
    let mut ends = [0_usize; PILES];
    for (address, _) in &words {
        ends[pile(*address)] += 1;
    }
    let mut start = 0;
    for end in &mut ends {
        start += std::mem::replace(end, start);
    }
    let mut dealt = vec![first; words.len()];
    for word in &words {
        let next = &mut ends[pile(word.0)];
        dealt[*next] = *word;
        *next += 1;
    }
    dealt
}

/// Enters bans into a table, and adds to `rest` what finds no place; how many entered.
fn enter<M: Memory>(
    table: &mut Table<M>,
    words: &[Word],
    classes: &Classes,
    rest: &mut Rest,
) -> usize {
    let epoch = table.header().epoch;
    let before = rest.len();
    for &(address, entry) in words {
        if table.enter(address, entry).is_err() {
            rest.extend(hold(entry, epoch, classes).map(|hold| (address, hold)));
        }
    }
    words.len() - (rest.len() - before)
}

/// Whose ban a word says, and until when; its class belongs to one jail.
fn hold(entry: Entry, epoch: u64, classes: &Classes) -> Option<JailHold> {
    let jail: JailId = *classes.jails(entry.class()).first()?;
    Some(JailHold { jail, until: entry.until(epoch) })
}

//! The maps as the tables that a packet is judged by.

use guard_common::layout::{Ban, SCOPE_HOST, Slot};
use guard_common::packet::Address;
use guard_common::table::{Entry, Found};
use guard_common::verdict::{Tables, latest};

use crate::clock;
use crate::maps::{BANS_V4, BANS_V6, META, OWN_ADDRESSES, PORT_CLASSES};
use crate::table;

/// The maps of this object.
pub(crate) struct Maps;

/// A ban that was found.
#[derive(Clone, Copy)]
pub(crate) enum Held {
    /// In a word of the table whose ends count from this second on.
    Word(Entry, u64),
    /// An element of a ban map: not null, and readable and writable until the program
    /// returns. Userspace may replace or remove it meanwhile, and its memory may then
    /// serve another ban; so nothing is kept of it from one packet to the next.
    Element(*mut Ban),
}

impl Tables for Maps {
    type Ban = Held;

    #[inline(always)]
    fn ban(&self, source: &Address) -> Option<Held> {
        match source {
            Address::V4(word) => match table::look_up(*word) {
                (Found::Nowhere, _) => None,
                (Found::Here(entry), epoch) => Some(Held::Word(entry, epoch)),
                (Found::Elsewhere, _) => BANS_V4.get_ptr_mut(word).map(Held::Element),
            },
            Address::V6(words) => BANS_V6.get_ptr_mut(words).map(Held::Element),
        }
    }

    #[inline(always)]
    fn latest(&self, ban: Held, classes: u64) -> Option<u64> {
        match ban {
            Held::Word(entry, epoch) => {
                let cut_off = classes >> entry.class() & 1 != 0;
                cut_off.then(|| (epoch + u64::from(entry.seconds())) * 1_000_000_000)
            }
            Held::Element(ban) => {
                // SAFETY: not null, and an element of a map stays readable until the
                // program returns. Userspace replaces elements as a whole and never
                // writes into one.
                let slots: &[Slot] = unsafe { &(*ban).slots };
                latest(slots.iter().copied(), classes)
            }
        }
    }

    #[inline(always)]
    fn port_classes(&self, index: u32) -> u64 {
        PORT_CLASSES.get(index).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn scope(&self) -> u32 {
        META.get(0).map_or(SCOPE_HOST, |meta| meta.scope)
    }

    #[inline(always)]
    fn is_own(&self, address: &[u64; 2]) -> bool {
        OWN_ADDRESSES.get_ptr(address).is_some()
    }

    #[inline(always)]
    fn now(&self) -> u64 {
        clock::now()
    }
}

//! The maps as the tables that a packet is judged by.

use guard_common::layout::{Ban, SCOPE_HOST, Slot};
use guard_common::packet::Address;
use guard_common::verdict::Tables;

use crate::clock;
use crate::maps::{BANS_V4, BANS_V6, META, OWN_ADDRESSES, PORT_CLASSES};

/// The maps of this object.
pub(crate) struct Maps;

impl Tables for Maps {
    /// An element of a ban map: not null, and readable and writable until the program
    /// returns. Userspace may replace or remove it meanwhile, and its memory may then
    /// serve another ban; so nothing is kept of it from one packet to the next.
    type Ban = *mut Ban;

    #[inline(always)]
    fn ban(&self, source: &Address) -> Option<*mut Ban> {
        match source {
            Address::V4(octets) => BANS_V4.get_ptr_mut(octets),
            Address::V6(octets) => BANS_V6.get_ptr_mut(octets),
        }
    }

    #[inline(always)]
    fn slots(&self, ban: *mut Ban) -> impl Iterator<Item = Slot> {
        // SAFETY: not null, and an element of a map stays readable until the program
        // returns. Userspace replaces elements as a whole and never writes into one.
        let slots: &[Slot] = unsafe { &(*ban).slots };
        slots.iter().copied()
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

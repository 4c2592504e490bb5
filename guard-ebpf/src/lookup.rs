//! The maps as the tables that a packet is judged by.

use core::arch::asm;
use core::cell::UnsafeCell;
use core::ptr::NonNull;

use aya_ebpf::btf_maps::lpm_trie::Key;
use guard_common::layout::{Ban, Meta, NetBan, SLOTS, SOME_V4, SOME_V6, Slot};
use guard_common::packet::Address;
use guard_common::table::Found;
use guard_common::verdict::{Tables, latest};

use crate::maps::{
    BANS_V4, BANS_V4_NETS, BANS_V6, BANS_V6_NETS, META, OWN_ADDRESSES, PORT_CLASSES,
};
use crate::table;
use crate::{clock, count};

/// The maps of this object, for one packet.
pub(crate) struct Maps<I> {
    meta: &'static Meta,
    /// Bytes of the packet.
    length: u64,
    /// Tells the number of the interface that it came in on.
    interface: I,
}

impl<I: Fn() -> u32> Maps<I> {
    /// (There is always a META.)
    #[inline(always)]
    pub(crate) fn new(length: u64, interface: I) -> Option<Self> {
        Some(Self { meta: META.get(0)?, length, interface })
    }
}

impl<I: Fn() -> u32> Tables for Maps<I> {
    /// An element of a ban map: not null, readable and writable until the program returns. Userspace
    /// may replace or remove it meanwhile, and its memory may then serve another ban; so
    /// nothing is kept of it from one packet to the next.
    type Ban = NonNull<Ban>;

    #[inline(always)]
    fn ban(&self, source: &Address) -> (Slot, Option<NonNull<Ban>>) {
        let none = Slot { classes: 0, until: 0 };
        let found = match source {
            Address::V4(word) => match table::look_up(*word) {
                (Found::Nowhere, _) => return (none, None),
                (Found::Here(entry), epoch) => {
                    let slot = Slot { classes: 1 << entry.class(), until: entry.until(epoch) };
                    return (slot, None);
                }
                (Found::Elsewhere, _) => BANS_V4.get_ptr_mut(word),
            },
            Address::V6(words) => BANS_V6.get_ptr_mut(words),
        };
        (none, found.and_then(after_null_check))
    }

    #[inline(always)]
    fn net_ban(&self, source: &Address) -> Option<NonNull<Ban>> {
        let found = match source {
            Address::V4(word) => BANS_V4_NETS.get(&Aligned::new(32, [*word, 0]).key),
            Address::V6(words) => BANS_V6_NETS.get(&Aligned::new(128, *words).key),
        };
        // A `Ban` is what a `NetBan` begins with.
        found.and_then(|cell: &UnsafeCell<NetBan>| after_null_check(cell.get().cast()))
    }

    #[inline(always)]
    fn has_nets(&self, source: &Address) -> bool {
        let some = match source {
            Address::V4(_) => SOME_V4,
            Address::V6(_) => SOME_V6,
        };
        self.meta.nets & some != 0
    }

    #[inline(always)]
    fn count(&self, source: &Address, ban: Option<NonNull<Ban>>) {
        match (ban, source) {
            (Some(ban), _) => count::add_to(ban, self.length),
            (None, Address::V4(source)) => count::sample(*source, self.length, (self.interface)()),
            (None, Address::V6(_)) => {}
        }
    }

    #[inline(always)]
    fn latest(&self, ban: NonNull<Ban>, classes: u64) -> u64 {
        // SAFETY: an element of a map stays readable until the program returns. Userspace
        // replaces elements as a whole and never writes into one.
        let slots: &[Slot; SLOTS] = unsafe { &(*ban.as_ptr()).slots };
        latest(slots, classes)
    }

    #[inline(always)]
    fn port_classes(&self, index: u32) -> u64 {
        // Every index but the hidden one is in the map.
        PORT_CLASSES.get(index).copied().unwrap_or(u64::MAX)
    }

    #[inline(always)]
    fn scope(&self) -> u32 {
        self.meta.scope
    }

    #[inline(always)]
    fn is_own(&self, address: &[u64; 2]) -> bool {
        // An IPv4 address stands at the end, and the rest says that it is one.
        let v4 = (address[1] >> 32) as u32;
        if address[0] == 0 && self.meta.own.contains(&v4) && v4 != 0 {
            return true;
        }
        OWN_ADDRESSES.get_ptr(address).is_some()
    }

    #[inline(always)]
    fn now(&self) -> u64 {
        clock::now()
    }
}

/// A key whose address is at a multiple of 8 bytes: it is written in whole words, and
/// the verifier takes no odd ones on the stack.
#[repr(C, align(8))]
struct Aligned<K> {
    pad: u32,
    key: Key<K>,
}

impl<K> Aligned<K> {
    #[inline(always)]
    fn new(length: u32, address: K) -> Self {
        Self { pad: 0, key: Key::new(length, address) }
    }
}

/// The same pointer, of which the compiler knows nothing any more. It may otherwise
/// compute the address of a field before the comparison with null, which the verifier
/// does not take.
#[inline(always)]
#[expect(clippy::pointers_in_nomem_asm_block, reason = "the pointer is not followed")]
fn after_null_check(ban: *mut Ban) -> Option<NonNull<Ban>> {
    let mut ban = ban;
    // SAFETY: no instruction at all, so nothing is touched.
    unsafe { asm!("/* {ban} */", ban = inout(reg) ban, options(nostack, nomem)) };
    NonNull::new(ban)
}

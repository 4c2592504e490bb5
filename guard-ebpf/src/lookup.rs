//! The maps as the tables that a packet is judged by.

use core::arch::asm;
use core::cell::UnsafeCell;
use core::ptr::NonNull;

use aya_ebpf::btf_maps::lpm_trie::Key;
use guard_common::layout::{Ban, NetBan, SCOPE_HOST, SOME_V4, SOME_V6, Slot};
use guard_common::packet::Address;
use guard_common::table::Found;
use guard_common::verdict::{Tables, latest};

use crate::clock;
use crate::maps::{
    BANS_V4, BANS_V4_NETS, BANS_V6, BANS_V6_NETS, META, OWN_ADDRESSES, PORT_CLASSES,
};
use crate::table;

/// The maps of this object.
pub(crate) struct Maps;

impl Tables for Maps {
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
        let nets = META.get(0).map_or(0, |meta| meta.nets);
        let found = match source {
            Address::V4(word) if nets & SOME_V4 != 0 => {
                BANS_V4_NETS.get(&Aligned::new(32, [*word, 0]).key)
            }
            Address::V6(words) if nets & SOME_V6 != 0 => {
                BANS_V6_NETS.get(&Aligned::new(128, *words).key)
            }
            _ => None,
        };
        // A `Ban` is what a `NetBan` begins with.
        found.and_then(|cell: &UnsafeCell<NetBan>| after_null_check(cell.get().cast()))
    }

    #[inline(always)]
    fn latest(&self, ban: NonNull<Ban>, classes: u64) -> u64 {
        // SAFETY: an element of a map stays readable until the program returns. Userspace
        // replaces elements as a whole and never writes into one.
        let slots: &[Slot] = unsafe { &(*ban.as_ptr()).slots };
        latest(slots.iter().copied(), classes)
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

//! The table of IPv4 bans, as `guard_common::table` describes it.

use core::arch::asm;

use aya_ebpf::bindings::{BPF_F_INNER_MAP, BPF_F_MMAPABLE};
use aya_ebpf::btf_maps::{Array, ArrayOfMaps};
use aya_ebpf::macros::btf_map;
use guard_common::table::{Found, Header, Line, WORDS, find};

/// Written by the agent through its own address space, and of any size.
const FLAGS: usize = (BPF_F_MMAPABLE | BPF_F_INNER_MAP) as usize;

type Lines = Array<[u64; WORDS], 1, FLAGS>;

/// The table in use, if there is one. Userspace puts another one in its place in one step.
#[btf_map(name = "TABLE_V4")]
static TABLE_V4: ArrayOfMaps<Lines, 1> = ArrayOfMaps::new();

/// A bucket in a map.
struct Bucket(*const [u64; WORDS]);

impl Line for Bucket {
    #[inline(always)]
    fn word(&self, place: usize) -> u64 {
        // SAFETY: an element of the map, which stays readable until the program returns;
        // nothing is read here.
        let word = unsafe { &raw const (*self.0)[place] };
        // SAFETY: userspace writes whole words meanwhile, and a volatile load is one.
        unsafe { word.read_volatile() }
    }

    #[inline(always)]
    fn sign(number: u64) -> u64 {
        let mut number = number;
        // SAFETY: one shift of a register.
        unsafe { asm!("{number} s>>= 63", number = inout(reg) number, options(nostack, nomem)) };
        number
    }
}

/// What the table says of an address, and the second since boot from which its ends count.
#[inline(always)]
pub(crate) fn look_up(address: u32) -> (Found, u64) {
    let none = (Found::Elsewhere, 0);
    let Some(lines) = TABLE_V4.get(0) else { return none };
    // SAFETY: the first line is written before the table is put in place, never after.
    let Some(header) = lines.get(0).and_then(Header::of) else { return none };
    let Some(bucket) = lines.get_ptr(header.line(address)) else { return none };
    (find(&Bucket(bucket), address), header.epoch)
}

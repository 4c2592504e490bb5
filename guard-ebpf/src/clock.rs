//! The time since boot, suspend included, at the price of a memory access.
//!
//! `bpf_ktime_get_boot_ns` costs 40 to 60 ns on virtual machines, as much as all the rest.
//! So each CPU asks for it once a tick and remembers the answer: what [`now`] says is up
//! to one tick (1 to 10 ms) late. Jiffies alone would stand still in suspend, and how long
//! one is no program knows; here they only say that it is time to look at the clock again.

use aya_ebpf::btf_maps::PerCpuArray;
use aya_ebpf::helpers::{bpf_jiffies64, bpf_ktime_get_boot_ns};
use aya_ebpf::macros::btf_map;

/// When a CPU last looked at the clock, and what it saw.
#[repr(C)]
struct Look {
    jiffies: u64,
    boot_nanos: u64,
}

#[btf_map(name = "CLOCK")]
static CLOCK: PerCpuArray<Look, 1> = PerCpuArray::new();

/// Nanoseconds since boot (`CLOCK_BOOTTIME`), a tick late at most.
#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: the helper takes nothing and touches nothing.
    let jiffies = unsafe { bpf_jiffies64() };
    let Some(look) = CLOCK.get_ptr_mut(0) else { return ask() };
    // SAFETY: not null, and this CPU's own. Should a program interrupt another one here,
    // both saw the same tick.
    let look = unsafe { &mut *look };
    if look.jiffies != jiffies {
        look.boot_nanos = ask();
        look.jiffies = jiffies;
    }
    look.boot_nanos
}

#[inline(always)]
fn ask() -> u64 {
    // SAFETY: the helper takes nothing and touches nothing.
    unsafe { bpf_ktime_get_boot_ns() }
}

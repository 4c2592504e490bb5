//! Counting, at the one exit that all packets take.

use core::arch::asm;
use core::ptr::NonNull;

use guard_common::layout::{Ban, Counter, SAMPLED};
use guard_common::verdict::{Verdict, counter};

use crate::maps::{SAMPLES_V4, VERDICTS};

/// Counts a judged packet of `length` bytes that came in on an interface, and gives back
/// what becomes of it.
#[inline(always)]
pub(crate) fn exit(verdict: Verdict, length: u64, interface: impl FnOnce() -> u32) -> Verdict {
    // Only for a drop it matters which one it is, and to ask costs time.
    let index = match verdict {
        Verdict::Drop => counter(verdict, interface()),
        _ => counter(verdict, 0),
    };
    if let Some(counter) = VERDICTS.get_ptr_mut(index) {
        // SAFETY: not null, and the counters of this CPU: no other one writes to them.
        let counter = unsafe { &mut *counter };
        counter.packets += 1;
        counter.bytes += length;
    }
    verdict
}

/// Counts a drop of so many bytes with a ban that counts.
#[inline(always)]
pub(crate) fn add_to(ban: NonNull<Ban>, length: u64) {
    let ban = ban.as_ptr();
    // SAFETY: a map element, which `Maps::ban` found not to be null.
    let packets = unsafe { &raw mut (*ban).packets };
    // SAFETY: as above.
    let bytes = unsafe { &raw mut (*ban).bytes };
    // SAFETY: a number in the element, aligned as its type says.
    unsafe { add(packets, 1) };
    // SAFETY: as above.
    unsafe { add(bytes, length) };
}

/// Counts a drop of so many bytes that no ban counts, for one source in [`SAMPLED`]. Which
/// ones follows from the number of the interface's drops before, so it costs the others one
/// comparison.
#[inline(always)]
pub(crate) fn sample(source: u32, length: u64, interface: u32) {
    let Some(drops) = VERDICTS.get_ptr(counter(Verdict::Drop, interface)) else { return };
    // SAFETY: not null, and the counters of this CPU.
    let before = unsafe { (*drops).packets };
    if before % SAMPLED != SAMPLED - 1 {
        return;
    }
    let bytes = length * SAMPLED;
    let Some(counter) = SAMPLES_V4.get_ptr_mut(source) else {
        let first = Counter { packets: SAMPLED, bytes };
        // A sample that finds no room is none.
        let _ = SAMPLES_V4.insert(source, first, 0);
        return;
    };
    // SAFETY: an element of the map, which is not null.
    let packets = unsafe { &raw mut (*counter).packets };
    // SAFETY: as above.
    let all_bytes = unsafe { &raw mut (*counter).bytes };
    // SAFETY: a number in the element, aligned as its type says.
    unsafe { add(packets, SAMPLED) };
    // SAFETY: as above.
    unsafe { add(all_bytes, bytes) };
}

/// Adds to a number that other CPUs add to at the same time.
///
/// The BPF target has no `AtomicU64::fetch_add`, because it once had no compare and
/// exchange; the kernel has had this instruction from the beginning.
///
/// # Safety
/// `number` must be valid for writes, and aligned.
#[inline(always)]
unsafe fn add(number: *mut u64, amount: u64) {
    // SAFETY: the caller vouches for the address; eight bytes are touched, nothing else.
    unsafe {
        asm!("lock *(u64 *)({number} + 0) += {amount}", number = in(reg) number, amount = in(reg) amount, options(nostack));
    }
}

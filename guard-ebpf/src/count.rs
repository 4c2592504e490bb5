//! Counting, at the one exit that all packets take.

use core::arch::asm;
use core::ptr::NonNull;

use guard_common::layout::Ban;
use guard_common::verdict::{Judgement, Verdict};

use crate::maps::VERDICTS;

/// Counts a judged packet of `length` bytes, and gives back what becomes of it. What a ban
/// in the table dropped is counted for all of them together.
#[inline(always)]
pub(crate) fn exit(judgement: Judgement<NonNull<Ban>>, length: u64) -> Verdict {
    let verdict = judgement.verdict;
    if let Some(counter) = VERDICTS.get_ptr_mut(verdict as u32) {
        // SAFETY: not null, and the counters of this CPU: no other one writes to them.
        let counter = unsafe { &mut *counter };
        counter.packets += 1;
        counter.bytes += length;
    }
    if let (Verdict::Drop, Some(ban)) = (verdict, judgement.ban) {
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
    verdict
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

//! Samples of what is dropped, for whoever watches (`guardctl watch --drops`).
//!
//! Input: a packet that is being dropped. Output: its first bytes in a ring buffer, as
//! many a second on each CPU as [`Watch`] asks for; what is more is counted. Invariant:
//! while nobody watches, a drop costs one comparison more; nobody has to end the watch,
//! it ends by itself.

use aya_ebpf::btf_maps::{Array, PerCpuArray, RingBuf};
use aya_ebpf::macros::btf_map;
use guard_common::layout::{DropSample, SAMPLES_BYTES, Watch, Watched};
use guard_common::packet::{Link, Reader};

use crate::clock;

#[btf_map(name = "DROP_SAMPLES")]
static DROP_SAMPLES: RingBuf<DropSample, SAMPLES_BYTES> = RingBuf::new();

#[btf_map(name = "WATCH")]
static WATCH: Array<Watch, 1> = Array::new();

#[btf_map(name = "WATCHED")]
static WATCHED: PerCpuArray<Watched, 1> = PerCpuArray::new();

const SECOND: u64 = 1_000_000_000;

/// Puts a packet of `length` bytes that came in on an interface before whoever watches.
#[inline(always)]
pub(crate) fn take(packet: &impl Reader, link: Link, length: u64, interface: u32) {
    let Some(watch) = WATCH.get(0) else { return };
    if watch.until != 0 {
        show(packet, link, length, interface, watch);
    }
}

#[inline(always)]
fn show(packet: &impl Reader, link: Link, length: u64, interface: u32, watch: &Watch) {
    let now = clock::now();
    if now >= watch.until {
        return;
    }
    let Some(watched) = WATCHED.get_ptr_mut(0) else { return };
    // SAFETY: not null, and this CPU's own. A program that interrupts this one here may
    // miscount by one.
    let watched = unsafe { &mut *watched };
    if now.wrapping_sub(watched.since) >= SECOND {
        watched.since = now;
        watched.shown = 0;
    }
    if watched.shown >= watch.rate {
        watched.missed += 1;
        return;
    }
    let Some(mut entry) = DROP_SAMPLES.reserve(0) else {
        watched.missed += 1;
        return;
    };
    watched.shown += 1;
    // SAFETY: not null, as large and aligned as the type says, and nobody else's until it
    // is submitted; the ring's memory holds some bytes, and integers are made of any.
    let sample = unsafe { &mut *entry.as_mut_ptr() };
    sample.time = now;
    sample.length = u32::try_from(length).unwrap_or(u32::MAX);
    sample.interface = interface;
    sample.link = u32::from(link == Link::Ip);
    sample.captured = 0;
    for (place, kept) in sample.start.iter_mut().enumerate() {
        let word: Option<u32> = packet.read(place * 4);
        sample.captured += if word.is_some() { 4 } else { 0 };
        *kept = word.unwrap_or(0);
    }
    entry.submit(0);
}

//! The maps, as `guard_common::names` and `guard_common::layout` describe them.

use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC};
use core::cell::UnsafeCell;

use aya_ebpf::btf_maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray};
use aya_ebpf::macros::btf_map;
use guard_common::layout::{Ban, Counter, Meta, NetBan, PORT_CLASS_ENTRIES};
use guard_common::verdict;

/// Userspace sets the size of the ban maps when it loads the object; this one is small
/// enough for tests.
const BANS: usize = 65_536;

/// Memory is taken for each ban when it comes, not for all that could come: a host with
/// a hundred bans does not pay for a million.
const GROWING: usize = BPF_F_NO_PREALLOC as usize;

#[btf_map(name = "BANS_V4")]
pub(crate) static BANS_V4: HashMap<u32, Ban, BANS, GROWING> = HashMap::new();

#[btf_map(name = "BANS_V6")]
pub(crate) static BANS_V6: HashMap<[u64; 2], Ban, BANS, GROWING> = HashMap::new();

/// The address of `guard_common::layout::NetV4`.
pub(crate) type V4Words = [u32; 2];
/// The address of `guard_common::layout::NetV6`.
pub(crate) type V6Words = [u64; 2];

/// (A cell, because the programs count in what a look-up gives them.)
#[btf_map(name = "BANS_V4_NETS")]
pub(crate) static BANS_V4_NETS: LpmTrie<V4Words, UnsafeCell<NetBan>, BANS> = LpmTrie::new();

#[btf_map(name = "BANS_V6_NETS")]
pub(crate) static BANS_V6_NETS: LpmTrie<V6Words, UnsafeCell<NetBan>, BANS> = LpmTrie::new();

/// The agent reads all of it at once, through its own address space.
const READABLE: usize = BPF_F_MMAPABLE as usize;

#[btf_map(name = "PORT_CLASSES")]
pub(crate) static PORT_CLASSES: Array<u64, { PORT_CLASS_ENTRIES as usize }, READABLE> =
    Array::new();

#[btf_map(name = "OWN_ADDRESSES")]
pub(crate) static OWN_ADDRESSES: HashMap<[u64; 2], u8, 4096, GROWING> = HashMap::new();

#[btf_map(name = "META")]
pub(crate) static META: Array<Meta, 1> = Array::new();

#[btf_map(name = "VERDICTS")]
pub(crate) static VERDICTS: PerCpuArray<Counter, { verdict::COUNTERS }> = PerCpuArray::new();

/// Sources that the latest samples were put down to.
const SAMPLES: usize = 8192;

#[btf_map(name = "SAMPLES_V4")]
pub(crate) static SAMPLES_V4: LruHashMap<u32, Counter, SAMPLES> = LruHashMap::new();

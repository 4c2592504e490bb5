//! The `bpf(2)` system call: the commands that guard needs, each as a safe function.
//! Those on the entries of a map are in [`super::map`].
//!
//! aya loads the object; it has no batch operations, and it falls back to netlink where
//! a link cannot be made, which would not survive the agent. So maps and links are met
//! here. Batch commands are in every kernel that has XDP links (5.9 against 5.6), so
//! there is no slower way beside them.
//!
//! Invariant: every pointer that goes to the kernel is to a slice or value that lives
//! until the call returns, and its length was computed from it. Layouts are those of
//! `union bpf_attr` in `include/uapi/linux/bpf.h`; the kernel takes a shorter one and
//! fills up with zeros.

#![expect(unsafe_code, reason = "bpf(2) has no safe wrapper")]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use rustix::thread::{MembarrierCommand, membarrier};

const MAP_CREATE: u32 = 0;
pub(super) const MAP_LOOKUP: u32 = 1;
pub(super) const MAP_UPDATE: u32 = 2;
pub(super) const MAP_DELETE: u32 = 3;
pub(super) const MAP_NEXT_KEY: u32 = 4;
const OBJECT_PIN: u32 = 6;
const OBJECT_GET: u32 = 7;
const OBJECT_INFO: u32 = 15;
const PROGRAM_QUERY: u32 = 16;
pub(super) const MAP_LOOKUP_BATCH: u32 = 24;
pub(super) const MAP_UPDATE_BATCH: u32 = 26;
pub(super) const MAP_DELETE_BATCH: u32 = 27;
const LINK_CREATE: u32 = 28;
const LINK_UPDATE: u32 = 29;
const LINK_DETACH: u32 = 34;

/// `BPF_MAP_TYPE_HASH`.
pub(super) const HASH: u32 = 1;
/// `BPF_MAP_TYPE_ARRAY`.
pub(super) const ARRAY: u32 = 2;
/// `BPF_MAP_TYPE_LRU_HASH`.
pub(super) const LRU_HASH: u32 = 9;
/// `BPF_MAP_TYPE_PERCPU_ARRAY`.
pub(super) const PER_CPU_ARRAY: u32 = 6;
/// `BPF_MAP_TYPE_ARRAY_OF_MAPS`.
pub(super) const ARRAY_OF_MAPS: u32 = 12;
/// `BPF_F_MMAPABLE`: userspace may have it in its address space.
pub(super) const MMAPABLE: u32 = 1 << 10;
/// `BPF_F_INNER_MAP`: it may take the place of one of another size.
pub(super) const INNER_MAP: u32 = 1 << 12;
/// `BPF_MAP_TYPE_LPM_TRIE`.
pub(super) const LPM_TRIE: u32 = 11;
/// `BPF_F_NO_PREALLOC`.
pub(super) const NO_PREALLOCATION: u32 = 1;
/// `BPF_XDP` of `enum bpf_attach_type`.
pub(super) const ATTACH_XDP: u32 = 37;
/// `BPF_TCX_INGRESS` of `enum bpf_attach_type`.
pub(super) const ATTACH_TCX_INGRESS: u32 = 46;
/// `XDP_FLAGS_SKB_MODE`: generic XDP.
pub(super) const XDP_GENERIC: u32 = 1 << 1;
/// `XDP_FLAGS_DRV_MODE`: in the driver, or an error.
pub(super) const XDP_NATIVE: u32 = 1 << 2;
/// `BPF_F_BEFORE`: ahead of all other tcx programs.
pub(super) const TCX_FIRST: u32 = 1 << 3;

/// A `repr(C)` structure of integers, all of whose bytes are initialised.
pub(super) trait Attribute: Copy {}

macro_rules! attributes {
    ($($(#[$meta:meta])* struct $name:ident { $($field:ident: $kind:ty,)* })*) => {$(
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default)]
        pub(super) struct $name { $(pub(super) $field: $kind,)* }
        impl Attribute for $name {}
        // No padding: bytes between fields would be sent uninitialised.
        const _: () = assert!(size_of::<$name>() == 0 $(+ size_of::<$kind>())*);
    )*};
}

attributes! {
    struct MapCreate { kind: u32, key_size: u32, value_size: u32, max_entries: u32, flags: u32, inner: u32, node: u32, name: [u8; 16], }
    struct Element { map: u32, pad: u32, key: u64, value: u64, flags: u64, }
    struct Batch { input: u64, output: u64, keys: u64, values: u64, count: u32, map: u32, element_flags: u64, flags: u64, }
    struct Object { path: u64, fd: u32, flags: u32, }
    struct Info { fd: u32, length: u32, info: u64, }
    struct Query { target: u32, attach_type: u32, query_flags: u32, attach_flags: u32, ids: u64, count: u32, pad: u32, more: [u64; 4], }
    struct LinkCreate { program: u32, target: u32, attach_type: u32, flags: u32, relative: u32, pad: u32, revision: u64, }
    struct LinkUpdate { link: u32, program: u32, flags: u32, old_program: u32, }
    struct LinkFd { link: u32, }
    struct MapInfoRaw { kind: u32, id: u32, key_size: u32, value_size: u32, max_entries: u32, flags: u32, }
    struct ProgramInfoRaw { kind: u32, id: u32, tag: [u8; 8], }
    struct LinkInfoRaw { kind: u32, id: u32, program: u32, pad: u32, interface: u32, rest: [u32; 3], }
}

/// What the kernel knows of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MapInfo {
    pub(super) id: u32,
    pub(super) kind: u32,
    pub(super) key_size: u32,
    pub(super) value_size: u32,
    pub(super) max_entries: u32,
}

/// What the kernel knows of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ProgramInfo {
    pub(super) id: u32,
    /// Digest of its instructions; which maps it uses is not in it.
    pub(super) tag: [u8; 8],
}

/// What the kernel knows of an XDP or tcx link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LinkInfo {
    pub(super) id: u32,
    pub(super) program: u32,
    /// The interface; 0 when it is gone or the link was detached.
    pub(super) interface: u32,
}

/// Runs one command. `Ok` has the kernel's answer, which is never negative.
///
/// # Safety
/// Every address in `attribute` must be valid for what the command reads from it and
/// writes to it.
pub(super) unsafe fn bpf<A: Attribute>(command: u32, attribute: &mut A) -> io::Result<i32> {
    // SAFETY: `attribute` is a live `repr(C)` value of the given size without padding
    // (asserted by `attributes!`); the caller vouches for the addresses in it.
    let answer = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attribute), size_of::<A>())
    };
    if answer < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(i32::try_from(answer).unwrap_or(0))
    }
}

/// As [`bpf`], for commands that answer with a new descriptor.
///
/// # Safety
/// As for [`bpf`], and the command must be one of those.
unsafe fn bpf_descriptor<A: Attribute>(command: u32, attribute: &mut A) -> io::Result<OwnedFd> {
    // SAFETY: the caller vouches for the addresses.
    let number = unsafe { bpf(command, attribute) }?;
    // SAFETY: the kernel made this descriptor for us, and nothing else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

pub(super) fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

pub(super) fn address<T>(value: *const T) -> u64 {
    value.expose_provenance() as u64
}

fn path_text(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

/// Makes a map whose name (at most 15 characters) is for people.
pub(super) fn create_map(
    name: &str,
    kind: u32,
    (key_size, value_size): (u32, u32),
    max_entries: u32,
    flags: u32,
) -> io::Result<OwnedFd> {
    let mut text = [0; 16];
    for (to, from) in text[..15].iter_mut().zip(name.bytes()) {
        *to = from;
    }
    let mut attribute = MapCreate {
        kind,
        key_size,
        value_size,
        max_entries,
        flags,
        name: text,
        ..MapCreate::default()
    };
    // SAFETY: there is no address in it.
    unsafe { bpf_descriptor(MAP_CREATE, &mut attribute) }
}

/// Pins a map, program or link to a name in a bpffs that is not there yet.
pub(super) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let text = path_text(path)?;
    let mut attribute = Object { path: address(text.as_ptr()), fd: number(object), flags: 0 };
    // SAFETY: the one address is that of `text`, which ends in a zero byte and lives on.
    unsafe { bpf(OBJECT_PIN, &mut attribute) }.map(drop)
}

/// Opens what is pinned under a name.
pub(super) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let text = path_text(path)?;
    let mut attribute = Object { path: address(text.as_ptr()), ..Object::default() };
    // SAFETY: the one address is that of `text`, which ends in a zero byte and lives on.
    unsafe { bpf_descriptor(OBJECT_GET, &mut attribute) }
}

fn object_info<A: Attribute + Default>(object: BorrowedFd<'_>) -> io::Result<A> {
    let mut info = A::default();
    let mut attribute = Info {
        fd: number(object),
        length: u32::try_from(size_of::<A>()).map_err(io::Error::other)?,
        info: address(&raw mut info),
    };
    // SAFETY: the one address is that of `info`, with its length beside it; any bytes
    // are a value of a type that is made of integers.
    unsafe { bpf(OBJECT_INFO, &mut attribute) }?;
    Ok(info)
}

/// Asks what a map is.
pub(super) fn map_info(map: BorrowedFd<'_>) -> io::Result<MapInfo> {
    let MapInfoRaw { kind, id, key_size, value_size, max_entries, .. } = object_info(map)?;
    Ok(MapInfo { id, kind, key_size, value_size, max_entries })
}

/// Asks what a program is.
pub(super) fn program_info(program: BorrowedFd<'_>) -> io::Result<ProgramInfo> {
    let ProgramInfoRaw { id, tag, .. } = object_info(program)?;
    Ok(ProgramInfo { id, tag })
}

/// Asks what a link joins.
pub(super) fn link_info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    let LinkInfoRaw { id, program, interface, .. } = object_info(link)?;
    Ok(LinkInfo { id, program, interface })
}

/// Attaches a program to an interface for as long as the link is open or pinned.
pub(super) fn create_link(
    program: BorrowedFd<'_>,
    interface: u32,
    attach_type: u32,
    flags: u32,
) -> io::Result<OwnedFd> {
    let mut attribute = LinkCreate {
        program: number(program),
        target: interface,
        attach_type,
        flags,
        ..LinkCreate::default()
    };
    // SAFETY: there is no address in it.
    unsafe { bpf_descriptor(LINK_CREATE, &mut attribute) }
}

/// Puts another program behind a link; no packet passes in between.
pub(super) fn update_link(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attribute =
        LinkUpdate { link: number(link), program: number(program), ..LinkUpdate::default() };
    // SAFETY: there is no address in it.
    unsafe { bpf(LINK_UPDATE, &mut attribute) }.map(drop)
}

/// Ends a link, whoever else holds it.
pub(super) fn detach_link(link: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: there is no address in it.
    unsafe { bpf(LINK_DETACH, &mut LinkFd { link: number(link) }) }.map(drop)
}

/// Whether the kernel knows tcx, asked of one interface without touching it.
pub(super) fn knows_tcx(interface: u32) -> io::Result<bool> {
    let mut attribute =
        Query { target: interface, attach_type: ATTACH_TCX_INGRESS, ..Query::default() };
    // SAFETY: the one address is null, which asks for no list.
    match unsafe { bpf(PROGRAM_QUERY, &mut attribute) } {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(false),
        Err(error) => Err(error),
    }
}

/// How long no program runs, for kernels that do not tell when those that run have ended.
const LONGEST_RUN: Duration = Duration::from_millis(10);

/// Returns when every program that runs now has ended.
pub(super) fn wait_for_programs() {
    // On hosts with processors that are kept free of the tick (`nohz_full`) it is refused.
    if membarrier(MembarrierCommand::Global).is_err() {
        std::thread::sleep(LONGEST_RUN);
    }
}

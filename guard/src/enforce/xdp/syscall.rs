//! The `bpf(2)` system call: the commands that guard needs, each as a safe function.
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

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const MAP_CREATE: u32 = 0;
const MAP_LOOKUP: u32 = 1;
const MAP_UPDATE: u32 = 2;
const MAP_DELETE: u32 = 3;
const OBJECT_PIN: u32 = 6;
const OBJECT_GET: u32 = 7;
const OBJECT_INFO: u32 = 15;
const PROGRAM_QUERY: u32 = 16;
const MAP_LOOKUP_BATCH: u32 = 24;
const MAP_UPDATE_BATCH: u32 = 26;
const MAP_DELETE_BATCH: u32 = 27;
const LINK_CREATE: u32 = 28;
const LINK_UPDATE: u32 = 29;
const LINK_DETACH: u32 = 34;

/// `BPF_MAP_TYPE_HASH`.
pub(super) const HASH: u32 = 1;
/// `BPF_MAP_TYPE_ARRAY`.
pub(super) const ARRAY: u32 = 2;
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
trait Attribute: Copy {}

macro_rules! attributes {
    ($($(#[$meta:meta])* struct $name:ident { $($field:ident: $kind:ty,)* })*) => {$(
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default)]
        struct $name { $($field: $kind,)* }
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
#[expect(unsafe_code, reason = "bpf(2) has no wrapper in libc")]
fn bpf<A: Attribute>(command: u32, attribute: &mut A) -> io::Result<i32> {
    // SAFETY: `attribute` is a live `repr(C)` value of the given size without padding
    // (asserted by `attributes!`). The kernel follows only the addresses in it; the
    // callers in this file take care of those (see the module's invariant).
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
#[expect(unsafe_code, reason = "bpf(2) answers with a bare number")]
fn bpf_descriptor<A: Attribute>(command: u32, attribute: &mut A) -> io::Result<OwnedFd> {
    let number = bpf(command, attribute)?;
    // SAFETY: the callers use commands that make a descriptor, so the kernel made this
    // one for us and nothing else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn address<T>(value: *const T) -> u64 {
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
    bpf_descriptor(MAP_CREATE, &mut attribute)
}

/// Pins a map, program or link to a name in a bpffs that is not there yet.
pub(super) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let text = path_text(path)?;
    let mut attribute = Object { path: address(text.as_ptr()), fd: number(object), flags: 0 };
    bpf(OBJECT_PIN, &mut attribute).map(drop)
}

/// Opens what is pinned under a name.
pub(super) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let text = path_text(path)?;
    bpf_descriptor(OBJECT_GET, &mut Object { path: address(text.as_ptr()), ..Object::default() })
}

fn object_info<A: Attribute + Default>(object: BorrowedFd<'_>) -> io::Result<A> {
    let mut info = A::default();
    let mut attribute = Info {
        fd: number(object),
        length: u32::try_from(size_of::<A>()).map_err(io::Error::other)?,
        info: address(&raw mut info),
    };
    bpf(OBJECT_INFO, &mut attribute)?;
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
    bpf_descriptor(LINK_CREATE, &mut attribute)
}

/// Puts another program behind a link; no packet passes in between.
pub(super) fn update_link(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attribute =
        LinkUpdate { link: number(link), program: number(program), ..LinkUpdate::default() };
    bpf(LINK_UPDATE, &mut attribute).map(drop)
}

/// Ends a link, whoever else holds it.
pub(super) fn detach_link(link: BorrowedFd<'_>) -> io::Result<()> {
    bpf(LINK_DETACH, &mut LinkFd { link: number(link) }).map(drop)
}

/// Whether the kernel knows tcx, asked of one interface without touching it.
pub(super) fn knows_tcx(interface: u32) -> io::Result<bool> {
    let mut attribute =
        Query { target: interface, attach_type: ATTACH_TCX_INGRESS, ..Query::default() };
    match bpf(PROGRAM_QUERY, &mut attribute) {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(false),
        Err(error) => Err(error),
    }
}

/// A hash or array map whose key and value are known to have the sizes of `K` and `V`.
#[derive(Debug)]
pub(super) struct Map<K, V> {
    fd: OwnedFd,
    info: MapInfo,
    types: std::marker::PhantomData<(K, V)>,
}

/// Where a walk over a map stands. Hash maps say so in 4 bytes, arrays in a key.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cursor(Option<[u64; 2]>);

impl<K: aya::Pod + Default, V: aya::Pod + Default> Map<K, V> {
    /// Takes a map whose sizes are what the types say.
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        let info = map_info(fd.as_fd())?;
        let sizes = (info.key_size as usize, info.value_size as usize);
        // Values of per-CPU maps are longer than the kernel says.
        if !matches!(info.kind, HASH | ARRAY) || sizes != (size_of::<K>(), size_of::<V>()) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the pinned map {} has another kind or layout", info.id),
            ));
        }
        Ok(Self { fd, info, types: std::marker::PhantomData })
    }

    /// What the kernel knows of it.
    pub(super) fn info(&self) -> MapInfo {
        self.info
    }

    fn element(&self, key: &K, value: *const V) -> Element {
        Element {
            map: number(self.fd.as_fd()),
            key: address(std::ptr::from_ref(key)),
            value: address(value),
            ..Element::default()
        }
    }

    /// The value of a key.
    pub(super) fn look_up(&self, key: &K) -> io::Result<Option<V>> {
        let mut value = V::default();
        match bpf(MAP_LOOKUP, &mut self.element(key, &raw mut value)) {
            Ok(_) => Ok(Some(value)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sets the value of a key.
    pub(super) fn update(&self, key: &K, value: &V) -> io::Result<()> {
        bpf(MAP_UPDATE, &mut self.element(key, std::ptr::from_ref(value))).map(drop)
    }

    /// Removes a key that may be there.
    pub(super) fn delete(&self, key: &K) -> io::Result<()> {
        match bpf(MAP_DELETE, &mut self.element(key, std::ptr::null())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Sets many values. On an error, the number of those that were set comes with it.
    pub(super) fn update_batch(&self, keys: &[K], values: &[V]) -> Result<(), (usize, io::Error)> {
        assert_eq!(keys.len(), values.len(), "one value for each key");
        let mut done = 0;
        let mut shortages = 0;
        while done < keys.len() {
            let mut batch = Batch {
                keys: address(keys[done..].as_ptr()),
                values: address(values[done..].as_ptr()),
                count: u32::try_from(keys.len() - done).unwrap_or(u32::MAX),
                map: number(self.fd.as_fd()),
                ..Batch::default()
            };
            let result = bpf(MAP_UPDATE_BATCH, &mut batch);
            // The kernel writes back how many it did, also when it fails.
            done += batch.count as usize;
            match result {
                // Memory for map entries is taken from a small stock that the kernel
                // fills up beside us; give it a moment, and give up if it cannot.
                Err(error) if error.raw_os_error() == Some(libc::ENOMEM) && shortages < 1000 => {
                    shortages = if batch.count > 0 { 0 } else { shortages + 1 };
                    std::thread::yield_now();
                }
                other => drop(other.map_err(|error| (done, error))?),
            }
        }
        Ok(())
    }

    /// Removes many keys, which may be there or not.
    pub(super) fn delete_batch(&self, keys: &[K]) -> io::Result<()> {
        let mut done = 0;
        while done < keys.len() {
            let mut batch = Batch {
                keys: address(keys[done..].as_ptr()),
                count: u32::try_from(keys.len() - done).unwrap_or(u32::MAX),
                map: number(self.fd.as_fd()),
                ..Batch::default()
            };
            let result = bpf(MAP_DELETE_BATCH, &mut batch);
            done += batch.count as usize;
            match result {
                // The first one that is not there ends the batch: step over it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => done += 1,
                other => drop(other?),
            }
        }
        Ok(())
    }

    /// Reads on from `cursor` into the vectors, which are overwritten. `false`: that
    /// was the last. Hash maps are read by whole buckets, so whoever replaces or
    /// removes only what was read meanwhile misses nothing and sees nothing twice.
    pub(super) fn walk(
        &self,
        cursor: &mut Cursor,
        keys: &mut Vec<K>,
        values: &mut Vec<V>,
    ) -> io::Result<bool> {
        let mut room = 4096.min(self.info.max_entries as usize).max(64);
        loop {
            keys.clear();
            keys.resize(room, K::default());
            values.clear();
            values.resize(room, V::default());
            let mut next = [0_u64; 2];
            let mut batch = Batch {
                input: cursor.0.as_ref().map_or(0, |at| address(at.as_ptr())),
                output: address(next.as_mut_ptr()),
                keys: address(keys.as_mut_ptr()),
                values: address(values.as_mut_ptr()),
                count: u32::try_from(room).unwrap_or(u32::MAX),
                map: number(self.fd.as_fd()),
                ..Batch::default()
            };
            let result = bpf(MAP_LOOKUP_BATCH, &mut batch);
            let more = match result {
                Ok(_) => true,
                Err(error) if error.kind() == io::ErrorKind::NotFound => false,
                // One bucket is longer than the room for it.
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                    room *= 2;
                    continue;
                }
                Err(error) => return Err(error),
            };
            keys.truncate(batch.count as usize);
            values.truncate(batch.count as usize);
            *cursor = Cursor(Some(next));
            return Ok(more);
        }
    }
}

/// One key's values on all possible CPUs of a per-CPU map.
pub(super) fn look_up_per_cpu<V: aya::Pod + Default>(
    map: BorrowedFd<'_>,
    key: u32,
    possible_cpus: usize,
) -> io::Result<Vec<V>> {
    // The kernel writes each value at a multiple of 8 bytes.
    if !size_of::<V>().is_multiple_of(8) || map_info(map)?.value_size as usize != size_of::<V>() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "values of another size"));
    }
    let mut values = vec![V::default(); possible_cpus];
    let mut attribute = Element {
        map: number(map),
        key: address(&raw const key),
        value: address(values.as_mut_ptr()),
        ..Element::default()
    };
    bpf(MAP_LOOKUP, &mut attribute)?;
    Ok(values)
}

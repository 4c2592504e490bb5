//! Entries of BPF maps, one by one and in batches.
//!
//! Invariant: a [`Map`] is made only of a map whose key and value have the sizes of the
//! types, so the kernel reads and writes as many bytes as there are. Both are plain
//! bytes ([`aya::Pod`]), so whatever it writes is a value.

#![expect(unsafe_code, reason = "bpf(2) has no safe wrapper")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::syscall::{
    ARRAY, ARRAY_OF_MAPS, Batch, Element, HASH, LPM_TRIE, LRU_HASH, MAP_DELETE, MAP_DELETE_BATCH,
    MAP_LOOKUP, MAP_LOOKUP_BATCH, MAP_NEXT_KEY, MAP_UPDATE, MAP_UPDATE_BATCH, MapInfo,
    PER_CPU_ARRAY, address, bpf, map_info, number,
};

/// A hash, array or prefix map whose key and value are known to have the sizes of `K` and `V`.
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
        if !matches!(info.kind, HASH | LRU_HASH | ARRAY | ARRAY_OF_MAPS | LPM_TRIE)
            || sizes != (size_of::<K>(), size_of::<V>())
        {
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

    /// Its descriptor.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
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
        let mut element = self.element(key, &raw mut value);
        // SAFETY: it points to `key` and `value`, which have the map's sizes and live on.
        match unsafe { bpf(MAP_LOOKUP, &mut element) } {
            Ok(_) => Ok(Some(value)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sets the value of a key.
    pub(super) fn update(&self, key: &K, value: &V) -> io::Result<()> {
        let mut element = self.element(key, std::ptr::from_ref(value));
        // SAFETY: it points to `key` and `value`, which have the map's sizes.
        unsafe { bpf(MAP_UPDATE, &mut element) }.map(drop)
    }

    /// Removes a key that may be there.
    pub(super) fn delete(&self, key: &K) -> io::Result<()> {
        let mut element = self.element(key, std::ptr::null());
        // SAFETY: it points to `key`, which has the map's size; no value is looked at.
        match unsafe { bpf(MAP_DELETE, &mut element) } {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The first key, in the map's own order.
    pub(super) fn first_key(&self) -> io::Result<Option<K>> {
        self.key_after(None)
    }

    fn key_after(&self, key: Option<&K>) -> io::Result<Option<K>> {
        let mut next = K::default();
        let mut element = Element {
            map: number(self.fd.as_fd()),
            key: key.map_or(0, |key| address(std::ptr::from_ref(key))),
            value: address(&raw mut next),
            ..Element::default()
        };
        // SAFETY: it points to a key of the map's size or to none, and to room for another.
        match unsafe { bpf(MAP_NEXT_KEY, &mut element) } {
            Ok(_) => Ok(Some(next)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Gives every entry, one system call after the other: prefix maps know no batches
    /// before Linux 5.13. Nobody may remove entries meanwhile.
    pub(super) fn each(&self, mut with: impl FnMut(K, V)) -> io::Result<()> {
        let mut at = self.first_key()?;
        while let Some(key) = at {
            if let Some(value) = self.look_up(&key)? {
                with(key, value);
            }
            at = self.key_after(Some(&key))?;
        }
        Ok(())
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
            // SAFETY: it points to as many keys and values of the map's sizes as it says.
            let result = unsafe { bpf(MAP_UPDATE_BATCH, &mut batch) };
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
            // SAFETY: it points to as many keys of the map's size as it says.
            let result = unsafe { bpf(MAP_DELETE_BATCH, &mut batch) };
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
            // SAFETY: it points to room for as many keys and values as it says, and to two
            // cursors of 16 bytes, of which the kernel uses 4 (no array has longer keys).
            let result = unsafe { bpf(MAP_LOOKUP_BATCH, &mut batch) };
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

impl Map<u32, u64> {
    /// All values of an array that may be mapped, in order: a thousand times as fast as by
    /// batches.
    pub(super) fn values(&self) -> io::Result<Vec<u64>> {
        let count = self.info.max_entries as usize;
        let (protection, fd) = (libc::PROT_READ, self.fd.as_raw_fd());
        let length = count * size_of::<u64>();
        // SAFETY: a new mapping at an address that the kernel chooses, of a map that has
        // as many bytes.
        let start = unsafe {
            libc::mmap(std::ptr::null_mut(), length, protection, libc::MAP_SHARED, fd, 0)
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let first: *const u64 = start.cast_const().cast();
        let value = |place| {
            // SAFETY: `place` is below the number of values that were mapped.
            let value = unsafe { first.add(place) };
            // SAFETY: others may write meanwhile, but whole words, and a volatile load is one.
            unsafe { value.read_volatile() }
        };
        let values = (0..count).map(value).collect();
        // SAFETY: what was mapped above; nothing points into it any more.
        unsafe { libc::munmap(start, length) };
        Ok(values)
    }
}

/// Gives what keys of a per-CPU map hold on every possible CPU.
pub(super) fn each_per_cpu<V: aya::Pod + Default>(
    map: BorrowedFd<'_>,
    keys: impl IntoIterator<Item = u32>,
    mut each: impl FnMut(&V),
) -> io::Result<()> {
    let info = map_info(map)?;
    // The kernel writes each value at a multiple of 8 bytes.
    if !size_of::<V>().is_multiple_of(8)
        || (info.kind, info.key_size) != (PER_CPU_ARRAY, 4)
        || info.value_size as usize != size_of::<V>()
    {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a map of another layout"));
    }
    let possible_cpus = aya::util::nr_cpus().map_err(|(_, cause)| cause)?;
    let mut values = vec![V::default(); possible_cpus];
    for key in keys {
        let mut attribute = Element {
            map: number(map),
            key: address(&raw const key),
            value: address(values.as_mut_ptr()),
            ..Element::default()
        };
        // SAFETY: it points to a key of the map's size (4 bytes, checked with the kind) and
        // to room for one value of its size for each CPU that there can be.
        unsafe { bpf(MAP_LOOKUP, &mut attribute) }?;
        values.iter().for_each(&mut each);
    }
    Ok(())
}

//! A table's memory: a map of lines that this process has in its address space.
//!
//! Invariant: the mapping covers as many lines as the map has, and lasts as long as the
//! [`Lines`]. Programs read it meanwhile; nothing else writes to it.

#![expect(unsafe_code, reason = "mmap(2) has no safe wrapper")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use guard_common::table::{Memory, Seed, WORDS};

use super::super::syscall;

/// Bytes of a line.
const LINE: usize = WORDS * size_of::<u64>();

/// The lines of one table.
#[derive(Debug)]
pub(in super::super) struct Lines {
    fd: OwnedFd,
    words: NonNull<AtomicU64>,
    lines: u32,
}

// SAFETY: the mapping belongs to the process, not to a thread, and its words are atomic.
unsafe impl Send for Lines {}

impl Lines {
    /// Makes a map of so many lines, all zeros.
    pub(super) fn create(lines: u32) -> io::Result<Self> {
        let flags = syscall::MMAPABLE | syscall::INNER_MAP;
        let size = u32::try_from(LINE).map_err(io::Error::other)?;
        Self::open(syscall::create_map("TABLE_LINES", syscall::ARRAY, (4, size), lines, flags)?)
    }

    /// Takes a map of lines.
    pub(super) fn open(fd: OwnedFd) -> io::Result<Self> {
        let info = syscall::map_info(fd.as_fd())?;
        if info.kind != syscall::ARRAY || info.value_size as usize != LINE {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a map of lines"));
        }
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let length = info.max_entries as usize * LINE;
        // SAFETY: a new mapping at an address that the kernel chooses, of a map that has
        // as many bytes.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                protection,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let words = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at 0"))?;
        Ok(Self { fd, words, lines: info.max_entries })
    }

    /// The map.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn word(&self, line: u32, place: usize) -> &AtomicU64 {
        assert!(line < self.lines && place < WORDS, "word {place} of line {line}");
        // SAFETY: below the end of the mapping, as was just compared.
        let word = unsafe { self.words.add(line as usize * WORDS + place) };
        // SAFETY: aligned, because mappings begin with a page; it lives as long as `self`,
        // and all who write to it do so atomically.
        unsafe { word.as_ref() }
    }
}

impl Memory for Lines {
    fn lines(&self) -> u32 {
        self.lines
    }

    fn load(&self, line: u32, place: usize) -> u64 {
        self.word(line, place).load(Ordering::Acquire)
    }

    fn store(&mut self, line: u32, place: usize, word: u64) {
        self.word(line, place).store(word, Ordering::Release);
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        // SAFETY: what `open` mapped; no reference into it outlives `self`.
        unsafe { libc::munmap(self.words.as_ptr().cast(), self.lines as usize * LINE) };
    }
}

/// A secret for the mix.
pub(super) fn seed() -> io::Result<Seed> {
    let mut seed = [0_u64; 3];
    let length = size_of_val(&seed);
    // SAFETY: the kernel writes at most as many bytes as there are.
    let written = unsafe { libc::getrandom(seed.as_mut_ptr().cast(), length, 0) };
    if usize::try_from(written) != Ok(length) {
        return Err(io::Error::last_os_error());
    }
    Ok(Seed(seed))
}

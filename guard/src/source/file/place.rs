//! Where reading goes on, as text: the files of one log that are not read to their end,
//! oldest first, each by its inode and by a hash of what it holds.
//!
//! ```text
//! 1 DEVICE:INODE:BORN:OFFSET:FLAGS:HEAD:TAIL …      hexadecimal
//! ```
//!
//! An inode alone proves nothing: numbers are used again as soon as a file is deleted,
//! so the time when it was made is a part of it, where the file system knows that. And a
//! file may be emptied and written anew: HEAD is a hash of the first bytes before
//! the offset, TAIL of the last ones.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::UNIX_EPOCH;

/// Bytes at the beginning, and before the offset, by which a file is known again.
pub(super) const KNOWN_BYTES: usize = 512;

/// Which file, while it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    /// Nanoseconds since the epoch; 0 if not known.
    born: u64,
}

impl Identity {
    pub(super) fn of(metadata: &Metadata) -> Self {
        let born = metadata.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok());
        let born = born.and_then(|born| u64::try_from(born.as_nanos()).ok()).unwrap_or(0);
        Self { device: metadata.dev(), inode: metadata.ino(), born }
    }
}

/// A place in one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) identity: Identity,
    /// Of the first byte that was not handed on.
    pub(super) offset: u64,
    /// The line at the offset was too long and is handed on already; its rest is left
    /// out.
    pub(super) skipping: bool,
    pub(super) head: u64,
    pub(super) tail: u64,
}

impl Mark {
    /// Whether a file holds what was read when the mark was made. For a mark at the
    /// beginning any file does.
    pub(super) fn fits(&self, file: &File) -> io::Result<bool> {
        let (Some(head), Some(tail)) = (head(file, self.offset)?, tail(file, self.offset)?) else {
            return Ok(false);
        };
        Ok(hash(&head) == self.head && hash(&tail) == self.tail)
    }
}

/// The first known bytes of a file that was read up to `offset`; `None` if it is
/// shorter than that.
pub(super) fn head(file: &File, offset: u64) -> io::Result<Option<Vec<u8>>> {
    let length = usize::try_from(offset).unwrap_or(usize::MAX).min(KNOWN_BYTES);
    bytes(file, 0, length)
}

/// The known bytes before `offset`.
pub(super) fn tail(file: &File, offset: u64) -> io::Result<Option<Vec<u8>>> {
    let length = offset.min(KNOWN_BYTES as u64);
    bytes(file, offset - length, usize::try_from(length).unwrap_or(KNOWN_BYTES))
}

fn bytes(file: &File, offset: u64, length: usize) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = vec![0; length];
    match file.read_exact_at(&mut bytes, offset) {
        Ok(()) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// FNV-1a: the same in every version of guard.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Marks as text.
pub(super) fn write(marks: &[Mark]) -> String {
    let mut text = String::from("1");
    for mark in marks {
        let Mark { identity: Identity { device, inode, born }, .. } = mark;
        let Mark { offset, head, tail, .. } = mark;
        let flags = u8::from(mark.skipping);
        text.push_str(&format!(
            " {device:x}:{inode:x}:{born:x}:{offset:x}:{flags:x}:{head:x}:{tail:x}"
        ));
    }
    text
}

/// The marks of a text; `None` for one that this version did not write.
pub(super) fn read(text: &str) -> Option<Vec<Mark>> {
    let mut words = text.split(' ');
    if words.next() != Some("1") {
        return None;
    }
    words.map(mark).collect()
}

fn mark(word: &str) -> Option<Mark> {
    let mut numbers = word.split(':').map(|number| u64::from_str_radix(number, 16).ok());
    let mut next = || numbers.next().flatten();
    let identity = Identity { device: next()?, inode: next()?, born: next()? };
    let (offset, flags) = (next()?, next()?);
    let mark = Mark { identity, offset, skipping: flags & 1 != 0, head: next()?, tail: next()? };
    numbers.next().is_none().then_some(mark)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mark = |offset| Mark {
            identity: Identity { device: 0xfd01, inode: u64::MAX, born: 1 },
            offset,
            skipping: offset > 0,
            head: 7,
            tail: u64::MAX,
        };
        for marks in [vec![], vec![mark(0)], vec![mark(1), mark(u64::MAX)]] {
            assert_eq!(read(&write(&marks)), Some(marks));
        }
        for text in ["", "2 1:2:0:3:0:4:5", "1 1:2:0:3:0:4", "1 1:2:0:3:0:4:5:6", "1 x:2:0:3:0:4:5"]
        {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_file_is_known_by_what_it_holds() {
        let mut file = tempfile::tempfile().expect("a file");
        let text: Vec<u8> = (0..2_000u32).flat_map(u32::to_le_bytes).collect();
        file.write_all(&text).expect("written");
        let at = |offset| Mark {
            identity: Identity { device: 1, inode: 1, born: 0 },
            offset,
            skipping: false,
            head: hash(&head(&file, offset).expect("read").expect("long enough")),
            tail: hash(&tail(&file, offset).expect("read").expect("long enough")),
        };
        let marks = [0, 1, 511, 513, 8_000].map(at);
        assert!(marks.iter().all(|mark| mark.fits(&file).expect("read")));
        // Shorter, or other bytes before the offset: only what lies before both fits.
        file.set_len(7_999).expect("cut");
        assert_eq!(
            marks.map(|mark| mark.fits(&file).expect("read")),
            [true, true, true, true, false]
        );
        file.write_all_at(b"x", 200).expect("written");
        assert_eq!(
            marks.map(|mark| mark.fits(&file).expect("read")),
            [true, true, false, false, false]
        );
    }
}

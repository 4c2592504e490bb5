//! One open file, read line by line.
//!
//! Invariant: each byte before `offset` was handed on or left out on purpose, and the
//! bytes that are remembered of before it are still there; otherwise it says that the
//! file was truncated, however far it has grown since.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use super::encoding::Framing;
use super::place::{self, Identity, KNOWN_BYTES, Mark};
use super::{LINE_BYTES, READ_BYTES};

/// Bytes of the buffer that [`Opened::read`] needs.
pub(super) const BUFFER_BYTES: usize = KNOWN_BYTES + READ_BYTES;

/// An open file and how far it was read.
#[derive(Debug)]
pub(super) struct Opened {
    file: File,
    identity: Identity,
    offset: u64,
    skipping: bool,
    /// The first bytes before `offset`.
    head: Vec<u8>,
    /// The last bytes before `offset`.
    tail: Vec<u8>,
    /// How long it was when it was last read.
    seen: u64,
    /// When it had grown last.
    pub(super) grown: Duration,
}

/// What one read came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// There is more to read.
    More,
    /// All of it was read, but for a line that is not at its end yet.
    End,
    /// What was read before is not there any more.
    Truncated,
}

/// Takes a line without its newline, and whether it was cut; says whether it can take
/// another one.
pub(super) type Sink<'s> = dyn FnMut(&[u8], bool) -> bool + 's;

impl Opened {
    /// Opens a regular file, without waiting and without following anything that blocks.
    pub(super) fn open(path: &Path, now: Duration) -> io::Result<Self> {
        let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
        let flags = flags.bits().cast_signed();
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        Ok(Self {
            identity: Identity::of(&metadata),
            file,
            offset: 0,
            skipping: false,
            head: Vec::new(),
            tail: Vec::new(),
            seen: 0,
            grown: now,
        })
    }

    /// Goes on after a mark that fits.
    pub(super) fn seek_to_mark(&mut self, mark: &Mark) -> io::Result<()> {
        self.seek(mark.offset)?;
        self.skipping = mark.skipping;
        Ok(())
    }

    /// Begins with the first line that begins at `offset` or later.
    pub(super) fn seek_to_line(&mut self, offset: u64, framing: Framing) -> io::Result<()> {
        let width = framing.width() as u64;
        let offset = offset - offset % width;
        if offset == 0 {
            return self.seek(0);
        }
        // The newline before that place may be the end of the line before.
        self.seek(offset - width)?;
        self.skipping = true;
        Ok(())
    }

    /// Begins anew.
    pub(super) fn rewind(&mut self) {
        self.offset = 0;
        self.skipping = false;
        self.seen = 0;
        self.head.clear();
        self.tail.clear();
    }

    fn seek(&mut self, offset: u64) -> io::Result<()> {
        self.rewind();
        self.head = place::head(&self.file, offset)?.unwrap_or_default();
        self.tail = place::tail(&self.file, offset)?.unwrap_or_default();
        self.offset = offset;
        Ok(())
    }

    /// Hands on what is there, up to a chunk, in whole lines. `buffer` has
    /// [`BUFFER_BYTES`].
    pub(super) fn read(
        &mut self,
        framing: Framing,
        buffer: &mut [u8],
        now: Duration,
        sink: &mut Sink<'_>,
    ) -> io::Result<Seen> {
        let known = self.tail.len();
        let wanted = known + READ_BYTES;
        let length = fill(&self.file, &mut buffer[..wanted], self.offset - known as u64)?;
        let Some(data) = buffer[..length].strip_prefix(self.tail.as_slice()) else {
            return Ok(Seen::Truncated);
        };
        let end = self.offset + data.len() as u64;
        if end > self.seen {
            self.seen = end;
            self.grown = now;
        }
        let (consumed, full) = self.lines(framing, data, sink);
        let read = known + consumed;
        if self.offset == known as u64 && known < KNOWN_BYTES {
            self.head = buffer[..read.min(KNOWN_BYTES)].to_vec();
        }
        self.tail = buffer[read.saturating_sub(KNOWN_BYTES)..read].to_vec();
        self.offset += consumed as u64;
        Ok(if full || length == wanted { Seen::More } else { Seen::End })
    }

    /// Hands on whole lines; how many bytes that were, and whether the sink is full.
    fn lines(&mut self, framing: Framing, data: &[u8], sink: &mut Sink<'_>) -> (usize, bool) {
        let width = framing.width();
        let mut at = 0;
        if self.skipping {
            match framing.newline(data) {
                Some(end) => at = end + width,
                None => return (data.len() - data.len() % width, false),
            }
            self.skipping = false;
        }
        loop {
            at += hole(framing, &data[at..]);
            let rest = &data[at..];
            match framing.newline(rest) {
                Some(end) => {
                    at += end + width;
                    if !sink(&rest[..end.min(LINE_BYTES)], end > LINE_BYTES) {
                        return (at, true);
                    }
                }
                None if rest.len() >= LINE_BYTES => {
                    self.skipping = true;
                    let full = !sink(&rest[..LINE_BYTES], true);
                    return (data.len() - rest.len() % width, full);
                }
                None => return (at, false),
            }
        }
    }

    /// Hands on a last line that has no newline, because none will come; says whether
    /// there was one.
    pub(super) fn rest(&mut self, framing: Framing, sink: &mut Sink<'_>) -> io::Result<bool> {
        let mut buffer = vec![0; LINE_BYTES];
        let length = fill(&self.file, &mut buffer, self.offset)?;
        let rest = &buffer[hole(framing, &buffer[..length])..length];
        if rest.is_empty() || self.skipping {
            return Ok(false);
        }
        sink(rest, false);
        Ok(true)
    }

    pub(super) fn identity(&self) -> Identity {
        self.identity
    }

    /// How far it was read.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) fn metadata(&self) -> io::Result<Metadata> {
        self.file.metadata()
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// The place that was reached.
    pub(super) fn mark(&self) -> Mark {
        Mark {
            identity: self.identity,
            offset: self.offset,
            skipping: self.skipping,
            head: place::hash(&self.head),
            tail: place::hash(&self.tail),
        }
    }
}

/// Zero bytes at the beginning of a line, which are left out: a writer that does not
/// append leaves a hole in a file that was truncated. At the end of the data they may
/// be written over yet, unless they are very many.
fn hole(framing: Framing, data: &[u8]) -> usize {
    if framing != Framing::Byte || data.first() != Some(&0) {
        return 0;
    }
    match data.iter().position(|byte| *byte != 0) {
        Some(end) => end,
        None if data.len() >= LINE_BYTES => data.len(),
        None => 0,
    }
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read_at(&mut buffer[length..], offset + length as u64) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

//! One path and those who read it: from lines to batches.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use super::chain::{Begin, Chain};
use super::encoding::{Encoding, Framing};
use super::opened::Seen;
use super::watch::Watch;
use super::{BATCH_ENTRIES, Counters, Interest, Now, place, prefix};
use crate::core::entry::{Batch, Dating, Entry, Position};
use crate::core::jail::JailId;
use crate::core::time::Timestamp;

/// Chunks that are read for one batch.
const CHUNKS: usize = 16;
/// How long a position that moved without an entry for any jail may wait to be sent,
/// and over how many chunks.
const POSITION_DELAY: Duration = Duration::from_secs(60);
const POSITION_CHUNKS: usize = 256;

/// Who reads a path, and as what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Audience {
    /// Jails by the encoding in which they read.
    pub(super) readers: Vec<(Encoding, Vec<JailId>)>,
    /// None of them wants what was written before the path was first seen.
    pub(super) from_end: bool,
}

impl Audience {
    /// Adds a jail. An encoding in which lines end differently from those of the first
    /// cannot be added.
    pub(super) fn add(&mut self, jail: JailId, encoding: Encoding, from_end: bool) -> bool {
        if self.readers.first().is_some_and(|(first, _)| first.framing() != encoding.framing()) {
            return false;
        }
        self.from_end = from_end && (self.readers.is_empty() || self.from_end);
        let position = self.readers.iter().position(|(own, _)| *own == encoding);
        let reader = position.unwrap_or_else(|| {
            self.readers.push((encoding, Vec::new()));
            self.readers.len() - 1
        });
        let jails = &mut self.readers[reader].1;
        jails.push(jail);
        jails.sort_unstable();
        jails.dedup();
        true
    }

    pub(super) fn jails(&self) -> Vec<JailId> {
        let mut jails: Vec<JailId> =
            self.readers.iter().flat_map(|(_, jails)| jails).copied().collect();
        jails.sort_unstable();
        jails
    }

    fn framing(&self) -> Framing {
        self.readers.first().map_or(Framing::Byte, |(encoding, _)| encoding.framing())
    }
}

/// The name of a path in [`Position::source`].
pub(super) fn source(path: &Path) -> String {
    format!("file:{}", path.display())
}

/// One path that is read.
#[derive(Debug)]
pub(super) struct Track {
    pub(super) chain: Chain,
    pub(super) audience: Audience,
    source: String,
    /// There may be something to read.
    pub(super) dirty: bool,
    /// All that was written before this was read.
    pub(super) caught_up: Timestamp,
    /// The position, or the time until which all was read, is further on than what was
    /// sent.
    moved: bool,
    sent: Option<Duration>,
    chunks: usize,
    /// Reading failed: the files are opened anew.
    broken: bool,
    /// What is wrong with the file, if that was told.
    trouble: Option<String>,
}

/// What all tracks share.
pub(super) struct Shared<'s> {
    pub(super) watch: &'s mut Watch,
    pub(super) buffer: &'s mut [u8],
    pub(super) counters: &'s Counters,
    pub(super) interest: Option<&'s dyn Interest>,
}

impl Track {
    /// Opens a path, at its stored position if there is one.
    pub(super) fn open(
        path: &Path,
        audience: Audience,
        stored: Option<&Position>,
        begin: Begin,
        now: Now,
    ) -> std::io::Result<Self> {
        let framing = audience.framing();
        let marks = stored.and_then(|position| place::read(&position.place));
        let chain = match &marks {
            Some(marks) => Chain::resume(path, framing, marks, now.monotonic)?,
            None => Chain::begin(path, framing, begin, now.monotonic)?,
        };
        let caught_up = match stored {
            Some(position) if !chain.is_at_end() => position.time,
            _ => now.wall,
        };
        Ok(Self {
            chain,
            audience,
            source: source(path),
            dirty: true,
            caught_up,
            moved: true,
            sent: None,
            chunks: 0,
            broken: false,
            trouble: None,
        })
    }

    /// Reads what is there, up to a batch. Everything that any file held at `watermark`
    /// is dealt with before this batch. `None` when there is nothing to send.
    pub(super) fn turn(
        &mut self,
        path: &Path,
        now: Now,
        watermark: Timestamp,
        shared: &mut Shared<'_>,
    ) -> Option<Batch> {
        if let Err(error) = self.mend(path, now) {
            self.dirty = false;
            self.tell(path, Err(error));
            return None;
        }
        let looked = self.chain.look(now.monotonic);
        // Before it is read, so that what is written meanwhile is noticed.
        for file in self.chain.files() {
            shared.watch.file(file.identity(), file.file());
        }
        let mut lines = Lines { entries: Vec::new(), jails: Vec::new(), read: 0, cut: 0, now };
        let (audience, interest) = (&self.audience, shared.interest);
        let mut read = Ok(Seen::More);
        for _ in 0..CHUNKS {
            read = self.chain.read(shared.buffer, now.monotonic, &mut |bytes, cut| {
                lines.take(bytes, cut, audience, interest)
            });
            if !matches!(read, Ok(Seen::More)) || lines.entries.len() >= BATCH_ENTRIES {
                break;
            }
            self.chunks += 1;
        }
        let Lines { entries, read: count, cut, .. } = lines;
        for (counter, number) in [
            (&shared.counters.read, count),
            (&shared.counters.cut, cut),
            (&shared.counters.accepted, entries.len() as u64),
            (&shared.counters.lost, std::mem::take(&mut self.chain.lost)),
        ] {
            count_up(counter, number);
        }
        match read {
            Ok(Seen::End) => {
                self.dirty = false;
                self.caught_up = self.caught_up.max(now.wall);
            }
            Ok(Seen::More | Seen::Truncated) => {}
            Err(_) => {
                self.dirty = false;
                self.broken = true;
            }
        }
        self.tell(path, looked.and(read.map(drop)));
        self.moved |= count > 0;
        let due = self.is_due(now.monotonic) || self.chunks >= POSITION_CHUNKS;
        if entries.is_empty() && !(self.moved && due) {
            return None;
        }
        Some(self.batch(entries, now, watermark))
    }

    /// Opens the files anew if reading them failed: a network file system may have
    /// forgotten them.
    fn mend(&mut self, path: &Path, now: Now) -> std::io::Result<()> {
        if self.broken {
            let (marks, framing) = (self.chain.marks(), self.audience.framing());
            self.chain = Chain::resume(path, framing, &marks, now.monotonic)?;
            self.broken = false;
        }
        Ok(())
    }

    /// Whether a position waits that should be sent now.
    pub(super) fn has_due_position(&self, now: Duration) -> bool {
        self.moved && self.is_due(now)
    }

    fn is_due(&self, now: Duration) -> bool {
        self.sent.is_none_or(|sent| now.saturating_sub(sent) >= POSITION_DELAY)
    }

    /// A batch that ends where reading is now.
    pub(super) fn batch(&mut self, entries: Vec<Entry>, now: Now, watermark: Timestamp) -> Batch {
        self.sent = Some(now.monotonic);
        self.chunks = 0;
        // Later the same place may stand for a later time.
        self.moved = !entries.is_empty();
        Batch { entries, position: self.position(watermark) }
    }

    /// Whether its position is further on than what was sent.
    pub(super) fn is_unsent(&self) -> bool {
        self.moved
    }

    fn position(&self, time: Timestamp) -> Position {
        Position { source: self.source.clone(), place: place::write(&self.chain.marks()), time }
    }

    /// Adds the identities of its open files.
    pub(super) fn identities(&self, all: &mut HashSet<place::Identity>) {
        all.extend(self.chain.files().iter().map(super::opened::Opened::identity));
    }

    /// Says once what is wrong, and once that it is right again.
    fn tell(&mut self, path: &Path, outcome: std::io::Result<()>) {
        let trouble = outcome.err().map(|error| error.to_string());
        if trouble == self.trouble {
            return;
        }
        match &trouble {
            Some(trouble) => tracing::error!(target: "fail2ban.filter",
                "Unable to read {}: {trouble}; it is tried again", path.display()),
            None => tracing::info!(target: "fail2ban.filter", "{} is read again", path.display()),
        }
        self.trouble = trouble;
    }
}

fn count_up(counter: &AtomicU64, number: u64) {
    if number > 0 {
        Counters::add(counter, number);
    }
}

/// Makes entries of lines.
struct Lines {
    entries: Vec<Entry>,
    /// Used again for each line, so that a line that cannot matter allocates nothing.
    jails: Vec<JailId>,
    read: u64,
    cut: u64,
    now: Now,
}

impl Lines {
    fn take(
        &mut self,
        bytes: &[u8],
        cut: bool,
        audience: &Audience,
        interest: Option<&dyn Interest>,
    ) -> bool {
        self.read += 1;
        self.cut += u64::from(cut);
        for (encoding, jails) in &audience.readers {
            let text = encoding.decode(bytes);
            let line = text.trim_end_matches('\r');
            let line = line.strip_prefix('\u{feff}').unwrap_or(line);
            self.jails.clear();
            self.jails.extend_from_slice(jails);
            if let Some(interest) = interest {
                interest.retain(line, &mut self.jails);
            }
            if self.jails.is_empty() {
                continue;
            }
            let (daemon, message_start) = prefix::daemon(line);
            self.entries.push(Entry {
                time: self.now.wall,
                dating: Dating::InLine,
                message_start,
                daemon,
                jails: self.jails.clone(),
                line: line.to_owned(),
            });
        }
        self.entries.len() < BATCH_ENTRIES
    }
}

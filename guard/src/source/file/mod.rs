//! Log files as a source.
//!
//! Input: paths and shell patterns of each jail, and stored positions. Output:
//! [`Batch`]es over a bounded channel, the lines of each file in their order, each with
//! the position after it. Invariants:
//!
//! - Each line that was written to a file at one of the paths comes exactly once, however
//!   the file is rotated, whether the agent runs meanwhile or not, as long as the file or
//!   an uncompressed copy of it lies in the same directory when it is looked for. What
//!   rotation put there is told by its name ([`names`]), by its inode and by a hash of
//!   what was read of it ([`place`]).
//! - No line, however long or odd, makes an entry longer than [`LINE_BYTES`] characters,
//!   or ends the thread; no number of files makes it open more than
//!   [`FILES`]` + `[`OLD_FILES`] of them for each path.
//! - Events of the kernel only say when to look ([`watch`]): reading by the clock alone
//!   gives the same lines.
//!
//! One thread owns all files. While the channel is full it waits.
//!
//! A line is handed on when its newline is there. A last line without one is handed on
//! when its file was rotated away and has not grown for [`REST`]. Compressed files are
//! never read, and rotated files only as what a file of their path was before.

mod chain;
pub mod encoding;
mod follow;
mod names;
mod opened;
mod pattern;
mod place;
mod prefix;
mod scan;
mod track;
mod watch;

#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::mpsc::Sender;

use crate::core::entry::{Batch, Position};
use crate::core::jail::{JailId, LogFiles};
use crate::core::time::Timestamp;

/// Entries in one batch.
pub const BATCH_ENTRIES: usize = 512;
/// Bytes of a line that are looked at; the rest is cut off, and that is counted.
pub const LINE_BYTES: usize = 64 << 10;
/// Paths that are read at one time.
pub const FILES: usize = 500;
/// Files of one path that were rotated away and are still read, each for its own time.
pub const OLD_FILES: usize = 8;
/// Of a larger file that is seen for the first time, only so many bytes are read, from
/// its end.
pub const FIRST_BYTES: u64 = 64 << 20;

/// Bytes that are read at once.
const READ_BYTES: usize = 256 << 10;
/// How long a file that was rotated away must not have grown to be done with.
const REST: Duration = Duration::from_secs(30);
/// Between two looks at files that cannot be watched.
const POLL: Duration = Duration::from_millis(200);
/// Between two looks for files where directories are watched, and where not.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(1));

/// What to read and for whom.
#[derive(Clone, Debug)]
pub struct Options {
    /// The files of each jail.
    pub subscriptions: Vec<(JailId, LogFiles)>,
    /// Where to go on; other sources' positions do no harm.
    pub positions: Vec<Position>,
    /// Which lines are worth an entry; `None` for all.
    pub interest: Option<Arc<dyn Interest>>,
    /// Look by the clock even where the kernel tells of changes.
    pub by_clock: bool,
}

/// Tells early which lines cannot matter.
pub trait Interest: fmt::Debug + Send + Sync {
    /// Removes the jails to which the line cannot matter.
    fn retain(&self, line: &str, jails: &mut Vec<JailId>);
}

/// What happened so far, and what is read; for `status` and for tests. The numbers only
/// ever grow.
#[derive(Debug, Default)]
pub struct Counters {
    /// Lines read.
    pub read: AtomicU64,
    /// Entries handed on.
    pub accepted: AtomicU64,
    /// Lines that were too long and were cut.
    pub cut: AtomicU64,
    /// Times that a file which was read in part was gone, so that lines may have been
    /// missed.
    pub lost: AtomicU64,
    /// Files that are not read because there are more than [`FILES`].
    pub too_many: AtomicU64,
    files: Mutex<Vec<(PathBuf, Vec<JailId>)>>,
}

impl Counters {
    fn add(counter: &AtomicU64, number: u64) {
        counter.fetch_add(number, Ordering::Relaxed);
    }

    /// The files that are read for a jail, sorted.
    pub fn files_of(&self, jail: JailId) -> Vec<PathBuf> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.iter().filter(|(_, jails)| jails.contains(&jail)).map(|(p, _)| p.clone()).collect()
    }
}

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug)]
struct Now {
    wall: Timestamp,
    /// Since some fixed moment.
    monotonic: Duration,
}

/// Why files cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// A `logencoding` that guard does not know.
    #[error("unknown logencoding `{0}`; write for example utf-8, latin1, ascii or utf-16")]
    Encoding(String),
    /// A jail has none.
    #[error("there is no file at {0}; set `skip_if_nologs = true` if it will come later")]
    Missing(String),
    /// There is no thread to be had.
    #[error("starting the thread that reads log files: {0}")]
    Thread(#[from] std::io::Error),
}

/// Whether a jail can start: its encoding is known, and there is a file, or there need
/// not be.
///
/// # Errors
/// What is missing, and what to do.
pub fn check(files: &LogFiles) -> Result<(), FileError> {
    if encoding::Encoding::named(&files.encoding).is_none() {
        return Err(FileError::Encoding(files.encoding.clone()));
    }
    let mut matched = pattern::Matched::default();
    files.patterns.iter().for_each(|pattern| matched.add(&pattern.path));
    if matched.files.is_empty() && !files.may_be_missing {
        let paths: Vec<&str> = files.patterns.iter().map(|it| it.path.as_str()).collect();
        return Err(FileError::Missing(paths.join(", ")));
    }
    Ok(())
}

/// The thread that reads.
#[derive(Debug)]
pub struct Follower {
    stop: Arc<watch::Stop>,
    thread: JoinHandle<()>,
}

impl Follower {
    /// Tells it to end. It sends positions that are further on than what it has sent, so
    /// keep receiving until the channel is closed.
    pub fn stop(&self) {
        self.stop.tell();
    }

    /// Waits until it has ended, after [`stop`](Self::stop) or because nobody receives.
    pub fn join(self) {
        // A panic aborts the agent; in tests it is theirs.
        if let Err(panic) = self.thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

/// Starts to read. The thread lives until it is stopped or the receiver is dropped.
///
/// # Errors
/// When a jail's encoding is not known, or there is no thread to be had. What goes wrong
/// with a file is logged and tried again.
pub fn spawn(
    options: Options,
    sender: Sender<Batch>,
    counters: Arc<Counters>,
) -> Result<Follower, FileError> {
    let stop = Arc::new(watch::Stop::new()?);
    let follow = follow::Follow::new(options, counters)?;
    let told = Arc::clone(&stop);
    let thread = thread::Builder::new().name("files".to_owned()).spawn(move || {
        follow.run(&told, &mut |batch| sender.blocking_send(batch).is_ok());
    })?;
    Ok(Follower { stop, thread })
}

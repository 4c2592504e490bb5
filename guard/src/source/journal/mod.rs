//! The systemd journal as a source.
//!
//! Input: the live journal or a directory of journal files, and which entries each
//! jail wants. Output: [`Batch`]es over a bounded channel, in the journal's order.
//! Invariants:
//!
//! - An entry that claims to be of a daemon that guard knows, and is not proven to be
//!   ([`trust`]), reaches no jail, whatever the jail's `journalmatch` says.
//! - Going on after the position of a batch gives exactly the entries that follow it:
//!   none twice, and none left out that the journal still has.
//! - No entry, however long or odd, makes a batch or a line longer than the limits
//!   here, or ends the thread.
//!
//! One thread owns the journal, because libsystemd's handle must not change threads.
//! libsystemd is asked only for entries that some jail may accept; which jails do is
//! decided here ([`route`]). Of a field that an entry has several times, the first
//! value that libsystemd tells counts; fields that begin with `_` are journald's own
//! and cannot be sent by a client.
//!
//! Most entries of most journals matter to no filter, and to read all fields of an entry
//! takes longer than anything else that is done with it. So whoever is asked
//! ([`Interest`]) sees identifier and message first. What does not matter is as good as not
//! there: it is not looked at for who wrote it either.
//!
//! Order is libsystemd's: by sequence number within what one journald wrote, else by
//! time; but of two boots, this one's entries come after all others ([`boots`]). An entry
//! that turns up later in another file, but is older than what was read, is not seen;
//! journald itself never writes one.
//!
//! Rotation (renamed files), vacuum (removed files), new and unreadable files are
//! libsystemd's business and tested here. When it fails, or the journal's directory
//! is replaced, the journal is opened anew after the last entry of the last batch.

mod boots;
mod fields;
mod follow;
#[cfg(fuzzing)]
pub mod fuzzing;
mod line;
mod pace;
mod reader;
mod route;
mod trust;

#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use systemd::id128::Id128;
use tokio::sync::mpsc::Sender;

use crate::core::entry::{Batch, Position};
use crate::core::jail::{JailId, JournalMatch};
use crate::core::time::Timestamp;

/// Entries in one batch.
pub const BATCH_ENTRIES: usize = 512;
/// Entries that are read for one batch, if most of them do not matter.
pub const BATCH_READ: usize = 8_192;
/// Bytes of lines after which a batch is closed.
pub const BATCH_BYTES: usize = 256 << 10;
/// Bytes of a `MESSAGE` that are looked at; the rest is cut off, and that is counted.
pub const MESSAGE_BYTES: usize = 64 << 10;

/// Which journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// This host's, without the files of its users, as Fail2Ban reads it.
    System,
    /// The journal files in a directory and in the directories in it.
    Directory(PathBuf),
}

impl Place {
    /// Its name in [`Position::source`].
    pub fn source(&self) -> String {
        match self {
            Self::System => "journal".to_owned(),
            Self::Directory(path) => format!("journal:{}", path.display()),
        }
    }
}

/// Where to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// After the entry that a stored position names; if that is gone, with the first
    /// one that is later.
    After(Position),
    /// With the first entry that journald received at this time or later.
    Since(Timestamp),
}

/// This boot's id as this host's journal has it.
///
/// In a container the kernel may tell a service that sees a `/proc` of its own the id of the
/// host that it runs on. So the kernel's answer counts only if there are entries of it; else
/// it is the boot in which systemd logged this very start of the service.
pub fn this_boot() -> Option<Id128> {
    let of = |field: &str, value: &str| reader::boot_with(&Place::System, field, value);
    let kernel = Id128::from_boot().ok().and_then(|boot| of(reader::BOOT, &boot.to_string()));
    kernel.or_else(|| of("INVOCATION_ID", &std::env::var("INVOCATION_ID").ok()?))
}

/// What to read and for whom.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which journal.
    pub place: Place,
    /// Which entries each jail wants.
    pub subscriptions: Vec<(JailId, JournalMatch)>,
    /// Where to begin.
    pub start: Start,
    /// [`this_boot`], if the journal is of this host.
    pub boot: Option<Id128>,
    /// Who can tell early that an entry cannot matter; nothing to hand on all of them.
    pub interest: Option<Arc<dyn Interest>>,
}

/// Tells early which entries cannot matter, so that the rest of them need not be read.
pub trait Interest: fmt::Debug + Send + Sync {
    /// Whether an entry may matter to any jail. `text` is a part of its line,
    /// ` IDENTIFIER: MESSAGE`; what is missing is a host's name of letters, digits, `.`,
    /// `-` and `_` before it, and perhaps a process id in brackets behind the identifier.
    fn matters(&self, text: &str) -> bool;
}

/// What happened so far; for `status` and for tests. Only ever grows.
#[derive(Debug, Default)]
pub struct Counters {
    /// Entries read, that is, entries that some jail might have accepted.
    pub read: AtomicU64,
    /// Entries handed on.
    pub accepted: AtomicU64,
    /// Entries that claimed to be of a known daemon and could not prove it.
    pub forged: AtomicU64,
    /// Entries with a field that was too long and was cut.
    pub cut: AtomicU64,
    /// Entries that could not be read and were left out.
    pub unreadable: AtomicU64,
    /// Times that the journal was opened anew, after an error or because its directory
    /// was replaced.
    pub reopened: AtomicU64,
    /// Times that the entry to go on after was gone (vacuumed), so that entries may
    /// have been missed.
    pub lost_places: AtomicU64,
}

impl Counters {
    fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Why the journal cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// It cannot be opened.
    #[error("opening {place}: {cause}; the agent must be root or in the group systemd-journal")]
    Open {
        /// Which journal.
        place: String,
        /// libsystemd's answer.
        cause: systemd::Error,
    },
    /// A `journalmatch` that libsystemd refuses.
    #[error("`{field}={value}` is not a journal match: a field is 1 to 64 of A-Z 0-9 _")]
    Match {
        /// The field.
        field: String,
        /// The value.
        value: String,
    },
    /// It cannot be read any further.
    #[error("reading {place}: {operation}: {cause}")]
    Read {
        /// Which journal.
        place: String,
        /// What was asked of libsystemd.
        operation: &'static str,
        /// Its answer.
        cause: systemd::Error,
    },
    /// There is no thread to be had.
    #[error("starting the thread that reads the journal: {0}")]
    Thread(std::io::Error),
}

/// The thread that reads.
#[derive(Debug)]
pub struct Follower {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Follower {
    /// Tells it to end. It sends what it has read and, if that is further on than the
    /// last batch, its position, so keep receiving until the channel is closed.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
    }

    /// Waits until it has ended, after [`stop`](Self::stop) or because nobody receives.
    pub fn join(self) {
        // A panic aborts the agent; in tests it is theirs.
        if let Err(panic) = self.thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

/// Reads what the journal holds now, in the calling thread, until its end or until `each`
/// has enough.
///
/// # Errors
/// When the journal cannot be opened or read, or a match is not one.
pub fn read_stored(
    options: Options,
    counters: Arc<Counters>,
    mut each: impl FnMut(Batch) -> ControlFlow<()>,
) -> Result<(), JournalError> {
    let (sender, _receiver) = tokio::sync::mpsc::channel(1);
    let (mut follow, mut reader) =
        follow::Follow::begin(options, sender, counters, Arc::default())?;
    while let Some(batch) = follow.batch(&mut reader)? {
        if each(batch).is_break() {
            break;
        }
    }
    Ok(())
}

/// Starts to read. The thread lives until it is stopped or the receiver is dropped;
/// while the channel is full it waits.
///
/// # Errors
/// When the journal cannot be opened, or a match is not one. Later errors do not end
/// the thread: it opens the journal anew, ever less often, and counts that.
pub fn spawn(
    options: Options,
    sender: Sender<Batch>,
    counters: Arc<Counters>,
) -> Result<Follower, JournalError> {
    let stop = Arc::new(AtomicBool::new(false));
    let (opened, outcome) = std::sync::mpsc::sync_channel(1);
    let stopped = Arc::clone(&stop);
    let thread = thread::Builder::new()
        .name("journal".to_owned())
        .spawn(move || match follow::Follow::begin(options, sender, counters, stopped) {
            Ok((follow, reader)) => {
                let _ = opened.send(Ok(()));
                follow.run(reader);
            }
            Err(error) => {
                let _ = opened.send(Err(error));
            }
        })
        .map_err(JournalError::Thread)?;
    match outcome.recv() {
        Ok(Ok(())) => Ok(Follower { stop, thread }),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(JournalError::Thread(std::io::Error::other("it ended at once"))),
    }
}

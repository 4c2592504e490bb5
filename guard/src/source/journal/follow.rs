//! The thread: looks, makes batches, sends them, and opens the journal anew when it
//! must.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use systemd::id128::Id128;
use tokio::sync::mpsc::Sender;

use super::boots::{Age, Boots};
use super::fields::Fields;
use super::pace::Pace;
use super::reader::{Found, Reader};
use super::route::{Holds, Router};
use super::trust::{Origin, origin};
use super::{
    BATCH_BYTES, BATCH_ENTRIES, BATCH_READ, Counters, Interest, JournalError, Options, Place,
    Start, line,
};
use crate::core::entry::{Batch, Dating, Entry, Position};
use crate::core::time::Timestamp;
use crate::source::now;

/// How long a position that moved without an entry for any jail may wait to be sent.
const POSITION_DELAY: Duration = Duration::from_secs(60);
/// How often to ask whether the journal's directory was replaced.
const ROOTS_INTERVAL: Duration = Duration::from_secs(1);
/// Waits before the journal is opened anew after an error: from, to.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Everything but the open journal.
pub(super) struct Follow {
    place: Place,
    router: Router,
    sender: Sender<Batch>,
    counters: Arc<Counters>,
    stop: Arc<AtomicBool>,
    /// Where to go on: after the last batch that was read whole.
    start: Start,
    /// This boot.
    boot: Option<Id128>,
    boots: Boots,
    /// A position that is not sent yet, because no jail had an entry before it.
    unsent: Option<Position>,
    last_sent: Instant,
    interest: Option<Arc<dyn Interest>>,
    /// The last entry was one that may matter, so the next one may be as well.
    interested: bool,
    /// An entry of another boot came up among this one's.
    strayed: bool,
    /// Only this boot's entries are asked for.
    keeps: bool,
    /// When this handle was opened.
    opened: Timestamp,
    /// Working space.
    fields: Fields,
    holds: Holds,
    text: String,
}

/// Why one journal handle was given up.
enum End {
    /// Stopped, or nobody receives.
    Done,
    /// The directory was replaced.
    Replaced,
    /// libsystemd failed.
    Failed(JournalError),
}

impl From<JournalError> for End {
    fn from(error: JournalError) -> Self {
        Self::Failed(error)
    }
}

impl Follow {
    /// Opens the journal for the first time.
    pub(super) fn begin(
        options: Options,
        sender: Sender<Batch>,
        counters: Arc<Counters>,
        stop: Arc<AtomicBool>,
    ) -> Result<(Self, Reader), JournalError> {
        let router = Router::new(&options.subscriptions)?;
        let boots = Boots::begin(options.boot, &options.start);
        let mut follow = Self {
            place: options.place,
            router,
            sender,
            counters,
            stop,
            start: options.start,
            boot: options.boot,
            boots,
            unsent: None,
            last_sent: Instant::now(),
            interest: options.interest,
            interested: false,
            strayed: false,
            keeps: false,
            opened: now(),
            fields: Fields::default(),
            holds: Holds::default(),
            text: String::new(),
        };
        let reader = follow.open()?;
        Ok((follow, reader))
    }

    /// Reads until it is stopped.
    pub(super) fn run(mut self, reader: Reader) {
        let mut reader = Some(reader);
        let mut retry = RETRY.0;
        loop {
            let opened = reader.take().map_or_else(|| self.open(), Ok);
            let (end, progress) = match opened {
                Ok(reader) => self.read(reader),
                Err(error) => (End::Failed(error), false),
            };
            if progress {
                retry = RETRY.0;
            }
            match end {
                End::Done => break,
                End::Replaced => {}
                End::Failed(error) => {
                    tracing::warn!(target: "fail2ban.filtersystemd", "{error}; trying again in {retry:?}");
                    if self.wait(retry) {
                        break;
                    }
                    retry = (retry * 2).min(RETRY.1);
                }
            }
            Counters::add(&self.counters.reopened);
        }
        if let Some(position) = self.unsent.take() {
            let _ = self.sender.blocking_send(Batch { entries: Vec::new(), position });
        }
    }

    fn open(&mut self) -> Result<Reader, JournalError> {
        self.boots = Boots::begin(self.boot, &self.start);
        (self.keeps, self.strayed, self.opened) = (false, false, now());
        let (reader, found) = Reader::open(&self.place, &self.router, &self.start)?;
        if found == Found::Gone {
            Counters::add(&self.counters.lost_places);
            tracing::warn!(
                target: "fail2ban.filtersystemd",
                "the last entry read is gone from {}: reading goes on with the next one by time",
                self.place.source()
            );
        }
        Ok(reader)
    }

    /// Reads from one handle until it must be given up; also tells whether any batch
    /// came from it.
    fn read(&mut self, mut reader: Reader) -> (End, bool) {
        let mut progress = false;
        let end = self.read_batches(&mut reader, &mut progress).unwrap_or_else(|end| end);
        (end, progress)
    }

    fn read_batches(&mut self, reader: &mut Reader, progress: &mut bool) -> Result<End, End> {
        let mut pace = Pace::new();
        let mut roots_asked = Instant::now();
        let mut boot_asked = None::<Instant>;
        while !self.stop.load(Ordering::Relaxed) {
            reader.notice_files()?;
            let Some(batch) = self.batch(reader)? else {
                if boot_asked.is_none_or(|asked| asked.elapsed() >= ROOTS_INTERVAL) {
                    boot_asked = Some(Instant::now());
                    if self.turn_to_this_boot(reader)? {
                        continue;
                    }
                }
                if roots_asked.elapsed() >= ROOTS_INTERVAL {
                    roots_asked = Instant::now();
                    if reader.is_replaced() {
                        return Ok(End::Replaced);
                    }
                    self.send_position()?;
                }
                if self.sender.is_closed() {
                    return Ok(End::Done);
                }
                self.wait(pace.wait());
                continue;
            };
            *progress = true;
            pace.quicken();
            self.start = Start::After(batch.position.clone());
            if batch.entries.is_empty() {
                self.unsent = Some(batch.position);
                self.send_position()?;
            } else {
                self.unsent = None;
                self.send(batch)?;
            }
        }
        Ok(End::Done)
    }

    /// When all is read that there is of others; whether there is more to read then.
    fn turn_to_this_boot(&mut self, reader: &mut Reader) -> Result<bool, JournalError> {
        let Some(boot) = self.boots.ended() else { return Ok(false) };
        let there = reader.go_to_boot(boot)?;
        if there {
            self.boots.turn(boot);
        }
        Ok(there)
    }

    /// Begins anew after the last batch, and asks for no other boot's entries any more. That
    /// costs something for each entry, so it is done when the clock went back, and not else.
    fn keep_to_this_boot(&mut self, reader: &mut Reader) -> Result<(), JournalError> {
        (self.keeps, self.strayed) = (true, false);
        let Some(boot) = self.boots.this() else { return Ok(()) };
        tracing::info!(target: "fail2ban.filtersystemd", "{} has entries of earlier boots that are dated later than this one's: they are left out", self.place.source());
        self.boots = Boots::begin(self.boot, &self.start);
        let begun_here = self.boots.this().is_some();
        if !begun_here {
            self.boots.turn(boot);
        }
        reader.keep_to_boot(boot, &self.router, begun_here.then_some(&self.start))
    }

    /// Whether journald received the entry since the journal was opened, and not after now.
    fn came_since(&self, reader: &Reader) -> bool {
        reader.received().is_ok_and(|received| received > self.opened && received <= now())
    }

    /// Tells whether the entry that the reader is at is new, and if so takes note of it.
    fn note_age(&mut self, reader: &Reader) -> Result<Age, JournalError> {
        if self.boots.takes_all() {
            return Ok(Age::New);
        }
        let moment = reader.moment()?;
        let age = match (self.boots.age(moment), &self.start) {
            (Age::Begin, Start::After(position)) if reader.is_at(&position.place) => Age::Old,
            (Age::Begin, _) => Age::New,
            // Whatever boot and clock it claims, it came while this handle was open: so no
            // mistake about either silences the journal.
            (Age::Old | Age::Stray, _) if self.came_since(reader) => Age::New,
            (age, _) => age,
        };
        if age == Age::New {
            self.boots.note(moment);
        }
        Ok(age)
    }

    /// Everything that can be read now, up to the limits of a batch; nothing when there
    /// is no new entry at all. After an error nothing of it was read.
    pub(super) fn batch(&mut self, reader: &mut Reader) -> Result<Option<Batch>, JournalError> {
        if self.router.is_idle() {
            return Ok(None);
        }
        let mut entries = Vec::new();
        let mut bytes = 0;
        let mut read = 0;
        let mut position = None;
        while read < BATCH_READ && entries.len() < BATCH_ENTRIES && bytes < BATCH_BYTES {
            if !reader.next()? {
                break;
            }
            if self.boots.reads_others() {
                if self.note_age(reader)? != Age::New {
                    if self.stop.load(Ordering::Relaxed) {
                        break;
                    }
                    continue;
                }
                position = Some(reader.position()?);
            }
            read += 1;
            let looked = self.look(reader);
            if self.strayed {
                break;
            }
            match looked {
                Ok(Some(entry)) => {
                    bytes += entry.line.len();
                    entries.push(entry);
                }
                Ok(None) => {}
                Err(cause) => {
                    Counters::add(&self.counters.unreadable);
                    tracing::debug!(target: "fail2ban.filtersystemd", "an entry of {} is left out: {cause}", self.place.source());
                }
            }
        }
        if read == 0 {
            return Ok(None);
        }
        self.counters.read.fetch_add(read as u64, Ordering::Relaxed);
        let age = if position.is_some() { Age::New } else { self.note_age(reader)? };
        if !self.keeps && (self.strayed || age == Age::Stray) {
            self.keep_to_this_boot(reader)?;
            return self.batch(reader);
        }
        let position = match (position, &self.start) {
            (Some(position), _) => position,
            // What was read before does not take the position back to it.
            (None, Start::After(last)) if age != Age::New => {
                let last = last.clone();
                let newest = self.boots.newest().filter(|_| !entries.is_empty());
                let found = newest.map(|newest| reader.position_of(newest, read)).transpose()?;
                found.flatten().unwrap_or(last)
            }
            (None, _) => reader.position()?,
        };
        Ok(Some(Batch { entries, position }))
    }

    /// The entry that the reader is at, if it may matter to any jail.
    ///
    /// To ask first is cheaper where most entries do not matter, and dearer where most do:
    /// so after one that does the next is read whole, and then asked about.
    fn look(&mut self, reader: &mut Reader) -> Result<Option<Entry>, systemd::Error> {
        let Self { interest, interested, router, fields, holds, text, .. } = self;
        let Some(interest) = interest.as_deref() else {
            let received = reader.take(router, fields, holds)?;
            return Ok(self.entry(reader, received));
        };
        if !*interested {
            *interested = !reader.glance(text)? || interest.matters(text);
            if !*interested {
                return Ok(None);
            }
            let received = reader.take(router, fields, holds)?;
            return Ok(self.entry(reader, received));
        }
        let received = reader.take(router, fields, holds)?;
        *interested = !line::glance(text, fields) || interest.matters(text);
        Ok(if self.interested { self.entry(reader, received) } else { None })
    }

    /// The entry whose fields were taken, if any jail may have it.
    fn entry(&mut self, reader: &Reader, received: Timestamp) -> Option<Entry> {
        // One whose moment cannot be told is better read twice than never.
        let age = self.note_age(reader).unwrap_or(Age::New);
        if age != Age::New {
            self.strayed |= age == Age::Stray && !self.keeps;
            return None;
        }
        let daemon = match origin(&self.fields) {
            Origin::Other => None,
            Origin::Proven(daemon) => Some(daemon),
            Origin::Claimed => {
                Counters::add(&self.counters.forged);
                return None;
            }
        };
        let jails = self.router.jails(&self.holds);
        if jails.is_empty() {
            return None;
        }
        if self.fields.was_cut() {
            Counters::add(&self.counters.cut);
        }
        Counters::add(&self.counters.accepted);
        let (line, message_start) = line::line(&self.fields, || reader.monotonic_micros());
        let time = line::time(&self.fields, received);
        let dating = Dating::Known;
        Some(Entry { time, dating, line, message_start, daemon, jails })
    }

    /// Sends a position that waited long enough.
    fn send_position(&mut self) -> Result<(), End> {
        if self.last_sent.elapsed() < POSITION_DELAY {
            return Ok(());
        }
        match self.unsent.take() {
            Some(position) => self.send(Batch { entries: Vec::new(), position }),
            None => Ok(()),
        }
    }

    fn send(&mut self, batch: Batch) -> Result<(), End> {
        self.last_sent = Instant::now();
        self.sender.blocking_send(batch).map_err(|_| End::Done)
    }

    /// Waits, but not after it was stopped: then `true`.
    fn wait(&self, time: Duration) -> bool {
        if !self.stop.load(Ordering::Relaxed) {
            thread::park_timeout(time);
        }
        self.stop.load(Ordering::Relaxed)
    }
}

//! libsystemd's journal, opened at a place and with the union of all matches.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use systemd::id128::Id128;
use systemd::journal::{Journal, OpenDirectoryOptions, OpenOptions};

use super::boots::Moment;
use super::fields::{FIELD_BYTES, Fields};
use super::line;
use super::route::{Holds, Router};
use super::{JournalError, MESSAGE_BYTES, Place, Start};
use crate::core::entry::Position;
use crate::core::time::Timestamp;

/// The field with the id of the boot.
pub(super) const BOOT: &str = "_BOOT_ID";

/// An open journal, at some entry.
pub(super) struct Reader {
    journal: Journal,
    place: Place,
    /// The directories that were there when it was opened: device and inode.
    roots: Vec<Option<(u64, u64)>>,
}

/// Whether the entry to go on after was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Yes,
    Gone,
}

impl Reader {
    /// Opens the journal so that [`next`](Self::next) gives the first entry of `start`.
    pub(super) fn open(
        place: &Place,
        router: &Router,
        start: &Start,
    ) -> Result<(Self, Found), JournalError> {
        let failed = |cause| JournalError::Open { place: place.source(), cause };
        let roots = roots(place);
        let mut journal = open(place)?;
        // Begins to hear of new files before the first look at the old ones.
        journal.fd().map_err(failed)?;
        // Longer compressed fields are unpacked only this far: one byte more than the
        // limit, so that cutting is seen.
        journal.set_data_threshold(MESSAGE_BYTES + "MESSAGE=".len() + 1).map_err(failed)?;
        let mut reader = Self { journal, place: place.clone(), roots };
        let found = reader.seek(router, start)?;
        Ok((reader, found))
    }

    /// Goes on to the next entry; `false` when there is none yet.
    pub(super) fn next(&mut self) -> Result<bool, JournalError> {
        self.journal.next().map(|count| count > 0).map_err(|cause| self.failed("next entry", cause))
    }

    /// Takes the fields of the entry, and tells when journald received it.
    pub(super) fn take(
        &mut self,
        router: &Router,
        fields: &mut Fields,
        holds: &mut Holds,
    ) -> Result<Timestamp, systemd::Error> {
        fields.clear();
        router.clear(holds);
        self.journal.restart_data();
        while let Some(field) = self.journal.enumerate_data()? {
            let (name, value) = (field.name(), field.value().unwrap_or_default());
            fields.take(name, value);
            router.take(name, value, holds);
        }
        self.received()
    }

    /// Reads the entry's identifier and message, and nothing else: each field that is
    /// asked for by name costs half as much as all of them. `false` when they do not tell
    /// all that must be known.
    pub(super) fn glance(&mut self, text: &mut String) -> Result<bool, systemd::Error> {
        match self.journal.get_data(c"SYSLOG_IDENTIFIER")? {
            Some(field) => {
                let identifier = field.value().unwrap_or_default();
                if identifier.len() > FIELD_BYTES || !line::begin_glance(text, identifier) {
                    return Ok(false);
                }
            }
            None => return Ok(false),
        }
        let message = self.journal.get_data(c"MESSAGE")?;
        let message = message.as_ref().and_then(|field| field.value()).unwrap_or_default();
        line::push(text, &message[..message.len().min(MESSAGE_BYTES)]);
        Ok(true)
    }

    /// The position after the entry that `next` gave last.
    pub(super) fn position(&self) -> Result<Position, JournalError> {
        let place = self.journal.cursor().map_err(|cause| self.failed("cursor", cause))?;
        let time = self.received().map_err(|cause| self.failed("time of entry", cause))?;
        Ok(Position { source: self.place.source(), place, time })
    }

    /// When the entry was received, by the clock that nobody sets.
    pub(super) fn moment(&self) -> Result<Moment, JournalError> {
        let moment = self.journal.monotonic_timestamp();
        let (micros, boot) = moment.map_err(|cause| self.failed("moment of entry", cause))?;
        Ok(Moment { boot, micros })
    }

    /// The position after the entry of this moment, one of the last so many; the place stays.
    pub(super) fn position_of(
        &mut self,
        moment: Moment,
        within: usize,
    ) -> Result<Option<Position>, JournalError> {
        let here = self.position()?.place;
        let mut found = None;
        for _ in 0..within {
            if self.moment()? == moment {
                found = Some(self.position()?);
                break;
            }
            match self.journal.previous() {
                Ok(0) => break,
                Ok(_) => {}
                Err(cause) => return Err(self.failed("going back to an entry", cause)),
            }
        }
        match self.journal.seek_cursor(here) {
            Ok(()) => self.next().map(|_| found),
            Err(cause) => Err(self.failed("returning to an entry", cause)),
        }
    }

    /// Whether the entry is the one that a cursor names.
    pub(super) fn is_at(&self, cursor: &str) -> bool {
        self.journal.test_cursor(cursor).unwrap_or(false)
    }

    /// Goes back to where a boot begins, so that [`next`](Self::next) gives its first entry;
    /// `false` if it has none.
    pub(super) fn go_to_boot(&mut self, boot: Id128) -> Result<bool, JournalError> {
        let failed = |cause| self.failed("going to this boot", cause);
        // With a handle of its own: this one's place is still wanted if there is none.
        let mut search = open(&self.place)?;
        let mut first = || {
            search.match_add(BOOT, boot.to_string())?;
            search.seek_head()?;
            if search.next()? == 0 { Ok(None) } else { search.cursor().map(Some) }
        };
        let Some(first) = first().map_err(failed)? else { return Ok(false) };
        self.journal
            .seek_cursor(first)
            .map_err(|cause| self.failed("going to this boot", cause))?;
        Ok(true)
    }

    /// Asks for the entries of one boot alone, from a place in it or from its beginning. The
    /// entry at the place itself is given once more.
    pub(super) fn keep_to_boot(
        &mut self,
        boot: Id128,
        router: &Router,
        from: Option<&Start>,
    ) -> Result<(), JournalError> {
        let journal = &mut self.journal;
        let mut keep = || {
            journal.match_flush()?;
            want(journal, router, Some(boot))?;
            match from {
                Some(Start::After(position)) => journal.seek_cursor(position.place.as_str()),
                Some(Start::Since(time)) => journal.seek_realtime_usec(micros(*time)),
                None => journal.seek_head(),
            }
        };
        keep().map_err(|cause| self.failed("keeping to this boot", cause))
    }

    /// Microseconds from the boot to when journald received the entry.
    pub(super) fn monotonic_micros(&self) -> i64 {
        let micros = self.journal.monotonic_timestamp().map_or(0, |(micros, _)| micros);
        i64::try_from(micros).unwrap_or(i64::MAX)
    }

    /// Takes note of files that appeared or went away.
    pub(super) fn notice_files(&mut self) -> Result<(), JournalError> {
        match self.journal.process() {
            Ok(_) => Ok(()),
            Err(cause) => Err(self.failed("noticing files", cause)),
        }
    }

    /// Whether a directory of the journal is another one now: that libsystemd does not
    /// notice.
    pub(super) fn is_replaced(&self) -> bool {
        roots(&self.place) != self.roots
    }

    fn seek(&mut self, router: &Router, start: &Start) -> Result<Found, JournalError> {
        let cannot = |cause| JournalError::Read {
            place: self.place.source(),
            operation: "going to the first entry",
            cause,
        };
        let journal = &mut self.journal;
        match start {
            Start::Since(time) => {
                want(journal, router, None).map_err(cannot)?;
                journal.seek_realtime_usec(micros(*time)).map_err(cannot)?;
                Ok(Found::Yes)
            }
            Start::After(position) => {
                let cursor = position.place.as_str();
                if journal.seek_cursor(cursor).is_err() {
                    // Not a cursor at all.
                    want(journal, router, None).map_err(cannot)?;
                    journal.seek_realtime_usec(micros(position.time) + 1).map_err(cannot)?;
                    return Ok(Found::Gone);
                }
                // Without matches, because the entry may be one that no jail wants any
                // more. If it is there, the next one is the first to be read.
                if journal.next().map_err(cannot)? > 0
                    && journal.test_cursor(cursor).map_err(cannot)?
                {
                    want(journal, router, None).map_err(cannot)?;
                    return Ok(Found::Yes);
                }
                want(journal, router, None).map_err(cannot)?;
                journal.seek_cursor(cursor).map_err(cannot)?;
                Ok(Found::Gone)
            }
        }
    }

    pub(super) fn received(&self) -> Result<Timestamp, systemd::Error> {
        let micros = self.journal.timestamp_usec()?;
        Ok(Timestamp::from_micros(i64::try_from(micros).unwrap_or(i64::MAX)))
    }

    fn failed(&self, operation: &'static str, cause: systemd::Error) -> JournalError {
        JournalError::Read { place: self.place.source(), operation, cause }
    }
}

fn open(place: &Place) -> Result<Journal, JournalError> {
    match place {
        Place::System => OpenOptions::default().system(true).local_only(true).open(),
        Place::Directory(path) => {
            OpenDirectoryOptions::default().open_directory(path.display().to_string())
        }
    }
    .map_err(|cause| JournalError::Open { place: place.source(), cause })
}

/// The boot of the first entry that has a field with this value.
pub(super) fn boot_with(place: &Place, field: &str, value: &str) -> Option<Id128> {
    let mut journal = open(place).ok()?;
    journal.match_add(field, value).ok()?;
    journal.seek_head().ok()?;
    if journal.next().ok()? == 0 {
        return None;
    }
    journal.monotonic_timestamp().ok().map(|(_, boot)| boot)
}

/// Adds the union of all matches, of one boot if one is given.
fn want(journal: &mut Journal, router: &Router, boot: Option<Id128>) -> Result<(), systemd::Error> {
    let boot = boot.map(|boot| boot.to_string());
    let wanted = router.wanted().unwrap_or_default();
    if let (Some(boot), true) = (&boot, wanted.is_empty()) {
        journal.match_add(BOOT, boot.as_str())?;
    }
    for (i, alternative) in wanted.iter().enumerate() {
        if i > 0 {
            journal.match_or()?;
        }
        for field in alternative {
            for value in &field.values {
                journal.match_add(&field.field, value.as_str())?;
            }
        }
        if let Some(boot) = &boot {
            journal.match_add(BOOT, boot.as_str())?;
        }
    }
    Ok(())
}

fn micros(time: Timestamp) -> u64 {
    u64::try_from(time.micros()).unwrap_or(0)
}

/// The directories that libsystemd looks into.
fn roots(place: &Place) -> Vec<Option<(u64, u64)>> {
    let identity = |path: &Path| {
        let metadata = path.metadata().ok()?;
        Some((metadata.dev(), metadata.ino()))
    };
    match place {
        Place::Directory(path) => vec![identity(path)],
        Place::System => {
            let machine = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
            ["/var/log/journal", "/run/log/journal"]
                .map(PathBuf::from)
                .into_iter()
                .flat_map(|root| [root.join(machine.trim()), root])
                .map(|path| identity(&path))
                .collect()
        }
    }
}

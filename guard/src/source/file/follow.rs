//! The thread: looks at what may have changed, sends batches, waits.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::chain::Begin;
use super::encoding::Encoding;
use super::opened::BUFFER_BYTES;
use super::scan::{Scan, scan};
use super::track::{self, Audience, Shared, Track};
use super::watch::{Stop, Watch};
use super::{Counters, FILES, FileError, Interest, LOOK_AGAIN, Now, Options, POLL};
use crate::core::entry::{Batch, Position};
use crate::core::jail::{JailId, LogFiles};
use crate::core::time::Timestamp;

/// Between two looks at directories that change all the time.
const SETTLE: Duration = Duration::from_millis(50);
/// Pause after a look that found something, so that what is written meanwhile is read
/// in one go.
const PAUSE: Duration = Duration::from_millis(2);

/// Takes a batch; says whether anybody wants another one.
pub(super) type Send<'s> = dyn FnMut(Batch) -> bool + 's;

/// Everything that the thread owns.
#[derive(Debug)]
pub(super) struct Follow {
    subscriptions: Vec<(JailId, LogFiles, Encoding)>,
    /// Of paths that were not opened yet.
    positions: BTreeMap<String, Position>,
    interest: Option<Arc<dyn Interest>>,
    counters: Arc<Counters>,
    watch: Watch,
    pub(super) tracks: BTreeMap<PathBuf, Track>,
    buffer: Vec<u8>,
    /// Whether what is there now was there before the agent looked.
    first_look: bool,
    /// When to look for files, at the latest.
    scan_at: Duration,
    scanned: Duration,
    poll_at: Duration,
    told: HashSet<String>,
}

/// What one pass came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    /// Nobody receives any more.
    Closed,
    /// There was more than could be read in one go.
    More,
    /// Something was read.
    Read,
    /// Nothing happened.
    Nothing,
}

impl Follow {
    /// Opens nothing yet.
    pub(super) fn new(options: Options, counters: Arc<Counters>) -> Result<Self, FileError> {
        let known = |(jail, files): (JailId, LogFiles)| {
            let encoding = Encoding::named(&files.encoding);
            let encoding = encoding.ok_or_else(|| FileError::Encoding(files.encoding.clone()))?;
            Ok((jail, files, encoding))
        };
        let positions = options.positions.into_iter();
        Ok(Self {
            subscriptions: options
                .subscriptions
                .into_iter()
                .map(known)
                .collect::<Result<_, FileError>>()?,
            positions: positions.map(|position| (position.source.clone(), position)).collect(),
            interest: options.interest,
            counters,
            watch: Watch::new(options.by_clock),
            tracks: BTreeMap::new(),
            buffer: vec![0; BUFFER_BYTES],
            first_look: true,
            scan_at: Duration::ZERO,
            scanned: Duration::ZERO,
            poll_at: Duration::ZERO,
            told: HashSet::new(),
        })
    }

    /// Reads until it is stopped or nobody receives.
    pub(super) fn run(mut self, stop: &Stop, send: &mut Send<'_>) {
        let begun = Instant::now();
        let now = || Now { wall: crate::source::now(), monotonic: begun.elapsed() };
        while !stop.is_told() {
            match self.pass(&now, send) {
                Pass::Closed => return,
                Pass::More => {}
                Pass::Read => self.watch.wait(stop, PAUSE, false),
                Pass::Nothing => self.watch.wait(stop, self.pause(now().monotonic), true),
            }
        }
        let (now, watermark) = (now(), self.watermark(now().wall));
        for track in self.tracks.values_mut().filter(|track| track.is_unsent()) {
            if !send(track.batch(Vec::new(), now, watermark)) {
                return;
            }
        }
    }

    /// Looks once at everything that may have changed.
    pub(super) fn pass(&mut self, clock: &dyn Fn() -> Now, send: &mut Send<'_>) -> Pass {
        let now = clock();
        self.notice(now);
        if now.monotonic >= self.scan_at {
            self.scan(now);
        }
        let mut pass = Pass::Nothing;
        let paths: Vec<PathBuf> = self.tracks.keys().cloned().collect();
        for path in paths {
            let now = clock();
            let watermark = self.watermark(now.wall);
            let Some(track) = self.tracks.get_mut(&path) else { continue };
            let batch = if track.dirty {
                let mut shared = Shared {
                    watch: &mut self.watch,
                    buffer: &mut self.buffer,
                    counters: &self.counters,
                    interest: self.interest.as_deref(),
                };
                let batch = track.turn(&path, now, watermark, &mut shared);
                if track.dirty {
                    pass = Pass::More;
                } else if pass == Pass::Nothing && track.is_unsent() {
                    pass = Pass::Read;
                }
                batch
            } else {
                let due = track.has_due_position(now.monotonic);
                due.then(|| track.batch(Vec::new(), now, watermark))
            };
            if let Some(batch) = batch
                && !send(batch)
            {
                return Pass::Closed;
            }
        }
        pass
    }

    /// Marks what may have changed.
    fn notice(&mut self, now: Now) {
        let events = self.watch.events();
        let poll = self.watch.is_blind() && now.monotonic >= self.poll_at;
        if poll {
            self.poll_at = now.monotonic + POLL;
        }
        for track in self.tracks.values_mut() {
            let files = track.chain.files();
            let polled = files.iter().any(|file| self.watch.is_polled(file.identity()));
            track.dirty |= events.lost
                || (poll && polled)
                || files.iter().any(|file| events.files.contains(&file.identity()))
                || track.chain.wakes_at().is_some_and(|at| at <= now.monotonic);
            if !track.dirty && !polled {
                // Nothing was written to it until now, or there would be an event.
                track.caught_up = track.caught_up.max(now.wall);
            }
        }
        if events.directories || events.lost {
            self.scan_at = self.scan_at.min(self.scanned + SETTLE);
        }
    }

    /// Everything that was written to any file before this was read.
    fn watermark(&self, now: Timestamp) -> Timestamp {
        let behind = self.tracks.values().filter(|track| track.dirty);
        behind.map(|track| track.caught_up).min().unwrap_or(now)
    }

    /// How long nothing needs to be looked at but for events.
    fn pause(&self, now: Duration) -> Duration {
        let rests = self.tracks.values().filter_map(|track| track.chain.wakes_at());
        let poll = self.watch.is_blind().then_some(self.poll_at);
        let next = rests.chain(poll).fold(self.scan_at, Duration::min);
        // A rest that is over, of a file that is still waited for, is no reason to hurry.
        next.saturating_sub(now).max(PAUSE)
    }

    /// Looks for files, opens what is new, and gives up what is gone.
    fn scan(&mut self, now: Now) {
        let interval = if self.watch.is_blind() { LOOK_AGAIN.1 } else { LOOK_AGAIN.0 };
        (self.scanned, self.scan_at) = (now.monotonic, now.monotonic + interval);
        let scan = scan(&self.subscriptions, self.tracks.keys());
        // Before anything is opened, so that what comes meanwhile is noticed.
        self.watch.directories(&scan.directories);
        self.tell_scan(&scan);
        for track in self.tracks.values_mut() {
            track.dirty = true;
        }
        self.tracks
            .retain(|path, track| scan.paths.contains_key(path) || !track.chain.files().is_empty());
        for (path, audience) in scan.paths {
            match self.tracks.get_mut(&path) {
                Some(track) => track.audience = audience,
                None => self.open(path, audience, now),
            }
        }
        self.first_look = false;
        let mut identities = HashSet::new();
        self.tracks.values().for_each(|track| track.identities(&mut identities));
        self.watch.retain_files(&identities);
        let files = self.tracks.iter();
        let files = files.map(|(path, track)| (path.clone(), track.audience.jails())).collect();
        *self.counters.files.lock().unwrap_or_else(PoisonError::into_inner) = files;
    }

    fn open(&mut self, path: PathBuf, audience: Audience, now: Now) {
        if self.tracks.len() >= FILES {
            if self.told.insert(format!("many {}", path.display())) {
                Counters::add(&self.counters.too_many, 1);
                tracing::error!(target: "fail2ban.filter",
                    "{} is not read: there are more than {FILES} log files", path.display());
            }
            return;
        }
        // What comes while the agent runs is all new.
        let from_end = audience.from_end && self.first_look;
        let begin = if from_end { Begin::End } else { Begin::Start };
        let source = track::source(&path);
        match Track::open(&path, audience, self.positions.get(&source), begin, now) {
            Ok(track) => {
                self.positions.remove(&source);
                tell_opened(&path, &track);
                self.tracks.insert(path, track);
            }
            Err(error) => {
                let trouble = format!("Unable to open {}: {error}", path.display());
                if self.told.insert(trouble.clone()) {
                    tracing::error!(target: "fail2ban.filter", "{trouble}; it is tried again");
                }
            }
        }
    }

    fn tell_scan(&mut self, scan: &Scan) {
        for (_, path) in &scan.refused {
            let path = path.display();
            if self.told.insert(format!("refused {path}")) {
                tracing::error!(target: "fail2ban.filter",
                    "{path} is read as UTF-16 by one jail and not by another: the second in the \
                     configuration gets nothing of it");
            }
        }
        if scan.incomplete && self.told.insert("incomplete".to_owned()) {
            tracing::error!(target: "fail2ban.filter",
                "a logpath leads through too many directories: some are not looked into");
        }
    }
}

fn tell_opened(path: &Path, track: &Track) {
    let path = path.display();
    tracing::info!(target: "fail2ban.filter", "Added logfile: '{path}'");
    let passed_over = track.chain.passed_over;
    if passed_over > 0 {
        tracing::warn!(target: "fail2ban.filter",
            "{path} is large and seen for the first time: its first {passed_over} bytes are passed over");
    }
}

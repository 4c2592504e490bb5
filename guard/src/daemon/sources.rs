//! The threads that read logs for the started jails: one for the journal, one for all
//! files, each only if some jail reads it. They share the way to the engine.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc::Sender;

use crate::core::engine::Engine;
use crate::core::entry::{Batch, Dating, Position};
use crate::core::filter::{Candidates, Filter, Glance, Prefilter};
use crate::core::jail::{Jail, JailId, JournalMatch, LogFiles, LogSource};
use crate::core::time::Timestamp;
use crate::source::file::Interest;
use crate::source::journal::{Place, Start};
use crate::source::{file, journal};

/// What happened in each source, for `status`.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// In the journal.
    pub journal: Arc<journal::Counters>,
    /// In log files.
    pub files: Arc<file::Counters>,
}

/// What jails read, and from where on.
#[derive(Debug)]
pub struct Plan {
    journal: Option<journal::Options>,
    files: Option<file::Options>,
}

/// The threads; they are told to end when this is dropped.
#[derive(Debug, Default)]
pub struct Readers {
    journal: Option<journal::Follower>,
    files: Option<file::Follower>,
}

/// The jails that can start. For each of the others, what is wrong with its files.
pub fn startable(jails: Vec<Jail>) -> (Vec<Jail>, Vec<String>) {
    let mut problems = Vec::new();
    let startable = |jail: &Jail| {
        let LogSource::Files(files) = &jail.source else { return true };
        let problem = file::check(files).err();
        problems.extend(problem.iter().map(|it| format!("jail {} is left out: {it}", jail.name)));
        problem.is_none()
    };
    let jails = jails.into_iter().filter(startable).collect();
    (jails, problems)
}

impl Plan {
    /// What the engine's jails read: from the stored positions on, or in the journal
    /// from `since`. `directory` takes the place of the system's journal.
    pub fn new(
        engine: &Engine,
        positions: Vec<Position>,
        since: Timestamp,
        directory: Option<PathBuf>,
    ) -> Self {
        let place = directory.map_or(Place::System, Place::Directory);
        let source = place.source();
        let start = positions.iter().find(|position| position.source == source);
        let start = start.cloned().map_or(Start::Since(since), Start::After);
        let of_journal: Vec<(JailId, JournalMatch)> = engine
            .jails()
            .filter_map(|(id, jail)| Some((id, jail.journal_match()?.clone())))
            .collect();
        let of_files: Vec<(JailId, LogFiles)> = engine
            .jails()
            .filter_map(|(id, jail)| match &jail.source {
                LogSource::Files(files) => Some((id, files.clone())),
                LogSource::Journal(_) | LogSource::OwnBans => None,
            })
            .collect();
        let interest = Some(journal_interest(engine));
        // Files in a directory may be another host's.
        let boot = (place == Place::System).then(journal::this_boot).flatten();
        let journal = journal::Options { place, subscriptions: of_journal, start, boot, interest };
        let interest = Some(Arc::new(Matters::new(engine)) as Arc<dyn Interest>);
        let files = file::Options { subscriptions: of_files, positions, interest, by_clock: false };
        Self {
            journal: (!journal.subscriptions.is_empty()).then_some(journal),
            files: (!files.subscriptions.is_empty()).then_some(files),
        }
    }

    /// Starts to read.
    ///
    /// # Errors
    /// In words, when a source cannot be read at all.
    pub fn start(self, batches: &Sender<Batch>, counters: &Counters) -> Result<Readers, String> {
        // What was started is told to end if another one cannot be.
        let mut readers = Readers::default();
        if let Some(options) = self.journal {
            let follower = journal::spawn(options, batches.clone(), Arc::clone(&counters.journal));
            readers.journal = Some(follower.map_err(|error| error.to_string())?);
        }
        if let Some(options) = self.files {
            let follower = file::spawn(options, batches.clone(), Arc::clone(&counters.files));
            readers.files = Some(follower.map_err(|error| error.to_string())?);
        }
        Ok(readers)
    }
}

/// Which lines of files can matter to which jail: of most lines nothing but the count is
/// ever needed.
#[derive(Debug)]
struct Matters {
    prefilter: Arc<Prefilter>,
    /// Working space; one thread reads all files.
    candidates: Mutex<Candidates>,
}

impl Matters {
    fn new(engine: &Engine) -> Self {
        Self { prefilter: engine.prefilter(), candidates: Mutex::default() }
    }
}

impl Interest for Matters {
    fn retain(&self, line: &str, jails: &mut Vec<JailId>) {
        let mut candidates = self.candidates.lock().unwrap_or_else(PoisonError::into_inner);
        self.prefilter.candidates(line, Dating::InLine, &mut candidates);
        jails.retain(|jail| candidates.contains(jail.index()));
    }
}

/// Which entries of the journal can matter to any jail of the engine that reads it.
pub fn journal_interest(engine: &Engine) -> Arc<dyn journal::Interest> {
    let readers = engine.jails().filter(|(_, jail)| jail.journal_match().is_some());
    let filters: Vec<&Filter> = readers.map(|(_, jail)| &jail.filter).collect();
    Arc::new(MattersInJournal { glance: Glance::new(&filters) })
}

/// Which entries of the journal can matter: of most nothing but the message is ever
/// needed.
#[derive(Debug)]
struct MattersInJournal {
    glance: Glance,
}

impl journal::Interest for MattersInJournal {
    fn matters(&self, text: &str) -> bool {
        self.glance.may_concern(text)
    }
}

impl Readers {
    /// Tells them to end.
    pub fn stop(&self) {
        self.journal.iter().for_each(journal::Follower::stop);
        self.files.iter().for_each(file::Follower::stop);
    }

    /// Waits until they have ended.
    pub fn join(mut self) {
        self.journal.take().into_iter().for_each(journal::Follower::join);
        self.files.take().into_iter().for_each(file::Follower::join);
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.stop();
    }
}

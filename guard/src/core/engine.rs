//! The whole program without I/O: `handle(now, input) -> effects`.
//!
//! Invariants: no source is banned without the allow-lists having been asked; what is
//! in [`Effects::persist`] is enough to build an equal engine again with
//! [`Engine::restore`]; everything an attacker can make grow is bounded by [`Limits`].

mod allowed;
mod asking;
mod banning;
mod cell;
mod counting;
pub mod explain;
mod kept;
mod knowledge;
mod lists;
mod orders;
mod showing;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use crate::core::addr::Prefix;
use crate::core::allow::AllowList;
use crate::core::delta::{Ban, JailPorts, Snapshot};
use crate::core::effects::{Change, Effects, Report};
use crate::core::entry::{Batch, Entry};
use crate::core::failure::{Attempt, Failure, Who};
use crate::core::filter::{Candidates, Filter, Prefilter};
use crate::core::history::{History, Past};
use crate::core::host::HostAddresses;
use crate::core::input::Input;
use crate::core::jail::{AllowElsewhere, Jail, JailId, LogSource};
use crate::core::ledger::Ledger;
use crate::core::time::{Span, Timestamp};
use asking::Asking;
use banning::ended;
use cell::Cell;
pub use cell::JailFigures;
use lists::Place;

/// Bounds on what an attacker can make grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Failures that are kept, over all jails.
    pub tracked_failures: usize,
    /// Bans in force, over all jails.
    pub bans: usize,
    /// Connections that each jail's filter remembers.
    pub connections: usize,
    /// Sources whose earlier bans are remembered, over all jails.
    pub known_sources: usize,
    /// For how long, beyond three times the length of their last ban.
    pub history: Span,
}

/// So much earlier than what came before it may an entry be, and still be judged as if
/// the log had been read in any other portions.
const DISORDER: Span = Span::from_seconds(60);

/// What the engine must be given because it may not find it out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seed {
    /// A random number that nobody else knows: `bantime.rndtime` comes from it.
    pub secret: u64,
    /// The agent's process id, for the lines about own bans.
    pub process: u32,
}

/// Everything that guard knows and decides.
#[derive(Debug)]
pub struct Engine {
    cells: Vec<Cell>,
    prefilter: Arc<Prefilter>,
    candidates: Candidates,
    allow: AllowList,
    host: HostAddresses,
    /// Whom no jail may ban, as the enforcer knows it.
    allowed: BTreeSet<Prefix>,
    ledger: Ledger,
    limits: Limits,
    seed: Seed,
    /// Bans that were not made because [`Limits::bans`] is reached, under these limits.
    full: u64,
    /// Failures of something else than an address.
    nameless: u64,
    /// Earlier bans, if any jail asks for them.
    history: Option<History>,
    /// Jails that read guard's own bans.
    followers: Vec<JailId>,
    /// Bans of this input that they have not read yet.
    own: VecDeque<Ban>,
    /// What others were asked.
    asking: Asking,
    /// Names and files in the allow-lists.
    places: Vec<Place>,
    /// Before this nothing was written to a log file that is not read; of the last batch.
    files_read: Timestamp,
}

/// What was stored, in the order in which it was stored, for the started jails.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stored {
    /// Bans, ended ones included.
    pub bans: Vec<Ban>,
    /// Failures that had not led to a ban, and as how many each counts.
    pub failures: Vec<(Failure, u32)>,
    /// What is remembered of earlier bans.
    pub history: Vec<(JailId, Prefix, Past)>,
    /// Bans that wait for an `ignorecommand`.
    pub awaited: Vec<Ban>,
    /// Failures whose client's name is not resolved yet: jail, name, time, user.
    pub names: Vec<(JailId, String, Timestamp, Option<String>)>,
    /// What names and files in allow-lists stood for.
    pub lists: Vec<(AllowElsewhere, Vec<Prefix>)>,
    /// What filters remembered: jail, connection, state.
    pub correlations: Vec<(JailId, String, String)>,
    /// Whose failures until when do not count; `None` is everybody.
    pub pardons: Vec<(JailId, Option<Prefix>, Timestamp)>,
}

impl Engine {
    /// An engine that goes on where the stored one stopped. Bans that ended meanwhile,
    /// and bans of sources that must not be banned any more, are lifted.
    pub fn restore(
        jails: Vec<Jail>,
        allow: AllowList,
        limits: Limits,
        host: HostAddresses,
        stored: Stored,
        now: Timestamp,
    ) -> (Self, Effects) {
        let filters: Vec<&Filter> = jails.iter().map(|jail| &jail.filter).collect();
        let prefilter = Arc::new(Prefilter::new(&filters));
        let escalates = jails.iter().any(|jail| jail.escalation.is_some());
        let follows = |jail: &Jail| jail.source == LogSource::OwnBans;
        let followers = (0..).zip(&jails).filter(|(_, jail)| follows(jail));
        let followers = followers.map(|(id, _)| JailId(id)).collect();
        let cells = jails.into_iter().map(|jail| Cell::new(jail, &limits)).collect();
        let mut engine = Self {
            cells,
            prefilter,
            candidates: Candidates::default(),
            allow,
            host,
            allowed: BTreeSet::new(),
            ledger: Ledger::default(),
            limits,
            seed: Seed::default(),
            full: 0,
            nameless: 0,
            history: escalates.then(|| History::new(limits.history, limits.known_sources)),
            followers,
            own: VecDeque::new(),
            asking: Asking::default(),
            places: Vec::new(),
            files_read: Timestamp::default(),
        };
        let mut effects = Effects::default();
        engine.restore_lists(stored.lists, now, &mut effects);
        engine.allowed = engine.whom_no_jail_may_ban();
        engine.restore_history(stored.history, now, &mut effects);
        engine.restore_bans(stored.bans, now, &mut effects);
        for (failure, weight) in stored.failures {
            let windows = &mut engine.cells[failure.jail.index()].windows;
            windows.restore(failure.source, failure.time, weight);
            engine.make_room(&mut effects);
        }
        for (jail, key, state) in stored.correlations {
            // What cannot be read any more is as good as forgotten.
            let _ = engine.cells[jail.index()].memory.restore(&key, &state);
        }
        for (jail, cell) in (0..).map(JailId).zip(&mut engine.cells) {
            cell.memory.fit(&mut cell.changed);
            cell.persist_connections(jail, &mut effects);
        }
        for (jail, source, until) in stored.pardons {
            engine.cells[jail.index()].pardons.insert(source, until);
        }
        engine.restore_questions(stored.awaited, stored.names, now, &mut effects);
        engine.feed(now, &mut effects);
        let effects = engine.finish(effects);
        (engine, effects)
    }

    /// Does what one input leads to. `now` is the wall clock; it never goes back
    /// within one run of the agent.
    pub fn handle(&mut self, now: Timestamp, input: Input) -> Effects {
        let mut effects = Effects::default();
        self.expire(now, &mut effects);
        self.hear_no_more(now, &mut effects);
        match input {
            Input::Entries(batch) => self.read(now, batch, &mut effects),
            Input::Manual(manual) => {
                let outcome = self.obey(now, manual, &mut effects);
                effects.outcome = Some(outcome);
            }
            Input::HostAddresses(host) => self.follow(host, &mut effects),
            Input::Answer(answer) => self.hear(now, answer, &mut effects),
            Input::Tick => {}
        }
        self.look_up(now, &mut effects);
        self.feed(now, &mut effects);
        self.finish(effects)
    }

    /// Gives the engine what it must not find out by itself; once, before it is used.
    pub fn seed(&mut self, seed: Seed) {
        self.seed = seed;
    }

    /// The ban set as it is now.
    pub fn snapshot(&self) -> Snapshot {
        let ports = |cell: &Cell| JailPorts {
            name: cell.jail.name.clone(),
            ports: cell.jail.ports.clone(),
        };
        Snapshot {
            serial: self.ledger.serial(),
            jails: self.cells.iter().map(ports).collect(),
            bans: self.ledger.iter().collect(),
            allowed: self.allowed.iter().copied().collect(),
        }
    }

    /// The started jails in configuration order.
    pub fn jails(&self) -> impl Iterator<Item = (JailId, &Jail)> {
        (0..).map(JailId).zip(self.cells.iter().map(|cell| &cell.jail))
    }

    /// What tells which lines can matter to which jail, by [`JailId::index`].
    pub fn prefilter(&self) -> Arc<Prefilter> {
        Arc::clone(&self.prefilter)
    }

    /// The jail of a name.
    pub fn jail_named(&self, name: &str) -> Option<JailId> {
        self.jails().find(|(_, jail)| jail.name.as_str() == name).map(|(id, _)| id)
    }

    /// A jail in figures, at `now`.
    pub fn figures(&self, id: JailId, now: Timestamp) -> JailFigures {
        let cell = &self.cells[id.index()];
        JailFigures { failing: cell.windows.failing_since(now - cell.jail.find_time) }
    }

    /// Every ban, in no particular order.
    pub fn bans(&self) -> impl Iterator<Item = Ban> {
        self.ledger.iter()
    }

    /// Bans that were not made because there are as many as [`Limits::bans`] allows, since
    /// these limits hold.
    pub fn refused_for_space(&self) -> u64 {
        self.full
    }

    /// How many bans there may be.
    pub fn bans_limit(&self) -> usize {
        self.limits.bans
    }

    /// Failures for which nobody can be banned, because their filter found something
    /// else than an address (`<F-ID>`, or a name with `usedns = raw`).
    pub fn without_address(&self) -> u64 {
        self.nameless
    }

    /// When the engine wants [`Input::Tick`] next.
    pub fn wake_at(&self) -> Option<Timestamp> {
        [self.ledger.next_end(), self.asking.next_deadline(), self.next_look()]
            .into_iter()
            .flatten()
            .min()
    }

    fn finish(&mut self, mut effects: Effects) -> Effects {
        for (jail, cell) in (0..).map(JailId).zip(&mut self.cells) {
            cell.tell_given_up(jail, &mut effects);
        }
        effects.serial = self.ledger.serial();
        effects.wake_at = self.wake_at();
        effects
    }

    fn expire(&mut self, now: Timestamp, effects: &mut Effects) {
        while let Some((jail, source)) = self.ledger.expire_one(now) {
            ended(jail, source, effects);
        }
        self.expire_history(now, effects);
    }

    fn read(&mut self, now: Timestamp, batch: Batch, effects: &mut Effects) {
        let from_file = batch.position.is_of_file();
        if from_file {
            self.files_read = batch.position.time;
        }
        for entry in &batch.entries {
            self.show(now, entry, effects);
            self.feed(now, effects);
        }
        for (jail, cell) in (0..).map(JailId).zip(&mut self.cells) {
            cell.persist_connections(jail, effects);
            // Another source may be further behind.
            if cell.jail.reads_files().is_some_and(|reads_files| reads_files != from_file) {
                continue;
            }
            let settled = batch.position.time - DISORDER;
            while let Some(source) = cell.windows.expire_one(settled - cell.jail.find_time) {
                effects.persist.push(Change::Forget { jail, source, before: None });
            }
            for (source, _) in cell.pardons.extract_if(|_, until| *until < settled) {
                effects.persist.push(Change::Pardon { jail, source, until: None });
            }
        }
        effects.persist.push(Change::Position(batch.position));
    }

    fn look(&mut self, now: Timestamp, jail: JailId, entry: &Entry, effects: &mut Effects) {
        let cell = &mut self.cells[jail.index()];
        let finding = cell.jail.filter.find(entry, &mut cell.memory);
        cell.changed.extend(finding.correlate);
        if let Some(source) = finding.planted {
            effects.report.push(Report::Planted { jail, source });
        }
        if let Some(expression) = finding.step_limit {
            effects.report.push(Report::StepLimit { jail, expression });
        }
        let Some(Attempt { who, time, user }) = finding.failure else { return };
        match who {
            Who::Address(source) => {
                self.count(now, Failure { jail, source, time, user }, effects);
            }
            Who::Name(name) => self.count_named(now, jail, &name, time, user, effects),
            Who::Id(_) => self.nameless += 1,
        }
    }
}

#[cfg(test)]
mod tests;

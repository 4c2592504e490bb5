//! The whole program without I/O: `handle(now, input) -> effects`.
//!
//! Invariants: no source is banned without the allow-lists having been asked; what is
//! in [`Effects::persist`] is enough to build an equal engine again with
//! [`Engine::restore`]; everything an attacker can make grow is bounded by [`Limits`].

mod orders;
mod showing;

use std::collections::HashMap;
use std::sync::Arc;

use crate::core::addr::Prefix;
use crate::core::allow::{AllowList, Cleared, Gate};
use crate::core::delta::{Ban, Delta, JailPorts, Snapshot};
use crate::core::effects::{Change, Effects, Report};
use crate::core::entry::{Batch, Entry};
use crate::core::failure::{Attempt, Failure, Who};
use crate::core::filter::{Candidates, Filter, Memory, Prefilter};
use crate::core::host::HostAddresses;
use crate::core::input::Input;
use crate::core::jail::{Jail, JailId};
use crate::core::ledger::{Entered, Ledger};
use crate::core::reason::{Allowed, Reason};
use crate::core::time::Timestamp;
use crate::core::window::{Counted, Windows};

/// Bounds on what an attacker can make grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sources with failures that are tracked, for each jail.
    pub tracked_sources: usize,
    /// Bans in force, over all jails.
    pub bans: usize,
    /// Connections that each jail's filter remembers.
    pub connections: usize,
}

/// One jail at work.
#[derive(Debug)]
struct Cell {
    jail: Jail,
    memory: Memory,
    windows: Windows,
    evicted: u64,
    /// Connections of which something else is remembered since the last input.
    changed: Vec<Arc<str>>,
    /// Whose failures until when do not count, because they were let in again since;
    /// `None` is everybody. Kept until the source was read that far.
    pardons: HashMap<Option<Prefix>, Timestamp>,
}

impl Cell {
    fn pardons(&self, failure: &Failure) -> bool {
        let covers = |whom| self.pardons.get(&whom).is_some_and(|&until| failure.time <= until);
        !self.pardons.is_empty() && (covers(Some(failure.source)) || covers(None))
    }
}

/// Everything that guard knows and decides.
#[derive(Debug)]
pub struct Engine {
    cells: Vec<Cell>,
    prefilter: Prefilter,
    candidates: Candidates,
    allow: AllowList,
    host: HostAddresses,
    ledger: Ledger,
    limits: Limits,
    /// Bans that were not made because [`Limits::bans`] is reached.
    full: u64,
}

/// What was stored, in the order in which it was stored, for the started jails.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stored {
    /// Bans, ended ones included.
    pub bans: Vec<Ban>,
    /// Failures that had not led to a ban.
    pub failures: Vec<Failure>,
    /// What filters remembered: jail, connection, state.
    pub correlations: Vec<(JailId, String, String)>,
    /// Whose failures until when do not count; `None` is everybody.
    pub pardons: Vec<(JailId, Option<Prefix>, Timestamp)>,
}

/// A jail in figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JailFigures {
    /// Sources with a failure within the last `findtime`.
    pub failing: usize,
    /// Sources that were given up because a limit is reached.
    pub evicted: u64,
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
        let prefilter = Prefilter::new(&filters);
        let cells = jails
            .into_iter()
            .map(|jail| Cell {
                memory: Memory::new(limits.connections),
                windows: Windows::new(jail.find_time, jail.max_retry, limits.tracked_sources),
                evicted: 0,
                changed: Vec::new(),
                pardons: HashMap::new(),
                jail,
            })
            .collect();
        let mut engine = Self {
            cells,
            prefilter,
            candidates: Candidates::default(),
            allow,
            host,
            ledger: Ledger::default(),
            limits,
            full: 0,
        };
        let mut effects = Effects::default();
        for ban in stored.bans {
            engine.restore_ban(ban, now, &mut effects);
        }
        for failure in stored.failures {
            let windows = &mut engine.cells[failure.jail.index()].windows;
            windows.restore(failure.source, failure.time);
        }
        for (jail, key, state) in stored.correlations {
            // What cannot be read any more is as good as forgotten.
            let _ = engine.cells[jail.index()].memory.restore(&key, &state);
        }
        for (jail, source, until) in stored.pardons {
            engine.cells[jail.index()].pardons.insert(source, until);
        }
        let effects = engine.finish(effects);
        (engine, effects)
    }

    /// Does what one input leads to. `now` is the wall clock; it never goes back
    /// within one run of the agent.
    pub fn handle(&mut self, now: Timestamp, input: Input) -> Effects {
        let mut effects = Effects::default();
        self.expire(now, &mut effects);
        match input {
            Input::Entries(batch) => self.read(now, batch, &mut effects),
            Input::Manual(manual) => {
                let outcome = self.obey(now, manual, &mut effects);
                effects.outcome = Some(outcome);
            }
            Input::HostAddresses(host) => self.follow(host, &mut effects),
            Input::Tick => {}
        }
        self.finish(effects)
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
        }
    }

    /// The started jails in configuration order.
    pub fn jails(&self) -> impl Iterator<Item = (JailId, &Jail)> {
        (0..).map(JailId).zip(self.cells.iter().map(|cell| &cell.jail))
    }

    /// The jail of a name.
    pub fn jail_named(&self, name: &str) -> Option<JailId> {
        self.jails().find(|(_, jail)| jail.name.as_str() == name).map(|(id, _)| id)
    }

    /// A jail in figures, at `now`.
    pub fn figures(&self, id: JailId, now: Timestamp) -> JailFigures {
        let cell = &self.cells[id.index()];
        JailFigures {
            failing: cell.windows.failing_since(now - cell.jail.find_time),
            evicted: cell.evicted,
        }
    }

    /// Every ban, in no particular order.
    pub fn bans(&self) -> impl Iterator<Item = Ban> {
        self.ledger.iter()
    }

    /// Bans that were not made because there are as many as [`Limits::bans`] allows.
    pub fn refused_for_space(&self) -> u64 {
        self.full
    }

    /// When the engine wants [`Input::Tick`] next.
    pub fn wake_at(&self) -> Option<Timestamp> {
        self.ledger.next_end()
    }

    fn finish(&self, mut effects: Effects) -> Effects {
        effects.serial = self.ledger.serial();
        effects.wake_at = self.wake_at();
        effects
    }

    fn restore_ban(&mut self, ban: Ban, now: Timestamp, effects: &mut Effects) {
        let Ban { jail, source, since, until, reason } = ban;
        let ended = until.is_some_and(|until| until <= now);
        let gate = self.gate(jail);
        let cleared = match reason {
            Reason::Manual { forced: true } => Some(gate.force(source)),
            _ => gate.clear(source).ok(),
        };
        match cleared {
            Some(cleared) if !ended && source.is_host() => {
                if let Entered::New(ban) = self.ledger.ban(jail, cleared, since, until, reason) {
                    effects.report.push(Report::Restored(ban));
                }
            }
            _ => {
                effects.persist.push(Change::Unban { jail, source });
                effects.report.push(Report::Unbanned { jail, source });
            }
        }
    }

    fn expire(&mut self, now: Timestamp, effects: &mut Effects) {
        while let Some((jail, source)) = self.ledger.expire_one(now) {
            ended(jail, source, effects);
        }
    }

    fn read(&mut self, now: Timestamp, batch: Batch, effects: &mut Effects) {
        for entry in &batch.entries {
            self.show(now, entry, effects);
        }
        for (jail, cell) in (0..).map(JailId).zip(&mut self.cells) {
            cell.persist_connections(jail, effects);
            let horizon = batch.position.time - cell.jail.find_time;
            while let Some(source) = cell.windows.expire_one(horizon) {
                effects.persist.push(Change::Forget { jail, source, before: None });
            }
            for (source, _) in cell.pardons.extract_if(|_, until| *until < batch.position.time) {
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
        if let Some(Attempt { who: Who::Address(source), time, user }) = finding.failure {
            self.count(now, Failure { jail, source, time, user }, effects);
        }
    }

    fn count(&mut self, now: Timestamp, failure: Failure, effects: &mut Effects) {
        let (jail, source) = (failure.jail, failure.source);
        if !source.is_host() {
            effects.report.push(Report::Ignored { failure, allowed: Allowed::Wide });
            return;
        }
        let cleared = match self.gate(jail).clear(source) {
            Ok(cleared) => cleared,
            Err(allowed) => {
                effects.report.push(Report::Ignored { failure, allowed });
                return;
            }
        };
        let cell = &mut self.cells[jail.index()];
        if cell.pardons(&failure) {
            effects.report.push(Report::Ignored { failure, allowed: Allowed::Pardoned });
            return;
        }
        let counted = cell.windows.count(source, failure.time);
        effects.persist.push(Change::Count(failure.clone()));
        effects.report.push(Report::Found(failure));
        match counted {
            Counted::Below { fell_out } => {
                if fell_out.is_some() {
                    effects.persist.push(Change::Forget { jail, source, before: fell_out });
                }
                while let Some(source) = cell.windows.evict() {
                    cell.evicted += 1;
                    effects.persist.push(Change::Forget { jail, source, before: None });
                    effects.report.push(Report::Evicted { jail, source });
                }
            }
            Counted::Reached { count, first, last } => {
                effects.persist.push(Change::Forget { jail, source, before: None });
                let until = cell.jail.ban_time.map(|span| last + span);
                // Read late: had guard seen it in time, the ban would be over by now.
                if until.is_none_or(|until| until > now) {
                    let reason = Reason::Failures { count, within: last - first };
                    self.ban(jail, cleared, last, until, reason, effects);
                }
            }
        }
    }

    /// Enters a ban.
    fn ban(
        &mut self,
        jail: JailId,
        cleared: Cleared,
        since: Timestamp,
        until: Option<Timestamp>,
        reason: Reason,
        effects: &mut Effects,
    ) -> Wish {
        let source = cleared.source();
        if self.ledger.len() >= self.limits.bans && self.ledger.find(jail, source).is_none() {
            self.full += 1;
            effects.report.push(Report::Full { jail, source });
            return Wish::NoRoom;
        }
        let (ban, change, report) = match self.ledger.ban(jail, cleared, since, until, reason) {
            Entered::New(ban) => (ban, Change::Ban(ban), Report::Banned(ban)),
            Entered::Prolonged(ban) => (ban, Change::Prolong(ban), Report::Prolonged(ban)),
            Entered::Unchanged => {
                effects.report.push(Report::AlreadyBanned { jail, source });
                return Wish::AlreadySo;
            }
        };
        effects.persist.push(change);
        effects.enforce.push(Delta::Ban(ban));
        effects.report.push(report);
        Wish::Granted
    }

    /// Takes note of the host's addresses and lifts bans that they forbid.
    fn follow(&mut self, host: HostAddresses, effects: &mut Effects) {
        if self.host == host {
            return;
        }
        self.host = host;
        let forbidden: Vec<(JailId, Prefix)> = self
            .ledger
            .iter()
            .filter(|ban| !matches!(ban.reason, Reason::Manual { forced: true }))
            .filter(|ban| self.gate(ban.jail).clear(ban.source).is_err())
            .map(|ban| (ban.jail, ban.source))
            .collect();
        for (jail, source) in forbidden {
            self.ledger.unban(jail, source);
            ended(jail, source, effects);
        }
    }

    fn gate(&self, jail: JailId) -> Gate<'_> {
        let jail = &self.cells[jail.index()].jail.allow;
        Gate { host: &self.host, global: &self.allow, jail }
    }
}

/// What came of the wish to ban somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    /// The ban is new or lasts longer than before.
    Granted,
    /// There was one that lasts as long.
    AlreadySo,
    /// There are as many bans as there may be.
    NoRoom,
}

fn ended(jail: JailId, source: Prefix, effects: &mut Effects) {
    effects.persist.push(Change::Unban { jail, source });
    effects.enforce.push(Delta::Unban { jail, source });
    effects.report.push(Report::Unbanned { jail, source });
}

//! Logs of the past through the real engine, with their own time.
//!
//! Input: the jails as the agent would start them, and entries in the order of a log.
//! Output: [`Replay`], who would have been banned, when and why. Invariant: nothing of
//! the host is touched or asked: no clock, no store, no kernel. What would be asked of
//! others (`ignorecommand`, names in `ignoreip`) is left out and told.

use std::collections::HashSet;

use crate::core::addr::Prefix;
use crate::core::allow::AllowList;
use crate::core::date::{self, DateFrom, Dates, Zone};
use crate::core::effects::{Effects, Report};
use crate::core::engine::{Engine, Limits, Stored};
use crate::core::entry::{Batch, Dating, Entry, Position};
use crate::core::host::HostAddresses;
use crate::core::input::Input;
use crate::core::jail::{Jail, JailId, JailName};
use crate::core::reason::Reason;
use crate::core::time::Timestamp;
use crate::tool::line;

/// A part of the past.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Period {
    /// What was logged earlier is left out.
    pub since: Option<Timestamp>,
    /// What was logged at this time or later is left out.
    pub until: Option<Timestamp>,
}

impl Period {
    fn holds(&self, time: Timestamp) -> bool {
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time < until)
    }
}

/// What one jail did.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct JailSummary {
    /// Its name.
    pub jail: JailName,
    /// Lines that it read.
    pub lines: u64,
    /// Failures that it counted.
    pub failures: u64,
    /// Sources of these failures.
    pub sources: usize,
    /// Bans that began.
    pub bans: u64,
    /// Failures of sources that must not be banned.
    pub allowed: u64,
    /// Lines in which an address was found only where the client could have written it.
    pub planted: u64,
    /// Lines on which an expression was given up.
    pub given_up: u64,
}

/// One ban that would have begun.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ReplayedBan {
    /// The jail.
    pub jail: JailName,
    /// Who.
    pub address: Prefix,
    /// When.
    pub since: Timestamp,
    /// Until when; `null` for ever.
    pub until: Option<Timestamp>,
    /// Why.
    pub reason: Reason,
    /// Why, in words.
    pub why: String,
}

/// An engine that reads the past.
#[derive(Debug)]
pub struct Replay {
    engine: Engine,
    period: Period,
    dates: Dates,
    date_memory: date::Memory,
    /// The log's own time; never goes back.
    now: Timestamp,
    sources: Vec<HashSet<Prefix>>,
    /// One for each jail.
    pub jails: Vec<JailSummary>,
    /// In the order in which they would have begun.
    pub bans: Vec<ReplayedBan>,
    /// Lines within the period.
    pub lines: u64,
    /// When the first and the last of them were logged, as far as they say.
    pub span: Option<(Timestamp, Timestamp)>,
    /// What is left out, in words.
    pub left_out: Vec<String>,
}

impl Replay {
    /// Starts the jails with nothing remembered. `zone` is that of dates without one.
    pub fn new(
        mut jails: Vec<Jail>,
        allow: AllowList,
        limits: Limits,
        period: Period,
        zone: Zone,
    ) -> Self {
        let mut left_out = Vec::new();
        for jail in &mut jails {
            let name = &jail.name;
            if jail.ignore_command.take().is_some() {
                left_out.push(format!("{name}: its ignorecommand is not asked"));
            }
            if !std::mem::take(&mut jail.allow_elsewhere).is_empty() {
                left_out.push(format!("{name}: names and files in its ignoreip are not looked up"));
            }
        }
        let summary = |jail: &Jail| JailSummary {
            jail: jail.name.clone(),
            lines: 0,
            failures: 0,
            sources: 0,
            bans: 0,
            allowed: 0,
            planted: 0,
            given_up: 0,
        };
        let summaries: Vec<JailSummary> = jails.iter().map(summary).collect();
        let now = Timestamp::default();
        let host = HostAddresses::default();
        let (engine, _) = Engine::restore(jails, allow, limits, host, Stored::default(), now);
        Self {
            engine,
            period,
            dates: Dates::compile("", zone).unwrap_or_default(),
            date_memory: date::Memory::default(),
            now,
            sources: vec![HashSet::new(); summaries.len()],
            jails: summaries,
            bans: Vec::new(),
            lines: 0,
            span: None,
            left_out,
        }
    }

    /// Begins with another file: dates of the last one mean nothing for it.
    pub fn next_log(&mut self) {
        self.date_memory = date::Memory::default();
    }

    /// Replays a line of a file for these jails; it is read at `read_at`.
    pub fn line(&mut self, text: &str, jails: &[JailId], read_at: Timestamp) {
        let dating = self.dates.read(text, read_at, &mut self.date_memory);
        let logged = (dating.from == DateFrom::Line).then_some(dating.time);
        let mut entry = line::entry(text, Dating::InLine, read_at);
        entry.jails = jails.to_vec();
        self.read(entry, logged);
    }

    /// Replays an entry of the journal.
    pub fn entry(&mut self, entry: Entry) {
        let logged = entry.time;
        self.read(entry, Some(logged));
    }

    fn read(&mut self, entry: Entry, logged: Option<Timestamp>) {
        if !self.period.holds(logged.unwrap_or(self.now)) {
            return;
        }
        self.now = self.now.max(logged.unwrap_or(self.now));
        if let Some(logged) = logged {
            let (first, last) = self.span.unwrap_or((logged, logged));
            self.span = Some((first.min(logged), last.max(logged)));
        }
        self.lines += 1;
        for jail in &entry.jails {
            self.jails[jail.index()].lines += 1;
        }
        let position = Position { source: String::new(), place: String::new(), time: self.now };
        let batch = Batch { entries: vec![entry], position };
        let effects = self.engine.handle(self.now, Input::Entries(batch));
        self.take(effects);
    }

    fn take(&mut self, effects: Effects) {
        for report in effects.report {
            match report {
                Report::Found(failure) => {
                    self.jails[failure.jail.index()].failures += 1;
                    self.sources[failure.jail.index()].insert(failure.source);
                    // A form of date that only the filter knows.
                    self.now = self.now.max(failure.time);
                }
                Report::Ignored { failure, .. } => self.jails[failure.jail.index()].allowed += 1,
                Report::Planted { jail, .. } => self.jails[jail.index()].planted += 1,
                Report::StepLimit { jail, .. } => self.jails[jail.index()].given_up += 1,
                Report::Banned(ban) => {
                    let jail = &mut self.jails[ban.jail.index()];
                    jail.bans += 1;
                    self.bans.push(ReplayedBan {
                        jail: jail.jail.clone(),
                        address: ban.source,
                        since: ban.since,
                        until: ban.until,
                        reason: ban.reason,
                        why: ban.reason.to_string(),
                    });
                }
                // It failed on, which a ban would have kept it from.
                Report::Prolonged(ban) => {
                    let name = &self.jails[ban.jail.index()].jail;
                    let same = |known: &&mut ReplayedBan| {
                        known.address == ban.source && known.jail == *name
                    };
                    if let Some(known) = self.bans.iter_mut().rev().find(same) {
                        known.until = ban.until;
                    }
                }
                _ => {}
            }
        }
        for (jail, sources) in self.jails.iter_mut().zip(&self.sources) {
            jail.sources = sources.len();
        }
    }
}

//! Bans that wait for a jail's `ignorecommand`, and failures that wait for the addresses
//! of a name.
//!
//! The command is asked once for a ban, not for each failure as in Fail2Ban: who is
//! banned is the same as long as its answer for a source does not change. What waits is
//! stored, and asked again after a restart. Bounds: so many bans and names wait at a
//! time, so many failures of one name, each no longer than [`PATIENCE`]. Without an
//! answer a ban is made, as in Fail2Ban when the command fails; a name without an
//! answer, or with too many addresses, bans nobody.

mod tags;

use std::collections::{BTreeMap, HashMap};

use super::Engine;
use super::kept::Kept;
use crate::core::addr::Prefix;
use crate::core::allow::Cleared;
use crate::core::delta::{Ban, Terms};
use crate::core::effects::{Change, Effects, Report};
use crate::core::failure::Failure;
use crate::core::jail::{IgnoreCommand, JailId};
use crate::core::question::{Answer, Ask, Question, Said, is_host_name};
use crate::core::reason::{Allowed, Reason};
use crate::core::surplus::Surplus;
use crate::core::time::{Span, Timestamp};
use tags::expand;

/// How long an answer may take: longer than whoever is asked gives itself.
const PATIENCE: Span = Span::from_seconds(30);
/// Bans that wait at a time, over all jails.
const MOST_AWAITED: usize = 1_000;
/// Names that wait at a time, and that are kept.
const MOST_NAMES: usize = 1_000;
/// Failures of one name that wait.
const MOST_FAILURES: usize = 100;
/// A name with more addresses than this bans nobody: its owner could list others'.
const MOST_ADDRESSES: usize = 8;
/// For how long the addresses of a client's name are believed.
const NAME_KEPT: Span = Span::from_seconds(300);

/// What was asked and not answered yet, and what waits for it.
#[derive(Debug)]
pub(super) struct Asking {
    last: u64,
    /// Open questions with the time until which an answer counts. That time only grows.
    open: BTreeMap<u64, (Purpose, Timestamp)>,
    /// Bans that wait.
    bans: HashMap<(JailId, Prefix), Ban>,
    /// Failures that wait, by the name.
    failures: HashMap<String, Vec<Named>>,
    /// Addresses of names; none for those that bans nobody.
    names: Kept<Vec<Prefix>>,
    /// What is wrong with the last answer of a command.
    trouble: Option<String>,
}

impl Default for Asking {
    fn default() -> Self {
        Self {
            last: 0,
            open: BTreeMap::new(),
            bans: HashMap::new(),
            failures: HashMap::new(),
            names: Kept::new(MOST_NAMES),
            trouble: None,
        }
    }
}

/// What an answer is for.
#[derive(Clone, Debug)]
pub(super) enum Purpose {
    /// To ban or not to ban; to be kept under this key.
    Command { jail: JailId, source: Prefix, key: Option<String> },
    /// To count the failures of a client of this name.
    Client(String),
    /// To know what a name or file of an allow-list stands for: its place in the list.
    List(usize),
}

/// A failure of a client of whom only the name is known.
#[derive(Clone, Debug)]
struct Named {
    jail: JailId,
    time: Timestamp,
    user: Option<String>,
}

impl Asking {
    /// Asks.
    pub(super) fn ask(
        &mut self,
        now: Timestamp,
        ask: Ask,
        purpose: Purpose,
        effects: &mut Effects,
    ) {
        self.last += 1;
        self.open.insert(self.last, (purpose, now + PATIENCE));
        effects.ask.push(Question { id: self.last, ask });
    }

    /// When the first open question is given up.
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        self.open.first_key_value().map(|(_, (_, deadline))| *deadline)
    }

    /// Whose bans wait in a jail.
    pub(super) fn awaited(&self, jail: JailId) -> Vec<Prefix> {
        self.bans.keys().filter(|(of, _)| *of == jail).map(|(_, source)| *source).collect()
    }

    /// Everything that waits, to be stored.
    pub(super) fn waiting(&self) -> impl Iterator<Item = Change> {
        let failures = self.failures.iter().flat_map(|(name, all)| {
            all.iter().map(move |Named { jail, time, user }| Change::AwaitName {
                jail: *jail,
                name: name.clone(),
                time: *time,
                user: user.clone(),
            })
        });
        self.bans.values().copied().map(Change::Await).chain(failures)
    }

    /// Takes back a ban that waits, if there is one.
    pub(super) fn acquit(&mut self, jail: JailId, source: Prefix) -> Option<Ban> {
        self.bans.remove(&(jail, source))
    }

    /// What is wrong with asking commands.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }
}

impl Engine {
    /// A source reached `maxretry`: it is banned, unless the jail's command is to be asked
    /// before.
    pub(super) fn accuse(
        &mut self,
        now: Timestamp,
        jail: JailId,
        cleared: Cleared,
        since: Timestamp,
        reason: Reason,
        effects: &mut Effects,
    ) {
        let source = cleared.source();
        let cell = &self.cells[jail.index()];
        let Some(command) = &cell.jail.ignore_command else {
            return self.convict(now, jail, cleared, since, reason, effects);
        };
        let until = cell.jail.ban_time.map(|length| since + length);
        let ban = Terms { since, until, reason }.of(jail, source);
        let key = command.cache.as_ref().map(|cache| expand(&cache.key, &ban, &cell.jail.name));
        match key.as_ref().and_then(|key| cell.answers.find(key, now)) {
            Some(true) => return ignored(&ban, effects),
            Some(false) => return self.convict(now, jail, cleared, since, reason, effects),
            None => {}
        }
        if self.asking.bans.contains_key(&(jail, source)) {
            return;
        }
        if self.asking.bans.len() >= MOST_AWAITED {
            let why = format!("{MOST_AWAITED} bans wait for an answer");
            let what = Surplus::UnaskedBans;
            effects.report.push(Report::GivenUp { jail, what, count: 1 });
            effects.report.push(Report::Unanswered { jail, source, why });
            return self.convict(now, jail, cleared, since, reason, effects);
        }
        effects.persist.push(Change::Await(ban));
        self.await_command(now, ban, effects);
    }

    fn await_command(&mut self, now: Timestamp, ban: Ban, effects: &mut Effects) {
        let own = &self.cells[ban.jail.index()].jail;
        let Some(IgnoreCommand { arguments, cache }) = &own.ignore_command else { return };
        let ask = arguments.iter().map(|argument| expand(argument, &ban, &own.name)).collect();
        let key = cache.as_ref().map(|cache| expand(&cache.key, &ban, &own.name));
        let Ban { jail, source, .. } = ban;
        self.asking.bans.insert((jail, source), ban);
        self.asking.ask(now, Ask::Run(ask), Purpose::Command { jail, source, key }, effects);
    }

    /// Counts a failure of a client of which only the name is known.
    pub(super) fn count_named(
        &mut self,
        now: Timestamp,
        jail: JailId,
        name: &str,
        time: Timestamp,
        user: Option<String>,
        effects: &mut Effects,
    ) {
        let name = name.to_ascii_lowercase();
        if let Some(addresses) = self.asking.names.find(&name, now) {
            for source in addresses.clone() {
                self.count(now, Failure { jail, source, time, user: user.clone() }, effects);
            }
            return;
        }
        let waiting = self.asking.failures.get(&name).map(Vec::len);
        let too_many = match waiting {
            Some(MOST_FAILURES..) => Some(format!("{MOST_FAILURES} failures of it wait already")),
            None if self.asking.failures.len() >= MOST_NAMES => {
                Some(format!("{MOST_NAMES} names wait already"))
            }
            _ => None,
        };
        let no_name = (!is_host_name(&name)).then(|| "it is no name of a host".to_owned());
        if no_name.is_none() && too_many.is_some() {
            let what = Surplus::NamedFailures;
            effects.report.push(Report::GivenUp { jail, what, count: 1 });
        }
        if let Some(why) = no_name.or(too_many) {
            effects.report.push(Report::Unresolved { jail, name, why });
            return;
        }
        effects.persist.push(Change::AwaitName {
            jail,
            name: name.clone(),
            time,
            user: user.clone(),
        });
        self.await_name(now, name, Named { jail, time, user }, effects);
    }

    fn await_name(&mut self, now: Timestamp, name: String, named: Named, effects: &mut Effects) {
        let failures = self.asking.failures.entry(name.clone()).or_default();
        failures.push(named);
        if failures.len() == 1 {
            let (ask, purpose) = (Ask::Resolve(name.clone()), Purpose::Client(name));
            self.asking.ask(now, ask, purpose, effects);
        }
    }

    /// Asks again what was not answered when the agent stopped.
    pub(super) fn restore_questions(
        &mut self,
        bans: Vec<Ban>,
        names: Vec<(JailId, String, Timestamp, Option<String>)>,
        now: Timestamp,
        effects: &mut Effects,
    ) {
        for ban in bans {
            if self.cells[ban.jail.index()].jail.ignore_command.is_some() {
                self.await_command(now, ban, effects);
            } else {
                self.asking.bans.insert((ban.jail, ban.source), ban);
                self.decide(now, ban.jail, ban.source, &Ok(false), effects);
            }
        }
        for (jail, name, time, user) in names {
            self.await_name(now, name, Named { jail, time, user }, effects);
        }
    }

    /// Gives up questions that were not answered in time.
    pub(super) fn hear_no_more(&mut self, now: Timestamp, effects: &mut Effects) {
        while let Some((&id, (_, deadline))) = self.asking.open.first_key_value()
            && *deadline <= now
        {
            let said = Err(format!("no answer within {PATIENCE}"));
            self.hear(now, Answer { id, said }, effects);
        }
    }

    /// Does what waited for an answer.
    pub(super) fn hear(&mut self, now: Timestamp, answer: Answer, effects: &mut Effects) {
        let Some((purpose, _)) = self.asking.open.remove(&answer.id) else { return };
        match purpose {
            Purpose::List(place) => self.hear_list(now, place, answer.said, effects),
            Purpose::Client(name) => {
                let addresses = believable(answer.said);
                self.hear_name(now, name, addresses, effects);
            }
            Purpose::Command { jail, source, key } => {
                let ignored = match answer.said {
                    Ok(Said::Exited(code @ (0 | 1))) => Ok(code == 0),
                    Ok(Said::Exited(code)) => Err(format!("ended with exit code {code}")),
                    Ok(_) => Err("the answer is for another question".to_owned()),
                    Err(why) => Err(why),
                };
                self.asking.trouble = ignored.as_ref().err().cloned();
                let cell = &mut self.cells[jail.index()];
                let cache = cell.jail.ignore_command.as_ref().and_then(|c| c.cache.as_ref());
                if let (Ok(ignored), Some(key), Some(cache)) = (&ignored, key, cache) {
                    cell.answers.keep(key, *ignored, now + cache.max_time);
                }
                self.decide(now, jail, source, &ignored, effects);
            }
        }
    }

    fn decide(
        &mut self,
        now: Timestamp,
        jail: JailId,
        source: Prefix,
        answer: &Result<bool, String>,
        effects: &mut Effects,
    ) {
        // It may have been let in meanwhile.
        let Some(ban) = self.asking.acquit(jail, source) else { return };
        effects.persist.push(Change::Decided { jail, source });
        match answer {
            Ok(true) => return ignored(&ban, effects),
            Ok(false) => {}
            Err(why) => {
                effects.report.push(Report::Unanswered { jail, source, why: why.clone() });
            }
        }
        // Somebody in the network may have become one who must not be banned.
        let (gate, last) = (self.gate(jail), accused(&ban));
        match gate.clear(source).or_else(|allowed| match source == last {
            true => Err(allowed),
            false => gate.clear(last),
        }) {
            Ok(cleared) => self.convict(now, jail, cleared, ban.since, ban.reason, effects),
            Err(allowed) => {
                effects.report.push(Report::Ignored { failure: failure_of(&ban), allowed });
            }
        }
    }

    fn hear_name(
        &mut self,
        now: Timestamp,
        name: String,
        addresses: Result<Vec<Prefix>, String>,
        effects: &mut Effects,
    ) {
        let failures = self.asking.failures.remove(&name).unwrap_or_default();
        effects.persist.push(Change::NameDecided { name: name.clone() });
        let addresses = addresses.unwrap_or_else(|why| {
            let mut jails: Vec<JailId> = failures.iter().map(|failure| failure.jail).collect();
            jails.dedup();
            effects.report.extend(jails.into_iter().map(|jail| Report::Unresolved {
                jail,
                name: name.clone(),
                why: why.clone(),
            }));
            Vec::new()
        });
        self.asking.names.keep(name, addresses.clone(), now + NAME_KEPT);
        for Named { jail, time, user } in failures {
            for &source in &addresses {
                self.count(now, Failure { jail, source, time, user: user.clone() }, effects);
            }
        }
    }
}

/// The addresses of a client's name, if it has not too many.
fn believable(said: Result<Said, String>) -> Result<Vec<Prefix>, String> {
    let Said::Addresses(addresses) = said? else {
        return Err("the answer is for another question".to_owned());
    };
    let mut addresses: Vec<Prefix> = addresses.into_iter().map(Prefix::host).collect();
    addresses.sort_unstable();
    addresses.dedup();
    match addresses.len() {
        0 => Err("there is no such host".to_owned()),
        1..=MOST_ADDRESSES => Ok(addresses),
        many => Err(format!("it has {many} addresses, more than {MOST_ADDRESSES}")),
    }
}

fn ignored(ban: &Ban, effects: &mut Effects) {
    let (failure, allowed) = (failure_of(ban), Allowed::Command);
    effects.report.push(Report::Ignored { failure, allowed });
}

fn failure_of(ban: &Ban) -> Failure {
    Failure { jail: ban.jail, source: accused(ban), time: ban.since, user: None }
}

/// Whose failure a ban was made for.
pub(super) fn accused(ban: &Ban) -> Prefix {
    match ban.reason {
        Reason::Failures { last, .. } => last.unwrap_or(ban.source),
        Reason::Manual { .. } => ban.source,
    }
}

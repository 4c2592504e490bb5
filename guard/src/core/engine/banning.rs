//! Who is banned and for how long; and guard's own bans as something to read.

use std::num::NonZero;

use super::asking::accused;
use super::{Cell, Engine};
use crate::core::addr::Prefix;
use crate::core::allow::{Cleared, Gate};
use crate::core::delta::{Ban, Delta, Terms};
use crate::core::effects::{Change, Effects, Report};
use crate::core::entry::{Dating, Entry};
use crate::core::escalation::chance;
use crate::core::history::{Forgotten, Past};
use crate::core::host::HostAddresses;
use crate::core::jail::JailId;
use crate::core::ledger::{Entered, Filling};
use crate::core::reason::{Allowed, Reason};
use crate::core::surplus::Surplus;
use crate::core::time::{Span, Timestamp};

/// What came of the wish to ban somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// The ban is new or lasts longer than before.
    Granted,
    /// There was one that lasts as long.
    AlreadySo,
    /// There are as many bans as there may be.
    NoRoom,
}

/// Of more stored bans only the number is logged.
const RESTORED_ONE_BY_ONE: usize = 10_000;

impl Engine {
    /// Enters the stored bans that hold and may hold, and lifts the others.
    pub(super) fn restore_bans(&mut self, bans: Vec<Ban>, now: Timestamp, effects: &mut Effects) {
        let mut filling = Filling::default();
        let mut restored = 0;
        for ban in bans {
            let Ban { jail, source, until, reason, .. } = ban;
            let ended = until.is_some_and(|until| until <= now);
            let gate = self.gate(jail);
            let cleared = match reason {
                Reason::Manual { forced: true } => Some(gate.force(source)),
                _ => gate.clear(source).ok(),
            };
            let Some(cleared) = cleared.filter(|_| !ended) else {
                effects.persist.push(Change::Unban { jail, source });
                effects.report.push(Report::Unbanned { jail, source });
                continue;
            };
            filling.ban(jail, cleared, ban.terms());
            if restored < RESTORED_ONE_BY_ONE {
                effects.report.push(Report::Restored(ban));
            }
            restored += 1;
        }
        if let Some(more) = NonZero::new(restored.saturating_sub(RESTORED_ONE_BY_ONE)) {
            effects.report.push(Report::RestoredMore(more));
        }
        self.ledger = filling.done();
    }

    pub(super) fn restore_history(
        &mut self,
        pasts: Vec<(JailId, Prefix, Past)>,
        now: Timestamp,
        effects: &mut Effects,
    ) {
        let Some(history) = &mut self.history else { return };
        for (jail, source, past) in pasts {
            history.remember(jail, source, past);
        }
        self.expire_history(now, effects);
    }

    /// Forgets earlier bans whose time is over, and those that are too many.
    pub(super) fn expire_history(&mut self, now: Timestamp, effects: &mut Effects) {
        let Some(history) = &mut self.history else { return };
        while let Some(Forgotten { jail, source, early }) = history.expire_one(now) {
            effects.persist.push(Change::Remember { jail, source, past: None });
            if early {
                let what = Surplus::KnownSources;
                effects.report.push(Report::GivenUp { jail, what, count: 1 });
            }
        }
    }

    /// Bans whom a jail's failures accuse, for the jail's time or, if the source came
    /// back, a longer one.
    pub(super) fn convict(
        &mut self,
        now: Timestamp,
        jail: JailId,
        cleared: Cleared,
        since: Timestamp,
        reason: Reason,
        effects: &mut Effects,
    ) {
        let length = self.ban_time(jail, cleared.source(), since);
        let until = length.map(|length| since + length);
        // Read late: had guard seen it in time, the ban would be over by now.
        if until.is_none_or(|until| until > now) {
            self.ban(jail, cleared, Terms { since, until, reason }, effects);
        }
    }

    /// How long the next ban of a source in a jail lasts. One that only prolongs a ban in
    /// force lasts no longer for earlier ones, and one that would have prolonged a ban
    /// neither.
    pub(super) fn ban_time(&self, jail: JailId, source: Prefix, since: Timestamp) -> Option<Span> {
        let own = &self.cells[jail.index()].jail;
        let ban_time = own.ban_time?;
        let past = self.past(jail, source).filter(|_| !self.was_banned(jail, source, since));
        let (Some(escalation), Some(past)) = (&own.escalation, past) else {
            return Some(ban_time);
        };
        let chance = chance(self.seed.secret, source, since);
        Some(escalation.ban_time(ban_time, past.count, chance))
    }

    /// Whether a source is banned in a jail, or was at a time that is past: then its failures
    /// are read late.
    fn was_banned(&self, jail: JailId, source: Prefix, at: Timestamp) -> bool {
        let covers = |past: &Past| past.length.is_some_and(|length| past.since + length > at);
        let last = self.history.as_ref().and_then(|history| history.find(jail, source));
        self.ledger.find(jail, source).is_some() || last.is_some_and(|last| covers(&last))
    }

    /// Enters a ban.
    pub(super) fn ban(
        &mut self,
        jail: JailId,
        cleared: Cleared,
        terms: Terms,
        effects: &mut Effects,
    ) -> Wish {
        let source = cleared.source();
        if self.ledger.len() >= self.limits.bans && self.ledger.find(jail, source).is_none() {
            self.full += 1;
            effects.report.push(Report::Full { jail, source });
            return Wish::NoRoom;
        }
        match self.ledger.ban(jail, cleared, terms) {
            Entered::New(ban) => {
                effects.persist.push(Change::Ban(ban));
                effects.enforce.push(Delta::Ban(ban));
                effects.report.push(Report::Banned(ban));
                self.remember(&ban, effects);
                if !self.followers.is_empty() {
                    self.own.push_back(ban);
                }
            }
            Entered::Prolonged(ban) => {
                effects.persist.push(Change::Prolong(ban));
                effects.enforce.push(Delta::Ban(ban));
                effects.report.push(Report::Prolonged(ban));
            }
            Entered::Unchanged => {
                effects.report.push(Report::AlreadyBanned { jail, source });
                return Wish::AlreadySo;
            }
        }
        Wish::Granted
    }

    /// Counts a new ban among those of its source.
    fn remember(&mut self, ban: &Ban, effects: &mut Effects) {
        let (jail, source, since) = (ban.jail, ban.source, ban.since);
        let own = &self.cells[jail.index()].jail;
        let length = ban.until.map(|until| until - since);
        // As in Fail2Ban, a jail that does not escalate knows only that there was a ban.
        // Nor does one whose bans are for ever.
        let counts = own.escalation.is_some() && own.ban_time.is_some();
        let earlier = self.past(jail, source).filter(|_| counts);
        let count = earlier.map_or(0, |past| past.count).saturating_add(1);
        if count > 1 && length != own.ban_time {
            effects.report.push(Report::Increased { ban: *ban, count });
        }
        // What is not after the last ban was counted with it.
        if earlier.is_some_and(|past| since <= past.since) {
            return;
        }
        let Some(history) = &mut self.history else { return };
        let past = Past { count, since, length };
        history.remember(jail, source, past);
        effects.persist.push(Change::Remember { jail, source, past: Some(past) });
        // One too many makes another go; what is over is seen to with the next input.
        self.expire_history(Timestamp::from_micros(i64::MIN), effects);
    }

    /// The earlier bans that count for the next one of a source in a jail.
    fn past(&self, jail: JailId, source: Prefix) -> Option<Past> {
        let history = self.history.as_ref()?;
        let escalation = self.cells[jail.index()].jail.escalation.as_ref()?;
        if escalation.over_all_jails {
            history.sum(self.jails().map(|(id, _)| id), source)
        } else {
            history.find(jail, source)
        }
    }

    /// Shows new bans to the jails that read them, as the lines that Fail2Ban logs. That
    /// ends: a jail does not read its own, and whoever is banned is not banned anew.
    pub(super) fn feed(&mut self, now: Timestamp, effects: &mut Effects) {
        while let Some(ban) = self.own.pop_front() {
            let readers = self.followers.iter().copied().filter(|reader| *reader != ban.jail);
            let jails: Vec<JailId> = readers.collect();
            let entry = self.own_entry(&ban, jails);
            for &jail in &entry.jails {
                self.look(now, jail, &entry, effects);
            }
        }
    }

    /// The line of Fail2Ban's log without its date, at the time of the ban.
    fn own_entry(&self, ban: &Ban, jails: Vec<JailId>) -> Entry {
        let name = &self.cells[ban.jail.index()].jail.name;
        let prefix = format!("fail2ban.actions        [{}]: ", self.seed.process);
        Entry {
            time: ban.since,
            dating: Dating::Known,
            message_start: prefix.len(),
            // An address, which the filter knows; whoever reads it counts it its own way.
            line: format!("{prefix}NOTICE  [{name}] Ban {}", accused(ban)),
            daemon: None,
            jails,
        }
    }

    /// Takes note of the host's addresses and lifts bans that they forbid.
    pub(super) fn follow(&mut self, host: HostAddresses, effects: &mut Effects) {
        if self.host == host {
            return;
        }
        self.host = host;
        self.lift_forbidden(effects);
        self.tell_allowed(effects);
    }

    /// Lifts bans that an allow-list forbids now, unless it was overruled.
    pub(super) fn lift_forbidden(&mut self, effects: &mut Effects) {
        let forbidden: Vec<(JailId, Prefix)> = self
            .ledger
            .iter()
            .filter(|ban| !matches!(ban.reason, Reason::Manual { forced: true }))
            .filter(|ban| match self.gate(ban.jail).clear(ban.source) {
                Ok(_) => false,
                // A session is soon over; a prefix that was banned by hand around it stays.
                Err(Allowed::Session { .. }) => {
                    ban.source.is_host() || ban.reason.ends_with_an_address()
                }
                Err(_) => true,
            })
            .map(|ban| (ban.jail, ban.source))
            .collect();
        for (jail, source) in forbidden {
            self.ledger.unban(jail, source);
            ended(jail, source, effects);
        }
    }

    pub(super) fn gate(&self, jail: JailId) -> Gate<'_> {
        let Cell { jail, elsewhere, .. } = &self.cells[jail.index()];
        Gate { host: &self.host, global: &self.allow, jail: &jail.allow, elsewhere }
    }
}

pub(super) fn ended(jail: JailId, source: Prefix, effects: &mut Effects) {
    effects.persist.push(Change::Unban { jail, source });
    effects.enforce.push(Delta::Unban { jail, source });
    effects.report.push(Report::Unbanned { jail, source });
}

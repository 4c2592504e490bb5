//! What people order: bans and unbans by hand, and changes of a jail while it runs.

use super::Engine;
use super::banning::{Wish, ended};
use crate::core::addr::Prefix;
use crate::core::adjustment::Adjustment;
use crate::core::delta::Terms;
use crate::core::effects::{Change, Effects, Outcome};
use crate::core::failure::Failure;
use crate::core::input::Manual;
use crate::core::jail::JailId;
use crate::core::reason::{Allowed, Reason};
use crate::core::time::{Span, Timestamp};

impl Engine {
    pub(super) fn obey(
        &mut self,
        now: Timestamp,
        manual: Manual,
        effects: &mut Effects,
    ) -> Outcome {
        match manual {
            Manual::Ban { jail, sources, ban_time, force } => {
                self.ban_by_hand(now, jail, sources, ban_time, force, effects)
            }
            Manual::Unban { jail, sources } => self.unban_by_hand(now, jail, sources, effects),
            Manual::Attempt { jail, source, count } => {
                self.count_by_hand(now, jail, source, count, effects)
            }
            Manual::Adjust { jail, adjustment } => self.adjust(jail, &adjustment, effects),
        }
    }

    /// Counts failures that nobody logged. Whoever must not be banned is refused, as with
    /// a ban by hand; here nothing overrules that.
    fn count_by_hand(
        &mut self,
        now: Timestamp,
        jail: JailId,
        source: Prefix,
        count: u32,
        effects: &mut Effects,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        if let Err(allowed) = self.gate(jail).clear(source) {
            outcome.refused.push((source, allowed));
            return outcome;
        }
        let before = self.ledger.len();
        // More of them say no more.
        for _ in 0..count.min(self.cells[jail.index()].jail.max_retry) {
            self.count(now, Failure { jail, source, time: now, user: None }, effects);
            if self.ledger.len() > before {
                break;
            }
        }
        outcome.changed = self.ledger.len().saturating_sub(before);
        outcome
    }

    fn adjust(&mut self, jail: JailId, adjustment: &Adjustment, effects: &mut Effects) -> Outcome {
        let mut outcome = Outcome::default();
        let cell = &mut self.cells[jail.index()];
        let found = cell.jail.adjust(adjustment);
        cell.windows.adjust(cell.jail.find_time, cell.jail.max_retry);
        match adjustment {
            Adjustment::Allow(_) => {
                let before = self.ledger.len();
                self.lift_forbidden(effects);
                outcome.changed = before - self.ledger.len();
            }
            Adjustment::Disallow(entry) if !found => outcome.unchanged.push(*entry),
            _ => {}
        }
        self.tell_allowed(effects);
        outcome
    }

    fn ban_by_hand(
        &mut self,
        now: Timestamp,
        jail: JailId,
        sources: Vec<Prefix>,
        ban_time: Option<Option<Span>>,
        force: bool,
        effects: &mut Effects,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        for source in sources {
            let gate = self.gate(jail);
            let cleared = match (force, gate.clear(source)) {
                (_, Ok(cleared)) => cleared,
                (true, Err(_)) => gate.force(source),
                (false, Err(allowed)) => {
                    outcome.refused.push((source, allowed));
                    continue;
                }
            };
            let reason = Reason::Manual { forced: cleared.forced() };
            // Without a time it is a ban like others, longer for those who come back.
            let length = ban_time.unwrap_or_else(|| self.ban_time(jail, source, now));
            let until = length.map(|span| now + span);
            match self.ban(jail, cleared, Terms { since: now, until, reason }, effects) {
                Wish::Granted => {}
                Wish::AlreadySo => {
                    outcome.unchanged.push(source);
                    continue;
                }
                Wish::NoRoom => {
                    outcome.refused.push((source, Allowed::NoRoom));
                    continue;
                }
            }
            self.forget_failures(jail, source, effects);
            outcome.changed += 1;
        }
        outcome
    }

    /// Ends bans, forgets failures, and pardons those that were logged but not read
    /// yet: whoever is let in again starts with a clean slate.
    fn unban_by_hand(
        &mut self,
        now: Timestamp,
        jail: Option<JailId>,
        sources: Option<Vec<Prefix>>,
        effects: &mut Effects,
    ) -> Outcome {
        let jails: Vec<JailId> = match jail {
            Some(jail) => vec![jail],
            None => self.jails().map(|(id, _)| id).collect(),
        };
        if sources.is_none() {
            for &jail in &jails {
                self.pardon(jail, None, now, effects);
                let windows = &mut self.cells[jail.index()].windows;
                while let Some(source) = windows.evict() {
                    effects.persist.push(Change::Forget { jail, source, before: None });
                }
                for source in self.asking.awaited(jail) {
                    self.forget_failures(jail, source, effects);
                }
                let known = self.history.as_ref().map(|history| history.sources(jail));
                for source in known.into_iter().flatten() {
                    self.forget_past(jail, source, effects);
                }
            }
        }
        let everybody = sources.is_none();
        let sources = sources.unwrap_or_else(|| {
            let mut all: Vec<Prefix> = self.ledger.iter().map(|ban| ban.source).collect();
            all.sort_unstable();
            all.dedup();
            all
        });
        let mut outcome = Outcome::default();
        for source in sources {
            let before = outcome.changed;
            for &jail in &jails {
                let networks = if everybody { Vec::new() } else { self.networks(jail, source) };
                for whom in [source].into_iter().chain(networks) {
                    if !everybody {
                        self.pardon(jail, Some(whom), now, effects);
                    }
                    self.forget_failures(jail, whom, effects);
                    self.forget_past(jail, whom, effects);
                    if self.ledger.unban(jail, whom) {
                        ended(jail, whom, effects);
                        outcome.changed += 1;
                        if whom != source && !outcome.with_network.contains(&(source, whom)) {
                            outcome.with_network.push((source, whom));
                        }
                    }
                }
            }
            if outcome.changed == before {
                outcome.unchanged.push(source);
            }
            // Of all sources none is left.
            let around = jails.iter().filter(|_| !everybody);
            let around = around.filter_map(|&jail| self.ledger.around(jail, source).next());
            let around = around.map(|ban| ban.source).min();
            outcome.still_banned.extend(around.map(|prefix| (source, prefix)));
        }
        outcome
    }

    /// The networks that a source was counted with in a jail: what it says now, and bans
    /// from when it said something else. Not those that are banned by hand.
    fn networks(&self, jail: JailId, source: Prefix) -> Vec<Prefix> {
        let of_ban = |network: &Prefix| {
            self.ledger.find(jail, *network).is_none_or(|ban| ban.reason.ends_with_an_address())
        };
        let counted = source.counted_with(self.cells[jail.index()].jail.ipv6_prefix);
        let wider = self.ledger.around(jail, source).map(|ban| ban.source);
        let wider = wider.filter(|prefix| !prefix.is_ipv4() && *prefix != counted);
        let counted = Some(counted).filter(|counted| *counted != source);
        counted.into_iter().chain(wider).filter(of_ban).collect()
    }

    /// Forgets what accuses a source: its failures, and a ban that waits for an answer.
    fn forget_failures(&mut self, jail: JailId, source: Prefix, effects: &mut Effects) {
        if self.cells[jail.index()].windows.forget(&source) {
            effects.persist.push(Change::Forget { jail, source, before: None });
        }
        if self.asking.acquit(jail, source).is_some() {
            effects.persist.push(Change::Decided { jail, source });
        }
    }

    /// Forgets the earlier bans of a source.
    fn forget_past(&mut self, jail: JailId, source: Prefix, effects: &mut Effects) {
        if self.history.as_mut().is_some_and(|history| history.forget(jail, source)) {
            effects.persist.push(Change::Remember { jail, source, past: None });
        }
    }

    fn pardon(
        &mut self,
        jail: JailId,
        source: Option<Prefix>,
        now: Timestamp,
        effects: &mut Effects,
    ) {
        self.cells[jail.index()].pardons.insert(source, now);
        effects.persist.push(Change::Pardon { jail, source, until: Some(now) });
    }
}

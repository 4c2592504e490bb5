//! What people order: bans and unbans by hand.

use super::{Engine, Wish, ended};
use crate::core::addr::Prefix;
use crate::core::effects::{Change, Effects, Outcome};
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
                let ban_time = ban_time.unwrap_or(self.cells[jail.index()].jail.ban_time);
                self.ban_by_hand(now, jail, sources, ban_time, force, effects)
            }
            Manual::Unban { jail, sources } => self.unban_by_hand(now, jail, sources, effects),
        }
    }

    fn ban_by_hand(
        &mut self,
        now: Timestamp,
        jail: JailId,
        sources: Vec<Prefix>,
        ban_time: Option<Span>,
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
            let until = ban_time.map(|span| now + span);
            match self.ban(jail, cleared, now, until, reason, effects) {
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
            if self.cells[jail.index()].windows.forget(&source) {
                effects.persist.push(Change::Forget { jail, source, before: None });
            }
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
                while let Some(source) = windows.expire_one(Timestamp::from_micros(i64::MAX)) {
                    effects.persist.push(Change::Forget { jail, source, before: None });
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
                if !everybody {
                    self.pardon(jail, Some(source), now, effects);
                }
                if self.cells[jail.index()].windows.forget(&source) {
                    effects.persist.push(Change::Forget { jail, source, before: None });
                }
                if self.ledger.unban(jail, source) {
                    ended(jail, source, effects);
                    outcome.changed += 1;
                }
            }
            if outcome.changed == before {
                outcome.unchanged.push(source);
            }
            // Of all sources none is left.
            let around = jails.iter().filter(|_| !everybody);
            let around = around.filter_map(|&jail| self.ledger.around(jail, source)).min();
            outcome.still_banned.extend(around.map(|prefix| (source, prefix)));
        }
        outcome
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

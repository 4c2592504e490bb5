//! Whom no jail may ban: they are let through even where a prefix around them is banned.
//!
//! A ban by hand can be wider than its maker sees (`--force`), a network is banned before an
//! administrator logs in from it, an IPv6 network is banned for one of its hosts. The
//! enforcer is told of everybody whom no jail may ban, and of every change of that.

use std::collections::BTreeSet;

use super::Engine;
use crate::core::addr::Prefix;
use crate::core::delta::Delta;
use crate::core::effects::Effects;

impl Engine {
    /// Tells the enforcer what changed.
    pub(super) fn tell_allowed(&mut self, effects: &mut Effects) {
        let now = self.whom_no_jail_may_ban();
        let new = now.difference(&self.allowed).copied().map(Delta::Allow);
        effects.enforce.extend(new);
        let gone = self.allowed.difference(&now).copied().map(Delta::Disallow);
        effects.enforce.extend(gone);
        self.allowed = now;
    }

    /// The host itself, its gateways, its administrators, the list of `guard.toml`, and what
    /// stands in the list of every jail.
    pub(super) fn whom_no_jail_may_ban(&self) -> BTreeSet<Prefix> {
        let host = [&self.host.own, &self.host.gateways, &self.host.sessions];
        let host = host.into_iter().flatten().map(|address| Prefix::host(*address));
        let mut allowed: BTreeSet<Prefix> = host.chain(self.allow.entries().to_vec()).collect();
        let mut lists = self.cells.iter().map(|cell| {
            let entries = cell.jail.allow.entries().iter().chain(cell.elsewhere.entries());
            entries.copied().collect::<BTreeSet<Prefix>>()
        });
        if let Some(first) = lists.next() {
            allowed.extend(lists.fold(first, |common, list| &common & &list));
        }
        allowed
    }
}

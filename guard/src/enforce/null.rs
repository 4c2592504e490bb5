//! The enforcer that bans nobody: for dry runs, tests and measuring the rest.
//!
//! Input: snapshots and deltas. Output: none; it remembers what it was told, and gives
//! that back. Nothing survives it.

use std::collections::HashSet;

use crate::core::addr::Prefix;
use crate::core::delta::{Delta, Snapshot};
use crate::core::host::Host;
use crate::core::jail::{JailId, JailName};
use crate::enforce::{Capabilities, Coverage, EnforceError, Enforcer, Held, Moment};

/// Bans nobody.
#[derive(Debug, Default)]
pub struct Null {
    jails: Vec<JailName>,
    bans: HashSet<(JailId, Prefix)>,
    interfaces: Vec<String>,
    /// Why it was chosen, where that is not its name.
    reason: Option<String>,
}

impl Null {
    /// One that says why it bans nobody.
    pub fn because(reason: String) -> Self {
        Self { reason: Some(reason), ..Self::default() }
    }

    fn jail(&self, id: JailId) -> Result<&JailName, EnforceError> {
        self.jails.get(id.index()).ok_or_else(|| {
            EnforceError::Unavailable(format!("null: jail number {} is not started", id.0))
        })
    }
}

impl Enforcer for Null {
    fn name(&self) -> &'static str {
        "null"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { counts_drops: false, ends_bans: false, survives_agent: false }
    }

    fn replace(&mut self, desired: &Snapshot, now: Moment) -> Result<(), EnforceError> {
        self.jails = desired.jails.iter().map(|jail| jail.name.clone()).collect();
        self.bans.clear();
        let deltas: Vec<Delta> = desired.bans.iter().copied().map(Delta::Ban).collect();
        self.apply(&deltas, now)
    }

    fn apply(&mut self, deltas: &[Delta], now: Moment) -> Result<(), EnforceError> {
        for delta in deltas {
            match delta {
                Delta::Ban(ban) if ban.until.is_none_or(|until| until > now.wall) => {
                    self.jail(ban.jail)?;
                    self.bans.insert((ban.jail, ban.source));
                }
                Delta::Ban(ban) => _ = self.bans.remove(&(ban.jail, ban.source)),
                Delta::Unban { jail, source } => _ = self.bans.remove(&(*jail, *source)),
                Delta::Allow(_) | Delta::Disallow(_) => {}
            }
        }
        Ok(())
    }

    fn follow(&mut self, host: &Host) -> Result<(), EnforceError> {
        let others = host.interfaces.iter().filter(|interface| !interface.loopback);
        self.interfaces = others.map(|interface| interface.name.clone()).collect();
        Ok(())
    }

    fn held(&mut self, _now: Moment) -> Result<Vec<Held>, EnforceError> {
        self.bans
            .iter()
            .map(|(jail, source)| {
                Ok(Held { jail: self.jail(*jail)?.clone(), source: *source, dropped: None })
            })
            .collect()
    }

    fn coverage(&self) -> Vec<Coverage> {
        let uncovered = |interface: &String| Coverage {
            interface: interface.clone(),
            means: "none".to_owned(),
            reason: self
                .reason
                .clone()
                .unwrap_or_else(|| "this backend bans nobody: choose auto, xdp or nft".to_owned()),
            dropped: None,
        };
        self.interfaces.iter().map(uncovered).collect()
    }

    fn detach(&mut self) -> Result<(), EnforceError> {
        self.bans.clear();
        Ok(())
    }
}

//! A kernel that holds bans, ends them on time, and refuses now and then.
//!
//! Input: what the enforcer's thread asks for. Output: the bans that hold. It outlives the
//! agent, not the machine. As maps do, it takes changes one by one: one that is refused
//! leaves those before it in force. Invariant, checked with each change: no ban gets here
//! that is not durable.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use guard::core::addr::Prefix;
use guard::core::delta::{Ban, Delta, Snapshot};
use guard::core::host::Host;
use guard::core::jail::JailId;
use guard::core::time::Timestamp;
use guard::enforce::{Capabilities, Coverage, EnforceError, Enforcer, Held, Moment};

use crate::faults::{Place, reach};

/// Ends of bans by jail and source.
pub(crate) type Bans = BTreeMap<(u16, Prefix), Option<Timestamp>>;

/// The model kernel; a copy is the same one.
#[derive(Clone, Default)]
pub(crate) struct Kernel {
    bans: Arc<Mutex<Bans>>,
}

impl Kernel {
    /// What it drops at `now`.
    pub(crate) fn holds(&self, now: Timestamp) -> Bans {
        let bans = self.bans.lock().expect("one thread");
        let holds = |until: &Option<Timestamp>| until.is_none_or(|until| until > now);
        bans.iter().filter(|(_, until)| holds(until)).map(|(key, until)| (*key, *until)).collect()
    }

    /// The machine starts anew.
    pub(crate) fn reboot(&self) {
        self.bans.lock().expect("one thread").clear();
    }

    fn change(&self, delta: &Delta) -> Result<(), EnforceError> {
        reach(Place::Kernel).map_err(|failure| EnforceError::Kernel {
            operation: format!("changing a ban: {failure:?}"),
            cause: io::ErrorKind::OutOfMemory.into(),
        })?;
        let mut bans = self.bans.lock().expect("one thread");
        match *delta {
            Delta::Ban(Ban { jail, source, until, .. }) => _ = bans.insert((jail.0, source), until),
            Delta::Unban { jail, source } => _ = bans.remove(&(jail.0, source)),
            // No prefix is banned here in which anybody would have to be let through.
            Delta::Allow(_) | Delta::Disallow(_) => {}
        }
        Ok(())
    }
}

impl Enforcer for Kernel {
    fn name(&self) -> &'static str {
        "model"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { counts_drops: false, ends_bans: true, survives_agent: true }
    }

    fn replace(&mut self, desired: &Snapshot, now: Moment) -> Result<(), EnforceError> {
        let wanted: BTreeMap<_, _> = desired
            .bans
            .iter()
            .filter(|ban| ban.until.is_none_or(|until| until > now.wall))
            .map(|ban| ((ban.jail.0, ban.source), ban))
            .collect();
        let held = self.bans.lock().expect("one thread").clone();
        for (key, ban) in &wanted {
            if held.get(key) != Some(&ban.until) {
                self.change(&Delta::Ban(**ban))?;
            }
        }
        for &(jail, source) in held.keys().filter(|key| !wanted.contains_key(key)) {
            self.change(&Delta::Unban { jail: JailId(jail), source })?;
        }
        Ok(())
    }

    fn apply(&mut self, deltas: &[Delta], _: Moment) -> Result<(), EnforceError> {
        deltas.iter().try_for_each(|delta| self.change(delta))
    }

    fn follow(&mut self, _: &Host) -> Result<(), EnforceError> {
        Ok(())
    }

    fn held(&mut self, _: Moment) -> Result<Vec<Held>, EnforceError> {
        Ok(Vec::new())
    }

    fn coverage(&self) -> Vec<Coverage> {
        Vec::new()
    }

    fn detach(&mut self) -> Result<(), EnforceError> {
        self.reboot();
        Ok(())
    }
}

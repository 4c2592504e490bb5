//! The ban set, as a snapshot and as changes to it, each with a serial.
//!
//! One pair of types feeds the store, the enforcer and whoever watches. Who is too
//! far behind takes the whole [`Snapshot`].

use crate::core::addr::Prefix;
use crate::core::jail::{JailId, JailName};
use crate::core::ports::Ports;
use crate::core::reason::Reason;
use crate::core::time::Timestamp;

/// One ban: one source, in one jail, until some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ban {
    /// The jail whose ports are cut off.
    pub jail: JailId,
    /// Who is banned.
    pub source: Prefix,
    /// When it began.
    pub since: Timestamp,
    /// When it ends; `None` is never.
    pub until: Option<Timestamp>,
    /// Why.
    pub reason: Reason,
}

/// How long a ban holds, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// When it begins.
    pub since: Timestamp,
    /// When it ends; `None` is never.
    pub until: Option<Timestamp>,
    /// Why.
    pub reason: Reason,
}

impl Terms {
    /// The ban of a source in a jail on these terms.
    pub fn of(self, jail: JailId, source: Prefix) -> Ban {
        let Self { since, until, reason } = self;
        Ban { jail, source, since, until, reason }
    }
}

impl Ban {
    /// Its terms.
    pub fn terms(&self) -> Terms {
        Terms { since: self.since, until: self.until, reason: self.reason }
    }
}

/// One change to the ban set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delta {
    /// The ban is in force; it replaces one of the same jail and source.
    Ban(Ban),
    /// No ban of this source by this jail any more.
    Unban {
        /// The jail.
        jail: JailId,
        /// The source.
        source: Prefix,
    },
    /// No ban of a prefix around this one cuts it off.
    Allow(Prefix),
    /// They do again.
    Disallow(Prefix),
}

impl Delta {
    /// Whose ban it changes, and in which jail, if it changes one.
    pub fn of_ban(&self) -> Option<(JailId, Prefix)> {
        match self {
            Self::Ban(ban) => Some((ban.jail, ban.source)),
            Self::Unban { jail, source } => Some((*jail, *source)),
            Self::Allow(_) | Self::Disallow(_) => None,
        }
    }
}

/// What enforcers must know of a jail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JailPorts {
    /// Its name: nft sets are named after it.
    pub name: JailName,
    /// What its bans cut off.
    pub ports: Ports,
}

/// The whole ban set at one serial.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Number of the last change that is in it.
    pub serial: u64,
    /// Every started jail; [`JailId`] is the index.
    pub jails: Vec<JailPorts>,
    /// Every ban, in no particular order, one for each jail and source.
    pub bans: Vec<Ban>,
    /// Who is let through where a prefix around them is banned: those whom no jail may ban.
    /// In no particular order, each once.
    pub allowed: Vec<Prefix>,
}

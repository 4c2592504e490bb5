//! What enforcers tell of themselves and of the kernel.

use std::fmt;
use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use crate::core::addr::Prefix;
use crate::core::jail::JailName;

/// What an enforcer can and cannot do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Capabilities {
    /// It counts what each ban dropped.
    pub counts_drops: bool,
    /// Bans end on time in the kernel without the agent.
    pub ends_bans: bool,
    /// Bans hold while the agent is dead.
    pub survives_agent: bool,
}

/// One ban that the kernel holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The jail whose ports are cut off.
    pub jail: JailName,
    /// Who is banned.
    pub source: Prefix,
    /// What it dropped, where the enforcer counts that. Of one source, over all jails.
    pub dropped: Option<Dropped>,
}

/// What was dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// Packets.
    pub packets: u64,
    /// Bytes, from the Ethernet header on where there is one.
    pub bytes: u64,
    /// Both are reckoned from samples, because there are too many bans to count for each.
    #[serde(default)]
    pub sampled: bool,
}

impl AddAssign for Dropped {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.sampled |= other.sampled;
    }
}

/// The packets, with `≈` before a number that is not exact.
impl fmt::Display for Dropped {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let about = if self.sampled { "≈" } else { "" };
        write!(formatter, "{about}{}", self.packets)
    }
}

/// What others changed in the kernel since it was last looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Noticed {
    /// What was put right at once, in words.
    pub put_right: Vec<String>,
    /// What takes the whole ban set to put right, in words.
    pub broken: Option<String>,
}

/// How one interface is guarded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// The interface.
    pub interface: String,
    /// `native XDP`, `generic XDP`, `tcx`, `nft`, or `none`.
    pub means: String,
    /// Why it is so; for `none`, what to do.
    pub reason: String,
    /// What was dropped there since it is guarded, where that is counted. With jails' own
    /// figures it does not add up: those are of bans that are in force.
    #[serde(default)]
    pub dropped: Option<Dropped>,
}

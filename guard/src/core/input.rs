//! Everything that can happen to the engine.

use crate::core::addr::Prefix;
use crate::core::adjustment::Adjustment;
use crate::core::entry::Batch;
use crate::core::host::HostAddresses;
use crate::core::jail::JailId;
use crate::core::question::Answer;
use crate::core::time::Span;

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// A source read entries.
    Entries(Batch),
    /// Somebody asks for a change with `guardctl`.
    Manual(Manual),
    /// The host's own addresses or gateways are these now.
    HostAddresses(HostAddresses),
    /// Somebody outside answered a [`Question`](crate::core::question::Question).
    Answer(Answer),
    /// The time came that the last effects asked to be woken at.
    Tick,
}

/// A change by hand.
#[derive(Clone, Debug)]
pub enum Manual {
    /// Ban these.
    Ban {
        /// In this jail.
        jail: JailId,
        /// Whom.
        sources: Vec<Prefix>,
        /// How long: `None` takes the jail's own `bantime`, `Some(None)` is for ever.
        ban_time: Option<Option<Span>>,
        /// Overrules the allow-list.
        force: bool,
    },
    /// End bans.
    Unban {
        /// In this jail, or in all.
        jail: Option<JailId>,
        /// Whom, or everybody.
        sources: Option<Vec<Prefix>>,
    },
    /// Count failures that somebody else saw, as if they had been logged now.
    Attempt {
        /// In this jail.
        jail: JailId,
        /// Whose.
        source: Prefix,
        /// How many.
        count: u32,
    },
    /// Change a jail's parameters until its configuration is read anew.
    Adjust {
        /// The jail.
        jail: JailId,
        /// What of it.
        adjustment: Adjustment,
    },
}

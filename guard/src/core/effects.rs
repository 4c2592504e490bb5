//! What the engine wants done, in the order in which it must be done.
//!
//! The daemon carries them out field by field from the top: **persist → enforce →
//! report → ask → wake**. What cannot be stored is held and tried again in its order, and
//! is in force meanwhile. The position of a source is part of what is persisted, in the same
//! transaction as what the entries before it led to, so no entry counts twice or not at all.

use std::num::NonZero;

use crate::core::addr::Prefix;
use crate::core::delta::{Ban, Delta};
use crate::core::entry::Position;
use crate::core::failure::Failure;
use crate::core::history::Past;
use crate::core::jail::{AllowElsewhere, JailId};
use crate::core::question::Question;
use crate::core::reason::Allowed;
use crate::core::surplus::Surplus;
use crate::core::time::Timestamp;

/// What is to be done after one input.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effects {
    /// To be made durable, in one transaction, before anything else.
    pub persist: Vec<Change>,
    /// To be made so in the kernel.
    pub enforce: Vec<Delta>,
    /// Serial of the ban set after `enforce`.
    pub serial: u64,
    /// To be logged.
    pub report: Vec<Report>,
    /// To be asked outside; the answers come back as
    /// [`Input::Answer`](crate::core::input::Input::Answer).
    pub ask: Vec<Question>,
    /// To be told to whoever asked; `None` when nobody did.
    pub outcome: Option<Outcome>,
    /// When the engine wants [`Input::Tick`](crate::core::input::Input::Tick).
    pub wake_at: Option<Timestamp>,
}

/// One change of what is stored.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A failure counts from now on.
    Count {
        /// The failure.
        failure: Failure,
        /// As how many it counts.
        weight: u32,
    },
    /// The stored failures of this source in this jail that are older than this no
    /// longer count; `None` forgets all of them.
    Forget {
        /// The jail.
        jail: JailId,
        /// The source.
        source: Prefix,
        /// Failures before this time go.
        before: Option<Timestamp>,
    },
    /// A ban begins; it replaces one of the same jail and source.
    Ban(Ban),
    /// A ban ends later than it did.
    Prolong(Ban),
    /// A ban is over.
    Unban {
        /// The jail.
        jail: JailId,
        /// The source.
        source: Prefix,
    },
    /// What is remembered of a source's earlier bans in a jail, or that it is forgotten.
    Remember {
        /// The jail.
        jail: JailId,
        /// The source.
        source: Prefix,
        /// Its past.
        past: Option<Past>,
    },
    /// A ban waits for the answer of the jail's `ignorecommand`.
    Await(Ban),
    /// It does not wait any more.
    Decided {
        /// The jail.
        jail: JailId,
        /// The source.
        source: Prefix,
    },
    /// A failure waits until its client's name is resolved.
    AwaitName {
        /// The jail.
        jail: JailId,
        /// The name.
        name: String,
        /// When the daemon logged it.
        time: Timestamp,
        /// The user name that was tried.
        user: Option<String>,
    },
    /// No failure of this name waits any more.
    NameDecided {
        /// The name.
        name: String,
    },
    /// What a name or file in an `ignoreip` stands for now; nothing forgets it.
    Listed {
        /// The name or file.
        place: AllowElsewhere,
        /// The addresses.
        entries: Option<Vec<Prefix>>,
    },
    /// Failures that were logged until then do not count, or do again.
    Pardon {
        /// The jail.
        jail: JailId,
        /// Whose; `None` is everybody's.
        source: Option<Prefix>,
        /// Until when; `None` ends the pardon.
        until: Option<Timestamp>,
    },
    /// What a filter remembers of one connection, or that it forgets it.
    Correlate {
        /// The jail.
        jail: JailId,
        /// The connection (`<F-MLFID>`).
        key: String,
        /// The new state in the filter's own encoding, or none.
        state: Option<String>,
    },
    /// Everything that this source logged before this is dealt with.
    Position(Position),
}

/// One line for the log.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// A filter found a failure.
    Found(Failure),
    /// A failure of a source that may not be banned.
    Ignored {
        /// The failure.
        failure: Failure,
        /// Why it does not count.
        allowed: Allowed,
    },
    /// A ban began.
    Banned(Ban),
    /// A new ban lasts longer than the jail's `bantime`, for its source came back.
    Increased {
        /// The ban.
        ban: Ban,
        /// How many bans of the source it makes.
        count: u32,
    },
    /// A ban ends later than it did.
    Prolonged(Ban),
    /// A ban was not made because there are as many as allowed (`limits.bans`).
    Full {
        /// The jail.
        jail: JailId,
        /// The source that is not banned.
        source: Prefix,
    },
    /// A ban that was stored is in force again after a start.
    Restored(Ban),
    /// So many more were than were reported one by one.
    RestoredMore(NonZero<usize>),
    /// Asked to ban what is banned.
    AlreadyBanned {
        /// The jail.
        jail: JailId,
        /// The source.
        source: Prefix,
    },
    /// A ban ended.
    Unbanned {
        /// The jail.
        jail: JailId,
        /// The source.
        source: Prefix,
    },
    /// A source could not be tracked, or was given up, because a limit is reached.
    Evicted {
        /// The jail.
        jail: JailId,
        /// The source whose failures are forgotten.
        source: Prefix,
    },
    /// Something else of a jail was given up because there is as much as is kept.
    GivenUp {
        /// The jail.
        jail: JailId,
        /// What.
        what: Surplus,
        /// How many.
        count: u64,
    },
    /// A `<HOST>` was found only where the client could have written it.
    Planted {
        /// The jail.
        jail: JailId,
        /// The address that was not banned.
        source: Prefix,
    },
    /// A ban was made without the answer of the jail's `ignorecommand`.
    Unanswered {
        /// The jail.
        jail: JailId,
        /// Who is banned.
        source: Prefix,
        /// What went wrong.
        why: String,
    },
    /// A client's name could not be resolved: nobody is counted.
    Unresolved {
        /// The jail.
        jail: JailId,
        /// The name.
        name: String,
        /// What went wrong.
        why: String,
    },
    /// A name or file in an `ignoreip` cannot be looked up; what it stood for stays.
    ListTrouble {
        /// The name or file.
        place: AllowElsewhere,
        /// What went wrong.
        why: String,
    },
    /// A name or file in an `ignoreip` stands for these from now on.
    ListChanged {
        /// The name or file.
        place: AllowElsewhere,
        /// The addresses.
        entries: Vec<Prefix>,
    },
    /// An expression was given up on a line because it took too many steps.
    StepLimit {
        /// The jail.
        jail: JailId,
        /// Number of the expression in the filter, from 1.
        expression: usize,
    },
}

/// The answer to a change by hand.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Outcome {
    /// How many bans began or ended.
    pub changed: usize,
    /// What was not done, and why.
    pub refused: Vec<(Prefix, Allowed)>,
    /// Banned already, or not banned at all.
    pub unchanged: Vec<Prefix>,
    /// After an unban: addresses with which the ban of the network ended that they were
    /// counted with, and that network.
    #[serde(default)]
    pub with_network: Vec<(Prefix, Prefix)>,
    /// After an unban: sources that a ban of a prefix around them still cuts off, and
    /// that prefix.
    #[serde(default)]
    pub still_banned: Vec<(Prefix, Prefix)>,
    /// Why this is not stored yet, and lost if the agent ends before it is.
    #[serde(default)]
    pub unstored: Option<String>,
}

impl Outcome {
    /// That what was done is not stored yet, in words.
    pub fn not_stored(&self) -> Option<String> {
        // To refuse is nothing to be stored.
        let done = self.changed > 0 || self.refused.is_empty();
        let unstored = self.unstored.as_ref().filter(|_| done);
        unstored.map(|why| {
            format!("done, but not stored yet, and lost if the agent ends before it is: {why}")
        })
    }
}

//! What `guardctl` asks and the agent answers.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::control::event::Event;
use crate::core::addr::Prefix;
use crate::core::adjustment::Adjustment;
use crate::core::effects::Outcome;
use crate::core::enforced::{Capabilities, Coverage, Dropped};
use crate::core::figures::Figures;
use crate::core::jail::JailName;
use crate::core::reason::{Allowed, Reason};
use crate::core::surplus::Evictions;
use crate::core::time::{Span, Timestamp};

/// One question or order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// How is the agent, and which jails are there?
    Status,
    /// Which bans are there?
    Bans,
    /// How does this source stand in each jail?
    Explain {
        /// Whom.
        source: Prefix,
    },
    /// Ban these.
    #[serde(rename_all = "kebab-case")]
    Ban {
        /// In this jail.
        jail: JailName,
        /// Whom.
        sources: Vec<Prefix>,
        /// How long, if not as long as the jail says.
        #[serde(default)]
        ban_time: Option<BanTime>,
        /// Overrule the allow-list.
        #[serde(default)]
        force: bool,
    },
    /// End bans.
    Unban {
        /// In this jail; in all if absent.
        #[serde(default)]
        jail: Option<JailName>,
        /// Whose; everybody's if absent.
        #[serde(default)]
        sources: Option<Vec<Prefix>>,
    },
    /// Read the configuration anew.
    Reload,
    /// How is the agent, in figures?
    Figures,
    /// What happens from now on, until the peer leaves or says anything more.
    Watch,
    /// Which jails are started?
    Jails,
    /// What is this jail like?
    Jail {
        /// Which.
        jail: JailName,
    },
    /// Count failures that somebody else saw.
    Attempt {
        /// In this jail.
        jail: JailName,
        /// Whose.
        source: Prefix,
        /// How many.
        count: u32,
    },
    /// Change a jail until the configuration is read anew.
    Adjust {
        /// Which.
        jail: JailName,
        /// What of it.
        adjustment: Adjustment,
    },
    /// End a jail and its bans until the configuration is read anew.
    Stop {
        /// Which; all if absent.
        #[serde(default)]
        jail: Option<JailName>,
    },
    /// Where are log and store, and how much is logged?
    Facts,
    /// Log this much until the configuration is read anew.
    LogLevel {
        /// A name such as `INFO`, or Python's number for it.
        level: String,
    },
}

/// How long a ban made by hand lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BanTime {
    /// This long, in microseconds.
    For(Span),
    /// Until it is lifted.
    Forever,
}

/// The agent's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Response {
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// To [`Request::Bans`].
    Bans {
        /// Every ban, sorted by jail and address.
        bans: Vec<BanRow>,
        /// Interfaces on which no ban is in force.
        uncovered: Vec<Coverage>,
    },
    /// To [`Request::Explain`], for each started jail, in configuration order.
    Explained(Vec<Standing>),
    /// To [`Request::Ban`], [`Request::Unban`], [`Request::Attempt`] and
    /// [`Request::Adjust`]: done, in the store and the kernel.
    Done(Outcome),
    /// To [`Request::Reload`] and [`Request::Stop`]: the new configuration is in force.
    Reloaded(Reloaded),
    /// To [`Request::Figures`].
    Figures(Box<Figures>),
    /// To [`Request::Watch`], once: from now on each line is a [`Response::Event`].
    Watching,
    /// Something happened.
    Event(Event),
    /// To [`Request::Jails`], in configuration order.
    Jails(Vec<JailName>),
    /// To [`Request::Jail`]; `null` if there is no such jail.
    Jail(Option<Box<JailFacts>>),
    /// To [`Request::Facts`] and [`Request::LogLevel`].
    Facts(Facts),
    /// Nothing was done, or less than asked: what, why, and what to do.
    Error(String),
}

impl Response {
    /// Whether it says that the kernel lacks bans that it should hold.
    pub fn shows_missing_bans(&self) -> bool {
        match self {
            Self::Status(status) => status.jails.iter().any(|jail| !jail.not_enforced.is_empty()),
            Self::Bans { bans, .. } => bans.iter().any(|ban| !ban.enforced),
            Self::Explained(all) => all.iter().any(|one| one.ban.is_some() && !one.enforced),
            Self::Figures(figures) => figures.jails.iter().any(|jail| jail.not_enforced > 0),
            Self::Done(_)
            | Self::Reloaded(_)
            | Self::Watching
            | Self::Event(_)
            | Self::Jails(_)
            | Self::Jail(_)
            | Self::Facts(_)
            | Self::Error(_) => false,
        }
    }
}

/// What another configuration changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Reloaded {
    /// Jails that go on, with their bans and what they counted.
    pub kept: Vec<JailName>,
    /// Jails that were not there before.
    pub started: Vec<JailName>,
    /// Jails that are no more; their bans have ended.
    pub stopped: Vec<JailName>,
    /// What is worth a look in the configuration.
    pub warnings: Vec<String>,
}

/// A jail's parameters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct JailFacts {
    /// Its name.
    pub name: JailName,
    /// Failures that lead to a ban.
    pub max_retry: u32,
    /// The window in which they count, in microseconds.
    pub find_time: Span,
    /// How long a ban lasts, in microseconds; `null` for ever.
    pub ban_time: Option<Span>,
    /// Whom its log lines cannot ban: networks, names and files, then single addresses.
    pub ignored: Vec<String>,
    /// What it reads from the journal: alternatives, and what must hold in each.
    pub journal_matches: Vec<Vec<String>>,
    /// The log files that it reads at present; absent if it reads none by its nature.
    pub files: Option<Vec<String>>,
    /// Its options as its files give them, everything expanded, by name.
    pub options: BTreeMap<String, String>,
    /// Names of its actions, as its files give them.
    pub actions: Vec<String>,
}

/// Where the agent keeps what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Facts {
    /// The log's file; absent if it is the journal.
    pub log: Option<PathBuf>,
    /// How much is logged.
    pub log_level: String,
    /// The store's file.
    pub store: PathBuf,
    /// How long earlier bans are remembered, in microseconds.
    pub history: Span,
}

/// How a source stands in one jail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Standing {
    /// The jail.
    pub jail: JailName,
    /// Failures within `find-time` that lead to a ban.
    pub max_retry: u32,
    /// The window in which failures count, in microseconds.
    pub find_time: Span,
    /// When it failed, in microseconds since the epoch; only what still counts.
    pub failures: Vec<Timestamp>,
    /// The network that it is counted and banned with, if it is not taken alone; the
    /// failures are then of all its addresses.
    #[serde(default)]
    pub counted_with: Option<Prefix>,
    /// Its ban, or that of the longest banned prefix around it, if the agent holds one.
    pub ban: Option<StandingBan>,
    /// Whether the kernel holds that ban, or one of this jail for it if there is none.
    pub enforced: bool,
    /// What the kernel dropped of it; `null` where that is not counted.
    pub dropped: Option<Dropped>,
    /// Why no log line can ban it, if that is so.
    pub allowed: Option<Allowed>,
}

/// A ban as [`Standing`] tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StandingBan {
    /// Who is banned: the one who was asked about, or a prefix around it.
    pub source: Prefix,
    /// Since when, in microseconds since the epoch.
    pub since: Timestamp,
    /// Until when; `null` for ever.
    pub until: Option<Timestamp>,
    /// Why.
    pub reason: Reason,
}

/// The agent and its jails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Status {
    /// Version of the agent.
    pub version: String,
    /// `xdp`, `nft` or `null`.
    pub backend: String,
    /// Why this one.
    pub backend_reason: String,
    /// What it can do.
    pub capabilities: Capabilities,
    /// The started jails in configuration order.
    pub jails: Vec<JailStatus>,
    /// How each interface is guarded.
    pub interfaces: Vec<Coverage>,
    /// What is wrong at present, in words; empty when all is well.
    pub problems: Vec<String>,
    /// Journal entries that claimed to be of a daemon and were not.
    pub forged_entries: u64,
    /// How often something that others changed in the kernel was put right, since the
    /// agent started.
    #[serde(default)]
    pub put_right: u64,
    /// What became of `[[notify]]`, since the agent started.
    #[serde(default)]
    pub notified: Notified,
}

/// How often somebody was told of bans (`[[notify]]`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Notified {
    /// With success.
    pub told: u64,
    /// In vain: the program or the webhook failed, or took too long.
    pub failed: u64,
    /// Not at all: there was too much to tell.
    pub dropped: u64,
}

/// One jail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct JailStatus {
    /// Its name.
    pub name: JailName,
    /// Sources with a failure within the last `findtime`.
    pub currently_failed: usize,
    /// Failures found since the jail first started.
    pub total_failed: u64,
    /// What was given up because a bound is reached.
    #[serde(flatten)]
    pub evictions: Evictions,
    /// What it reads from the journal.
    pub journal_matches: String,
    /// The log files that it reads at present; absent if it reads none by its nature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Vec<String>>,
    /// Bans made since the jail first started.
    pub total_banned: u64,
    /// Bans that the kernel holds, sorted.
    pub banned: Vec<Prefix>,
    /// Bans that the kernel should hold and does not.
    pub not_enforced: Vec<Prefix>,
    /// What was dropped of its bans' sources, as long as they are banned; `null` where that
    /// is not counted. What several jails ban counts with each.
    #[serde(default)]
    pub dropped: Option<Dropped>,
}

/// One ban.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BanRow {
    /// The jail.
    pub jail: JailName,
    /// Who.
    pub address: Prefix,
    /// Since when, in microseconds since the epoch.
    pub since: Timestamp,
    /// Until when; `null` for ever.
    pub until: Option<Timestamp>,
    /// Why.
    pub reason: Reason,
    /// Whether the kernel holds it.
    pub enforced: bool,
    /// Why it does not, and what becomes of that; `null` when it does.
    pub not_enforced_because: Option<String>,
    /// What it dropped; `null` where that is not counted.
    pub dropped: Option<Dropped>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_reads_as_documented() {
        let text = r#"{"verb":"unban","jail":"sshd","sources":["10.3.0.1","2001:db8::/64"]}"#;
        let request: Request = serde_json::from_str(text).expect("a request");
        let sources = ["10.3.0.1", "2001:db8::/64"].map(|text| text.parse().expect("a prefix"));
        let jail = Some(JailName::new("sshd").expect("a name"));
        assert_eq!(request, Request::Unban { jail, sources: Some(sources.to_vec()) });
        assert_eq!(serde_json::to_string(&request).expect("JSON"), text);
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for text in [
            r#"{"verb":"unbann"}"#,
            r#"{"verb":"ban","jail":"a b","sources":[]}"#,
            r#"{"verb":"ban","jail":"sshd","sources":["10.3.0"]}"#,
            r#"{"verb":"ban","jail":"sshd","sources":[],"forse":true}"#,
            "[]",
            "",
        ] {
            assert!(serde_json::from_str::<Request>(text).is_err(), "{text}");
        }
    }
}

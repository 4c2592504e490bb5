//! A jail: what it reads, what it looks for, when it bans, and what the ban cuts off.

use std::fmt;
use std::sync::Arc;

use crate::core::allow::AllowList;
use crate::core::filter::Filter;
use crate::core::ports::Ports;
use crate::core::time::Span;

/// A jail's name: 1 to 64 of `A-Z a-z 0-9 _ . -`, not beginning with `-` or `.`.
///
/// Cheap to copy: names are shared.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JailName(Arc<str>);

impl JailName {
    /// Checks a name.
    ///
    /// # Errors
    /// When a character or the length is not allowed.
    pub fn new(name: &str) -> Result<Self, InvalidJailName> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        if name.is_empty()
            || name.len() > 64
            || name.starts_with(['-', '.'])
            || !name.chars().all(allowed)
        {
            return Err(InvalidJailName(name.to_owned()));
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for JailName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl serde::Serialize for JailName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for JailName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

/// A name that no jail can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a jail name: 1 to 64 of A-Z a-z 0-9 _ . - are allowed, the first not . or -")]
pub struct InvalidJailName(String);

/// The place of a started jail in configuration order, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JailId(pub u16);

impl JailId {
    /// As an index into the list of started jails.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// One jail with all its parameters, ready to run.
#[derive(Clone, Debug)]
pub struct Jail {
    /// Its name.
    pub name: JailName,
    /// What its bans cut off.
    pub ports: Ports,
    /// Failures within `find_time` that lead to a ban; at least 1.
    pub max_retry: u32,
    /// The window in which failures count.
    pub find_time: Span,
    /// How long a ban lasts; `None` is for ever.
    pub ban_time: Option<Span>,
    /// Leading bits of an IPv6 address that it is counted and banned with, 1 to 128;
    /// [`Jail::IPV6_PREFIX`] unless the jail says otherwise.
    pub ipv6_prefix: u8,
    /// Sources that its log lines cannot ban.
    pub allow: AllowList,
    /// What it looks for.
    pub filter: Filter,
    /// Where its log lines come from.
    pub source: LogSource,
    /// How its bans grow longer for those who come back; `None` if they do not.
    pub escalation: Option<Escalation>,
    /// Asked, by another process, about each source that is about to be banned.
    pub ignore_command: Option<IgnoreCommand>,
    /// Names of hosts and paths of files in `ignoreip`, which are resolved and read
    /// while the agent runs.
    pub allow_elsewhere: Vec<AllowElsewhere>,
}

/// Where a jail's log lines come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogSource {
    /// The systemd journal.
    Journal(JournalMatch),
    /// Log files.
    Files(LogFiles),
    /// Guard's own bans, as the lines that Fail2Ban would write into its log. Those of
    /// the jail itself are not among them.
    OwnBans,
}

/// Log files of a jail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogFiles {
    /// Which files, in the order of `logpath`.
    pub patterns: Vec<LogPattern>,
    /// `logencoding`: a label such as `utf-8`, `latin1` or `ascii`.
    pub encoding: String,
    /// Whether the jail starts without any file (`skip_if_nologs`, or since it may come).
    pub may_be_missing: bool,
}

/// One path of `logpath`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPattern {
    /// A path, or a shell pattern of paths.
    pub path: String,
    /// Whether a file is read from its end when it is seen for the first time (`tail`).
    pub from_end: bool,
}

/// `bantime.increment` and what goes with it. A ban lasts `bantime` times a multiple
/// that grows with the number of earlier bans.
#[derive(Clone, Debug, PartialEq)]
pub struct Escalation {
    /// `bantime.factor`.
    pub factor: f64,
    /// `bantime.multipliers`; empty for `2^min(count, 20)`.
    pub multipliers: Vec<f64>,
    /// `bantime.maxtime`; `None` for no bound.
    pub max_time: Option<Span>,
    /// `bantime.rndtime`: at most so much is added by chance.
    pub random_time: Span,
    /// `bantime.overalljails`: whether bans in other jails count.
    pub over_all_jails: bool,
}

/// `ignorecommand`: a program that says by its exit code 0 that a source is let be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IgnoreCommand {
    /// The program's path and its arguments, which may hold `<ip>` and other tags.
    pub arguments: Vec<String>,
    /// `ignorecache`, if answers are kept.
    pub cache: Option<AnswerCache>,
}

/// `ignorecache`: for how long answers are kept, and how many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerCache {
    /// What tells one question from another, with tags, such as `<ip>`.
    pub key: String,
    /// At most so many answers.
    pub max_count: usize,
    /// For so long.
    pub max_time: Span,
}

/// An entry of `ignoreip` that stands for addresses which are told by somebody else.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AllowElsewhere {
    /// The addresses of a host's name.
    Name(String),
    /// The addresses and prefixes in a file.
    File(std::path::PathBuf),
}

/// As `ignoreip` writes it.
impl fmt::Display for AllowElsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

impl Jail {
    /// The network that one customer or one site gets at least (RFC 6177): who has one
    /// address in it can take another for each attempt.
    pub const IPV6_PREFIX: u8 = 64;

    /// Which journal entries it reads, if it reads the journal.
    pub fn journal_match(&self) -> Option<&JournalMatch> {
        match &self.source {
            LogSource::Journal(matches) => Some(matches),
            LogSource::Files(_) | LogSource::OwnBans => None,
        }
    }

    /// Whether it reads log files, or the journal; `None` if neither.
    pub fn reads_files(&self) -> Option<bool> {
        match &self.source {
            LogSource::Journal(_) => Some(false),
            LogSource::Files(_) => Some(true),
            LogSource::OwnBans => None,
        }
    }
}

/// Which journal entries a jail reads: an OR of ANDs of ORs, as `journalctl` and
/// Fail2Ban's `journalmatch` mean it. Without any alternative it accepts every entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct JournalMatch {
    /// At least one of these must hold.
    pub alternatives: Vec<Vec<FieldMatch>>,
}

/// One field and the values of which it must have one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FieldMatch {
    /// The journal field, such as `_SYSTEMD_UNIT`.
    pub field: String,
    /// Accepted values, at least one.
    pub values: Vec<String>,
}

impl JournalMatch {
    /// As Fail2Ban keeps it: the `FIELD=value` of each alternative.
    pub fn words(&self) -> Vec<Vec<String>> {
        let word = |field: &str, value: &String| format!("{field}={value}");
        let words = |fields: &Vec<FieldMatch>| {
            let fields = fields.iter();
            fields.flat_map(|one| one.values.iter().map(|v| word(&one.field, v))).collect()
        };
        self.alternatives.iter().map(words).collect()
    }
}

/// As Fail2Ban shows it: `FIELD=value FIELD=value + FIELD=value`.
impl fmt::Display for JournalMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fields) in self.alternatives.iter().enumerate() {
            let mut separator = if i == 0 { "" } else { " + " };
            for field in fields {
                for value in &field.values {
                    write!(f, "{separator}{}={value}", field.field)?;
                    separator = " ";
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["sshd", "nginx-http-auth", "a.b_c", "3proxy"] {
            assert!(JailName::new(good).is_ok(), "{good}");
        }
        let long = "x".repeat(65);
        for bad in ["", "-x", ".x", "a b", "a/b", "a\n", long.as_str()] {
            assert!(JailName::new(bad).is_err(), "{bad}");
        }
    }
}

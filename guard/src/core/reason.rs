//! Why a source is banned, or was not. Logs, tables and JSON all print from here.

use std::fmt;

use crate::core::addr::Prefix;
use crate::core::time::Span;

/// Why there is a ban.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(tag = "by", rename_all = "kebab-case")]
pub enum Reason {
    /// The jail's filter found this many failures within its `findtime`.
    Failures {
        /// How many.
        count: u32,
        /// From the first of them to the last.
        within: Span,
        /// Who failed last, if it is not all that is banned: an IPv6 address that is
        /// counted and banned with its network.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last: Option<Prefix>,
    },
    /// Somebody asked for it with `guardctl ban`.
    Manual {
        /// Whether the allow-list was overruled with `--force`.
        forced: bool,
    },
}

impl Reason {
    /// Whether unbanning an address ends a ban of the network that it was counted with.
    /// What was banned by hand is unbanned as it was banned.
    pub fn ends_with_an_address(&self) -> bool {
        matches!(self, Self::Failures { .. })
    }

    /// Whether a ban of `source` for this reason ends when `whom` is unbanned: the very same,
    /// or an address in the network that it was counted with.
    pub fn ends_with(&self, source: Prefix, whom: Prefix) -> bool {
        let counted = !whom.is_ipv4() && self.ends_with_an_address();
        source == whom || (counted && source.contains(&whom))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failures { count, within, last } => {
                match count {
                    1 => f.write_str("1 failure")?,
                    // Of bans that were taken over no more is known, or not even that.
                    0 => f.write_str("failures")?,
                    _ if *within == Span::ZERO => write!(f, "{count} failures")?,
                    _ => write!(f, "{count} failures in {within}")?,
                }
                last.map_or(Ok(()), |last| write!(f, ", the last by {last}"))
            }
            Self::Manual { forced: false } => f.write_str("by hand"),
            Self::Manual { forced: true } => f.write_str("by hand, forced"),
        }
    }
}

/// Why an address must not be banned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(tag = "why", rename_all = "kebab-case")]
pub enum Allowed {
    /// Loopback, unspecified, link-local multicast and other addresses that are
    /// never a remote attacker.
    Special {
        /// The range it lies in.
        range: Prefix,
    },
    /// One of this host's own addresses.
    Own {
        /// Which.
        address: Prefix,
    },
    /// A default gateway of this host.
    Gateway {
        /// Which.
        address: Prefix,
    },
    /// An administrator is logged in by SSH from there.
    Session {
        /// Which address.
        address: Prefix,
    },
    /// There are as many bans as `limits.bans` allows.
    NoRoom,
    /// It was let in again (`guardctl unban`) after it failed.
    Pardoned,
    /// The jail's `ignorecommand` says so.
    Command,
    /// Listed in `ignoreip` of the jail, or in `allow` of `guard.toml`.
    Listed {
        /// The entry of the list.
        entry: Prefix,
    },
}

impl Allowed {
    /// In one word, without an address.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Special { .. } => "special",
            Self::Own { .. } => "own",
            Self::Gateway { .. } => "gateway",
            Self::Session { .. } => "session",
            Self::NoRoom => "no-room",
            Self::Pardoned => "pardoned",
            Self::Command => "command",
            Self::Listed { .. } => "listed",
        }
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Special { range } => write!(f, "{range} is never a remote source"),
            Self::Own { address } => write!(f, "{address} is this host's own address"),
            Self::Gateway { address } => write!(f, "{address} is this host's gateway"),
            Self::Session { address } => {
                write!(f, "an administrator is logged in from {address}")
            }
            Self::NoRoom => f.write_str("there are as many bans as limits.bans allows"),
            Self::Pardoned => f.write_str("it was let in again since"),
            Self::Command => f.write_str("the jail's ignorecommand says so"),
            Self::Listed { entry } => {
                write!(f, "{entry} is on an allow-list (ignoreip, or allow in guard.toml)")
            }
        }
    }
}

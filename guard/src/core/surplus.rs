//! What is given up because there is more of it than is kept.
//!
//! Input: each time that a bound is reached. Output: how often, by what was given up.
//! Invariant: what merely got too old, and what somebody ordered to be forgotten, is none
//! of it.

use serde::{Deserialize, Serialize};

/// What there was too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surplus {
    /// The oldest failures of a source that has four times `maxretry` of them.
    Failures,
    /// The oldest connections of a filter (`limits.connections`).
    Connections,
    /// The oldest lines of those that a filter tries together, for they are too long.
    Lines,
    /// Sources whose earlier bans are forgotten (`limits.known-sources`).
    KnownSources,
    /// Failures of clients of whom only a name is known, while too many names, or failures
    /// of one, wait for their addresses.
    NamedFailures,
    /// Questions to a jail's `ignorecommand`, while too many wait for an answer: the ban
    /// is made unasked.
    UnaskedBans,
}

/// How often something of a jail was given up, since the agent's process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Evictions {
    /// Sources whose failures were forgotten (`limits.tracked-failures`).
    #[serde(rename = "evicted")]
    pub sources: u64,
    /// See [`Surplus::Failures`].
    #[serde(rename = "evicted-failures")]
    pub failures: u64,
    /// See [`Surplus::Connections`].
    #[serde(rename = "evicted-connections")]
    pub connections: u64,
    /// See [`Surplus::Lines`].
    #[serde(rename = "evicted-lines")]
    pub lines: u64,
    /// See [`Surplus::KnownSources`].
    #[serde(rename = "evicted-known-sources")]
    pub known_sources: u64,
    /// See [`Surplus::NamedFailures`].
    #[serde(rename = "refused-named-failures")]
    pub named_failures: u64,
    /// See [`Surplus::UnaskedBans`].
    #[serde(rename = "unasked-bans")]
    pub unasked_bans: u64,
}

impl Evictions {
    /// Counts so many more.
    pub fn add(&mut self, what: Surplus, count: u64) {
        let counted = match what {
            Surplus::Failures => &mut self.failures,
            Surplus::Connections => &mut self.connections,
            Surplus::Lines => &mut self.lines,
            Surplus::KnownSources => &mut self.known_sources,
            Surplus::NamedFailures => &mut self.named_failures,
            Surplus::UnaskedBans => &mut self.unasked_bans,
        };
        *counted = counted.saturating_add(count);
    }
}

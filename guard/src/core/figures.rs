//! The agent in figures, at one moment: what metrics, `guardctl top` and alerts are made of.
//!
//! Counters only ever grow while the process lives, through reloads too; those of a jail's
//! failures and bans are stored and outlive it. What has an address in it is not here: the
//! number of figures depends on the configuration alone, never on who attacks.

use serde::{Deserialize, Serialize};

use crate::core::enforced::Coverage;
use crate::core::jail::JailName;
use crate::core::surplus::Evictions;
use crate::core::time::{Span, Timestamp};

/// The agent in figures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Figures {
    /// Version of the agent.
    pub version: String,
    /// When the figures are of, in microseconds since the epoch.
    pub time: Timestamp,
    /// When the process started.
    pub started: Timestamp,
    /// When the configuration in force was read.
    pub loaded: Timestamp,
    /// Configurations that were read anew and are or were in force.
    pub reloads: u64,
    /// Configurations that were refused.
    pub reloads_refused: u64,
    /// `xdp`, `nft` or `null`.
    pub backend: String,
    /// How many bans there may be (`limits.bans`).
    pub bans_limit: u64,
    /// Bans that were not made because of that.
    pub bans_refused: u64,
    /// The started jails in configuration order.
    pub jails: Vec<JailCounts>,
    /// How each interface is guarded.
    pub interfaces: Vec<Coverage>,
    /// What is wrong at present, in words.
    pub problems: Vec<String>,
    /// What became of packets, by verdict, since the maps were made; empty where the
    /// backend does not count them.
    pub traffic: Vec<Traffic>,
    /// How full each map is; empty where the backend has none of a fixed size.
    pub maps: Vec<MapFill>,
    /// How often something that others changed in the kernel was put right, since the
    /// agent's process started.
    pub repairs: u64,
    /// What waits for whom.
    pub queues: Vec<Queue>,
    /// What is read.
    pub sources: Vec<SourceCounts>,
    /// How the store does.
    pub store: StoreCounts,
    /// From the time at which a daemon logged the failure that led to a ban until the
    /// kernel had acknowledged the ban.
    pub enforcement: Histogram,
    /// How long a transaction of the store takes.
    pub transactions: Histogram,
    /// Who watches events now.
    pub watchers: u64,
    /// Events that watchers lost because they were too slow.
    pub events_lost: u64,
}

/// One jail in figures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct JailCounts {
    /// Its name.
    pub name: JailName,
    /// Sources with a failure within the last `findtime`.
    pub failing: u64,
    /// Failures found since the jail first started.
    pub failures: u64,
    /// Bans made since the jail first started.
    pub bans_made: u64,
    /// Bans that ended or were lifted.
    pub bans_lifted: u64,
    /// Failures that did not count, by why.
    pub ignored: Vec<(String, u64)>,
    /// Addresses that stood where the client can write and were not believed.
    pub planted: u64,
    /// What was given up because a bound is reached.
    #[serde(flatten)]
    pub evictions: Evictions,
    /// Lines on which an expression gave up.
    pub given_up: u64,
    /// Bans that the kernel holds.
    pub held: u64,
    /// Bans that the kernel should hold and does not.
    pub not_enforced: u64,
    /// Packets that the sources of the bans it holds were denied, over all their jails;
    /// nothing where that is not counted.
    pub dropped_packets: Option<u64>,
    /// The same in bytes.
    pub dropped_bytes: Option<u64>,
}

/// Packets and bytes of one verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Traffic {
    /// `drop`, `pass-clean` and so on.
    pub verdict: String,
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// How full one map of the kernel is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct MapFill {
    /// `ipv4`, `ipv6`, `ipv4-networks` or `ipv6-networks`.
    pub map: String,
    /// Sources in it.
    pub entries: u64,
    /// How many it holds.
    pub capacity: u64,
}

/// What waits for somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Queue {
    /// What: `entries` (batches for the engine), `enforcer` (jobs), `store` (inputs whose
    /// effects are not durable).
    pub queue: String,
    /// How many.
    pub waiting: u64,
    /// How many may; then whoever brings more waits. Nothing where there is no bound.
    pub capacity: Option<u64>,
}

/// One kind of source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SourceCounts {
    /// `journal` or `files`.
    pub source: String,
    /// Entries read.
    pub read: u64,
    /// Of these, handed on to the engine.
    pub accepted: u64,
    /// Entries cut because they were too long.
    pub cut: u64,
    /// Entries that claimed to be of a daemon and were not; of the journal alone.
    pub forged: Option<u64>,
    /// Entries that could not be read; of the journal alone.
    pub unreadable: Option<u64>,
    /// Times that the place to go on from was gone, so that entries may have been missed.
    pub lost: u64,
    /// How old the newest entry of the last batch was when the batch was dealt with;
    /// nothing before the first.
    pub lag: Option<Span>,
}

/// The store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StoreCounts {
    /// Whether the last transaction was accepted.
    pub works: bool,
    /// Transactions that were refused.
    pub refused: u64,
}

/// How long something took, each time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Histogram {
    /// Upper ends of the buckets, growing; one more bucket has none.
    bounds: Vec<Span>,
    /// How often, by bucket.
    counts: Vec<u64>,
    /// All of it together.
    sum: Span,
}

impl Histogram {
    /// Buckets up to these ends, in microseconds, and one for what is longer.
    pub fn new(bounds: &[i64]) -> Self {
        let bounds: Vec<Span> = bounds.iter().copied().map(Span::from_micros).collect();
        let counts = vec![0; bounds.len() + 1];
        Self { bounds, counts, sum: Span::ZERO }
    }

    /// Counts one.
    pub fn add(&mut self, took: Span) {
        let bucket = self.bounds.partition_point(|bound| *bound < took);
        self.counts[bucket] += 1;
        self.sum = Span::from_micros(self.sum.micros().saturating_add(took.micros()));
    }

    /// How often, by bucket: the longest that counts, which the last bucket has none of.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<Span>, u64)> {
        let bounds = self.bounds.iter().copied().map(Some).chain([None]);
        bounds.zip(self.counts.iter().copied())
    }

    /// How often in all.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All of it together.
    pub fn sum(&self) -> Span {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_as_long_as_a_bound_is_in_its_bucket_and_what_is_longer_is_not() {
        let mut histogram = Histogram::new(&[10, 20]);
        for took in [0, 10, 11, 20, 21, i64::MAX] {
            histogram.add(Span::from_micros(took));
        }
        let counts: Vec<u64> = histogram.buckets().map(|(_, count)| count).collect();
        assert_eq!(counts, [2, 2, 2]);
        assert_eq!((histogram.count(), histogram.sum().micros()), (6, i64::MAX), "no overflow");
        assert_eq!(histogram.buckets().last().map(|(bound, _)| bound), Some(None));
    }
}

//! What can be changed of a jail while it runs, until its configuration is read anew.

use serde::{Deserialize, Serialize};

use crate::core::addr::Prefix;
use crate::core::allow::AllowList;
use crate::core::jail::Jail;
use crate::core::time::Span;

/// One change of a jail's parameters; it counts from the next input on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Adjustment {
    /// Failures that lead to a ban; 0 is taken as 1. Who has as many already is banned
    /// at the next one.
    MaxRetry(u32),
    /// The window in which failures count, in microseconds. What fell out of a shorter
    /// one stays forgotten.
    FindTime(Span),
    /// How long bans last from now on, in microseconds; `null` is for ever. Those in force
    /// end when they would have.
    BanTime(Option<Span>),
    /// These cannot be banned by log lines; bans of them are lifted.
    Allow(Vec<Prefix>),
    /// This entry of the list is gone, whoever made it.
    Disallow(Prefix),
}

impl Jail {
    /// Makes a change. Whether there was anything to change: an entry that is to go may
    /// not be there.
    pub fn adjust(&mut self, adjustment: &Adjustment) -> bool {
        match adjustment {
            Adjustment::MaxRetry(count) => self.max_retry = (*count).max(1),
            Adjustment::FindTime(span) => self.find_time = *span,
            Adjustment::BanTime(span) => self.ban_time = *span,
            Adjustment::Allow(entries) => {
                let mut all = self.allow.entries().to_vec();
                for entry in entries {
                    if !all.contains(entry) {
                        all.push(*entry);
                    }
                }
                self.allow = all.into_iter().collect();
            }
            Adjustment::Disallow(gone) => {
                let known = self.allow.entries();
                let rest: AllowList =
                    known.iter().filter(|entry| *entry != gone).copied().collect();
                let found = rest.entries().len() < known.len();
                self.allow = rest;
                return found;
            }
        }
        true
    }
}

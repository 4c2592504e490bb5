//! One jail at work: what it has seen, counted and changed.
//!
//! Input: failures and what its filter remembers. Output: changes to be stored.
//! Invariant: everything in it is bounded by [`Limits`].

use std::collections::HashMap;
use std::sync::Arc;

use crate::core::addr::Prefix;
use crate::core::allow::AllowList;
use crate::core::effects::{Change, Effects, Report};
use crate::core::failure::Failure;
use crate::core::filter::Memory;
use crate::core::jail::{Jail, JailId};
use crate::core::surplus::Surplus;
use crate::core::time::Timestamp;
use crate::core::window::Windows;

use super::Limits;
use super::kept::Kept;

/// One jail at work.
#[derive(Debug)]
pub(super) struct Cell {
    pub(super) jail: Jail,
    pub(super) memory: Memory,
    pub(super) windows: Windows,
    /// Connections of which something else is remembered since the last input.
    pub(super) changed: Vec<Arc<str>>,
    /// Whose failures until when do not count, because they were let in again since;
    /// `None` is everybody. Kept until the source was read that far.
    pub(super) pardons: HashMap<Option<Prefix>, Timestamp>,
    /// What the names and files of its allow-list stand for.
    pub(super) elsewhere: AllowList,
    /// Answers of its `ignorecommand` that are kept.
    pub(super) answers: Kept<bool>,
}

/// A jail in figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JailFigures {
    /// Sources with a failure within the last `findtime`.
    pub failing: usize,
}

impl Cell {
    /// A jail that knows nothing yet.
    pub(super) fn new(jail: Jail, limits: &Limits) -> Self {
        let answers = jail.ignore_command.as_ref().and_then(|command| command.cache.as_ref());
        Self {
            memory: Memory::new(limits.connections),
            windows: Windows::new(jail.find_time, jail.max_retry),
            changed: Vec::new(),
            pardons: HashMap::new(),
            elsewhere: AllowList::default(),
            answers: Kept::new(answers.map_or(0, |cache| cache.max_count)),
            jail,
        }
    }

    /// Whether a failure, which would be `counted` for this source, does not count.
    pub(super) fn pardons(&self, failure: &Failure, counted: Prefix) -> bool {
        let covers = |whom| self.pardons.get(&whom).is_some_and(|&until| failure.time <= until);
        !self.pardons.is_empty()
            && [Some(failure.source), Some(counted), None].into_iter().any(covers)
    }

    /// Of a connection that many lines of a batch belong to, the last state is stored.
    pub(super) fn persist_connections(&mut self, jail: JailId, effects: &mut Effects) {
        self.changed.sort_unstable();
        self.changed.dedup();
        for key in self.changed.drain(..) {
            let (state, key) = (self.memory.state(&key), key.to_string());
            effects.persist.push(Change::Correlate { jail, key, state });
        }
    }

    /// Tells what was given up since the last input, once for each kind.
    pub(super) fn tell_given_up(&mut self, jail: JailId, effects: &mut Effects) {
        let failures = u64::try_from(self.windows.given_up()).unwrap_or(u64::MAX);
        let all = self.memory.given_up().into_iter().chain([(Surplus::Failures, failures)]);
        for (what, count) in all.filter(|(_, count)| *count > 0) {
            effects.report.push(Report::GivenUp { jail, what, count });
        }
    }
}

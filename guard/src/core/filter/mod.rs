//! From an [`Entry`] to "who failed", by a jail's filter.
//!
//! Input: an entry and what the filter remembers of the connections that the entry
//! may belong to. Output: a [`Finding`]. Invariant: an address that lies in a span of
//! the line that the client controls is never the source of a finding.

use crate::core::addr::Prefix;
use crate::core::entry::Entry;

/// A filter's text, with every interpolation done, as the configuration gives it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilterText {
    /// The filter's name, for messages.
    pub name: String,
    /// `prefregex`; empty for none.
    pub prefregex: String,
    /// `failregex`, one expression a line.
    pub failregex: Vec<String>,
    /// `ignoreregex`, one expression a line.
    pub ignoreregex: Vec<String>,
}

/// What a filter finds in one entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finding {
    /// Who failed, and the user name tried, when the entry completes a failure.
    pub failure: Option<(Prefix, Option<String>)>,
    /// An address that was found only where the client could have written it.
    pub planted: Option<Prefix>,
    /// Number, from 1, of an expression that was given up on this line because it
    /// took too many steps.
    pub step_limit: Option<usize>,
    /// What is remembered of connections from now on: key and new state, or none.
    pub correlate: Vec<(String, Option<String>)>,
}

/// A compiled filter. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Filter;

/// What a filter remembers between lines.
#[derive(Clone, Debug, Default)]
pub struct Memory;

impl Filter {
    /// Looks at one entry.
    pub fn find(&self, _entry: &Entry, _memory: &mut Memory) -> Finding {
        Finding::default()
    }
}

impl Memory {
    /// Remembers at most `capacity` connections.
    pub fn new(_capacity: usize) -> Self {
        Self
    }

    /// Takes back what was persisted.
    pub fn restore(&mut self, _key: String, _state: &str) {}
}

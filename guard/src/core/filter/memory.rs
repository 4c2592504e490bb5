//! What a filter remembers between lines: several lines of one connection are one
//! attempt.
//!
//! Input: for each line that matched, its connection (`<F-MLFID>`) and what was
//! captured. Output: whether the line completes a failure, and by whom. Invariant: at
//! most as many connections as it was made for, of at most [`Memory::SECONDS`] seconds are
//! remembered, the oldest go first, and every change is reported so that it can be
//! stored.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::core::failure::Who;
use crate::core::time::{Span, Timestamp};

use super::reading::Reading;

mod encoding;

/// Changes to what is stored: a connection and its new state, or none.
pub(super) type Changes = Vec<(String, Option<String>)>;

/// What a filter remembers between lines. One for each jail.
#[derive(Clone, Debug)]
pub struct Memory {
    capacity: usize,
    connections: HashMap<Arc<str>, Connection>,
    /// The same, oldest first.
    by_age: BTreeSet<(Timestamp, u64, Arc<str>)>,
    next_serial: u64,
    /// The text that is being searched; kept for its allocation.
    pub(super) text: String,
    /// What is needed of earlier lines themselves, if anything is.
    pub(super) reading: Option<Box<Reading>>,
}

/// What is known of one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Connection {
    /// When its first line was logged.
    began: Timestamp,
    /// Order among those that began at the same time. Not stored.
    serial: u64,
    /// Who is at the other end.
    who: Option<Who>,
    /// The user name that was captured last.
    user: Option<String>,
    /// The first user name that was tried.
    first_user: Option<String>,
    /// Whether another user name was tried as well.
    several_users: bool,
    /// A failure waits for the address.
    pending: bool,
}

/// What one matching line says about its connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Line<'t> {
    pub who: Option<Who>,
    pub user: Option<&'t str>,
    /// It is no failure by itself (`<F-NOFAIL>`).
    pub no_failure: bool,
    /// The client logged in (`<F-MLFGAINED>`).
    pub gained: bool,
    /// The connection ends (`<F-MLFFORGET>`).
    pub forget: bool,
}

impl Memory {
    /// How long a connection is remembered, in seconds from its first line.
    pub const SECONDS: i64 = 300;

    /// Remembers at most `capacity` connections, and at least one.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            connections: HashMap::new(),
            by_age: BTreeSet::new(),
            next_serial: 0,
            text: String::new(),
            reading: None,
        }
    }

    /// Takes back a connection's state that a [`Finding`](super::Finding) reported.
    /// Returns whether it could be read; if not, nothing is remembered.
    pub fn restore(&mut self, key: &str, state: &str) -> bool {
        let Some(connection) = encoding::decode(state) else { return false };
        self.remove(key);
        self.insert(key, connection);
        while self.connections.len() > self.capacity {
            let Some((_, _, oldest)) = self.by_age.first().cloned() else { break };
            self.remove(&oldest);
        }
        true
    }

    /// How many connections are remembered.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// Forgets the connections that began too long ago, or, after the clock was set
    /// back, too far ahead.
    pub(super) fn expire(&mut self, now: Timestamp, changes: &mut Changes) {
        let lifetime = Span::from_seconds(Self::SECONDS);
        while let Some((began, _, key)) = self.by_age.first()
            && now - *began > lifetime
        {
            let key = Arc::clone(key);
            self.forget(&key, changes);
        }
        while let Some((began, _, key)) = self.by_age.last()
            && *began - now > lifetime
        {
            let key = Arc::clone(key);
            self.forget(&key, changes);
        }
    }

    /// Merges a line into its connection, and says who failed if that completes a
    /// failure.
    pub(super) fn merge(
        &mut self,
        key: &str,
        now: Timestamp,
        line: &Line<'_>,
        changes: &mut Changes,
    ) -> Option<(Who, Option<String>)> {
        let known = self.connections.get(key).cloned();
        let mut connection = known.clone().unwrap_or_else(|| Connection::new(now));
        if line.gained {
            // Logged in: what waited for an address is no longer wanted.
            connection.pending = false;
        }
        connection.add(line);
        let suspicious = std::mem::take(&mut connection.pending) || connection.several_users;
        let failed = suspicious || !(line.no_failure || line.gained);
        let mut failure = None;
        if failed {
            match &connection.who {
                Some(who) => failure = Some((who.clone(), connection.user.clone())),
                None => connection.pending = true,
            }
        }
        match (known, line.forget) {
            (Some(_), true) => self.forget(key, changes),
            (None, true) => {}
            (Some(known), false) if known == connection => {}
            (_, false) => self.remember(key, connection, changes),
        }
        failure
    }

    fn remember(&mut self, key: &str, connection: Connection, changes: &mut Changes) {
        changes.push((key.to_owned(), Some(encoding::encode(&connection))));
        if let Some(known) = self.connections.get_mut(key) {
            *known = connection;
            return;
        }
        if self.connections.len() >= self.capacity
            && let Some((_, _, oldest)) = self.by_age.first().cloned()
        {
            self.forget(&oldest, changes);
        }
        self.insert(key, connection);
    }

    fn insert(&mut self, key: &str, mut connection: Connection) {
        let key: Arc<str> = key.into();
        connection.serial = self.next_serial;
        self.next_serial += 1;
        self.by_age.insert((connection.began, connection.serial, Arc::clone(&key)));
        self.connections.insert(key, connection);
    }

    fn forget(&mut self, key: &str, changes: &mut Changes) {
        if self.remove(key) {
            changes.push((key.to_owned(), None));
        }
    }

    fn remove(&mut self, key: &str) -> bool {
        let Some((key, connection)) = self.connections.remove_entry(key) else { return false };
        self.by_age.remove(&(connection.began, connection.serial, key));
        true
    }
}

impl Connection {
    fn new(began: Timestamp) -> Self {
        Self {
            began,
            serial: 0,
            who: None,
            user: None,
            first_user: None,
            several_users: false,
            pending: false,
        }
    }

    /// Adds what a line says; what it does not say stays.
    fn add(&mut self, line: &Line<'_>) {
        if line.who.is_some() {
            self.who.clone_from(&line.who);
        }
        if let Some(user) = line.user {
            match &self.first_user {
                None => self.first_user = Some(user.to_owned()),
                Some(first) => self.several_users |= first != user,
            }
            self.user = Some(user.to_owned());
        }
    }
}

#[cfg(test)]
mod tests;

//! What a filter remembers between lines: several lines of one connection are one
//! attempt.
//!
//! Input: for each line that matched, its connection (`<F-MLFID>`) and what was
//! captured. Output: whether the line completes a failure, and by whom. Invariant: at
//! most as many connections as it was made for, of at most [`Memory::SECONDS`] seconds are
//! remembered, the oldest go first, and of every change the connection is reported so
//! that it can be stored.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use foldhash::quality::RandomState;
use smallvec::SmallVec;

use crate::core::failure::Who;
use crate::core::surplus::Surplus;
use crate::core::time::{Span, Timestamp};

use super::reading::Reading;

mod encoding;

/// Connections of which something else, or nothing any more, is remembered.
pub(in crate::core) type Changes = SmallVec<[Arc<str>; 1]>;

/// Who failed, and as which user.
type Failed = Option<(Who, Option<String>)>;

/// What a filter remembers between lines. One for each jail.
#[derive(Clone, Debug)]
pub struct Memory {
    capacity: usize,
    /// Hashed with seeds of its own: clients choose some of the keys, but not where those
    /// fall.
    connections: HashMap<Arc<str>, Connection, RandomState>,
    /// Their keys, oldest first.
    by_age: BTreeMap<(Timestamp, u64), Arc<str>>,
    next_serial: u64,
    /// Connections given up for room since that was told last.
    evicted: u64,
    /// How many lines up to the last one matched one after the other, or as many as fit.
    pub(super) matches: u8,
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
    user: Option<Arc<str>>,
    /// The first user name that was tried.
    first_user: Option<Arc<str>>,
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

impl Line<'_> {
    /// Who failed, if nothing else is known of the connection.
    fn alone(&self) -> Failed {
        let who = self.who.clone().filter(|_| !(self.no_failure || self.gained))?;
        Some((who, self.user.map(str::to_owned)))
    }
}

impl Memory {
    /// How long a connection is remembered, in seconds from its first line.
    pub const SECONDS: i64 = 300;

    /// Remembers at most `capacity` connections, and at least one.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            connections: HashMap::default(),
            by_age: BTreeMap::new(),
            next_serial: 0,
            evicted: 0,
            matches: 0,
            text: String::new(),
            reading: None,
        }
    }

    /// What is remembered of a connection, as [`Memory::restore`] takes it back.
    pub fn state(&self, key: &str) -> Option<String> {
        self.connections.get(key).map(encoding::encode)
    }

    /// All connections that are remembered, each with its [`Memory::state`].
    pub fn states(&self) -> impl Iterator<Item = (String, String)> {
        self.connections.iter().map(|(key, known)| (key.to_string(), encoding::encode(known)))
    }

    /// Takes back a connection's [`Memory::state`], even if it is one too many. Returns
    /// whether it could be read; if not, nothing is remembered.
    pub fn restore(&mut self, key: &str, state: &str) -> bool {
        let Some(connection) = encoding::decode(state) else { return false };
        self.remove(key);
        self.insert(key, connection);
        true
    }

    /// Once all is taken back: forgets the oldest of what is too many. Those that the newest
    /// would find too old anyway are not given up.
    pub(in crate::core) fn fit(&mut self, changes: &mut impl Extend<Arc<str>>) {
        let newest = self.by_age.last_key_value().map(|((began, _), _)| *began);
        while self.connections.len() > self.capacity
            && let Some(((began, _), oldest)) = self.by_age.first_key_value()
        {
            let (began, oldest) = (*began, Arc::clone(oldest));
            self.forget(&oldest, changes);
            let age = newest.map_or(Span::ZERO, |newest| newest - began);
            self.evicted += u64::from(age <= Span::from_seconds(Self::SECONDS));
        }
    }

    /// What was given up since this was asked last.
    pub(in crate::core) fn given_up(&mut self) -> [(Surplus, u64); 2] {
        let lines = self.reading.as_mut().map_or(0, |reading| reading.given_up());
        [(Surplus::Connections, std::mem::take(&mut self.evicted)), (Surplus::Lines, lines)]
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
    pub(in crate::core) fn expire(&mut self, now: Timestamp, changes: &mut impl Extend<Arc<str>>) {
        let lifetime = Span::from_seconds(Self::SECONDS);
        while let Some(((began, _), key)) = self.by_age.first_key_value()
            && now - *began > lifetime
        {
            let key = Arc::clone(key);
            self.forget(&key, changes);
        }
        while let Some(((began, _), key)) = self.by_age.last_key_value()
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
    ) -> Failed {
        if line.forget {
            let Some((key, mut known)) = self.remove(key) else { return line.alone() };
            changes.push(key);
            return known.take_in(line).0;
        }
        if let Some(known) = self.connections.get_mut(key) {
            let (failure, changed) = known.take_in(line);
            if changed {
                changes.extend(self.connections.get_key_value(key).map(|(key, _)| Arc::clone(key)));
            }
            return failure;
        }
        let mut connection = Connection::new(now);
        let (failure, _) = connection.take_in(line);
        self.make_room(changes);
        changes.push(self.insert(key, connection));
        failure
    }

    fn make_room(&mut self, changes: &mut Changes) {
        if self.connections.len() >= self.capacity
            && let Some(oldest) = self.oldest()
        {
            self.forget(&oldest, changes);
            self.evicted += 1;
        }
    }

    fn oldest(&self) -> Option<Arc<str>> {
        self.by_age.first_key_value().map(|(_, key)| Arc::clone(key))
    }

    fn insert(&mut self, key: &str, mut connection: Connection) -> Arc<str> {
        let key: Arc<str> = key.into();
        connection.serial = self.next_serial;
        self.next_serial += 1;
        self.by_age.insert((connection.began, connection.serial), Arc::clone(&key));
        self.connections.insert(Arc::clone(&key), connection);
        key
    }

    fn forget(&mut self, key: &str, changes: &mut impl Extend<Arc<str>>) {
        changes.extend(self.remove(key).map(|(key, _)| key));
    }

    fn remove(&mut self, key: &str) -> Option<(Arc<str>, Connection)> {
        let (key, connection) = self.connections.remove_entry(key)?;
        self.by_age.remove(&(connection.began, connection.serial));
        Some((key, connection))
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

    /// Adds a line. Says who failed, if it completes a failure, and whether anything is
    /// known now that was not before.
    fn take_in(&mut self, line: &Line<'_>) -> (Failed, bool) {
        let before = (self.several_users, self.pending);
        if line.gained {
            // Logged in: what waited for an address is no longer wanted.
            self.pending = false;
        }
        let mut changed = self.add(line);
        let suspicious = std::mem::take(&mut self.pending) || self.several_users;
        let mut failure = None;
        if suspicious || !(line.no_failure || line.gained) {
            match &self.who {
                Some(who) => {
                    failure = Some((who.clone(), self.user.as_deref().map(str::to_owned)));
                }
                None => self.pending = true,
            }
        }
        changed |= before != (self.several_users, self.pending);
        (failure, changed)
    }

    /// Adds what a line says; what it does not say stays. Returns whether it says
    /// something new.
    fn add(&mut self, line: &Line<'_>) -> bool {
        let mut changed = false;
        if line.who.is_some() && self.who != line.who {
            self.who.clone_from(&line.who);
            changed = true;
        }
        let Some(user) = line.user else { return changed };
        if self.user.as_deref() != Some(user) {
            self.user = Some(user.into());
            changed = true;
        }
        match &self.first_user {
            None => self.first_user.clone_from(&self.user),
            Some(first) => self.several_users |= **first != *user,
        }
        changed
    }
}

#[cfg(test)]
mod tests;

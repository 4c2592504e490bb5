//! Everything an engine knows, for a store that has nothing of it or too little.
//!
//! Input: an engine. Output: changes. Invariant: a store of these changes alone gives
//! [`Engine::restore`] an equal engine.

use super::Engine;
use super::cell::Cell;
use super::lists::Place;
use crate::core::effects::Change;
use crate::core::failure::Failure;
use crate::core::history::History;
use crate::core::jail::JailId;

impl Engine {
    /// What is known, in no order that matters. Of a failure it is not known any more which
    /// user name was tried.
    pub fn knowledge(&self) -> impl Iterator<Item = Change> {
        let cells = || (0..).map(JailId).zip(&self.cells);
        let lists = self.places.iter().map(Place::change);
        let history = self.history.iter().flat_map(History::iter);
        let history = history.map(|(jail, source, past)| {
            let past = Some(past);
            Change::Remember { jail, source, past }
        });
        lists
            .chain(history)
            .chain(self.ledger.iter().map(Change::Prolong))
            .chain(self.asking.waiting())
            .chain(cells().flat_map(|(jail, cell)| cell.pardoned(jail)))
            .chain(cells().flat_map(|(jail, cell)| cell.counted(jail)))
            .chain(cells().flat_map(|(jail, cell)| cell.connections(jail)))
    }
}

impl Engine {
    /// Whether earlier bans are among it: only if a jail asks for them.
    pub fn remembers_bans(&self) -> bool {
        self.history.is_some()
    }
}

impl Cell {
    fn pardoned(&self, jail: JailId) -> impl Iterator<Item = Change> {
        self.pardons.iter().map(move |(&source, &until)| {
            let until = Some(until);
            Change::Pardon { jail, source, until }
        })
    }

    fn counted(&self, jail: JailId) -> impl Iterator<Item = Change> {
        self.windows.iter().map(move |(source, time, weight)| {
            let failure = Failure { jail, source, time, user: None };
            Change::Count { failure, weight }
        })
    }

    fn connections(&self, jail: JailId) -> impl Iterator<Item = Change> {
        self.memory.states().map(move |(key, state)| {
            let state = Some(state);
            Change::Correlate { jail, key, state }
        })
    }
}

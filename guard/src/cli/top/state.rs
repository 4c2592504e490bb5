//! What `guardctl top` shows: events, figures and keys in, the model out. No I/O.

use std::cmp::Ordering;
use std::collections::VecDeque;

use crate::control::event::{Event, What};
use crate::core::figures::{Figures, JailCounts};

/// Events that are kept to be looked at.
const EVENTS: usize = 1_000;
/// Rates that are kept to be drawn.
const RATES: usize = 300;

/// Something to take note of.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// The agent in figures, about once a second.
    Figures(Box<Figures>),
    /// Something happened.
    Event(Event),
    /// The agent does not answer, and why.
    Gone(String),
    /// Somebody pressed a key.
    Key(Key),
    /// The terminal has another size: it is drawn anew.
    Resized,
    /// The process was told to end.
    End,
}

/// Keys that mean something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Quit,
    Left,
    Right,
    Reverse,
    Pause,
    Up,
    Down,
    Help,
    Close,
}

/// By what jails are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    Name,
    Failing,
    Failures,
    Held,
    Made,
    Missing,
    Dropped,
}

impl Column {
    /// From left to right.
    pub(crate) const ALL: [Self; 7] = [
        Self::Name,
        Self::Failing,
        Self::Failures,
        Self::Held,
        Self::Made,
        Self::Missing,
        Self::Dropped,
    ];

    fn beside(self, by: usize) -> Self {
        let at = Self::ALL.iter().position(|column| *column == self).unwrap_or(0);
        Self::ALL[(at + by) % Self::ALL.len()]
    }

    fn compare(self, a: &JailCounts, b: &JailCounts) -> Ordering {
        // Numbers: the largest first. Names: as they are written.
        match self {
            Self::Name => a.name.cmp(&b.name),
            Self::Failing => b.failing.cmp(&a.failing),
            Self::Failures => b.failures.cmp(&a.failures),
            Self::Held => b.held.cmp(&a.held),
            Self::Made => b.bans_made.cmp(&a.bans_made),
            Self::Missing => b.not_enforced.cmp(&a.not_enforced),
            Self::Dropped => b.dropped_packets.cmp(&a.dropped_packets),
        }
    }
}

/// What happened in each second, the newest last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rates(VecDeque<u64>);

impl Rates {
    fn push(&mut self, rate: u64) {
        if self.0.len() == RATES {
            self.0.pop_front();
        }
        self.0.push_back(rate);
    }

    /// The newest of them, for as many cells as there are.
    pub(crate) fn newest(&self, cells: usize) -> Vec<u64> {
        self.0.iter().skip(self.0.len().saturating_sub(cells)).copied().collect()
    }

    /// In the last second.
    pub(crate) fn now(&self) -> Option<u64> {
        self.0.back().copied()
    }
}

/// The model.
#[derive(Clone, Debug)]
pub(crate) struct Top {
    /// The agent as it was told last; nothing before the first time.
    pub(crate) figures: Option<Figures>,
    /// Why the agent does not answer, if it does not.
    pub(crate) gone: Option<String>,
    /// Packets dropped each second; nothing where that is not counted.
    pub(crate) drops: Option<Rates>,
    /// Failures found each second.
    pub(crate) failures: Rates,
    /// Bans made each second.
    pub(crate) bans: Rates,
    /// What happened, the newest first.
    pub(crate) events: VecDeque<Event>,
    /// Events that were not told because this was too slow.
    pub(crate) missed: u64,
    /// By what jails are sorted.
    pub(crate) column: Column,
    /// The other way round.
    pub(crate) reversed: bool,
    /// Lines by which the list of events is scrolled down.
    pub(crate) scrolled: usize,
    /// New events wait until it goes on.
    pub(crate) paused: bool,
    /// Whether the keys are explained.
    pub(crate) help: bool,
    waiting: Vec<Event>,
}

impl Default for Top {
    fn default() -> Self {
        Self {
            figures: None,
            gone: None,
            drops: None,
            failures: Rates::default(),
            bans: Rates::default(),
            events: VecDeque::new(),
            missed: 0,
            column: Column::Held,
            reversed: false,
            scrolled: 0,
            paused: false,
            help: false,
            waiting: Vec::new(),
        }
    }
}

impl Top {
    /// Takes note; whether to go on.
    pub(crate) fn take(&mut self, input: Input) -> bool {
        match input {
            Input::Figures(figures) => self.measure(*figures),
            Input::Event(event) => self.happen(event),
            Input::Gone(why) => self.gone = Some(why),
            Input::Key(Key::Quit) | Input::End => return false,
            // It closes what is open, and then the whole.
            Input::Key(Key::Close) if !self.help => return false,
            Input::Key(key) => self.press(key),
            Input::Resized => {}
        }
        true
    }

    /// The jails in the chosen order; those that are alike, by name.
    pub(crate) fn jails(&self) -> Vec<&JailCounts> {
        let mut jails: Vec<&JailCounts> =
            self.figures.iter().flat_map(|figures| &figures.jails).collect();
        jails.sort_by(|a, b| {
            let order = self.column.compare(a, b);
            let order = if self.reversed { order.reverse() } else { order };
            order.then_with(|| a.name.cmp(&b.name))
        });
        jails
    }

    fn press(&mut self, key: Key) {
        match key {
            Key::Left => self.column = self.column.beside(Column::ALL.len() - 1),
            Key::Right => self.column = self.column.beside(1),
            Key::Reverse => self.reversed = !self.reversed,
            Key::Up => self.scrolled = self.scrolled.saturating_sub(1),
            Key::Down => self.scrolled = (self.scrolled + 1).min(self.events.len().max(1) - 1),
            Key::Pause => {
                self.paused = !self.paused;
                for event in std::mem::take(&mut self.waiting) {
                    self.show(event);
                }
            }
            Key::Help | Key::Close => self.help = key == Key::Help && !self.help,
            Key::Quit => {}
        }
    }

    fn happen(&mut self, event: Event) {
        if let What::Missed { events } = event.what {
            self.missed += events;
        }
        if !self.paused {
            self.show(event);
        } else if self.waiting.len() < EVENTS {
            self.waiting.push(event);
        } else {
            self.missed += 1;
        }
    }

    fn show(&mut self, event: Event) {
        self.events.push_front(event);
        self.events.truncate(EVENTS);
        // Who has scrolled goes on to see the same lines.
        if self.scrolled > 0 {
            self.scrolled = (self.scrolled + 1).min(self.events.len() - 1);
        }
    }

    fn measure(&mut self, figures: Figures) {
        self.gone = None;
        // Another agent counts anew.
        let before = self.figures.take().filter(|before| before.started == figures.started);
        if let Some(before) = before {
            let micros = (figures.time - before.time).micros().max(1).unsigned_abs();
            // Rounded up, so that one packet is seen; a counter that began anew gives none.
            let rate = |now: u64, before: u64| {
                let gained = u128::from(now.saturating_sub(before)) * 1_000_000;
                u64::try_from(gained.div_ceil(u128::from(micros))).unwrap_or(u64::MAX)
            };
            let failures = |of: &Figures| of.jails.iter().map(|jail| jail.failures).sum();
            let bans = |of: &Figures| of.jails.iter().map(|jail| jail.bans_made).sum();
            self.failures.push(rate(failures(&figures), failures(&before)));
            self.bans.push(rate(bans(&figures), bans(&before)));
            match (dropped(&figures), dropped(&before)) {
                (Some(now), Some(before)) => {
                    self.drops.get_or_insert_default().push(rate(now, before));
                }
                _ => self.drops = None,
            }
        }
        self.figures = Some(figures);
    }
}

/// Packets dropped so far.
fn dropped(figures: &Figures) -> Option<u64> {
    figures.traffic.iter().find(|traffic| traffic.verdict == "drop").map(|traffic| traffic.packets)
}

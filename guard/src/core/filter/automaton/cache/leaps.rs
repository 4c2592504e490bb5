//! Eight bytes at once.
//!
//! Input: a state and the eight bytes that come after it. Output: where they lead, and by
//! which steps, if that is known. Invariant: what is remembered was walked byte by byte
//! before, and takes a fixed amount of memory, whatever the texts are.
//!
//! A leap that is used often stays; one that is not gives its place to another. Bytes
//! with a digit among them are not remembered: those are numbers and addresses, which do
//! not come again.

use super::super::closure::Step;
use super::run::Position;
use super::{Cache, NO_PATTERN, NO_STEP, Passed, RUN, THREADS_AT, entry, next_of, steps_of};

/// Bytes that are passed over at once.
pub(super) const LEAP: usize = 8;

/// Leaps that are remembered.
const PLACES: usize = 512;

/// Entries of the path that one leap may have.
const ENTRIES: usize = 2;

/// Steps that are made for leaps, by taking several together.
const COMPOSED: u32 = 2_048;

/// How often another leap must be wanted in the place of a new one.
const FIRST_CREDIT: u8 = 2;
/// Of so many places where no leap is remembered one is looked at.
const SOME: u32 = 8;

/// Where eight bytes lead from a state.
#[derive(Clone, Copy, Debug)]
struct Leap {
    bytes: u64,
    state: u32,
    next: u32,
    /// What the path gets; places count from the leap's first byte.
    entries: [Passed; ENTRIES],
    count: u8,
    /// How often it was used more than another one was wanted here.
    credit: u8,
}

/// No state: the place is free.
const FREE: u32 = u32::MAX;

const NO_LEAP: Leap =
    Leap { bytes: 0, state: FREE, next: 0, entries: [0; ENTRIES], count: 0, credit: 0 };

/// Leaps by state and bytes.
#[derive(Debug)]
pub(super) struct Leaps {
    places: Box<[Leap]>,
    unknown: u32,
    composed: u32,
}

/// Where a leap would begin that is to be remembered.
pub(super) struct Begin {
    bytes: u64,
    state: u32,
    pub at: usize,
    path: usize,
}

impl Leaps {
    pub(super) fn new() -> Self {
        Self { places: vec![NO_LEAP; PLACES].into(), unknown: 0, composed: 0 }
    }

    pub(super) fn clear(&mut self) {
        self.places.fill(NO_LEAP);
        self.composed = 0;
    }

    /// Whether a leap should be looked for where none is remembered.
    #[inline]
    pub(super) fn may_look(&mut self) -> bool {
        self.unknown = self.unknown.wrapping_add(1);
        self.unknown.is_multiple_of(SOME)
    }

    #[inline]
    fn place(state: u32, bytes: u64) -> usize {
        // Multiplied by an odd number without pattern, the upper bits depend on all.
        let mixed = (bytes ^ u64::from(state).rotate_left(40)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        usize::try_from(mixed >> 55).unwrap_or(0) % PLACES
    }
}

impl Cache {
    /// Passes over the next bytes at once, if it is known where they lead to. If not, and
    /// that is worth remembering, tells where it would begin.
    #[inline]
    pub(super) fn leap(
        &mut self,
        bytes: [u8; LEAP],
        position: &mut Position,
    ) -> Result<(), Option<Begin>> {
        let Position { state, at, path, .. } = *position;
        let bytes = u64::from_le_bytes(bytes);
        let leap = &mut self.leaps.places[Leaps::place(state, bytes)];
        if leap.bytes != bytes || leap.state != state {
            return Err(self.wanted(bytes, position));
        }
        let Some(room) = self.path.get_mut(path..path + ENTRIES) else { return Err(None) };
        leap.credit = leap.credit.saturating_add(1);
        for (room, entry) in room.iter_mut().zip(leap.entries) {
            // Texts are shorter than 2^30 bytes: the place stays in its half.
            *room = entry + at as u64;
        }
        position.path = path + usize::from(leap.count);
        position.state = leap.next;
        position.at = at + LEAP;
        Ok(())
    }

    /// Whether a leap that is not known should be remembered.
    fn wanted(&mut self, bytes: u64, position: &Position) -> Option<Begin> {
        if bytes.to_le_bytes().iter().any(u8::is_ascii_digit) || position.lost {
            return None;
        }
        let leap = &mut self.leaps.places[Leaps::place(position.state, bytes)];
        if leap.state != FREE && leap.credit > 0 {
            leap.credit -= 1;
            return None;
        }
        Some(Begin { bytes, state: position.state, at: position.at, path: position.path })
    }

    /// Remembers what was walked since a leap would have begun.
    pub(super) fn learn(&mut self, begin: &Begin, position: &Position) {
        let walked = begin.path..position.path;
        if position.found.is_some() || position.lost || position.at != begin.at + LEAP {
            return;
        }
        let mut entries = [0; ENTRIES];
        let mut count = walked.len();
        let path = &self.path[walked.clone()];
        let has_runs = path.iter().any(|passed| next_of(*passed) & RUN != 0);
        match self.compose(position.state, walked.clone()) {
            Some(None) => count = 0,
            Some(Some(steps)) => (entries[0], count) = (entry(0, steps), 1),
            None if count <= ENTRIES && !has_runs => {
                for (entry, passed) in entries.iter_mut().zip(&self.path[walked]) {
                    *entry = passed - begin.at as u64;
                }
            }
            None => return,
        }
        self.hints[begin.state as usize].leaps = true;
        self.leaps.places[Leaps::place(begin.state, begin.bytes)] = Leap {
            bytes: begin.bytes,
            state: begin.state,
            next: position.state,
            entries,
            count: u8::try_from(count).unwrap_or(0),
            credit: FIRST_CREDIT,
        };
    }

    /// The steps of a part of the path, up to a state, as one, or as none if every thread
    /// stays in its place. Not if one of them writes, for then its place counts.
    fn compose(&mut self, state: u32, walked: std::ops::Range<usize>) -> Option<Option<u32>> {
        let threads = self.states[state as usize].threads.len();
        let mut composed = vec![NO_STEP, Step { first_write: NO_PATTERN, ..NO_STEP }];
        for place in 0..threads {
            let mut thread = place;
            let mut path = &self.path[walked.clone()];
            while let Some((&passed, before)) = path.split_last() {
                path = before;
                let mut more = 0;
                if next_of(passed) & RUN != 0 {
                    let (count, before) = path.split_last()?;
                    (more, path) = (next_of(*count), before);
                }
                for _ in 0..=more {
                    let step = self.steps[steps_of(passed) as usize + THREADS_AT + thread];
                    if step.writes != 0 {
                        return None;
                    }
                    thread = usize::from(step.parent);
                }
            }
            let parent = u16::try_from(thread).ok()?;
            composed.push(Step { parent, ..NO_STEP });
        }
        if (0..).zip(&composed[THREADS_AT..]).all(|(place, step)| step.parent == place) {
            return Some(None);
        }
        if self.leaps.composed >= COMPOSED {
            return None;
        }
        self.leaps.composed += 1;
        let steps = u32::try_from(self.steps.len()).ok()?;
        self.steps.append(&mut composed);
        Some(Some(steps))
    }
}

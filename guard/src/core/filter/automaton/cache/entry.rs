//! How transitions and paths are written down.
//!
//! Input and output: numbers, two of them in one. Invariant: a state, with the marks of
//! the transition that leads to it, and a place of a text each fit into half of one.

/// Marks transitions that need a closer look. The rest is the next state.
pub(super) const MARK: u32 = 1 << 31;
/// Marks transitions that lead to the state itself.
pub(super) const LOOP: u32 = 1 << 30;
/// Marks transitions that have steps.
pub(super) const STEPPED: u32 = 1 << 29;
/// The next state.
pub(super) const STATE: u32 = STEPPED - 1;
pub(super) const UNKNOWN: u32 = u32::MAX;
pub(super) const GIVE_UP: u32 = u32::MAX - 1;

/// A table entry: the transition in the lower half, in the upper one where its steps are.
pub(super) type Entry = u64;

/// The steps that an entry of the table has, or of the path.
pub(super) const STEPS: u64 = !(u32::MAX as u64);

pub(super) const fn entry(next: u32, steps: u32) -> Entry {
    (steps as u64) << 32 | next as u64
}

#[expect(clippy::cast_possible_truncation, reason = "it is the lower half")]
pub(super) const fn next_of(entry: Entry) -> u32 {
    entry as u32
}

pub(super) const fn steps_of(entry: Entry) -> u32 {
    (entry >> 32) as u32
}

/// One entry of a path: before which byte of the text, in the lower half, which steps
/// were taken. If they were taken before several bytes in a row, that place has the mark
/// [`RUN`], and the entry before says in its lower half how many more there are.
pub(super) type Passed = u64;

/// Marks the place of an entry that stands for several bytes. Places are below.
pub(super) const RUN: u32 = 1 << 31;

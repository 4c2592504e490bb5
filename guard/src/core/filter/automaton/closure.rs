//! One transition: from an ordered list of threads, over one byte or the text's end, to
//! the next list.
//!
//! Input: threads before the byte, what is known of the byte before and the byte ahead.
//! Output: threads after it, best first, each with the thread it came from and what was
//! written on the way; and whether a thread matches before the byte, which ends all
//! worse ones. Invariant: assertions are decided exactly, or the transition is refused.

use regex_automata::nfa::thompson::State;
use regex_automata::util::look::Look;

use super::program::{Program, before};

/// A thread: an NFA state, and the conditions that hold, in the upper eight bits.
pub(super) type Thread = u32;

pub(super) const STATE_BITS: u32 = 24;
pub(super) const STATE_MASK: u32 = (1 << STATE_BITS) - 1;

/// Where a thread came from, and what was written on the way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// Its place in the list before.
    pub parent: u16,
    pub writes: u16,
    pub first_write: u32,
}

/// What stands ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ahead {
    Byte(u8),
    End,
}

/// An assertion beside a character that is not ASCII.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Undecided;

enum Frame {
    Explore(Thread),
    /// Take the byte to this thread.
    Take(Thread),
    /// Back to so many writes.
    Rewind(usize),
}

/// Working space, and the result of the last transition.
#[derive(Debug, Default)]
pub(super) struct Closure {
    stack: Vec<Frame>,
    writes: Vec<u16>,
    seen: Marks,
    taken: Marks,
    /// The threads after the byte.
    pub next: Vec<Thread>,
    /// How each of them came about.
    pub steps: Vec<Step>,
    /// How the match came about, and of which pattern it is.
    pub matched: Option<(Step, usize)>,
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (name, number) = match self {
            Self::Explore(thread) => ("explore", *thread as usize),
            Self::Take(thread) => ("take", *thread as usize),
            Self::Rewind(length) => ("rewind", *length),
        };
        write!(f, "{name} {number}")
    }
}

/// A set of threads that is emptied at no cost.
#[derive(Debug, Default)]
struct Marks {
    round: u32,
    marks: Vec<u32>,
}

impl Marks {
    fn clear(&mut self, size: usize) {
        if self.marks.len() != size || self.round == u32::MAX {
            self.marks.clear();
            self.marks.resize(size, 0);
            self.round = 0;
        }
        self.round += 1;
    }

    /// Whether it was not in it.
    fn insert(&mut self, at: usize) -> bool {
        let new = self.marks[at] != self.round;
        self.marks[at] = self.round;
        new
    }
}

impl Closure {
    /// Computes one transition. Writes are appended to `arena`.
    pub(super) fn transition(
        &mut self,
        program: &Program,
        kernel: &[Thread],
        facts: u8,
        ahead: Ahead,
        arena: &mut Vec<u16>,
    ) -> Result<(), Undecided> {
        let size = program.needs.len() << program.condition_bits;
        self.seen.clear(size);
        self.taken.clear(size);
        self.next.clear();
        self.steps.clear();
        self.matched = None;
        for (parent, &thread) in (0..).zip(kernel) {
            self.stack.clear();
            self.writes.clear();
            self.stack.push(Frame::Explore(thread));
            self.explore(program, parent, facts, ahead, arena)?;
            if self.matched.is_some() {
                break;
            }
        }
        Ok(())
    }

    fn explore(
        &mut self,
        program: &Program,
        parent: u16,
        facts: u8,
        ahead: Ahead,
        arena: &mut Vec<u16>,
    ) -> Result<(), Undecided> {
        let states = program.nfa.states();
        let index = |thread: Thread| {
            let state = (thread & STATE_MASK) as usize;
            (state << program.condition_bits) | (thread >> STATE_BITS) as usize
        };
        while let Some(frame) = self.stack.pop() {
            let thread = match frame {
                Frame::Rewind(length) => {
                    self.writes.truncate(length);
                    continue;
                }
                Frame::Take(thread) => {
                    if self.taken.insert(index(thread)) {
                        self.next.push(thread);
                        let step = self.step(parent, arena);
                        self.steps.push(step);
                    }
                    continue;
                }
                Frame::Explore(thread) => thread,
            };
            if !self.seen.insert(index(thread)) {
                continue;
            }
            let (state, conditions) = ((thread & STATE_MASK) as usize, thread & !STATE_MASK);
            let to = |next: regex_automata::util::primitives::StateID| {
                // Programs of more states are refused.
                conditions | u32::try_from(next.as_usize()).unwrap_or(STATE_MASK)
            };
            let Some(nfa_state) = states.get(state) else {
                let pattern = &program.patterns[state - states.len()];
                if ahead != Ahead::End {
                    self.stack.push(Frame::Take(thread));
                }
                self.stack.push(Frame::Explore(to(pattern.start)));
                continue;
            };
            let taken = |taken: Option<regex_automata::util::primitives::StateID>| {
                taken.map(|next| Frame::Take(to(next)))
            };
            let byte = match ahead {
                Ahead::Byte(byte) => Some(byte),
                Ahead::End => None,
            };
            match nfa_state {
                State::ByteRange { trans } => {
                    let next = byte.filter(|byte| trans.matches_byte(*byte)).map(|_| trans.next);
                    self.stack.extend(taken(next));
                }
                State::Sparse(sparse) => {
                    self.stack.extend(taken(byte.and_then(|byte| sparse.matches_byte(byte))));
                }
                State::Dense(dense) => {
                    self.stack.extend(taken(byte.and_then(|byte| dense.matches_byte(byte))));
                }
                State::Look { look, next } => {
                    if holds(*look, facts, ahead)? {
                        self.stack.push(Frame::Explore(to(*next)));
                    }
                }
                State::Union { alternates } => {
                    let frames = alternates.iter().rev().map(|next| Frame::Explore(to(*next)));
                    self.stack.extend(frames);
                }
                State::BinaryUnion { alt1, alt2 } => {
                    self.stack.push(Frame::Explore(to(*alt2)));
                    self.stack.push(Frame::Explore(to(*alt1)));
                }
                State::Capture { next, slot, .. } => {
                    let action = program.actions[slot.as_usize()];
                    let holding = conditions >> STATE_BITS;
                    let (require, forbid) = (u32::from(action.require), u32::from(action.forbid));
                    if holding & require != require || holding & forbid != 0 {
                        continue;
                    }
                    if let Some(write) = action.write {
                        self.stack.push(Frame::Rewind(self.writes.len()));
                        self.writes.push(write);
                    }
                    let set = u32::from(action.set) << STATE_BITS;
                    self.stack.push(Frame::Explore(to(*next) | set));
                }
                State::Fail => {}
                State::Match { pattern_id } => {
                    self.matched = Some((self.step(parent, arena), pattern_id.as_usize()));
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn step(&self, parent: u16, arena: &mut Vec<u16>) -> Step {
        // A cache is emptied long before its arena is this large.
        let first_write = u32::try_from(arena.len()).unwrap_or(u32::MAX);
        arena.extend_from_slice(&self.writes);
        let writes = u16::try_from(self.writes.len()).unwrap_or(u16::MAX);
        Step { parent, writes, first_write }
    }
}

/// Whether an assertion holds between what is known and what is ahead.
fn holds(look: Look, facts: u8, ahead: Ahead) -> Result<bool, Undecided> {
    let is = |fact: u8| facts & fact != 0;
    let word = |byte: u8| byte == b'_' || byte.is_ascii_alphanumeric();
    let (next_word, next_wide) = match ahead {
        Ahead::Byte(byte) => (word(byte), !byte.is_ascii()),
        Ahead::End => (false, false),
    };
    let word_before = is(before::WORD);
    Ok(match look {
        Look::Start => is(before::START),
        Look::End => ahead == Ahead::End,
        Look::StartLF => is(before::START) || is(before::LINE),
        Look::EndLF => matches!(ahead, Ahead::End | Ahead::Byte(b'\n')),
        Look::StartCRLF | Look::EndCRLF => return Err(Undecided),
        Look::WordAscii => word_before != next_word,
        Look::WordAsciiNegate => word_before == next_word,
        Look::WordStartAscii => !word_before && next_word,
        Look::WordEndAscii => word_before && !next_word,
        Look::WordStartHalfAscii => !word_before,
        Look::WordEndHalfAscii => !next_word,
        _ if is(before::WIDE) || next_wide => return Err(Undecided),
        Look::WordUnicode => word_before != next_word,
        Look::WordUnicodeNegate => word_before == next_word,
        Look::WordStartUnicode => !word_before && next_word,
        Look::WordEndUnicode => word_before && !next_word,
        Look::WordStartHalfUnicode => !word_before,
        Look::WordEndHalfUnicode => !next_word,
    })
}

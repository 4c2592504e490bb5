//! What does not change while searching: the NFA of all expressions together.
//!
//! Input: patterns, relaxed where they were beyond a linear engine. Output: the NFA,
//! classes of bytes that nothing tells apart, what each group's begin and end means, and
//! which facts about the byte before matter to a state.

use regex_automata::nfa::thompson::{self, NFA, State, WhichCaptures};
use regex_automata::util::look::Look;
use regex_automata::util::primitives::StateID;

use super::relax::Check;

/// One expression for the automaton.
#[derive(Debug)]
pub(in super::super) struct Pattern<'p> {
    /// Its text, for the `regex` crate.
    pub relaxed: &'p super::Relaxed,
    /// Names of the groups whose spans are wanted.
    pub wanted: &'p [String],
}

/// Facts about what stands before a position.
pub(super) mod before {
    /// Nothing: the text begins.
    pub(in super::super) const START: u8 = 1;
    /// A newline.
    pub(in super::super) const LINE: u8 = 2;
    /// A letter, digit or underscore of ASCII.
    pub(in super::super) const WORD: u8 = 4;
    /// A byte of a character that is not ASCII.
    pub(in super::super) const WIDE: u8 = 8;
}

/// What passing a group's begin or end does.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Action {
    /// What to note: a slot, or a check from [`CHECK`] on.
    pub write: Option<u16>,
    /// Conditions that hold from here on.
    pub set: u8,
    /// Conditions that must hold.
    pub require: u8,
    /// Conditions that must not hold.
    pub forbid: u8,
}

/// Written numbers from here on are checks.
pub(super) const CHECK: u16 = 0x8000;

/// How many conditions one expression may test.
const CONDITIONS: usize = 4;

/// One expression of a program.
#[derive(Debug)]
pub(super) struct Entry {
    pub start: StateID,
    pub anchored: bool,
    /// How many groups are wanted.
    pub groups: usize,
    /// Whether a match is one of the expression as it was written, if its checks hold.
    pub exact: bool,
}

/// The immutable part of an automaton.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) nfa: NFA,
    pub(super) patterns: Vec<Entry>,
    /// By slot of the NFA.
    pub(super) actions: Vec<Action>,
    pub(super) checks: Vec<Check>,
    /// The class of each byte.
    pub(super) classes: [u8; 256],
    /// A byte of each class. The class after the last stands for the text's end.
    pub(super) representatives: Vec<u8>,
    /// By NFA state, and then by unanchored prefix: which facts matter from there on.
    pub(super) needs: Vec<u8>,
    /// How many bits of conditions there are.
    pub(super) condition_bits: u32,
}

impl Program {
    /// Compiles patterns in their order.
    pub(super) fn new(patterns: &[Pattern<'_>], bytes: usize) -> Option<Self> {
        let parse = |pattern: &Pattern<'_>| regex_syntax::parse(&pattern.relaxed.text).ok();
        let parsed: Vec<regex_syntax::hir::Hir> =
            patterns.iter().map(parse).collect::<Option<_>>()?;
        let nfa = NFA::compiler()
            .configure(
                thompson::Config::new()
                    .nfa_size_limit(Some(bytes))
                    .which_captures(WhichCaptures::All),
            )
            .build_many_from_hir(&parsed)
            .ok()?;
        let looks = nfa.look_set_any();
        if patterns.is_empty() || nfa.has_empty() || looks.contains_anchor_crlf() {
            return None;
        }
        let mut program = Self {
            patterns: Vec::with_capacity(patterns.len()),
            actions: vec![Action::default(); nfa.group_info().slot_len()],
            checks: Vec::new(),
            classes: [0; 256],
            representatives: Vec::new(),
            needs: Vec::new(),
            condition_bits: 0,
            nfa,
        };
        for (number, (pattern, hir)) in patterns.iter().zip(&parsed).enumerate() {
            let anchored =
                hir.properties().look_set_prefix().contains(regex_syntax::hir::Look::Start);
            program.add(number, pattern, anchored)?;
        }
        if program.nfa.states().len() + patterns.len() >= 1 << (32 - 8) {
            return None;
        }
        program.classify();
        program.find_needs();
        Some(program)
    }

    /// The class that stands for the text's end.
    pub(super) fn end_class(&self) -> usize {
        self.representatives.len()
    }

    /// The pseudo-state that looks for a pattern from every place on.
    pub(super) fn prefix_state(&self, pattern: usize) -> usize {
        self.nfa.states().len() + pattern
    }

    fn add(&mut self, number: usize, pattern: &Pattern<'_>, anchored: bool) -> Option<()> {
        let id = regex_automata::PatternID::new(number).ok()?;
        let groups = self.nfa.group_info().clone();
        let slots = |name: &str| groups.to_index(id, name).and_then(|i| groups.slots(id, i));
        for (place, name) in pattern.wanted.iter().enumerate() {
            let (start, end) = slots(name)?;
            let place = u16::try_from(place * 2).ok().filter(|place| *place < CHECK - 2)?;
            self.actions[start].write = Some(place);
            self.actions[end].write = Some(place + 1);
        }
        for (name, check) in &pattern.relaxed.checks {
            let number = u16::try_from(self.checks.len()).ok().filter(|n| *n < CHECK)?;
            self.actions[slots(name)?.0].write = Some(CHECK + number);
            self.checks.push(check.clone());
        }
        let mut tested: Vec<usize> = Vec::new();
        for condition in &pattern.relaxed.conditions {
            let (_, end) = groups.slots(id, condition.group)?;
            let bit = match tested.iter().position(|group| *group == condition.group) {
                Some(bit) => bit,
                None => {
                    tested.push(condition.group);
                    tested.len() - 1
                }
            };
            let mask = 1u8 << bit.min(CONDITIONS - 1);
            self.actions[end].set |= mask;
            self.actions[slots(&condition.yes)?.0].require |= mask;
            self.actions[slots(&condition.no)?.0].forbid |= mask;
        }
        if tested.len() > CONDITIONS {
            return None;
        }
        self.condition_bits = self.condition_bits.max(u32::try_from(tested.len()).ok()?);
        self.patterns.push(Entry {
            start: self.nfa.start_pattern(id)?,
            anchored,
            groups: pattern.wanted.len(),
            exact: pattern.relaxed.exact,
        });
        Some(())
    }

    /// Bytes are of one class if no state, no assertion and no fact tells them apart.
    fn classify(&mut self) {
        let mut begins = [false; 257];
        let mut cut = |start: u8, end: u8| {
            begins[usize::from(start)] = true;
            begins[usize::from(end) + 1] = true;
        };
        for (start, end) in [(b'\n', b'\n'), (b'0', b'9'), (b'A', b'Z'), (b'_', b'_'), (b'a', b'z')]
        {
            cut(start, end);
        }
        cut(0x80, 0xFF);
        for state in self.nfa.states() {
            match state {
                State::ByteRange { trans } => cut(trans.start, trans.end),
                State::Sparse(sparse) => {
                    for trans in &sparse.transitions[..] {
                        cut(trans.start, trans.end);
                    }
                }
                State::Dense(dense) => {
                    for byte in 1..=255 {
                        if dense.matches_byte(byte) != dense.matches_byte(byte - 1) {
                            cut(byte, 255);
                        }
                    }
                }
                _ => {}
            }
        }
        for byte in 0..=255 {
            if byte == 0 || begins[usize::from(byte)] {
                self.representatives.push(byte);
            }
            // At most 256 classes, so the last one's number is 255.
            self.classes[usize::from(byte)] =
                u8::try_from(self.representatives.len() - 1).unwrap_or(u8::MAX);
        }
    }

    /// Which facts the assertions ask for that can be reached from a state without
    /// stepping over a byte.
    fn find_needs(&mut self) {
        let states = self.nfa.states();
        let mut needs = vec![0u8; states.len()];
        loop {
            let mut changed = false;
            for (id, state) in states.iter().enumerate().rev() {
                let of = |next: &StateID| needs[next.as_usize()];
                let need = match state {
                    State::Look { look, next } => needed(*look) | of(next),
                    State::Union { alternates } => alternates.iter().fold(0, |n, a| n | of(a)),
                    State::BinaryUnion { alt1, alt2 } => of(alt1) | of(alt2),
                    State::Capture { next, .. } => of(next),
                    _ => 0,
                };
                changed |= need != needs[id];
                needs[id] = need;
            }
            if !changed {
                break;
            }
        }
        for pattern in &self.patterns {
            needs.push(needs[pattern.start.as_usize()]);
        }
        self.needs = needs;
    }
}

/// The facts that decide about an assertion.
fn needed(look: Look) -> u8 {
    match look {
        Look::Start => before::START,
        Look::StartLF | Look::StartCRLF => before::START | before::LINE,
        Look::End | Look::EndLF | Look::EndCRLF => 0,
        Look::WordEndHalfAscii | Look::WordEndHalfUnicode => before::WIDE,
        _ => before::WORD | before::WIDE,
    }
}

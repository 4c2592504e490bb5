//! The states that texts needed so far, and the search through them.
//!
//! Input: a program and a text. Output: which expression matches first. Invariant: the
//! cache never takes much more than [`BYTES`]; a search that would need more new
//! transitions than [`NEW_TRANSITIONS`] is given up, and then the next
//! [`REST`] searches are not tried, so that nobody can make guard build states
//! for ever.
//!
//! A state is named by its place in the table, so that the next one is one addition and
//! one look away. Marked entries need a closer look: not known yet, no way on, or a
//! match.

use std::collections::HashMap;

use super::closure::{Ahead, Closure, Step, Thread};
use super::program::{Program, before};
use super::{Outcome, Spans};

/// Bytes of tables at which the cache is emptied.
const BYTES: usize = 2 << 20;

/// New transitions that one search may ask for.
const NEW_TRANSITIONS: usize = 2_000;

/// Searches that are not tried after one was given up.
const REST: usize = 64;

/// Changes of state that one search may remember.
const PATH: usize = 1 << 16;

/// Bytes of the longest text whose spans fit.
const TEXT: usize = 1 << 30;

/// Threads that one state may have.
const THREADS: usize = 4_096;

/// Marks table entries that need a closer look. The rest is the next state.
const MARK: u32 = 1 << 31;
const UNKNOWN: u32 = u32::MAX;
const GIVE_UP: u32 = u32::MAX - 1;

/// The state without threads.
const DEAD: u32 = 0;

/// No match: the place of a transition's match is empty.
const NO_PATTERN: u16 = u16::MAX;

/// A state's threads are `kernels[threads]`.
#[derive(Debug)]
struct State {
    threads: std::ops::Range<usize>,
    facts: u8,
    /// Whether each transition to itself, as far as known, leaves each thread as it is.
    steady: bool,
}

/// States and transitions as far as they are known, and working space.
#[derive(Debug)]
pub(super) struct Cache {
    /// Next states by state and class.
    table: Vec<u32>,
    /// By state and class: where in `steps` the transition's are. First the match's,
    /// then one for each thread.
    details: Vec<u32>,
    shift: u32,
    states: Vec<State>,
    pub(super) steps: Vec<(Step, u16)>,
    pub(super) writes: Vec<u16>,
    kernels: Vec<Thread>,
    known: HashMap<Box<[u32]>, u32>,
    /// The first state for each number of the first expression; [`UNKNOWN`] at first.
    starts: Vec<u32>,
    key: Vec<u32>,
    closure: Closure,
    /// Where the search changed its state, and to which.
    path: Vec<(u32, u32)>,
    computed: usize,
    resting: usize,
}

/// A search must stop without an answer.
struct Stop;

/// Where a match was found: before this byte, in this state, with so much of the path.
#[derive(Clone, Copy)]
struct Found {
    at: usize,
    state: u32,
    class: usize,
    path: usize,
}

impl Cache {
    pub(super) fn new(program: &Program) -> Self {
        let mut cache = Self {
            table: Vec::new(),
            details: Vec::new(),
            shift: (program.end_class() + 1).next_power_of_two().trailing_zeros(),
            states: Vec::new(),
            steps: Vec::new(),
            writes: Vec::new(),
            kernels: Vec::new(),
            known: HashMap::new(),
            starts: vec![UNKNOWN; program.patterns.len()],
            key: Vec::new(),
            closure: Closure::default(),
            path: Vec::new(),
            computed: 0,
            resting: 0,
        };
        cache.clear();
        cache
    }

    /// The first expression, from number `from` on, that matches, and its spans.
    pub(super) fn search(
        &mut self,
        program: &Program,
        text: &str,
        from: usize,
        spans: Option<&mut Spans>,
    ) -> Outcome {
        if from >= program.patterns.len() {
            return Outcome::Nothing;
        }
        if self.resting > 0 || text.len() >= TEXT {
            self.resting = self.resting.saturating_sub(1);
            return Outcome::Unknown;
        }
        self.computed = 0;
        if self.size() > BYTES {
            self.clear();
        }
        let Ok(found) = self.run(program, text.as_bytes(), from) else { return Outcome::Unknown };
        let Some(found) = found else { return Outcome::Nothing };
        let details = self.details[found.state as usize + found.class] as usize;
        let (step, pattern) = self.steps[details];
        let pattern = usize::from(pattern);
        let entry = &program.patterns[pattern];
        if !entry.exact {
            return Outcome::Perhaps(pattern);
        }
        let Some(spans) = spans else {
            // Without a walk there are no checks either.
            let exact = program.checks.is_empty();
            return if exact { Outcome::Match(pattern) } else { Outcome::Perhaps(pattern) };
        };
        spans.clear(entry.groups);
        if self.path.len() >= PATH {
            return Outcome::Unknown;
        }
        if self.walk(program, text, step, found, &mut spans.0) {
            Outcome::Match(pattern)
        } else {
            Outcome::Perhaps(pattern)
        }
    }

    fn run(&mut self, program: &Program, text: &[u8], from: usize) -> Result<Option<Found>, Stop> {
        let mut state = self.start(program, from)?;
        let mut found = None;
        self.path.clear();
        self.path.push((0, state));
        let mut at = 0;
        loop {
            let class = match text.get(at) {
                Some(byte) => usize::from(program.classes[usize::from(*byte)]),
                None => program.end_class(),
            };
            let mut next = self.table[state as usize + class];
            if next >= MARK {
                if next == UNKNOWN {
                    next = self.compute(program, state, class)?;
                }
                if next == GIVE_UP {
                    return Err(Stop);
                }
                if next >= MARK {
                    let details = self.details[state as usize + class] as usize;
                    if self.steps[details].1 != NO_PATTERN {
                        found = Some(Found { at, state, class, path: self.path.len() });
                    }
                    next &= !MARK;
                    if next == DEAD {
                        return Ok(found);
                    }
                }
            }
            at += 1;
            if next != state {
                state = next;
                if self.path.len() < PATH {
                    // Texts are shorter than 2^30 bytes.
                    self.path.push((u32::try_from(at).map_err(|_| Stop)?, state));
                }
                continue;
            }
            // Where a state leads to itself, nothing depends on the last look.
            let row = &self.table[state as usize..][..1 << self.shift];
            let stays = |byte: &u8| row[usize::from(program.classes[usize::from(*byte)])] == state;
            at += text[at..].iter().position(|byte| !stays(byte)).unwrap_or(text.len() - at);
        }
    }

    /// Reads the winner's spans off the path, backwards. Returns whether its checks hold.
    fn walk(
        &self,
        program: &Program,
        text: &str,
        step: Step,
        found: Found,
        spans: &mut [u32],
    ) -> bool {
        let mut walk = super::walk::Walk { program, text, spans, writes: &self.writes };
        if !walk.note(&step, found.at) {
            return false;
        }
        let bytes = text.as_bytes();
        let mut thread = usize::from(step.parent);
        // All that is before this position remains to be walked.
        let mut at = found.at;
        for place in (0..found.path).rev() {
            let (entered, state) = self.path[place];
            let entered = entered as usize;
            // First back to where the state was entered, on transitions to itself.
            if !self.states[(state >> self.shift) as usize].steady {
                while at > entered {
                    at -= 1;
                    let step = self.step_back(program, state, bytes[at], thread);
                    thread = usize::from(step.parent);
                    if !walk.note(&step, at) {
                        return false;
                    }
                }
            }
            // Then on the transition that entered it.
            if place > 0 {
                at = entered - 1;
                let step = self.step_back(program, self.path[place - 1].1, bytes[at], thread);
                thread = usize::from(step.parent);
                if !walk.note(&step, at) {
                    return false;
                }
            }
        }
        true
    }

    fn step_back(&self, program: &Program, state: u32, byte: u8, thread: usize) -> Step {
        let class = usize::from(program.classes[usize::from(byte)]);
        let details = self.details[state as usize + class] as usize;
        self.steps[details + 1 + thread].0
    }

    fn start(&mut self, program: &Program, from: usize) -> Result<u32, Stop> {
        if self.starts[from] == UNKNOWN {
            let threads = (from..program.patterns.len()).map(|number| {
                let pattern = &program.patterns[number];
                let anchored = pattern.anchored;
                if anchored { pattern.start.as_usize() } else { program.prefix_state(number) }
            });
            // Programs have fewer states than fit in 24 bits.
            let threads = threads.map(|state| u32::try_from(state).unwrap_or(u32::MAX));
            let threads: Vec<Thread> = threads.collect();
            self.starts[from] = self.intern(program, &threads, before::START).ok_or(Stop)?;
        }
        Ok(self.starts[from])
    }

    /// The number of a state, which may be new; `None` when it is too large.
    fn intern(&mut self, program: &Program, threads: &[Thread], facts: u8) -> Option<u32> {
        if threads.is_empty() {
            return Some(DEAD);
        }
        if threads.len() > THREADS {
            return None;
        }
        let needed = threads.iter().fold(0, |needed, thread| {
            needed | program.needs[(thread & super::closure::STATE_MASK) as usize]
        });
        let facts = facts & needed;
        self.key.clear();
        self.key.push(u32::from(facts));
        self.key.extend_from_slice(threads);
        if let Some(&state) = self.known.get(self.key.as_slice()) {
            return Some(state);
        }
        let state = self.add(threads, facts)?;
        self.known.insert(self.key.as_slice().into(), state);
        Some(state)
    }

    fn add(&mut self, threads: &[Thread], facts: u8) -> Option<u32> {
        let state = u32::try_from(self.table.len()).ok().filter(|state| *state < MARK - 1024)?;
        let start = self.kernels.len();
        self.kernels.extend_from_slice(threads);
        self.states.push(State { threads: start..self.kernels.len(), facts, steady: true });
        self.table.resize(self.table.len() + (1 << self.shift), UNKNOWN);
        self.details.resize(self.table.len(), 0);
        Some(state)
    }

    /// Finds out where a state leads on a class.
    #[cold]
    fn compute(&mut self, program: &Program, state: u32, class: usize) -> Result<u32, Stop> {
        self.computed += 1;
        if self.computed > NEW_TRANSITIONS || self.size() > 2 * BYTES {
            self.resting = REST;
            return Err(Stop);
        }
        let mut closure = std::mem::take(&mut self.closure);
        let entry = self.transition(program, state, class, &mut closure);
        self.closure = closure;
        self.table[state as usize + class] = entry;
        Ok(entry)
    }

    fn transition(
        &mut self,
        program: &Program,
        from: u32,
        class: usize,
        closure: &mut Closure,
    ) -> u32 {
        let number = (from >> self.shift) as usize;
        let State { threads, facts, .. } = &self.states[number];
        let byte = program.representatives.get(class).copied();
        let ahead = byte.map_or(Ahead::End, Ahead::Byte);
        let kernel = &self.kernels[threads.clone()];
        if closure.transition(program, kernel, *facts, ahead, &mut self.writes).is_err() {
            return GIVE_UP;
        }
        let mut facts = 0;
        if let Some(byte) = byte {
            facts |= if byte == b'\n' { before::LINE } else { 0 };
            facts |= if byte == b'_' || byte.is_ascii_alphanumeric() { before::WORD } else { 0 };
            facts |= if byte.is_ascii() { 0 } else { before::WIDE };
        }
        let Some(next) = self.intern(program, &closure.next, facts) else { return GIVE_UP };
        let Ok(details) = u32::try_from(self.steps.len()) else { return GIVE_UP };
        self.details[from as usize + class] = details;
        let nothing = Step { parent: 0, writes: 0, first_write: 0 };
        let (step, pattern) = closure.matched.map_or((nothing, NO_PATTERN), |(step, pattern)| {
            (step, u16::try_from(pattern).unwrap_or(NO_PATTERN))
        });
        self.steps.push((step, pattern));
        self.steps.extend(closure.steps.iter().map(|step| (*step, NO_PATTERN)));
        if next == from {
            let mut steps = (0..).zip(&closure.steps);
            let steady = steps.all(|(place, step)| step.parent == place && step.writes == 0);
            self.states[number].steady &= steady;
        }
        if next == DEAD || pattern != NO_PATTERN { next | MARK } else { next }
    }

    fn size(&self) -> usize {
        self.table.len() * 8
            + self.steps.len() * 12
            + self.kernels.len() * 8
            + self.writes.len() * 2
    }

    fn clear(&mut self) {
        self.table.clear();
        self.details.clear();
        self.states.clear();
        self.steps.clear();
        self.writes.clear();
        self.kernels.clear();
        self.known.clear();
        self.starts.fill(UNKNOWN);
        // The state without threads comes first.
        let _ = self.add(&[], 0);
    }
}

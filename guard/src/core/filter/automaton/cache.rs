//! The states that texts needed so far, and the search through them.
//!
//! Input: a program and a text. Output: which expression matches first. Invariant: the
//! cache never takes much more than [`BYTES`]; a search that would need more new
//! transitions than [`NEW_TRANSITIONS`] is given up, and then the next
//! [`REST`] searches are not tried, so that nobody can make guard build states
//! for ever.
//!
//! Marked transitions need a closer look: not known yet, no way on, or a
//! match. Most transitions leave every thread in its place and write nothing; the path
//! holds only the others, and so a walk backwards is short.

use std::collections::HashMap;

mod entry;
mod hints;
mod leaps;
mod run;

use entry::{
    Entry, GIVE_UP, LOOP, MARK, Passed, RUN, STATE, STEPPED, STEPS, UNKNOWN, entry, next_of,
    steps_of,
};
use hints::Hint;
use leaps::Leaps;

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

/// The state without threads.
const DEAD: u32 = 0;

/// Steps of a transition: those of its match, the number of the expression that matches
/// ([`NO_PATTERN`]: none), and from [`THREADS_AT`] on those of the next state's threads.
const PATTERN_AT: usize = 1;
const THREADS_AT: usize = 2;
const NO_PATTERN: u32 = u32::MAX;
const NO_STEP: Step = Step { parent: 0, writes: 0, first_write: 0 };

/// A transition that leaves every thread in its place and writes nothing.
const PLAIN: u32 = 0;

/// A state's threads are `kernels[threads]`.
#[derive(Debug)]
struct State {
    threads: std::ops::Range<usize>,
    facts: u8,
}

/// States and transitions as far as they are known, and working space.
#[derive(Debug)]
pub(super) struct Cache {
    /// Transitions by state and class, each with the place of its steps in
    /// [`Cache::steps`].
    table: Vec<Entry>,
    /// Entries of one state in [`Cache::table`].
    width: usize,
    /// By state.
    hints: Vec<Hint>,
    leaps: Leaps,
    states: Vec<State>,
    /// See [`PATTERN_AT`].
    steps: Vec<Step>,
    writes: Vec<u16>,
    kernels: Vec<Thread>,
    known: HashMap<Box<[u32]>, u32>,
    /// The first state for each number of the first expression; [`UNKNOWN`] at first.
    starts: Vec<u32>,
    key: Vec<u32>,
    closure: Closure,
    /// The way of the text that was searched last, and room for more.
    path: Vec<Passed>,
    computed: usize,
    resting: usize,
}

/// A search must stop without an answer.
struct Stop;

/// Where a match was found: before this byte, by these steps, after so much of the path.
#[derive(Clone, Copy, Debug)]
struct Found {
    at: usize,
    steps: usize,
    path: usize,
}

impl Cache {
    pub(super) fn new(program: &Program) -> Self {
        let mut cache = Self {
            table: Vec::new(),
            // Odd, so that the same class of many states does not fall on few cache lines.
            width: (program.end_class() + 1) | 1,
            leaps: Leaps::new(),
            hints: Vec::new(),
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
        let pattern = self.steps[found.steps + PATTERN_AT].first_write as usize;
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
        if found.path >= PATH {
            return Outcome::Unknown;
        }
        if self.walk(program, text, found, &mut spans.0) {
            Outcome::Match(pattern)
        } else {
            Outcome::Perhaps(pattern)
        }
    }

    /// Reads the winner's spans off the path, backwards. Returns whether its checks hold.
    fn walk(&self, program: &Program, text: &str, found: Found, spans: &mut [u32]) -> bool {
        let mut walk = super::walk::Walk { program, text, spans, writes: &self.writes };
        let steps = self.steps.as_slice();
        let step = &steps[found.steps];
        let mut thread = usize::from(step.parent);
        let mut holds = walk.note(step, found.at);
        let path = &self.path[..found.path];
        let mut left = path.len();
        while left > 0 {
            left -= 1;
            let passed = path[left];
            let begin = steps_of(passed) as usize + THREADS_AT;
            let at = next_of(passed);
            if at & RUN == 0 {
                let step = &steps[begin + thread];
                thread = usize::from(step.parent);
                if step.writes > 0 {
                    holds &= walk.note(step, at as usize);
                }
                continue;
            }
            let Some(before) = left.checked_sub(1) else { break };
            left = before;
            let first = (at & !RUN) as usize;
            let mut last = first + next_of(path[left]) as usize;
            loop {
                let step = &steps[begin + thread];
                let stays = usize::from(step.parent) == thread;
                let begin = if stays { first } else { last };
                holds = holds && walk.note_all(step, begin, last);
                thread = usize::from(step.parent);
                if begin == first {
                    break;
                }
                last -= 1;
            }
        }
        holds
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
        let state = u32::try_from(self.states.len()).ok().filter(|state| *state < STATE)?;
        let start = self.kernels.len();
        self.kernels.extend_from_slice(threads);
        self.states.push(State { threads: start..self.kernels.len(), facts });
        self.table.resize(self.table.len() + self.width, entry(UNKNOWN, PLAIN));
        self.hints.push(Hint::NONE);
        Some(state)
    }

    /// Finds out where a state leads on a class.
    #[cold]
    fn compute(&mut self, program: &Program, state: u32, class: usize) -> Result<(), Stop> {
        self.computed += 1;
        if self.computed > NEW_TRANSITIONS || self.size() > 2 * BYTES {
            self.resting = REST;
            return Err(Stop);
        }
        let mut closure = std::mem::take(&mut self.closure);
        let transition = self.transition(program, state, class, &mut closure);
        self.closure = closure;
        let (next, steps) = transition.unwrap_or((GIVE_UP, PLAIN));
        let place = self.row(state) + class;
        self.table[place] = entry(next, steps);
        Ok(())
    }

    /// A transition: the next state with its marks, and where its steps begin.
    fn transition(
        &mut self,
        program: &Program,
        from: u32,
        class: usize,
        closure: &mut Closure,
    ) -> Option<(u32, u32)> {
        let State { threads, facts, .. } = &self.states[from as usize];
        let byte = program.representatives.get(class).copied();
        let ahead = byte.map_or(Ahead::End, Ahead::Byte);
        let kernel = &self.kernels[threads.clone()];
        closure.transition(program, kernel, *facts, ahead, &mut self.writes).ok()?;
        let mut next = self.intern(program, &closure.next, byte.map_or(0, facts_after))?;
        let mut threads = (0..).zip(&closure.steps);
        let plain = threads.all(|(place, step)| step.parent == place && step.writes == 0);
        let mut steps = PLAIN;
        if closure.matched.is_some() || !plain {
            steps = u32::try_from(self.steps.len()).ok()?;
            let (matched, pattern) = match closure.matched {
                Some((step, pattern)) => (step, u32::try_from(pattern).ok()?),
                None => (NO_STEP, NO_PATTERN),
            };
            self.steps.push(matched);
            self.steps.push(Step { first_write: pattern, ..NO_STEP });
            self.steps.extend(&closure.steps);
        }
        if steps != PLAIN {
            next |= STEPPED;
        }
        if next & STATE == DEAD || closure.matched.is_some() {
            next |= MARK;
        } else if next & STATE == from {
            next |= LOOP;
            steps = self.loop_steps(from, next, steps);
        }
        Some((next, steps))
    }

    /// The steps of a transition that leads to the state itself: another one's, if those
    /// are the same.
    fn loop_steps(&self, state: u32, next: u32, steps: u32) -> u32 {
        if steps == PLAIN {
            return PLAIN;
        }
        let row = &self.table[self.row(state)..][..self.width];
        let mut loops = row.iter().filter(|entry| next_of(**entry) == next);
        let threads = self.states[state as usize].threads.len();
        let of = |steps: u32| &self.steps[steps as usize + THREADS_AT..][..threads];
        let writes = |step: &Step| {
            let first = step.first_write as usize;
            &self.writes[first..first + usize::from(step.writes)]
        };
        let same = |(a, b): (&Step, &Step)| a.parent == b.parent && writes(a) == writes(b);
        let other = loops.find(|other| of(steps_of(**other)).iter().zip(of(steps)).all(same));
        other.map_or(steps, |other| steps_of(*other))
    }

    /// Where a state's row begins.
    #[inline]
    fn row(&self, state: u32) -> usize {
        state as usize * self.width
    }

    fn size(&self) -> usize {
        self.table.len() * 8
            + self.steps.len() * 8
            + self.hints.len() * 24
            + self.kernels.len() * 8
            + self.writes.len() * 2
    }

    fn clear(&mut self) {
        self.table.clear();
        self.leaps.clear();
        self.hints.clear();
        self.states.clear();
        self.steps.clear();
        // What is plain has no steps, and no match.
        self.steps.extend([NO_STEP, Step { first_write: NO_PATTERN, ..NO_STEP }]);
        self.writes.clear();
        self.kernels.clear();
        self.known.clear();
        self.starts.fill(UNKNOWN);
        // The state without threads comes first.
        let _ = self.add(&[], 0);
    }
}

/// What is known before a byte that comes after this one.
fn facts_after(byte: u8) -> u8 {
    let mut facts = 0;
    if byte == b'\n' {
        facts |= before::LINE;
    }
    if byte == b'_' || byte.is_ascii_alphanumeric() {
        facts |= before::WORD;
    }
    if !byte.is_ascii() {
        facts |= before::WIDE;
    }
    facts
}

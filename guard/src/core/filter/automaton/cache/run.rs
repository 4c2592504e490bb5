//! The way of one text through the states.
//!
//! Input: a text. Output: where it matches, and the path that led there. Invariant: what
//! is passed over at once leads where its bytes lead one by one.
//!
//! Most of a log line are words that its daemon always says. So a state remembers what
//! eight bytes came after it and where they led: where they come again, one comparison
//! stands for eight steps. In a state that every printable character leaves as it is,
//! whole stretches of them are passed over at once.

use super::super::closure::Step;
use super::super::program::Program;
use super::{
    Cache, DEAD, FLAGS, Found, GIVE_UP, MARK, NO_PATTERN, NO_STEP, PATH, STEPPED, Stop, UNKNOWN,
};

/// Bytes that are passed over at once.
const LEAP: usize = 8;

/// What follows the transitions of a state in its row: the bytes of a leap, first half and
/// second half, the state it leads to ([`UNKNOWN`]: none is known), and its steps in
/// [`Cache::leaps`]: where they begin, times 16, and how many they are.
pub(super) const LEAP_WORDS: usize = 4;
/// And then: how often it led to itself, up to [`OFTEN`], and what came of that.
pub(super) const CALM_WORDS: usize = 1;
const OFTEN: u32 = 16;
/// Every printable character of ASCII leads to the state itself.
const CALM: u32 = OFTEN;
const NOT_CALM: u32 = OFTEN + 1;

/// Steps of leaps that are remembered.
const LEAP_STEPS: usize = 1 << 16;

/// Of so many leaps that are not known one takes the place of another.
const RELEARN: u32 = 16;
/// And so many in all, for what the other one took up is not used again.
const MOST_RELEARNED: u32 = 1_024;

impl Cache {
    /// Where the first expression from `from` on matches.
    pub(super) fn run(
        &mut self,
        program: &Program,
        text: &[u8],
        from: usize,
    ) -> Result<Option<Found>, Stop> {
        let mut state = self.start(program, from)?;
        let mut found = None;
        self.path.clear();
        let mut at = 0;
        loop {
            let ahead: Option<&[u8; LEAP]> = text[at.min(text.len())..].first_chunk();
            if let Some(next) = ahead.and_then(|bytes| self.leap(program, state, bytes, at)) {
                state = next;
                at += LEAP;
                continue;
            }
            let (begin, path) = (state, self.path.len());
            let mut can_leap = true;
            let last = at + LEAP;
            while at < last {
                let class = match text.get(at) {
                    Some(byte) => usize::from(program.classes[usize::from(*byte)]),
                    None => program.end_class(),
                };
                let mut next = self.table[state as usize + class];
                if next >= STEPPED {
                    if next == UNKNOWN {
                        next = self.compute(program, state, class)?;
                    }
                    if next == GIVE_UP {
                        return Err(Stop);
                    }
                    let steps = self.steps_at[state as usize + class];
                    if next & MARK != 0 {
                        can_leap = false;
                        if self.steps[steps as usize].1 != NO_PATTERN {
                            let steps = steps as usize;
                            found = Some(Found { at, steps, path: self.path.len() });
                        }
                        if next & !FLAGS == DEAD {
                            return Ok(found);
                        }
                    }
                    if next & STEPPED != 0 && self.path.len() < PATH {
                        // Texts are shorter than 2^30 bytes.
                        self.path.push((u32::try_from(at).map_err(|_| Stop)?, steps));
                    }
                    next &= !FLAGS;
                }
                at += 1;
                if next == state {
                    can_leap = false;
                    at += self.stay(program, state, &text[at..])?;
                    break;
                }
                state = next;
            }
            if let Some(bytes) = ahead.filter(|_| can_leap) {
                self.learn(program, begin, bytes, at - LEAP, (state, path));
            }
        }
    }

    /// Passes over the next bytes at once, if it is known where they lead to.
    #[inline]
    fn leap(
        &mut self,
        program: &Program,
        state: u32,
        bytes: &[u8; LEAP],
        at: usize,
    ) -> Option<u32> {
        let place = state as usize + program.end_class() + 1;
        let leap: &[u32; LEAP_WORDS] = self.table[place..].first_chunk()?;
        let &[first, second, next, steps] = leap;
        if [first, second] != halves(bytes) || next == UNKNOWN {
            return None;
        }
        let (begin, count) = ((steps >> 4) as usize, (steps & 15) as usize);
        for &(after, steps) in &self.leaps[begin..begin + count] {
            if self.path.len() < PATH {
                let at = u32::try_from(at).ok()? + u32::from(after);
                self.path.push((at, steps));
            }
        }
        Some(next)
    }

    /// Remembers that these bytes at a place of the text led from one state to another,
    /// with the steps that the path has from a number on.
    fn learn(
        &mut self,
        program: &Program,
        state: u32,
        bytes: &[u8; LEAP],
        at: usize,
        (next, path): (u32, usize),
    ) {
        self.unknown_leaps = self.unknown_leaps.wrapping_add(1);
        let place = state as usize + program.end_class() + 1;
        let known = self.table[place + 2] != UNKNOWN;
        let steps = &self.path[path..];
        let may_relearn =
            self.unknown_leaps.is_multiple_of(RELEARN) && self.relearned < MOST_RELEARNED;
        if (known && !may_relearn)
            || self.leaps.len() + steps.len() > LEAP_STEPS
            || self.path.len() >= PATH
        {
            return;
        }
        let begin = self.leaps.len();
        let composed = self.compose(next, path);
        let steps = composed.as_ref().map_or(&self.path[path..], |one| one.as_slice());
        let after = |place: u32| u8::try_from(place as usize - at).unwrap_or(u8::MAX);
        self.leaps.extend(steps.iter().map(|&(place, steps)| (after(place), steps)));
        self.relearned += u32::from(known);
        let Ok(chain) = u32::try_from(begin << 4 | steps.len()) else { return };
        let [first, second] = halves(bytes);
        self.table[place..place + LEAP_WORDS].copy_from_slice(&[first, second, next, chain]);
    }

    /// The steps that the path has from a number on, up to a state, as one; nothing if one
    /// of them writes, for then its place counts.
    fn compose(&mut self, state: u32, path: usize) -> Option<Vec<(u32, u32)>> {
        let &(at, _) = self.path.get(path)?;
        let threads = self.states[state as usize / self.width].threads.len();
        let mut composed = vec![NO_STEP];
        for place in 0..threads {
            let mut thread = place;
            for &(_, steps) in self.path[path..].iter().rev() {
                let step = self.steps[steps as usize + 1 + thread].0;
                if step.writes != 0 {
                    return None;
                }
                thread = usize::from(step.parent);
            }
            let parent = u16::try_from(thread).ok()?;
            composed.push((Step { parent, writes: 0, first_write: 0 }, NO_PATTERN));
        }
        let plain = (0..).zip(&composed[1..]).all(|(place, (step, _))| step.parent == place);
        if plain {
            return Some(Vec::new());
        }
        let steps = u32::try_from(self.steps.len()).ok()?;
        self.steps.append(&mut composed);
        Some(vec![(at, steps)])
    }

    /// How many of the next bytes leave a state as it is. That depends only on the bytes.
    fn stay(&mut self, program: &Program, state: u32, text: &[u8]) -> Result<usize, Stop> {
        let place = state as usize + self.calm;
        if self.table[place] < OFTEN {
            self.table[place] += 1;
            if self.table[place] == OFTEN && !self.is_calm(program, state)? {
                self.table[place] = NOT_CALM;
            }
        }
        let mut stayed = 0;
        if self.table[place] == CALM {
            let printable = |chunk: &&[u8; 16]| {
                chunk.iter().fold(true, |all, byte| all & (byte.wrapping_sub(b' ') < 0x60))
            };
            stayed = text.as_chunks().0.iter().take_while(printable).count() * 16;
        }
        let row = &self.table[state as usize..][..self.width];
        let stays = |byte: &u8| row[usize::from(program.classes[usize::from(*byte)])] == state;
        let rest = &text[stayed..];
        Ok(stayed + rest.iter().position(|byte| !stays(byte)).unwrap_or(rest.len()))
    }

    /// Whether every byte from the space to the end of ASCII leaves a state as it is.
    #[cold]
    fn is_calm(&mut self, program: &Program, state: u32) -> Result<bool, Stop> {
        let place = |byte: u8| state as usize + usize::from(program.classes[usize::from(byte)]);
        let leads_away = |next: u32| next != UNKNOWN && next != state;
        if (b' '..0x80).any(|byte| leads_away(self.table[place(byte)])) {
            return Ok(false);
        }
        for byte in b' '..0x80 {
            let class = place(byte) - state as usize;
            if self.table[place(byte)] == UNKNOWN && self.compute(program, state, class)? != state {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The bytes of a leap as a row has them.
#[inline]
fn halves(bytes: &[u8; LEAP]) -> [u32; 2] {
    let &[a, b, c, d, e, f, g, h] = bytes;
    [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])]
}

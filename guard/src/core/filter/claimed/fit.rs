//! Whether a text is what a graph of steps describes, and where its groups are.
//!
//! Input: steps and a text. Output: the spans of the groups, as the expression would
//! capture them. Invariant: the steps are followed in the order of a backtracking
//! search, whose effort is bounded: a text that takes more is left to the automaton.

use super::super::expression::Span;
use super::steps::{GROUPS, Length, Place, Run, Step, Steps};

/// The spans of groups, by their place among those that are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Groups {
    spans: [(u32, u32); GROUPS],
    /// A bit for each that has one.
    noted: u8,
}

impl Groups {
    /// The span of a group, if it took part.
    #[inline]
    pub(super) fn span(&self, group: usize) -> Option<Span> {
        let (start, end) = self.spans[group];
        (self.noted >> group & 1 == 1).then_some(start as usize..end as usize)
    }

    #[inline]
    fn note(&mut self, group: usize, start: usize, end: usize) {
        // Texts are shorter than 4 GiB.
        let place = |place: usize| u32::try_from(place).unwrap_or(u32::MAX);
        self.spans[group] = (place(start), place(end));
        self.noted |= 1 << group;
    }
}

/// What came of a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    Fits,
    Not,
    /// It took too much effort to tell.
    Unknown,
}

/// Bytes that may be looked at: so many, and so many more for each byte of the text.
const EFFORT: usize = 512;
const EFFORT_PER_BYTE: usize = 16;

/// Bytes of the longest text that is tried. OpenSSH's messages are no longer, and so the
/// recursion is at most about 1,000 calls deep.
const LONGEST: usize = 1 << 10;

/// Bytes as which one choice counts.
const CHOICE: usize = 16;

struct Try<'t> {
    steps: &'t Steps,
    text: &'t [u8],
    groups: &'t mut Groups,
    /// Bytes that may still be looked at. Once there is none, nothing fits any more.
    effort: usize,
}

impl Steps {
    /// Tries a text from `at` on. The groups mean nothing unless it fits.
    pub(super) fn fit(&self, text: &str, at: usize, groups: &mut Groups) -> Fit {
        if text.len() > LONGEST {
            return Fit::Unknown;
        }
        let effort = EFFORT + text.len() * EFFORT_PER_BYTE;
        groups.noted = 0;
        let mut search = Try { steps: self, text: text.as_bytes(), groups, effort };
        let fits = search.fits(self.first, at);
        match (search.effort, fits) {
            (0, _) => Fit::Unknown,
            (_, true) => Fit::Fits,
            (_, false) => Fit::Not,
        }
    }
}

impl Try<'_> {
    /// Whether the text fits from `at` on.
    fn fits(&mut self, mut place: Place, mut at: usize) -> bool {
        let steps = self.steps;
        loop {
            match &steps.steps[usize::from(place)] {
                Step::End => return at == self.text.len(),
                Step::Literal { literal, next } => {
                    if !literal.stands(self.text, at) {
                        return false;
                    }
                    (place, at) = (*next, at + literal.bytes().len());
                }
                Step::OneOf { literals, next } => {
                    let mut standing = literals.iter();
                    let Some(literal) = standing.find(|literal| literal.stands(self.text, at))
                    else {
                        return false;
                    };
                    (place, at) = (*next, at + literal.bytes().len());
                }
                Step::Choice { preferred, other } => {
                    let byte = self.text.get(at).copied();
                    if !steps.begins(*preferred).allows(byte) {
                        place = *other;
                    } else if !steps.begins(*other).allows(byte) {
                        place = *preferred;
                    } else {
                        if !self.spend(CHOICE) {
                            return false;
                        }
                        let noted = self.groups.noted;
                        if self.fits(*preferred, at) {
                            return true;
                        }
                        self.groups.noted = noted;
                        place = *other;
                    }
                }
                step @ Step::Before { run, .. } => return self.before(run, step, at),
                Step::Run { run, next } => {
                    let Some(length) = self.length(run, at) else { return false };
                    let end = at + length;
                    match run.length {
                        Length::One | Length::All => {
                            self.note(run, at, end);
                            (place, at) = (*next, end);
                        }
                        Length::Most => return self.most(run, *next, at, end),
                        Length::Fewest => return self.fewest(run, *next, at, end),
                    }
                }
            }
        }
    }

    /// How many bytes a run could take; nothing if those are too few.
    #[inline]
    fn length(&mut self, run: &Run, at: usize) -> Option<usize> {
        let mut rest = self.text.get(at..)?;
        if run.length == Length::One {
            rest = rest.get(..1)?;
        }
        let length = run.set.run(rest);
        (length >= run.least && self.spend(length)).then_some(length)
    }

    /// Whether the text fits where a run from `start` is followed by a literal, a run
    /// within, and another literal; the last place first.
    fn before(&mut self, run: &Run, step: &Step, start: usize) -> bool {
        let Step::Before { literals, within, next, .. } = step else { return false };
        let [first, second] = &**literals;
        let noted = self.groups.noted;
        let low = start + run.least + first.bytes().len() + within.least;
        let mut high = self.text.len();
        loop {
            let found = second.last(self.text, low, high);
            let looked_at = high.saturating_sub(found.unwrap_or(low));
            let Some(at) = found.filter(|_| self.spend(looked_at + CHOICE)) else { return false };
            let begin = within.set.begin(&self.text[..at]);
            if !self.spend(at - begin) {
                return false;
            }
            let end = begin.checked_sub(first.bytes().len());
            if let Some(end) = end.filter(|end| *end >= start + run.least)
                && begin < at
                && first.stands(self.text, end)
            {
                self.note(run, start, end);
                self.note(within, begin, at);
                if self.fits(*next, at + second.bytes().len()) {
                    return true;
                }
                self.groups.noted = noted;
            }
            if at == low {
                return false;
            }
            high = at - 1;
        }
    }

    /// Whether the text fits where a run from `start` ends by `end`, the last place first.
    fn most(&mut self, run: &Run, next: Place, start: usize, mut end: usize) -> bool {
        let steps = self.steps;
        let low = start + run.least;
        let noted = self.groups.noted;
        loop {
            let (found, next, after) = match &steps.steps[usize::from(next)] {
                Step::Literal { literal, next } => {
                    (literal.last(self.text, low, end), *next, literal.bytes().len())
                }
                _ => {
                    let begins = steps.begins(next);
                    let may = |at: &usize| begins.allows(self.text.get(*at).copied());
                    ((low..=end).rev().find(may), next, 0)
                }
            };
            let looked_at = end - found.unwrap_or(low);
            let Some(at) = found.filter(|_| self.spend(looked_at + CHOICE)) else { return false };
            self.note(run, start, at);
            if self.fits(next, at + after) {
                return true;
            }
            self.groups.noted = noted;
            if at == low {
                return false;
            }
            end = at - 1;
        }
    }

    /// The same, the first place first.
    fn fewest(&mut self, run: &Run, next: Place, start: usize, end: usize) -> bool {
        let steps = self.steps;
        let begins = steps.begins(next);
        let noted = self.groups.noted;
        for at in start + run.least..=end {
            if !begins.allows(self.text.get(at).copied()) {
                continue;
            }
            if !self.spend(CHOICE) {
                return false;
            }
            self.note(run, start, at);
            if self.fits(next, at) {
                return true;
            }
            self.groups.noted = noted;
        }
        self.spend(end - start);
        false
    }

    #[inline]
    fn note(&mut self, run: &Run, start: usize, end: usize) {
        if let Some(group) = run.group {
            self.groups.note(group, start, end);
        }
    }

    /// Whether there is so much effort left, which is then spent.
    #[inline]
    fn spend(&mut self, effort: usize) -> bool {
        self.effort = self.effort.saturating_sub(effort);
        self.effort > 0
    }
}

#[cfg(test)]
mod tests;

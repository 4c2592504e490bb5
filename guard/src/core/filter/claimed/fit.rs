//! Whether a text is what a graph of steps describes, and where its groups are.
//!
//! Input: steps and a text. Output: the spans of the groups, as the expression would
//! capture them. Invariant: the steps are followed in the order of a backtracking
//! search, whose effort is bounded: a text that takes more is left to the automaton.

use super::super::expression::Span;
use super::steps::{GROUPS, Kind, Length, Place, Run, Set, Steps};

/// The spans of groups, by their place among those that are wanted.
pub(super) type Groups = [Option<(u32, u32)>; GROUPS];

/// What came of a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    Fits(Groups),
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
    groups: Groups,
    /// Bytes that may still be looked at. Once there is none, nothing fits any more.
    effort: usize,
}

impl Steps {
    /// Tries a text from `at` on.
    pub(super) fn fit(&self, text: &str, at: usize) -> Fit {
        if text.len() > LONGEST {
            return Fit::Unknown;
        }
        let effort = EFFORT + text.len() * EFFORT_PER_BYTE;
        let mut search =
            Try { steps: self, text: text.as_bytes(), groups: [None; GROUPS], effort };
        let fits = search.fits(self.first, at);
        match (search.effort, fits) {
            (0, _) => Fit::Unknown,
            (_, true) => Fit::Fits(search.groups),
            (_, false) => Fit::Not,
        }
    }
}

impl Try<'_> {
    /// Whether the text fits from `at` on. The groups mean nothing if not.
    fn fits(&mut self, mut place: Place, mut at: usize) -> bool {
        let steps = self.steps;
        loop {
            match &steps.steps[usize::from(place)].kind {
                Kind::End => return at == self.text.len(),
                Kind::Literal { literal, next } => {
                    if !begins(&self.text[at..], literal) {
                        return false;
                    }
                    (place, at) = (*next, at + literal.len());
                }
                Kind::Choice { preferred, other } => {
                    let byte = self.text.get(at).copied();
                    let may = |place: Place| steps.steps[usize::from(place)].begins.allows(byte);
                    if !may(*preferred) {
                        place = *other;
                    } else if !may(*other) {
                        place = *preferred;
                    } else {
                        if !self.spend(CHOICE) {
                            return false;
                        }
                        let kept = self.groups;
                        if self.fits(*preferred, at) {
                            return true;
                        }
                        self.groups = kept;
                        place = *other;
                    }
                }
                Kind::Run { run, next } => {
                    let Some(length) = self.length(run, at) else { return false };
                    let low = at + run.least;
                    let end = at + length;
                    match run.length {
                        Length::One | Length::All => {
                            self.note(run, at, end);
                            (place, at) = (*next, end);
                        }
                        Length::Most => return self.most(run, *next, at, low..end),
                        Length::Fewest => return self.fewest(run, *next, at, low..end),
                    }
                }
            }
        }
    }

    /// How many bytes a run could take; nothing if those are too few.
    fn length(&mut self, run: &Run, at: usize) -> Option<usize> {
        let rest = &self.text[at..];
        if run.length == Length::One {
            let Set::Of(set) = run.set else { return None };
            return rest.first().filter(|byte| set.has(**byte)).map(|_| 1);
        }
        let length = match run.set {
            Set::All => rest.len(),
            Set::AllBut(other) => rest.iter().take_while(|byte| **byte != other).count(),
            Set::Of(set) => rest.iter().take_while(|byte| set.has(**byte)).count(),
        };
        let looked_at = if matches!(run.set, Set::All) { 0 } else { length };
        (self.spend(looked_at) && length >= run.least).then_some(length)
    }

    /// Whether the text fits where a run ends between these places, the last first.
    fn most(&mut self, run: &Run, next: Place, start: usize, ends: Span) -> bool {
        let steps = self.steps;
        let step = &steps.steps[usize::from(next)];
        let kept = self.groups;
        let mut end = ends.end;
        loop {
            let rest = &self.text[ends.start..];
            let end_of_rest = end - ends.start;
            let (found, next, after) = match &step.kind {
                Kind::Literal { literal, next } => {
                    (last(rest, literal, end_of_rest), *next, literal.len())
                }
                _ => {
                    let may = |at: &usize| step.begins.allows(rest.get(*at).copied());
                    ((0..=end_of_rest).rev().find(may), next, 0)
                }
            };
            let Some(found) = found else { return self.spend(end_of_rest) && false };
            if !self.spend(end_of_rest - found + CHOICE) {
                return false;
            }
            let at = ends.start + found;
            self.note(run, start, at);
            if self.fits(next, at + after) {
                return true;
            }
            self.groups = kept;
            if found == 0 {
                return false;
            }
            end = at - 1;
        }
    }

    /// The same, the first place first.
    fn fewest(&mut self, run: &Run, next: Place, start: usize, ends: Span) -> bool {
        let steps = self.steps;
        let begins = steps.steps[usize::from(next)].begins;
        let kept = self.groups;
        for at in ends.start..=ends.end {
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
            self.groups = kept;
        }
        self.spend(ends.len());
        false
    }

    #[inline]
    fn note(&mut self, run: &Run, start: usize, end: usize) {
        if let Some(group) = run.group {
            // Texts are shorter than 4 GiB.
            let place = |place: usize| u32::try_from(place).unwrap_or(u32::MAX);
            self.groups[group] = Some((place(start), place(end)));
        }
    }

    /// Whether there is so much effort left, which is then spent.
    #[inline]
    fn spend(&mut self, effort: usize) -> bool {
        self.effort = self.effort.saturating_sub(effort);
        self.effort > 0
    }
}

/// Whether a text begins with a literal, which is not empty.
#[inline]
fn begins(text: &[u8], literal: &[u8]) -> bool {
    text.first() == literal.first() && text.starts_with(literal)
}

/// The last place, up to `end`, where a literal stands.
fn last(text: &[u8], literal: &[u8], end: usize) -> Option<usize> {
    let end = end.min(text.len().checked_sub(literal.len())?);
    let first = *literal.first()?;
    let mut found = end + 1;
    loop {
        found = text[..found].iter().rposition(|byte| *byte == first)?;
        if text[found..].starts_with(literal) {
            return Some(found);
        }
    }
}

#[cfg(test)]
mod tests;

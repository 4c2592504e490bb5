//! Lines in which nothing can match, turned away before the search.
//!
//! Input: a line, and whether those before it matched. Output: whether it need not be searched.
//! Invariant: of what is turned away the search would find nothing either.

use std::sync::Arc;

use super::memory::Memory;
use super::ordered::Ordered;
use super::prefilter::{AS_IT_IS, Sieve};
use super::{Expressions, Filter};

/// Lines that match one after the other until the next one is not sifted: where most match, the
/// sieve only costs.
const STREAK: u8 = 4;

impl Expressions {
    /// With a sieve, if one would change nothing but the time that it takes.
    pub(super) fn sieved(mut self) -> Self {
        if self.max_lines <= 1 && !self.ignores_first() {
            self.sieve = Sieve::new([self.required()], AS_IT_IS);
        }
        self
    }

    /// Whether a line is one of those.
    #[inline]
    pub(super) fn turns_away(&self, line: &str, memory: &mut Memory) -> bool {
        let turned_away = memory.matches < STREAK
            && self.sieve.as_ref().is_some_and(|sieve| !sieve.lets_through(line));
        if turned_away {
            memory.matches = 0;
        }
        turned_away
    }

    /// Of what something must match: `failregex`, and `prefregex`, if there is one.
    pub(super) fn required(&self) -> (&Ordered, Option<&Ordered>) {
        (&self.fail, self.prefix.as_ref())
    }

    /// Whether `ignoreregex` is tried before all else: few of them are, as Fail2Ban does.
    pub(super) fn ignores_first(&self) -> bool {
        !self.ignore.is_empty() && self.ignore.len() + 2 < self.fail.len()
    }
}

impl Filter {
    /// The same filter, its expressions tried one after the other. It finds the same, a
    /// hundred times slower, and so is what the automata are held against.
    pub fn one_by_one(&self) -> Self {
        let Expressions { prefix, fail, ignore, max_lines, dates, use_dns, sieve: _ } = &*self.0;
        Self(Arc::new(Expressions {
            prefix: prefix.as_ref().map(Ordered::one_by_one),
            fail: fail.one_by_one(),
            ignore: ignore.one_by_one(),
            max_lines: *max_lines,
            dates: dates.clone(),
            use_dns: *use_dns,
            sieve: None,
        }))
    }
}

impl Memory {
    /// Takes note of whether the last line matched.
    #[inline]
    pub(super) fn note_match(&mut self, found: bool) {
        self.matches = if found { self.matches.saturating_add(1) } else { 0 };
    }
}

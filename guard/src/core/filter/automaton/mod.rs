//! Many ordered expressions searched as one, with what their groups capture, in a
//! nanosecond or two a byte.
//!
//! Input: the expressions of a filter in their order, and a text. Output: the first of
//! them that matches, where it does so leftmost-first, and the spans of its wanted
//! groups. Invariant: the answer is what trying one expression after the other with the
//! `regex` crate would give; what cannot be answered so is [`Outcome::Unknown`], and a
//! match that only may be one says so.
//!
//! ```text
//! expressions ─► Program (the NFA, who wants which group, what was relaxed)
//! text ─► Cache (states are ordered lists of NFA states, found as texts need them)
//!      ─► path of states ─► walk (backwards along the winner's parents) ─► spans
//! ```
//!
//! A state of the automaton is the list of NFA states that a backtracking search would
//! have on its stack, best first. Each transition notes for every member of the new list
//! which member of the old one it came from and which groups began or ended on the way.
//! So a search needs one table lookup a byte and keeps nothing but the states it went
//! through; groups are read off afterwards, for the winner alone.

mod cache;
mod closure;
mod program;
mod relax;
mod walk;

#[cfg(test)]
mod tests;

use std::sync::{Mutex, MutexGuard, PoisonError};

use cache::Cache;
pub(super) use program::Pattern;
use program::Program;
pub(super) use relax::{Relaxed, relax};

/// What one search found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// No expression matches.
    Nothing,
    /// This one, counted from 0, is the first that matches; its spans are filled in.
    Match(usize),
    /// None before this one matches. Whether this one does must be asked of the
    /// expression itself.
    Perhaps(usize),
    /// The automaton cannot tell: too long a text, too many states, or a word boundary
    /// beside a character that is not ASCII.
    Unknown,
}

/// The spans of the winner's wanted groups, kept for its allocation.
#[derive(Clone, Debug, Default)]
pub(super) struct Spans(Vec<u32>);

impl Spans {
    const NONE: u32 = u32::MAX;

    /// The span of a wanted group, by its place among them.
    pub(super) fn span(&self, group: usize) -> Option<std::ops::Range<usize>> {
        self.ends(group).map(|(start, end)| start as usize..end as usize)
    }

    /// Its begin and its end.
    pub(super) fn ends(&self, group: usize) -> Option<(u32, u32)> {
        let &[start, end] = self.0.as_chunks().0.get(group)?;
        (start != Self::NONE && end != Self::NONE).then_some((start, end))
    }

    fn clear(&mut self, groups: usize) {
        if self.0.len() != groups * 2 {
            self.0.resize(groups * 2, Self::NONE);
        }
        self.0.fill(Self::NONE);
    }
}

/// A program and its cache, for several threads.
#[derive(Debug)]
pub(super) struct Automaton {
    program: Program,
    cache: Mutex<(Cache, Spans)>,
}

impl Automaton {
    /// Compiles ordered expressions; `None` when one of them is beyond an automaton or
    /// all together are larger than `bytes`.
    pub(super) fn new(patterns: &[Pattern<'_>], bytes: usize) -> Option<Self> {
        let program = Program::new(patterns, bytes)?;
        Some(Self { cache: Mutex::new((Cache::new(&program), Spans::default())), program })
    }

    /// The first expression, from number `from` on, that matches; and, if that is sure,
    /// what `read` makes of its number and its spans.
    #[inline]
    pub(super) fn search<T>(
        &self,
        text: &str,
        from: usize,
        read: impl FnOnce(usize, &Spans) -> T,
    ) -> (Outcome, Option<T>) {
        let mut guard = self.lock();
        let (cache, spans) = &mut *guard;
        let outcome = cache.search(&self.program, text, from, Some(spans));
        let read = match outcome {
            Outcome::Match(number) => Some(read(number, spans)),
            _ => None,
        };
        (outcome, read)
    }

    /// The same without spans.
    pub(super) fn first(&self, text: &str, from: usize) -> Outcome {
        self.lock().0.search(&self.program, text, from, None)
    }

    fn lock(&self) -> MutexGuard<'_, (Cache, Spans)> {
        // A panic aborts the agent, and where it does not (in tests) the cache is whole.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! What a winner's way through the text says about its groups.
//!
//! Input: the steps of the winner, the last one first. Output: the spans of its groups.
//! Invariant: the last value that was written to a slot counts, and so the first that is
//! met going backwards.

use super::Spans;
use super::closure::Step;
use super::program::{CHECK, Program};

/// One walk backwards.
pub(super) struct Walk<'w> {
    pub program: &'w Program,
    pub text: &'w str,
    pub spans: &'w mut [u32],
    pub writes: &'w [u16],
}

impl Walk<'_> {
    /// Notes what a step wrote before the byte `at`. Returns whether its checks hold.
    #[inline]
    pub(super) fn note(&mut self, step: &Step, at: usize) -> bool {
        self.note_all(step, at, at)
    }

    /// The same for a step that was taken before each byte from `first` to `last`.
    #[inline]
    pub(super) fn note_all(&mut self, step: &Step, first: usize, last: usize) -> bool {
        let begin = step.first_write as usize;
        // Texts are shorter than 2^30 bytes.
        let place = u32::try_from(last).unwrap_or(Spans::NONE);
        for &write in &self.writes[begin..begin + usize::from(step.writes)] {
            if write >= CHECK {
                if !self.holds(write, first, last) {
                    return false;
                }
                continue;
            }
            let slot = &mut self.spans[usize::from(write)];
            if *slot == Spans::NONE {
                *slot = place;
            }
        }
        true
    }

    #[inline(never)]
    fn holds(&self, check: u16, first: usize, last: usize) -> bool {
        let check = &self.program.checks[usize::from(check - CHECK)];
        check.holds_throughout(self.text, first..=last)
    }
}

//! All filters that read one source at once: which of them a line may concern at all.
//!
//! Input: filters, and then lines. Output: the filters that may find something in a line,
//! for about a nanosecond a byte, however many filters there are. Invariant: a filter
//! that is not a candidate would find nobody; it is never the other way round.
//!
//! Why that is so: each expression requires one of a few literals. What the filter
//! searches is the line, or a part of it, or the line with some bytes blanked by one that
//! no literal holds, so a literal that it finds stands in the line too. Where a filter
//! cuts a date out of the line, the literal may span the place of the date; then its
//! first or its second half stands in the line, and for such lines the halves are
//! looked for. Of a journal's entry it can be asked before host and process id are known
//! ([`glance`]).
//!
//! What an `ignoreregex` says about a line in which no `failregex` can match is not
//! asked, and filters that look at several lines together are always candidates.

mod glance;
mod literals;
mod sieve;

use std::collections::BTreeMap;

use aho_corasick::{AhoCorasick, AhoCorasickKind};

use super::Filter;
use super::ordered::Ordered;
use crate::core::entry::Dating;

use literals::{Asked, Case};

pub use glance::Glance;
pub(super) use sieve::Sieve;

/// `prefregex`, and any `failregex`: both must be possible.
const PREFIX: u8 = 1;
const FAIL: u8 = 2;

/// Bytes of all literals up to which they make a table of states.
const TABLE: usize = 32 << 10;

/// The filters of one source, prefiltered together.
#[derive(Debug)]
pub struct Prefilter {
    known: Literals,
    cut: Literals,
}

#[derive(Debug)]
struct Literals {
    sieve: Option<Sieve>,
    automaton: Option<AhoCorasick>,
    /// By literal.
    meanings: Vec<Vec<Meaning>>,
    /// By filter: what is possible whatever the line.
    always: Vec<u8>,
}

/// That a filter's prefix or failure is possible where a literal stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Meaning {
    filter: u32,
    what: u8,
    /// Only where it stands at the very start.
    at_start: bool,
}

/// A literal that is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Piece {
    text: Vec<u8>,
    at_start: bool,
}

/// What is looked for in a line.
#[derive(Clone, Copy)]
pub(super) struct View {
    asked: Asked,
    /// What is looked for instead of the texts of which one is required; nothing if it
    /// cannot be told.
    pieces: fn(Vec<Vec<u8>>) -> Option<Vec<Piece>>,
}

/// The line as the filters see it.
pub(super) const AS_IT_IS: View =
    View { asked: ANY, pieces: |texts| Some(texts.into_iter().map(anywhere).collect()) };

/// The line with the date in it.
const DATED: View = View { asked: ANY, pieces: halves };

const ANY: Asked = Asked { useful: |_| true, case: Case::Lower };

/// The filters that a line may concern, by their place.
#[derive(Clone, Debug, Default)]
pub struct Candidates(Vec<u8>);

impl Candidates {
    /// Whether a filter is one.
    pub fn contains(&self, filter: usize) -> bool {
        self.0.get(filter) == Some(&(PREFIX | FAIL))
    }
}

impl Prefilter {
    /// Puts the literals of these filters together.
    pub fn new(filters: &[&Filter]) -> Self {
        Self { known: Literals::new(filters, AS_IT_IS), cut: Literals::new(filters, DATED) }
    }

    /// Finds out which filters a line may concern. Allocates nothing from the second
    /// line on.
    pub fn candidates(&self, line: &str, dating: Dating, candidates: &mut Candidates) {
        let literals = match dating {
            Dating::Known => &self.known,
            Dating::InLine => &self.cut,
        };
        literals.begin(candidates);
        if !literals.may_stand_in(line) {
            return;
        }
        let Some(automaton) = &literals.automaton else { return };
        for found in automaton.find_overlapping_iter(line) {
            for meaning in &literals.meanings[found.pattern().as_usize()] {
                candidates.0[meaning.filter as usize] |= meaning.what;
            }
        }
    }
}

impl Literals {
    /// What is possible before anything is found.
    fn begin(&self, candidates: &mut Candidates) {
        candidates.0.clear();
        candidates.0.extend_from_slice(&self.always);
    }

    /// Whether a text holds anything that makes more possible.
    fn may_stand_in(&self, text: &str) -> bool {
        self.sieve.as_ref().is_none_or(|sieve| sieve.lets_through(text))
    }

    fn new(filters: &[&Filter], view: View) -> Self {
        let mut by_text: BTreeMap<Vec<u8>, Vec<Meaning>> = BTreeMap::new();
        let mut always = Vec::new();
        for (number, filter) in (0..).zip(filters) {
            let expressions = &filter.0;
            let mut possible = 0;
            let parts = [(PREFIX, expressions.prefix.as_ref()), (FAIL, Some(&expressions.fail))];
            for (what, expressions) in parts {
                let texts = expressions.and_then(|all| required(all, view.asked));
                let pieces = texts.and_then(view.pieces).filter(|_| filter.0.max_lines <= 1);
                let Some(pieces) = pieces else {
                    possible |= what;
                    continue;
                };
                for Piece { text, at_start } in pieces {
                    let meanings = by_text.entry(text).or_default();
                    let meaning = Meaning { filter: number, what, at_start };
                    if !meanings.contains(&meaning) {
                        meanings.push(meaning);
                    }
                }
            }
            always.push(possible);
        }
        let bytes: usize = by_text.keys().map(Vec::len).sum();
        let kind =
            if bytes <= TABLE { AhoCorasickKind::DFA } else { AhoCorasickKind::ContiguousNFA };
        let automaton = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .prefilter(false)
            .kind(Some(kind))
            .build(by_text.keys())
            .ok();
        if automaton.is_none() {
            always.fill(PREFIX | FAIL);
        }
        let single = filters.iter().all(|filter| filter.0.max_lines <= 1);
        let required = filters.iter().map(|filter| filter.0.required());
        let sieve = single.then(|| Sieve::new(required, view)).flatten();
        Self { sieve, automaton, meanings: by_text.into_values().collect(), always }
    }
}

/// The literals of which one must stand in a line in which any of the expressions
/// matches.
fn required(expressions: &Ordered, asked: Asked) -> Option<Vec<Vec<u8>>> {
    let mut texts = Vec::new();
    for expression in expressions.iter() {
        let pattern = expression.pattern()?;
        let hir = regex_syntax::parse(&pattern.relaxed.text).ok()?;
        texts.extend(literals::required(&hir, asked)?);
    }
    Some(texts)
}

/// Both halves of each, where they are worth looking for.
fn halves(texts: Vec<Vec<u8>>) -> Option<Vec<Piece>> {
    let half = |text: Vec<u8>| {
        let middle = text.len() / 2;
        (middle >= 3).then(|| [&text[..middle], &text[middle..]].map(<[u8]>::to_vec))
    };
    let halves: Option<Vec<[Vec<u8>; 2]>> = texts.into_iter().map(half).collect();
    Some(halves?.into_iter().flatten().map(anywhere).collect())
}

fn anywhere(text: Vec<u8>) -> Piece {
    Piece { text, at_start: false }
}

#[cfg(test)]
mod tests;

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
//! looked for.
//!
//! What an `ignoreregex` says about a line in which no `failregex` can match is not
//! asked, and filters that look at several lines together are always candidates.

mod literals;

use std::collections::BTreeMap;

use aho_corasick::{AhoCorasick, AhoCorasickKind};

use super::Filter;
use super::ordered::Ordered;
use crate::core::entry::Dating;

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
    automaton: Option<AhoCorasick>,
    /// By literal: of which filters it makes what possible.
    meanings: Vec<Vec<(u32, u8)>>,
    /// By filter: what is possible whatever the line.
    always: Vec<u8>,
}

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
        Self { known: Literals::new(filters, false), cut: Literals::new(filters, true) }
    }

    /// Finds out which filters a line may concern. Allocates nothing from the second
    /// line on.
    pub fn candidates(&self, line: &str, dating: Dating, candidates: &mut Candidates) {
        let literals = match dating {
            Dating::Known => &self.known,
            Dating::InLine => &self.cut,
        };
        candidates.0.clear();
        candidates.0.extend_from_slice(&literals.always);
        let Some(automaton) = &literals.automaton else { return };
        for found in automaton.find_overlapping_iter(line) {
            for (filter, what) in &literals.meanings[found.pattern().as_usize()] {
                candidates.0[*filter as usize] |= what;
            }
        }
    }
}

impl Literals {
    fn new(filters: &[&Filter], cut: bool) -> Self {
        let mut by_text: BTreeMap<Vec<u8>, Vec<(u32, u8)>> = BTreeMap::new();
        let mut always = Vec::new();
        for (number, filter) in (0..).zip(filters) {
            let expressions = &filter.0;
            let mut possible = 0;
            let parts = [(PREFIX, expressions.prefix.as_ref()), (FAIL, Some(&expressions.fail))];
            for (what, expressions) in parts {
                let texts = expressions.and_then(required);
                let texts = texts.and_then(|texts| if cut { halves(&texts) } else { Some(texts) });
                let Some(texts) = texts.filter(|_| filter.0.max_lines <= 1) else {
                    possible |= what;
                    continue;
                };
                for text in texts {
                    let meanings = by_text.entry(text).or_default();
                    if !meanings.contains(&(number, what)) {
                        meanings.push((number, what));
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
        Self { automaton, meanings: by_text.into_values().collect(), always }
    }
}

/// The literals of which one must stand in a line in which any of the expressions
/// matches.
fn required(expressions: &Ordered) -> Option<Vec<Vec<u8>>> {
    let mut texts = Vec::new();
    for expression in expressions.iter() {
        let pattern = expression.pattern()?;
        let hir = regex_syntax::parse(&pattern.relaxed.text).ok()?;
        texts.extend(literals::required(&hir)?);
    }
    Some(texts)
}

/// Both halves of each, where they are worth looking for.
fn halves(texts: &[Vec<u8>]) -> Option<Vec<Vec<u8>>> {
    let half = |text: &Vec<u8>| {
        let middle = text.len() / 2;
        (middle >= 3).then(|| [text[..middle].to_vec(), text[middle..].to_vec()])
    };
    let halves: Option<Vec<[Vec<u8>; 2]>> = texts.iter().map(half).collect();
    Some(halves?.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests;

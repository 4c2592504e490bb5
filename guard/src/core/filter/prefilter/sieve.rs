//! The few literals of a few filters, looked for in many bytes at once.
//!
//! Input: what filters require, and then texts. Output: whether a text holds any literal
//! at all. Invariant: as for the prefilter, no filter would find anybody in a text that is
//! turned away.
//!
//! A filter without a `failregex` that can match, or without its `prefregex`, finds
//! nobody, so for each one of both is looked for. Only as much of a literal is looked for as
//! tells it from most texts: so there are fewer. Where there are still too many, or the
//! processor cannot do it, there is no sieve.

use std::collections::BTreeSet;

use aho_corasick::packed::{Builder, Searcher};

use super::super::ordered::Ordered;
use super::{Case, Piece, View, required};

/// Bytes of a literal that are looked for.
const BYTES: usize = 12;

/// Lets through what may concern one of its filters.
#[derive(Debug)]
pub(in super::super) struct Sieve {
    anywhere: Searcher,
    /// What counts only where a text begins with it.
    at_start: Vec<Vec<u8>>,
}

impl Sieve {
    /// A sieve for filters, of each `failregex` and `prefregex`. None if one of them may be
    /// concerned by any text.
    pub(in super::super) fn new<'f>(
        filters: impl IntoIterator<Item = (&'f Ordered, Option<&'f Ordered>)>,
        view: View,
    ) -> Option<Self> {
        let asked = super::Asked { case: Case::AsWritten, ..view.asked };
        let pieces = |all| required(all, asked).and_then(view.pieces);
        let (mut texts, mut at_start) = (BTreeSet::new(), BTreeSet::new());
        for (fail, prefix) in filters {
            for Piece { mut text, at_start: begins } in pieces(fail).or_else(|| pieces(prefix?))? {
                text.truncate(BYTES);
                let kind = if begins { &mut at_start } else { &mut texts };
                kind.insert(text);
            }
        }
        let holds = |text: &[u8], other: &[u8]| text.windows(other.len()).any(|part| part == other);
        let needed = |text: &&Vec<u8>| {
            !texts.iter().any(|other| other.len() < text.len() && holds(text, other))
        };
        let anywhere = Builder::new().extend(texts.iter().filter(needed)).build()?;
        Some(Self { anywhere, at_start: at_start.into_iter().collect() })
    }

    /// Whether a text holds any literal.
    #[inline]
    pub(in super::super) fn lets_through(&self, text: &str) -> bool {
        let text = text.as_bytes();
        // All of them begin with a space: the byte after it tells more.
        let second = |piece: &Vec<u8>| piece.get(1).is_none_or(|byte| text.get(1) == Some(byte));
        let begins = |piece: &Vec<u8>| second(piece) && text.starts_with(piece);
        self.at_start.iter().any(begins) || self.anywhere.find(text).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{FilterText, Limits};
    use super::super::{AS_IT_IS, Filter, View};
    use super::*;

    fn sieve(prefregex: &str, failregex: &[&str], view: View) -> Option<Sieve> {
        let text = FilterText {
            prefregex: prefregex.to_owned(),
            failregex: failregex.iter().map(|text| (*text).to_owned()).collect(),
            ..FilterText::default()
        };
        let filter = Filter::compile(&text, Limits::default()).expect("a filter");
        Sieve::new([filter.0.required()], view)
    }

    #[test]
    fn only_what_holds_a_literal_passes() {
        let fail = ["^[Ff]ailed login of .* from <HOST>$", "(?i)no <HOST>"];
        let sieve = sieve("", &fail, AS_IT_IS).expect("a sieve");
        for (line, passes) in [
            ("pve x: Failed login of root from 192.0.2.1", true),
            ("failed login of", true),
            ("FAILED LOGIN OF", false),
            ("NO 192.0.2.1", true),
            ("nO 192.0.2.1", true),
            ("No, 192.0.2.1", false),
            ("", false),
        ] {
            assert_eq!(sieve.lets_through(line), passes, "{line}");
        }
    }

    #[test]
    fn where_no_failregex_requires_anything_its_prefix_is_looked_for() {
        let prefix = r"^\S+ daemon: <F-CONTENT>.+</F-CONTENT>$";
        let sieve_of = |prefix| sieve(prefix, &["^<HOST>$"], AS_IT_IS);
        let sieve = sieve_of(prefix).expect("a sieve");
        assert!(sieve.lets_through("pve daemon: 192.0.2.1"));
        assert!(!sieve.lets_through("pve other: 192.0.2.1"));
        assert!(sieve_of("").is_none());
    }
}

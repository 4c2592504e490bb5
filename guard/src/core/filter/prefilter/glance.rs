//! Whether an entry of the journal may concern any filter, before all of it is known.
//!
//! Input: filters, and then of each entry its identifier and its message. Output: whether
//! any of the filters may find something in its line. Invariant: as for the prefilter,
//! where it says no, no filter would find anybody; whatever host and process the entry
//! is of.
//!
//! The line is `HOST IDENTIFIER[PID]: MESSAGE`, or the same without `[PID]`; what is looked
//! at is ` IDENTIFIER: MESSAGE`. The host's name is of letters, digits, `.`, `-` and `_`, the
//! process id of digits: the source sees to that. So a literal that stands in the line
//!
//! - stands in what is looked at, or
//! - begins in the host's name: then what follows its first space stands at the start, or
//! - has a part of `[PID]` in it: then it stands there without that part.
//!
//! A literal that could lie in the host's name or in the process id alone says nothing.
//! Where an expression requires another one as well, that is looked for; otherwise its
//! filter may always be concerned.

use std::sync::{Mutex, PoisonError};

use super::{Asked, Candidates, Case, FAIL, Filter, Literals, PREFIX, Piece, View};

/// Bytes of the shortest text that is worth looking for: anywhere, and at the start.
const SHORT: usize = 3;
const SHORT_AT_START: usize = 2;

/// The filters of the journal, of which one may be concerned.
#[derive(Debug)]
pub struct Glance {
    literals: Literals,
    /// Working space; one thread reads the journal.
    space: Mutex<Candidates>,
}

const BOTH: u8 = PREFIX | FAIL;

impl Glance {
    /// Puts the literals of these filters together.
    pub fn new(filters: &[&Filter]) -> Self {
        Self { literals: Literals::new(filters, WITHOUT_HEAD), space: Mutex::default() }
    }

    /// Whether any filter may find something in an entry's line. `text` is
    /// ` IDENTIFIER: MESSAGE`, with what is not UTF-8 and newlines as in the line; the
    /// identifier is not empty. Allocates nothing from the second entry on.
    pub fn may_concern(&self, text: &str) -> bool {
        let Self { literals, space } = self;
        if literals.always.contains(&BOTH) {
            return true;
        }
        if !literals.may_stand_in(text) {
            return false;
        }
        let mut space = space.lock().unwrap_or_else(PoisonError::into_inner);
        literals.begin(&mut space);
        let Some(automaton) = &literals.automaton else { return false };
        automaton.find_overlapping_iter(text).any(|found| {
            literals.meanings[found.pattern().as_usize()].iter().any(|meaning| {
                if meaning.at_start && found.start() > 0 {
                    return false;
                }
                let possible = &mut space.0[meaning.filter as usize];
                *possible |= meaning.what;
                *possible == BOTH
            })
        })
    }
}

/// The line without its host and its process id.
const WITHOUT_HEAD: View = View {
    asked: Asked { useful: |text| pieces(vec![text.to_vec()]).is_some(), case: Case::Lower },
    pieces,
};

/// What to look for instead of literals of the line.
fn pieces(texts: Vec<Vec<u8>>) -> Option<Vec<Piece>> {
    let mut pieces = Vec::new();
    for text in texts {
        let host = text.iter().position(|byte| !is_of_host(*byte));
        // All of it may lie in the host's name.
        let host = host?;
        if text[host] == b' ' && host > 0 {
            behind_host(&text[host..], true, &mut pieces)?;
        }
        behind_host(&text, false, &mut pieces)?;
    }
    Some(pieces)
}

/// Adds what to look for if a text stands in ` IDENTIFIER[PID]: MESSAGE`.
fn behind_host(text: &[u8], at_start: bool, pieces: &mut Vec<Piece>) -> Option<()> {
    let mut add = |parts: [&[u8]; 2]| {
        let text = parts.concat();
        let short = if at_start { SHORT_AT_START } else { SHORT };
        (text.len() >= short).then(|| pieces.push(Piece { text, at_start }))
    };
    add([text, &[]])?;
    // It begins within the process id.
    if !at_start {
        let digits = digits(text);
        match text.get(digits) {
            Some(b']') if may_follow(&text[digits + 1..]) => add([&[], &text[digits + 1..]])?,
            _ => {}
        }
    }
    // The process id begins within it.
    for (opening, _) in text.iter().enumerate().filter(|(_, byte)| **byte == b'[') {
        let behind = &text[opening + 1..];
        let behind = &behind[digits(behind)..];
        match behind {
            [] => add([&text[..opening], &[]])?,
            [b']', rest @ ..] if may_follow(rest) => add([&text[..opening], rest])?,
            _ => {}
        }
    }
    Some(())
}

/// Whether the rest of a text can stand behind the process id.
fn may_follow(rest: &[u8]) -> bool {
    matches!(rest, [] | [b':'] | [b':', b' ', ..])
}

/// How many digits it begins with.
fn digits(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// Whether a byte can be in the name of a host.
fn is_of_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b".-_".contains(&byte) || !byte.is_ascii()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts_for(literal: &str) -> Option<Vec<(String, bool)>> {
        let texts = pieces(vec![literal.as_bytes().to_vec()])?.into_iter();
        let text =
            |piece: Piece| (String::from_utf8_lossy(&piece.text).into_owned(), piece.at_start);
        Some(texts.map(text).collect())
    }

    #[test]
    fn what_is_looked_for_instead() {
        for (literal, expected) in [
            (" failed for ", &[(" failed for ", false)][..]),
            ("failed for ", &[(" for ", true), ("failed for ", false)]),
            ("sshd[", &[("sshd[", false), ("sshd", false)]),
            (" sshd[12]: no", &[(" sshd[12]: no", false), (" sshd: no", false)]),
            ("12]: no", &[("12]: no", false), (": no", false)]),
            ("[12] no", &[("[12] no", false)]),
            (
                "pve x[]: no",
                &[
                    (" x[]: no", true),
                    (" x: no", true),
                    ("pve x[]: no", false),
                    ("pve x: no", false),
                ],
            ),
        ] {
            let expected: Vec<_> =
                expected.iter().map(|(text, at)| ((*text).to_owned(), *at)).collect();
            assert_eq!(texts_for(literal), Some(expected), "{literal}");
        }
        for literal in ["sshd", "1234", "pve ", "x[", "12]", "12]: "] {
            assert_eq!(texts_for(literal), None, "{literal}");
        }
    }

    /// Texts of which heads and literals are made, so that they meet often.
    fn text(parts: std::ops::Range<usize>) -> impl Strategy<Value = String> {
        let part = prop::sample::select(vec![
            "sshd", "pve", "[", "]", ":", ": ", " ", "1", "22", "x", "failed", "user ", "Ä",
        ]);
        prop::collection::vec(part, parts).prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn no_literal_of_the_line_is_missed(
            host in "[a-z0-9.Ä-]{0,4}|pve|x",
            identifier in text(1..4),
            process in "(\\[([0-9]{1,3}|1|22)\\])?",
            message in text(0..5),
            literal in text(1..5),
        ) {
            let space = if host.is_empty() { "" } else { " " };
            let line = format!("{host}{space}{identifier}{process}: {message}");
            let seen = format!(" {identifier}: {message}");
            let stands = line.contains(&literal);
            let told = texts_for(&literal).is_none_or(|pieces| {
                pieces.iter().any(|(text, at_start)| match at_start {
                    true => seen.starts_with(text),
                    false => seen.contains(text),
                })
            });
            prop_assert!(told || !stands, "{line:?} {literal:?}");
        }
    }
}

//! Texts of which one must stand wherever an expression matches.
//!
//! Input: an expression as `regex-syntax` parses it. Output: a few literals, in lower
//! case as far as ASCII has it or as they are written, or none when nothing useful is
//! required. Invariant: every text that the expression matches holds one of them, in the
//! former case upper and lower case aside. Assertions only narrow what matches, so they are
//! taken as empty.

use regex_syntax::hir::{Class, Hir, HirKind};

/// Literals of one requirement.
const MANY: usize = 24;

/// Bytes of the shortest literal that is worth looking for.
const SHORT: usize = 3;

/// Which literals are asked for.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    /// Whether it helps to look for a text.
    pub useful: fn(&[u8]) -> bool,
    pub case: Case,
}

/// How literals are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Case {
    /// In lower case, for a search that takes both for the same.
    Lower,
    /// As the expression has them; in each way that it allows.
    AsWritten,
}

impl Case {
    fn of(self, text: &[u8]) -> Vec<u8> {
        match self {
            Self::Lower => text.to_ascii_lowercase(),
            Self::AsWritten => text.to_owned(),
        }
    }
}

/// Alternatives, each a text.
type Texts = Vec<Vec<u8>>;

/// What is known of a part of an expression.
struct Known {
    /// All texts that it matches.
    exact: Option<Texts>,
    /// Texts of which one is in all that it matches.
    required: Option<Texts>,
}

/// The literals of which one must stand in every text that matches. Only those that are
/// useful to whoever asks are taken.
pub(super) fn required(hir: &Hir, asked: Asked) -> Option<Texts> {
    let known = visit(hir, asked);
    better(known.exact, known.required, asked).filter(|texts| shortest(texts) >= SHORT)
}

fn visit(hir: &Hir, asked: Asked) -> Known {
    let exact = |texts| Known { exact: Some(texts), required: None };
    let nothing = Known { exact: None, required: None };
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => exact(vec![Vec::new()]),
        HirKind::Literal(literal) => exact(vec![asked.case.of(&literal.0)]),
        HirKind::Class(class) => Known { exact: members(class, asked.case), required: None },
        HirKind::Capture(capture) => visit(&capture.sub, asked),
        HirKind::Repetition(repetition) => {
            let known = visit(&repetition.sub, asked);
            match (repetition.min, repetition.max, known.exact) {
                (0, Some(1), Some(mut texts)) => {
                    texts.push(Vec::new());
                    exact(texts)
                }
                (0, ..) => nothing,
                (1, Some(1), texts) => Known { exact: texts, ..known },
                (.., texts) => {
                    Known { exact: None, required: better(texts, known.required, asked) }
                }
            }
        }
        HirKind::Concat(parts) => concatenation(parts, asked),
        HirKind::Alternation(parts) => alternation(parts, asked),
    }
}

/// The few characters of a class.
fn members(class: &Class, case: Case) -> Option<Texts> {
    let mut texts: Texts = Vec::new();
    let few = match class {
        Class::Unicode(class) => {
            class.iter().map(regex_syntax::hir::ClassUnicodeRange::len).sum::<usize>() <= 4
        }
        Class::Bytes(class) => {
            class.iter().map(regex_syntax::hir::ClassBytesRange::len).sum::<usize>() <= 4
        }
    };
    if !few {
        return None;
    }
    match class {
        Class::Unicode(class) => {
            for c in class.iter().flat_map(|range| range.start()..=range.end()) {
                texts.push(case.of(c.to_string().as_bytes()));
            }
        }
        Class::Bytes(class) => {
            for byte in class.iter().flat_map(|range| range.start()..=range.end()) {
                texts.push(case.of(&[byte]));
            }
        }
    }
    texts.sort_unstable();
    texts.dedup();
    (!texts.is_empty()).then_some(texts)
}

fn concatenation(parts: &[Hir], asked: Asked) -> Known {
    let empty = || vec![Vec::new()];
    let (mut all, mut run, mut required) = (true, empty(), None);
    for part in parts {
        let known = visit(part, asked);
        match known.exact {
            Some(texts) if run.len() * texts.len() <= MANY => {
                let joined = |start: &Vec<u8>| {
                    let start = start.clone();
                    texts
                        .iter()
                        .map(move |end| [start.as_slice(), end].concat())
                        .collect::<Vec<_>>()
                };
                run = run.iter().flat_map(joined).collect();
            }
            exact => {
                all = false;
                let whole = std::mem::replace(&mut run, empty());
                required = better(required, Some(whole), asked);
                required = better(required, known.required, asked);
                run = exact.unwrap_or_else(empty);
            }
        }
    }
    if all {
        return Known { exact: Some(run), required: None };
    }
    Known { exact: None, required: better(required, Some(run), asked) }
}

fn alternation(parts: &[Hir], asked: Asked) -> Known {
    let (mut exact, mut required) = (Some(Vec::new()), Some(Vec::new()));
    for part in parts {
        let known = visit(part, asked);
        let add = |to: &mut Option<Texts>, from: Option<Texts>| {
            *to = to.take().zip(from).map(|(mut to, from)| {
                to.extend(from);
                to
            });
            to.take_if(|texts| texts.len() > MANY);
        };
        add(&mut exact, known.exact.clone());
        add(&mut required, better(known.exact, known.required, asked));
    }
    Known { exact, required }
}

fn shortest(texts: &Texts) -> usize {
    texts.iter().map(Vec::len).min().unwrap_or(0)
}

/// The requirement that fewer texts fulfil by chance.
fn better(a: Option<Texts>, b: Option<Texts>, asked: Asked) -> Option<Texts> {
    let useful = |texts: &Texts| {
        // What blanks the client's text, and the newline that ends a text, are not in
        // the line that is looked at.
        let strange = |byte: &u8| matches!(byte, 0x01 | b'\n');
        let short = shortest(texts) == 0;
        !short
            && !texts.iter().flatten().any(strange)
            && texts.iter().all(|text| (asked.useful)(text))
    };
    let rank = |texts: &Texts| (shortest(texts).min(16), usize::MAX - texts.len());
    [a, b].into_iter().flatten().filter(useful).max_by_key(rank)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(expression: &str) -> Option<Vec<String>> {
        in_case(Case::Lower, expression)
    }

    fn in_case(case: Case, expression: &str) -> Option<Vec<String>> {
        let hir = regex_syntax::parse(expression).expect("an expression");
        let texts = required(&hir, Asked { useful: |_| true, case })?;
        Some(texts.into_iter().map(|text| String::from_utf8_lossy(&text).into_owned()).collect())
    }

    #[test]
    fn the_longest_is_taken() {
        for (expression, expected) in [
            (r"^\S+ failed for .* from (?P<a>\d+)$", &[" failed for "][..]),
            ("(?:Invalid|Illegal) user", &["invalid user", "illegal user"]),
            ("(?:abc|d+efgh)x*", &["abc", "efgh"]),
            ("(?i)Kid", &["kid", "\u{212A}id"]),
            (r"a(?:b)?cdef[gh]", &["abcdefg", "abcdefh", "acdefg", "acdefh"]),
            ("(?:abcd)+", &["abcd"]),
        ] {
            assert_eq!(
                of(expression).as_deref(),
                Some(&*expected.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>()),
                "{expression}"
            );
        }
    }

    #[test]
    fn each_way_in_which_it_may_be_written_is_a_text_of_its_own() {
        for (expression, expected) in [
            ("[Ii]nvalid User", &["Invalid User", "invalid User"][..]),
            ("(?i)a bc", &["A BC", "A Bc", "A bC", "A bc", "a BC", "a Bc", "a bC", "a bc"]),
        ] {
            let expected = expected.iter().map(|text| (*text).to_owned()).collect();
            assert_eq!(in_case(Case::AsWritten, expression), Some(expected), "{expression}");
        }
    }

    #[test]
    fn what_may_be_missing_is_not_required() {
        for expression in ["(?:abcd)*", "(?:abcd)?", "abcd|.", r"\d+ \S+", "ab", "abc\u{1}d|\n\n\n"]
        {
            assert_eq!(of(expression), None, "{expression}");
        }
    }
}

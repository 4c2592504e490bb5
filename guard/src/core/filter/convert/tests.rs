use proptest::prelude::*;

use super::*;
use crate::core::filter::Limits;
use crate::core::filter::expression::Expression;
use crate::core::filter::expression::Meaning;

/// What an expression matches in `text` and its final newline: its span, or none.
fn span(python: &str, text: &str) -> Option<(usize, usize)> {
    let text = format!("{text}\n");
    let converted = convert(python, Lines::One).unwrap_or_else(|error| panic!("{python}: {error}"));
    let found = if converted.backtracking {
        let regex = fancy_regex::Regex::new(&converted.expression).expect("compiles");
        regex.find(&text).expect("within limits").map(|m| m.range())
    } else {
        let regex = regex::Regex::new(&converted.expression).expect("compiles");
        regex.find(&text).map(|m| m.range())
    };
    found.map(|range| (range.start, range.end))
}

#[test]
fn pythons_meaning_is_kept() {
    for (python, text, expected) in [
        // The end of the line is before the final newline, and at the very end.
        ("a$", "a", Some((0, 1))),
        (r"a\s+$", "a", Some((0, 2))),
        (r"a\Z", "a", None),
        (r"a\n\Z", "a", Some((0, 2))),
        (r"^b", "a", None),
        // Counts.
        ("a{,2}b", "aab", Some((0, 3))),
        ("a{,}b", "aaab", Some((0, 4))),
        ("a{2}", "aaa", Some((0, 2))),
        ("a{x}", "a{x}", Some((0, 4))),
        ("{}", "{}", Some((0, 2))),
        ("a{1,2", "a{1,2", Some((0, 5))),
        // Classes.
        ("[[]", "[", Some((0, 1))),
        ("[]a]+", "]a", Some((0, 2))),
        ("[^]]", "]a", Some((1, 2))),
        ("[a&&b]+", "a&b", Some((0, 3))),
        ("[a~~b]+", "a~b", Some((0, 3))),
        ("[+--]+", "+,-", Some((0, 3))),
        (r"[\w-]+", "a-b", Some((0, 3))),
        (r"[\b]", "\u{8}", Some((0, 1))),
        (r"[^\W\d]+", "a1", Some((0, 1))),
        // Escapes.
        (r#"\<a\>\_\"\/\@"#, r#"<a>_"/@"#, Some((0, 7))),
        (r"\x41\u00e9\101", "AéA", Some((0, 4))),
        // White space and words.
        (r"^\s$", "\u{1c}", Some((0, 1))),
        (r"^\w\w$", "é²", Some((0, 4))),
        (r"^\w$", "\u{301}", None),
        (r"(?a)^\w$", "é", None),
        // Flags.
        ("((?i)a)b", "Ab", Some((0, 2))),
        ("((?i)a)b", "AB", None),
        ("(?:(?i)a)", "A", Some((0, 1))),
        ("(?i)a", "A", Some((0, 1))),
        ("a(?i)b", "AB", Some((0, 2))),
        ("(?i:a(?-i:b))", "Ab", Some((0, 2))),
        ("(?x) a [ ] b # comment", "a b", Some((0, 3))),
        ("(?#a comment)a", "a", Some((0, 1))),
        ("(?s)a.", "a", Some((0, 2))),
        // What needs to backtrack.
        (r"(a|b)\1", "abb", Some((1, 3))),
        (r"(?P<x>a|b)(?P=x)", "abb", Some((1, 3))),
        (r"^(?P<x>a)?(?(x)b|c)$", "ab", Some((0, 2))),
        (r"^(?P<x>a)?(?(x)b|c)$", "c", Some((0, 1))),
        (r"^(?P<x>a)?(?(x)b|c)$", "b", None),
        (r"^(a)?(?(1)b|c)$", "ab", Some((0, 2))),
        ("(?<=a)b(?!c)", "abc ab", Some((5, 6))),
    ] {
        assert_eq!(span(python, text), expected, "{python} on {text:?}");
    }
}

#[test]
fn what_python_refuses_or_rust_cannot_say_is_an_error() {
    for (python, message) in [
        ("(", "missing `)`, unterminated group"),
        (")", "unbalanced parenthesis"),
        ("*a", "nothing to repeat"),
        ("a|*", "nothing to repeat"),
        ("a**", "multiple repeat"),
        ("a{1}{2}", "multiple repeat"),
        ("[a", "unterminated character set"),
        ("[b-a]", "bad character range"),
        (r"[a-\d]", "bad character range"),
        ("a\\", "a backslash at the end"),
        (r"\q", r"bad escape \q"),
        (r"\1", "reference to the unknown group 1"),
        ("(?P=x)", "reference to the unknown group `x`"),
        ("(?(x)a)", "condition on the unknown group `x`"),
        ("(?P<1>a)", "bad character in the group name `1`"),
        ("(?P<x>a)(?P<x>b)", "group `x` is defined twice"),
        ("(?L)a", "flag `L` is not supported"),
        (r"\ud800", "an escape that is no character"),
    ] {
        assert_eq!(convert(python, Lines::One), Err(message.to_owned()), "{python}");
    }
}

#[test]
fn only_what_needs_to_backtrack_does() {
    for (python, backtracking) in [
        (r"^a.*?(?P<x>b|c)[^d]{,3}\w\b$", false),
        ("(?=a)", true),
        ("(?!a)", true),
        ("(?<=a)", true),
        ("(?>a)", true),
        ("a++", true),
        (r"(a)\1", true),
        (r"(a)?(?(1)b)", true),
    ] {
        assert_eq!(
            convert(python, Lines::One).expect(python).backtracking,
            backtracking,
            "{python}"
        );
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(
        text in r"([\[\](){}?*+|^$\\.<>!=:#&~,i-xP0-9a-c-]|\(\?P<[a-c]>|\(\?[=!i]|<HOST>|</?F-[A-C]>|\PC){0,24}",
    ) {
        let _ = convert(&text, Lines::One);
        let _ = Expression::compile(&text, Meaning::default(), Limits::default());
    }

    /// Plain text stays itself.
    #[test]
    fn an_escaped_text_matches_itself(text in r"[\PC&&[^a-zA-Z0-9]]{1,12}") {
        let escaped: String = text.chars().flat_map(|c| ['\\', c]).collect();
        prop_assert_eq!(span(&escaped, &text), Some((0, text.len())));
        let class: String = text.chars().map(|c| format!(r"[\{c}]")).collect();
        prop_assert_eq!(span(&class, &text), Some((0, text.len())));
    }
}

//! The automaton against the engines that it stands for.

use std::ops::Range;

use proptest::prelude::*;

use super::*;

/// What the engine that tries one expression after the other finds.
type Answer = Option<(usize, Vec<Option<Range<usize>>>)>;

const GROUPS: [&str; 3] = ["a", "b", "c"];

fn relaxed(expressions: &[&str]) -> Vec<Relaxed> {
    expressions.iter().map(|text| relax(text).expect("an expression that is understood")).collect()
}

fn wanted(expression: &str) -> Vec<String> {
    let has = |name: &&str| expression.contains(&format!("(?P<{name}>"));
    GROUPS.into_iter().filter(has).map(str::to_owned).collect()
}

fn automaton(expressions: &[&str]) -> Option<Automaton> {
    let relaxed = relaxed(expressions);
    let wanted: Vec<Vec<String>> = expressions.iter().map(|e| wanted(e)).collect();
    let patterns = relaxed.iter().zip(&wanted);
    let patterns: Vec<Pattern<'_>> =
        patterns.map(|(relaxed, wanted)| Pattern { relaxed, wanted }).collect();
    Automaton::new(&patterns, 1 << 20)
}

/// The automaton's answer; the inner `None` is one that it leaves open.
fn answer(automaton: &Automaton, expressions: &[&str], text: &str) -> Option<Answer> {
    let (outcome, spans) = automaton.search(text, 0, |number, spans| {
        let groups = 0..wanted(expressions[number]).len();
        groups.map(|group| spans.span(group)).collect()
    });
    match outcome {
        Outcome::Nothing => Some(None),
        Outcome::Match(number) => Some(Some((number, spans?))),
        Outcome::Perhaps(_) | Outcome::Unknown => None,
    }
}

fn one_by_one(expressions: &[&str], text: &str) -> Answer {
    expressions.iter().enumerate().find_map(|(number, expression)| {
        let regex = fancy_regex::Regex::new(expression).expect("an expression");
        let captures = regex.captures(text).expect("within limits")?;
        let span = |name: &String| captures.name(name).map(|m| m.range());
        Some((number, wanted(expression).iter().map(span).collect()))
    })
}

/// Compares both, and returns whether the automaton had an answer.
fn agree(expressions: &[&str], texts: &[&str]) -> bool {
    let automaton = automaton(expressions).expect("an automaton");
    let mut all = true;
    // Twice: with transitions that are new, and with known ones.
    for text in texts.iter().chain(texts) {
        let expected = one_by_one(expressions, text);
        match answer(&automaton, expressions, text) {
            Some(found) => assert_eq!(found, expected, "{expressions:?} on {text:?}"),
            None => {
                all = false;
                if let Outcome::Perhaps(number) = automaton.search(text, 0, |_, _| ()).0 {
                    let first = expected.map_or(usize::MAX, |(number, _)| number);
                    assert!(first >= number, "{expressions:?} on {text:?}");
                }
            }
        }
    }
    all
}

#[test]
fn the_first_expression_wins_wherever_it_matches() {
    assert!(agree(
        &["(?P<a>x+) y", "(?P<a>z)", "^(?P<b>.)"],
        &["z x y", "zz", "qx", "", "xxx", "xx xx y", "\n", "éz"],
    ));
}

#[test]
fn captures_are_those_of_a_backtracking_search() {
    for (expression, texts) in [
        ("^(?P<a>.*?)-(?P<b>.*)-(?P<c>[^-]*)$", &["1-2-3-4", "--", "-", "a-b-", "é-ü-ö\n"][..]),
        ("(?P<a>a|ab)(?P<b>c|bcd)(?P<c>d*)", &["abcd", "xabcd", "acd", "abc"]),
        ("(?:(?P<a>a)|(?P<b>b))*c", &["abc", "aac", "bbc", "c", "ab"]),
        ("(?P<a>a*)(?P<b>a*?)(?P<c>a+)", &["aaa", "a", ""]),
        ("(?P<a>(?m:^)x(?m:$))", &["x", "y\nx\nz", "xx\nx", "yx"]),
        (r"(?P<a>\bx\b).*?(?P<b>\B.)", &["x yz", "ax x y", "x", "_x x yy"]),
        ("(?i)(?P<a>straße|k+)", &["STRASSE", "STRAßE", "KkK", "\u{212A}k"]),
        (r"^(?P<a>\S+) (?P<b>\d+)(?P<c>x?)$", &["é 12", "ab 1x", "a  1", "a 1xx"]),
    ] {
        assert!(agree(&[expression], texts), "{expression}");
    }
}

#[test]
fn what_was_relaxed_is_checked_where_it_stood() {
    let expressions = [
        "^for (?P<a>(?:(?! from ).)*?) from (?P<b>[0-9]+)$",
        r"(?P<a>(?<=id )\d+)(?!x)",
        r"^(?P<a>in )?(?P<b>(?(<a>)[a-z]+|[0-9]+)) end$",
        r"(?<!un)known (?P<a>\w+)",
    ];
    for text in [
        "for me from 1",
        "for you and me from 12",
        "id 7",
        "id 7x",
        "ix 7",
        "in abc end",
        "12 end",
        "abc end",
        "in 12 end",
        "known x",
        "unknown x",
        "",
    ] {
        for expression in expressions {
            agree(&[expression], &[text]);
        }
        agree(&expressions, &[text]);
    }
    // These need no second opinion.
    assert!(agree(&expressions[..1], &["for me from 1", "for me"]));
    assert!(agree(&expressions[2..3], &["in abc end", "12 end", "abc end", "in 12 end"]));
    // The user name holds what the look-ahead forbids.
    assert!(!agree(&expressions[..1], &["for me from there from 1"]));
}

#[test]
fn back_references_are_left_to_the_expression() {
    assert!(!agree(&["(?P<a>[a-z])(?P=a)"], &["aa"]));
    assert!(agree(&["(?P<a>[a-z])(?P=a)"], &["12"]));
    assert!(!agree(&["(?>a*)b"], &["aab"]));
}

#[test]
fn a_word_boundary_beside_a_wide_character_is_left_open() {
    assert!(!agree(&[r"é\bx|y"], &["éx"]));
    assert!(agree(&[r"é\bx|y"], &["y"]));
}

#[test]
fn a_search_begins_with_any_expression() {
    let expressions = ["a", "(?P<a>[ab])", "^b"];
    let automaton = automaton(&expressions).expect("an automaton");
    let from = |from| automaton.search("ba", from, |_, _| ()).0;
    assert_eq!(from(0), Outcome::Match(0));
    assert_eq!(from(1), Outcome::Match(1));
    assert_eq!(from(2), Outcome::Match(2));
    assert_eq!(from(3), Outcome::Nothing);
}

#[test]
fn long_texts_end_and_the_cache_stays_small() {
    // Each state is the places where the last 20 bytes were `a`: as many as one likes.
    let slow = automaton(&["(?P<a>a)[ab]{16}c"]).expect("an automaton");
    let mut text = String::new();
    let mut random = 1u64;
    for _ in 0..1 << 20 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        text.push(if random >> 63 == 0 { 'a' } else { 'b' });
    }
    assert_eq!(slow.search(&text, 0, |_, _| ()).0, Outcome::Unknown);
    let long = automaton(&["^(?P<a>x+)(?P<b>.*)y$"]).expect("an automaton");
    let text = format!("{}{}y", "x".repeat(1 << 19), "é".repeat(1 << 19));
    assert_eq!(long.first(&text, 0), Outcome::Match(0));
    assert_eq!(long.first(&text[..text.len() - 1], 0), Outcome::Nothing);
}

/// Small expressions over a small alphabet, with every kind of thing in them.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("a".to_owned()),
        Just("b".to_owned()),
        Just(".".to_owned()),
        Just("[^a]".to_owned()),
        Just("é".to_owned()),
        Just("(?m:^)".to_owned()),
        Just("(?m:$)".to_owned()),
        Just("^".to_owned()),
        Just(r"\z".to_owned()),
        Just(r"\b".to_owned()),
        Just(r"\B".to_owned()),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| parts.concat()),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("(?:{a}|{b})")),
            (inner.clone(), prop::sample::select(vec!["*", "+", "?", "*?", "+?", "??", "{1,2}"]))
                .prop_map(|(part, times)| format!("(?:{part}){times}")),
            inner.prop_map(|part| format!("({part})")),
        ]
    })
}

/// Names the first groups, so that what they capture is compared.
fn named(expression: &str) -> String {
    let mut names = GROUPS.iter();
    let mut out = String::new();
    let mut characters = expression.chars().peekable();
    while let Some(c) = characters.next() {
        out.push(c);
        if c == '(' && characters.peek() != Some(&'?') {
            out.push_str(&names.next().map_or("?:".to_owned(), |name| format!("?P<{name}>")));
        }
    }
    out
}

/// Texts of which many parts are as long as what is passed over at once.
fn texts_of_words() -> impl Strategy<Value = Vec<String>> {
    let word = prop_oneof![
        Just("Failed for user "),
        Just("user from 1 "),
        Just("from 192.0.2.1 port 22"),
        Just("from "),
        Just("1"),
        Just("éééééé"),
        Just("\n"),
        Just("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
    ];
    let text = prop::collection::vec(word, 0..8).prop_map(|words| words.concat());
    prop::collection::vec(text, 1..12)
}

fn by_regex(expressions: &[String], text: &str) -> Answer {
    expressions.iter().enumerate().find_map(|(number, expression)| {
        let regex = regex::Regex::new(expression).expect("an expression");
        let captures = regex.captures(text)?;
        let span = |name: &String| captures.name(name).map(|m| m.range());
        Some((number, wanted(expression).iter().map(span).collect()))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn it_answers_so_whatever_it_passed_over_before(texts in texts_of_words()) {
        let expressions = [
            "^Failed for (?P<a>.*) from (?P<b>[0-9.]+)(?P<c> port [0-9]+)?$",
            "^Failed for (?P<a>.*?)from (?P<b>.*)$",
            "user (?P<a>from [0-9]+ )*(?P<b>user|from)",
            "^(?P<a>(?:Failed |for |user |from )+)(?P<b>.*)a$",
            r"(?P<a>\S+)é(?P<b>.+)$",
        ];
        let owned = expressions.map(str::to_owned);
        let automaton = automaton(&expressions).expect("an automaton");
        for text in texts.iter().chain(&texts).chain(&texts) {
            if let Some(found) = answer(&automaton, &expressions, text) {
                prop_assert_eq!(found, by_regex(&owned, text), "{:?}", text);
            }
        }
    }

    #[test]
    fn it_answers_as_the_regex_crate_does(
        expressions in prop::collection::vec(expression().prop_map(|e| named(&format!("(?:{e})[ab]"))), 1..4),
        texts in prop::collection::vec("[abé\n ]{0,12}", 1..6),
    ) {
        let borrowed: Vec<&str> = expressions.iter().map(String::as_str).collect();
        let automaton = automaton(&borrowed).expect("an automaton");
        for text in &texts {
            if let Some(found) = answer(&automaton, &borrowed, text) {
                prop_assert_eq!(found, by_regex(&expressions, text), "{:?}", text);
            }
        }
    }
}

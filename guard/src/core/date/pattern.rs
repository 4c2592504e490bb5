//! Fail2Ban's `datepattern` language.
//!
//! Input: one pattern: a Python expression with `%` directives and `{EPOCH}`, perhaps
//! after `{^LN-BEG}` or `{UNB}`. Output: the expression in Rust's syntax, which group is
//! cut out of the line, and where it may match. Invariant: directives may be repeated;
//! the group that takes part counts.

use super::fields::Field;
use crate::core::filter::convert::{self, convert};

/// How a pattern is bound to its surroundings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    /// Anywhere.
    Unbound,
    /// Not within a word.
    Word,
    /// At the begin of the line, after at most two characters that belong to no word.
    Line,
}

/// A pattern, ready to be compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parsed {
    /// Rust's expression; `group_prefix` names end in a number where a directive repeats.
    pub expression: String,
    /// Whether it needs to backtrack.
    pub backtracking: bool,
    /// Whether it is bound to the begin or the end of the line.
    pub anchored: bool,
}

const MONTHS: &str =
    "january|february|march|april|may|june|july|august|september|october|november|december";
const MONTHS_SHORT: &str = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec";
const DAYS: &str = "monday|tuesday|wednesday|thursday|friday|saturday|sunday";
const DAYS_SHORT: &str = "mon|tue|wed|thu|fri|sat|sun";
/// A zone's abbreviation: one letter, or three to five.
const ABBREVIATION: &str = "[A-Z](?:[A-Z]{2,4})?";

/// The group's name and the expression of a directive, without its `%`.
fn directive(name: &str) -> Option<(&'static str, String)> {
    let (group, expression) = match name {
        "Y" | "G" => ("Y", "[0-9]{4}"),
        "ExY" => ("Y", "20[0-9]{2}"),
        "y" | "Exy" => ("y", "[0-9]{2}"),
        "m" => ("m", "0?[1-9]|1[0-2]"),
        "Exm" => ("m", "0[1-9]|1[0-2]"),
        "B" => ("B", MONTHS),
        "b" => ("b", MONTHS_SHORT),
        "d" => ("d", "[12][0-9]|[0 ]?[1-9]|3[01]"),
        "Exd" => ("d", "[12][0-9]|0[1-9]|3[01]"),
        "j" => ("j", "36[0-6]|3[0-5][0-9]|[12][0-9]{2}|0[1-9][0-9]|00[1-9]|[1-9][0-9]|0?[1-9]"),
        "H" => ("H", "[01]?[0-9]|2[0-3]"),
        "ExH" => ("H", "[01][0-9]|2[0-3]"),
        "k" => ("H", "[0-2]?[0-9]"),
        "Exk" => ("H", "[01]?[0-9]|2[0-3]"),
        "I" => ("I", "1[0-2]|0?[1-9]"),
        "l" => ("I", "1?[0-9]"),
        "Exl" => ("I", "1[0-2]|[0-9]"),
        "M" => ("M", "[0-5]?[0-9]"),
        "ExM" => ("M", "[0-5][0-9]"),
        "S" => ("S", "[0-5]?[0-9]|6[01]"),
        "ExS" => ("S", "[0-5][0-9]|6[01]"),
        "f" => ("f", "[0-9]{1,6}"),
        "p" => ("p", "am|pm"),
        "A" => ("A", DAYS),
        "a" => ("a", DAYS_SHORT),
        "w" => ("w", "[0-6]"),
        "u" => ("u", "[1-7]"),
        "U" => ("U", "5[0-3]|[0-4]?[0-9]"),
        "W" => ("W", "5[0-3]|[0-4]?[0-9]"),
        "V" => ("V", "5[0-3]|0[1-9]|[1-4][0-9]|[0-9]"),
        "Z" => ("Z", "Z|[A-Z]{3,5}"),
        "ExZ" => ("Z", ABBREVIATION),
        "z" => ("z", "Z|UTC|GMT|[+-][01][0-9](?::?[0-9]{2})?"),
        "Exz" => {
            let offset = "[+-][01][0-9](?::?[0-9]{2})?";
            return Some(("z", format!("(?:{ABBREVIATION})?{offset}|{ABBREVIATION}")));
        }
        _ => return None,
    };
    Some((group, expression.to_owned()))
}

/// What stands for several directives.
fn composed(name: char) -> Option<&'static str> {
    Some(match name {
        'c' => r"%a\s+%b\s+%d\s+%H:%M:%S\s+%Y",
        'x' => "%m/%d/%y",
        'X' => "%H:%M:%S",
        _ => return None,
    })
}

/// The part of a date that a group holds.
pub(super) fn field(group: &str) -> Option<Field> {
    // A repeated directive has its number behind it.
    let name = group.split_once("__").map_or(group, |(name, _)| name);
    Some(match name {
        "Y" => Field::Year,
        "y" => Field::YearOfCentury,
        "m" => Field::Month,
        "b" | "B" => Field::MonthName,
        "d" => Field::Day,
        "j" => Field::DayOfYear,
        "H" => Field::Hour,
        "I" => Field::HourOfTwelve,
        "p" => Field::AmPm,
        "M" => Field::Minute,
        "S" => Field::Second,
        "a" | "A" => Field::WeekdayName,
        "w" => Field::Weekday,
        "U" => Field::WeekFromSunday,
        "W" => Field::WeekFromMonday,
        "z" | "Z" => Field::Zone,
        "epoch" => Field::Epoch,
        "lepoch" => Field::LongEpoch,
        "tai64n" => Field::Tai64n,
        _ => return None,
    })
}

/// Reads a pattern.
///
/// # Errors
/// What in it cannot be used.
pub(super) fn parse(pattern: &str) -> Result<Parsed, String> {
    let mut begin = Begin::Word;
    let mut rest = pattern;
    let mut end_bound = true;
    if let Some(unbound) = rest.strip_prefix("{UNB}") {
        (rest, begin, end_bound) = (unbound, Begin::Unbound, false);
    } else if let Some(at_begin) = rest.strip_prefix("{^LN-BEG}") {
        (rest, begin) = (at_begin, Begin::Line);
    }
    let (mut python, names) = expand(rest.trim())?;
    let flags = cut_flags(&mut python, names);
    build(&python, &flags, begin, end_bound)
}

/// Puts groups in the places of the directives; tells whether names are among them,
/// which are then read in any case.
fn expand(pattern: &str) -> Result<(String, bool), String> {
    let mut out = String::with_capacity(pattern.len() * 8);
    let mut seen: Vec<&'static str> = Vec::new();
    let mut names = false;
    let pending = write_out(pattern);
    let mut group = |out: &mut String, name: &'static str, expression: &str| {
        let number = seen.iter().filter(|known| **known == name).count();
        seen.push(name);
        let suffix = if number == 0 { String::new() } else { format!("__{number}") };
        out.push_str(&format!("(?P<{name}{suffix}>{expression})"));
    };
    let mut rest = pending.as_str();
    while let Some(c) = rest.chars().next() {
        let upper = |text: &str, long: usize| {
            text.get(..long).map(str::to_ascii_uppercase).unwrap_or_default()
        };
        if let Some(escaped) = rest.strip_prefix('\\') {
            let length = 1 + escaped.chars().next().map_or(0, char::len_utf8);
            out.push_str(&rest[..length]);
            rest = &rest[length..];
        } else if upper(rest, 7) == "{EPOCH}" {
            group(&mut out, "epoch", EPOCH);
            rest = &rest[7..];
        } else if upper(rest, 8) == "{LEPOCH}" {
            group(&mut out, "lepoch", LONG_EPOCH);
            rest = &rest[8..];
        } else if let Some(after) = rest.strip_prefix('%') {
            if let Some(after) = after.strip_prefix('%') {
                out.push('%');
                rest = after;
                continue;
            }
            let length = if after.starts_with("Ex") { 3 } else { 1 };
            let name = after.get(..length).unwrap_or(after);
            let Some((named, expression)) = directive(name) else {
                return Err(format!("`%{name}` is no part of a date: write %% for a percent sign"));
            };
            names |= matches!(name, "a" | "A" | "b" | "B" | "p");
            if matches!(name, "k" | "l" | "Exk" | "Exl") {
                // The blank that stands for a missing digit is not part of the number.
                out.push_str(" ?");
            }
            group(&mut out, named, &expression);
            rest = &after[name.len()..];
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    Ok((out, names))
}

/// Writes out what stands for several directives.
fn write_out(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut characters = pattern.chars();
    while let Some(c) = characters.next() {
        out.push(c);
        if c != '%' {
            continue;
        }
        let Some(name) = characters.next() else { break };
        match composed(name) {
            Some(parts) => {
                out.pop();
                out.push_str(parts);
            }
            None => out.push(name),
        }
    }
    out
}

pub(super) const EPOCH: &str = r"[0-9]{10,11}\b(?:\.[0-9]{3,6})?";
pub(super) const LONG_EPOCH: &str = r"[0-9]{10,11}(?:[0-9]{3}(?:\.[0-9]{1,6}|[0-9]{3})?)?";

/// Takes flags such as `(?i)` out of the expression and gives them with those that it
/// needs.
fn cut_flags(python: &mut String, ignore_case: bool) -> String {
    let mut flags = if ignore_case { "i".to_owned() } else { String::new() };
    let found = python.match_indices("(?").find_map(|(at, _)| {
        let letters = &python[at + 2..];
        let length = letters.bytes().take_while(u8::is_ascii_lowercase).count();
        let escaped = at > 0 && python.as_bytes()[at - 1] == b'\\';
        (length > 0 && letters[length..].starts_with(')') && !escaped).then_some((at, length))
    });
    if let Some((at, length)) = found {
        flags.extend(python[at + 2..at + 2 + length].chars().filter(|c| *c != 'i' || !ignore_case));
        python.replace_range(at..at + length + 3, "");
    }
    flags
}

/// Binds the expression and makes sure that there is a group to cut out.
fn build(python: &str, flags: &str, begin: Begin, end_bound: bool) -> Result<Parsed, String> {
    let opened = python.trim_start_matches('(');
    let own_begin = ["^", "**", "?:^"].iter().any(|own| opened.starts_with(own));
    let ends = |ends: &[&str]| {
        let end = ends.iter().filter_map(|end| python.strip_suffix(end)).next();
        end.is_some_and(|before| !before.ends_with('\\'))
    };
    let own_end = ends(&["$", "$)", r"\b", r"\s"]) || python.trim_end_matches(')').ends_with("**");
    let begin = if own_begin { Begin::Unbound } else { begin };
    let end_bound = end_bound && !own_end;

    let mut text = python.to_owned();
    if !has_group(&text) {
        // The line's ends stay outside of what is cut out.
        let from = usize::from(text.starts_with('^'));
        let to = text.len() - usize::from(text.len() > from && text.ends_with('$'));
        text = format!("{}({}){}", &text[..from], &text[from..to], &text[to..]);
    }
    // `**` only says that there is no bound.
    let stars = text.len() - text.trim_start_matches('(').len();
    if text[stars..].starts_with("**") {
        text.replace_range(stars..stars + 2, "");
    }
    let stars = text.trim_end_matches(')').len();
    if text[..stars].ends_with("**") {
        text.replace_range(stars - 2..stars, "");
    }
    let line_begin = begin == Begin::Line
        || text.starts_with('^')
        || (text.starts_with("(^") && !text.starts_with("(^|"))
        || (text.starts_with("(?:^") && !text.starts_with("(?:^|"));
    let line_end = ends(&["$", "$)"]) && !["|$", "|$)"].iter().any(|end| python.ends_with(end));
    let before = if begin == Begin::Line { r"^(?:\W{0,2})?" } else { "" };
    let flags = if flags.is_empty() { String::new() } else { format!("(?{flags})") };
    let converted = convert(&format!("{flags}{before}{text}"), convert::Lines::One)?;
    // A place between two characters of a word is no bound of one.
    let bound = match converted.backtracking {
        true => r"(?:(?<!\w)|(?!\w))",
        false => r"(?:\b{start-half}|\b{end-half})",
    };
    let first = if begin == Begin::Word { bound } else { "" };
    let last = if end_bound { bound } else { "" };
    Ok(Parsed {
        expression: format!("{first}{}{last}", converted.expression),
        backtracking: converted.backtracking,
        anchored: line_begin || line_end,
    })
}

/// Whether an expression has a group without a name.
fn has_group(python: &str) -> bool {
    let bytes = python.as_bytes();
    (0..bytes.len()).any(|at| {
        bytes[at] == b'('
            && bytes.get(at + 1) != Some(&b'?')
            && (at == 0 || bytes[at - 1] != b'\\')
            && !(at >= 2 && &bytes[at - 2..at] == b"(?")
    })
}

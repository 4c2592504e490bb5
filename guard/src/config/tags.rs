//! `<name>`: the second pass over a filter's values.
//!
//! Input: a value and a way to look names up. Output: the value with every known tag
//! replaced, also tags made of tags, such as `<mdre-<mode>>`; unknown ones, such as
//! `<HOST>`, stay as they are. Invariant: it ends, and its result is bounded.

use std::collections::HashMap;

use crate::config::diagnostic::{Checked, Diagnostic};
use crate::config::text::Text;

/// How often one tag may be replaced within one value, as in Fail2Ban.
const MOST_REPLACEMENTS: usize = 25;
/// Bytes of an expanded value.
const LONGEST: usize = 1 << 20;

/// Expands the tags of the value of `option`.
pub(crate) fn expand(
    option: &str,
    value: Text,
    lookup: &dyn Fn(&str) -> Option<Checked<Text>>,
) -> Checked<Text> {
    let mut value = value;
    let mut counts: HashMap<String, usize> = HashMap::new();
    let mut values: HashMap<String, Option<Text>> = HashMap::new();
    loop {
        let mut out = Text::default();
        let mut replaced = false;
        let mut at = 0;
        while let Some((start, end)) = next_tag(value.as_str(), at) {
            let name = &value.as_str()[start + 1..end - 1];
            if !values.contains_key(name) {
                values.insert(name.to_owned(), lookup(name).transpose()?);
            }
            let tag = value.part(start..end);
            out.push_part(&value, at..start);
            match values.get(name).and_then(Option::as_ref) {
                None => out.push(&tag),
                Some(found) => {
                    let own = format!("<{name}>");
                    if name.eq_ignore_ascii_case(option) || found.as_str().contains(&own) {
                        return Err(refused(&tag, "refers to itself"));
                    }
                    out.push(found);
                    replaced = true;
                    // Counted once a pass: what one replacement brings in comes next.
                    counts.entry(name.to_owned()).or_insert(0);
                }
            }
            if out.len() > LONGEST {
                return Err(refused(&tag, "makes a value of more than a mebibyte"));
            }
            at = end;
        }
        out.push_part(&value, at..value.len());
        if !replaced {
            return Ok(out);
        }
        for (name, count) in &mut counts {
            *count += usize::from(value.as_str().contains(&format!("<{name}>")));
            if *count > MOST_REPLACEMENTS {
                let at = value.as_str().find(&format!("<{name}>")).unwrap_or(0);
                return Err(refused(&value.part(at..at + name.len() + 2), "refers to itself"));
            }
        }
        value = out;
    }
}

/// The next `<…>` without white space or angle brackets inside.
fn next_tag(text: &str, from: usize) -> Option<(usize, usize)> {
    let mut start = None;
    for (at, c) in text[from..].char_indices().map(|(at, c)| (from + at, c)) {
        match (c, start) {
            ('<', _) => start = Some(at),
            ('>', Some(start)) if at > start + 1 => return Some((start, at + 1)),
            ('>' | ' ', _) => start = None,
            _ => {}
        }
    }
    None
}

fn refused(tag: &Text, why: &str) -> Box<Diagnostic> {
    Diagnostic::error(format!("`{tag}` {why}"))
        .at(tag)
        .help("give one of the values involved without a tag")
        .into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn expanded(text: &str, values: &[(&str, &str)]) -> Checked<String> {
        let lookup = |name: &str| {
            let found = values.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| Ok(Text::generated(*value)))
        };
        expand("x", Text::generated(text), &lookup).map(|text| text.to_string())
    }

    #[test]
    fn nested_recursive_and_unknown() {
        let values =
            [("mode", "normal"), ("re-normal", "<pre>: <HOST>"), ("pre", "a<b>"), ("b", "c")];
        for (text, expected) in [
            ("^<re-<mode>>$ <mode>", "^ac: <HOST>$ normal"),
            ("(?P<mode>a) < b> <> <F-USER>.*</F-USER>", "(?Pnormala) < b> <> <F-USER>.*</F-USER>"),
            ("<re-<other>>", "<re-<other>>"),
            ("a < <b>", "a < c"),
        ] {
            assert_eq!(expanded(text, &values).expect(text), expected);
        }
    }

    #[test]
    fn loops_end() {
        for values in [&[("x", "1")][..], &[("a", "<b>"), ("b", "<a>")], &[("a", "<a><a>")]] {
            let error = expanded("<a> <x>", values).expect_err("a loop");
            assert!(error.message.ends_with("refers to itself"), "{error}");
        }
        let wide: Vec<(String, String)> =
            (0..20).map(|i| (format!("{i}"), format!("<{}>", i + 1).repeat(10))).collect();
        let wide: Vec<_> = wide.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        let error = expanded("<0>", &wide).expect_err("too long");
        assert!(error.message.ends_with("more than a mebibyte"), "{error}");
    }

    proptest! {
        #[test]
        fn any_text_expands_or_is_refused(text in "[<>ab/ é]{0,20}", a in "[<>ab]{0,6}", b in "[<>ab]{0,6}") {
            let _ = expanded(&text, &[("a", &a), ("b", &b), ("ab", "<b>")]);
        }
    }
}

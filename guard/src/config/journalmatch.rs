//! `journalmatch`: which journal entries a jail reads.
//!
//! Input: `FIELD=value` tokens, quoted as in a shell. Output: [`JournalMatch`]. Matches
//! of one field are alternatives, of different fields must all hold; `+`, or a new line,
//! begins another set of which one is enough.

use std::ops::Range;

use crate::config::diagnostic::{Checked, Diagnostic};
use crate::config::text::Text;
use crate::core::jail::{FieldMatch, JournalMatch};

/// Reads a value. An empty one accepts every entry.
pub(crate) fn parse(value: &Text) -> Checked<JournalMatch> {
    let mut alternatives = Vec::new();
    for line in value.split(|c| c == '\n') {
        let mut fields: Vec<FieldMatch> = Vec::new();
        for token in words(&line)? {
            if token.value == "+" {
                if fields.is_empty() {
                    return Err(nothing_beside_plus(&line, token.range));
                }
                alternatives.push(std::mem::take(&mut fields));
            } else {
                add(&mut fields, &line, &token)?;
            }
        }
        if fields.is_empty() {
            return Err(nothing_beside_plus(&line, line.len().saturating_sub(1)..line.len()));
        }
        alternatives.push(fields);
    }
    Ok(JournalMatch { alternatives })
}

fn add(fields: &mut Vec<FieldMatch>, line: &Text, token: &Word) -> Checked<()> {
    let valid = |field: &str| {
        !field.is_empty()
            && field.len() <= 64
            && !field.starts_with(|c: char| c.is_ascii_digit())
            && field.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    };
    let Some((field, value)) = token.value.split_once('=').filter(|(field, _)| valid(field)) else {
        let text = line.part(token.range.clone());
        return Err(Diagnostic::error(format!("`{text}` is no journal match"))
            .at(&text)
            .help("write FIELD=value, such as _SYSTEMD_UNIT=ssh.service; a field has A-Z 0-9 _")
            .into());
    };
    let index = fields.iter().position(|known| known.field == field).unwrap_or_else(|| {
        fields.push(FieldMatch { field: field.to_owned(), values: Vec::new() });
        fields.len() - 1
    });
    if !fields[index].values.iter().any(|known| known == value) {
        fields[index].values.push(value.to_owned());
    }
    Ok(())
}

fn nothing_beside_plus(line: &Text, range: Range<usize>) -> Box<Diagnostic> {
    Diagnostic::error("`+` has no journal match on one of its sides")
        .at(&line.part(range))
        .help("write `FIELD=value + FIELD=value`")
        .into()
}

struct Word {
    value: String,
    range: Range<usize>,
}

/// Words as a POSIX shell splits them: quotes and backslashes, no expansion.
fn words(line: &Text) -> Checked<Vec<Word>> {
    let mut words: Vec<Word> = Vec::new();
    let mut open = false;
    let mut quote: Option<(char, usize)> = None;
    let mut characters = line.as_str().char_indices().peekable();
    while let Some((at, c)) = characters.next() {
        if quote.is_none() && c.is_whitespace() {
            open = false;
            continue;
        }
        if !open {
            words.push(Word { value: String::new(), range: at..at });
            open = true;
        }
        let Some(word) = words.last_mut() else { continue };
        word.range.end = at + c.len_utf8();
        match (quote, c) {
            (None, '\'' | '"') => quote = Some((c, at)),
            (Some((open, _)), _) if open == c => quote = None,
            (None | Some(('"', _)), '\\') => match characters.next() {
                Some((at, next)) => {
                    // Within double quotes a backslash escapes only these two.
                    if quote.is_some() && !matches!(next, '"' | '\\') {
                        word.value.push('\\');
                    }
                    word.value.push(next);
                    word.range.end = at + next.len_utf8();
                }
                None => return Err(unclosed(line, at)),
            },
            _ => word.value.push(c),
        }
    }
    match quote {
        Some((_, at)) => Err(unclosed(line, at)),
        None => Ok(words),
    }
}

fn unclosed(line: &Text, at: usize) -> Box<Diagnostic> {
    let text = line.part(at..line.len());
    Diagnostic::error(format!("`{text}` has no end"))
        .at(&text)
        .help("close the quote, or put \\ before it to mean the character itself")
        .into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Checked<JournalMatch> {
        parse(&Text::generated(text))
    }

    #[test]
    fn shown_as_written() {
        for text in [
            "",
            "_SYSTEMD_UNIT=pvedaemon.service",
            "_SYSTEMD_UNIT=ssh.service + _COMM=sshd",
            "_SYSTEMD_UNIT=ssh.service _UID=0 + _COMM=sshd",
        ] {
            assert_eq!(parsed(text).expect(text).to_string(), text);
        }
    }

    #[test]
    fn same_field_or_other_field_and() {
        let found =
            parsed("_COMM=a _UID=0 _COMM=b _COMM=a\n'_COMM=c d' \"X=\\\"\\d\" E=").expect("ok");
        let field = |name: &str, values: &[&str]| FieldMatch {
            field: name.to_owned(),
            values: values.iter().map(|value| (*value).to_owned()).collect(),
        };
        let first = vec![field("_COMM", &["a", "b"]), field("_UID", &["0"])];
        let second = vec![field("_COMM", &["c d"]), field("X", &["\"\\d"]), field("E", &[""])];
        assert_eq!(found.alternatives, [first, second]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, told) in [
            ("ssh.service", "`ssh.service` is no journal match"),
            ("_comm=x", "`_comm=x` is no journal match"),
            ("A=1 +", "`+` has no journal match on one of its sides"),
            ("+ A=1", "`+` has no journal match on one of its sides"),
            ("A=1 + + B=1", "`+` has no journal match on one of its sides"),
            ("A='x", "`'x` has no end"),
            ("A=x\\", "`\\` has no end"),
        ] {
            assert_eq!(parsed(text).expect_err(text).message, told);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_match_or_an_error(text: String, near in "[A=+ '\"\\\\\n]{0,10}") {
            let _ = (parsed(&text), parsed(&near));
        }
    }
}

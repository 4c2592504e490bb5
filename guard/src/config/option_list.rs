//! Names with options: `sshd[mode=aggressive, logtype="a,b"][more='x']`.
//!
//! Input: the value of `filter`, `backend` or `action`. Output: [`Named`], or several of
//! them. Option values may stand in either kind of quotes, without escapes; outside
//! quotes they reach to the next `,` or `]`.

use crate::config::diagnostic::{Checked, Diagnostic};
use crate::config::text::Text;

/// A name and its options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// The name.
    pub(crate) name: Text,
    /// In order; a later option of the same name counts.
    pub(crate) options: Vec<(String, Text)>,
}

impl Named {
    /// The value of an option.
    pub(crate) fn option(&self, name: &str) -> Option<&Text> {
        self.options.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value)
    }
}

/// Reads a value that is one name with options.
pub(crate) fn parse_one(value: &Text) -> Checked<Named> {
    let value = value.trimmed();
    let mut scanner = Scanner { text: &value, at: 0 };
    let named = scanner.named()?;
    scanner.skip_space();
    if scanner.at < value.len() {
        return Err(scanner.error(scanner.at, "is not expected after the options"));
    }
    Ok(named)
}

/// Reads a value that is several names with options, separated by white space.
pub(crate) fn parse_many(value: &Text) -> Checked<Vec<Named>> {
    let mut scanner = Scanner { text: value, at: 0 };
    let mut all = Vec::new();
    loop {
        scanner.skip_space();
        if scanner.at == value.len() {
            return Ok(all);
        }
        all.push(scanner.named()?);
    }
}

struct Scanner<'a> {
    text: &'a Text,
    at: usize,
}

impl Scanner<'_> {
    fn rest(&self) -> &str {
        &self.text.as_str()[self.at..]
    }

    fn skip_space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn take(&mut self, c: char) -> bool {
        let found = self.rest().starts_with(c);
        self.at += if found { c.len_utf8() } else { 0 };
        found
    }

    /// Takes everything up to a character that `ends` accepts, or to the end.
    fn until(&mut self, ends: impl Fn(char) -> bool) -> Text {
        let length = self.rest().find(ends).unwrap_or(self.rest().len());
        self.at += length;
        self.text.part(self.at - length..self.at)
    }

    fn named(&mut self) -> Checked<Named> {
        let start = self.at;
        let name = self.until(|c| c == '[' || c.is_whitespace());
        if name.len() == 0 {
            return Err(self.error(start, "has no name before its options"));
        }
        let mut options = Vec::new();
        loop {
            let after_name = self.at;
            self.skip_space();
            if !self.take('[') {
                self.at = after_name;
                return Ok(Named { name, options });
            }
            self.options(&mut options)?;
        }
    }

    /// Options up to the closing bracket.
    fn options(&mut self, options: &mut Vec<(String, Text)>) -> Checked<()> {
        let opening = self.at - 1;
        loop {
            self.skip_space();
            if self.take(']') {
                return Ok(());
            }
            if self.take(',') {
                continue;
            }
            let start = self.at;
            let name = self.until(|c| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.')));
            if self.at == self.text.len() {
                return Err(self.error(opening, "has no `]`"));
            }
            if name.len() == 0 || !self.take('=') {
                return Err(self.error(start, "is no option; write name=value"));
            }
            let value = match self.rest().chars().next() {
                Some(quote @ ('"' | '\'')) => self.quoted(quote)?,
                _ => self.until(|c| c == ',' || c == ']').trimmed(),
            };
            options.push((name.as_str().to_owned(), value));
            self.skip_space();
            if self.at == self.text.len() {
                return Err(self.error(opening, "has no `]`"));
            }
            if !self.rest().starts_with([',', ']']) {
                return Err(self.error(self.at, "is not expected here; write `,` or `]`"));
            }
        }
    }

    fn quoted(&mut self, quote: char) -> Checked<Text> {
        let opening = self.at;
        self.at += 1;
        let value = self.until(|c| c == quote);
        if self.take(quote) {
            Ok(value.trimmed())
        } else {
            Err(self.error(opening, "has no closing quote"))
        }
    }

    fn error(&self, from: usize, what: &str) -> Box<Diagnostic> {
        let line_end = self.text.as_str()[from..].find('\n').unwrap_or(self.text.len() - from);
        let text = self.text.part(from..from + line_end);
        let shown: String = text.as_str().chars().take(40).collect();
        Diagnostic::error(format!("`{shown}` {what}"))
            .at(&text)
            .help("the form is name[option=value, option=\"value, with comma\"]")
            .into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(named: &Named) -> String {
        let options: Vec<_> =
            named.options.iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("{}|{}", named.name, options.join("|"))
    }

    #[test]
    fn one_name() {
        for (text, expected) in [
            ("sshd", "sshd|"),
            ("sshd[mode=aggressive]", "sshd|mode=aggressive"),
            ("sshd [ mode = ", ""),
            ("x[a=\"1,2]\", b='q\"', c= 3 ][d=][e=5 ,]", "x|a=1,2]|b=q\"|c=3|d=|e=5"),
            ("x[]", "x|"),
            ("x\n [a=1,\n  b=\"l1\nl2\"]", "x|a=1|b=l1\nl2"),
            ("systemd[journalflags=1]", "systemd|journalflags=1"),
        ] {
            let found = parse_one(&Text::generated(text));
            match expected {
                "" => assert!(found.is_err(), "{text}"),
                _ => assert_eq!(shown(&found.expect(text)), expected),
            }
        }
    }

    #[test]
    fn several_names() {
        let text = "iptables[name=a, port=\"1,2\"]\n  mail-whois\n\nx [b=1]";
        let found = parse_many(&Text::generated(text)).expect("ok");
        let found: Vec<_> = found.iter().map(shown).collect();
        assert_eq!(found, ["iptables|name=a|port=1,2", "mail-whois|", "x|b=1"]);
    }

    #[test]
    fn the_last_of_equal_options_counts() {
        let named = parse_one(&Text::generated("x[a=1][a=2]")).expect("ok");
        assert_eq!(named.option("a").map(Text::as_str), Some("2"));
        assert_eq!(named.option("b"), None);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, told) in [
            ("[a=1]", "`[a=1]` has no name before its options"),
            ("x[a=1", "`[a=1` has no `]`"),
            ("x[a]", "`a]` is no option; write name=value"),
            ("x[a=\"1]", "`\"1]` has no closing quote"),
            ("x[a='1'b=2]", "`b=2]` is not expected here; write `,` or `]`"),
            ("x[a=1] y", "`y` is not expected after the options"),
        ] {
            assert_eq!(parse_one(&Text::generated(text)).expect_err(text).message, told);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_list_or_an_error(text: String, near in "[ax=,\"'\\[\\] \n]{0,14}") {
            for text in [&text, &near] {
                let _ = parse_one(&Text::generated(text.as_str()));
                let _ = parse_many(&Text::generated(text.as_str()));
            }
        }
    }
}

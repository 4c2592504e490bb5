//! One file of Fail2Ban's INI language, as Python's `configparser` reads it.
//!
//! Input: a [`SourceFile`]. Output: sections in order, each value with the place of
//! every line of it, and the problems. The language: `[section]`; `key = value` or
//! `key: value`; lines indented deeper than their key go on with its value, joined by a
//! newline; lines whose first character is `#` or `;` are comments, also within a value;
//! ` ;` after white space begins a comment. Invariant: any text parses, what is wrong
//! with it is told.

use std::ops::Range;
use std::sync::Arc;

use crate::config::diagnostic::Diagnostic;
use crate::config::text::{SourceFile, Text};

/// A parsed file.
#[derive(Debug, Default)]
pub(crate) struct Ini {
    /// In the order of the file; names may repeat.
    pub(crate) sections: Vec<IniSection>,
    /// What the parser did not understand, or finds suspicious.
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// A section as one file gives it.
#[derive(Debug)]
pub(crate) struct IniSection {
    /// What stands in the brackets.
    pub(crate) name: Text,
    /// Key, lower-case, and value, in order.
    pub(crate) entries: Vec<IniEntry>,
    /// Whether a line of it was not understood.
    pub(crate) broken: bool,
}

/// `key = value`.
#[derive(Clone, Debug)]
pub(crate) struct IniEntry {
    /// Lower-case.
    pub(crate) name: String,
    /// As written.
    pub(crate) key: Text,
    /// Lines joined by newlines, each without white space and comment.
    pub(crate) value: Text,
}

/// Reads a file.
pub(crate) fn parse(file: &Arc<SourceFile>) -> Ini {
    let mut parser =
        Parser { file, ini: Ini::default(), indent: 0, open_value: false, said_no_section: false };
    let mut start = 0;
    for line in file.text().split_inclusive('\n') {
        parser.line(start, line);
        start += line.len();
    }
    for section in &mut parser.ini.sections {
        for entry in &mut section.entries {
            let length = entry.value.as_str().trim_end().len();
            entry.value = entry.value.part(0..length);
        }
    }
    parser.ini
}

struct Parser<'a> {
    file: &'a Arc<SourceFile>,
    ini: Ini,
    /// Indentation of the last line that was not a continuation.
    indent: usize,
    /// Whether a deeper line goes on with the last value.
    open_value: bool,
    said_no_section: bool,
}

impl Parser<'_> {
    fn line(&mut self, start: usize, line: &str) {
        // A byte order mark is no part of the first key.
        let mark = if start == 0 && line.starts_with('\u{feff}') { 3 } else { 0 };
        let content = &line[mark..comment_start(line).max(mark)];
        let is_comment = mark + content.len() < line.trim_end_matches(['\n', '\r']).len();
        let lead = content.len() - content.trim_start().len();
        let value = content.trim();
        let range = start + mark + lead..start + mark + lead + value.len();
        if value.is_empty() {
            // An empty line within a value belongs to it, a comment does not.
            if !is_comment {
                self.continue_value(range);
            }
        } else if self.open_value && lead > self.indent {
            self.continue_value(range);
        } else {
            self.indent = lead;
            self.open_value = false;
            match value.strip_prefix('[').and_then(|rest| rest.rfind(']')) {
                Some(length) if length > 0 => {
                    self.section(range.start + 1..range.start + 1 + length);
                }
                _ => self.entry(range),
            }
        }
    }

    fn continue_value(&mut self, range: Range<usize>) {
        if !self.open_value {
            return;
        }
        let section = self.ini.sections.last_mut();
        if let Some(entry) = section.and_then(|section| section.entries.last_mut()) {
            entry.value.push_str("\n");
            entry.value.push(&Text::of(self.file, range));
        }
    }

    fn section(&mut self, name: Range<usize>) {
        let name = Text::of(self.file, name);
        if self.ini.sections.iter().any(|known| known.name.as_str() == name.as_str()) {
            self.ini.diagnostics.push(
                Diagnostic::warning(format!("section [{name}] stands twice in this file"))
                    .at(&name)
                    .help(
                        "both count, the later value of a key wins; Fail2Ban refuses such a file",
                    ),
            );
        }
        self.ini.sections.push(IniSection { name, entries: Vec::new(), broken: false });
    }

    fn entry(&mut self, line: Range<usize>) {
        let text = &self.file.text()[line.clone()];
        let delimiter = text.find(['=', ':']);
        let (key, value) = match delimiter {
            Some(at) => (text[..at].trim_end(), text[at + 1..].trim_start()),
            None => ("", ""),
        };
        let whole = Text::of(self.file, line.clone());
        if self.ini.sections.is_empty() {
            if !self.said_no_section {
                self.said_no_section = true;
                self.ini.diagnostics.push(
                    Diagnostic::error("text before the first [section]")
                        .at(&whole)
                        .help("begin the file with a section such as [DEFAULT] or [sshd]"),
                );
            }
            let name = Text::generated("DEFAULT");
            self.ini.sections.push(IniSection { name, entries: Vec::new(), broken: true });
        }
        let Some(section) = self.ini.sections.last_mut() else { return };
        if key.is_empty() {
            section.broken = true;
            self.ini.diagnostics.push(
                Diagnostic::error(format!("`{whole}` is no `key = value`")).at(&whole).help(
                    "put `=` between key and value, `#` before a comment, or indent a line \
                     that goes on with the value above",
                ),
            );
            return;
        }
        let key = Text::of(self.file, line.start..line.start + key.len());
        let value = Text::of(self.file, line.end - value.len()..line.end);
        let name = key.as_str().to_lowercase();
        if section.entries.iter().any(|known| known.name == name) {
            self.ini.diagnostics.push(
                Diagnostic::warning(format!("`{key}` stands twice in this section"))
                    .at(&key)
                    .help("the last one counts; Fail2Ban refuses such a file"),
            );
        }
        section.entries.push(IniEntry { name, key, value });
        self.open_value = true;
    }
}

/// Where the comment of a line begins; its end if there is none.
fn comment_start(line: &str) -> usize {
    let line = line.trim_end_matches(['\n', '\r']);
    if line.trim_start_matches('\u{feff}').trim_start().starts_with(['#', ';']) {
        return 0;
    }
    let mut after_space = false;
    for (at, c) in line.char_indices() {
        if c == ';' && after_space {
            return at;
        }
        after_space = c.is_whitespace();
    }
    line.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Ini {
        parse(&SourceFile::new("test.conf", text))
    }

    fn values(ini: &Ini) -> Vec<(String, String, String)> {
        let entry = |section: &IniSection, entry: &IniEntry| {
            (section.name.to_string(), entry.name.clone(), entry.value.to_string())
        };
        ini.sections.iter().flat_map(|s| s.entries.iter().map(move |e| entry(s, e))).collect()
    }

    fn check(text: &str, expected: &[(&str, &str, &str)]) {
        let ini = parsed(text);
        assert!(ini.diagnostics.is_empty(), "{:?}", ini.diagnostics);
        let owned: Vec<_> = expected
            .iter()
            .map(|(a, b, c)| ((*a).to_owned(), (*b).to_owned(), (*c).to_owned()))
            .collect();
        assert_eq!(values(&ini), owned, "{text:?}");
    }

    #[test]
    fn keys_and_values() {
        check(
            "# c\n; c\n[sshd]\nEnabled = true\nport: 22 ; the port\nurl = a;b\nempty =\r\n",
            &[
                ("sshd", "enabled", "true"),
                ("sshd", "port", "22"),
                ("sshd", "url", "a;b"),
                ("sshd", "empty", ""),
            ],
        );
        check("\u{feff}[a]\n x = [y]\n", &[("a", "x", "[y]")]);
        check("[a?b=c]]\nx = 1 = 2\n", &[("a?b=c]", "x", "1 = 2")]);
    }

    #[test]
    fn continuation_lines() {
        check(
            "[Definition]\nfailregex = ^one$\n   ^two ;no\n# comment\n  # comment\n\n   ^three\n\nx = 1\n",
            &[("Definition", "failregex", "^one$\n^two\n\n^three"), ("Definition", "x", "1")],
        );
        // As deep as its key is a key of its own; a section closes the value.
        check("[a]\n  x = 1\n  y = 2\n   3\n", &[("a", "x", "1"), ("a", "y", "2\n3")]);
        check("[a]\nx =\n [b]\n[c]\n y = 1\n", &[("a", "x", "\n[b]"), ("c", "y", "1")]);
    }

    #[test]
    fn every_line_of_a_value_knows_its_place() {
        let ini = parsed("[a]\nfailregex = one\n            two\n");
        let lines = ini.sections[0].entries[0].value.split(|c| c == '\n');
        let places: Vec<_> = lines.iter().filter_map(Text::place).collect();
        assert_eq!((places[0].line, places[0].column), (2, 13));
        assert_eq!((places[1].line, places[1].column), (3, 13));
    }

    #[test]
    fn what_is_wrong_is_told_and_the_rest_is_read() {
        let ini = parsed("x = 1\n[a]\nenabled true\n= 3\nport = 22\nport = 23\n[a]\ny = 2\n");
        let told: Vec<_> = ini.diagnostics.iter().map(ToString::to_string).collect();
        assert!(told[0].starts_with("error: test.conf:1:1: text before"), "{told:?}");
        assert!(told[1].starts_with("error: test.conf:3:1: `enabled true` is no"), "{told:?}");
        assert!(told[2].starts_with("error: test.conf:4:1: `= 3` is no"), "{told:?}");
        assert!(told[3].starts_with("warning: test.conf:6:1: `port` stands twice"), "{told:?}");
        assert!(told[4].starts_with("warning: test.conf:7:2: section [a] stands"), "{told:?}");
        assert_eq!(told.len(), 5);
        assert!(ini.sections[1].broken && !ini.sections[2].broken);
        assert_eq!(ini.sections[2].entries[0].value.as_str(), "2");
    }

    proptest! {
        #[test]
        fn any_text_parses_and_places_lie_in_the_file(bytes: Vec<u8>, lines in "([\\[\\]a=:;# \t%\r\né]{0,6}\n){0,8}") {
            for text in [String::from_utf8_lossy(&bytes).into_owned(), lines] {
                let ini = parsed(&text);
                let count = text.split('\n').count();
                for diagnostic in &ini.diagnostics {
                    let place = diagnostic.place.as_ref().expect("a place");
                    prop_assert!(place.line <= count);
                    prop_assert!(place.column <= 1 + place.source.chars().count());
                    let _ = diagnostic.render(true);
                }
            }
        }
    }
}

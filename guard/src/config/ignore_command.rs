//! `ignorecommand` and `ignorecache`: a program that is asked about each source.
//!
//! Input: a command line as Fail2Ban hands it to a shell, and the cache's options.
//! Output: [`IgnoreCommand`], a program and its arguments with their tags. No shell ever
//! sees them: quotes and backslashes are taken apart here, and whatever only a shell can
//! do is refused by its name. Invariant: a tag stays within the argument it stands in.

use crate::config::diagnostic::{Checked, Diagnostic, Diagnostics};
use crate::config::option_list::{self, Named};
use crate::config::resolve::{Resolved, taken};
use crate::config::text::Text;
use crate::config::time;
use crate::core::jail::{AnswerCache, IgnoreCommand};
use crate::core::time::Span;

/// The command of a jail; `Some(None)` if it has none, nothing if an error is told.
pub(crate) fn ignore_command(
    jail: &Resolved<'_>,
    found: &mut Diagnostics,
) -> Option<Option<IgnoreCommand>> {
    let cache = jail.option("ignorecache").map(|value| taken(answer_cache(value), found));
    let Some(command) = jail.option("ignorecommand") else {
        if let (Some(Some(_)), Some(value)) = (&cache, jail.option("ignorecache")) {
            found.push(
                Diagnostic::note("ignorecache has no effect without ignorecommand")
                    .at(value)
                    .help("guard's own allow-list needs no cache"),
            );
        }
        return cache.unwrap_or(Some(None)).map(|_| None);
    };
    let arguments = taken(arguments(&command.trimmed()), found)?;
    Some(Some(IgnoreCommand { arguments, cache: cache.unwrap_or(Some(None))? }))
}

/// `key="<ip>", max-count=100, max-time=5m`; without a key nothing is kept.
fn answer_cache(value: &Text) -> Checked<Option<AnswerCache>> {
    let mut list = Text::generated("cache[");
    list.push(value);
    list.push_str("]");
    let list: Named = option_list::parse_one(&list)?;
    let known = ["key", "max-count", "max-time"];
    if let Some((option, value)) = list.options.iter().find(|(o, _)| !known.contains(&o.as_str())) {
        return Err(Diagnostic::error(format!("ignorecache has no option `{option}`"))
            .at(value)
            .help("its options are key, max-count and max-time")
            .into());
    }
    let Some(key) = list.option("key").filter(|key| !key.is_blank()) else {
        return Err(Diagnostic::error("ignorecache has no key")
            .at(value)
            .help("write what tells one question from another, such as key=\"<ip>\"")
            .into());
    };
    let max_count = list.option("max-count").map(|count| {
        count.as_str().parse().map_err(|_| -> Box<Diagnostic> {
            Diagnostic::error(format!("ignorecache: max-count={count} is no whole number"))
                .at(count)
                .help("write how many answers are kept, such as max-count=100")
                .into()
        })
    });
    let max_time = list.option("max-time").map(|value| {
        let forever = Span::from_micros(i64::MAX);
        time::length("max-time", value).map(|length| length.unwrap_or(forever))
    });
    Ok(Some(AnswerCache {
        key: key.to_string(),
        max_count: max_count.unwrap_or(Ok(100))?,
        max_time: max_time.unwrap_or(Ok(Span::from_seconds(300)))?,
    }))
}

/// The program and its arguments.
fn arguments(command: &Text) -> Checked<Vec<String>> {
    let mut words = Words { command, words: Vec::new(), open: None };
    words.split()?;
    let words = words.words;
    let name = words.first().map_or("", |word| word.rsplit('/').next().unwrap_or_default());
    if words.first().is_some_and(|first| first.contains('=')) {
        return Err(refused(command, 0..command.len(), "an assignment before a program"));
    }
    let shell = ["sh", "bash", "dash", "zsh", "ksh", "ash", "eval", "exec", "source", "."];
    let script = |word: &String| word.starts_with('-') && word.contains('c');
    if shell.contains(&name)
        && (!name.ends_with("sh")
            || words.iter().skip(1).take_while(|w| w.starts_with('-')).any(script))
    {
        return Err(refused(command, 0..command.len(), "a command for a shell"));
    }
    Ok(words)
}

struct Words<'a> {
    command: &'a Text,
    words: Vec<String>,
    /// The word that goes on.
    open: Option<String>,
}

impl Words<'_> {
    fn split(&mut self) -> Checked<()> {
        let command = self.command;
        let text = command.as_str();
        let mut at = 0;
        while let Some(c) = text[at..].chars().next() {
            let length = c.len_utf8();
            match c {
                '\n' => return Err(refused(command, at..at + 1, "several lines")),
                c if c.is_whitespace() => self.words.extend(self.open.take()),
                '\'' => at = self.quoted(at)?,
                '"' => at = self.in_double_quotes(at)?,
                '\\' => {
                    let Some(next) = text[at + 1..].chars().next() else {
                        return Err(refused(command, at..at + 1, "a backslash at the end"));
                    };
                    self.push(next);
                    at += next.len_utf8();
                }
                '<' => match tag(&text[at..]) {
                    Some(tag) => {
                        self.open.get_or_insert_default().push_str(tag);
                        at += tag.len() - 1;
                    }
                    None => return Err(refused(command, at..at + 1, "a redirection")),
                },
                '>' => return Err(refused(command, at..at + 1, "a redirection")),
                _ => match shell_syntax(c, self.open.is_none()) {
                    Some(what) => return Err(refused(command, at..at + length, what)),
                    None => self.push(c),
                },
            }
            at += length;
        }
        self.words.extend(self.open.take());
        Ok(())
    }

    fn push(&mut self, c: char) {
        self.open.get_or_insert_default().push(c);
    }

    /// Takes what stands in single quotes; gives the place of the closing one.
    fn quoted(&mut self, at: usize) -> Checked<usize> {
        let rest = &self.command.as_str()[at + 1..];
        let Some(length) = rest.find('\'') else { return Err(self.unclosed(at)) };
        self.open.get_or_insert_default().push_str(&rest[..length]);
        Ok(at + 1 + length)
    }

    /// Takes what stands in double quotes; gives the place of the closing one.
    fn in_double_quotes(&mut self, at: usize) -> Checked<usize> {
        let text = self.command.as_str();
        self.open.get_or_insert_default();
        let mut characters = text[at + 1..].char_indices().map(|(i, c)| (at + 1 + i, c));
        while let Some((at, c)) = characters.next() {
            match c {
                '"' => return Ok(at),
                '$' | '`' => {
                    return Err(refused(self.command, at..at + 1, "a shell's substitution"));
                }
                '\\' => match characters.next() {
                    Some((_, next)) => {
                        if !matches!(next, '"' | '\\' | '$' | '`') {
                            self.push('\\');
                        }
                        self.push(next);
                    }
                    None => break,
                },
                c => self.push(c),
            }
        }
        Err(self.unclosed(at))
    }

    fn unclosed(&self, at: usize) -> Box<Diagnostic> {
        let text = self.command.part(at..self.command.len());
        Diagnostic::error(format!("ignorecommand: `{text}` has no closing quote"))
            .at(&text)
            .help("close the quote, or put \\ before it to mean the character itself")
            .into()
    }
}

/// `<ip>`, `<F-USER>` and the like, at the front of a text.
fn tag(text: &str) -> Option<&str> {
    let end = text.find('>')?;
    let name = &text[1..end];
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    let letter = name.starts_with(|c: char| c.is_ascii_alphabetic());
    (letter && name.chars().all(plain)).then(|| &text[..=end])
}

/// What a character outside quotes means to a shell, if it means something.
fn shell_syntax(c: char, begins_word: bool) -> Option<&'static str> {
    Some(match c {
        '|' => "a pipe",
        ';' => "several commands",
        '&' => "`&`, which begins another command",
        '$' | '`' => "a shell's substitution",
        '(' | ')' | '{' | '}' => "a shell's grouping",
        '*' | '?' | '[' | ']' => "a pattern of file names",
        '#' if begins_word => "a comment",
        '~' if begins_word => "a home directory",
        '!' if begins_word => "a shell's negation",
        _ => return None,
    })
}

fn refused(command: &Text, range: std::ops::Range<usize>, what: &str) -> Box<Diagnostic> {
    Diagnostic::error(format!("ignorecommand: {what} needs a shell, which guard does not run"))
        .at(&command.part(range))
        .help("put it into a script of your own and name that with its arguments; quote what is meant as text")
        .into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_and_quotes() {
        for (text, expected) in [
            ("/bin/x <ip>", vec!["/bin/x", "<ip>"]),
            ("/bin/x  -a='b c'\\ d \"e \\\" f\" ''", vec!["/bin/x", "-a=b c d", "e \" f", ""]),
            ("/x --user=<F-USER> '$(id);|'", vec!["/x", "--user=<F-USER>", "$(id);|"]),
            ("/bin/sh /etc/script <ip>", vec!["/bin/sh", "/etc/script", "<ip>"]),
            ("/x a#b a~b !a", vec![]),
            ("/x a#b a~b a!", vec!["/x", "a#b", "a~b", "a!"]),
        ] {
            let found = arguments(&Text::generated(text));
            match expected.as_slice() {
                [] => assert!(found.is_err(), "{text}"),
                expected => assert_eq!(found.expect(text), expected, "{text}"),
            }
        }
    }

    #[test]
    fn what_only_a_shell_can_do_is_refused_by_name() {
        for (text, told) in [
            ("/x <ip> | grep y", "a pipe"),
            ("/x; /y", "several commands"),
            ("/x && /y", "`&`, which begins another command"),
            ("/x $(id)", "a shell's substitution"),
            ("/x \"`id`\"", "a shell's substitution"),
            ("/x \"$HOME\"", "a shell's substitution"),
            ("(/x)", "a shell's grouping"),
            ("/x > /dev/null", "a redirection"),
            ("/x 2>&1", "a redirection"),
            ("/x < /etc/passwd", "a redirection"),
            ("/x /etc/*", "a pattern of file names"),
            ("[ -e /x ]", "a pattern of file names"),
            ("/x # y", "a comment"),
            ("~/x", "a home directory"),
            ("A=1 /x", "an assignment before a program"),
            ("/x\n/y", "several lines"),
            ("/bin/sh -c 'test <ip> = 1'", "a command for a shell"),
            ("bash -ec x", "a command for a shell"),
            ("eval x", "a command for a shell"),
        ] {
            let error = arguments(&Text::generated(text)).expect_err(text).message;
            let expected = format!("ignorecommand: {told} needs a shell, which guard does not run");
            assert_eq!(error, expected, "{text}");
        }
        let error = arguments(&Text::generated("/x 'a")).expect_err("unclosed").message;
        assert_eq!(error, "ignorecommand: `'a` has no closing quote");
    }

    #[test]
    fn the_cache() {
        let cache = |text: &str| answer_cache(&Text::generated(text));
        let found = cache("key=\"<F-USER>@<ip-host>\", max-count=100, max-time=5m").expect("ok");
        let expected = AnswerCache {
            key: "<F-USER>@<ip-host>".to_owned(),
            max_count: 100,
            max_time: Span::from_seconds(300),
        };
        assert_eq!(found, Some(expected.clone()));
        let short = cache("key=<ip>").expect("ok").expect("a cache");
        assert_eq!(AnswerCache { key: "<F-USER>@<ip-host>".to_owned(), ..short }, expected);
        for wrong in ["max-count=1", "key=a, size=3", "key=a, max-count=x", "key=a, max-time=x"] {
            assert!(cache(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_command_or_refused(text: String, near in "[a<>'\"\\\\ $=|\n-]{0,12}") {
            let _ = (arguments(&Text::generated(text.as_str())), answer_cache(&Text::generated(text)));
            let _ = arguments(&Text::generated(near));
        }
    }
}

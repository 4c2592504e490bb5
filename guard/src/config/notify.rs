//! `[[notify]]`: who is told of bans.
//!
//! Input: a table of `guard.toml`. Output: a [`Hook`]. Invariant: a program is an absolute
//! path with arguments, a webhook an http or https URL without anything that could be
//! taken for more than a URL.

use crate::config::toml_table::{Table, Value};
use crate::core::jail::JailName;
use crate::core::time::Span;

/// Somebody to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// `jails`: of whose bans; empty for all.
    pub jails: Vec<JailName>,
    /// `events` has `ban`.
    pub bans: bool,
    /// `events` has `unban`.
    pub unbans: bool,
    /// How.
    pub means: Means,
    /// `per-minute`: at most, and so many at once.
    pub per_minute: u32,
    /// `timeout`: of one attempt.
    pub timeout: Span,
}

/// How somebody is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Means {
    /// `command`: a program and its arguments; not empty.
    Program(Vec<String>),
    /// `webhook`: a URL that takes JSON.
    Webhook(String),
}

/// What a URL may be long.
const LONGEST_URL: usize = 2_000;
/// How long an attempt may take.
const TIMEOUTS: (Span, Span) = (Span::from_seconds(1), Span::from_seconds(60));

impl Hook {
    /// Takes the keys of one table; nothing if it does not say whom to tell.
    pub(crate) fn take(table: &mut Table<'_>) -> Option<Self> {
        let (mut jails, mut events) = (Vec::new(), (true, false));
        table.take("jails", |value| {
            for item in value.list("a list of jails' names")? {
                let name = item.string().and_then(|name| JailName::new(name).ok());
                jails.push(name.ok_or_else(|| {
                    item.error(format!("{} is no jail's name", item.written()))
                        .help("write such as [\"sshd\"], or leave it out for all jails")
                })?);
            }
            Ok(())
        });
        table.take("events", |value| {
            events = (false, false);
            for item in value.list("a list such as [\"ban\", \"unban\"]")? {
                match item.string() {
                    Some("ban") => events.0 = true,
                    Some("unban") => events.1 = true,
                    _ => {
                        return Err(item
                            .error(format!("{} is no event", item.written()))
                            .help("write one of \"ban\", \"unban\"")
                            .into());
                    }
                }
            }
            Ok(())
        });
        let mut means = None;
        table.take("command", |value| {
            let mut words = Vec::new();
            for item in value.list("a program and its arguments as a list")? {
                let word = item.string().filter(|word| !word.contains('\0'));
                words.push(word.map(str::to_owned).ok_or_else(|| {
                    item.error(format!("{} is no argument", item.written()))
                        .help("write each argument as a string")
                })?);
            }
            if !words.first().is_some_and(|program| program.starts_with('/')) {
                return Err(value
                    .error("command does not begin with a program's absolute path".to_owned())
                    .help("write such as [\"/usr/local/bin/on-ban\", \"argument\"]")
                    .into());
            }
            means = Some(Means::Program(words));
            Ok(())
        });
        let mut twice = None;
        table.take("webhook", |value| {
            if means.is_some() {
                twice = Some(());
                return Err(value
                    .error("a table has `command` or `webhook`, not both".to_owned())
                    .help("write a [[notify]] for each")
                    .into());
            }
            means = Some(Means::Webhook(url(value)?));
            Ok(())
        });
        let mut per_minute = 30;
        table.number("per-minute", &mut per_minute, 1..=6_000);
        let mut timeout = Span::from_seconds(10);
        table.span("timeout", &mut timeout);
        table.refuse_unless(
            "timeout",
            (TIMEOUTS.0..=TIMEOUTS.1).contains(&timeout),
            "write a length of time from \"1s\" to \"60s\"",
        );
        if means.is_none() && twice.is_none() {
            table.refuse("[[notify]] has neither `command` nor `webhook`");
        }
        let (bans, unbans) = events;
        Some(Self { jails, bans, unbans, means: means?, per_minute, timeout })
    }

    /// Whether it is told of bans, or of their ends, in a jail.
    pub fn wants(&self, jail: &JailName, is_ban: bool) -> bool {
        (if is_ban { self.bans } else { self.unbans })
            && (self.jails.is_empty() || self.jails.contains(jail))
    }
}

fn url(value: &Value<'_>) -> Result<String, Box<crate::config::Diagnostic>> {
    let text = value.string().unwrap_or_default();
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '<' | '>');
    if host.is_none_or(|host| host.is_empty() || host.starts_with('/'))
        || text.len() > LONGEST_URL
        || !text.chars().all(plain)
    {
        return Err(value
            .error(format!("webhook = {} is no URL", value.written()))
            .help("write such as \"https://ntfy.example/guard\"; encode other characters with %")
            .into());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Settings;

    fn parse(text: &str) -> Result<Vec<Hook>, Vec<String>> {
        match Settings::parse(Path::new("guard.toml"), text) {
            Ok(settings) => Ok(settings.notify),
            Err(problems) => Err(problems.0.into_iter().map(|problem| problem.message).collect()),
        }
    }

    #[test]
    fn each_table_is_somebody_to_be_told() {
        let text = "[[notify]]\ncommand = [\"/bin/x\", \"a b\"]\n\
                    [[notify]]\njails = [\"sshd\"]\nevents = [\"ban\", \"unban\"]\n\
                    webhook = \"https://h.example/x?y=%20\"\nper-minute = 7\ntimeout = \"5s\"\n";
        let hooks = parse(text).expect("hooks");
        let [program, webhook] = hooks.as_slice() else { panic!("{hooks:?}") };
        assert_eq!(program.means, Means::Program(vec!["/bin/x".into(), "a b".into()]));
        let name = |name: &str| JailName::new(name).expect("a name");
        assert!(program.wants(&name("any"), true) && !program.wants(&name("any"), false));
        assert_eq!(webhook.means, Means::Webhook("https://h.example/x?y=%20".into()));
        assert!(webhook.wants(&name("sshd"), false) && !webhook.wants(&name("proxmox"), true));
        assert_eq!((webhook.per_minute, webhook.timeout), (7, Span::from_seconds(5)));
        assert_eq!(parse("").expect("none"), []);
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (text, expected) in [
            ("jails = [\"sshd\"]", "[[notify]] has neither `command` nor `webhook`"),
            ("command = [\"x\"]", "command does not begin with a program's absolute path"),
            ("command = []", "command does not begin with a program's absolute path"),
            (
                "command = [\"/x\"]\nwebhook = \"http://h\"",
                "a table has `command` or `webhook`, not both",
            ),
            ("webhook = \"file:///etc/passwd\"", "webhook = \"file:///etc/passwd\" is no URL"),
            ("webhook = \"https:///x\"", "webhook = \"https:///x\" is no URL"),
            ("webhook = \"https://h/a b\"", "webhook = \"https://h/a b\" is no URL"),
            ("webhook = 'https://h/\"x'", "webhook = 'https://h/\"x' is no URL"),
            ("command = [\"/x\"]\nevents = [\"bann\"]", "\"bann\" is no event"),
            ("command = [\"/x\"]\ntimeout = \"2m\"", "timeout is out of range"),
            ("command = [\"/x\"]\njails = [\"a b\"]", "\"a b\" is no jail's name"),
            ("command = [\"/x\"]\nwebhok = 1", "unknown key `webhok`"),
        ] {
            let problems = parse(&format!("[[notify]]\n{text}\n")).expect_err(text);
            assert!(problems.iter().any(|problem| problem == expected), "{text}: {problems:?}");
        }
        assert_eq!(
            parse("notify = 1\n").expect_err("no table"),
            ["notify = 1 is no list of tables"]
        );
    }
}

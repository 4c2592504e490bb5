//! The commands of the fixture.

use anyhow::{Context, Result, bail};

/// One step.
pub(crate) enum Step {
    /// A failure is logged.
    Fail { jail: String, address: String },
    /// The client is run.
    Ask(Ask),
}

/// One command, and what is expected of it.
#[derive(Default)]
pub(crate) struct Ask {
    pub(crate) words: Vec<String>,
    /// Under which tag a difference is documented, if there is to be one.
    pub(crate) differs: Option<String>,
    /// What guard prints, if not what Fail2Ban does.
    pub(crate) contains: Vec<String>,
    /// The exit code of both; the inner `None` leaves it open.
    pub(crate) exit: Option<Option<i64>>,
    /// guard's own client prints something else than the real one; its exit code is the same.
    pub(crate) own_words: bool,
    /// Repeated until both print this.
    pub(crate) until: Option<String>,
}

/// Reads the fixture.
pub(crate) fn parse(script: &str) -> Result<Vec<Step>> {
    let mut steps: Vec<Step> = Vec::new();
    for line in script.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
        match (kind, steps.last_mut()) {
            ("$", _) => {
                steps.push(Step::Ask(Ask { words: words(rest), ..Ask::default() }));
            }
            ("+", _) => {
                let (jail, address) = rest.split_once(' ').context("a jail and an address")?;
                let (jail, address) = (jail.to_owned(), address.to_owned());
                steps.push(Step::Fail { jail, address });
            }
            ("~", Some(Step::Ask(ask))) => ask.differs = Some(rest.to_owned()),
            ("=", Some(Step::Ask(ask))) => ask.contains.push(rest.to_owned()),
            ("^", Some(Step::Ask(ask))) => ask.own_words = true,
            ("?", Some(Step::Ask(ask))) => ask.until = Some(rest.to_owned()),
            ("exit", Some(Step::Ask(ask))) => ask.exit = Some(rest.parse().ok()),
            _ => bail!("not understood: {line}"),
        }
    }
    Ok(steps)
}

/// Words between blanks; those in single quotes are one.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (number, part) in text.split('\'').enumerate() {
        if number % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

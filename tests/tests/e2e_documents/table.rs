//! What a row about a command says: how it is run, and what is seen of it.

use anyhow::{Context, Result, ensure};
use guard_tests::installed::Installed;

use crate::rows::ROWS;

/// Something to do on the host, or to see there.
pub(crate) type Deed = fn(&Installed) -> Result<()>;
/// A look at what a command said, and at the host.
pub(crate) type Look = fn(&Installed, &str) -> Result<()>;

/// A command of a page.
pub(crate) struct Row {
    pub(crate) page: &'static str,
    pub(crate) command: &'static str,
    pub(crate) how: How,
    pub(crate) reason: &'static str,
}

/// How a command is run.
pub(crate) enum How {
    /// On the host.
    Here(Here),
    /// By what this file holds.
    Elsewhere { file: &'static str, holds: &'static [&'static str] },
}

/// A command on the host.
pub(crate) struct Here {
    /// Done first: what the page takes for given at this place.
    pub(crate) before: Deed,
    /// Words that stand for something, and what they are here.
    pub(crate) with: &'static [(&'static str, Value)],
    /// If it runs until it is stopped: what happens meanwhile, and what shows that it works.
    pub(crate) until: Option<(Deed, Look)>,
    /// How it ends.
    pub(crate) code: i32,
    /// Seen afterwards.
    pub(crate) after: Look,
}

/// What a word stands for.
pub(crate) enum Value {
    Is(&'static str),
    Of(fn(&Installed) -> Result<String>),
}

/// A command that nothing is to be known of.
pub(crate) const PLAIN: Here =
    Here { before: |_| Ok(()), with: &[], until: None, code: 0, after: |_, _| Ok(()) };

/// The row of a command, if it has one.
pub(crate) fn row(page: &str, command: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.page == page && row.command == command)
}

/// A command with what its words stand for.
pub(crate) fn filled_in(host: &Installed, command: &str, here: &Here) -> Result<String> {
    let mut text = command.to_owned();
    for (word, value) in here.with {
        let value = match value {
            Value::Is(value) => (*value).to_owned(),
            Value::Of(of) => of(host).with_context(|| format!("what {word} stands for"))?,
        };
        text = text.replace(word, &value);
    }
    ensure!(here.with.is_empty() || text != command, "none of its words stands for anything");
    Ok(text)
}

/// Sees that it says so.
pub(crate) fn says(said: &str, words: &str) -> Result<()> {
    ensure!(said.contains(words), "“{words}” is not in what it says");
    Ok(())
}

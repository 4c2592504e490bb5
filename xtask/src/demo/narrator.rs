//! How the demo speaks: what happens in plain lines, what programs say indented.

use std::env;
use std::io::{IsTerminal, Write, stdout};

/// Tells the story on standard output.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Narrator {
    colour: bool,
}

impl Narrator {
    /// Colours only on a terminal, and not with `NO_COLOR`.
    pub(crate) fn new() -> Self {
        let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { colour: stdout().is_terminal() && !refused }
    }

    /// A new chapter.
    pub(crate) fn chapter(self, title: &str) {
        println!("\n{}", self.bold(&format!("━━━ {title} ━━━")));
    }

    /// What is about to happen, or why.
    pub(crate) fn say(self, text: &str) {
        println!("\n{text}");
        stdout().flush().ok();
    }

    /// A command that a user would type, and what it answered.
    pub(crate) fn command(self, command: &str, answer: &str) {
        println!("\n  {}", self.bold(&format!("$ {command}")));
        self.quote(answer);
    }

    /// Lines that a program wrote.
    pub(crate) fn quote(self, text: &str) {
        for line in text.trim_end().lines() {
            println!("  {line}");
        }
        stdout().flush().ok();
    }

    /// Something that was seen to be as it should be.
    pub(crate) fn seen(self, text: &str) {
        let mark = if self.colour { "\u{1b}[32m✓\u{1b}[0m" } else { "✓" };
        println!("  {mark} {text}");
        stdout().flush().ok();
    }

    fn bold(self, text: &str) -> String {
        if self.colour { format!("\u{1b}[1m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

//! What is wrong with the configuration: where, what, and what to do about it.
//!
//! Input: a message and the [`Text`] it is about. Output: [`Diagnostic`], rendered as
//! compilers do, with the line and a caret under the characters meant.

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

pub use crate::config::text::Place;
use crate::config::text::Text;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// It works as well as could be wished; worth knowing when one looks.
    Note,
    /// It works, though not as the words suggest.
    Warning,
    /// What it concerns does not start.
    Error,
}

/// One problem of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, lower-case, one line.
    pub message: String,
    /// The file or directory that it concerns.
    pub file: Option<PathBuf>,
    /// Where in the file.
    pub place: Option<Place>,
    /// What to do about it.
    pub help: Option<String>,
    /// The jail that does not start because of it, or that the warning is about.
    pub jail: Option<String>,
}

/// A problem in place of a value. Boxed: it is rare and large.
pub(crate) type Checked<T> = Result<T, Box<Diagnostic>>;

impl Diagnostic {
    /// Something that keeps a jail or the agent from starting.
    pub fn error(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            message: message.into(),
            file: None,
            place: None,
            help: None,
            jail: None,
        }
    }

    /// Something that works differently from what is written.
    pub fn warning(message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(message) }
    }

    /// Something that guard does in another way, and that changes no ban.
    pub fn note(message: impl Into<String>) -> Self {
        Self { severity: Severity::Note, ..Self::error(message) }
    }

    /// Concerns the whole of a file or directory.
    #[must_use]
    pub fn in_file(mut self, file: &Path) -> Self {
        self.file = Some(file.to_owned());
        self
    }

    /// Concerns these characters of a file.
    #[must_use]
    pub fn in_place(mut self, place: Place) -> Self {
        self.file = Some(place.file.clone());
        self.place = Some(place);
        self
    }

    /// Concerns this text, if it was written in a file.
    #[must_use]
    pub(crate) fn at(self, text: &Text) -> Self {
        match text.place() {
            Some(place) => self.in_place(place),
            None => self,
        }
    }

    /// Says what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Says what to do, if there is something to say.
    #[must_use]
    pub(crate) fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help = help.or(self.help);
        self
    }

    /// Concerns this jail.
    #[must_use]
    pub fn in_jail(mut self, jail: &str) -> Self {
        self.jail = Some(jail.to_owned());
        self
    }

    /// The text form: one line, and where there is a place the source line with a
    /// caret, and the help. With ANSI colours if `colour`. No newline at the end.
    pub fn render(&self, colour: bool) -> String {
        let paint = |code: &str, text: &str| {
            if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
        };
        let (word, code) = match self.severity {
            Severity::Error => ("error", "1;31"),
            Severity::Warning => ("warning", "1;33"),
            Severity::Note => ("note", "1;34"),
        };
        let mut out = format!("{}: {}", paint(code, word), self.headline());
        if let Some(place) = &self.place {
            let number = place.line.to_string();
            let before: String = place.source.chars().take(place.column - 1).collect();
            let padding: String = before
                .chars()
                .map(|c| if c == '\t' { "\t".to_owned() } else { " ".repeat(shown_width(c)) })
                .collect();
            let carets = paint(code, &"^".repeat(place.length));
            let _ = write!(out, "\n {number} | {}", visible(&place.source));
            let _ = write!(out, "\n {} | {padding}{carets}", " ".repeat(number.len()));
        }
        if let Some(help) = &self.help {
            let _ = write!(out, "\n {} {}", paint("1;36", "help:"), visible(help));
        }
        out
    }

    /// The form for a log: place, message and help on one line, without the severity.
    pub fn line(&self) -> String {
        match &self.help {
            Some(help) => format!("{} ({})", self.headline(), visible(help)),
            None => self.headline(),
        }
    }

    fn headline(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        if let Some(place) = &self.place {
            let _ = write!(out, "{}:{}:{}: ", place.file.display(), place.line, place.column);
        } else if let Some(file) = &self.file {
            let _ = write!(out, "{}: ", file.display());
        }
        if let Some(jail) = &self.jail {
            let _ = write!(out, "[{jail}] ");
        }
        out.push_str(&visible(&self.message));
        out
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

/// Control characters in escaped form, so that a file cannot steer the terminal.
fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\t' { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

fn shown_width(c: char) -> usize {
    if c.is_control() { c.escape_default().count() } else { 1 }
}

/// Several problems, in the order in which they were found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    /// Adds one, unless the same was said already: jails share what `[DEFAULT]` gives.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        let same = |known: &Diagnostic| {
            known.message == diagnostic.message
                && known.severity == diagnostic.severity
                && known.place == diagnostic.place
                && (known.jail == diagnostic.jail || diagnostic.severity != Severity::Error)
                && (known.file == diagnostic.file)
        };
        if !self.0.iter().any(same) {
            self.0.push(diagnostic);
        }
    }

    /// Whether any of them is an error.
    pub fn has_errors(&self) -> bool {
        self.errors().next().is_some()
    }

    /// The errors.
    pub fn errors(&self) -> impl Iterator<Item = &Diagnostic> {
        self.0.iter().filter(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// The notes.
    pub fn notes(&self) -> impl Iterator<Item = &Diagnostic> {
        self.0.iter().filter(|diagnostic| diagnostic.severity == Severity::Note)
    }

    /// The warnings.
    pub fn warnings(&self) -> impl Iterator<Item = &Diagnostic> {
        self.0.iter().filter(|diagnostic| diagnostic.severity == Severity::Warning)
    }
}

impl Extend<Diagnostic> for Diagnostics {
    fn extend<I: IntoIterator<Item = Diagnostic>>(&mut self, diagnostics: I) {
        for diagnostic in diagnostics {
            self.push(diagnostic);
        }
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, diagnostic) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            fmt::Display::fmt(diagnostic, f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// "did you mean": the candidate that is at most a third of its length away.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let word: Vec<char> = word.to_lowercase().chars().take(64).collect();
    let first = word.first().copied();
    candidates
        .into_iter()
        .map(|candidate| (edit_distance(&word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).clamp(1, 3))
        // People seldom mistype the first letter.
        .min_by_key(|(distance, near)| (*distance, near.chars().next() != first, *near))
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours between two words.
fn edit_distance(a: &[char], b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let mut best = replace.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best = best.min(rows[i - 2][j - 2] + 1);
                }
                best
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::text::SourceFile;

    #[test]
    fn rendered_with_line_caret_and_help() {
        let file = SourceFile::new("/etc/guard/jail.d/x.conf", "[sshd]\nport\t= ssh,htps\n");
        let diagnostic = Diagnostic::error("unknown port name `htps`")
            .at(&Text::of(&file, 18..22))
            .help("did you mean `https`?");
        let expected = "error: /etc/guard/jail.d/x.conf:2:12: unknown port name `htps`\n \
                        2 | port\t= ssh,htps\n   |     \t      ^^^^\n help: did you mean `https`?";
        assert_eq!(diagnostic.to_string(), expected);
        assert!(diagnostic.render(true).starts_with("\x1b[1;31merror\x1b[0m: /etc"));
    }

    #[test]
    fn a_file_cannot_steer_the_terminal() {
        let file = SourceFile::new("f", "\x1b[2Jx = 1");
        let shown = Diagnostic::error("a\nb").at(&Text::of(&file, 4..5)).to_string();
        assert_eq!(shown, "error: f:1:5: a\\nb\n 1 | \\u{1b}[2Jx = 1\n   |          ^");
    }

    #[test]
    fn the_nearest_word_if_it_is_near() {
        let words = ["maxretry", "findtime", "bantime"];
        assert_eq!(nearest("maxretries", words), None);
        assert_eq!(nearest("maxrety", words), Some("maxretry"));
        assert_eq!(nearest("fnidtime", words), Some("findtime"));
        assert_eq!(nearest("Bantine", words), Some("bantime"));
        assert_eq!(nearest("port", words), None);
    }

    #[test]
    fn the_same_is_said_once() {
        let mut all = Diagnostics::default();
        all.push(Diagnostic::warning("w").in_jail("a"));
        all.push(Diagnostic::warning("w").in_jail("b"));
        all.push(Diagnostic::error("e").in_jail("a"));
        all.push(Diagnostic::error("e").in_jail("b"));
        assert_eq!((all.warnings().count(), all.errors().count()), (1, 2));
    }
}

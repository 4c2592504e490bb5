//! A Python regular expression, written in Rust's syntax with Python's meaning.
//!
//! Input: an expression for Python's `re` (text, not bytes). Output: the same for the
//! `regex` crate, or for `fancy-regex` where it needs look-around, back-references or
//! conditionals. Invariant: what cannot be said with the same meaning is an error,
//! never something else silently.
//!
//! Where the two languages differ: `$` also matches before a final newline; `\Z` is
//! `\z`; `{,n}` counts from 0 and any other `{` is a literal; `[`, `&&`, `--` and `~~`
//! in a class are literals; `\<`, `\_` and the like are needless escapes; `(?(name)…)`
//! tests a group; `\s` and `\w` are other sets of characters; flags reach the whole
//! expression wherever they stand.
//!
//! Known to differ: `\b` next to a combining mark or to a number that is no digit, and
//! what a group keeps whose last repetition was empty. A repeated look-around, which
//! Python takes and nobody writes, is refused.
//!
//! A single line ends in its only newline, or has none: there `(?m:$)` says exactly what
//! Python's `$` says, among several lines only where the expression is meant for them.

mod class;
mod escape;
mod flags;

use flags::Flags;
pub(in crate::core) use flags::Lines;

/// An expression in Rust's syntax.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::core) struct Converted {
    /// For `regex`, or for `fancy-regex` if it needs to backtrack.
    pub expression: String,
    /// Whether it uses what a linear-time engine cannot do.
    pub backtracking: bool,
}

/// Converts one expression.
///
/// # Errors
/// What in it Python would refuse, or Rust cannot say.
pub(in crate::core) fn convert(python: &str, lines: Lines) -> Result<Converted, String> {
    let mut global = Flags { multi_line: lines == Lines::Each, ..Flags::default() };
    loop {
        match Converter::new(python, lines, global).run() {
            Err(Stop::Restart(flags)) => global = flags,
            Err(Stop::Refuse(message)) => return Err(message),
            Ok(converted) => return Ok(converted),
        }
    }
}

/// Why a conversion ends before its end.
enum Stop {
    /// These flags reach the whole expression: begin again with them.
    Restart(Flags),
    Refuse(String),
}

impl From<String> for Stop {
    fn from(message: String) -> Self {
        Self::Refuse(message)
    }
}

impl From<&str> for Stop {
    fn from(message: &str) -> Self {
        Self::Refuse(message.to_owned())
    }
}

/// What stands before a quantifier.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    /// Nothing that can be repeated.
    Nothing,
    Atom,
    Quantified,
}

struct Converter {
    input: Vec<char>,
    at: usize,
    out: String,
    /// Flags in effect, and those to return to at the end of each open group.
    flags: Flags,
    lines: Lines,
    global: Flags,
    groups: Vec<Flags>,
    names: Vec<String>,
    captures: usize,
    before: Before,
    backtracking: bool,
}

impl Converter {
    fn new(python: &str, lines: Lines, global: Flags) -> Self {
        let mut out = String::with_capacity(python.len() + 16);
        out.push_str(match (global.ignore_case, global.dot_all) {
            (false, false) => "",
            (true, false) => "(?i)",
            (false, true) => "(?s)",
            (true, true) => "(?is)",
        });
        Self {
            input: python.chars().collect(),
            at: 0,
            out,
            flags: global,
            lines,
            global,
            groups: Vec::new(),
            names: Vec::new(),
            captures: 0,
            before: Before::Nothing,
            backtracking: false,
        }
    }

    fn run(mut self) -> Result<Converted, Stop> {
        while let Some(c) = self.next() {
            match c {
                '\\' => self.escape()?,
                '[' => {
                    self.class()?;
                    self.before = Before::Atom;
                }
                '(' => self.group()?,
                ')' => {
                    self.flags = self.groups.pop().ok_or("unbalanced parenthesis")?;
                    self.out.push(')');
                    self.before = Before::Atom;
                }
                '|' => {
                    self.out.push('|');
                    self.before = Before::Nothing;
                }
                '*' | '+' | '?' => self.quantify(&c.to_string())?,
                '{' => match self.counts() {
                    Some(counts) => self.quantify(&counts)?,
                    None => self.literal('{'),
                },
                '^' => {
                    self.out.push_str(if self.flags.multi_line { "(?m:^)" } else { "^" });
                    self.before = Before::Nothing;
                }
                '$' => {
                    let end = self.lines == Lines::AsOne && !self.flags.multi_line;
                    self.out.push_str(if end { r"(?:\n?\z)" } else { "(?m:$)" });
                    self.before = Before::Nothing;
                }
                '.' => {
                    self.out.push('.');
                    self.before = Before::Atom;
                }
                '#' if self.flags.verbose => while self.next().is_some_and(|c| c != '\n') {},
                c if self.flags.verbose && c.is_ascii_whitespace() => {}
                c => self.literal(c),
            }
        }
        if !self.groups.is_empty() {
            return Err("missing `)`, unterminated group".into());
        }
        Ok(Converted { expression: self.out, backtracking: self.backtracking })
    }

    fn peek(&self) -> Option<char> {
        self.input.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        Some(c)
    }

    /// Steps over `text` if it comes next.
    fn eat(&mut self, text: &str) -> bool {
        let length = text.chars().count();
        let found = self.input[self.at..].iter().take(length).copied().eq(text.chars());
        if found {
            self.at += length;
        }
        found
    }

    /// The text up to `end`, which is stepped over.
    fn until(&mut self, end: char) -> Option<String> {
        let length = self.input[self.at..].iter().position(|&c| c == end)?;
        let text = self.input[self.at..self.at + length].iter().collect();
        self.at += length + 1;
        Some(text)
    }

    fn literal(&mut self, c: char) {
        if matches!(
            c,
            '\\' | '.' | '+' | '*' | '?' | '(' | ')' | '|' | '[' | ']' | '{' | '}' | '^' | '$'
        ) {
            self.out.push('\\');
        }
        self.out.push(c);
        self.before = Before::Atom;
    }

    /// `{n}`, `{n,}`, `{,n}` or `{n,m}` after the brace; `None`, and nothing stepped
    /// over, when it is no such thing.
    fn counts(&mut self) -> Option<String> {
        let start = self.at;
        let counts = self.until('}').and_then(|inner| {
            let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
            let (low, high) = match inner.split_once(',') {
                Some((low, high)) => (low, Some(high)),
                None if inner.is_empty() => return None,
                None => (inner.as_str(), None),
            };
            if !digits(low) || !high.is_none_or(digits) {
                return None;
            }
            let low = if low.is_empty() { "0" } else { low };
            Some(match high {
                Some(high) => format!("{{{low},{high}}}"),
                None => format!("{{{low}}}"),
            })
        });
        if counts.is_none() {
            self.at = start;
        }
        counts
    }

    fn quantify(&mut self, quantifier: &str) -> Result<(), Stop> {
        match self.before {
            Before::Nothing => return Err("nothing to repeat".into()),
            Before::Quantified => return Err("multiple repeat".into()),
            Before::Atom => {}
        }
        self.out.push_str(quantifier);
        if self.eat("?") {
            self.out.push('?');
        } else if self.eat("+") {
            self.out.push('+');
            self.backtracking = true;
        }
        self.before = Before::Quantified;
        Ok(())
    }

    /// After `(`.
    fn group(&mut self) -> Result<(), Stop> {
        if let Some(flags) = self.wrapped_flags() {
            self.open_with(flags);
            return Ok(());
        }
        if !self.eat("?") {
            self.captures += 1;
            self.open("(");
            return Ok(());
        }
        for (syntax, backtracking) in
            [(":", false), ("=", true), ("!", true), ("<=", true), ("<!", true), (">", true)]
        {
            if self.eat(syntax) {
                self.backtracking |= backtracking;
                self.open(&format!("(?{syntax}"));
                return Ok(());
            }
        }
        if self.eat("#") {
            self.until(')').ok_or("missing `)`, unterminated comment")?;
            Ok(())
        } else if self.eat("P<") {
            let name = self.until('>').ok_or("missing `>`, unterminated group name")?;
            check_name(&name)?;
            if self.names.contains(&name) {
                return Err(format!("group `{name}` is defined twice").into());
            }
            self.captures += 1;
            self.open(&format!("(?P<{name}>"));
            self.names.push(name);
            Ok(())
        } else if self.eat("P=") {
            let name = self.until(')').ok_or("missing `)`, unterminated group reference")?;
            if !self.names.contains(&name) {
                return Err(format!("reference to the unknown group `{name}`").into());
            }
            self.out.push_str(&format!("(?P={name})"));
            self.backtracking = true;
            self.before = Before::Atom;
            Ok(())
        } else if self.eat("(") {
            self.conditional()
        } else {
            let (flags, scoped) = self.flags_after_question_mark()?;
            if scoped {
                self.open_with(flags);
                return Ok(());
            }
            // Without a scope of its own a flag reaches the whole expression.
            let wanted = self.global.union(flags);
            if wanted == self.global { Ok(()) } else { Err(Stop::Restart(wanted)) }
        }
    }

    /// After `(?(`: the name or number of a group, which becomes a test whether it took
    /// part. (`fancy-regex` reads Python's form as an expression to match.)
    fn conditional(&mut self) -> Result<(), Stop> {
        let condition = self.until(')').ok_or("missing `)`, unterminated condition")?;
        let is_number =
            !condition.is_empty() && condition.bytes().all(|byte| byte.is_ascii_digit());
        if is_number {
            let number: usize = condition.parse().map_err(|_| "group number too large")?;
            if number == 0 || number > self.captures {
                return Err(format!("condition on the unknown group {number}").into());
            }
            self.open(&format!("(?({number})"));
        } else if self.names.contains(&condition) {
            self.open(&format!("(?(<{condition}>)"));
        } else {
            return Err(format!("condition on the unknown group `{condition}`").into());
        }
        self.backtracking = true;
        Ok(())
    }

    fn open(&mut self, syntax: &str) {
        self.out.push_str(syntax);
        self.groups.push(self.flags);
        self.before = Before::Nothing;
    }

    /// Opens a group in which `flags` are in effect.
    fn open_with(&mut self, flags: Flags) {
        let (mut on, mut off) = (String::new(), String::new());
        for (letter, now, then) in [
            ('i', self.flags.ignore_case, flags.ignore_case),
            ('s', self.flags.dot_all, flags.dot_all),
        ] {
            match (now, then) {
                (false, true) => on.push(letter),
                (true, false) => off.push(letter),
                _ => {}
            }
        }
        let dash = if off.is_empty() { "" } else { "-" };
        self.open(&format!("(?{on}{dash}{off}:"));
        self.flags = flags;
    }

    /// `((?i)…)` and `(?:(?i)…)` are `(?i:…)`: Fail2Ban keeps to this reading of older
    /// Pythons. `None`, and nothing stepped over, when something else comes.
    fn wrapped_flags(&mut self) -> Option<Flags> {
        let start = self.at;
        self.eat("?:");
        if self.eat("(?")
            && let Ok((flags, false)) = self.flags_after_question_mark()
        {
            return Some(flags);
        }
        self.at = start;
        None
    }

    /// Flag letters and what ends them: `:` gives them a scope, `)` does not.
    fn flags_after_question_mark(&mut self) -> Result<(Flags, bool), Stop> {
        let mut flags = self.flags;
        let (mut on, mut letters) = (true, 0);
        loop {
            match self.next() {
                Some(')') if on && letters > 0 => return Ok((flags, false)),
                Some(':') if letters > 0 => return Ok((flags, true)),
                Some('-') if on => (on, letters) = (false, 0),
                Some(c) if c.is_ascii_alphabetic() => {
                    flags.set(c, on)?;
                    letters += 1;
                }
                Some(c) => return Err(format!("unknown extension `(?{c}`").into()),
                None => return Err("unexpected end after `(?`".into()),
            }
        }
    }
}

/// A group's name, as both languages take it.
fn check_name(name: &str) -> Result<(), String> {
    let good = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if good { Ok(()) } else { Err(format!("bad character in the group name `{name}`")) }
}

#[cfg(test)]
mod tests;

//! An expression that needs to backtrack, as one for an automaton that matches at least
//! wherever it does.
//!
//! Input: an expression for `fancy-regex`, as `convert` writes it. Output: one for the
//! `regex` crate, and what must be asked afterwards. Invariant: each way in which the
//! original matches is a way in which the relaxed one does, and in the same order of
//! preference.
//!
//! From the invariant follows what makes this fast: if the best way of the relaxed
//! expression also satisfies all that was relaxed, it is the best way of the original.
//! So a look-around becomes an empty group that marks where it stood, and is checked at
//! each place where the winner passed it. A conditional becomes an alternative whose
//! branches begin with an empty group that the automaton lets pass only if the tested
//! group took part, or did not; that is exact. Back-references and atomic groups are
//! only relaxed: their expression is always asked.

mod scan;

use std::ops::RangeInclusive;

use regex_automata::{Anchored, Input, meta};

use scan::{captures_in, class_end, group_length};

/// An expression for an automaton.
#[derive(Clone, Debug)]
pub(in super::super) struct Relaxed {
    /// In the syntax of the `regex` crate.
    pub text: String,
    /// Whether a match whose checks hold is one of the original.
    pub exact: bool,
    /// Marks of look-arounds by group.
    pub(super) checks: Vec<(String, Check)>,
    pub(super) conditions: Vec<Condition>,
}

/// A conditional: the group it tests, by its number in the relaxed expression, and the
/// empty groups before its branches.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    pub group: usize,
    pub yes: String,
    pub no: String,
}

/// What must hold where a mark was passed.
#[derive(Clone, Debug)]
pub(super) struct Check {
    subject: Subject,
    behind: bool,
    negated: bool,
}

#[derive(Clone, Debug)]
enum Subject {
    Literal(Vec<u8>),
    /// An expression; looking behind, one that takes always this many bytes.
    Expression(Box<meta::Regex>, usize),
}

impl Check {
    fn new(content: &str, behind: bool, negated: bool) -> Option<Self> {
        let hir = regex_syntax::parse(content).ok()?;
        let properties = hir.properties();
        if !negated && properties.explicit_captures_len() > 0 {
            return None;
        }
        let subject = match hir.kind() {
            regex_syntax::hir::HirKind::Literal(literal) => Subject::Literal(literal.0.to_vec()),
            _ => {
                let length = properties.minimum_len()?;
                if behind && properties.maximum_len() != Some(length) {
                    return None;
                }
                let regex = meta::Regex::builder().build_from_hir(&hir).ok()?;
                Subject::Expression(Box::new(regex), length)
            }
        };
        Some(Self { subject, behind, negated })
    }

    /// Whether it holds at each of these places of the text.
    pub(super) fn holds_throughout(&self, text: &str, mut places: RangeInclusive<usize>) -> bool {
        if let (Subject::Literal(literal), false, true) = (&self.subject, self.behind, self.negated)
            && let Some(first) = literal.first()
        {
            // Most of the time not even the first byte is there.
            let bytes = text.as_bytes();
            return places.all(|at| bytes.get(at) != Some(first) || self.holds(text, at));
        }
        places.all(|at| self.holds(text, at))
    }

    /// Whether it holds at a place of the text.
    fn holds(&self, text: &str, at: usize) -> bool {
        let found = match &self.subject {
            Subject::Literal(literal) if self.behind => text.as_bytes()[..at].ends_with(literal),
            Subject::Literal(literal) => text.as_bytes()[at..].starts_with(literal),
            Subject::Expression(regex, length) => {
                let start = if self.behind { at.checked_sub(*length) } else { Some(at) };
                start.filter(|start| text.is_char_boundary(*start)).is_some_and(|start| {
                    let end = if self.behind { at } else { text.len() };
                    let input = Input::new(text).range(start..end).anchored(Anchored::Yes);
                    regex.is_match(input)
                })
            }
        };
        found != self.negated
    }
}

/// Relaxes an expression; `None` when it cannot be understood.
pub(in super::super) fn relax(expression: &str) -> Option<Relaxed> {
    let mut relaxer = Relaxer {
        input: expression,
        at: 0,
        relaxed: Relaxed {
            text: String::with_capacity(expression.len() + 64),
            exact: true,
            checks: Vec::new(),
            conditions: Vec::new(),
        },
        groups: vec![0],
        names: Vec::new(),
        captures: 0,
        open: Vec::new(),
        global_flags: String::new(),
        scoped_flags: 0,
        quantified: false,
    };
    if expression.contains("guard_") {
        return None;
    }
    relaxer.run()?;
    Some(relaxer.relaxed)
}

/// A group that is open.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Plain,
    /// With flags of its own.
    Flags,
    /// A conditional, by number, whose second branch has not begun.
    FirstBranch(usize),
}

struct Relaxer<'e> {
    input: &'e str,
    at: usize,
    relaxed: Relaxed,
    /// The number of each of the original's groups in the relaxed expression.
    groups: Vec<usize>,
    names: Vec<(&'e str, usize)>,
    /// How many groups the relaxed expression has so far.
    captures: usize,
    open: Vec<Open>,
    global_flags: String,
    scoped_flags: usize,
    /// Whether a quantifier was the last thing.
    quantified: bool,
}

impl<'e> Relaxer<'e> {
    fn rest(&self) -> &'e str {
        &self.input[self.at..]
    }

    fn eat(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        if found {
            self.at += text.len();
        }
        found
    }

    fn copy(&mut self, bytes: usize) {
        self.relaxed.text.push_str(&self.input[self.at..self.at + bytes]);
        self.at += bytes;
    }

    fn run(&mut self) -> Option<()> {
        while let Some(c) = self.rest().chars().next() {
            let was_quantified = std::mem::take(&mut self.quantified);
            match c {
                '\\' => self.escape()?,
                '[' => {
                    let end = class_end(self.rest())?;
                    self.copy(end);
                }
                '(' => self.group()?,
                ')' => {
                    match self.open.pop()? {
                        Open::FirstBranch(number) => {
                            self.mark("|", &format!("guard_no_{number}"));
                        }
                        Open::Flags => self.scoped_flags -= 1,
                        Open::Plain => {}
                    }
                    self.copy(1);
                }
                '|' => {
                    self.copy(1);
                    if let Some(Open::FirstBranch(number)) = self.open.last().copied() {
                        self.open.pop();
                        self.open.push(Open::Plain);
                        self.mark("", &format!("guard_no_{number}"));
                    }
                }
                '+' if was_quantified => {
                    self.at += 1;
                    self.relaxed.exact = false;
                }
                '*' | '+' => {
                    self.copy(1);
                    self.quantified = true;
                }
                '?' => {
                    self.copy(1);
                    self.quantified = !was_quantified;
                }
                '}' => {
                    self.copy(1);
                    self.quantified = true;
                }
                c => self.copy(c.len_utf8()),
            }
        }
        self.open.is_empty().then_some(())
    }

    fn escape(&mut self) -> Option<()> {
        let escaped = self.rest()[1..].chars().next()?;
        if ('1'..='9').contains(&escaped) {
            let digits = self.rest()[1..].bytes().take_while(u8::is_ascii_digit).count();
            self.at += 1 + digits;
            self.anything();
        } else {
            self.copy(1 + escaped.len_utf8());
        }
        Some(())
    }

    /// Stands for what only the original knows.
    fn anything(&mut self) {
        self.relaxed.text.push_str("(?s:.*)");
        self.relaxed.exact = false;
    }

    /// An empty group.
    fn mark(&mut self, before: &str, name: &str) {
        self.relaxed.text.push_str(&format!("{before}(?P<{name}>)"));
        self.captures += 1;
    }

    /// At `(`.
    fn group(&mut self) -> Option<()> {
        if !self.rest().starts_with("(?") {
            self.copy(1);
            self.capture(None);
            return Some(());
        }
        for (syntax, behind, negated) in [
            ("(?=", false, false),
            ("(?!", false, true),
            ("(?<=", true, false),
            ("(?<!", true, true),
        ] {
            if self.eat(syntax) {
                return self.look_around(behind, negated);
            }
        }
        if self.eat("(?>") {
            self.relaxed.text.push_str("(?:");
            self.relaxed.exact = false;
            self.open.push(Open::Plain);
        } else if self.eat("(?P=") {
            self.at += self.rest().find(')')? + 1;
            self.anything();
        } else if self.eat("(?(") {
            let end = self.rest().find(')')?;
            let tested = &self.rest()[..end];
            self.at += end + 1;
            self.conditional(tested)?;
        } else if self.rest().starts_with("(?P<") || self.rest().starts_with("(?<") {
            let (start, end) = (self.rest().find('<')? + 1, self.rest().find('>')?);
            let name = &self.rest()[start..end];
            self.copy(end + 1);
            self.capture(Some(name));
        } else {
            let end = self.rest().find([':', ')'])?;
            let flags = &self.rest()[2..end];
            if self.rest().as_bytes()[end] == b')' {
                if self.at > 0 {
                    return None;
                }
                self.global_flags = self.rest()[..=end].to_owned();
            } else if flags.is_empty() {
                self.open.push(Open::Plain);
            } else {
                self.open.push(Open::Flags);
                self.scoped_flags += 1;
            }
            self.copy(end + 1);
        }
        Some(())
    }

    fn capture(&mut self, name: Option<&'e str>) {
        self.captures += 1;
        self.groups.push(self.captures);
        self.names.extend(name.map(|name| (name, self.captures)));
        self.open.push(Open::Plain);
    }

    /// After the syntax that opens a look-around.
    fn look_around(&mut self, behind: bool, negated: bool) -> Option<()> {
        let length = group_length(self.rest())?;
        let content = &self.rest()[..length];
        self.at += length + 1;
        // The original numbers the groups inside, but nothing outside can use them as
        // long as it is exact.
        for _ in 0..captures_in(content) {
            self.groups.push(usize::MAX);
        }
        let flagged = format!("{}{content}", self.global_flags);
        let check = Check::new(&flagged, behind, negated).filter(|_| self.scoped_flags == 0);
        if let Some(check) = check {
            let name = format!("guard_look_{}", self.relaxed.checks.len());
            self.mark("", &name);
            self.relaxed.checks.push((name, check));
        } else {
            self.relaxed.exact = false;
            // What is empty may not be repeated, and so stays something.
            self.relaxed.text.push_str("(?:)");
        }
        Some(())
    }

    /// After the test of a conditional: a group's number, or its name in `<>`.
    fn conditional(&mut self, tested: &str) -> Option<()> {
        let group = match tested.strip_prefix('<').and_then(|name| name.strip_suffix('>')) {
            Some(name) => self.names.iter().find(|(known, _)| *known == name)?.1,
            None => *self.groups.get(tested.parse::<usize>().ok()?)?,
        };
        if group == usize::MAX {
            return None;
        }
        let number = self.relaxed.conditions.len();
        let (yes, no) = (format!("guard_yes_{number}"), format!("guard_no_{number}"));
        self.mark("(?:", &yes);
        self.open.push(Open::FirstBranch(number));
        self.relaxed.conditions.push(Condition { group, yes, no });
        Some(())
    }
}

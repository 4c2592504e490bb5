//! All forms of a daemon's messages, and which of them a message has.
//!
//! Input: a message. Output: what the client controls in it, by the first form that
//! fits. Invariant: the answer is that of trying the forms' expressions one after the
//! other. Most messages are matched with the forms' own steps ([`super::steps`]), which
//! is cheap; those that take too much effort by an automaton, which takes as long for
//! any message of a length.

use std::sync::LazyLock;

use super::super::automaton::{Automaton, Outcome, Pattern, Relaxed, relax};
use super::super::expression::Span;
use super::fit::{Fit, Groups};
use super::literal::Literal;
use super::steps::Steps;
use super::{Claims, Form, PAM, Reading, pvedaemon, sshd};
use crate::core::entry::Daemon;

/// All forms of a daemon's messages, the first that fits winning.
pub(super) struct Forms {
    forms: Vec<Known>,
    /// By first byte: the numbers of the forms whose heads begin with it, in order.
    by_first: Vec<Vec<u16>>,
    pub(super) automaton: Option<Automaton>,
}

/// A form, ready to be tried.
struct Known {
    form: &'static Form,
    head: Literal,
    /// Names of its groups.
    names: Vec<String>,
    /// What follows the head, unless that needs more than steps.
    steps: Option<Steps>,
    /// The same, taking the first place that fits; of forms with two readings.
    steps_to_first: Option<Steps>,
    /// The place of the address among the groups.
    host: Option<usize>,
}

/// A message that is not tried in this way.
pub(super) struct Unknown;

impl Forms {
    pub(super) fn of(daemon: Daemon) -> &'static Self {
        static SSHD: LazyLock<Forms> = LazyLock::new(|| Forms::new(&sshd::FORMS));
        static PVEDAEMON: LazyLock<Forms> = LazyLock::new(|| Forms::new(&pvedaemon::FORMS));
        match daemon {
            Daemon::Sshd => &SSHD,
            Daemon::Pvedaemon => &PVEDAEMON,
        }
    }

    fn new(own: &'static [Form]) -> Self {
        let forms: Vec<Known> = own.iter().chain(&PAM).map(Known::new).collect();
        let relaxed: Option<Vec<Relaxed>> =
            forms.iter().map(|known| relax(&known.form.whole())).collect();
        let automaton = relaxed.and_then(|relaxed| {
            let patterns = relaxed.iter().zip(&forms);
            let patterns: Vec<Pattern<'_>> = patterns
                .map(|(relaxed, known)| Pattern { relaxed, wanted: &known.names })
                .collect();
            Automaton::new(&patterns, 16 << 20)
        });
        let mut by_first = vec![Vec::new(); 256];
        for (number, known) in (0..).zip(&forms) {
            by_first[usize::from(known.form.head.as_bytes()[0])].push(number);
        }
        Self { forms, by_first, automaton }
    }

    /// What the client controls in a message that was `offset` bytes into the line, if
    /// it has one of the forms.
    pub(super) fn read(&self, message: &str, offset: usize) -> Option<Claims> {
        self.directly(message, offset).unwrap_or_else(|Unknown| self.together(message, offset))
    }

    /// The same by the forms' steps.
    pub(super) fn directly(&self, message: &str, offset: usize) -> Result<Option<Claims>, Unknown> {
        let Some(first) = message.as_bytes().first() else { return Ok(None) };
        let mut groups = Groups::default();
        for &number in &self.by_first[usize::from(*first)] {
            let known = &self.forms[usize::from(number)];
            if !known.head.stands(message.as_bytes(), 0) {
                continue;
            }
            let head = known.form.head;
            let steps = known.steps.as_ref().ok_or(Unknown)?;
            match steps.fit(message, head.len(), &mut groups) {
                Fit::Not => {}
                Fit::Unknown => return Err(Unknown),
                Fit::Fits => {
                    return Ok(Some(known.claims(message, offset, |place| groups.span(place))));
                }
            }
        }
        Ok(None)
    }

    /// Whether all forms with this head have steps.
    #[cfg(test)]
    pub(super) fn has_steps(&self, head: &str) -> bool {
        let mut forms = self.forms.iter().filter(|known| known.form.head == head);
        forms.all(|known| {
            let both = known.form.reading == Reading::Either;
            known.steps.is_some() && known.steps_to_first.is_some() == both
        })
    }

    /// The same by all expressions together.
    pub(super) fn together(&self, message: &str, offset: usize) -> Option<Claims> {
        let Some(automaton) = &self.automaton else { return self.one_by_one(message, offset) };
        let (outcome, claims) = automaton.search(message, 0, |number, spans| {
            self.forms[number].claims(message, offset, |place| spans.span(place))
        });
        match outcome {
            Outcome::Nothing => None,
            _ => claims.or_else(|| self.one_by_one(message, offset)),
        }
    }

    /// The same by one expression after the other.
    pub(super) fn one_by_one(&self, message: &str, offset: usize) -> Option<Claims> {
        self.forms.iter().find_map(|Known { form, .. }| {
            let rest = message.strip_prefix(form.head)?;
            let (last, _) = form.compiled.get_or_init(|| form.compile());
            let captures = last.captures(rest)?;
            let names = last.capture_names().flatten();
            let head = form.head.len();
            let groups = names.filter_map(|name| {
                Some((name, captures.name(name).map(|m| m.start() + head..m.end() + head)?))
            });
            Some(form.claims(message, offset, groups, || first_host(form, message)))
        })
    }
}

impl Known {
    fn new(form: &'static Form) -> Self {
        let whole = form.whole();
        let names = whole.split("(?P<").skip(1).filter_map(|piece| piece.split_once('>'));
        let names: Vec<String> = names.map(|(name, _)| name.to_owned()).collect();
        let steps = |flags: &str| Steps::new(&format!("(?{flags})^{}", form.rest()), &names);
        Self {
            form,
            head: Literal::new(form.head.as_bytes()),
            steps: steps("s"),
            steps_to_first: steps("sU").filter(|_| form.reading == Reading::Either),
            host: names.iter().position(|name| name == "host"),
            names,
        }
    }

    /// What the client controls in a message of this form, by the spans of its groups.
    fn claims(&self, message: &str, offset: usize, span: impl Fn(usize) -> Option<Span>) -> Claims {
        let names = self.names.iter().enumerate();
        let groups = names.filter_map(|(place, name)| Some((name.as_str(), span(place)?)));
        self.form.claims(message, offset, groups, || self.first_host(message))
    }

    /// Where the first place that fits has the address.
    fn first_host(&self, message: &str) -> Option<Span> {
        let mut groups = Groups::default();
        let steps = self.steps_to_first.as_ref();
        let fit = steps.map(|steps| steps.fit(message, self.head.bytes().len(), &mut groups));
        match fit {
            Some(Fit::Fits) => self.host.and_then(|host| groups.span(host)),
            Some(Fit::Not) => None,
            None | Some(Fit::Unknown) => first_host(self.form, message),
        }
    }
}

/// Where the first place that fits has the address, by the form's expression.
fn first_host(form: &Form, message: &str) -> Option<Span> {
    let head = form.head.len();
    let (_, first) = form.compiled.get_or_init(|| form.compile());
    let captures = first.as_ref()?.captures(message.get(head..)?)?;
    captures.name("host").map(|host| host.start() + head..host.end() + head)
}

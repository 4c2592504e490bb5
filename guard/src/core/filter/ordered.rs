//! Expressions in their order, the first one that matches winning.
//!
//! Input: a text, and the number of the expression to begin with. Output: the number of
//! the first one that matches, and what it captures. Invariant: the answer is that of
//! trying one after the other; the automaton only finds it sooner, and what it cannot
//! tell the expressions themselves are asked for.

use std::sync::Arc;

use super::Limits;
use super::automaton::{Automaton, Outcome, Spans};
use super::captured::Captured;
use super::expression::{Expression, StepLimit};

/// Expressions in their order.
#[derive(Debug)]
pub(super) struct Ordered {
    expressions: Arc<[Expression]>,
    automaton: Option<Automaton>,
}

impl Ordered {
    /// Makes an automaton of expressions.
    pub(super) fn new(expressions: Vec<Expression>, limits: Limits) -> Self {
        let patterns: Option<Vec<_>> = expressions.iter().map(Expression::pattern).collect();
        let bytes = limits.compiled_bytes;
        let automaton = patterns.and_then(|patterns| Automaton::new(&patterns, bytes));
        Self { expressions: expressions.into(), automaton }
    }

    /// The same without an automaton.
    pub(super) fn one_by_one(&self) -> Self {
        Self { expressions: Arc::clone(&self.expressions), automaton: None }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.expressions.len()
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.expressions.is_empty()
    }

    /// All of them.
    pub(super) fn iter(&self) -> std::slice::Iter<'_, Expression> {
        self.expressions.iter()
    }

    /// The expression of a number.
    pub(super) fn expression(&self, number: usize) -> &Expression {
        &self.expressions[number]
    }

    /// The number of the first one from `from` on that matches, having noted what it
    /// captures in a text that has `offset` bytes before this one. Tells of each one that
    /// is given up on the way.
    pub(super) fn search(
        &self,
        from: usize,
        (text, offset): (&str, usize),
        captured: &mut Captured,
        given_up: impl FnMut(usize),
    ) -> Option<usize> {
        self.first(from, given_up, |ask| match ask {
            Ask::All(automaton, from) => {
                let read = |number: usize, spans: &Spans| {
                    self.expressions[number].capture(spans, offset, captured);
                };
                Ok(automaton.search(text, from, read).0)
            }
            Ask::One(expression, number) => {
                let Some(found) = expression.search(text)? else { return Ok(Outcome::Nothing) };
                *captured = found;
                captured.move_by(offset);
                Ok(Outcome::Match(number))
            }
        })
    }

    /// The number of the first one that matches anywhere.
    pub(super) fn position(&self, text: &str, given_up: impl FnMut(usize)) -> Option<usize> {
        self.first(0, given_up, |ask| match ask {
            Ask::All(automaton, from) => Ok(automaton.first(text, from)),
            Ask::One(expression, number) => match expression.is_match(text)? {
                true => Ok(Outcome::Match(number)),
                false => Ok(Outcome::Nothing),
            },
        })
    }

    #[inline]
    fn first(
        &self,
        mut from: usize,
        mut given_up: impl FnMut(usize),
        mut ask: impl FnMut(Ask<'_>) -> Result<Outcome, StepLimit>,
    ) -> Option<usize> {
        let mut automaton = self.automaton.as_ref();
        while from < self.expressions.len() {
            if let Some(all) = automaton {
                match ask(Ask::All(all, from)) {
                    Ok(Outcome::Nothing) => return None,
                    Ok(Outcome::Match(number)) => return Some(number),
                    Ok(Outcome::Perhaps(number)) => from = number,
                    Ok(Outcome::Unknown) | Err(StepLimit) => automaton = None,
                }
            }
            match ask(Ask::One(&self.expressions[from], from)) {
                Ok(Outcome::Match(number)) => return Some(number),
                Ok(_) => {}
                Err(StepLimit) => given_up(from),
            }
            from += 1;
        }
        None
    }
}

/// Whose answer is wanted.
enum Ask<'a> {
    /// Of all, from this number on.
    All(&'a Automaton, usize),
    /// Of the one with this number.
    One(&'a Expression, usize),
}

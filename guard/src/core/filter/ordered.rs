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

    /// The first one from `from` on that matches, and what it captures in a text that has
    /// `offset` bytes before this one. Tells of each one that is given up on the way.
    pub(super) fn search(
        &self,
        from: usize,
        text: &str,
        offset: usize,
        given_up: impl FnMut(usize),
    ) -> Option<(usize, Captured)> {
        let read = |number: usize, spans: &Spans| self.expressions[number].captured(spans, offset);
        let moved = |mut found: Captured| {
            found.move_by(offset);
            found
        };
        self.first(
            from,
            |automaton, from| automaton.search(text, from, read),
            |expression| expression.search(text).map(|found| found.map(moved)),
            given_up,
        )
    }

    /// The number of the first one that matches anywhere.
    pub(super) fn position(&self, text: &str, given_up: impl FnMut(usize)) -> Option<usize> {
        let sure = |outcome| (outcome, matches!(outcome, Outcome::Match(_)).then_some(()));
        let found = self.first(
            0,
            |automaton, from| sure(automaton.first(text, from)),
            |expression| expression.is_match(text).map(|found| found.then_some(())),
            given_up,
        );
        found.map(|(number, ())| number)
    }

    fn first<T>(
        &self,
        mut from: usize,
        by_automaton: impl Fn(&Automaton, usize) -> (Outcome, Option<T>),
        by_expression: impl Fn(&Expression) -> Result<Option<T>, StepLimit>,
        mut given_up: impl FnMut(usize),
    ) -> Option<(usize, T)> {
        let mut automaton = self.automaton.as_ref();
        while from < self.expressions.len() {
            if let Some(all) = automaton {
                match by_automaton(all, from) {
                    (Outcome::Nothing, _) => return None,
                    (Outcome::Match(number), found) => return Some((number, found?)),
                    (Outcome::Perhaps(number), _) => from = number,
                    (Outcome::Unknown, _) => automaton = None,
                }
            }
            match by_expression(&self.expressions[from]) {
                Ok(Some(found)) => return Some((from, found)),
                Ok(None) => {}
                Err(StepLimit) => given_up(from),
            }
            from += 1;
        }
        None
    }
}

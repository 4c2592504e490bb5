//! A form's expression as a graph of a few kinds of steps, for matching without an
//! automaton.
//!
//! Input: an expression of the `regex` crate for a whole text, its beginning anchored.
//! Output: steps that [`super::fit`] follows as a backtracking search would follow the
//! expression, or nothing if it needs more than these steps. Invariant: the graph
//! accepts what the expression accepts, in the same order of preference, and captures
//! the same.
//!
//! Steps are made from the end on, so that for each it is known what may come after it.
//! Where nothing of a run can be the beginning of what comes next, the run is as long
//! as it can be, and there is no choice left to come back to. Nor is there between
//! literals of which none begins another.

use regex_syntax::hir::literal::{self, Extractor};
use regex_syntax::hir::{Capture, Hir, HirKind, Look, Repetition};

use super::bytes::{Begin, Bytes, Set, begin_of, one_byte};
use super::literal::Literal;

/// Groups that one expression may capture.
pub(super) const GROUPS: usize = 8;

/// A step's place in the graph.
pub(super) type Place = u16;

/// Literals that are tried one after the other.
const LITERALS: usize = 8;

/// An expression's steps.
#[derive(Debug)]
pub(super) struct Steps {
    pub steps: Vec<Step>,
    /// By step: what a text goes on with where it can be taken.
    begins: Vec<Begin>,
    pub first: Place,
}

/// What is passed over, and where it goes on.
#[derive(Debug)]
pub(super) enum Step {
    /// Nothing: the text is over.
    End,
    Literal {
        literal: Literal,
        next: Place,
    },
    /// One of several literals, of which none begins another.
    OneOf {
        literals: Box<[Literal]>,
        next: Place,
    },
    Run {
        run: Run,
        next: Place,
    },
    /// As many of these bytes as leave room for the literal, another run of all that
    /// there are of its bytes, and the literal behind that. Neither the byte before that
    /// run nor the one behind is of it: each place of the second literal leaves no more
    /// than one for the first.
    Before {
        run: Run,
        literals: Box<[Literal; 2]>,
        within: Run,
        next: Place,
    },
    /// What either of them passes over; the first is tried first.
    Choice {
        preferred: Place,
        other: Place,
    },
}

/// Bytes of a set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub set: Set,
    /// How many there are at least.
    pub least: usize,
    pub length: Length,
    /// The group whose span it is.
    pub group: Option<usize>,
}

/// How many bytes a run takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    One,
    /// As many as there are, for with fewer the text could not go on.
    All,
    /// As many as leave room for the rest.
    Most,
    /// As few.
    Fewest,
}

impl Steps {
    /// The steps of an expression, whose wanted groups have these names.
    pub(super) fn new(expression: &str, wanted: &[String]) -> Option<Self> {
        let hir = regex_syntax::parse(expression).ok()?;
        let HirKind::Concat(parts) = hir.kind() else { return None };
        let [start, parts @ .., end] = parts.as_slice() else { return None };
        let looks = [start, end].map(|part| part.kind().clone());
        if looks != [HirKind::Look(Look::Start), HirKind::Look(Look::End)] {
            return None;
        }
        let mut steps = Self { steps: Vec::new(), begins: Vec::new(), first: 0 };
        let begins = Begin { bytes: Bytes::default(), ends: true };
        let end = steps.add(Step::End, begins)?;
        steps.first = steps.all(parts, end, wanted)?;
        Some(steps)
    }

    /// What a text goes on with where a step can be taken.
    #[inline]
    pub(super) fn begins(&self, place: Place) -> &Begin {
        &self.begins[usize::from(place)]
    }

    fn add(&mut self, step: Step, begins: Begin) -> Option<Place> {
        self.steps.push(step);
        self.begins.push(begins);
        Place::try_from(self.steps.len() - 1).ok()
    }

    /// The steps of one after the other, and then on to `next`.
    fn all(&mut self, mut parts: &[Hir], mut next: Place, wanted: &[String]) -> Option<Place> {
        while let [before @ .., last] = parts {
            let several = (0..parts.len()).rev();
            let several = several.map_while(|from| Some((from, literals(&parts[from..])?))).last();
            (parts, next) = match several {
                Some((from, literals)) => (&parts[..from], self.one_of(literals, next)?),
                None => (before, self.one(last, next, None, wanted)?),
            };
        }
        Some(next)
    }

    /// The step over one of several literals.
    fn one_of(&mut self, mut literals: Vec<Literal>, next: Place) -> Option<Place> {
        let mut bytes = Bytes::default();
        for literal in &literals {
            bytes = bytes.united(Bytes::one(*literal.bytes().first()?));
        }
        let step = match literals.len() {
            1 => Step::Literal { literal: literals.pop()?, next },
            _ => Step::OneOf { literals: literals.into(), next },
        };
        self.add(step, Begin { bytes, ends: false })
    }

    fn one(
        &mut self,
        hir: &Hir,
        next: Place,
        group: Option<usize>,
        wanted: &[String],
    ) -> Option<Place> {
        if group.is_some() && !matches!(hir.kind(), HirKind::Repetition(_)) {
            return None;
        }
        match hir.kind() {
            HirKind::Empty => Some(next),
            HirKind::Literal(_) => self.one_of(literals(std::slice::from_ref(hir))?, next),
            HirKind::Class(_) => {
                let set = one_byte(hir)?;
                // One character, and so one byte.
                if set.is_wide() {
                    return None;
                }
                let run = Run { set: set.into(), least: 1, length: Length::One, group };
                self.add(Step::Run { run, next }, Begin { bytes: set, ends: false })
            }
            HirKind::Capture(Capture { name, sub, .. }) => {
                let name = name.as_deref();
                let group = wanted.iter().position(|wanted| Some(wanted.as_str()) == name)?;
                if group >= GROUPS {
                    return None;
                }
                // Each group is noted by one step.
                let captured = self
                    .steps
                    .iter()
                    .any(|step| matches!(step, Step::Run { run, .. } if run.group == Some(group)));
                (!captured).then(|| self.one(sub, next, Some(group), wanted))?
            }
            HirKind::Concat(parts) => self.all(parts, next, wanted),
            HirKind::Alternation(parts) => {
                if let Some(literals) = literals(std::slice::from_ref(hir)) {
                    return self.one_of(literals, next);
                }
                let mut parts = parts.iter().rev();
                let last = self.one(parts.next()?, next, None, wanted)?;
                parts.try_fold(last, |other, part| {
                    let preferred = self.one(part, next, None, wanted)?;
                    self.choice(preferred, other)
                })
            }
            HirKind::Repetition(repetition) => self.repeated(repetition, next, group, wanted),
            HirKind::Look(_) => None,
        }
    }

    fn choice(&mut self, preferred: Place, other: Place) -> Option<Place> {
        let begins = self.begins(preferred).united(*self.begins(other));
        self.add(Step::Choice { preferred, other }, begins)
    }

    fn repeated(
        &mut self,
        repetition: &Repetition,
        next: Place,
        group: Option<usize>,
        wanted: &[String],
    ) -> Option<Place> {
        let sub = &repetition.sub;
        match (repetition.min, repetition.max, one_byte(sub)) {
            (least @ (0 | 1), None, Some(set)) => {
                self.run(set, least as usize, repetition.greedy, next, group)
            }
            (0, Some(1), _) if group.is_none() => {
                let body = self.one(sub, next, None, wanted)?;
                self.either(repetition.greedy, body, next)
            }
            (0, None, None)
                if group.is_none()
                    && sub.properties().minimum_len()? > 0
                    && sub.properties().explicit_captures_len() == 0 =>
            {
                // The choice comes before its body, which leads back to it.
                let choice = self.choice(next, next)?;
                let begin = Begin { bytes: begin_of(sub)?, ends: false };
                self.begins[usize::from(choice)] = self.begins(next).united(begin);
                let body = self.one(sub, choice, None, wanted)?;
                let (preferred, other) =
                    if repetition.greedy { (body, next) } else { (next, body) };
                self.steps[usize::from(choice)] = Step::Choice { preferred, other };
                (self.begins(body).bytes == begin.bytes).then_some(choice)
            }
            _ => None,
        }
    }

    fn either(&mut self, greedy: bool, body: Place, next: Place) -> Option<Place> {
        if greedy { self.choice(body, next) } else { self.choice(next, body) }
    }

    fn run(
        &mut self,
        set: Bytes,
        least: usize,
        greedy: bool,
        next: Place,
        group: Option<usize>,
    ) -> Option<Place> {
        let after = *self.begins(next);
        let length = match set.meets(&after.bytes) {
            false => Length::All,
            // It could end within a character.
            true if set.is_wide() && after.bytes.is_wide() => return None,
            true if greedy => Length::Most,
            true => Length::Fewest,
        };
        let mut begins = Begin { bytes: set, ends: false };
        if least == 0 {
            begins = begins.united(after);
        }
        let run = Run { set: set.into(), least, length, group };
        let step = self.before(run, next).unwrap_or(Step::Run { run, next });
        self.add(step, begins)
    }

    /// The step over a run together with what comes next, where that is looked for first.
    fn before(&self, run: Run, next: Place) -> Option<Step> {
        let step = |place: Place| &self.steps[usize::from(place)];
        let (Length::Most, Set::All) = (run.length, run.set) else { return None };
        let Step::Literal { literal: first, next } = step(next) else { return None };
        let Step::Run { run: within, next } = step(*next) else { return None };
        let Step::Literal { literal: second, next } = step(*next) else { return None };
        let ends_run = !within.set.has(*first.bytes().last()?);
        (within.length == Length::All && within.least == 1 && ends_run).then(|| Step::Before {
            run,
            literals: Box::new([first.clone(), second.clone()]),
            within: *within,
            next: *next,
        })
    }
}

/// The texts that these are one after the other, if those are few literals, none of
/// which begins another.
fn literals(parts: &[Hir]) -> Option<Vec<Literal>> {
    if parts.iter().any(|part| part.properties().explicit_captures_len() > 0) {
        return None;
    }
    let whole = Hir::concat(parts.to_vec());
    if !whole.properties().look_set().is_empty() {
        return None;
    }
    let texts = Extractor::new().limit_total(LITERALS).extract(&whole);
    let texts = texts.literals().filter(|texts| texts.iter().all(literal::Literal::is_exact))?;
    let texts: Vec<&[u8]> = texts.iter().map(literal::Literal::as_bytes).collect();
    for (number, text) in texts.iter().enumerate() {
        let begun = texts.iter().enumerate().any(|(n, t)| n != number && t.starts_with(text));
        // Characters that are not ASCII could begin within another one.
        if begun || text.is_empty() || !text.is_ascii() {
            return None;
        }
    }
    (!texts.is_empty()).then(|| texts.into_iter().map(Literal::new).collect())
}

//! Which of several forms a line's date has: those come first that were found often.
//!
//! Input: a line and the templates. Output: the [`Match`] that Fail2Ban would take.
//! Invariant: without a line the order stays, and equal lines find equal dates.
//!
//! The form and the place of the last date are tried first. Otherwise all are tried in
//! order, and a date further right than the last one loses against one further left.
//! Whatever was found moves up: over forms that were never found, or that count less.

use super::template::{Match, Places, Shared};

/// Seconds after which a form that was not found gives way.
const UNUSED: i64 = 300;

/// A position that no line reaches.
const NOWHERE: usize = usize::MAX;

/// What is remembered of earlier lines.
#[derive(Clone, Debug, Default)]
pub(super) struct Order {
    slots: Vec<Slot>,
    /// Number of the first slot that was never found.
    first_unused: usize,
    /// The slot that was found last.
    last: Option<usize>,
    begin: Edge,
    end: Edge,
}

/// A template in its place.
#[derive(Clone, Debug)]
struct Slot {
    template: Shared,
    hits: u32,
    /// When it was found last, in seconds since the epoch.
    last_used: i64,
    /// Where its last date began.
    distance: usize,
    places: Places,
}

/// Where the last date began or ended, with the bytes around that place.
#[derive(Clone, Copy, Debug)]
struct Edge {
    at: usize,
    before: Option<u8>,
    after: Option<u8>,
}

impl Default for Edge {
    fn default() -> Self {
        Self { at: NOWHERE, before: None, after: None }
    }
}

impl Edge {
    fn new(line: &[u8], at: usize) -> Self {
        let before = at.checked_sub(1).and_then(|before| line.get(before).copied());
        Self { at, before, after: line.get(at).copied() }
    }

    /// Whether the line looks the same: outside equal, or inside, if that is no letter
    /// or digit.
    fn is_alike(&self, other: &Self, inside_is_after: bool) -> bool {
        let (outside, inside) = match inside_is_after {
            true => ((self.before, other.before), (self.after, other.after)),
            false => ((self.after, other.after), (self.before, other.before)),
        };
        let plain =
            |byte: Option<u8>| byte.is_none_or(|b| !b.is_ascii_alphanumeric() && b.is_ascii());
        outside.0 == outside.1 || (inside.0 == inside.1 && plain(inside.0))
    }
}

impl Order {
    /// Begins with the templates in the order that they are given in.
    pub(super) fn new(templates: &[Shared]) -> Self {
        let slot = |template: &Shared| Slot {
            template: template.clone(),
            hits: 0,
            last_used: 0,
            distance: NOWHERE,
            places: None,
        };
        Self { slots: templates.iter().map(slot).collect(), ..Self::default() }
    }

    /// How often each form was found, by its name; the often found first.
    pub(super) fn hits(&self) -> impl Iterator<Item = (&str, u32)> {
        self.slots.iter().map(|slot| (slot.template.name.as_str(), slot.hits))
    }

    /// Whether it is still to begin.
    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The date of a line that is read at `now`, in seconds since the epoch.
    pub(super) fn find(&mut self, line: &str, now: i64) -> Option<Match> {
        let mut best = None;
        let mut skip = None;
        if let Some(last) = self.last {
            match self.again(line, last) {
                Again::Same(found) => return Some(self.take(line, last, found, now)),
                Again::Elsewhere { found, whole } => {
                    best = Some((last, found));
                    skip = whole.then_some(last);
                }
                Again::Missing { whole } => skip = whole.then_some(last),
            }
        }
        let (number, found) = self.first(line, skip, best)?;
        Some(self.take(line, number, found, now))
    }

    /// Tries the form that was found last, in the place where it was.
    fn again(&mut self, line: &str, last: usize) -> Again {
        let (begin, end) = (self.begin, self.end);
        let single = self.slots.len() == 1;
        let slot = &mut self.slots[last];
        let mut find = |from, to| slot.template.find(line, from, to, &mut slot.places);
        if slot.template.is_anchored() {
            return match find(0, line.len()) {
                Some(found) => Again::Same(found),
                None => Again::Missing { whole: true },
            };
        }
        let fits = end.at <= line.len()
            && line.is_char_boundary(begin.at)
            && line.is_char_boundary(end.at)
            && Edge::new(line.as_bytes(), begin.at).is_alike(&begin, true)
            && Edge::new(line.as_bytes(), end.at).is_alike(&end, false);
        let found = if fits { find(begin.at, end.at) } else { find(0, line.len()) };
        match found {
            None => Again::Missing { whole: !fits },
            Some(found) if single || found.span == (begin.at..end.at) => Again::Same(found),
            Some(found) => Again::Elsewhere { found, whole: !fits },
        }
    }

    /// Tries the forms in order.
    fn first(
        &mut self,
        line: &str,
        skip: Option<usize>,
        mut best: Option<(usize, Match)>,
    ) -> Option<(usize, Match)> {
        let count = self.slots.len();
        for number in 0..count {
            if skip == Some(number) {
                continue;
            }
            let next_is_new = self.slots.get(number + 1).is_none_or(|next| next.hits == 0);
            let slot = &mut self.slots[number];
            let found = slot.template.find(line, 0, line.len(), &mut slot.places);
            let Some(found) = found else { continue };
            let start = found.span.start;
            let final_one = number + 1 == count
                || slot.template.is_anchored()
                || (start == 0 && slot.hits > 0 && next_is_new);
            // Further right than before, it may be part of a message: look on.
            let moved = start > slot.distance
                || (self.begin.at != NOWHERE && start > self.begin.at)
                || (self.begin.at == NOWHERE && start > 1);
            if final_one || !moved {
                return Some((number, found));
            }
            if best.as_ref().is_none_or(|(_, best)| start < best.span.start) {
                best = Some((number, found));
            }
        }
        best
    }

    /// Notes what was found, and moves its form up.
    fn take(&mut self, line: &str, number: usize, found: Match, now: i64) -> Match {
        let slot = &mut self.slots[number];
        slot.hits = slot.hits.saturating_add(1);
        slot.last_used = now;
        slot.distance = found.span.start;
        if self.first_unused == number {
            self.first_unused += 1;
        }
        self.begin = Edge::new(line.as_bytes(), found.span.start);
        self.end = Edge::new(line.as_bytes(), found.span.end);
        let moves = number > 0 && self.last != Some(number);
        self.last = Some(if moves { self.move_up(number) } else { number });
        found
    }

    /// Moves a form up if it counts more, and tells where to.
    fn move_up(&mut self, number: usize) -> usize {
        let counts_more = |place: usize| {
            let (slot, other) = (&self.slots[number], &self.slots[place]);
            slot.weight() > other.weight() || slot.last_used - UNUSED > other.last_used
        };
        let far = if self.first_unused < number { self.first_unused } else { number / 2 };
        let place = if counts_more(far) {
            far
        } else if far != number - 1 && counts_more(number - 1) {
            number - 1
        } else {
            return number;
        };
        let slot = self.slots.remove(number);
        self.slots.insert(place, slot);
        while self.slots.get(self.first_unused).is_some_and(|slot| slot.hits > 0) {
            self.first_unused += 1;
        }
        place
    }
}

impl Slot {
    fn weight(&self) -> f64 {
        let distance = u32::try_from(self.distance).unwrap_or(u32::MAX).max(1);
        f64::from(self.hits) * self.template.weight / f64::from(distance)
    }
}

/// What came of the form that was found last.
enum Again {
    /// The same place, or one that cannot be mistaken.
    Same(Match),
    /// Another place, in a part of the line or the whole of it.
    Elsewhere { found: Match, whole: bool },
    /// Not there; perhaps nowhere in the line.
    Missing { whole: bool },
}

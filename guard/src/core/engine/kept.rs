//! Answers that are kept for a while.
//!
//! Invariant: at most `capacity` of them; when one too many comes, the one goes that is
//! over first.

use std::collections::{BTreeSet, HashMap};

use crate::core::time::Timestamp;

/// Answers by what was asked.
#[derive(Clone, Debug)]
pub(super) struct Kept<T> {
    capacity: usize,
    answers: HashMap<String, (T, Timestamp)>,
    by_end: BTreeSet<(Timestamp, String)>,
}

impl<T> Kept<T> {
    /// Keeps at most `capacity`; none for 0.
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, answers: HashMap::new(), by_end: BTreeSet::new() }
    }

    /// An answer that is not over at `now`.
    pub(super) fn find(&self, asked: &str, now: Timestamp) -> Option<&T> {
        self.answers.get(asked).filter(|(_, until)| *until > now).map(|(answer, _)| answer)
    }

    /// Keeps an answer until then.
    pub(super) fn keep(&mut self, asked: String, answer: T, until: Timestamp) {
        if let Some((_, end)) = self.answers.get(&asked) {
            self.by_end.remove(&(*end, asked.clone()));
        }
        self.by_end.insert((until, asked.clone()));
        self.answers.insert(asked, (answer, until));
        while self.answers.len() > self.capacity
            && let Some((_, asked)) = self.by_end.pop_first()
        {
            self.answers.remove(&asked);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_for_a_while_and_never_too_many() {
        let at = Timestamp::from_seconds;
        let mut kept = Kept::new(2);
        kept.keep("a".into(), 1, at(10));
        kept.keep("b".into(), 2, at(5));
        kept.keep("a".into(), 3, at(9));
        assert_eq!((kept.find("a", at(8)), kept.find("a", at(9))), (Some(&3), None));
        kept.keep("c".into(), 4, at(20));
        assert_eq!(
            [("a", 3), ("c", 4)].map(|(key, _)| kept.find(key, at(0)).copied()),
            [Some(3), Some(4)]
        );
        assert_eq!(kept.find("b", at(0)), None, "it was over first");
        assert_eq!(kept.by_end.len(), 2);
    }
}

//! `bantime.increment`: how long a ban lasts for those who come back.
//!
//! Input: the jail's `bantime`, how many earlier bans are remembered, and a chance.
//! Output: the length of the next ban. The arithmetic is Fail2Ban's (`jail.py`,
//! `setBanTimeExtra`): the stock formula never shortens a ban, multipliers may; the
//! bound applies before the time by chance is added.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::core::addr::Prefix;
use crate::core::jail::Escalation;
use crate::core::time::{Span, Timestamp};

/// Beyond so many earlier bans the stock formula does not grow any more.
const MOST_DOUBLINGS: u32 = 20;

impl Escalation {
    /// The length of a ban after `earlier` ones, at least one. `chance` is from 0
    /// to less than 1.
    pub fn ban_time(&self, ban_time: Span, earlier: u32, chance: f64) -> Span {
        let base = micros(ban_time);
        let multiple = match self.multipliers.last() {
            None => (f64::from(1 << earlier.min(MOST_DOUBLINGS)) * self.factor).max(1.0),
            Some(last) => {
                let place = usize::try_from(earlier).unwrap_or(usize::MAX);
                self.multipliers.get(place).unwrap_or(last) * self.factor
            }
        };
        let grown = base * multiple;
        let bounded = self.max_time.map_or(grown, |most| grown.min(micros(most)));
        #[expect(clippy::cast_possible_truncation, reason = "what is too long saturates")]
        let length = (bounded + chance * micros(self.random_time)).round() as i64;
        Span::from_micros(length)
    }
}

/// As how many failures one of a source counts that was banned `earlier` times before:
/// half as many as doublings, and one. Fail2Ban's `observer.py`, `failureFound`.
pub fn weight(earlier: u32, max_retry: u32) -> u32 {
    match earlier {
        0 => 1,
        _ => ((1 << earlier.min(MOST_DOUBLINGS)) / 2 + 1).min(max_retry),
    }
}

/// What is left to chance, from 0 to less than 1: nobody who does not know `secret` can
/// tell, and the same ban always gets the same.
pub fn chance(secret: u64, source: Prefix, since: Timestamp) -> f64 {
    let mut hasher = DefaultHasher::new();
    (secret, source, since).hash(&mut hasher);
    // The 53 bits that a float holds exactly.
    let bits = hasher.finish() >> 11;
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
    let chance = bits as f64 / (1_u64 << 53) as f64;
    chance
}

fn micros(span: Span) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "beyond 285 years microseconds do not matter")]
    let micros = span.micros() as f64;
    micros
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escalation() -> Escalation {
        Escalation {
            factor: 1.0,
            multipliers: Vec::new(),
            max_time: None,
            random_time: Span::ZERO,
            over_all_jails: false,
        }
    }

    fn seconds(escalation: &Escalation, earlier: u32, chance: f64) -> i64 {
        escalation.ban_time(Span::from_seconds(600), earlier, chance).seconds()
    }

    #[test]
    fn the_stock_formula_doubles_up_to_a_bound_and_never_shortens() {
        let stock = escalation();
        for (earlier, times) in [(1, 2), (2, 4), (3, 8), (20, 1 << 20), (21, 1 << 20)] {
            assert_eq!(seconds(&stock, earlier, 0.0), 600 * times, "{earlier}");
        }
        let small = Escalation { factor: 0.25, ..escalation() };
        assert_eq!(seconds(&small, 1, 0.0), 600);
        assert_eq!(seconds(&small, 3, 0.0), 1_200);
        let bounded = Escalation { max_time: Some(Span::from_seconds(1_000)), ..escalation() };
        assert_eq!(seconds(&bounded, 5, 0.0), 1_000);
    }

    #[test]
    fn multipliers_count_from_the_first_ban_and_the_last_one_stays() {
        let listed = Escalation { multipliers: vec![1.0, 5.0, 30.0], ..escalation() };
        for (earlier, times) in [(1, 5), (2, 30), (3, 30), (99, 30)] {
            assert_eq!(seconds(&listed, earlier, 0.0), 600 * times, "{earlier}");
        }
        let half = Escalation { factor: 0.5, multipliers: vec![1.0], ..escalation() };
        assert_eq!(seconds(&half, 1, 0.0), 300);
    }

    #[test]
    fn chance_comes_on_top_of_the_bound() {
        let random = Escalation {
            max_time: Some(Span::from_seconds(900)),
            random_time: Span::from_seconds(100),
            ..escalation()
        };
        assert_eq!(seconds(&random, 1, 0.5), 950);
        let source = "192.0.2.1".parse().expect("an address");
        let (a, b) =
            (chance(1, source, Timestamp::default()), chance(2, source, Timestamp::default()));
        assert!((0.0..1.0).contains(&a) && (0.0..1.0).contains(&b) && a != b, "{a} {b}");
    }

    #[test]
    fn known_offenders_need_fewer_failures() {
        let weights = [0, 1, 2, 3, 4, 40].map(|earlier| weight(earlier, 6));
        assert_eq!(weights, [1, 2, 3, 5, 6, 6]);
        assert_eq!(weight(3, 1), 1);
    }
}

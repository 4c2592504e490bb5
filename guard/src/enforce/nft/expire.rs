//! Removing what is due while the agent is dead: the layout is Fail2Ban's, whose sets
//! have no time-outs.
//!
//! Input: the bans as they are stored, and the time. Output: the bans that were removed.
//! Only elements that were stored with an end, and whose end is over, go; sets, rules and
//! what others put there stay as they are.

use std::collections::{BTreeSet, HashMap};

use rustix::io::Errno;

use crate::core::addr::Prefix;
use crate::core::jail::JailName;
use crate::core::time::Timestamp;
use crate::enforce::EnforceError;
use crate::enforce::nft::connection::Refusal;
use crate::enforce::nft::found::Sources;
use crate::enforce::nft::nets::{Allowed, Nets, covers};
use crate::enforce::nft::rule::Family;
use crate::enforce::nft::{ATTEMPTS, Nft};

/// A ban as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lasting {
    /// The jail.
    pub jail: JailName,
    /// Who is banned.
    pub source: Prefix,
    /// Until when; `None` for ever.
    pub until: Option<Timestamp>,
}

/// The stored bans of one set: those that are over, and the others.
#[derive(Debug, Default)]
struct Sides {
    due: BTreeSet<Prefix>,
    lasting: BTreeSet<Prefix>,
}

/// What changes in one set.
#[derive(Debug, PartialEq, Eq)]
struct Change {
    family: Family,
    set: String,
    add: Vec<Prefix>,
    remove: Vec<Prefix>,
}

impl Nft {
    /// Removes those of the `stored` bans that ended until `now` and are still there; how
    /// many they were.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn expire(&mut self, stored: &[Lasting], now: Timestamp) -> Result<usize, EnforceError> {
        let mut attempt = 1;
        loop {
            match self.try_to_expire(stored, now) {
                // Others changed the kernel's rules meanwhile.
                Err(Refusal { cause: Errno::RESTART | Errno::INTR, .. }) if attempt < ATTEMPTS => {
                    attempt += 1;
                }
                other => return Ok(other?),
            }
        }
    }

    fn try_to_expire(&mut self, stored: &[Lasting], now: Timestamp) -> Result<usize, Refusal> {
        let read = self.read()?;
        let changes = changes(&read.sources, stored, now);
        let mut batch = self.connection.batch();
        for Change { family, set, add, remove } in &changes {
            if family.is_nets() {
                batch.exchange(*family, set, remove, add);
            } else {
                batch.ensure_removed(*family, set, remove);
            }
        }
        if !batch.is_empty() {
            self.connection.commit(&batch, Some(read.generation))?;
        }
        Ok(changes.iter().map(|change| change.remove.len()).sum())
    }
}

/// What goes of sets that hold `held`, and what comes: prefixes that last and lay in one
/// that goes.
fn changes(held: &Sources, stored: &[Lasting], now: Timestamp) -> Vec<Change> {
    let mut by_set: HashMap<(&str, Family), Sides> = HashMap::new();
    for Lasting { jail, source, until } in stored {
        let Sides { due, lasting } =
            by_set.entry((jail.as_str(), Family::of(*source))).or_default();
        let ended = until.is_some_and(|until| until <= now);
        if ended {
            due.insert(*source)
        } else {
            lasting.insert(*source)
        };
    }
    let mut changes = Vec::new();
    for ((jail, family), Sides { due, lasting }) in by_set {
        let set = family.set_name(jail);
        let Some(present) = held.get(&set) else { continue };
        // Ranges may be held in parts, where somebody inside is allowed.
        let goes = |one: &&Prefix| match family.is_nets() {
            true => covers(&due, **one) && !covers(&lasting, **one),
            false => due.contains(*one),
        };
        let mut remove: Vec<Prefix> = present.iter().filter(goes).copied().collect();
        if remove.is_empty() {
            continue;
        }
        remove.sort_unstable();
        let gone: BTreeSet<Prefix> = remove.iter().copied().collect();
        let mut add = Vec::new();
        if family.is_nets() {
            let uncovered: Nets = lasting.into_iter().filter(|one| covers(&gone, *one)).collect();
            add = uncovered.elements(&Allowed::new());
        }
        changes.push(Change { family, set, add, remove });
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lasting(source: &str, until: Option<i64>) -> Lasting {
        Lasting {
            jail: JailName::new("sshd").expect("a name"),
            source: source.parse().expect("a prefix"),
            until: until.map(Timestamp::from_micros),
        }
    }

    fn of(held: &[&str], stored: &[Lasting]) -> Vec<(Vec<String>, Vec<String>)> {
        let mut sets = Sources::new();
        for source in held {
            let source: Prefix = source.parse().expect("a prefix");
            sets.entry(Family::of(source).set_name("sshd")).or_default().insert(source);
        }
        let words = |list: &[Prefix]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        let mut all: Vec<_> = changes(&sets, stored, Timestamp::from_micros(100))
            .iter()
            .map(|change| (words(&change.remove), words(&change.add)))
            .collect();
        all.sort();
        all
    }

    fn expected(remove: &[&str], add: &[&str]) -> (Vec<String>, Vec<String>) {
        let words = |list: &[&str]| list.iter().map(|one| (*one).to_owned()).collect();
        (words(remove), words(add))
    }

    #[test]
    fn only_what_is_stored_with_an_end_that_is_over_goes() {
        let held = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "2001:db8::1"];
        let stored = [
            lasting("192.0.2.1", Some(100)),
            lasting("192.0.2.2", Some(101)),
            lasting("192.0.2.3", None),
            lasting("192.0.2.9", Some(1)),
            lasting("2001:db8::1", Some(1)),
        ];
        let all = of(&held, &stored);
        assert_eq!(all, [expected(&["192.0.2.1"], &[]), expected(&["2001:db8::1"], &[])]);
        assert_eq!(of(&["192.0.2.4"], &stored), [], "what is not stored is somebody else's");
    }

    #[test]
    fn a_prefix_that_is_held_in_parts_goes_in_parts() {
        let held = ["192.0.2.0/25", "192.0.2.192/26", "198.51.100.0/24"];
        let stored = [lasting("192.0.2.0/24", Some(1)), lasting("192.0.2.0/26", None)];
        let all = of(&held, &stored);
        assert_eq!(all, [expected(&["192.0.2.0/25", "192.0.2.192/26"], &["192.0.2.0/26"])]);
    }

    #[test]
    fn a_prefix_that_lasts_comes_out_from_one_that_ends() {
        let stored = [
            lasting("192.0.2.0/24", Some(1)),
            lasting("192.0.2.0/25", None),
            lasting("192.0.2.0/26", None),
            lasting("192.0.2.128/26", Some(2)),
            lasting("198.51.100.0/24", None),
        ];
        let all = of(&["192.0.2.0/24", "198.51.100.0/24"], &stored);
        assert_eq!(all, [expected(&["192.0.2.0/24"], &["192.0.2.0/25"])]);
        let inner = [lasting("192.0.2.0/24", None), lasting("192.0.2.0/25", Some(1))];
        assert_eq!(of(&["192.0.2.0/24"], &inner), [], "the outer one lasts");
    }
}

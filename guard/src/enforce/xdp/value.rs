//! What a ban map says of one address: from bans to slots and back.
//!
//! A [`Hold`] is one port class that is cut off until some time. All holds of an
//! address become at most [`SLOTS`] slots, one for each distinct end. Up to so many
//! ends the slots say exactly what the holds say, and [`holds`] gets them back. With
//! more, ends that lie next to each other are merged into the later one: nothing is
//! let out early, and the agent, who knows better, corrects it in time.

use guard_common::layout::{SLOTS, Slot};

/// One port class that is cut off until some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hold {
    /// Nanoseconds since boot, or [`guard_common::layout::FOREVER`].
    pub(super) until: u64,
    /// Number of the class, from 0 to 63.
    pub(super) class: u8,
}

/// Slots in which the kernel is to see the holds, and whether they say exactly the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Compiled {
    pub(super) slots: [Slot; SLOTS],
    pub(super) exact: bool,
}

/// Puts holds that have not ended at `now` into slots, in the order of their ends.
/// `None`: there is nothing to hold. Sorts and shortens `held`.
pub(super) fn compile(held: &mut Vec<Hold>, now: u64) -> Option<Compiled> {
    held.retain(|hold| hold.until > now);
    held.sort_unstable();
    let mut slots: Vec<Slot> = Vec::with_capacity(SLOTS);
    for (place, hold) in held.iter().enumerate() {
        let class = 1 << hold.class;
        // The same class with a later end covers this one.
        if held[place + 1..].iter().any(|later| later.class == hold.class) {
            continue;
        }
        match slots.last_mut() {
            Some(last) if last.until == hold.until => last.classes |= class,
            _ => slots.push(Slot { classes: class, until: hold.until }),
        }
    }
    let exact = slots.len() <= SLOTS;
    while slots.len() > SLOTS {
        let nearest = (0..slots.len() - 1)
            .min_by_key(|&place| slots[place + 1].until - slots[place].until)
            .unwrap_or(0);
        let merged = slots.remove(nearest);
        slots[nearest].classes |= merged.classes;
    }
    if slots.is_empty() {
        return None;
    }
    slots.resize(SLOTS, Slot::default());
    Some(Compiled { slots: slots.try_into().unwrap_or_default(), exact })
}

/// The holds that slots stand for and that have not ended at `now`.
pub(super) fn holds(slots: &[Slot; SLOTS], now: u64) -> impl Iterator<Item = Hold> + '_ {
    slots.iter().filter(move |slot| slot.until > now).flat_map(|slot| {
        (0..64)
            .filter(|class| slot.classes >> class & 1 == 1)
            .map(|class| Hold { until: slot.until, class })
    })
}

/// Whether the kernel's slots need no change to say the same: ends may differ by as
/// much as two readings of the two clocks do, and the present one is later by up to a
/// second where it is kept in whole seconds.
pub(super) fn alike(present: &[Slot; SLOTS], wanted: &[Slot; SLOTS]) -> bool {
    const TOLERANCE: u64 = 20_000_000;
    const SECOND: u64 = 1_000_000_000;
    let near = |present: u64, wanted: u64| {
        let later = present.saturating_sub(wanted) <= SECOND + TOLERANCE;
        later && wanted.saturating_sub(present) <= TOLERANCE
    };
    present.iter().zip(wanted).all(|(present, wanted)| {
        present.classes == wanted.classes && near(present.until, wanted.until)
    })
}

#[cfg(test)]
mod tests {
    use guard_common::layout::FOREVER;
    use proptest::prelude::*;

    use super::*;

    /// As the eBPF program decides: the port's classes, a look at every slot.
    fn drops(slots: &[Slot; SLOTS], class: u8, at: u64) -> bool {
        slots.iter().any(|slot| slot.classes & 1 << class != 0 && at < slot.until)
    }

    fn hold(class: u8, until: u64) -> Hold {
        Hold { until, class }
    }

    fn some_holds() -> impl Strategy<Value = Vec<Hold>> {
        let until = prop_oneof![4 => 0_u64..12, 1 => Just(FOREVER)];
        prop::collection::vec((prop_oneof![0_u8..6, 60_u8..64], until), 0..12)
            .prop_map(|list| list.into_iter().map(|(class, until)| hold(class, until)).collect())
    }

    proptest! {
        #[test]
        fn a_class_is_cut_off_exactly_while_some_ban_covers_it(list in some_holds(), now in 0_u64..6) {
            let compiled = compile(&mut list.clone(), now);
            for class in (0..6).chain(60..64) {
                for at in (now..14).chain([FOREVER - 1]) {
                    let covered = list.iter().any(|hold| hold.class == class && at < hold.until);
                    let dropped = compiled.is_some_and(|value| drops(&value.slots, class, at));
                    if compiled.is_none_or(|value| value.exact) {
                        prop_assert_eq!(dropped, covered, "class {} at {}", class, at);
                    } else {
                        prop_assert!(dropped || !covered, "class {} let out early at {}", class, at);
                        let ever = list.iter().any(|hold| hold.class == class && now < hold.until);
                        prop_assert!(ever || !dropped, "class {} was never banned", class);
                    }
                }
            }
        }

        #[test]
        fn few_ends_are_exact_and_come_back(list in some_holds(), now in 0_u64..6) {
            let mut latest: Vec<Hold> = list
                .iter()
                .filter(|a| a.until > now)
                .filter(|a| list.iter().all(|b| b.class != a.class || b.until <= a.until))
                .copied()
                .collect();
            latest.sort_unstable();
            latest.dedup();
            let mut ends: Vec<u64> = latest.iter().map(|hold| hold.until).collect();
            ends.dedup();
            let Some(compiled) = compile(&mut list.clone(), now) else {
                prop_assert!(latest.is_empty());
                return Ok(());
            };
            prop_assert_eq!(compiled.exact, ends.len() <= SLOTS);
            if compiled.exact {
                prop_assert_eq!(holds(&compiled.slots, now).collect::<Vec<_>>(), latest);
            }
        }
    }

    #[test]
    fn ends_that_are_nearest_are_merged_into_the_later_one() {
        let mut list =
            vec![hold(0, 10), hold(1, 100), hold(2, 101), hold(3, 1000), hold(4, FOREVER)];
        let compiled = compile(&mut list, 0).expect("something is held");
        assert!(!compiled.exact);
        assert!(!drops(&compiled.slots, 0, 10) && drops(&compiled.slots, 0, 9));
        assert!(drops(&compiled.slots, 1, 100) && !drops(&compiled.slots, 1, 101));
        assert!(!drops(&compiled.slots, 3, 1000));
        assert!(drops(&compiled.slots, 4, FOREVER - 1));
    }

    #[test]
    fn two_readings_of_the_clocks_make_no_difference() {
        let of = |until| compile(&mut vec![hold(3, until)], 0).expect("held").slots;
        assert!(alike(&of(5_000_000_000), &of(5_000_000_900)));
        assert!(!alike(&of(5_000_000_000), &of(5_100_000_000)));
        assert!(alike(&of(6_000_000_000), &of(5_000_000_900)), "in whole seconds");
        assert!(!alike(&of(6_100_000_000), &of(5_000_000_900)));
        assert!(!alike(
            &of(5_000_000_000),
            &compile(&mut vec![hold(4, 5_000_000_000)], 0).expect("held").slots
        ));
        assert!(!alike(&of(FOREVER), &of(5)));
    }
}

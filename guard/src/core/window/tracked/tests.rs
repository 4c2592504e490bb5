use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;

fn source(n: u32) -> Prefix {
    if n.is_multiple_of(2) {
        Prefix::from(Ipv4Addr::from_bits(n))
    } else {
        Prefix::from(Ipv6Addr::from_bits(u128::from(n) << 64))
    }
}

fn at(seconds: i64, weight: u32) -> Weighed {
    Weighed { time: Timestamp::from_seconds(seconds), weight }
}

#[test]
fn a_source_takes_as_little_as_is_said() {
    assert!(size_of::<Slot>() <= 40, "{}", size_of::<Slot>());
    assert!(size_of::<Older>() <= 16, "{}", size_of::<Older>());
}

#[test]
fn memory_is_given_back_after_a_flood() {
    let mut tracked = Tracked::new(Span::from_seconds(600));
    for n in 0..100_000 {
        tracked.put(source(n), &[at(i64::from(n), 1), at(i64::from(n) + 1, 2)]);
    }
    assert_eq!((tracked.len(), tracked.failures()), (100_000, 200_000));
    for n in 0..99_990 {
        assert_eq!(tracked.oldest(), Some(source(n)));
        assert!(tracked.remove(&source(n)));
    }
    assert!(tracked.slots.capacity() < 10_000, "{}", tracked.slots.capacity());
    assert!(tracked.older.capacity() < 10_000, "{}", tracked.older.capacity());
    for n in 99_990..100_000 {
        let (mut failures, time) = (Vec::new(), i64::from(n));
        assert!(tracked.take(&source(n), &mut failures));
        assert_eq!(failures, [at(time, 1), at(time + 1, 2)]);
    }
    assert_eq!((tracked.len(), tracked.failures()), (0, 0));
    assert!(tracked.rings.is_empty());
}

proptest! {
    /// Against a plain map, with moments of a second.
    #[test]
    fn as_a_map(
        changes in prop::collection::vec(
            (0u32..12, prop::collection::vec((0i64..30, 1u32..4), 0..5)), 0..120),
        horizon in 0i64..30,
    ) {
        let mut tracked = Tracked::new(Span::from_seconds(600));
        let mut model: BTreeMap<Prefix, Vec<Weighed>> = BTreeMap::new();
        let mut taken = Vec::new();
        for (n, failures) in changes {
            let source = source(n);
            let mut failures: Vec<_> =
                failures.into_iter().map(|(time, weight)| at(time, weight)).collect();
            failures.sort_by_key(|failure| failure.time);
            let was = tracked.take(&source, &mut taken);
            prop_assert_eq!(was, model.contains_key(&source));
            prop_assert_eq!(&taken, &model.remove(&source).unwrap_or_default());
            if failures.is_empty() {
                prop_assert!(!tracked.remove(&source));
                continue;
            }
            tracked.put(source, &failures);
            model.insert(source, failures);
        }
        prop_assert_eq!(tracked.len(), model.len());
        prop_assert_eq!(tracked.failures(), model.values().map(Vec::len).sum::<usize>());
        let horizon = Timestamp::from_seconds(horizon);
        let newest = |failures: &Vec<Weighed>| failures.last().expect("one").time;
        let since = model.values().filter(|failures| newest(failures) >= horizon).count();
        prop_assert_eq!(tracked.since(horizon), since);
        // All of them, by the second of their newest failure.
        while let Some(source) = tracked.oldest() {
            let time = newest(&model.remove(&source).expect("it is tracked"));
            prop_assert!(model.values().all(|failures| newest(failures) >= time));
            prop_assert_eq!(tracked.oldest_before(horizon).is_some(), time < horizon);
            prop_assert!(tracked.remove(&source));
        }
        prop_assert_eq!(tracked.len(), 0);
    }
}

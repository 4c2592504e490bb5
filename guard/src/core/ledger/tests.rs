//! The ledger against a plain list of bans.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::core::allow::{AllowList, Gate};
use crate::core::host::HostAddresses;

type Plain = HashMap<(JailId, Prefix), Terms>;

fn cleared(source: Prefix) -> Cleared {
    let (host, none) = (HostAddresses::default(), AllowList::default());
    Gate { host: &host, global: &none, jail: &none, elsewhere: &none }.force(source)
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

#[derive(Clone, Debug)]
enum Step {
    Ban(JailId, Prefix, Terms),
    Unban(JailId, Prefix),
    Expire(Timestamp),
}

fn sources() -> impl Strategy<Value = Prefix> {
    let texts = ["192.0.2.1", "192.0.2.2", "192.0.2.0/24", "2001:db8::1", "2001:db8::/64"];
    prop::sample::select(texts.to_vec()).prop_map(|text| text.parse().expect("a prefix"))
}

fn terms() -> impl Strategy<Value = Terms> {
    let last = prop::option::of(sources());
    let failures = (0_u32..4, 0_i64..50, last).prop_map(|(count, within, last)| Reason::Failures {
        count,
        within: Span::from_seconds(within),
        last,
    });
    let manual = any::<bool>().prop_map(|forced| Reason::Manual { forced });
    let reason = prop_oneof![failures, manual];
    (0_i64..100, prop::option::of(0_i64..100), reason).prop_map(|(since, until, reason)| Terms {
        since: at(since),
        until: until.map(at),
        reason,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let jail = || (0_u16..2).prop_map(JailId);
    prop_oneof![
        4 => (jail(), sources(), terms()).prop_map(|(jail, source, terms)| Step::Ban(jail, source, terms)),
        2 => (jail(), sources()).prop_map(|(jail, source)| Step::Unban(jail, source)),
        1 => (0_i64..100).prop_map(|now| Step::Expire(at(now))),
    ]
}

fn same(ledger: &Ledger, plain: &Plain) -> Result<(), TestCaseError> {
    let found: Plain = ledger.iter().map(|ban| ((ban.jail, ban.source), ban.terms())).collect();
    prop_assert_eq!(&found, plain);
    prop_assert_eq!(ledger.len(), plain.len());
    prop_assert_eq!(ledger.next_end(), plain.values().filter_map(|terms| terms.until).min());
    Ok(())
}

proptest! {
    #[test]
    fn says_what_a_plain_list_says(
        stored in prop::collection::hash_map(((0_u16..2).prop_map(JailId), sources()), terms(), 0..6),
        steps in prop::collection::vec(step(), 0..30),
    ) {
        let mut filling = Filling::default();
        for (&(jail, source), &terms) in &stored {
            filling.ban(jail, cleared(source), terms);
        }
        let (mut ledger, mut plain) = (filling.done(), stored);
        same(&ledger, &plain)?;
        for step in steps {
            match step {
                Step::Ban(jail, source, terms) => {
                    let present = plain.get(&(jail, source)).copied();
                    let since = present.map_or(terms.since, |present| present.since);
                    let terms = Terms { since, ..terms };
                    let later = present.is_none_or(|present| ends_later(terms.until, present.until));
                    let expected = match present {
                        _ if !later => Entered::Unchanged,
                        Some(_) => Entered::Prolonged(terms.of(jail, source)),
                        None => Entered::New(terms.of(jail, source)),
                    };
                    if later {
                        plain.insert((jail, source), terms);
                    }
                    let before = ledger.serial();
                    prop_assert_eq!(ledger.ban(jail, cleared(source), terms), expected);
                    prop_assert_eq!(ledger.serial() - before, u64::from(later));
                }
                Step::Unban(jail, source) => {
                    let there = plain.remove(&(jail, source)).is_some();
                    prop_assert_eq!(ledger.unban(jail, source), there);
                }
                Step::Expire(now) => {
                    while let Some((jail, source)) = ledger.expire_one(now) {
                        let terms = plain.remove(&(jail, source));
                        prop_assert!(terms.and_then(|terms| terms.until).is_some_and(|end| end <= now));
                    }
                }
            }
            same(&ledger, &plain)?;
        }
    }
}

#[test]
fn addresses_take_little_memory() {
    assert_eq!(size_of::<((u32, JailId), Compact)>(), 40);
    assert_eq!(size_of::<(Timestamp, u32, JailId)>(), 16);
}

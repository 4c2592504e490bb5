//! What the store should hold, as plain maps, and random changes to it.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Model {
    bans: BTreeMap<(JailName, Prefix), (Timestamp, Option<Timestamp>, Reason)>,
    failures: Vec<(JailName, Prefix, Timestamp, Option<String>, u32)>,
    history: BTreeMap<(JailName, Prefix), Past>,
    awaited: BTreeMap<(JailName, Prefix), (Timestamp, Option<Timestamp>, Reason)>,
    names: Vec<(JailName, String, Timestamp, Option<String>)>,
    lists: BTreeMap<String, Vec<Prefix>>,
    correlations: BTreeMap<(JailName, String), String>,
    pardons: BTreeMap<(JailName, Option<Prefix>), Timestamp>,
    positions: BTreeMap<String, (String, Timestamp)>,
    totals: BTreeMap<JailName, (u64, u64)>,
}

impl Model {
    pub(super) fn apply(&mut self, changes: &[Change], names: &[JailName]) {
        let name = |jail: &JailId| names[jail.index()].clone();
        for change in changes {
            match change.clone() {
                Change::Count { failure: Failure { jail, source, time, user }, weight } => {
                    self.failures.push((name(&jail), source, time, user, weight));
                    self.totals.entry(name(&jail)).or_default().0 += 1;
                }
                Change::Forget { jail, source, before } => {
                    self.failures.retain(|(j, s, time, ..)| {
                        *j != name(&jail)
                            || *s != source
                            || before.is_some_and(|before| *time >= before)
                    });
                }
                Change::Ban(Ban { jail, source, since, until, reason }) => {
                    self.bans.insert((name(&jail), source), (since, until, reason));
                    self.totals.entry(name(&jail)).or_default().1 += 1;
                }
                Change::Prolong(Ban { jail, source, since, until, reason }) => {
                    self.bans.insert((name(&jail), source), (since, until, reason));
                }
                Change::Unban { jail, source } => {
                    self.bans.remove(&(name(&jail), source));
                }
                Change::Remember { jail, source, past: Some(past) } => {
                    self.history.insert((name(&jail), source), past);
                }
                Change::Remember { jail, source, past: None } => {
                    self.history.remove(&(name(&jail), source));
                }
                Change::Await(Ban { jail, source, since, until, reason }) => {
                    self.awaited.insert((name(&jail), source), (since, until, reason));
                }
                Change::Decided { jail, source } => {
                    self.awaited.remove(&(name(&jail), source));
                }
                Change::AwaitName { jail, name: host, time, user } => {
                    self.names.push((name(&jail), host, time, user));
                }
                Change::NameDecided { name } => self.names.retain(|named| named.1 != name),
                Change::Listed { place, entries: Some(entries) } => {
                    self.lists.insert(place.to_string(), entries);
                }
                Change::Listed { place, entries: None } => {
                    self.lists.remove(&place.to_string());
                }
                Change::Correlate { jail, key, state: Some(state) } => {
                    self.correlations.insert((name(&jail), key), state);
                }
                Change::Correlate { jail, key, state: None } => {
                    self.correlations.remove(&(name(&jail), key));
                }
                Change::Pardon { jail, source, until: Some(until) } => {
                    self.pardons.insert((name(&jail), source), until);
                }
                Change::Pardon { jail, source, until: None } => {
                    self.pardons.remove(&(name(&jail), source));
                }
                Change::Position(Position { source, place, time }) => {
                    self.positions.insert(source, (place, time));
                }
            }
        }
    }
}

impl From<Stored> for Model {
    fn from(stored: Stored) -> Self {
        let ban = |ban: StoredBan| ((ban.jail, ban.source), (ban.since, ban.until, ban.reason));
        let failure = |f: StoredFailure| (f.jail, f.source, f.time, f.user, f.weight);
        Self {
            bans: stored.bans.into_iter().map(ban).collect(),
            awaited: stored.awaited.into_iter().map(ban).collect(),
            history: stored
                .history
                .into_iter()
                .map(|found| ((found.jail, found.source), found.past))
                .collect(),
            names: stored
                .names
                .into_iter()
                .map(|named| (named.jail, named.name, named.time, named.user))
                .collect(),
            lists: stored
                .lists
                .into_iter()
                .map(|(place, entries)| (place.to_string(), entries))
                .collect(),
            failures: stored.failures.into_iter().map(failure).collect(),
            correlations: stored
                .correlations
                .into_iter()
                .map(|correlation| ((correlation.jail, correlation.key), correlation.state))
                .collect(),
            pardons: stored
                .pardons
                .into_iter()
                .map(|pardon| ((pardon.jail, pardon.source), pardon.until))
                .collect(),
            positions: stored
                .positions
                .into_iter()
                .map(|position| (position.source, (position.place, position.time)))
                .collect(),
            totals: stored
                .totals
                .into_iter()
                .map(|totals| (totals.jail, (totals.failures, totals.bans)))
                .collect(),
        }
    }
}

/// Three jails in any order: their numbers change from batch to batch.
pub(super) fn names() -> impl Strategy<Value = Vec<JailName>> {
    Just(["sshd", "proxmox", "nginx"].map(name).to_vec()).prop_shuffle()
}

pub(super) fn changes() -> impl Strategy<Value = Vec<Change>> {
    prop::collection::vec(change(), 0..12)
}

/// Few values of each kind, so that changes meet each other.
fn change() -> impl Strategy<Value = Change> {
    let jail = || (0u16..3).prop_map(JailId);
    let source = || {
        prop::sample::select(vec!["192.0.2.1", "192.0.2.2", "192.0.2.0/24", "2001:db8::1", "::/0"])
            .prop_map(prefix)
    };
    let time = || (0i64..6).prop_map(Timestamp::from_micros);
    let key = || "[ab\u{e9}\0']{0,2}";
    let reason = prop_oneof![
        any::<bool>().prop_map(|forced| Reason::Manual { forced }),
        (any::<u32>(), any::<u32>(), prop::option::of(source())).prop_map(
            |(count, within, last)| {
                Reason::Failures { count, within: Span::from_micros(within.into()), last }
            }
        ),
    ];
    prop_oneof![
        (jail(), prop::option::of(source()), prop::option::of(time()))
            .prop_map(|(jail, source, until)| Change::Pardon { jail, source, until }),
        (jail(), source(), time(), prop::option::of(key()), 1u32..9).prop_map(
            |(jail, source, time, user, weight)| {
                Change::Count { failure: Failure { jail, source, time, user }, weight }
            }
        ),
        (jail(), source(), prop::option::of((1u32..9, time(), prop::option::of(0i64..9))))
            .prop_map(|(jail, source, past)| {
                let past = past.map(|(count, since, length)| Past {
                    count,
                    since,
                    length: length.map(Span::from_micros),
                });
                Change::Remember { jail, source, past }
            }),
        (jail(), source(), time(), prop::option::of(time())).prop_map(
            |(jail, source, since, until)| {
                let reason = Reason::Manual { forced: false };
                Change::Await(Ban { jail, source, since, until, reason })
            }
        ),
        (jail(), source()).prop_map(|(jail, source)| Change::Decided { jail, source }),
        (jail(), key(), time(), prop::option::of(key()))
            .prop_map(|(jail, name, time, user)| Change::AwaitName { jail, name, time, user }),
        key().prop_map(|name| Change::NameDecided { name }),
        (key(), any::<bool>(), prop::option::of(prop::collection::vec(source(), 0..3))).prop_map(
            |(text, name, entries)| {
                let place = match name {
                    true => AllowElsewhere::Name(text),
                    false => AllowElsewhere::File(text.into()),
                };
                Change::Listed { place, entries }
            }
        ),
        (jail(), source(), prop::option::of(time()))
            .prop_map(|(jail, source, before)| Change::Forget { jail, source, before }),
        (jail(), source(), time(), prop::option::of(time()), reason).prop_map(
            |(jail, source, since, until, reason)| {
                Change::Ban(Ban { jail, source, since, until, reason })
            }
        ),
        (jail(), source()).prop_map(|(jail, source)| Change::Unban { jail, source }),
        (jail(), key(), prop::option::of(key())).prop_map(|(jail, key, state)| Change::Correlate {
            jail,
            key,
            state
        }),
        (key(), key(), time()).prop_map(|(source, place, time)| Change::Position(Position {
            source,
            place,
            time
        })),
    ]
}

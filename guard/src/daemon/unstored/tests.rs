use std::io;
use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::core::allow::AllowList;
use crate::core::delta::Ban;
use crate::core::engine::{Limits, Stored};
use crate::core::filter::{self, Filter, FilterText};
use crate::core::host::HostAddresses;
use crate::core::jail::{Jail, JailId, LogSource};
use crate::core::ports::{Ports, Protocols};
use crate::core::reason::Reason;
use crate::core::time::{Span, Timestamp};

#[derive(Debug, Default)]
struct Written {
    refuses: bool,
    transactions: Vec<Vec<Change>>,
    others: Vec<(usize, Option<Vec<Prefix>>)>,
    ordered: Vec<(usize, Option<Vec<Prefix>>)>,
    fillings: Vec<(usize, Rewrite)>,
}

impl Written {
    fn answer(&self) -> Result<(), StoreError> {
        let cause = || io::Error::other("full");
        let refused = || StoreError::Unwritable { path: "x".into(), cause: cause() };
        if self.refuses { Err(refused()) } else { Ok(()) }
    }
}

impl Keep for Written {
    fn persist(&mut self, changes: &[Change], _: &[JailName]) -> Result<(), StoreError> {
        self.answer()?;
        self.transactions.push(changes.to_vec());
        Ok(())
    }

    fn unban_others(
        &mut self,
        _: &[JailName],
        sources: Option<&[Prefix]>,
    ) -> Result<(), StoreError> {
        self.answer()?;
        self.others.push((self.transactions.len(), sources.map(<[Prefix]>::to_vec)));
        Ok(())
    }

    fn record_drops(&mut self, _: Timestamp, _: u64, _: u64) -> Result<(), StoreError> {
        self.answer()
    }

    fn unban(
        &mut self,
        jail: Option<&JailName>,
        sources: Option<&[Prefix]>,
        _: Timestamp,
    ) -> Result<(), StoreError> {
        self.answer()?;
        assert!(jail.is_none());
        self.ordered.push((self.transactions.len(), sources.map(<[Prefix]>::to_vec)));
        Ok(())
    }

    fn fill(&mut self, rewrite: Rewrite, whole: Whole<'_>) -> Result<(), StoreError> {
        self.answer()?;
        self.fillings.push((self.transactions.len(), rewrite));
        self.transactions.push(whole.changes.collect());
        Ok(())
    }
}

fn source(number: u32) -> Prefix {
    IpAddr::from(Ipv4Addr::from_bits((11 << 24) + number)).into()
}

fn unban(number: u32) -> Change {
    Change::Unban { jail: JailId(0), source: source(number) }
}

fn position(source: &str, place: u32) -> Change {
    let (source, place) = (source.to_owned(), place.to_string());
    Change::Position(Position { source, place, time: Timestamp::default() })
}

fn taken_over(number: u32) -> Ban {
    let reason = Reason::Failures { count: 0, within: Span::ZERO, last: None };
    let since = Timestamp::from_seconds(5);
    Ban { jail: JailId(0), source: source(number), since, until: None, reason }
}

fn by_hand(number: u32) -> Ban {
    Ban { reason: Reason::Manual { forced: false }, ..taken_over(number) }
}

/// An engine in whose only jail these are banned.
fn engine(bans: Vec<Ban>) -> Engine {
    let limits = Limits {
        tracked_failures: 10,
        bans: 10,
        connections: 10,
        known_sources: 10,
        history: Span::ZERO,
    };
    let host = HostAddresses::default();
    let stored = Stored { bans, ..Stored::default() };
    let text = FilterText { failregex: vec!["^<ADDR>$".to_owned()], ..FilterText::default() };
    let jail = Jail {
        name: JailName::new("sshd").expect("a name"),
        ports: Ports::new(Protocols::Tcp, [22..=22]),
        max_retry: 3,
        find_time: Span::from_seconds(60),
        ban_time: None,
        ipv6_prefix: Jail::IPV6_PREFIX,
        allow: AllowList::default(),
        filter: Filter::compile(&text, filter::Limits::default()).expect("a filter"),
        source: LogSource::OwnBans,
        escalation: None,
        ignore_command: None,
        allow_elsewhere: Vec::new(),
    };
    Engine::restore(vec![jail], AllowList::default(), limits, host, stored, Timestamp::default()).0
}

fn write_all(held: &mut Unstored, store: &mut Written, engine: &Engine) {
    while !held.is_empty() {
        held.write_one(store, Known { engine, names: &[], totals: &[] }).expect("written");
    }
    assert_eq!(held.len(), 0);
}

#[test]
fn order_is_kept_and_only_the_last_position_of_each_source_counts() {
    let (mut held, mut store) = (Unstored::default(), Written::default());
    held.push(vec![unban(1), position("journal", 1), position("file", 1)]);
    held.push(Vec::new());
    held.push(vec![unban(2), position("journal", 2)]);
    held.push_others(None);
    held.push(vec![unban(3)]);
    write_all(&mut held, &mut store, &engine(Vec::new()));
    let first = vec![unban(1), position("file", 1), unban(2), position("journal", 2)];
    assert_eq!(store.transactions, [first, vec![unban(3)]]);
    assert_eq!(store.others, [(1, None)], "between the two");
}

#[test]
fn what_is_refused_stays_and_nothing_is_torn_apart() {
    let engine = engine(Vec::new());
    let (mut held, mut store) =
        (Unstored::default(), Written { refuses: true, ..Written::default() });
    let large: Vec<Change> = (0..1_500).map(unban).collect();
    held.push(large.clone());
    held.push(vec![unban(9_000)]);
    let known = Known { engine: &engine, names: &[], totals: &[] };
    held.write_one(&mut store, known).expect_err("refused");
    assert_eq!(held.len(), 1_501);
    store.refuses = false;
    write_all(&mut held, &mut store, &engine);
    assert_eq!(store.transactions, [large, vec![unban(9_000)]]);
}

#[test]
fn a_store_that_lacks_something_is_given_all_that_is_known() {
    let engine = engine(vec![taken_over(1), by_hand(2)]);
    let read = Position { source: "file".into(), place: "7".into(), time: Timestamp::default() };
    let (mut held, mut store) = (Unstored::new(&[read]), Written::default());
    held.push(vec![unban(3), position("journal", 1)]);
    held.push_others(None);
    held.fill(Rewrite::Afresh);
    held.push(vec![unban(4), position("journal", 2)]);
    assert_eq!(held.len(), 5, "those that are not held any more count too, and the others");
    write_all(&mut held, &mut store, &engine);
    assert_eq!((store.others, store.fillings), (vec![(0, None)], vec![(0, Rewrite::Afresh)]));
    let mut bans = [taken_over(1), by_hand(2)].map(Change::Prolong).to_vec();
    bans.extend([position("file", 7), position("journal", 2)]);
    store.transactions[0].sort_by_key(|change| format!("{change:?}").replace("Prolong", "A"));
    assert_eq!(store.transactions, [bans], "and nothing else");
}

#[test]
fn of_a_store_that_nobody_could_read_only_what_was_ordered_ends() {
    let engine = engine(vec![by_hand(2)]);
    let (mut held, mut store) = (Unstored::default(), Written::default());
    let sources = [source(7)];
    held.push_ordered(None, Some(&sources), Timestamp::default());
    assert!(held.is_empty(), "of others it is among the changes");
    held.fill(Rewrite::Beside);
    // A ban that was taken over from the kernel is over; the true one may not be.
    held.push(vec![position("journal", 1), unban(3), Change::Prolong(by_hand(2))]);
    held.push_ordered(None, Some(&sources), Timestamp::default());
    write_all(&mut held, &mut store, &engine);
    let known = vec![Change::Prolong(by_hand(2)), position("journal", 1)];
    assert_eq!(store.transactions, [known]);
    assert_eq!(store.ordered, [(0, Some(sources.to_vec()))], "before what is known");
    assert_eq!(store.fillings, [(0, Rewrite::Beside)]);
    // It has what nobody knows for as long as this agent lives.
    (0..=u32::try_from(MOST).expect("it fits")).for_each(|number| held.push(vec![unban(number)]));
    write_all(&mut held, &mut store, &engine);
    assert_eq!(store.fillings[1..], [(store.transactions.len() - 1, Rewrite::Beside)]);
}

#[test]
fn so_many_are_held_one_by_one_and_no_more() {
    let engine = engine(vec![by_hand(1)]);
    let most = u32::try_from(MOST).expect("it fits");
    for (extra, transactions) in [(0, MOST / AT_ONCE), (1, 1)] {
        let (mut held, mut store) = (Unstored::default(), Written::default());
        (0..most + extra).for_each(|number| held.push(vec![unban(number)]));
        held.push(vec![unban(0)].into_iter().filter(|_| extra > 0).collect());
        assert_eq!(held.units.is_empty(), extra > 0);
        write_all(&mut held, &mut store, &engine);
        assert_eq!(store.transactions.len(), transactions);
        assert_eq!(store.fillings.len(), usize::from(extra > 0));
    }
}

//! Random changes against a plain map, and a kill between any two steps of them.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};

use proptest::prelude::*;

use super::super::{Bans, Elsewhere, Entry, Found, Grace, Memory, Table, Wanted};
use super::{Plain, header};

/// Steps until the writer is killed; what it does after that has no effect.
type Fuel = Rc<Cell<u32>>;

fn alive(fuel: &Fuel) -> bool {
    let left = fuel.get();
    fuel.set(left.saturating_sub(1));
    left > 0
}

/// What is left when the writer is gone.
#[derive(Clone, Debug)]
struct Kernel {
    words: Rc<RefCell<Plain>>,
    /// A ban in the hash map is a number.
    map: Rc<RefCell<BTreeMap<u32, u32>>>,
    /// What the map does not take any more.
    room: Rc<Cell<usize>>,
    fuel: Fuel,
}

impl Memory for Kernel {
    fn lines(&self) -> u32 {
        self.words.borrow().lines()
    }

    fn load(&self, line: u32, place: usize) -> u64 {
        self.words.borrow().load(line, place)
    }

    fn store(&mut self, line: u32, place: usize, word: u64) {
        if alive(&self.fuel) {
            self.words.borrow_mut().store(line, place, word);
        }
    }
}

#[derive(Debug, PartialEq)]
struct Full;

impl Elsewhere for Kernel {
    type Ban = u32;
    type Error = Full;

    fn holds(&self, address: u32) -> Result<bool, Full> {
        Ok(self.map.borrow().contains_key(&address))
    }

    fn set(&mut self, bans: Vec<(u32, u32)>) -> Result<(), Full> {
        for (address, ban) in bans {
            let mut map = self.map.borrow_mut();
            if !map.contains_key(&address) && map.len() >= self.room.get() {
                return Err(Full);
            }
            if alive(&self.fuel) {
                map.insert(address, ban);
            }
        }
        Ok(())
    }

    fn remove(&mut self, addresses: &[u32]) -> Result<(), Full> {
        for address in addresses {
            if alive(&self.fuel) {
                self.map.borrow_mut().remove(address);
            }
        }
        Ok(())
    }

    fn addresses(&self) -> Result<Vec<u32>, Full> {
        Ok(self.map.borrow().keys().copied().collect())
    }
}

impl Grace for Kernel {
    type Error = Full;

    fn wait(&mut self) -> Result<(), Full> {
        Ok(())
    }
}

/// A ban as a number: below 8 it fits into a word, with that class.
fn entry(ban: u32) -> Option<Entry> {
    u8::try_from(ban).ok().filter(|ban| *ban < 8).and_then(|class| Entry::new(class, 100))
}

fn wanted(ban: Option<u32>) -> Wanted<u32> {
    ban.map_or(Wanted::Nothing, |ban| Wanted::Ban { entry: entry(ban), ban })
}

impl Kernel {
    fn new(buckets: u32) -> Self {
        let kernel = Self {
            words: Rc::new(RefCell::new(Plain::new(buckets))),
            map: Rc::default(),
            room: Rc::new(Cell::new(usize::MAX)),
            fuel: Rc::new(Cell::new(u32::MAX)),
        };
        Table::create(kernel.clone(), header(buckets, 3)).expect("it fits");
        kernel
    }

    fn bans(&self) -> Bans<Self, Self, Self> {
        let table = Table::open(self.clone()).expect("there is one");
        Bans::adopt(table, self.clone(), self.clone()).expect("it can be read")
    }

    /// As a packet's look-up goes.
    fn ban(&self, address: u32) -> Option<u32> {
        match Table::open(self.clone()).expect("there is one").find(address) {
            Found::Here(entry) => Some(u32::from(entry.class())),
            Found::Elsewhere => self.map.borrow().get(&address).copied(),
            Found::Nowhere => None,
        }
    }

    /// Each address in one place, marks where they are needed and nowhere else.
    fn is_in_order(&self) {
        let table = Table::open(self.clone()).expect("there is one");
        let inside: Vec<u32> = table.entries().map(|(address, _)| address).collect();
        let set: BTreeSet<u32> = inside.iter().copied().collect();
        assert_eq!(set.len(), inside.len(), "twice in the table");
        let map = self.map.borrow();
        assert!(map.keys().all(|address| !set.contains(address)), "in both places");
        let marked: BTreeSet<u32> = map.keys().map(|it| table.header().line(*it)).collect();
        for line in 1..=table.header().buckets {
            assert_eq!(table.is_marked(line), marked.contains(&line), "line {line}");
        }
    }
}

/// Batches of changes: few addresses, so that they crowd and meet again.
fn some_batches() -> impl Strategy<Value = Vec<BTreeMap<u32, Option<u32>>>> {
    let ban = prop_oneof![3 => (0_u32..8).prop_map(Some), 1 => (8_u32..12).prop_map(Some), 2 => Just(None)];
    prop::collection::vec(prop::collection::btree_map(0_u32..40, ban, 1..20), 1..12)
}

fn changes(batch: &BTreeMap<u32, Option<u32>>) -> Vec<(u32, Wanted<u32>)> {
    batch.iter().map(|(address, ban)| (*address, wanted(*ban))).collect()
}

fn follow(model: &mut BTreeMap<u32, u32>, batch: &BTreeMap<u32, Option<u32>>) {
    for (address, ban) in batch {
        match ban {
            Some(ban) => model.insert(*address, *ban),
            None => model.remove(address),
        };
    }
}

proptest! {
    #[test]
    fn the_table_says_what_a_plain_map_says(batches in some_batches(), buckets in 1_u32..5) {
        let kernel = Kernel::new(buckets);
        let mut bans = kernel.bans();
        let mut model = BTreeMap::new();
        for batch in &batches {
            bans.apply(changes(batch)).expect("there is room");
            follow(&mut model, batch);
            for address in 0..40 {
                prop_assert_eq!(kernel.ban(address), model.get(&address).copied(), "{}", address);
            }
            kernel.is_in_order();
        }
    }

    #[test]
    fn whoever_is_killed_at_any_step_leaves_nobody_out_or_in(
        batches in some_batches(),
        buckets in 1_u32..5,
        steps in 0_u32..60,
    ) {
        let kernel = Kernel::new(buckets);
        let mut bans = kernel.bans();
        let mut model = BTreeMap::new();
        let (last, before) = batches.split_last().expect("at least one");
        for batch in before {
            bans.apply(changes(batch)).expect("there is room");
            follow(&mut model, batch);
        }
        let old = model.clone();
        follow(&mut model, last);
        kernel.fuel.set(steps);
        bans.apply(changes(last)).expect("there is room");
        kernel.fuel.set(u32::MAX);
        drop(bans);

        let told = |address| {
            let (old, new) = (old.get(&address).copied(), model.get(&address).copied());
            let now = kernel.ban(address);
            prop_assert!(now == old || now == new, "{}: {:?}, not {:?} or {:?}", address, now, old, new);
            Ok(())
        };
        (0..40).try_for_each(told)?;
        let mut bans = kernel.bans();
        (0..40).try_for_each(told)?;
        kernel.is_in_order();
        bans.apply(changes(last)).expect("there is room");
        for address in 0..40 {
            prop_assert_eq!(kernel.ban(address), model.get(&address).copied(), "{} in the end", address);
        }
        kernel.is_in_order();
    }

    #[test]
    fn a_full_map_is_told_and_loses_nobody_who_was_there(
        batches in some_batches(),
        room in 0_usize..4,
    ) {
        let kernel = Kernel::new(1);
        let mut bans = kernel.bans();
        kernel.room.set(room);
        let mut model = BTreeMap::new();
        for batch in &batches {
            let old = model.clone();
            follow(&mut model, batch);
            let applied = bans.apply(changes(batch));
            let missing = (0..40).filter(|it| model.contains_key(it) && kernel.ban(*it).is_none());
            prop_assert!(applied.is_err() || missing.count() == 0, "lost silently");
            for address in 0..40 {
                let stays = old.contains_key(&address) && model.contains_key(&address);
                prop_assert!(!stays || kernel.ban(address).is_some(), "{} was let out", address);
                let nobody = !old.contains_key(&address) && !model.contains_key(&address);
                prop_assert!(!nobody || kernel.ban(address).is_none(), "{} was banned", address);
            }
            // What could not be set is not taken for set.
            model.retain(|address, _| kernel.ban(*address).is_some());
            kernel.is_in_order_after_failure();
        }
    }
}

impl Kernel {
    fn is_in_order_after_failure(&self) {
        let table = Table::open(self.clone()).expect("there is one");
        for address in self.map.borrow().keys() {
            assert!(table.is_marked(table.header().line(*address)), "{address} is not found");
        }
    }
}

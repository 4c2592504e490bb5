//! Random changes against a plain map, and a kill between any two steps of them.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};

use proptest::prelude::*;

use super::super::{Bans, Elsewhere, Entry, Found, Memory, Place, Table};
use super::{Plain, header};

/// Steps until the writer is killed; what it does after that has no effect.
type Fuel = Rc<Cell<u32>>;

fn alive(fuel: &Fuel) -> bool {
    let left = fuel.get();
    fuel.set(left.saturating_sub(1));
    left > 0
}

/// Words that the kernel has.
#[derive(Clone, Debug)]
struct Words {
    words: Rc<RefCell<Plain>>,
    fuel: Fuel,
}

/// What is left when the writer is gone.
#[derive(Clone, Debug)]
struct Kernel {
    /// The table in place.
    place: Rc<RefCell<Option<Words>>>,
    /// A ban in the hash map is a number.
    map: Rc<RefCell<BTreeMap<u32, u32>>>,
    /// What the map does not take any more.
    room: Rc<Cell<usize>>,
    fuel: Fuel,
}

impl Memory for Words {
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

impl Place<Words> for Kernel {
    type Error = Full;

    fn set(&mut self, table: Option<&Words>) -> Result<(), Full> {
        if alive(&self.fuel) {
            *self.place.borrow_mut() = table.cloned();
        }
        Ok(())
    }

    fn wait(&mut self, table: &Words) -> Result<(), Full> {
        let place = self.place.borrow();
        let same = place.as_ref().is_some_and(|place| Rc::ptr_eq(&place.words, &table.words));
        assert!(same || self.fuel.get() == 0, "what is waited with is in place");
        Ok(())
    }
}

#[derive(Debug, PartialEq)]
struct Full;

/// A ban as a number: below 8 it fits into a word, with that class.
impl Elsewhere for Kernel {
    type Ban = u32;
    type Error = Full;

    fn entry(ban: &u32, epoch: u64) -> Option<Entry> {
        let class = u8::try_from(*ban).ok().filter(|ban| *ban < 8)?;
        Entry::new(class, END - epoch)
    }

    fn ban(entry: Entry, epoch: u64) -> u32 {
        assert_eq!(entry.until(epoch), END * 1_000_000_000, "ends move with the epoch");
        entry.class().into()
    }

    fn look_up(&self, address: u32) -> Result<Option<u32>, Full> {
        Ok(self.map.borrow().get(&address).copied())
    }

    fn set(&mut self, bans: &[(u32, u32)]) -> Result<(), Full> {
        for (address, ban) in bans {
            let mut map = self.map.borrow_mut();
            if !map.contains_key(address) && map.len() >= self.room.get() {
                return Err(Full);
            }
            if alive(&self.fuel) {
                map.insert(*address, *ban);
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

    fn each(&self) -> Result<Vec<(u32, u32)>, Full> {
        // In no order, as a hash map has it.
        Ok(self.map.borrow().iter().rev().map(|(address, ban)| (*address, *ban)).collect())
    }
}

/// When all bans end.
const END: u64 = 5_000;

impl Kernel {
    fn new() -> Self {
        Self {
            place: Rc::default(),
            map: Rc::default(),
            room: Rc::new(Cell::new(usize::MAX)),
            fuel: Rc::new(Cell::new(u32::MAX)),
        }
    }

    fn table(&self) -> Option<Table<Words>> {
        self.place.borrow().clone().map(|words| Table::open(words).expect("a whole table"))
    }

    fn bans(&self) -> Bans<Words, Self, Self> {
        Bans::adopt(self.table(), self.clone(), self.clone()).expect("it can be read")
    }

    /// As a packet's look-up goes.
    fn ban(&self, address: u32) -> Option<u32> {
        match self.table().map_or(Found::Elsewhere, |table| table.find(address)) {
            Found::Here(entry) => Some(u32::from(entry.class())),
            Found::Elsewhere => self.map.borrow().get(&address).copied(),
            Found::Nowhere => None,
        }
    }

    /// Each address in one place, marks where they are needed and nowhere else.
    fn is_in_order(&self) {
        let Some(table) = self.table() else { return };
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

    fn make(&self, bans: &mut Bans<Words, Self, Self>, step: &Step) -> Result<(), Full> {
        match step {
            Step::Change(batch) => {
                let (mut gone, mut come) = (Vec::new(), Vec::new());
                for (address, ban) in batch {
                    match ban {
                        Some(ban) => come.push((*address, *ban)),
                        None => gone.push(*address),
                    }
                }
                bans.remove(&gone)?;
                bans.set(&come)
            }
            Step::Rebuild(None) => bans.rebuild(None),
            Step::Rebuild(Some((buckets, seed))) => {
                let mut header = header(*buckets, u64::from(*seed));
                header.epoch += u64::from(*seed);
                let words = Rc::new(RefCell::new(Plain::new(*buckets)));
                bans.rebuild(Some((Words { words, fuel: self.fuel.clone() }, header)))
            }
        }
    }
}

/// What happens to the bans.
#[derive(Clone, Debug)]
enum Step {
    Change(BTreeMap<u32, Option<u32>>),
    /// Another table with so many buckets and this seed, or none.
    Rebuild(Option<(u32, u8)>),
}

/// Few addresses, so that they crowd and meet again.
fn some_steps() -> impl Strategy<Value = Vec<Step>> {
    let ban = prop_oneof![3 => (0_u32..8).prop_map(Some), 1 => (8_u32..12).prop_map(Some), 2 => Just(None)];
    let change = prop::collection::btree_map(0_u32..40, ban, 1..20).prop_map(Step::Change);
    let rebuild = prop::option::weighted(0.8, (1_u32..5, any::<u8>())).prop_map(Step::Rebuild);
    prop::collection::vec(prop_oneof![2 => change, 1 => rebuild], 1..12)
}

fn follow(model: &mut BTreeMap<u32, u32>, step: &Step) {
    let Step::Change(batch) = step else { return };
    for (address, ban) in batch {
        match ban {
            Some(ban) => model.insert(*address, *ban),
            None => model.remove(address),
        };
    }
}

proptest! {
    #[test]
    fn the_table_says_what_a_plain_map_says(steps in some_steps()) {
        let kernel = Kernel::new();
        let mut bans = kernel.bans();
        let mut model = BTreeMap::new();
        for step in &steps {
            kernel.make(&mut bans, step).expect("there is room");
            follow(&mut model, step);
            for address in 0..40 {
                let wanted = model.get(&address).copied();
                prop_assert_eq!(kernel.ban(address), wanted, "{} in the kernel", address);
                prop_assert_eq!(bans.look_up(address), Ok(wanted), "{} for the writer", address);
            }
            kernel.is_in_order();
        }
    }

    #[test]
    fn whoever_is_killed_at_any_step_leaves_nobody_out_or_in(
        steps in some_steps(),
        fuel in 0_u32..80,
    ) {
        let kernel = Kernel::new();
        let mut bans = kernel.bans();
        let mut model = BTreeMap::new();
        let (last, before) = steps.split_last().expect("at least one");
        for step in before {
            kernel.make(&mut bans, step).expect("there is room");
            follow(&mut model, step);
        }
        let old = model.clone();
        follow(&mut model, last);
        kernel.fuel.set(fuel);
        kernel.make(&mut bans, last).expect("there is room");
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
        kernel.make(&mut bans, last).expect("there is room");
        for address in 0..40 {
            prop_assert_eq!(kernel.ban(address), model.get(&address).copied(), "{} in the end", address);
        }
        kernel.is_in_order();
    }

    #[test]
    fn a_full_map_is_told_and_loses_nobody_who_was_there(
        steps in some_steps(),
        room in 0_usize..4,
    ) {
        let kernel = Kernel::new();
        let mut bans = kernel.bans();
        kernel.make(&mut bans, &Step::Rebuild(Some((1, 0)))).expect("there is nothing to move");
        kernel.room.set(room);
        let mut model = BTreeMap::new();
        for step in &steps {
            let old = model.clone();
            follow(&mut model, step);
            let made = kernel.make(&mut bans, step);
            let missing = (0..40).filter(|it| model.contains_key(it) && kernel.ban(*it).is_none());
            prop_assert!(made.is_err() || missing.count() == 0, "lost silently");
            for address in 0..40 {
                let stays = old.contains_key(&address) && model.contains_key(&address);
                prop_assert!(!stays || kernel.ban(address).is_some(), "{} was let out", address);
                let nobody = !old.contains_key(&address) && !model.contains_key(&address);
                prop_assert!(!nobody || kernel.ban(address).is_none(), "{} was banned", address);
            }
            // What could not be set is not taken for set.
            model.retain(|address, _| kernel.ban(*address).is_some());
        }
    }
}

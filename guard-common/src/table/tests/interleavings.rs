//! Every interleaving of a writer with a reader, as far as the order of memory lets them.
//!
//! All loads and stores are relaxed, which is weaker than any processor that guard runs
//! on: stores to different words may be seen in any order. What passes here is right
//! everywhere. A grace period is a lock that every look-up shares and the writer takes
//! once: as with RCU, a look-up ends before it, or begins after it and sees all that came
//! before.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use loom::sync::atomic::{AtomicU64, Ordering};
use loom::sync::{Arc, Mutex, RwLock};
use loom::thread;

use super::super::place::WORDS;
use super::super::{
    Bans, Elsewhere, Entry, Found, Grace, Header, Line, Memory, Table, Wanted, find,
};
use super::header;

/// The kernel's side of one bucket. The header never changes, and is not modelled.
#[derive(Clone)]
struct Shared {
    bucket: Arc<Vec<AtomicU64>>,
    map: Arc<Mutex<BTreeMap<u32, u32>>>,
    running: Arc<RwLock<()>>,
    waits: bool,
}

const HEADER: fn() -> Header = || header(1, 5);

impl Shared {
    fn new(waits: bool) -> Self {
        Self {
            bucket: Arc::new((0..WORDS).map(|_| AtomicU64::new(0)).collect()),
            map: Arc::default(),
            running: Arc::default(),
            waits,
        }
    }

    fn bans(&self) -> Bans<Self, Self, Self> {
        let table = Table::open(self.clone()).expect("there is one");
        Bans::adopt(table, self.clone(), self.clone()).expect("it can be read")
    }

    /// One packet's look-up. In the hash map, a ban is 100 and its class.
    fn ban(&self, address: u32) -> Option<u32> {
        let _running = self.running.read().expect("nobody panicked");
        match find(self, address) {
            Found::Here(entry) => Some(u32::from(entry.class())),
            Found::Elsewhere => self.map.lock().expect("nobody panicked").get(&address).copied(),
            Found::Nowhere => None,
        }
    }
}

impl Line for Shared {
    fn word(&self, place: usize) -> u64 {
        self.bucket[place].load(Ordering::Relaxed)
    }
}

impl Memory for Shared {
    fn lines(&self) -> u32 {
        2
    }

    fn load(&self, line: u32, place: usize) -> u64 {
        if line == 0 { HEADER().words()[place] } else { self.bucket[place].load(Ordering::Relaxed) }
    }

    fn store(&mut self, _line: u32, place: usize, word: u64) {
        self.bucket[place].store(word, Ordering::Relaxed);
    }
}

impl Elsewhere for Shared {
    type Ban = u32;
    type Error = ();

    fn holds(&self, address: u32) -> Result<bool, ()> {
        Ok(self.map.lock().expect("nobody panicked").contains_key(&address))
    }

    fn set(&mut self, bans: Vec<(u32, u32)>) -> Result<(), ()> {
        for (address, ban) in bans {
            self.map.lock().expect("nobody panicked").insert(address, ban);
        }
        Ok(())
    }

    fn remove(&mut self, addresses: &[u32]) -> Result<(), ()> {
        for address in addresses {
            self.map.lock().expect("nobody panicked").remove(address);
        }
        Ok(())
    }

    fn addresses(&self) -> Result<Vec<u32>, ()> {
        Ok(self.map.lock().expect("nobody panicked").keys().copied().collect())
    }
}

impl Grace for Shared {
    type Error = ();

    fn wait(&mut self) -> Result<(), ()> {
        if self.waits {
            drop(self.running.write().expect("nobody panicked"));
        }
        Ok(())
    }
}

/// For a word.
fn class(class: u8) -> Wanted<u32> {
    Wanted::Ban { entry: Entry::new(class, 9), ban: 100 + u32::from(class) }
}

/// For the hash map alone.
fn outside(ban: u32) -> Wanted<u32> {
    Wanted::Ban { entry: None, ban }
}

/// Tries all interleavings of a writer with one look-up.
fn every(
    waits: bool,
    prepare: impl Fn(&mut Bans<Shared, Shared, Shared>) + Sync + Send + 'static,
    write: impl Fn(&mut Bans<Shared, Shared, Shared>) + Sync + Send + Copy + 'static,
    (address, allowed): (u32, &'static [Option<u32>]),
) {
    loom::model(move || {
        let shared = Shared::new(waits);
        let mut bans = shared.bans();
        prepare(&mut bans);
        let reader = {
            let shared = shared.clone();
            thread::spawn(move || {
                let ban = shared.ban(address);
                assert!(allowed.contains(&ban), "{address} had {ban:?}");
            })
        };
        write(&mut bans);
        reader.join().expect("the reader found what it should");
    });
}

fn apply(bans: &mut Bans<Shared, Shared, Shared>, changes: &[(u32, Wanted<u32>)]) {
    bans.apply(changes.to_vec()).expect("there is room");
}

/// Another one comes first, so that the ban that moves is not in the first word.
fn two_bans(bans: &mut Bans<Shared, Shared, Shared>) {
    apply(bans, &[(7, class(1)), (8, class(2))]);
}

#[test]
fn who_moves_to_the_hash_map_stays_banned_all_the_way() {
    every(true, two_bans, |bans| apply(bans, &[(8, outside(30))]), (8, &[Some(2), Some(30)]));
}

/// The model finds what goes wrong without the wait, so it can find something.
#[test]
#[should_panic(expected = "8 had None")]
fn without_the_wait_who_moves_to_the_hash_map_gets_through() {
    every(false, two_bans, |bans| apply(bans, &[(8, outside(30))]), (8, &[Some(2), Some(30)]));
}

#[test]
fn a_neighbour_is_never_banned_while_words_are_reused() {
    every(
        true,
        two_bans,
        |bans| {
            apply(bans, &[(7, Wanted::Nothing)]);
            apply(bans, &[(9, class(3)), (8, outside(30))]);
        },
        (10, &[None]),
    );
}

#[test]
fn a_ban_that_stays_is_found_while_all_others_change() {
    every(
        true,
        |bans| apply(bans, &[(7, class(1)), (8, class(2)), (9, outside(30))]),
        |bans| {
            apply(bans, &[(7, Wanted::Nothing), (9, Wanted::Nothing)]);
            apply(bans, &[(11, outside(31)), (12, class(3))]);
        },
        (8, &[Some(2)]),
    );
}

#[test]
fn a_ban_outside_that_stays_is_found_while_others_come_and_go() {
    every(
        true,
        |bans| apply(bans, &[(7, class(1)), (8, outside(30)), (9, outside(31))]),
        |bans| apply(bans, &[(9, Wanted::Nothing), (7, outside(32))]),
        (8, &[Some(30)]),
    );
}

#[test]
fn a_ban_that_changes_is_the_old_or_the_new_one() {
    every(true, two_bans, |bans| apply(bans, &[(8, class(5))]), (8, &[Some(2), Some(5)]));
}

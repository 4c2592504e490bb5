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
use super::super::{Bans, Elsewhere, Entry, Found, Header, Line, Memory, Place, Table, find};
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
        let table = Table::open(self.clone());
        Bans::adopt(table, self.clone(), self.clone()).expect("it can be read")
    }

    /// One packet's look-up.
    fn found(&self, address: u32) -> Option<u32> {
        let _running = self.running.read().expect("nobody panicked");
        match find(self, address) {
            Found::Here(entry) => Some(Self::ban(entry, 0)),
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

/// A ban from 100 on fits into a word, with its class in the rest.
impl Elsewhere for Shared {
    type Ban = u32;
    type Error = ();

    fn entry(ban: &u32, _epoch: u64) -> Option<Entry> {
        Entry::new(ban.checked_sub(100)?.try_into().ok()?, 9)
    }

    fn ban(entry: Entry, _epoch: u64) -> u32 {
        100 + u32::from(entry.class())
    }

    fn look_up(&self, address: u32) -> Result<Option<u32>, ()> {
        Ok(self.map.lock().expect("nobody panicked").get(&address).copied())
    }

    fn set(&mut self, bans: &[(u32, u32)]) -> Result<(), ()> {
        for (address, ban) in bans {
            self.map.lock().expect("nobody panicked").insert(*address, *ban);
        }
        Ok(())
    }

    fn remove(&mut self, addresses: &[u32]) -> Result<(), ()> {
        for address in addresses {
            self.map.lock().expect("nobody panicked").remove(address);
        }
        Ok(())
    }

    fn each(&self) -> Result<Vec<(u32, u32)>, ()> {
        let map = self.map.lock().expect("nobody panicked");
        Ok(map.iter().map(|(address, ban)| (*address, *ban)).collect())
    }
}

impl Place<Self> for Shared {
    type Error = ();

    fn set(&mut self, _table: Option<&Self>) -> Result<(), ()> {
        unreachable!("there is one table")
    }

    fn wait(&mut self, _table: &Self) -> Result<(), ()> {
        if self.waits {
            drop(self.running.write().expect("nobody panicked"));
        }
        Ok(())
    }
}

/// Tries all interleavings of a writer with one look-up.
fn every(
    waits: bool,
    prepare: impl Fn(&mut Writer) + Sync + Send + 'static,
    write: impl Fn(&mut Writer) + Sync + Send + Copy + 'static,
    (address, allowed): (u32, &'static [Option<u32>]),
) {
    loom::model(move || {
        let shared = Shared::new(waits);
        let mut bans = shared.bans();
        prepare(&mut bans);
        let reader = {
            let shared = shared.clone();
            thread::spawn(move || {
                let ban = shared.found(address);
                assert!(allowed.contains(&ban), "{address} had {ban:?}");
            })
        };
        write(&mut bans);
        reader.join().expect("the reader found what it should");
    });
}

type Writer = Bans<Shared, Shared, Shared>;

fn set(bans: &mut Writer, list: &[(u32, u32)]) {
    bans.set(list).expect("there is room");
}

fn remove(bans: &mut Writer, list: &[u32]) {
    bans.remove(list).expect("they can be removed");
}

/// Another one comes first, so that the ban that moves is not in the first word.
fn two_bans(bans: &mut Writer) {
    set(bans, &[(7, 101), (8, 102)]);
}

#[test]
fn who_moves_to_the_hash_map_stays_banned_all_the_way() {
    every(true, two_bans, |bans| set(bans, &[(8, 30)]), (8, &[Some(102), Some(30)]));
}

/// The model finds what goes wrong without the wait, so it can find something.
#[test]
#[should_panic(expected = "8 had None")]
fn without_the_wait_who_moves_to_the_hash_map_gets_through() {
    every(false, two_bans, |bans| set(bans, &[(8, 30)]), (8, &[Some(102), Some(30)]));
}

#[test]
fn a_neighbour_is_never_banned_while_words_are_reused() {
    let write = |bans: &mut Writer| {
        remove(bans, &[7]);
        set(bans, &[(9, 103), (8, 30)]);
    };
    every(true, two_bans, write, (10, &[None]));
}

#[test]
fn a_ban_that_stays_is_found_while_all_others_change() {
    let prepare = |bans: &mut Writer| set(bans, &[(7, 101), (8, 102), (9, 30)]);
    let write = |bans: &mut Writer| {
        remove(bans, &[7, 9]);
        set(bans, &[(11, 31), (12, 103)]);
    };
    every(true, prepare, write, (8, &[Some(102)]));
}

#[test]
fn a_ban_outside_that_stays_is_found_while_others_come_and_go() {
    let prepare = |bans: &mut Writer| set(bans, &[(7, 101), (8, 30), (9, 31)]);
    let write = |bans: &mut Writer| {
        remove(bans, &[9]);
        set(bans, &[(7, 32)]);
    };
    every(true, prepare, write, (8, &[Some(30)]));
}

#[test]
fn a_ban_that_changes_is_the_old_or_the_new_one() {
    every(true, two_bans, |bans| set(bans, &[(8, 105)]), (8, &[Some(102), Some(105)]));
}

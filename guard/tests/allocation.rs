//! A line that does not match costs no allocation, once its like has been seen.
//!
//! The automata learn their states from the lines that they see, and look again at those
//! that they meet often; that takes memory, so each line is looked at [`LEARNING`] times
//! before it counts. The allocator counts for this program's one test alone.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use guard::core::entry::{Daemon, Dating, Entry};
use guard::core::filter::{Candidates, Filter, FilterText, Limits, Memory, Prefilter};
use guard::core::jail::JailId;
use guard::core::time::Timestamp;

/// More often than the automata have anything new to learn from a line.
const LEARNING: usize = 100;

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is the same.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn filter(prefregex: &str, failregex: &[&str], ignoreregex: &[&str]) -> Filter {
    let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
    let text = FilterText {
        prefregex: prefregex.to_owned(),
        failregex: lines(failregex),
        ignoreregex: lines(ignoreregex),
        ..FilterText::default()
    };
    Filter::compile(&text, Limits::default()).expect("a filter")
}

fn entry(line: &str, daemon: Option<Daemon>) -> Entry {
    Entry {
        time: Timestamp::from_seconds(1),
        dating: Dating::Known,
        line: line.to_owned(),
        message_start: line.find(": ").map_or(0, |at| at + 2),
        daemon,
        jails: vec![JailId(0)],
    }
}

#[test]
fn a_line_that_does_not_match_allocates_nothing() {
    let filters = [
        filter(
            r"^\s*\S+ <F-MLFID>sshd\[\d+\]: </F-MLFID><F-CONTENT>.+</F-CONTENT>$",
            &[
                "^Failed \\S+ for <F-USER>.*</F-USER> from <HOST>(?: port \\d+)?$",
                "^Bad (?!x).* <HOST>$",
            ],
            &["user root"],
        ),
        filter(
            "",
            &["authentication failure; rhost=<HOST>", r"(?<!un)known \S+ from <HOST>$"],
            &[],
        ),
        filter("", &["^denied <HOST>$"], &["^debug"]),
    ];
    let borrowed: Vec<&Filter> = filters.iter().collect();
    let prefilter = Prefilter::new(&borrowed);
    let mut candidates = Candidates::default();
    let mut memory = Memory::new(100);
    let lines = [
        "host sshd[1]: Accepted publickey for root from 192.0.2.1 port 22 ssh2: RSA SHA256:x",
        "host sshd[1]: Postponed password for root from nowhere",
        "host sshd[22]: Bad news",
        "host systemd[1]: Started something with a name that goes on for quite a while.",
        "host kernel: é ü ö 192.0.2.1",
        "unknown who from 192.0.2",
        // sshd reports a failure, which no expression finds, with or without the client's text.
        "host sshd[1]: Invalid user a b from 192.0.2.1 port 22",
        "host sshd[1]: error: maximum authentication attempts exceeded for a b from 192.0.2.1 port 2 ssh2 [preauth]",
        "",
    ];
    let entries: Vec<Entry> = lines
        .into_iter()
        .flat_map(|line| [None, Some(Daemon::Sshd)].map(|daemon| entry(line, daemon)))
        .collect();
    let mut round = |found: &mut usize| {
        for entry in &entries {
            prefilter.candidates(&entry.line, entry.dating, &mut candidates);
            for filter in &filters {
                *found += usize::from(filter.find(entry, &mut memory).expression.is_some());
            }
        }
    };
    let mut found = 0;
    (0..LEARNING).for_each(|_| round(&mut found));
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    (0..LEARNING).for_each(|_| round(&mut found));
    assert_eq!(ALLOCATIONS.load(Ordering::Relaxed) - before, 0);
    assert_eq!(found, 0);

    // The neighbour: a line that matches is found, and may allocate.
    let failing = entry("host sshd[1]: Failed password for root from 192.0.2.1", None);
    assert!(filters[0].find(&failing, &mut memory).failure.is_some());
    assert!(ALLOCATIONS.load(Ordering::Relaxed) > before);
}

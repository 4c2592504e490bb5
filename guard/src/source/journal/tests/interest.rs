//! Entries that matter to nobody are passed over, and no others.

use std::sync::Mutex;

use super::*;

/// Wants what has a word in it, and notes what it is asked.
#[derive(Debug, Default)]
struct Wanting {
    asked: Mutex<Vec<String>>,
}

impl Interest for Wanting {
    fn matters(&self, text: &str) -> bool {
        self.asked.lock().expect("no panic").push(text.to_owned());
        text.contains("wanted")
    }
}

fn read(journal: &Journal, start: Start) -> (Reading, Arc<Wanting>) {
    let wanting = Arc::new(Wanting::default());
    let mut options = journal.options(start);
    options.interest = Some(Arc::clone(&wanting) as Arc<dyn Interest>);
    (Reading::begin(options), wanting)
}

#[test]
fn what_matters_is_handed_on_in_order_and_the_rest_is_not() {
    let mut journal = Journal::new();
    let long = "wanted ".repeat(400);
    let entries = [
        sshd("no"),
        sshd("wanted 1"),
        // After one that matters the next is read whole before it is asked about.
        sshd("no"),
        sshd("no"),
        sshd("wanted 2"),
        sshd("wanted 3"),
        with(sshd("a\nb"), "SYSLOG_IDENTIFIER", b"s\xffd"),
        of("x", "ssh.service", "not of sshd's: wanted"),
        of("cron", "cron.service", "no jail's: wanted"),
        with(sshd("no"), "_UID", b"1000"),
        with(sshd("forged: wanted"), "_UID", b"1000"),
        with(of("x", "a.service", "long"), "SYSLOG_IDENTIFIER", b"x"),
        sshd(&long),
    ];
    journal.append("system.journal", &entries);
    let (mut reading, wanting) = read(&journal, BEGINNING);
    assert_eq!(reading.until(4).messages(), ["wanted 1", "wanted 2", "wanted 3", &*long]);
    let asked = wanting.asked.lock().expect("no panic");
    let expected = [
        " sshd: no",
        " sshd: wanted 1",
        " sshd: no",
        " sshd: no",
        " sshd: wanted 2",
        " sshd: wanted 3",
        " s\u{fffd}d: a\\nb",
        " x: not of sshd's: wanted",
        " sshd: no",
        " sshd: forged: wanted",
        " x: long",
    ];
    assert_eq!(asked[..11], expected);
    assert_eq!(reading.counted(|c| &c.read), 12);
    assert_eq!(reading.counted(|c| &c.accepted), 4);
}

/// Who must be asked about more than identifier and message is not asked at all.
#[test]
fn what_cannot_be_told_by_the_message_is_handed_on() {
    let mut journal = Journal::new();
    let without = |mut entry: Fields<'static>| {
        entry.retain(|(name, _)| *name != "SYSLOG_IDENTIFIER");
        entry
    };
    let long = vec![b'x'; 2_000];
    let kernel = with(of("kernel", "a.service", "two"), "_COMM", b"sshd");
    let kernel = with(with(kernel, "_UID", b"0"), "_SYSTEMD_UNIT", b"ssh.service");
    journal.append(
        "system.journal",
        &[
            without(sshd("one")),
            kernel,
            sshd("no"),
            with(sshd("three"), "SYSLOG_IDENTIFIER", &long),
            sshd("no"),
        ],
    );
    let (mut reading, wanting) = read(&journal, BEGINNING);
    assert_eq!(reading.until(3).messages(), ["one", "two", "three"]);
    let (batches, _) = reading.finish();
    assert_eq!(batches.iter().map(|batch| batch.entries.len()).sum::<usize>(), 3);
    assert_eq!(*wanting.asked.lock().expect("no panic"), [" sshd: no", " sshd: no"]);
}

#[test]
fn the_position_moves_past_what_does_not_matter() {
    let mut journal = Journal::new();
    journal.append("system.journal", &[sshd("wanted"), sshd("no"), sshd("no")]);
    let last = journal.now();
    let (mut reading, _) = read(&journal, BEGINNING);
    reading.until(1);
    let begun = std::time::Instant::now();
    while reading.counted(|c| &c.read) < 3 {
        assert!(begun.elapsed() < Duration::from_secs(30), "all is read");
        thread::yield_now();
    }
    let (_, position) = reading.finish();
    assert_eq!(position.time, last);
    let (mut reading, wanting) = read(&journal, Start::After(position));
    journal.append("system.journal", &[sshd("wanted too")]);
    assert_eq!(reading.until(1).messages(), ["wanted too"]);
    assert_eq!(*wanting.asked.lock().expect("no panic"), [" sshd: wanted too"]);
}

//! Files that grow, appear, are renamed, vanish or are damaged; and going on after a
//! stored position.

use std::fs;
use std::time::Instant;

use super::*;

#[test]
fn a_file_that_grows_and_one_that_appears() {
    let mut journal = Journal::new();
    journal.append("system.journal", &[sshd("one")]);
    let mut reading = Reading::begin(journal.options(BEGINNING));
    reading.until(1);
    journal.append("system.journal", &[of("cron", "cron.service", "no"), sshd("two")]);
    reading.until(2);
    journal.append("second.journal", &[sshd("three")]);
    reading.until(3);
    journal.append("second.journal", &[sshd("four")]);
    reading.until(4);
    assert_eq!(reading.messages(), ["one", "two", "three", "four"]);
    assert_eq!(reading.counted(|c| &c.reopened), 0);
}

#[test]
fn rotation_by_rename_loses_and_repeats_nothing() {
    let mut journal = Journal::new();
    journal.append("system.journal", &[sshd("0a")]);
    let mut reading = Reading::begin(journal.options(BEGINNING));
    let mut expected = vec!["0a".to_owned()];
    for round in 1..6 {
        // Unread entries at the end of the file that is renamed.
        let (last, first) = (format!("{round}z"), format!("{round}a"));
        journal.append("system.journal", &[sshd(&last)]);
        let archive = journal.file(&format!("system@{round}.journal"));
        fs::rename(journal.file("system.journal"), archive).expect("renamed");
        journal.append("system.journal", &[sshd(&first)]);
        expected.extend([last, first]);
        if round % 2 == 0 {
            reading.until(expected.len());
        }
    }
    journal.append("system.journal", &[sshd("end")]);
    expected.push("end".to_owned());
    reading.until(expected.len());
    assert_eq!(reading.messages(), expected);
}

#[test]
fn vacuum_under_the_reader() {
    let mut journal = Journal::new();
    journal.append("old.journal", &[sshd("one")]);
    journal.append("system.journal", &[sshd("two")]);
    let mut reading = Reading::begin(journal.options(BEGINNING));
    reading.until(2);
    fs::remove_file(journal.file("old.journal")).expect("removed");
    fs::remove_file(journal.file("system.journal")).expect("removed");
    journal.append("system.journal", &[sshd("three")]);
    reading.until(3);
    assert_eq!(reading.messages(), ["one", "two", "three"]);
}

#[test]
fn reading_goes_on_after_the_stored_position() {
    let mut journal = Journal::new();
    journal.append("system.journal", &[sshd("one"), sshd("two")]);
    let mut reading = Reading::begin(journal.options(BEGINNING));
    reading.until(2);
    let (_, position) = reading.finish();
    journal.append("system.journal", &[sshd("three"), of("x", "a.service", "four")]);

    let mut reading = Reading::begin(journal.options(Start::After(position.clone())));
    assert_eq!(reading.until(2).messages(), ["three", "four"]);
    assert_eq!(reading.counted(|c| &c.lost_places), 0);

    // The entry at the position is not wanted by any jail any more.
    let mut options = journal.options(Start::After(position));
    options.subscriptions.remove(0);
    let mut reading = Reading::begin(options);
    assert_eq!(reading.until(1).messages(), ["four"]);
    assert_eq!(reading.counted(|c| &c.lost_places), 0);
}

#[test]
fn a_position_at_the_end_waits_for_what_comes() {
    let mut journal = Journal::new();
    journal.append("system.journal", &[sshd("one")]);
    let mut reading = Reading::begin(journal.options(BEGINNING));
    reading.until(1);
    let (_, position) = reading.finish();
    let mut reading = Reading::begin(journal.options(Start::After(position)));
    journal.append("system.journal", &[sshd("two")]);
    assert_eq!(reading.until(1).messages(), ["two"]);
}

#[test]
fn a_position_whose_entry_is_gone_goes_on_by_time() {
    let mut journal = Journal::new();
    journal.append("old.journal", &[sshd("one"), sshd("two")]);
    let mut reading = Reading::begin(journal.options(BEGINNING));
    reading.until(2);
    let (_, position) = reading.finish();
    journal.append("system.journal", &[sshd("three"), sshd("four")]);
    fs::remove_file(journal.file("old.journal")).expect("removed");
    for place in [position.place.as_str(), "not a cursor"] {
        let start = Position { place: place.to_owned(), ..position.clone() };
        let mut reading = Reading::begin(journal.options(Start::After(start)));
        assert_eq!(reading.until(2).messages(), ["three", "four"], "{place}");
        assert_eq!(reading.counted(|c| &c.lost_places), 1, "{place}");
    }
}

/// What no jail may have moves the position all the same, or it would be read again.
#[test]
fn the_position_moves_past_what_is_dropped() {
    let mut journal = Journal::new();
    journal.append("system.journal", &[sshd("one"), with(sshd("forged"), "_UID", b"1000")]);
    let last = journal.now();
    let reading = Reading::begin(journal.options(BEGINNING));
    let begun = Instant::now();
    while reading.counted(|c| &c.forged) == 0 {
        assert!(begun.elapsed() < Duration::from_secs(30), "it is read");
        thread::yield_now();
    }
    let (batches, position) = reading.finish();
    assert_eq!(batches.iter().map(|batch| batch.entries.len()).sum::<usize>(), 1);
    assert_eq!(position.time, last);
    let mut reading = Reading::begin(journal.options(Start::After(position)));
    journal.append("system.journal", &[sshd("two")]);
    assert_eq!(reading.until(1).messages(), ["two"]);
    assert_eq!(reading.counted(|c| &c.forged), 0);
}

#[test]
fn damaged_files_do_not_hide_the_others() {
    let mut journal = Journal::new();
    journal.append("cut.journal", &[sshd("in the cut file")]);
    let whole = fs::read(journal.file("cut.journal")).expect("a file");
    fs::write(journal.file("cut.journal"), &whole[..whole.len() / 2]).expect("cut");
    fs::write(journal.file("empty.journal"), "").expect("empty");
    fs::write(journal.file("noise.journal"), vec![0xa5; 8_192]).expect("noise");
    journal.append("system.journal", &[sshd("one")]);
    let mut reading = Reading::begin(journal.options(BEGINNING));
    while reading.messages().last() != Some(&"one") {
        let count = reading.entries().len() + 1;
        reading.until(count);
    }
    journal.append("system.journal", &[sshd("two")]);
    let count = reading.entries().len() + 1;
    assert_eq!(reading.until(count).messages().last(), Some(&"two"));
}

/// Overwritten while it is being read, at its objects: header and size stay.
#[test]
fn a_file_that_is_damaged_under_the_reader() {
    let mut journal = Journal::new();
    journal.append("system.journal", &[sshd("one")]);
    let mut reading = Reading::begin(journal.options(BEGINNING));
    reading.until(1);
    let path = journal.file("system.journal");
    let length = usize::try_from(path.metadata().expect("a file").len()).expect("a size");
    let file = fs::OpenOptions::new().write(true).open(&path).expect("a file");
    std::os::unix::fs::FileExt::write_all_at(&file, &vec![0xa5; length - 4_096], 4_096)
        .expect("noise");
    journal.append("second.journal", &[sshd("two")]);
    reading.until(2);
    assert_eq!(reading.messages(), ["one", "two"]);
}

#[test]
fn a_directory_that_is_replaced_is_noticed() {
    let mut journal = Journal::new();
    journal.append("system.journal", &[sshd("one")]);
    let mut reading = Reading::begin(journal.options(BEGINNING));
    reading.until(1);
    fs::rename(journal.directory(), journal.home.path().join("old")).expect("renamed");
    fs::create_dir(journal.directory()).expect("a new one");
    journal.append("system.journal", &[sshd("two")]);
    reading.until(2);
    assert_eq!(reading.messages(), ["one", "two"]);
    assert!(reading.counted(|c| &c.reopened) >= 1);
}

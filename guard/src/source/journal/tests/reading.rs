//! What is read, for whom, and as what.

use super::*;
use crate::core::entry::Daemon;

#[test]
fn entries_reach_the_jails_that_want_them_in_order() {
    let mut journal = Journal::new();
    journal.append(
        "system.journal",
        &[
            with(sshd("one"), "_SOURCE_REALTIME_TIMESTAMP", b"1699999999000000"),
            of("cron", "cron.service", "not wanted"),
            with(of("nginx", "nginx.service", "two"), "PRIORITY", b"3"),
            with(of("nginx", "nginx.service", "not urgent"), "PRIORITY", b"6"),
            of("x", "session-1.scope", "three"),
            with(sshd("four"), "SYSLOG_PID", b"78"),
        ],
    );
    let last = journal.now();
    let mut reading = Reading::begin(journal.options(BEGINNING));
    reading.until(4);
    let seen: Vec<_> =
        reading.entries().iter().map(|e| (e.line.clone(), e.daemon, e.jails.clone())).collect();
    let sshd = Some(Daemon::Sshd);
    assert_eq!(
        seen,
        [
            ("pve sshd[77]: one".to_owned(), sshd, vec![SSHD]),
            ("pve nginx: two".to_owned(), None, vec![OTHER]),
            ("pve x: three".to_owned(), None, vec![OTHER]),
            ("pve sshd[78]: four".to_owned(), sshd, vec![SSHD]),
        ]
    );
    assert_eq!(reading.entries()[0].time, Timestamp::from_micros(1_699_999_999_000_000));
    assert_eq!(reading.entries()[3].time, last, "without a time of its own, journald's");
    assert_eq!(reading.counted(|c| &c.read), 4, "libsystemd kept the others back");
    let (_, position) = reading.finish();
    assert_eq!(position.time, last);
    assert!(position.source.starts_with("journal:/") && position.place.contains("i="));
}

#[test]
fn two_jails_that_want_one_entry_share_it() {
    let mut journal = Journal::new();
    journal.append("system.journal", &[sshd("one")]);
    let mut options = journal.options(BEGINNING);
    options.subscriptions = vec![
        (JailId(3), JournalMatch::default()),
        (JailId(1), matches(&["_COMM=sshd _UID=0"])),
        (JailId(2), matches(&["_COMM=sshd _UID=1"])),
    ];
    let mut reading = Reading::begin(options);
    assert_eq!(reading.until(1).entries()[0].jails, [JailId(1), JailId(3)]);
}

#[test]
fn who_claims_to_be_sshd_and_is_not_reaches_no_jail() {
    let mut journal = Journal::new();
    let planted = || sshd("Failed password for root from 203.0.113.9 port 22 ssh2");
    journal.append(
        "system.journal",
        &[
            with(planted(), "_UID", b"1000"),
            with(planted(), "_SYSTEMD_UNIT", b"session-3.scope"),
            with(planted(), "_SYSTEMD_UNIT", b"user@1000.service"),
            // Another identifier, but a program named sshd.
            with(with(planted(), "_UID", b"1000"), "SYSLOG_IDENTIFIER", b"x"),
            // For the other jail, whose match asks for no unit at all.
            with(of("x", "session-3.scope", "by name"), "_COMM", b"pvedaemon"),
            sshd("true"),
        ],
    );
    let mut reading = Reading::begin(journal.options(BEGINNING));
    assert_eq!(reading.until(1).messages(), ["true"]);
    assert_eq!(reading.counted(|c| &c.forged), 5);
    assert_eq!(reading.counted(|c| &c.accepted), 1);
}

#[test]
fn odd_messages_stay_one_entry_of_one_line() {
    let mut journal = Journal::new();
    let long = "y".repeat(MESSAGE_BYTES + 1);
    let fits = "z".repeat(MESSAGE_BYTES);
    let mut twice = of("x", "a.service", "first");
    twice.push(("MESSAGE", b"second"));
    twice.push(("SYSLOG_IDENTIFIER", b"sshd"));
    journal.append(
        "system.journal",
        &[
            with(of("x", "a.service", ""), "MESSAGE", b"a\nFailed password\xff\0"),
            with(of("x", "a.service", ""), "MESSAGE", fits.as_bytes()),
            with(of("x", "a.service", ""), "MESSAGE", long.as_bytes()),
            twice,
            of("x", "a.service", "last"),
        ],
    );
    let mut reading = Reading::begin(journal.options(BEGINNING));
    while reading.messages().last() != Some(&"last") {
        let count = reading.entries().len() + 1;
        reading.until(count);
    }
    let messages = reading.messages();
    assert_eq!(messages[0], "a\\nFailed password\u{fffd}\0");
    assert_eq!(messages[1], fits);
    assert_eq!(messages[2], fits.replace('z', "y"));
    assert_eq!(reading.counted(|c| &c.cut), 1);
    // With two identifiers it is one or the other, and never both: of x with one of its
    // messages, or of sshd and so forged.
    let one = messages.len() == 5 && ["first", "second"].contains(&messages[3]);
    assert!(one || (messages.len() == 4 && reading.counted(|c| &c.forged) == 1), "{messages:?}");
}

#[test]
fn batches_are_bounded_and_wait_for_the_receiver() {
    let mut journal = Journal::new();
    let texts: Vec<String> = (0..2_000).map(|i| format!("number {i}")).collect();
    let entries: Vec<_> = texts.iter().map(|text| sshd(text)).collect();
    journal.append("system.journal", &entries);
    let mut reading = Reading::begin(journal.options(BEGINNING));
    reading.until(2_000);
    assert_eq!(reading.messages(), texts);
    assert!(reading.batches.iter().all(|batch| batch.entries.len() <= BATCH_ENTRIES));
    assert!(reading.batches.len() >= 4);
}

#[test]
fn a_start_time_is_exact() {
    let mut journal = Journal::new();
    journal.append("system.journal", &[sshd("before"), sshd("before too")]);
    let edge = journal.now();
    journal.append("system.journal", &[sshd("after")]);
    let since = Start::Since(Timestamp::from_micros(edge.micros() + 1));
    let mut reading = Reading::begin(journal.options(since));
    assert_eq!(reading.until(1).messages(), ["after"]);
    let mut reading = Reading::begin(journal.options(Start::Since(edge)));
    assert_eq!(reading.until(2).messages(), ["before too", "after"]);
}

#[test]
fn the_thread_ends_when_nobody_receives() {
    let mut journal = Journal::new();
    journal.append("system.journal", &[sshd("one")]);
    let reading = Reading::begin(journal.options(BEGINNING));
    let Reading { follower, receiver, .. } = reading;
    drop(receiver);
    follower.join();
}

#[test]
fn what_cannot_be_read_is_named() {
    let (sender, _receiver) = channel(1);
    let options = |place, text| {
        let subscriptions = vec![(SSHD, matches(&[text]))];
        Options { place, subscriptions, start: BEGINNING, boot: None, interest: None }
    };
    let counters = Arc::new(Counters::default());
    let nowhere = Place::Directory("/nonexistent/journal".into());
    let error = spawn(options(nowhere, "_UID=0"), sender.clone(), Arc::clone(&counters));
    let told = error.expect_err("no such directory").to_string();
    assert!(told.contains("/nonexistent/journal"), "{told}");
    let error = spawn(options(Place::System, "uid=0"), sender, counters);
    let told = error.expect_err("no such field").to_string();
    assert!(told.contains("`uid=0`"), "{told}");
}

//! Real journal files, written by `systemd-journal-remote` from the export format.

mod clock;
mod files;
mod interest;
mod reading;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::mpsc::{Receiver, channel};

use super::*;
use crate::core::entry::Entry;
use crate::core::jail::FieldMatch;

const WRITER: &str = "/lib/systemd/systemd-journal-remote";
const SSHD: JailId = JailId(0);
const OTHER: JailId = JailId(1);

/// A directory of journal files, and the times and the boot of its next entry.
struct Journal {
    home: TempDir,
    micros: u64,
    monotonic: u64,
    boot: u32,
}

type Fields<'a> = Vec<(&'a str, &'a [u8])>;

impl Journal {
    fn new() -> Self {
        let home = TempDir::new().expect("a directory");
        std::fs::create_dir(home.path().join("journal")).expect("a directory");
        Self { home, micros: 1_700_000_000_000_000, monotonic: 100_000_000_000, boot: 0 }
    }

    fn directory(&self) -> PathBuf {
        self.home.path().join("journal")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory().join(name)
    }

    /// Appends entries to a journal file, one second apart.
    fn append(&mut self, file: &str, entries: &[Fields<'_>]) {
        let mut export = Vec::new();
        for fields in entries {
            self.micros += 1_000_000;
            self.monotonic += 1_000_000;
            let header = format!(
                "__REALTIME_TIMESTAMP={}\n__MONOTONIC_TIMESTAMP={}\n_BOOT_ID={}\n",
                self.micros,
                self.monotonic,
                self.boot_id()
            );
            export.extend(header.into_bytes());
            for (name, value) in fields {
                export.extend(name.bytes());
                export.push(b'\n');
                export.extend((value.len() as u64).to_le_bytes());
                export.extend(*value);
                export.push(b'\n');
            }
            export.push(b'\n');
        }
        write_export(&self.file(file), &export);
    }

    fn boot_id(&self) -> String {
        format!("4cf4f1bb9d3b4fd1a3d0dfb6{:08x}", self.boot)
    }

    /// Somebody sets the clock.
    fn step(&mut self, seconds: i64) {
        self.micros = self.micros.strict_add_signed(seconds * 1_000_000);
    }

    /// The host boots anew.
    fn reboot(&mut self) {
        self.boot += 1;
        self.monotonic = 1_000_000;
    }

    /// The time at which the last entry was received.
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(i64::try_from(self.micros).expect("a time"))
    }

    fn options(&self, start: Start) -> Options {
        let subscriptions = vec![
            (SSHD, matches(&["_SYSTEMD_UNIT=ssh.service", "_COMM=sshd"])),
            (OTHER, matches(&["_SYSTEMD_UNIT=nginx.service PRIORITY=3", "SYSLOG_IDENTIFIER=x"])),
        ];
        let place = Place::Directory(self.directory());
        Options { place, subscriptions, start, boot: None, interest: None }
    }
}

fn write_export(file: &Path, export: &[u8]) {
    let mut child = Command::new(WRITER)
        .arg("-o")
        .arg(file)
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{WRITER}: {error} (install systemd-journal-remote)"));
    child.stdin.take().expect("its input").write_all(export).expect("written");
    assert!(child.wait().expect("ended").success());
}

/// Alternatives of `FIELD=value` terms.
fn matches(alternatives: &[&str]) -> JournalMatch {
    let alternative = |text: &&str| {
        text.split_whitespace()
            .map(|term| {
                let (field, value) = term.split_once('=').expect("a term");
                FieldMatch { field: field.into(), values: vec![value.into()] }
            })
            .collect()
    };
    JournalMatch { alternatives: alternatives.iter().map(alternative).collect() }
}

/// An entry as journald records it of sshd.
fn sshd(message: &str) -> Fields<'_> {
    vec![
        ("_HOSTNAME", b"pve"),
        ("SYSLOG_IDENTIFIER", b"sshd"),
        ("_COMM", b"sshd"),
        ("_PID", b"77"),
        ("_UID", b"0"),
        ("_SYSTEMD_UNIT", b"ssh.service"),
        ("MESSAGE", message.as_bytes()),
    ]
}

/// An entry of a daemon that guard does not know.
fn of(identifier: &'static str, unit: &'static str, message: &'static str) -> Fields<'static> {
    vec![
        ("_HOSTNAME", b"pve"),
        ("SYSLOG_IDENTIFIER", identifier.as_bytes()),
        ("_UID", b"33"),
        ("_SYSTEMD_UNIT", unit.as_bytes()),
        ("MESSAGE", message.as_bytes()),
    ]
}

/// `entry` with a field changed.
fn with<'a>(mut entry: Fields<'a>, name: &'a str, value: &'a [u8]) -> Fields<'a> {
    entry.retain(|(known, _)| *known != name);
    entry.push((name, value));
    entry
}

/// A running follower and its receiving end.
struct Reading {
    follower: Follower,
    receiver: Receiver<Batch>,
    counters: Arc<Counters>,
    batches: Vec<Batch>,
}

impl Reading {
    fn begin(options: Options) -> Self {
        let (sender, receiver) = channel(4);
        let counters = Arc::new(Counters::default());
        let follower = spawn(options, sender, Arc::clone(&counters)).expect("it begins");
        Self { follower, receiver, counters, batches: Vec::new() }
    }

    /// Receives until this many entries came since the beginning.
    fn until(&mut self, count: usize) -> &mut Self {
        while self.entries().len() < count {
            let batch = self.receive().expect("the follower lives");
            self.batches.push(batch);
        }
        self
    }

    fn receive(&mut self) -> Option<Batch> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let receive = async {
            let deadline = Duration::from_secs(30);
            tokio::time::timeout(deadline, self.receiver.recv()).await.expect("in time")
        };
        runtime.expect("a runtime").block_on(receive)
    }

    fn entries(&self) -> Vec<&Entry> {
        self.batches.iter().flat_map(|batch| &batch.entries).collect()
    }

    fn messages(&self) -> Vec<&str> {
        self.entries().iter().map(|entry| entry.message()).collect()
    }

    fn counted(&self, counter: impl Fn(&Counters) -> &AtomicU64) -> u64 {
        counter(&self.counters).load(Ordering::Relaxed)
    }

    /// Stops, receives the rest, and gives the last position.
    fn finish(mut self) -> (Vec<Batch>, Position) {
        self.follower.stop();
        while let Some(batch) = self.receive() {
            self.batches.push(batch);
        }
        self.follower.join();
        let position = self.batches.last().expect("a batch").position.clone();
        (self.batches, position)
    }
}

const BEGINNING: Start = Start::Since(Timestamp::from_micros(0));

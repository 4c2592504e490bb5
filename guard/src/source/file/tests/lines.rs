//! What becomes of the bytes of a file: lines, encodings, limits, and whom they reach.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::encoding::Encoding;
use super::super::{FIRST_BYTES, Interest, LINE_BYTES, check};
use super::{JAIL, Reader, append, files, lines, options, positions, write};
use crate::core::entry::{Daemon, Dating};
use crate::core::jail::JailId;

fn of(encoding: &str, bytes: &[u8]) -> Vec<String> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("x.log");
    write(&path, bytes);
    let mut wanted = files(&[&path]);
    wanted.encoding = encoding.to_owned();
    Reader::new(options(wanted, Vec::new())).lines()
}

#[test]
fn an_entry_says_what_the_line_says() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("auth.log");
    write(&path, "Nov  2 10:00:00 pve sshd[7]: Failed password\nNov  2 10:00:00 pve cron[8]: x\n");
    let mut reader = Reader::new(options(files(&[&path]), Vec::new()));
    let batches = reader.batches();
    let entries: Vec<_> = batches.iter().flat_map(|batch| &batch.entries).collect();
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[0].message(), "Failed password");
    assert_eq!((entries[0].daemon, entries[1].daemon), (Some(Daemon::Sshd), None));
    assert_eq!(entries[1].message_start, 0);
    assert!(entries.iter().all(|it| it.jails == [JAIL] && it.dating == Dating::InLine));
    assert_eq!(batches[0].position.source, format!("file:{}", path.display()));
    assert_eq!(reader.counters.files_of(JAIL), [path]);
    assert!(reader.counters.files_of(JailId(0)).is_empty());
}

#[test]
fn lines_end_as_fail2ban_has_them_end() {
    assert_eq!(of("auto", b"a\r\nb\r\r\n\n c \nd\re\nrest"), ["a", "b", "", " c ", "d\re"]);
}

#[test]
fn what_is_no_text_is_replaced_and_zero_bytes_of_a_hole_are_left_out() {
    assert_eq!(of("utf-8", b"a\xffb\n\xe2\x82\xac\n"), ["a\u{fffd}b", "\u{20ac}"]);
    assert_eq!(of("latin1", b"a\xff\n"), ["a\u{ff}"]);
    assert_eq!(of("ascii", b"\xe2\x82\xac\n"), ["\u{fffd}\u{fffd}\u{fffd}"]);
    assert_eq!(of("auto", b"a\n\0\0\0b\0c\nd\n"), ["a", "b\0c", "d"]);
    let hole = [b"a\n".as_slice(), &vec![0; 3 * LINE_BYTES], b"b\n"].concat();
    assert_eq!(of("auto", &hole), ["a", "b"]);
}

#[test]
fn lines_of_two_bytes_a_character() {
    let little: Vec<u8> =
        "\u{feff}a\u{a00}b\r\n\u{20ac}\nrest".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(of("utf-16", &little), ["a\u{a00}b", "\u{20ac}"]);
    let big: Vec<u8> = "a\u{a}\u{10a}\n".encode_utf16().flat_map(u16::to_be_bytes).collect();
    assert_eq!(of("utf-16be", &big), ["a", "\u{10a}"]);
}

#[test]
fn a_long_line_is_cut_and_the_next_one_is_whole() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("x.log");
    let mut reader = Reader::new(options(files(&[&path]), Vec::new()));
    write(&path, "y".repeat(LINE_BYTES));
    let exact = reader.batches();
    // Its end may not be there yet, but so much of it was enough.
    assert_eq!(lines(&exact), ["y".repeat(LINE_BYTES)]);
    write(&path, "y".repeat(5 * LINE_BYTES));
    assert!(reader.lines().is_empty());
    write(&path, "y\nnext\n");
    // Also for another reader, who goes on within the line.
    for reader in [&mut Reader::new(options(files(&[&path]), positions(&exact))), &mut reader] {
        assert_eq!(reader.lines(), ["next"]);
    }
    assert_eq!(reader.counters.cut.load(Ordering::Relaxed), 1);
}

#[test]
fn a_line_waits_for_its_end() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("x.log");
    let mut reader = Reader::new(options(files(&[&path]), Vec::new()));
    for part in ["one", " and", " a half"] {
        write(&path, part);
        assert!(reader.lines().is_empty());
    }
    write(&path, "\n");
    assert_eq!(reader.lines(), ["one and a half"]);
}

#[test]
fn two_jails_read_one_file_each_in_its_encoding() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("x.log");
    write(&path, b"\xe9\n");
    let (mut first, second) = (files(&[&path]), files(&[&path]));
    first.encoding = "latin1".to_owned();
    let mut options = options(first, Vec::new());
    options.subscriptions.push((JailId(1), second));
    let batches = Reader::new(options).batches();
    let found: Vec<_> = batches.iter().flat_map(|batch| &batch.entries).collect();
    let found: Vec<_> = found.iter().map(|it| (it.line.as_str(), it.jails.as_slice())).collect();
    assert_eq!(found, [("\u{e9}", &[JAIL][..]), ("\u{fffd}", &[JailId(1)][..])]);
}

#[test]
fn links_to_one_file_are_read_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    write(&path("b.log"), "one\n");
    symlink("b.log", path("a.log")).expect("linked");
    let mut reader = Reader::new(options(files(&[&path("*.log")]), Vec::new()));
    assert_eq!(reader.lines(), ["one"]);
    assert_eq!(reader.counters.files_of(JAIL), [path("b.log")]);
    // Elsewhere: the link is followed, also when it is set anew.
    fs::create_dir(path("c")).expect("made");
    write(&path("c/x"), "two\n");
    write(&path("c/y"), "four\n");
    symlink("c/x", path("l.log")).expect("linked");
    assert_eq!(reader.lines(), ["two"]);
    write(&path("c/x"), "three\n");
    symlink("c/y", path("new")).expect("linked");
    fs::rename(path("new"), path("l.log")).expect("renamed");
    assert_eq!(reader.lines(), ["three", "four"]);
}

#[test]
fn compressed_and_rotated_files_are_not_read_by_themselves() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    for name in ["a.log", "a.log.1", "a.log-20261122", "a.log.2.gz", "b.log.1", "c.xz"] {
        write(&path(name), format!("{name}\n"));
    }
    let mut reader = Reader::new(options(files(&[&path("*")]), Vec::new()));
    assert_eq!(reader.lines(), ["a.log", "b.log.1"]);
}

#[test]
fn from_the_end_only_what_was_there_is_passed_over() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    write(&path("a.log"), "old\nhalf");
    let mut wanted = files(&[&path("*.log")]);
    wanted.patterns[0].from_end = true;
    let mut reader = Reader::new(options(wanted.clone(), Vec::new()));
    let first = reader.batches();
    assert!(lines(&first).is_empty());
    write(&path("a.log"), " old\nnew\n");
    write(&path("b.log"), "came later\n");
    // A stored position counts more than `tail`.
    let mut second = Reader::new(options(wanted, positions(&first)));
    assert_eq!(second.lines(), ["new"]);
    assert_eq!(reader.lines(), ["new", "came later"]);
}

#[test]
fn of_a_large_file_only_the_end_is_read_at_first() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("x.log");
    let file = append(&path);
    file.set_len(FIRST_BYTES).expect("grown");
    write(&path, "x\nlast\n");
    let mut reader = Reader::new(options(files(&[&path]), Vec::new()));
    assert_eq!(reader.lines(), ["last"]);
}

#[derive(Debug)]
struct Only(&'static str);

impl Interest for Only {
    fn retain(&self, line: &str, jails: &mut Vec<JailId>) {
        if !line.contains(self.0) {
            jails.clear();
        }
    }
}

#[test]
fn lines_that_cannot_matter_are_read_and_left_out() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("x.log");
    let text: String = (0..10_000).map(|n| format!("{n} of many\n")).collect();
    write(&path, text);
    let options = super::Options {
        interest: Some(Arc::new(Only("77"))),
        ..options(files(&[&path]), Vec::new())
    };
    let mut reader = Reader::new(options);
    let expected: Vec<String> =
        (0..10_000).map(|n| format!("{n} of many")).filter(|line| line.contains("77")).collect();
    assert_eq!(reader.lines(), expected);
    assert_eq!(reader.counters.read.load(Ordering::Relaxed), 10_000);
}

#[test]
fn a_jail_without_its_file_or_with_an_unknown_encoding_is_told() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("none.log");
    let mut wanted = files(&[&path]);
    assert!(check(&wanted).is_ok());
    wanted.may_be_missing = false;
    let error = check(&wanted).expect_err("there is no file").to_string();
    assert!(error.contains("none.log"), "{error}");
    write(&path, "");
    assert!(check(&wanted).is_ok());
    wanted.encoding = "utf-5".to_owned();
    assert!(check(&wanted).expect_err("no such encoding").to_string().contains("utf-5"));
    assert_eq!(Encoding::named("auto"), Some(Encoding::Utf8));
    assert!(check(&files(&[Path::new("/nonexistent/*.log")])).is_ok());
}

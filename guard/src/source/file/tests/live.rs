//! The thread, woken by real events.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{Receiver, channel, error::TryRecvError};

use super::super::{Counters, Follower, Options, spawn};
use super::{Naming, append, files, options, positions, rotated_name, write};
use crate::core::entry::{Batch, Position};

const PATIENCE: Duration = Duration::from_secs(20);

struct Live {
    follower: Follower,
    receiver: Receiver<Batch>,
    batches: Vec<Batch>,
}

impl Live {
    fn new(options: Options) -> Self {
        // As small as can be: the thread has to wait.
        let (sender, receiver) = channel(1);
        let follower = spawn(options, sender, Arc::new(Counters::default())).expect("a thread");
        Self { follower, receiver, batches: Vec::new() }
    }

    /// Waits for exactly these lines.
    fn expect(&mut self, expected: &[&str]) {
        let start = Instant::now();
        let mut found: Vec<String> = Vec::new();
        while found.len() < expected.len() {
            match self.receiver.try_recv() {
                Ok(batch) => {
                    found.extend(super::lines(std::slice::from_ref(&batch)));
                    self.batches.push(batch);
                }
                Err(TryRecvError::Empty) if start.elapsed() < PATIENCE => std::thread::yield_now(),
                Err(error) => panic!("{error}: expected {expected:?}, found {found:?}"),
            }
        }
        assert_eq!(found, expected);
    }

    /// Stops it; nothing else may come. Gives the positions.
    fn stop(mut self) -> Vec<Position> {
        self.follower.stop();
        while let Some(batch) = self.receiver.blocking_recv() {
            assert_eq!(super::lines(std::slice::from_ref(&batch)), Vec::<String>::new());
            self.batches.push(batch);
        }
        self.follower.join();
        positions(&self.batches)
    }
}

/// With events, and by the clock.
fn both_ways(test: impl Fn(&Path, &dyn Fn(&[&Path]) -> Options)) {
    for by_clock in [false, true] {
        let directory = tempfile::tempdir().expect("a directory");
        let options =
            |patterns: &[&Path]| Options { by_clock, ..options(files(patterns), Vec::new()) };
        test(directory.path(), &options);
    }
}

#[test]
fn a_renamed_file_is_read_to_its_end_before_the_new_one() {
    both_ways(|directory, options| {
        let path = directory.join("x.log");
        write(&path, "one\n");
        let mut live = Live::new(options(&[&path]));
        live.expect(&["one"]);
        write(&path, "two\nth");
        fs::rename(&path, rotated_name(&path, Naming::Numbers, 1)).expect("renamed");
        write(&directory.join("x.log.1"), "ree\n");
        live.expect(&["two", "three"]);
        File::create(&path).expect("made");
        write(&directory.join("x.log.1"), "four\n");
        live.expect(&["four"]);
        write(&path, "five\n");
        live.expect(&["five"]);
        live.stop();
    });
}

#[test]
fn an_emptied_file_is_read_from_its_beginning() {
    both_ways(|directory, options| {
        let path = directory.join("x.log");
        let mut writer = append(&path);
        write(&path, "one\ntwo\n");
        let mut live = Live::new(options(&[&path]));
        live.expect(&["one", "two"]);
        writer.set_len(0).expect("emptied");
        write(&path, "3\n");
        live.expect(&["3"]);
        // In one step to more than it was.
        writer.set_len(0).expect("emptied");
        std::io::Write::write_all(&mut writer, b"four, which is longer\n").expect("written");
        live.expect(&["four, which is longer"]);
        fs::remove_file(&path).expect("removed");
        write(&path, "five\n");
        live.expect(&["five"]);
        live.stop();
    });
}

#[test]
fn files_and_directories_that_come_later() {
    both_ways(|directory, options| {
        let pattern = directory.join("sites/*/access.log");
        let mut live = Live::new(options(&[&pattern, &directory.join("late/deep/x.log")]));
        let made = |name: &str| -> PathBuf {
            fs::create_dir_all(directory.join(name)).expect("made");
            directory.join(name)
        };
        write(&made("sites/a").join("access.log"), "one\n");
        live.expect(&["one"]);
        write(&made("sites/b").join("access.log"), "two\n");
        live.expect(&["two"]);
        write(&made("late/deep").join("x.log"), "three\n");
        live.expect(&["three"]);
        fs::remove_dir_all(directory.join("sites")).expect("removed");
        write(&made("sites/a").join("access.log"), "four\n");
        live.expect(&["four"]);
        live.stop();
    });
}

#[test]
fn it_goes_on_where_it_stopped() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("x.log");
    write(&path, "one\n");
    let mut live = Live::new(options(files(&[&path]), Vec::new()));
    live.expect(&["one"]);
    let stored = live.stop();
    write(&path, "two\n");
    fs::rename(&path, rotated_name(&path, Naming::Dates, 1)).expect("renamed");
    write(&path, "three\n");
    fs::rename(&path, rotated_name(&path, Naming::Dates, 2)).expect("renamed");
    write(&path, "four\n");
    let mut live = Live::new(options(files(&[&path]), stored));
    live.expect(&["two", "three", "four"]);
    live.stop();
}

#[test]
fn a_full_channel_holds_it_up_and_a_closed_one_ends_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("x.log");
    let text: Vec<String> = (0..5_000).map(|number| format!("line {number}")).collect();
    write(&path, text.join("\n") + "\n");
    let mut live = Live::new(options(files(&[&path]), Vec::new()));
    live.expect(&text.iter().map(String::as_str).collect::<Vec<_>>());
    drop(live.receiver);
    write(&path, "one more\n");
    live.follower.join();
}

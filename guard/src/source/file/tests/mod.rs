//! Real files in a directory of the test's own.

mod lines;
mod live;
mod model;

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::follow::{Follow, Pass};
use super::{Counters, Now, Options};
use crate::core::entry::{Batch, Position};
use crate::core::jail::{JailId, LogFiles, LogPattern};
use crate::core::time::Timestamp;

const JAIL: JailId = JailId(3);

fn files(patterns: &[&Path]) -> LogFiles {
    let pattern = |path: &&Path| LogPattern { path: path.display().to_string(), from_end: false };
    LogFiles {
        patterns: patterns.iter().map(pattern).collect(),
        encoding: "auto".to_owned(),
        may_be_missing: true,
    }
}

fn options(files: LogFiles, positions: Vec<Position>) -> Options {
    Options { subscriptions: vec![(JAIL, files)], positions, interest: None, by_clock: false }
}

/// A reader without a thread, whose time is the test's.
struct Reader {
    follow: Follow,
    counters: Arc<Counters>,
    seconds: u32,
}

impl Reader {
    fn new(options: Options) -> Self {
        let counters = Arc::new(Counters::default());
        let follow = Follow::new(options, Arc::clone(&counters)).expect("known encodings");
        Self { follow, counters, seconds: 0 }
    }

    /// Looks once, a second after the last time.
    fn pass(&mut self) -> (Pass, VecDeque<Batch>) {
        self.seconds += 1;
        let now = Now {
            wall: Timestamp::from_seconds(1_000_000 + i64::from(self.seconds)),
            monotonic: Duration::from_secs(self.seconds.into()),
        };
        let mut batches = VecDeque::new();
        let pass = self.follow.pass(&|| now, &mut |batch| {
            batches.push_back(batch);
            true
        });
        (pass, batches)
    }

    /// Looks until there is nothing more, the directories included.
    fn batches(&mut self) -> Vec<Batch> {
        let mut all = Vec::new();
        let mut quiet = 0;
        while quiet < 12 {
            let (pass, batches) = self.pass();
            quiet = if pass == Pass::More { 0 } else { quiet + 1 };
            all.extend(batches);
        }
        all
    }

    /// Whether nothing was read yet of the file that lies at a path.
    fn is_at_beginning(&self) -> bool {
        let mut last = self.follow.tracks.values().filter_map(|track| track.chain.files().last());
        last.any(|file| file.offset() == 0)
    }

    fn lines(&mut self) -> Vec<String> {
        lines(&self.batches())
    }
}

fn lines(batches: &[Batch]) -> Vec<String> {
    batches.iter().flat_map(|batch| &batch.entries).map(|entry| entry.line.clone()).collect()
}

/// The last position of each source.
fn positions(batches: &[Batch]) -> Vec<Position> {
    let mut last: Vec<Position> = Vec::new();
    for Batch { position, .. } in batches {
        last.retain(|other| other.source != position.source);
        last.push(position.clone());
    }
    last
}

fn append(path: &Path) -> File {
    OpenOptions::new().append(true).create(true).open(path).expect("opened")
}

fn write(path: &Path, text: impl AsRef<[u8]>) {
    append(path).write_all(text.as_ref()).expect("written");
}

/// Names of rotated files, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Naming {
    Numbers,
    Dates,
}

/// Makes room for a rotated file, as logrotate does, and names it.
fn rotated_name(path: &Path, naming: Naming, rotation: u32) -> PathBuf {
    let named = |suffix: String| PathBuf::from(format!("{}{suffix}", path.display()));
    if naming == Naming::Dates {
        return named(format!("-{}", 20_260_000 + rotation));
    }
    let numbered = |number: u32| named(format!(".{number}"));
    let last = (1..).find(|number| !numbered(*number).exists()).expect("a free number");
    for number in (1..last).rev() {
        fs::rename(numbered(number), numbered(number + 1)).expect("renamed");
    }
    numbered(1)
}

//! Any sequence of writes, rotations and restarts gives every line once.
//!
//! What is truly gone is left out of the sequences: what is cut off or deleted before it
//! was read, what is written to a renamed file after its rest, and a copy of a file of
//! which nothing was read before it was copied and emptied.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;

use proptest::prelude::*;

use super::super::place;
use super::{Naming, Reader, append, files, lines, options, rotated_name};
use crate::core::entry::{Batch, Position};

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Whole lines.
    Write(u8),
    /// The beginning of a line, which the next write completes.
    Begin,
    /// `rename` and `create`; the writer still has the old file.
    Rotate,
    /// The writer opens the path anew.
    Reopen,
    /// `copytruncate`.
    CopyTruncate,
    /// Emptied when all was read.
    Truncate,
    /// Emptied, and written anew to more than it was.
    Overgrow,
    /// Deleted when all was read, and made anew.
    Delete,
    /// One look.
    Look,
    /// So long that rotated files come to rest.
    Rest,
    /// One look of which only so many batches are stored.
    Kill(u8),
    /// Down until the next look.
    Stop,
}

struct World {
    directory: tempfile::TempDir,
    naming: Naming,
    by_clock: bool,
    rotations: u32,
    writer: File,
    number: u32,
    /// The beginning of a line that the writer's file ends with.
    begun: Option<String>,
    /// The file was emptied without a copy.
    emptied: bool,
    expected: Vec<String>,
    stored: Vec<String>,
    position: Option<Position>,
    reader: Option<Reader>,
}

impl World {
    fn new(naming: Naming, by_clock: bool) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let writer = append(&directory.path().join("app.log"));
        let mut world = Self {
            directory,
            naming,
            by_clock,
            rotations: 0,
            writer,
            number: 0,
            begun: None,
            emptied: false,
            expected: Vec::new(),
            stored: Vec::new(),
            position: None,
            reader: None,
        };
        world.look();
        world
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("app.log")
    }

    fn write(&mut self) {
        self.number += 1;
        let line = format!("{:06} {}", self.number, "x".repeat(self.number as usize * 7 % 90));
        writeln!(self.writer, "{line}").expect("written");
        let begun = self.begun.take().unwrap_or_default();
        self.expected.push(format!("{begun}{line}"));
    }

    /// The line that was begun stays without its end.
    fn break_off(&mut self) {
        self.expected.extend(self.begun.take());
    }

    fn reopen(&mut self) {
        if !self.has_path() {
            self.break_off();
        }
        self.writer = append(&self.path());
    }

    /// Whether the writer's file lies at the path.
    fn has_path(&self) -> bool {
        let own = place::Identity::of(&self.writer.metadata().expect("metadata"));
        fs::metadata(self.path()).is_ok_and(|there| place::Identity::of(&there) == own)
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Write(count) => (0..count).for_each(|_| self.write()),
            Step::Begin => {
                if self.begun.is_none() {
                    self.number += 1;
                    let text = format!("{:06} begun ", self.number);
                    write!(self.writer, "{text}").expect("written");
                    self.begun = Some(text);
                }
            }
            Step::Rotate => {
                // A writer that misses a whole rotation loses its lines with any reader.
                self.reopen();
                let rotated = self.rotated();
                fs::rename(self.path(), rotated).expect("renamed");
                File::create(self.path()).expect("made");
            }
            Step::Reopen => self.reopen(),
            Step::CopyTruncate => {
                self.reopen();
                if self.is_unknown() {
                    self.write();
                    self.look_at_all();
                    self.emptied = false;
                }
                let rotated = self.rotated();
                fs::copy(self.path(), rotated).expect("copied");
                self.break_off();
                self.writer.set_len(0).expect("emptied");
            }
            Step::Truncate => self.truncate(),
            Step::Overgrow => {
                self.reopen();
                let before = fs::metadata(self.path()).expect("metadata").len();
                self.truncate();
                while fs::metadata(self.path()).expect("metadata").len() <= before + 20 {
                    self.write();
                }
            }
            Step::Delete => {
                self.reopen();
                if self.begun.is_some() {
                    self.write();
                }
                self.look_at_all();
                fs::remove_file(self.path()).expect("removed");
                self.reopen();
                self.write();
                self.look_at_all();
            }
            Step::Look => self.look(),
            Step::Rest => {
                self.reopen();
                self.rest();
            }
            Step::Kill(stored) => {
                let (_, batches) = self.reader().pass();
                let stored = usize::from(stored) % (batches.len() + 1);
                self.store(batches.into_iter().take(stored));
                self.reader = None;
            }
            Step::Stop => self.reader = None,
        }
    }

    fn rotated(&mut self) -> PathBuf {
        self.rotations += 1;
        rotated_name(&self.path(), self.naming, self.rotations)
    }

    fn truncate(&mut self) {
        self.reopen();
        if self.begun.is_some() {
            self.write();
        }
        self.look_at_all();
        self.writer.set_len(0).expect("emptied");
        self.emptied = true;
    }

    /// Whether nothing is known of what the file at the path holds now.
    fn is_unknown(&self) -> bool {
        let marks = self.position.as_ref().and_then(|it| place::read(&it.place));
        let there = place::Identity::of(&fs::metadata(self.path()).expect("metadata"));
        marks.into_iter().flatten().any(|mark| mark.identity == there && mark.offset == 0)
            || self.reader.as_ref().is_some_and(Reader::is_at_beginning)
            || self.emptied
    }

    fn reader(&mut self) -> &mut Reader {
        let pattern = self.directory.path().join("app.log*");
        let (position, by_clock) = (self.position.clone(), self.by_clock);
        self.reader.get_or_insert_with(|| {
            let options = options(files(&[&pattern]), position.into_iter().collect());
            Reader::new(super::Options { by_clock, ..options })
        })
    }

    fn look(&mut self) {
        let (_, batches) = self.reader().pass();
        self.store(batches);
    }

    fn look_at_all(&mut self) {
        let batches = self.reader().batches();
        self.store(batches);
    }

    fn rest(&mut self) {
        (0..4).for_each(|_| self.look_at_all());
    }

    fn store(&mut self, batches: impl IntoIterator<Item = Batch>) {
        for batch in batches {
            assert!(batch.position.source.ends_with("/app.log"), "{}", batch.position.source);
            self.stored.extend(lines(std::slice::from_ref(&batch)));
            self.position = Some(batch.position);
        }
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1u8..6).prop_map(Step::Write),
        1 => Just(Step::Write(200)),
        2 => Just(Step::Begin),
        3 => Just(Step::Rotate),
        2 => Just(Step::Reopen),
        2 => Just(Step::CopyTruncate),
        1 => Just(Step::Truncate),
        1 => Just(Step::Overgrow),
        1 => Just(Step::Delete),
        4 => Just(Step::Look),
        1 => Just(Step::Rest),
        2 => (0u8..4).prop_map(Step::Kill),
        1 => Just(Step::Stop),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_line_comes_once(
        steps in steps(),
        dates in any::<bool>(),
        by_clock in any::<bool>(),
    ) {
        let naming = if dates { Naming::Dates } else { Naming::Numbers };
        let mut world = World::new(naming, by_clock);
        for step in steps {
            world.step(step);
        }
        world.reopen();
        world.write();
        world.rest();
        // Lines of which only the beginning was written come when their file rests.
        let whole = |lines: &[String]| -> Vec<String> {
            lines.iter().filter(|line| !line.ends_with("begun ")).cloned().collect()
        };
        prop_assert_eq!(whole(&world.stored), whole(&world.expected));
        let (mut stored, mut expected) = (world.stored.clone(), world.expected.clone());
        stored.sort();
        expected.sort();
        prop_assert_eq!(stored, expected);
    }
}

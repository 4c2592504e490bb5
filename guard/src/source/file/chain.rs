//! The files of one path: the one that lies there, and those that lay there before and
//! are not done with.
//!
//! Input: the path, or marks of where reading ended. Output: lines, oldest file first.
//! Invariant: what was written to any file of the path comes exactly once, as long as
//! the file, or a copy of it, is there when it is looked for.
//!
//! A file that was renamed is followed on until another one lies at the path and it has
//! not grown for [`REST`]: its writer goes on with it until it opens the new one. A file
//! that was truncated is read from its beginning; what was not read before is looked for
//! in its copies. Copies and files that came and went between two looks are found by
//! the names that rotation gives them.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::encoding::Framing;
use super::names::{self, Rotated};
use super::opened::{Opened, Seen, Sink};
use super::place::{Identity, Mark};
use super::{FIRST_BYTES, OLD_FILES, REST};

/// Where to begin in a file that no mark is known of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begin {
    /// With what is written from now on.
    End,
    /// With its first line, or, in a large file, with the first that is not further than
    /// [`FIRST_BYTES`] from its end.
    Start,
}

/// The files of one path.
#[derive(Debug)]
pub(super) struct Chain {
    path: PathBuf,
    framing: Framing,
    /// Oldest first. The last is the one that lies at the path, or was the last to.
    files: Vec<Opened>,
    /// Whether nothing lay at the path at the last look.
    missing: bool,
    /// Times that unread lines were or may have been lost.
    pub(super) lost: u64,
    /// Bytes at the beginning of a large file that were passed over.
    pub(super) passed_over: u64,
}

/// A file beside the path that rotation put there.
struct Beside {
    rotated: Rotated,
    path: PathBuf,
    identity: Identity,
}

impl Chain {
    /// Opens the file at a path for the first time.
    pub(super) fn begin(
        path: &Path,
        framing: Framing,
        begin: Begin,
        now: Duration,
    ) -> io::Result<Self> {
        let mut opened = Opened::open(path, now)?;
        let length = opened.metadata()?.len();
        let from = match begin {
            Begin::End => length,
            Begin::Start => length.saturating_sub(FIRST_BYTES),
        };
        opened.seek_to_line(from, framing)?;
        let passed_over = if begin == Begin::Start { from } else { 0 };
        Ok(Self { files: vec![opened], passed_over, ..Self::empty(path, framing) })
    }

    /// Opens what a stored place names, wherever it lies now, and what came after it.
    pub(super) fn resume(
        path: &Path,
        framing: Framing,
        marks: &[Mark],
        now: Duration,
    ) -> io::Result<Self> {
        let mut chain = Self::empty(path, framing);
        let mut places: Vec<(Option<Rotated>, PathBuf, Identity)> = beside(path)
            .into_iter()
            .map(|beside| (Some(beside.rotated), beside.path, beside.identity))
            .collect();
        if let Some(identity) = identity_at(path)? {
            places.push((None, path.to_owned(), identity));
        }
        let mut last = None;
        for (number, mark) in marks.iter().enumerate() {
            // The file itself comes before a copy of it.
            places.sort_by_key(|(_, _, identity)| *identity != mark.identity);
            let is_last = number + 1 == marks.len();
            match chain.find(mark, &places, now)? {
                Some(rotated) => last = rotated.filter(|_| is_last),
                None if is_last => last = chain.find_renewed(mark, &places, now),
                // It was being followed for late lines only.
                None => {}
            }
        }
        if let Some(last) = last {
            chain.push_younger(&last, now);
        }
        chain.look(now)?;
        Ok(chain)
    }

    fn empty(path: &Path, framing: Framing) -> Self {
        let path = path.to_owned();
        Self { path, framing, files: Vec::new(), missing: false, lost: 0, passed_over: 0 }
    }

    /// Adds the file that holds what was read up to the mark, with its name's meaning.
    #[expect(clippy::option_option, reason = "found or not; rotated or at the path itself")]
    fn find(
        &mut self,
        mark: &Mark,
        places: &[(Option<Rotated>, PathBuf, Identity)],
        now: Duration,
    ) -> io::Result<Option<Option<Rotated>>> {
        for (rotated, path, identity) in places {
            let same = *identity == mark.identity;
            if (!same && mark.offset == 0) || self.holds(*identity) {
                continue;
            }
            let Ok(mut opened) = Opened::open(path, now) else { continue };
            if opened.identity() == *identity && mark.fits(opened.file())? {
                opened.seek_to_mark(mark)?;
                self.files.push(opened);
                return Ok(Some(rotated.clone()));
            }
        }
        Ok(None)
    }

    /// Adds the file of the mark's number that holds something else: what it holds was
    /// written after the mark was made. The one at the path is left to [`Self::look`].
    fn find_renewed(
        &mut self,
        mark: &Mark,
        places: &[(Option<Rotated>, PathBuf, Identity)],
        now: Duration,
    ) -> Option<Rotated> {
        let Some((rotated, path, _)) = places.iter().find(|(.., own)| *own == mark.identity) else {
            self.lost += 1;
            return None;
        };
        let rotated = rotated.clone()?;
        let opened = Opened::open(path, now).ok()?;
        self.files.push(opened);
        Some(rotated)
    }

    /// Notices that another file lies at the path, or none. An error is one of the file
    /// at the path; those that are open are read on.
    pub(super) fn look(&mut self, now: Duration) -> io::Result<()> {
        let Some(identity) = identity_at(&self.path)? else {
            if !self.missing {
                self.let_rest(now);
            }
            self.missing = true;
            return Ok(());
        };
        self.missing = false;
        if self.files.last().is_some_and(|last| last.identity() == identity) {
            return Ok(());
        }
        if let Some(back) = self.files.iter().position(|file| file.identity() == identity) {
            let file = self.files.remove(back);
            self.files.push(file);
            return Ok(());
        }
        let opened = match Opened::open(&self.path, now) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            opened => opened?,
        };
        self.let_rest(now);
        let old = self.files.last().map(Opened::identity);
        let rotated = old
            .and_then(|old| beside(&self.path).into_iter().find(|beside| beside.identity == old));
        if let Some(last) = rotated {
            self.push_younger(&last.rotated, now);
        }
        if !self.holds(opened.identity()) {
            self.files.push(opened);
        }
        Ok(())
    }

    /// The file that lay at the path does so no more: its rest begins.
    fn let_rest(&mut self, now: Duration) {
        if let Some(last) = self.files.last_mut() {
            last.grown = now;
        }
    }

    /// Adds the files that were rotated away after one of the given name.
    fn push_younger(&mut self, than: &Rotated, now: Duration) {
        let mut younger = beside(&self.path);
        younger.retain(|beside| beside.rotated.is_younger_than(than));
        younger.sort_by(|a, b| a.rotated.by_age(&b.rotated));
        for beside in younger {
            if self.holds(beside.identity) {
                continue;
            }
            match Opened::open(&beside.path, now) {
                Ok(opened) if opened.identity() == beside.identity => self.files.push(opened),
                _ => self.lost += 1,
            }
        }
    }

    fn holds(&self, identity: Identity) -> bool {
        self.files.iter().any(|file| file.identity() == identity)
    }

    /// Hands on what is there, oldest first, up to a chunk of one file.
    pub(super) fn read(
        &mut self,
        buffer: &mut [u8],
        now: Duration,
        sink: &mut Sink<'_>,
    ) -> io::Result<Seen> {
        let mut number = 0;
        while number < self.files.len() {
            let is_last = number + 1 == self.files.len();
            let too_many = self.files.len() > OLD_FILES;
            let file = &mut self.files[number];
            match file.read(self.framing, buffer, now, sink)? {
                Seen::More => return Ok(Seen::More),
                Seen::Truncated => {
                    self.truncated(number, now);
                    return Ok(Seen::More);
                }
                Seen::End => {
                    let stable = now.saturating_sub(file.grown) >= REST;
                    let over = if is_last {
                        stable && self.missing && is_deleted(file)
                    } else {
                        stable || too_many
                    };
                    if over {
                        file.rest(self.framing, sink)?;
                        self.files.remove(number);
                        return Ok(Seen::More);
                    }
                    number += 1;
                }
            }
        }
        Ok(Seen::End)
    }

    /// A file was emptied: what was not read of it may be in a copy.
    fn truncated(&mut self, number: usize, now: Duration) {
        let file = &mut self.files[number];
        let mark = file.mark();
        file.rewind();
        file.grown = now;
        let places: Vec<_> = beside(&self.path)
            .into_iter()
            .map(|beside| (Some(beside.rotated), beside.path, beside.identity))
            .collect();
        let before = self.files.len();
        // Without a copy nothing is lost if all of it was read, which is the rule.
        if let Ok(Some(Some(rotated))) = self.find(&mark, &places, now) {
            self.push_younger(&rotated, now);
        }
        let copies = self.files.split_off(before);
        self.files.splice(number..number, copies);
    }

    /// Where each file is read up to, oldest first.
    pub(super) fn marks(&self) -> Vec<Mark> {
        self.files.iter().map(Opened::mark).collect()
    }

    /// Whether there is one file, and all of it was read.
    pub(super) fn is_at_end(&self) -> bool {
        matches!(self.files.as_slice(), [file]
            if file.metadata().is_ok_and(|metadata| metadata.len() == file.offset()))
    }

    /// The open files.
    pub(super) fn files(&self) -> &[Opened] {
        &self.files
    }

    /// When a file must be looked at again though nothing happens to it.
    pub(super) fn wakes_at(&self) -> Option<Duration> {
        let (last, old) = self.files.split_last()?;
        let deleted = self.missing && is_deleted(last);
        old.iter().chain(deleted.then_some(last)).map(|file| file.grown + REST).min()
    }
}

fn is_deleted(file: &Opened) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.nlink() == 0)
}

fn identity_at(path: &Path) -> io::Result<Option<Identity>> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(Some(Identity::of(&metadata))),
        Ok(_) => Err(io::Error::other("it is no regular file")),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// What rotation put beside a path, and beside what the path links to.
fn beside(path: &Path) -> Vec<Beside> {
    let mut found = of_directory(path);
    if let Ok(target) = fs::read_link(path) {
        let target = path.parent().map_or(target.clone(), |directory| directory.join(&target));
        found.extend(of_directory(&target));
    }
    found
}

fn of_directory(path: &Path) -> Vec<Beside> {
    let (Some(directory), Some(base)) = (path.parent(), path.file_name().and_then(|b| b.to_str()))
    else {
        return Vec::new();
    };
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let beside = |entry: fs::DirEntry| {
        let name = entry.file_name();
        let rotated = names::rotated(base, name.to_str()?)?;
        let metadata = entry.metadata().ok().filter(fs::Metadata::is_file)?;
        let path = entry.path();
        (!names::is_compressed(&path)).then(|| Beside {
            rotated,
            path,
            identity: Identity::of(&metadata),
        })
    };
    entries.filter_map(Result::ok).filter_map(beside).collect()
}

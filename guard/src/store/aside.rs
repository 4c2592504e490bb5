//! A damaged store out of the way, for whoever looks into it later.
//!
//! Input: the path of a database that nobody has open. Output: the same files under another
//! name beside it, byte for byte. Invariant: nothing is deleted or written over, and after
//! [`MOST`] of them nothing more is put aside, so that a failing disk is not filled.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat, renameat_with};
use rustix::io::Errno;

use super::StoreError;
use super::files::beside;
use crate::core::time::Timestamp;

/// What follows the name of the database.
const MARK: &str = ".damaged-";
/// So many stores are put aside at most.
const MOST: usize = 8;
/// Files that belong to a database: what is not in it yet comes first, for with a new
/// database it must never meet.
const PARTS: [&str; 4] = ["-wal", "-journal", "-shm", ""];

/// Moves a database and its side files to a name of their own; gives that name.
///
/// # Errors
/// When it cannot be moved, or enough of them are there already.
pub fn put_aside(path: &Path, now: Timestamp) -> Result<PathBuf, StoreError> {
    check_room(path)?;
    let failed = |why: String| StoreError::NotPutAside { path: path.to_owned(), why };
    let mut number = now.seconds();
    let place = loop {
        let place = beside(path, &format!("{MARK}{number}"));
        if !PARTS.iter().any(|part| beside(&place, part).exists()) {
            break place;
        }
        number += 1;
    };
    for part in PARTS {
        let (from, to) = (beside(path, part), beside(&place, part));
        let moved = match renameat_with(CWD, &from, CWD, &to, RenameFlags::NOREPLACE) {
            // Not every file system can say no by itself; nobody else writes in this directory.
            Err(Errno::INVAL) => renameat(CWD, &from, CWD, &to),
            moved => moved,
        };
        match moved {
            Ok(()) => {}
            Err(Errno::NOENT) if !part.is_empty() => {}
            Err(errno) => return Err(failed(format!("moving {}: {errno}", from.display()))),
        }
    }
    Ok(place)
}

/// Whether another one may be put aside.
///
/// # Errors
/// When enough of them are there already.
pub fn check_room(path: &Path) -> Result<(), StoreError> {
    if list(path).len() < MOST {
        return Ok(());
    }
    let why = format!("{MOST} damaged ones lie beside it already");
    Err(StoreError::NotPutAside { path: path.to_owned(), why })
}

/// Every store that was put aside and is still there, sorted.
pub fn list(path: &Path) -> Vec<PathBuf> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Vec::new();
    };
    let begin = beside(Path::new(name), MARK).into_os_string();
    let is_one = |name: &OsString| {
        let number = name.as_encoded_bytes().strip_prefix(begin.as_encoded_bytes());
        number.is_some_and(|number| number.iter().all(u8::is_ascii_digit))
    };
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let names = entries.flatten().map(|entry| entry.file_name());
    let mut found: Vec<PathBuf> = names.filter(is_one).map(|name| directory.join(name)).collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_parts_move_together_and_nothing_is_written_over() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("guard.sqlite3");
        let now = Timestamp::from_seconds(70);
        let mut places = Vec::new();
        for round in 0..MOST {
            for part in ["", "-wal"] {
                fs::write(beside(&path, part), format!("{round}{part}")).expect("a file");
            }
            places.push(put_aside(&path, now).expect("put aside"));
            assert!(!path.exists() && !beside(&path, "-wal").exists());
        }
        for (round, place) in places.iter().enumerate() {
            let read = |part| fs::read_to_string(beside(place, part)).expect("it is there");
            assert_eq!((read(""), read("-wal")), (round.to_string(), format!("{round}-wal")));
        }
        assert_eq!(list(&path), places);
        fs::write(&path, "one more").expect("a file");
        let told = put_aside(&path, now).expect_err("enough").to_string();
        assert!(told.contains("8 damaged ones"), "{told}");
        assert_eq!(fs::read_to_string(&path).expect("it is there"), "one more");
    }
}

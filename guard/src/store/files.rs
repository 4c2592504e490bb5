//! Files of the state directory, which belongs to the agent's user.
//!
//! Input: a path in it. Output: the file, open. Invariants: what root's `guardctl` makes
//! there belongs to whom the directory belongs to, so that the agent can use it; and a
//! symbolic link is never followed, so that the agent's user cannot have root write
//! elsewhere.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::process::geteuid;

/// The file whose name goes on like this.
pub fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// Removes a file, if it is there.
///
/// # Errors
/// When it stays.
pub fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Opens a file for reading and writing, and makes it (mode 0600) and its directory (mode
/// 0700) if need be.
///
/// # Errors
/// When that cannot be done, or the file is a symbolic link.
pub fn open_or_make(path: &Path) -> io::Result<File> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(directory) = directory {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        // To open a pipe would wait for its other end.
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(path)?;
    let found = file.metadata()?;
    if !found.is_file() || found.nlink() != 1 {
        return Err(io::Error::other("it is no file of its own"));
    }
    if geteuid().is_root() {
        let owner = std::fs::metadata(directory.unwrap_or(Path::new(".")))?;
        if (found.uid(), found.gid()) == (0, 0) && owner.uid() != 0 {
            fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
        }
    }
    Ok(file)
}

/// The same file with the links in its directory's path resolved, and not that of the file.
///
/// # Errors
/// When the directory cannot be reached.
pub fn real_directory(path: &Path) -> io::Result<PathBuf> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) if !parent.as_os_str().is_empty() => {
            Ok(parent.canonicalize()?.join(name))
        }
        _ => Ok(path.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::{chown, symlink};

    use super::*;

    #[test]
    fn what_root_makes_belongs_to_the_owner_of_the_directory() {
        let directory = tempfile::tempdir().expect("a directory");
        let (ours, theirs) = (directory.path().join("ours/a"), directory.path().join("theirs/a"));
        for path in [&ours, &theirs] {
            drop(open_or_make(path).expect("made"));
        }
        let them = 65_534;
        if !geteuid().is_root() {
            assert_eq!(theirs.metadata().expect("there").uid(), geteuid().as_raw());
            return;
        }
        chown(theirs.parent().expect("a directory"), Some(them), Some(them)).expect("given away");
        // Also what an earlier root left there.
        for path in [&ours, &theirs] {
            drop(open_or_make(path).expect("opened"));
        }
        let owner = |path: &Path| path.metadata().expect("there").uid();
        assert_eq!((owner(&ours), owner(&theirs)), (0, them));
        assert_eq!(theirs.metadata().expect("there").mode() & 0o7777, 0o600);
    }

    #[test]
    fn content_stays_and_links_are_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let (file, link) = (directory.path().join("file"), directory.path().join("link"));
        write!(open_or_make(&file).expect("made"), "kept").expect("written");
        drop(open_or_make(&file).expect("opened"));
        assert_eq!(std::fs::read_to_string(&file).expect("read"), "kept");
        symlink(&file, &link).expect("linked");
        assert!(open_or_make(&link).is_err());
        std::fs::remove_file(&link).expect("removed");
        std::fs::hard_link(&file, &link).expect("linked");
        assert!(open_or_make(&link).is_err(), "a second name of somebody's file");
    }
}

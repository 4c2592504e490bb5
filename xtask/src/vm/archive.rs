//! An initramfs: a cpio archive of the format `newc`
//! (`Documentation/driver-api/early-userspace/buffer-format.rst`).
//!
//! Input: files, directories and links. Output: the bytes of the archive. Parents come
//! before what lies in them, everything belongs to root, and nothing has a time, so the
//! same input gives the same bytes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

const DIRECTORY: u32 = 0o040_755;
const LINK: u32 = 0o120_777;
const REGULAR: u32 = 0o100_000;

/// An archive that grows.
#[derive(Debug, Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    there: BTreeSet<PathBuf>,
}

impl Archive {
    /// A directory, with those around it.
    pub(super) fn directory(&mut self, path: &Path) {
        if path.parent().is_none() || !self.there.insert(path.to_owned()) {
            return;
        }
        self.parents(path);
        self.entry(path, DIRECTORY, &[]);
    }

    /// A symbolic link.
    pub(super) fn link(&mut self, path: &Path, to: &str) {
        if self.there.insert(path.to_owned()) {
            self.parents(path);
            self.entry(path, LINK, to.as_bytes());
        }
    }

    /// A file with these bytes.
    pub(super) fn file(&mut self, path: &Path, mode: u32, bytes: &[u8]) {
        if self.there.insert(path.to_owned()) {
            self.parents(path);
            self.entry(path, REGULAR | mode, bytes);
        }
    }

    /// A file of this machine, under another name or the same.
    pub(super) fn copy(&mut self, from: &Path, to: &Path) -> Result<()> {
        let bytes = fs::read(from).with_context(|| format!("read {}", from.display()))?;
        self.file(to, 0o755, &bytes);
        Ok(())
    }

    /// A directory of this machine with all that is in it, under the same name.
    pub(super) fn copy_tree(&mut self, directory: &Path) -> Result<()> {
        self.directory(directory);
        let entries = fs::read_dir(directory);
        for entry in entries.with_context(|| format!("read {}", directory.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                self.copy_tree(&path)?;
            } else {
                self.copy(&path, &path)?;
            }
        }
        Ok(())
    }

    /// The whole archive.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.entry(Path::new("TRAILER!!!"), 0, &[]);
        self.bytes
    }

    fn parents(&mut self, path: &Path) {
        if let Some(parent) = path.parent() {
            self.directory(parent);
        }
    }

    fn entry(&mut self, path: &Path, mode: u32, data: &[u8]) {
        let name = path.to_string_lossy();
        let name = name.trim_start_matches('/');
        let serial = self.there.len();
        self.bytes.extend(b"070701");
        let links = 1;
        let fields =
            [serial, mode as usize, 0, 0, links, 0, data.len(), 0, 0, 0, 0, name.len() + 1, 0];
        for field in fields {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(data);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_come_first_and_once() {
        let mut archive = Archive::default();
        archive.file(Path::new("/a/b/c"), 0o644, b"12345");
        archive.file(Path::new("/a/b/d"), 0o755, b"");
        archive.link(Path::new("/a/e"), "b/c");
        let bytes = archive.finish();
        assert!(bytes.len().is_multiple_of(4) && bytes.starts_with(b"070701"));
        let text = String::from_utf8_lossy(&bytes);
        let place = |name: &str| text.find(&format!("{name}\0")).expect(name);
        assert!(place("a") < place("a/b") && place("a/b") < place("a/b/c"));
        assert_eq!(text.matches("070701").count(), 6, "two directories, two files, link, end");
        assert!(text.contains("12345\0\0\x00070701"), "padded to four");
    }
}

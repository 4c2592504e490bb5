//! A disk with a cache that a power loss empties.
//!
//! Input: what a file system is told to do. Output: files as they can be read, and as they
//! are after a crash. What holds:
//!
//! - A kill of the agent costs nothing that was written; the write in hand is done up to
//!   some sector.
//! - A power loss keeps what was synced. Of the other writes each is kept, lost, or torn:
//!   some of its sectors are kept. Nothing outside of a write is changed by it
//!   (`SQLITE_IOCAP_POWERSAFE_OVERWRITE`, as SQLite expects of disks by default). A file
//!   that was never synced may be gone, one that was deleted may be back.
//! - A sync that fails has made nothing durable; the next one does. (A disk that loses what
//!   it could not write is not modelled: SQLite cannot live with one either.)

use std::collections::BTreeMap;

use crate::faults::{Failure, Numbers, Place, reach};

/// Of what a torn write is kept in whole.
const SECTOR: usize = 512;

/// All files.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    files: BTreeMap<String, File>,
    /// Files whose deletion is not durable.
    deleted: Vec<(String, File)>,
}

#[derive(Clone, Debug, Default)]
struct File {
    /// As it can be read.
    visible: Vec<u8>,
    /// As it is on the disk.
    durable: Vec<u8>,
    /// What makes the second the first, in order.
    unsynced: Vec<Write>,
    /// Whether its name is on the disk.
    named: bool,
}

#[derive(Clone, Debug)]
enum Write {
    Data { offset: usize, bytes: Vec<u8> },
    Size(usize),
}

impl Disk {
    pub(crate) fn exists(&self, name: &str) -> bool {
        self.files.contains_key(name)
    }

    /// Makes an empty file where there is none.
    pub(crate) fn make(&mut self, name: &str) {
        self.files.entry(name.to_owned()).or_default();
    }

    pub(crate) fn create(&mut self, name: &str) -> Result<(), Failure> {
        if !self.exists(name) {
            reach(Place::Write)?;
            self.files.insert(name.to_owned(), File::default());
        }
        Ok(())
    }

    /// Deletes a file; for certain, if the directory is synced.
    pub(crate) fn delete(&mut self, name: &str, sync: bool) -> Result<(), Failure> {
        reach(Place::Write)?;
        let Some(file) = self.files.remove(name) else { return Ok(()) };
        if sync {
            self.deleted.retain(|(deleted, _)| deleted != name);
        } else if file.named {
            self.deleted.push((name.to_owned(), file));
        }
        Ok(())
    }

    pub(crate) fn size(&self, name: &str) -> usize {
        self.files.get(name).map_or(0, |file| file.visible.len())
    }

    /// Reads as much as there is; how much that was.
    pub(crate) fn read(&self, name: &str, offset: usize, into: &mut [u8]) -> usize {
        let there = self.files.get(name).and_then(|file| file.visible.get(offset..));
        let there = there.unwrap_or_default();
        let length = there.len().min(into.len());
        into[..length].copy_from_slice(&there[..length]);
        length
    }

    pub(crate) fn write(&mut self, name: &str, offset: usize, bytes: &[u8]) -> Result<(), Failure> {
        let reached = reach(Place::Write);
        let done = match reached {
            Ok(()) => bytes,
            Err(Failure::Struck(number)) => {
                let sectors = Numbers(number).below(bytes.len().div_ceil(SECTOR) + 1);
                &bytes[..bytes.len().min(sectors * SECTOR)]
            }
            Err(_) => &[],
        };
        if !done.is_empty()
            && let Some(file) = self.files.get_mut(name)
        {
            file.change(Write::Data { offset, bytes: done.to_vec() });
        }
        reached
    }

    pub(crate) fn truncate(&mut self, name: &str, size: usize) -> Result<(), Failure> {
        reach(Place::Write)?;
        if let Some(file) = self.files.get_mut(name) {
            file.change(Write::Size(size));
        }
        Ok(())
    }

    pub(crate) fn sync(&mut self, name: &str) -> Result<(), Failure> {
        reach(Place::Sync)?;
        let Some(file) = self.files.get_mut(name) else { return Ok(()) };
        for write in file.unsynced.drain(..) {
            apply(&mut file.durable, &write);
        }
        if !file.named {
            // SQLite syncs the directory with a new file, and so all names in it.
            self.files.values_mut().for_each(|file| file.named = true);
            self.deleted.clear();
        }
        Ok(())
    }

    /// The power is gone and back.
    pub(crate) fn lose_power(&mut self, number: u64) {
        let mut numbers = Numbers(number);
        let fate = numbers.below(8);
        for (name, file) in std::mem::take(&mut self.deleted) {
            if numbers.coin() {
                self.files.entry(name).or_insert(file);
            }
        }
        self.files.retain(|_, file| {
            for write in std::mem::take(&mut file.unsynced) {
                // Often all is lost, or nothing.
                match (fate, numbers.below(3)) {
                    (0 | 1, _) | (3.., 0) => {}
                    (2, _) | (3.., 1) => apply(&mut file.durable, &write),
                    _ => apply_torn(&mut file.durable, &write, &mut numbers),
                }
            }
            file.visible.clone_from(&file.durable);
            let there = file.named || numbers.coin();
            file.named = true;
            there
        });
    }
}

impl File {
    fn change(&mut self, write: Write) {
        apply(&mut self.visible, &write);
        self.unsynced.push(write);
    }
}

fn apply(content: &mut Vec<u8>, write: &Write) {
    match write {
        Write::Data { offset, bytes } => {
            let end = offset + bytes.len();
            if content.len() < end {
                content.resize(end, 0);
            }
            content[*offset..end].copy_from_slice(bytes);
        }
        Write::Size(size) => content.resize(*size, 0),
    }
}

fn apply_torn(content: &mut Vec<u8>, write: &Write, numbers: &mut Numbers) {
    let Write::Data { offset, bytes } = write else { return apply(content, write) };
    // Sectors are the disk's, not the write's.
    let mut start = 0;
    while start < bytes.len() {
        let end = (start + SECTOR - (offset + start) % SECTOR).min(bytes.len());
        if numbers.coin() {
            let bytes = bytes[start..end].to_vec();
            apply(content, &Write::Data { offset: offset + start, bytes });
        }
        start = end;
    }
}

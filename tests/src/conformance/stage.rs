//! The corpus's own filters, where their includes find what they name.
//!
//! Their files name those of the source tree by relative paths, as many levels up as the
//! tree had when they were packaged. Output: a directory in which the same files stand,
//! as links, below enough levels, each of which has the tree's `config`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Levels above the filters.
const LEVELS: usize = 12;

/// The filters of a test tree, in place.
#[derive(Debug)]
pub(super) struct Stage {
    /// Removed in the end.
    _place: tempfile::TempDir,
    directory: PathBuf,
}

impl Stage {
    /// Puts the files of `test_filters` where their includes find those of
    /// `configuration`.
    pub(super) fn new(configuration: &Path, test_filters: &Path) -> Result<Self> {
        let place = tempfile::tempdir()?;
        let configuration = fs::canonicalize(configuration)
            .with_context(|| format!("find {}", configuration.display()))?;
        let mut directory = place.path().to_owned();
        for _ in 0..LEVELS {
            symlink(&configuration, directory.join("config"))?;
            directory.push("level");
            fs::create_dir(&directory)?;
        }
        let filters = directory.join("filter.d");
        fs::create_dir(&filters)?;
        // Its filters stand alone.
        fs::write(directory.join("jail.conf"), "")?;
        let entries = fs::read_dir(test_filters)
            .with_context(|| format!("list {}", test_filters.display()))?;
        for entry in entries {
            let path = fs::canonicalize(entry?.path())?;
            if let Some(name) = path.file_name().filter(|_| path.is_file()) {
                symlink(&path, filters.join(name))?;
            }
        }
        Ok(Self { _place: place, directory })
    }

    /// The directory that holds `filter.d`.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }
}

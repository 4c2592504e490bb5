//! Where guard's maps, programs and links outlive the agent: a directory on a bpffs.
//!
//! ```text
//! /run/guard/bpf/            a bpffs of our own, mode 0700 (or a directory on another)
//!   maps-v5/                 the maps and the programs that use them
//!   maps-v5-new/             those that are being built to take its place
//!   links/native-2 tcx-5 …   one link for each covered interface, by its number
//! ```
//!
//! (The kernel keeps names with dots in a bpffs for itself, and interface names may have
//! some.) A mount that the agent makes in a mount namespace of its own ends with it,
//! and the bans with that: a service manager must make this one outside.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use guard_common::layout::ABI;
use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, fstatfs, openat, unlinkat};
use rustix::io::Errno;
use rustix::mount::MountFlags;

use super::syscall;
use crate::enforce::EnforceError;

/// `BPF_FS_MAGIC` of `include/uapi/linux/magic.h`.
const BPFFS: i64 = 0xcafe_4a11;

/// The directory, known to be on a bpffs.
#[derive(Clone, Debug)]
pub(super) struct Pins {
    root: PathBuf,
}

impl Pins {
    /// Makes the directory, and mounts a bpffs there if it is not on one.
    pub(super) fn open(root: &Path) -> Result<Self, EnforceError> {
        let pins = Self { root: root.to_owned() };
        make_directory(root)?;
        if !is_bpffs(root)? {
            mount(root)?;
        }
        make_directory(&pins.links())?;
        Ok(pins)
    }

    /// The same without making anything; `None` when there is nothing of guard.
    pub(super) fn find(root: &Path) -> Option<Self> {
        let pins = Self { root: root.to_owned() };
        let links = fs::symlink_metadata(pins.links());
        (is_bpffs(root).ok()? && links.is_ok_and(|links| links.is_dir())).then_some(pins)
    }

    /// The maps in use.
    pub(super) fn maps(&self) -> PathBuf {
        self.root.join(format!("maps-v{ABI}"))
    }

    /// The maps that are being built.
    pub(super) fn new_maps(&self) -> PathBuf {
        self.root.join(format!("maps-v{ABI}-new"))
    }

    /// The links.
    pub(super) fn links(&self) -> PathBuf {
        self.root.join("links")
    }

    /// Makes an empty directory for new maps.
    pub(super) fn begin(&self) -> Result<(), EnforceError> {
        remove_directory(&self.new_maps())?;
        make_directory(&self.new_maps())
    }

    /// Makes the directories again, should somebody have removed them.
    pub(super) fn keep(&self) -> Result<(), EnforceError> {
        make_directory(&self.maps())?;
        make_directory(&self.links())
    }

    /// Puts the new maps in the place of those in use and of all other versions.
    pub(super) fn commit(&self) -> Result<(), EnforceError> {
        let new = self.new_maps();
        for directory in self.generations()? {
            if directory != new {
                remove_directory(&directory)?;
            }
        }
        let maps = self.maps();
        fs::rename(&new, &maps).map_err(|cause| failed("rename", &new, cause))
    }

    /// Removes everything but the mount.
    pub(super) fn remove(&self) -> Result<(), EnforceError> {
        for directory in self.generations()? {
            remove_directory(&directory)?;
        }
        remove_directory(&self.links())?;
        match fs::remove_dir(&self.root) {
            Err(cause) if !matches!(cause.raw_os_error(), Some(libc::EBUSY | libc::ENOENT)) => {
                Err(failed("remove", &self.root, cause))
            }
            _ => Ok(()),
        }
    }

    /// Maps and programs that are pinned, in words.
    pub(super) fn listed(&self) -> Result<Vec<String>, EnforceError> {
        let mut listed = Vec::new();
        for directory in self.generations()? {
            for name in names(&directory)? {
                // Programs have small letters.
                let kind = if name.starts_with("guard_") { "program" } else { "map" };
                let place = directory.file_name().unwrap_or_default().to_string_lossy();
                listed.push(format!("{kind} {name} ({place})"));
            }
        }
        listed.sort_unstable();
        Ok(listed)
    }

    fn generations(&self) -> Result<Vec<PathBuf>, EnforceError> {
        Ok(names(&self.root)?
            .into_iter()
            .filter(|name| name.starts_with("maps-v"))
            .map(|name| self.root.join(name))
            .collect())
    }
}

/// The names in a directory; none when it is not there.
pub(super) fn names(directory: &Path) -> Result<Vec<String>, EnforceError> {
    let entries = match fs::read_dir(directory) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|cause| failed("read", directory, cause))?,
    };
    entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<_>>()
        .map_err(|cause| failed("read", directory, cause))
}

/// Pins what is not pinned under its name any more; whether that was so. `same` tells
/// whether what is there is the thing itself.
pub(super) fn keep_pinned(
    path: &Path,
    object: BorrowedFd<'_>,
    same: impl FnOnce(BorrowedFd<'_>) -> bool,
) -> Result<bool, EnforceError> {
    match syscall::open_pin(path) {
        Ok(found) if same(found.as_fd()) => return Ok(false),
        Ok(_) => fs::remove_file(path).map_err(|cause| failed("remove", path, cause))?,
        Err(_) => {}
    }
    syscall::pin(object, path).map_err(|cause| failed("pin", path, cause))?;
    Ok(true)
}

fn make_directory(directory: &Path) -> Result<(), EnforceError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|cause| failed("make", directory, cause))
}

/// Removes a directory of pins with what is in it. A link in its place is removed itself
/// and not followed: the directory belongs to the agent's user, and root removes it too.
fn remove_directory(directory: &Path) -> Result<(), EnforceError> {
    let broken = |cause: Errno| failed("remove", directory, cause.into());
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = match openat(CWD, directory, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        Err(Errno::LOOP | Errno::NOTDIR) => {
            return fs::remove_file(directory).map_err(|cause| failed("remove", directory, cause));
        }
        other => other.map_err(broken)?,
    };
    if fstatfs(&opened).map_err(broken)?.f_type != BPFFS {
        return Err(failed("remove", directory, io::Error::other("it is on no bpffs")));
    }
    for entry in Dir::read_from(&opened).map_err(broken)? {
        let entry = entry.map_err(broken)?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            unlinkat(&opened, name, AtFlags::empty()).map_err(broken)?;
        }
    }
    match fs::remove_dir(directory) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
            Err(failed("remove", directory, cause))
        }
        _ => Ok(()),
    }
}

fn is_bpffs(directory: &Path) -> Result<bool, EnforceError> {
    // A link is not followed.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let filesystem = openat(CWD, directory, flags, Mode::empty()).and_then(fstatfs);
    let filesystem = filesystem.map_err(|cause| failed("look at", directory, cause.into()))?;
    Ok(filesystem.f_type == BPFFS)
}

fn mount(directory: &Path) -> Result<(), EnforceError> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount("bpf", directory, "bpf", flags, c"mode=0700").map_err(|cause| {
        let at = directory.display();
        let operation = match cause {
            Errno::PERM | Errno::ACCESS => {
                format!("mount a bpffs at {at} (as root, run: mount -t bpf -o mode=0700 bpf {at})")
            }
            Errno::NODEV => {
                format!("mount a bpffs at {at} (this kernel has no BPF; use backend = \"nft\")")
            }
            _ => format!("mount a bpffs at {at}"),
        };
        EnforceError::Kernel { operation, cause: cause.into() }
    })
}

fn failed(verb: &str, path: &Path, cause: io::Error) -> EnforceError {
    EnforceError::Kernel { operation: format!("{verb} {}", path.display()), cause }
}

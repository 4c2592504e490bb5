//! What wakes the reader: inotify where the kernel gives it, else the clock.
//!
//! An event says only that it is worth looking; what is there is always asked of the
//! file system itself. So a lost event costs time ([`super::LOOK_AGAIN`]) and no line,
//! and reading by the clock alone gives the same lines.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

use super::place::Identity;

/// File systems on which another host's writes cause no event, by `statfs(2)`.
const NETWORK: [(i64, &str); 8] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB2"),
    (0x6573_5546, "FUSE"),
    (0x0102_1997, "9P"),
    (0x00c3_6400, "Ceph"),
    (0x7461_636f, "OCFS2"),
];

/// What events are about.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// Files that changed.
    pub(super) files: HashSet<Identity>,
    /// Something came, went or was renamed in a directory, or was itself renamed.
    pub(super) directories: bool,
    /// Events were lost: anything may have changed.
    pub(super) lost: bool,
}

/// The watches.
#[derive(Debug)]
pub(super) struct Watch {
    /// None where everything is looked at by the clock.
    inotify: Option<OwnedFd>,
    files: HashMap<Identity, i32>,
    directories: HashMap<PathBuf, i32>,
    identities: HashMap<i32, Identity>,
    /// Directories that cannot be watched.
    blind: HashSet<PathBuf>,
    /// Files that cannot be watched.
    polled: HashSet<Identity>,
    told: HashSet<String>,
}

impl Watch {
    /// Watches, unless `by_clock`.
    pub(super) fn new(by_clock: bool) -> Self {
        let mut watch = Self {
            inotify: None,
            files: HashMap::new(),
            directories: HashMap::new(),
            identities: HashMap::new(),
            blind: HashSet::new(),
            polled: HashSet::new(),
            told: HashSet::new(),
        };
        if !by_clock {
            match inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC) {
                Ok(descriptor) => watch.inotify = Some(descriptor),
                Err(cause) => watch.tell(&format!("inotify: {cause}")),
            }
        }
        watch
    }

    /// Whether anything must be looked at by the clock.
    pub(super) fn is_blind(&self) -> bool {
        self.inotify.is_none() || !self.blind.is_empty() || !self.polled.is_empty()
    }

    /// Whether this file must be.
    pub(super) fn is_polled(&self, identity: Identity) -> bool {
        self.inotify.is_none() || self.polled.contains(&identity)
    }

    /// Watches an open file.
    pub(super) fn file(&mut self, identity: Identity, file: &File) {
        let Some(inotify) = &self.inotify else { return };
        if self.files.contains_key(&identity) || self.polled.contains(&identity) {
            return;
        }
        // By the descriptor: another file may lie at the path by now.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let flags = WatchFlags::MODIFY
            | WatchFlags::ATTRIB
            | WatchFlags::MOVE_SELF
            | WatchFlags::DELETE_SELF;
        let failed = match (network(file), inotify::add_watch(inotify, path, flags)) {
            (Some(name), _) => format!("{name} tells nothing of what other hosts write"),
            (None, Ok(descriptor)) => {
                self.files.insert(identity, descriptor);
                self.identities.insert(descriptor, identity);
                return;
            }
            (None, Err(cause)) => limit(cause),
        };
        self.polled.insert(identity);
        self.tell(&failed);
    }

    /// Watches these files and no others.
    pub(super) fn retain_files(&mut self, files: &HashSet<Identity>) {
        self.polled.retain(|identity| files.contains(identity));
        let Some(inotify) = &self.inotify else { return };
        for (_, descriptor) in self.files.extract_if(|identity, _| !files.contains(identity)) {
            self.identities.remove(&descriptor);
            // The kernel may have removed it with the file.
            let _ = inotify::remove_watch(inotify, descriptor);
        }
    }

    /// Watches these directories and no others.
    pub(super) fn directories(&mut self, wanted: &BTreeSet<PathBuf>) {
        let Some(inotify) = &self.inotify else { return };
        for (_, descriptor) in self.directories.extract_if(|path, _| !wanted.contains(path)) {
            let _ = inotify::remove_watch(inotify, descriptor);
        }
        self.blind.clear();
        let mut failed = None;
        for path in wanted {
            match add_directory(inotify, path) {
                Ok(descriptor) => {
                    self.directories.insert(path.clone(), descriptor);
                }
                // Its parent is watched, or it is looked for again in time.
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(cause) => {
                    self.blind.insert(path.clone());
                    failed = Some(limit(cause));
                }
            }
        }
        if let Some(failed) = failed {
            self.tell(&failed);
        }
    }

    /// Says once why something is looked at by the clock.
    fn tell(&mut self, why: &str) {
        if self.told.insert(why.to_owned()) {
            tracing::warn!(target: "fail2ban.filterpyinotify",
                "some log files are looked at {} times a second instead of when they change: {why}",
                Duration::from_secs(1).div_duration_f64(super::POLL).round());
        }
    }

    /// What happened since the last call.
    pub(super) fn events(&mut self) -> Events {
        let mut events = Events::default();
        let Some(inotify) = &self.inotify else { return events };
        let mut buffer = [MaybeUninit::uninit(); 16 << 10];
        let mut reader = inotify::Reader::new(inotify, &mut buffer);
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => break,
                Err(_) => {
                    events.lost = true;
                    break;
                }
            };
            let flags = event.events();
            events.lost |= flags.contains(ReadFlags::QUEUE_OVERFLOW);
            match self.identities.get(&event.wd()) {
                Some(identity) => {
                    events.files.insert(*identity);
                    // Renamed or deleted: another file may lie at its path.
                    events.directories |= flags.intersects(
                        ReadFlags::MOVE_SELF | ReadFlags::DELETE_SELF | ReadFlags::ATTRIB,
                    );
                    if flags.contains(ReadFlags::IGNORED)
                        && let Some(identity) = self.identities.remove(&event.wd())
                    {
                        self.files.remove(&identity);
                    }
                }
                None => events.directories = true,
            }
        }
        events
    }

    /// Waits for an event, for `stop`, or until the time is over.
    pub(super) fn wait(&self, stop: &Stop, time: Duration, with_events: bool) {
        let mut descriptors = vec![PollFd::new(&stop.0, PollFlags::IN)];
        if let Some(inotify) = self.inotify.as_ref().filter(|_| with_events) {
            descriptors.push(PollFd::from_borrowed_fd(inotify.as_fd(), PollFlags::IN));
        }
        let time = Timespec::try_from(time).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
        // Whatever it says, the next thing is to look.
        let _ = poll(&mut descriptors, Some(&time));
    }
}

fn add_directory(inotify: &OwnedFd, path: &Path) -> Result<i32, Errno> {
    let flags = WatchFlags::CREATE
        | WatchFlags::MOVED_TO
        | WatchFlags::MOVED_FROM
        | WatchFlags::DELETE
        | WatchFlags::MOVE_SELF
        | WatchFlags::DELETE_SELF
        | WatchFlags::ONLYDIR;
    inotify::add_watch(inotify, path, flags)
}

fn limit(cause: Errno) -> String {
    match cause {
        Errno::NOSPC => "no more inotify watches: raise fs.inotify.max_user_watches".to_owned(),
        cause => format!("inotify: {cause}"),
    }
}

/// The name of the network file system that a file lies on.
fn network(file: &File) -> Option<&'static str> {
    let found = rustix::fs::fstatfs(file).ok()?.f_type;
    NETWORK.iter().find(|(number, _)| *number == found).map(|(_, name)| *name)
}

/// Ends a wait from another thread.
#[derive(Debug)]
pub(super) struct Stop(OwnedFd);

impl Stop {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// Every wait ends at once from now on.
    pub(super) fn tell(&self) {
        // It can fail only when it is told already.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    pub(super) fn is_told(&self) -> bool {
        let mut descriptors = [PollFd::new(&self.0, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut descriptors, Some(&now)).is_ok_and(|ready| ready > 0)
    }
}

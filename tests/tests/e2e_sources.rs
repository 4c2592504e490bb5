//! A real journal that is rotated, vacuumed, damaged, written by a daemon that is restarted
//! and killed, and belongs to another boot and another machine afterwards: each failure that
//! was written is found once, counted against the writer's own list.
//!
//! The clock's steps are in the reader's own tests: here the clock is everybody's.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use guard_tests::deadline::wait_until;
use guard_tests::installed::{Installed, UNIT};
use guard_tests::root::Suite;

const PATIENCE: Duration = Duration::from_secs(60);
/// Between two failures of the stream: journald takes so many without limiting their rate.
const PACE: Duration = Duration::from_millis(4);
/// Failures of the stream before and after what is done to the journal, at least.
const AROUND: usize = 50;

/// The host and the failures that its daemon was given to log, by their number.
struct Source {
    guarded: Installed,
    written: AtomicUsize,
}

#[test]
fn nothing_is_missed_or_counted_twice() -> Result<()> {
    let mut source =
        Source { guarded: Installed::booted(Suite::Bookworm, "nft")?, written: 0.into() };
    source.write(AROUND)?;
    source.all_found_once("at first")?;

    source.while_written("rotated", |source| {
        for _ in 0..3 {
            source.journalctl(&["--rotate"])?;
        }
        Ok(())
    })?;
    source.while_written("journald restarted", |source| {
        source.guarded.host.exec(&["systemctl", "restart", "systemd-journald"]).map(drop)
    })?;
    source.while_written("journald killed", |source| {
        let kill = ["systemctl", "kill", "--signal=KILL", "systemd-journald"];
        source.guarded.host.exec(&kill)?;
        source.journald_answers()
    })?;
    // Whatever was read can go while more is written.
    source.while_written("vacuumed", |source| {
        source.journalctl(&["--rotate"])?;
        source.all_found()?;
        source.journalctl(&["--vacuum-files=1"])
    })?;

    source.journalctl(&["--rotate"])?;
    source.write(AROUND)?;
    source.all_found_once("before damage")?;
    source.while_written("archives damaged", |source| {
        let archives = source.archives()?;
        ensure!(!archives.is_empty(), "no archived file");
        let cut = fs::File::options().write(true).open(&archives[0])?;
        cut.set_len(cut.metadata()?.len() / 2)?;
        let directory = archives[0].parent().context("its directory")?;
        fs::write(directory.join("system@noise.journal"), [0xa5; 8_192])?;
        fs::write(directory.join("system@empty.journal"), [])?;
        Ok(())
    })?;
    source.while_written("the journal damaged", |source| {
        source.all_found()?;
        overwrite_middle(&source.active()?)
    })?;

    source.guarded.host.exec(&["systemctl", "stop", UNIT])?;
    source.write(AROUND)?;
    source.journalctl(&["--rotate"])?;
    source.write(AROUND)?;
    source.guarded.host.exec(&["systemctl", "restart", "systemd-journald"])?;
    source.write(AROUND)?;
    source.guarded.host.exec(&["systemctl", "start", UNIT])?;
    source.all_found_once("without the agent")?;

    source.write(AROUND)?;
    source.guarded.host.reboot()?;
    source.guarded.wait_until_active()?;
    source.write(AROUND)?;
    source.all_found_once("after a reboot")?;

    // Unread, in a file that nobody closed.
    source.guarded.host.exec(&["systemctl", "stop", UNIT])?;
    source.write(AROUND)?;
    source.guarded.host.cut_power()?;
    source.guarded.host.boot()?;
    source.guarded.wait_until_active()?;
    source.write(AROUND)?;
    source.all_found_once("after a power cut")?;

    source.guarded.host.shut_down()?;
    let id = source.guarded.host.root().join("etc/machine-id");
    let before = fs::read_to_string(&id)?;
    fs::write(&id, "0123456789abcdef0123456789abcdef\n")?;
    ensure!(fs::read_to_string(&id)? != before);
    source.guarded.host.boot()?;
    source.guarded.wait_until_active()?;
    source.write(AROUND)?;
    source.all_found_once("as another machine")
}

impl Source {
    /// Has the daemon log failures, each of another source, and waits until it has.
    fn write(&self, count: usize) -> Result<()> {
        for _ in 0..count {
            self.write_one()?;
        }
        Ok(())
    }

    fn write_one(&self) -> Result<()> {
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let line =
            format!("authentication failure; rhost={} user=root@pam msg=no", address(number));
        self.guarded.host.pvedaemon_says(&line)
    }

    /// Does something to the journal in the middle of a stream of failures.
    fn while_written(&self, what: &str, action: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        let ended = AtomicBool::new(false);
        let before = self.written.load(Ordering::Relaxed);
        thread::scope(|scope| {
            let writing = scope.spawn(|| -> Result<()> {
                while !ended.load(Ordering::Relaxed) {
                    self.write_one()?;
                    // The stream's pace; nothing is waited for.
                    thread::sleep(PACE);
                }
                Ok(())
            });
            let enough = |than: usize| {
                wait_until("the stream", PATIENCE, || {
                    Ok(self.written.load(Ordering::Relaxed) >= than + AROUND)
                })
            };
            let done = enough(before)
                .and_then(|()| action(self))
                .and_then(|()| enough(self.written.load(Ordering::Relaxed)));
            ended.store(true, Ordering::Relaxed);
            writing.join().map_err(|_| anyhow!("the writer panicked"))??;
            done
        })
        .with_context(|| what.to_owned())?;
        self.all_found_once(what)
    }

    /// How often each failure was found, by the agent's log.
    fn found(&self) -> Result<BTreeMap<String, usize>> {
        let mut found = BTreeMap::new();
        for line in self.guarded.log()?.lines() {
            if let Some((_, rest)) = line.split_once("[proxmox] Found ")
                && let Some((source, _)) = rest.split_once(' ')
            {
                *found.entry(source.to_owned()).or_default() += 1;
            }
        }
        Ok(found)
    }

    /// Waits until what has been written so far is found.
    fn all_found(&self) -> Result<()> {
        let written = self.written.load(Ordering::Relaxed);
        wait_until("the failures are found", PATIENCE, || Ok(self.found()?.len() >= written))
    }

    /// Sees that each failure was found, and once. What is found twice is found before the
    /// last one of all.
    fn all_found_once(&self, what: &str) -> Result<()> {
        self.write(1)?;
        let ended = self.all_found();
        let (found, written) = (self.found()?, self.written.load(Ordering::Relaxed));
        let missed: Vec<_> =
            (0..written).map(address).filter(|a| !found.contains_key(&a.to_string())).collect();
        ensure!(
            missed.is_empty(),
            "{what}: of {written}, {} were missed: {missed:?}\n{}\n{}",
            missed.len(),
            self.guarded.host.exec(&[
                "journalctl",
                "--lines=5",
                "--output=verbose",
                "--unit=pvedaemon"
            ])?,
            self.guarded.log()?
        );
        let twice: Vec<_> = found.iter().filter(|(_, times)| **times != 1).collect();
        ensure!(twice.is_empty(), "{what}: of {written}, found more than once: {twice:?}");
        println!("{what}: {written} of {written} found once");
        ended
    }

    fn journalctl(&self, words: &[&str]) -> Result<()> {
        let words = [&["journalctl", "--quiet"], words].concat();
        self.guarded.host.exec(&words).map(drop)
    }

    fn journald_answers(&self) -> Result<()> {
        wait_until("journald is back", PATIENCE, || {
            Ok(self.guarded.host.unit("systemd-journald", "ActiveState")? == "active")
        })
    }

    /// The journal's directory, seen from outside.
    fn directory(&self) -> Result<PathBuf> {
        let id = fs::read_to_string(self.guarded.host.inside("/etc/machine-id")?)?;
        self.guarded.host.inside(&format!("/var/log/journal/{}", id.trim()))
    }

    fn active(&self) -> Result<PathBuf> {
        Ok(self.directory()?.join("system.journal"))
    }

    fn archives(&self) -> Result<Vec<PathBuf>> {
        let mut archives = Vec::new();
        for entry in fs::read_dir(self.directory()?)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with("system@") {
                archives.push(path);
            }
        }
        archives.sort();
        Ok(archives)
    }
}

/// The source of a failure.
fn address(number: usize) -> Ipv4Addr {
    let number = u32::try_from(number).unwrap_or(u32::MAX);
    Ipv4Addr::from_bits(u32::from(Ipv4Addr::new(198, 18, 0, 1)).saturating_add(number))
}

/// Writes over what lies between a file's header and its end.
fn overwrite_middle(path: &Path) -> Result<()> {
    let mut file = fs::File::options().read(true).write(true).open(path)?;
    let mut header = [0; 144];
    file.read_exact(&mut header)?;
    ensure!(header.starts_with(b"LPKSHHRH"), "not a journal file: {}", path.display());
    // Its tail object's offset: what lies before was written a while ago.
    let tail = u64::from_le_bytes(header[136..144].try_into()?);
    file.seek(SeekFrom::Start(tail / 2))?;
    file.write_all(&vec![0xa5; usize::try_from(tail / 4)?])?;
    Ok(())
}

//! Real journal files, written entry by entry through `systemd-journal-remote`.
//!
//! Input: [`Record`]s. Output: a directory of `*.journal` files, as journald writes
//! them, that a reader can follow while it grows. Invariant: an entry is written in
//! the order of the calls; its fields are exactly those of the record and the three
//! that place it in time.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{fs, iter};

use anyhow::{Context, Result, bail};

use crate::deadline::wait_until;

/// Debian does not put it on the path.
const PROGRAMS: [&str; 2] =
    ["/usr/lib/systemd/systemd-journal-remote", "/lib/systemd/systemd-journal-remote"];

/// One entry to be written.
#[derive(Clone, Debug)]
pub struct Record {
    fields: Vec<(String, String)>,
    time: Option<SystemTime>,
}

impl Record {
    /// What `program`, run by root in `unit` as process `pid`, says.
    pub fn new(unit: &str, program: &str, pid: u32, message: &str) -> Self {
        let pid = pid.to_string();
        let fields = [
            ("_UID", "0"),
            ("_GID", "0"),
            ("_SYSTEMD_UNIT", unit),
            ("_COMM", program),
            ("SYSLOG_IDENTIFIER", program),
            ("_PID", &pid),
            ("SYSLOG_PID", &pid),
            ("_HOSTNAME", "pve"),
            ("_TRANSPORT", "syslog"),
            ("PRIORITY", "6"),
            ("MESSAGE", message),
        ];
        let fields =
            fields.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self { fields, time: None }
    }

    /// What OpenSSH's server says.
    pub fn sshd(pid: u32, message: &str) -> Self {
        Self::new("ssh.service", "sshd", pid, message)
    }

    /// What Proxmox VE's API daemon says.
    pub fn pvedaemon(pid: u32, message: &str) -> Self {
        Self::new("pvedaemon.service", "pvedaemon", pid, message)
    }

    /// The same with one field set otherwise.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self = self.without(name);
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same without one field.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.fields.retain(|(other, _)| other != name);
        self
    }

    /// The same, logged at another time than when it is written.
    #[must_use]
    pub fn at(mut self, time: SystemTime) -> Self {
        self.time = Some(time);
        self
    }
}

/// A directory of journal files that grows.
#[derive(Debug)]
pub struct JournalFiles {
    directory: PathBuf,
    boot: String,
    monotonic: u64,
    files: u32,
    writer: Option<Writer>,
}

#[derive(Debug)]
struct Writer {
    child: Child,
    pipe: ChildStdin,
}

impl JournalFiles {
    /// Makes `directory` with one journal file without entries.
    ///
    /// # Errors
    /// Without `systemd-journal-remote` (a Debian package of that name).
    pub fn new(directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory)?;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .context("read this boot's id")?
            .trim()
            .replace('-', "");
        let mut files =
            Self { directory: directory.to_owned(), boot, monotonic: 0, files: 0, writer: None };
        files.rotate()?;
        Ok(files)
    }

    /// Where the files are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Ends the current file and goes on in a new one.
    ///
    /// # Errors
    /// When the writer cannot be started.
    pub fn rotate(&mut self) -> Result<()> {
        self.finish()?;
        let Some(program) = PROGRAMS.iter().find(|program| Path::new(program).exists()) else {
            bail!("systemd-journal-remote is missing: apt-get install systemd-journal-remote");
        };
        let file = self.directory.join(format!("host-{}.journal", self.files));
        self.files += 1;
        let mut child = Command::new(program)
            .arg(format!("--output={}", file.display()))
            .args(["--split-mode=none", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("start systemd-journal-remote")?;
        let pipe = child.stdin.take().context("standard input of systemd-journal-remote")?;
        self.writer = Some(Writer { child, pipe });
        wait_until("a journal file", Duration::from_secs(10), || Ok(file.exists()))
    }

    /// Hands entries to the writer, which appends them at once.
    ///
    /// # Errors
    /// When the writer is gone.
    pub fn append<'a>(&mut self, records: impl IntoIterator<Item = &'a Record>) -> Result<()> {
        let mut text = Vec::new();
        for record in records {
            self.monotonic += 1;
            let time = record.time.unwrap_or_else(SystemTime::now);
            let micros = time.duration_since(UNIX_EPOCH).context("a time before 1970")?.as_micros();
            let place = [
                ("__REALTIME_TIMESTAMP", micros.to_string()),
                ("__MONOTONIC_TIMESTAMP", self.monotonic.to_string()),
                ("_BOOT_ID", self.boot.clone()),
            ];
            for (name, value) in &place {
                put(&mut text, name, value)?;
            }
            for (name, value) in &record.fields {
                put(&mut text, name, value)?;
            }
            text.push(b'\n');
        }
        let writer = self.writer.as_mut().context("the journal has been ended")?;
        writer.pipe.write_all(&text).context("write to systemd-journal-remote")
    }

    /// Hands one entry to the writer.
    ///
    /// # Errors
    /// As [`JournalFiles::append`].
    pub fn append_one(&mut self, record: &Record) -> Result<()> {
        self.append(iter::once(record))
    }

    /// Ends the current file: all that was handed over is in it.
    ///
    /// # Errors
    /// When the writer complains.
    pub fn finish(&mut self) -> Result<()> {
        let Some(Writer { mut child, pipe }) = self.writer.take() else { return Ok(()) };
        drop(pipe);
        let status = child.wait().context("wait for systemd-journal-remote")?;
        if !status.success() {
            bail!("systemd-journal-remote ended with {status}");
        }
        Ok(())
    }
}

impl Drop for JournalFiles {
    fn drop(&mut self) {
        self.finish().ok();
    }
}

/// One field in the journal's export format; its binary form where there is a newline.
fn put(text: &mut Vec<u8>, name: &str, value: &str) -> Result<()> {
    text.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        text.push(b'\n');
        text.extend_from_slice(&u64::try_from(value.len())?.to_le_bytes());
    } else {
        text.push(b'=');
    }
    text.extend_from_slice(value.as_bytes());
    text.push(b'\n');
    Ok(())
}

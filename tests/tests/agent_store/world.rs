//! A host with a small disk for the agent's state, and what is to hold on it.
//!
//! Input: what the tests do to the disk. Output: what connections, `guardctl` and the store
//! say. Invariant: the attacker is banned before anything goes wrong.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use guard::store::Store;
use guard_tests::agent::{Agent, PATIENCE, beside_this_program};
use guard_tests::deadline::wait_until;
use guard_tests::journal_files::{JournalFiles, Record};
use guard_tests::lan::{ATTACKER, ATTACKER_V6, HOST, HOST_V6, Lan, NEIGHBOUR, NEIGHBOUR_V6};
use guard_tests::probe::{self, Answer, Service, connect};
use rusqlite::Connection;
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};

pub(crate) const SSH: u16 = 22;
/// Banned by hand in the middle of it.
pub(crate) const BY_HAND: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
/// What no database of guard's has.
pub(crate) const GARBAGE: u8 = 0xa5;
/// Where SQLite's header has the number of guard's format.
pub(crate) const FORMAT: u64 = 60;

/// A small disk at the place of the agent's state.
pub(crate) struct Disk(pub(crate) PathBuf);

impl Disk {
    pub(crate) fn new(place: PathBuf) -> Result<Self> {
        mount("guard-test", &place, "tmpfs", MountFlags::empty(), Some(c"size=4m,mode=0700"))
            .context("mount a small disk (this needs root)")?;
        Ok(Self(place))
    }

    /// Takes all the room that is left.
    pub(crate) fn fill(&self) -> Result<()> {
        let mut file = File::create(self.0.join("filling"))?;
        loop {
            match file.write(&[0; 4096]) {
                Ok(_) => {}
                Err(error) if Errno::from_io_error(&error) == Some(Errno::NOSPC) => return Ok(()),
                Err(error) => return Err(error).context("fill the disk"),
            }
        }
    }

    pub(crate) fn make_room(&self) -> Result<()> {
        fs::remove_file(self.0.join("filling")).context("make room on the disk")
    }

    pub(crate) fn read_only(&self, is_so: bool) -> Result<()> {
        let flags = if is_so { MountFlags::RDONLY } else { MountFlags::empty() };
        mount_remount(&self.0, flags, c"size=4m,mode=0700").context("remount the disk")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        unmount(&self.0, UnmountFlags::DETACH).ok();
    }
}

/// A host whose journal the test writes, and where the attacker is banned already.
pub(crate) struct World<'lan> {
    pub(crate) lan: &'lan Lan,
    pub(crate) journal: JournalFiles,
    pub(crate) _service: Service,
    // Before the agent, whose directory it lies in.
    pub(crate) disk: Disk,
    pub(crate) agent: Agent<'lan>,
    pub(crate) _directory: tempfile::TempDir,
}

impl<'lan> World<'lan> {
    pub(crate) fn new(lan: &'lan Lan, backend: &str) -> Result<Self> {
        let service = Service::listen(&lan.host, SSH)?;
        let directory = tempfile::tempdir()?;
        let journal = JournalFiles::new(&directory.path().join("journal"))?;
        let agent = Agent::new(&lan.host, beside_this_program()?)?
            .setting("backend", &format!("\"{backend}\""))
            .journal(journal.directory());
        agent.copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/guide"))?;
        let disk = Disk::new(agent.path("state"))?;
        let mut world =
            Self { lan, journal, _service: service, disk, agent, _directory: directory };
        world.agent.start()?;
        world.fail_until_banned(ATTACKER)?;
        world.wait_until_stored(&[ATTACKER])?;
        Ok(world)
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.agent.path("state/guard.sqlite3")
    }

    pub(crate) fn fail(&mut self, source: IpAddr, times: u32) -> Result<()> {
        for time in 0..times {
            let message =
                format!("Failed password for root from {source} port {} ssh2", 4000 + time);
            self.journal.append_one(&Record::sshd(2000 + time, &message))?;
        }
        Ok(())
    }

    /// It fails so many times more, and then it is found `all` times in the log.
    pub(crate) fn has_failed(&mut self, source: IpAddr, more: u32, all: usize) -> Result<()> {
        self.fail(source, more)?;
        wait_until("all failures are found", PATIENCE, || {
            Ok(self.agent.log()?.matches(&format!("Found {source} ")).count() == all)
        })
    }

    pub(crate) fn fail_until_banned(&mut self, source: IpAddr) -> Result<()> {
        self.fail(source, 3)?;
        self.agent.wait_for_log(&format!("[sshd] Ban {source}"), PATIENCE)?;
        self.wait_for_answer(source, false)
    }

    /// Others fail until the agent has noticed that it cannot store that.
    pub(crate) fn fail_until_refused(&mut self) -> Result<()> {
        let mut number = 0;
        wait_until("the store refuses", PATIENCE, || {
            number += 1;
            self.fail(IpAddr::from(Ipv4Addr::from_bits(0xc612_0000 + number)), 1)?;
            Ok(self.agent.log()?.contains("cannot write the store"))
        })
    }

    pub(crate) fn answer(&self, source: IpAddr) -> Result<Answer> {
        let host = if source.is_ipv4() { HOST } else { HOST_V6 };
        connect(&self.lan.outside, source, SocketAddr::new(host, SSH), probe::SILENCE)
    }

    pub(crate) fn wait_for_answer(&self, source: IpAddr, open: bool) -> Result<()> {
        wait_until(&format!("{source}: open {open}"), PATIENCE, || {
            Ok((self.answer(source)? == Answer::Connected) == open)
        })
        .with_context(|| self.agent.log().unwrap_or_default())
    }

    /// What `status` says is wrong, as JSON has it.
    pub(crate) fn problems(&self) -> Result<Vec<String>> {
        let status = self.agent.guardctl(&["--json", "status"])?;
        let status: serde_json::Value = serde_json::from_str(&status)?;
        let problems = status["problems"].as_array().context("no list of problems")?;
        Ok(problems.iter().filter_map(|one| Some(one.as_str()?.to_owned())).collect())
    }

    /// Both forms of `status` say it, and both name what it is about.
    pub(crate) fn says(&self, problem: &str, about: &Path) -> Result<()> {
        let about = about.display().to_string();
        let is_it = |text: &String| text.contains(problem) && text.contains(&about);
        let problems = self.problems()?;
        ensure!(problems.iter().any(is_it), "no {problem:?} of {about} in {problems:?}");
        let output = self.agent.guardctl_output(&["status"])?;
        ensure!(output.status.success(), "{output:?}");
        // What is wrong is talk.
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(is_it(&text), "no {problem:?} of {about} in {text}");
        Ok(())
    }

    /// All that holds while the store cannot be used.
    pub(crate) fn works_without_store(&mut self, problem: &str) -> Result<()> {
        self.wait_for_answer(ATTACKER, false)?;
        ensure!(self.answer(NEIGHBOUR)? == Answer::Connected, "the neighbour is cut off");
        self.fail_until_banned(ATTACKER_V6)?;
        ensure!(self.answer(NEIGHBOUR_V6)? == Answer::Connected, "the neighbour is cut off");
        let output = self.agent.guardctl_output(&["ban", "sshd", &BY_HAND.to_string()])?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(1), "{output:?}");
        ensure!(said.contains("done, but not stored yet") && said.contains(problem), "{said}");
        let bans = self.agent.guardctl(&["bans", "list"])?;
        for banned in [ATTACKER, ATTACKER_V6, BY_HAND] {
            ensure!(bans.contains(&format!("{banned} ")), "{banned} is not in\n{bans}");
        }
        ensure!(!bans.contains("NOT ENFORCED"), "{bans}");
        self.says(problem, &self.store())
    }

    /// It is over: all of it is stored, and nothing is said to be wrong any more.
    pub(crate) fn recovers(&mut self, banned: &[IpAddr]) -> Result<()> {
        self.agent.wait_for_log("the store works again", PATIENCE)?;
        self.wait_until_stored(banned)?;
        let store = self.store().display().to_string();
        let wrong: Vec<String> = self.problems()?;
        let wrong: Vec<_> = wrong.iter().filter(|one| one.contains(&store)).collect();
        ensure!(wrong.iter().all(|one| one.contains("was put aside")), "{wrong:?}");
        for banned in banned.iter().filter(|banned| [ATTACKER, ATTACKER_V6].contains(banned)) {
            ensure!(self.answer(*banned)? != Answer::Connected, "{banned} got in");
        }
        ensure!(self.answer(NEIGHBOUR)? == Answer::Connected, "the neighbour is cut off");
        Ok(())
    }

    pub(crate) fn wait_until_stored(&self, banned: &[IpAddr]) -> Result<()> {
        let banned: BTreeSet<String> = banned.iter().map(ToString::to_string).collect();
        let mut found = BTreeSet::new();
        let stored = wait_until("the bans are stored", PATIENCE, || {
            found = self.stored()?;
            Ok(found == banned)
        });
        stored.with_context(|| format!("stored are {found:?}, not {banned:?}"))
    }

    pub(crate) fn stored(&self) -> Result<BTreeSet<String>> {
        let bans = Store::open_existing(&self.store())?.bans()?;
        Ok(bans.iter().map(|ban| ban.source.to_string()).collect())
    }

    /// Where the damaged store is.
    pub(crate) fn put_aside(&self) -> Result<PathBuf> {
        let line = self.agent.wait_for_log("was put aside", PATIENCE)?;
        let place = line.rsplit(" as ").next().context("no name")?;
        Ok(PathBuf::from(place.trim()))
    }
}

/// Overwrites a file from its first byte to its last; what it is then.
pub(crate) fn overwrite(path: &Path) -> Result<Vec<u8>> {
    let file = OpenOptions::new().write(true).open(path)?;
    let garbage = vec![GARBAGE; usize::try_from(file.metadata()?.len())?];
    ensure!(!garbage.is_empty(), "{} is empty", path.display());
    file.write_all_at(&garbage, 0)?;
    Ok(garbage)
}

/// Overwrites the first page of a table; what the file is then.
pub(crate) fn overwrite_table(path: &Path, table: &str) -> Result<Vec<u8>> {
    let database = Connection::open(path)?;
    let page_size: u32 = database.pragma_query_value(None, "page_size", |row| row.get(0))?;
    let sql = "SELECT rootpage FROM sqlite_schema WHERE name = ?1";
    let page: u32 = database.query_row(sql, [table], |row| row.get(0))?;
    drop(database);
    let garbage = vec![GARBAGE; usize::try_from(page_size)?];
    let file = OpenOptions::new().write(true).open(path)?;
    file.write_all_at(&garbage, u64::from(page - 1) * u64::from(page_size))?;
    fs::read(path).context("read the damaged store")
}

pub(crate) fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

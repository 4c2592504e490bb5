//! The agent while its store is full, read-only, locked, damaged or of a newer guard.
//!
//! Whatever it is: who is banned stays out and the neighbour gets in, new bans are made and
//! enforced, `status` says what is wrong, and once it is over the store has everything
//! without anybody's help. A damaged or newer file is not changed by a single byte.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use guard::store::Store;
use guard_tests::agent::{Agent, PATIENCE, beside_this_program};
use guard_tests::deadline::{wait_for, wait_until};
use guard_tests::journal_files::{JournalFiles, Record};
use guard_tests::lan::{ATTACKER, ATTACKER_V6, HOST, HOST_V6, Lan, NEIGHBOUR, NEIGHBOUR_V6};
use guard_tests::probe::{self, Answer, Service, connect};
use rusqlite::Connection;
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};

const SSH: u16 = 22;
/// Banned by hand in the middle of it.
const BY_HAND: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
/// What no database of guard's has.
const GARBAGE: u8 = 0xa5;
/// Where SQLite's header has the number of guard's format.
const FORMAT: u64 = 60;

/// A small disk at the place of the agent's state.
struct Disk(PathBuf);

impl Disk {
    fn new(place: PathBuf) -> Result<Self> {
        mount("guard-test", &place, "tmpfs", MountFlags::empty(), Some(c"size=4m,mode=0700"))
            .context("mount a small disk (this needs root)")?;
        Ok(Self(place))
    }

    /// Takes all the room that is left.
    fn fill(&self) -> Result<()> {
        let mut file = File::create(self.0.join("filling"))?;
        loop {
            match file.write(&[0; 4096]) {
                Ok(_) => {}
                Err(error) if Errno::from_io_error(&error) == Some(Errno::NOSPC) => return Ok(()),
                Err(error) => return Err(error).context("fill the disk"),
            }
        }
    }

    fn make_room(&self) -> Result<()> {
        fs::remove_file(self.0.join("filling")).context("make room on the disk")
    }

    fn read_only(&self, is_so: bool) -> Result<()> {
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
struct World<'lan> {
    lan: &'lan Lan,
    journal: JournalFiles,
    _service: Service,
    // Before the agent, whose directory it lies in.
    disk: Disk,
    agent: Agent<'lan>,
    _directory: tempfile::TempDir,
}

impl<'lan> World<'lan> {
    fn new(lan: &'lan Lan, backend: &str) -> Result<Self> {
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

    fn store(&self) -> PathBuf {
        self.agent.path("state/guard.sqlite3")
    }

    fn fail(&mut self, source: IpAddr, times: u32) -> Result<()> {
        for time in 0..times {
            let message =
                format!("Failed password for root from {source} port {} ssh2", 4000 + time);
            self.journal.append_one(&Record::sshd(2000 + time, &message))?;
        }
        Ok(())
    }

    fn fail_until_banned(&mut self, source: IpAddr) -> Result<()> {
        self.fail(source, 3)?;
        self.agent.wait_for_log(&format!("[sshd] Ban {source}"), PATIENCE)?;
        self.wait_for_answer(source, false)
    }

    /// Others fail until the agent has noticed that it cannot store that.
    fn fail_until_refused(&mut self) -> Result<()> {
        let mut number = 0;
        wait_until("the store refuses", PATIENCE, || {
            number += 1;
            self.fail(IpAddr::from(Ipv4Addr::from_bits(0xc612_0000 + number)), 1)?;
            Ok(self.agent.log()?.contains("cannot write the store"))
        })
    }

    fn answer(&self, source: IpAddr) -> Result<Answer> {
        let host = if source.is_ipv4() { HOST } else { HOST_V6 };
        connect(&self.lan.outside, source, SocketAddr::new(host, SSH), probe::SILENCE)
    }

    fn wait_for_answer(&self, source: IpAddr, open: bool) -> Result<()> {
        wait_until(&format!("{source}: open {open}"), PATIENCE, || {
            Ok((self.answer(source)? == Answer::Connected) == open)
        })
        .with_context(|| self.agent.log().unwrap_or_default())
    }

    /// What `status` says is wrong, as JSON has it.
    fn problems(&self) -> Result<Vec<String>> {
        let status = self.agent.guardctl(&["--json", "status"])?;
        let status: serde_json::Value = serde_json::from_str(&status)?;
        let problems = status["problems"].as_array().context("no list of problems")?;
        Ok(problems.iter().filter_map(|one| Some(one.as_str()?.to_owned())).collect())
    }

    /// Both forms of `status` say it, and both name what it is about.
    fn says(&self, problem: &str, about: &Path) -> Result<()> {
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
    fn works_without_store(&mut self, problem: &str) -> Result<()> {
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
    fn recovers(&mut self, banned: &[IpAddr]) -> Result<()> {
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

    fn wait_until_stored(&self, banned: &[IpAddr]) -> Result<()> {
        let banned: BTreeSet<String> = banned.iter().map(ToString::to_string).collect();
        let mut found = BTreeSet::new();
        let stored = wait_until("the bans are stored", PATIENCE, || {
            found = self.stored()?;
            Ok(found == banned)
        });
        stored.with_context(|| format!("stored are {found:?}, not {banned:?}"))
    }

    fn stored(&self) -> Result<BTreeSet<String>> {
        let bans = Store::open_existing(&self.store())?.bans()?;
        Ok(bans.iter().map(|ban| ban.source.to_string()).collect())
    }

    /// Where the damaged store is.
    fn put_aside(&self) -> Result<PathBuf> {
        let line = self.agent.wait_for_log("was put aside", PATIENCE)?;
        let place = line.rsplit(" as ").next().context("no name")?;
        Ok(PathBuf::from(place.trim()))
    }
}

/// Overwrites a file from its first byte to its last; what it is then.
fn overwrite(path: &Path) -> Result<Vec<u8>> {
    let file = OpenOptions::new().write(true).open(path)?;
    let garbage = vec![GARBAGE; usize::try_from(file.metadata()?.len())?];
    ensure!(!garbage.is_empty(), "{} is empty", path.display());
    file.write_all_at(&garbage, 0)?;
    Ok(garbage)
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

#[test]
fn a_full_disk_keeps_nobody_in() -> Result<()> {
    let lan = Lan::new()?;
    let mut world = World::new(&lan, "xdp")?;
    world.disk.fill()?;
    world.fail_until_refused()?;
    world.works_without_store("full")?;
    // Whoever is locked out need not wait for the disk.
    let output = world.agent.guardctl_output(&["unban", "sshd", &ATTACKER.to_string()])?;
    ensure!(output.status.code() == Some(1), "{output:?}");
    world.wait_for_answer(ATTACKER, true)?;
    ensure!(world.answer(ATTACKER_V6)? != Answer::Connected, "nobody let it in");
    world.disk.make_room()?;
    world.recovers(&[ATTACKER_V6, BY_HAND])?;
    ensure!(world.answer(ATTACKER)? == Answer::Connected, "it was let in");
    world.agent.stop()
}

#[test]
fn an_agent_that_dies_with_a_full_disk_loses_what_was_by_hand_alone() -> Result<()> {
    let lan = Lan::new()?;
    let mut world = World::new(&lan, "nft")?;
    world.disk.fill()?;
    world.fail_until_refused()?;
    world.works_without_store("full")?;
    world.agent.kill()?;
    ensure!(world.answer(ATTACKER_V6)? != Answer::Connected, "the kernel let it in");
    world.agent.start()?;
    // From the journal, where the store's position is.
    world.wait_for_answer(ATTACKER_V6, false)?;
    world.wait_for_answer(ATTACKER, false)?;
    // What the dead one left in the log may have made room: whether or not it is refused now.
    world.disk.make_room()?;
    world.wait_until_stored(&[ATTACKER, ATTACKER_V6])?;
    ensure!(world.answer(NEIGHBOUR)? == Answer::Connected, "the neighbour is cut off");
    world.agent.stop()
}

#[test]
fn a_read_only_disk_is_read_and_written_when_that_is_over() -> Result<()> {
    let lan = Lan::new()?;
    let mut world = World::new(&lan, "xdp")?;
    world.fail(NEIGHBOUR_V6, 1)?;
    world.agent.wait_for_log(&format!("Found {NEIGHBOUR_V6}"), PATIENCE)?;
    world.agent.stop()?;
    // Not even the kernel has it: only the store can say it.
    world.agent.guardctl(&["detach"])?;
    world.agent.guardctl(&["attach"])?;
    world.wait_for_answer(ATTACKER, true)?;
    world.disk.read_only(true)?;
    world.agent.start()?;
    world.works_without_store("cannot write the store")?;
    world.disk.read_only(false)?;
    world.recovers(&[ATTACKER, ATTACKER_V6, BY_HAND])?;
    // One before, two after: the failure that was stored counts.
    world.fail(NEIGHBOUR_V6, 1)?;
    wait_until("the second is found", PATIENCE, || {
        let log = world.agent.log()?;
        Ok(log.matches(&format!("Found {NEIGHBOUR_V6} ")).count() == 2)
    })?;
    ensure!(world.answer(NEIGHBOUR_V6)? == Answer::Connected, "one too early");
    world.fail(NEIGHBOUR_V6, 1)?;
    world.wait_for_answer(NEIGHBOUR_V6, false)?;
    world.agent.stop()
}

#[test]
fn a_store_that_another_writes_holds_up_no_ban() -> Result<()> {
    let lan = Lan::new()?;
    let mut world = World::new(&lan, "xdp")?;
    let other = Connection::open(world.store())?;
    other.execute_batch("BEGIN IMMEDIATE")?;
    world.works_without_store("locked")?;
    other.execute_batch("ROLLBACK")?;
    drop(other);
    world.recovers(&[ATTACKER, ATTACKER_V6, BY_HAND])?;
    world.agent.stop()
}

#[test]
fn a_store_that_another_has_for_itself_at_the_start_is_made_up_for_by_the_kernel() -> Result<()> {
    let lan = Lan::new()?;
    for backend in ["xdp", "nft"] {
        let mut world = World::new(&lan, backend)?;
        world.agent.stop()?;
        let other = Connection::open(world.store())?;
        other.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE")?;
        world.agent.start()?;
        world.works_without_store("locked")?;
        other.execute_batch("ROLLBACK")?;
        drop(other);
        world.recovers(&[ATTACKER, ATTACKER_V6, BY_HAND])?;
        world.agent.stop()?;
    }
    Ok(())
}

#[test]
fn a_store_of_a_newer_guard_is_left_as_it_is() -> Result<()> {
    let lan = Lan::new()?;
    for backend in ["xdp", "nft"] {
        let mut world = World::new(&lan, backend)?;
        world.agent.stop()?;
        let store = world.store();
        let file = OpenOptions::new().write(true).open(&store)?;
        file.write_all_at(&99_u32.to_be_bytes(), FORMAT)?;
        drop(file);
        let newer = fs::read(&store)?;
        world.agent.start()?;
        world.works_without_store("newer guard")?;
        ensure!(fs::read(&store)? == newer, "{backend}: the newer store was changed");
        let kept = beside(&store, ".kept");
        fs::rename(&store, &kept)?;
        world.recovers(&[ATTACKER, ATTACKER_V6, BY_HAND])?;
        ensure!(fs::read(&kept)? == newer, "{backend}: the newer store was changed");
        world.agent.stop()?;
    }
    Ok(())
}

#[test]
fn a_store_damaged_while_no_agent_runs_is_put_aside_byte_for_byte() -> Result<()> {
    let lan = Lan::new()?;
    for backend in ["xdp", "nft"] {
        let mut world = World::new(&lan, backend)?;
        world.agent.stop()?;
        let damaged = overwrite(&world.store())?;
        world.agent.start()?;
        is_put_aside(&mut world, &[("", damaged)])?;
        // And neither does the next start put the new one aside.
        world.agent.stop()?;
        world.agent.start()?;
        world.wait_for_answer(ATTACKER, false)?;
        ensure!(guard::store::aside::list(&world.store()).len() == 1, "{backend}");
        world.agent.stop()?;
    }
    Ok(())
}

#[test]
fn a_store_damaged_after_a_kill_is_put_aside_with_its_log() -> Result<()> {
    let lan = Lan::new()?;
    let mut world = World::new(&lan, "xdp")?;
    world.agent.kill()?;
    let log = beside(&world.store(), "-wal");
    let damaged = [("-wal", overwrite(&log)?), ("", overwrite(&world.store())?)];
    world.agent.start()?;
    is_put_aside(&mut world, &damaged)?;
    world.agent.stop()
}

#[test]
fn a_store_cut_to_nothing_takes_its_log_aside() -> Result<()> {
    let lan = Lan::new()?;
    let mut world = World::new(&lan, "xdp")?;
    world.agent.kill()?;
    let log = fs::read(beside(&world.store(), "-wal"))?;
    ensure!(!log.is_empty(), "there is no log");
    OpenOptions::new().write(true).open(world.store())?.set_len(0)?;
    world.agent.start()?;
    is_put_aside(&mut world, &[("-wal", log), ("", Vec::new())])?;
    world.agent.stop()
}

/// The store of a started agent lies beside the new one as these parts, which has all bans.
fn is_put_aside(world: &mut World<'_>, parts: &[(&str, Vec<u8>)]) -> Result<()> {
    let aside = world.put_aside()?;
    for (end, content) in parts {
        let found = fs::read(beside(&aside, end))?;
        ensure!(found == *content, "{}{end} is not as it was", aside.display());
    }
    world.says("was put aside", &aside)?;
    // Who was banned stays out, though nothing but the kernel knew it any more.
    world.wait_for_answer(ATTACKER, false)?;
    ensure!(world.answer(NEIGHBOUR)? == Answer::Connected, "the neighbour is cut off");
    world.fail_until_banned(ATTACKER_V6)?;
    ensure!(world.agent.guardctl(&["ban", "sshd", &BY_HAND.to_string()])? == "1\n");
    world.wait_until_stored(&[ATTACKER, ATTACKER_V6, BY_HAND])?;
    let bans = world.agent.guardctl(&["bans", "list"])?;
    ensure!(!bans.contains("NOT ENFORCED"), "{bans}");
    Ok(())
}

#[test]
fn a_store_damaged_under_a_running_agent_loses_no_ban() -> Result<()> {
    // More than SQLite keeps in memory, so that it looks at the file again.
    const MANY: u32 = 60_000;
    let lan = Lan::new()?;
    let mut world = World::new(&lan, "xdp")?;
    // On a larger disk than the others.
    mount_remount(&world.disk.0, MountFlags::empty(), c"size=256m,mode=0700")?;
    let many = |offset: u32, step: u32| -> String {
        let address = |number: u32| Ipv4Addr::from_bits((11 << 24) + 16 * number + offset);
        (0..MANY).step_by(step as usize).map(|number| format!("{}\n", address(number))).collect()
    };
    let count = world.agent.guardctl_with_input(&["ban", "sshd", "-"], many(0, 1).as_bytes())?;
    ensure!(count == format!("{MANY}\n"), "{count}");
    let store = world.store();
    let damaged = [("-wal", overwrite(&beside(&store, "-wal"))?), ("", overwrite(&store)?)];
    let more = many(1, 100);
    let count = world.agent.guardctl_with_input(&["ban", "sshd", "-"], more.as_bytes())?;
    ensure!(count == "600\n", "{count}");
    let aside = world.put_aside()?;
    for (end, content) in damaged {
        let found = fs::read(beside(&aside, end))?;
        ensure!(found == content, "{}{end} is not as it was", aside.display());
    }
    world.says("was put aside", &aside)?;
    world.wait_for_answer(ATTACKER, false)?;
    ensure!(world.answer(NEIGHBOUR)? == Answer::Connected, "the neighbour is cut off");
    let all = wait_for("all bans are stored anew", PATIENCE, || {
        let stored = world.stored()?;
        Ok((stored.len() == MANY as usize + 601).then_some(stored))
    })?;
    ensure!(all.contains(&ATTACKER.to_string()) && all.contains("11.0.0.1"), "another set");
    ensure!(!all.contains("11.0.0.2"), "a neighbour");
    // The next agent finds the same.
    world.agent.kill()?;
    world.agent.start()?;
    world.wait_for_answer(ATTACKER, false)?;
    let status = world.agent.guardctl(&["status", "sshd"])?;
    if !status.contains(&format!("Currently banned:\t{}\n", MANY + 601)) {
        bail!("{status}");
    }
    world.says("was put aside", &aside)?;
    // Whoever has looked into it takes it away, and nothing is said any more.
    for end in ["", "-wal", "-shm"] {
        fs::remove_file(beside(&aside, end)).ok();
    }
    let problems = world.problems()?;
    ensure!(!problems.iter().any(|one| one.contains("aside")), "{problems:?}");
    world.agent.stop()
}

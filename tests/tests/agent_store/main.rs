//! The agent while its store is full, read-only, locked, damaged or of a newer guard.
//!
//! Whatever it is: who is banned stays out and the neighbour gets in, new bans are made and
//! enforced, `status` says what is wrong, and once it is over the store has everything
//! without anybody's help. A damaged or newer file is not changed by a single byte.

mod world;

use std::fs::{self, OpenOptions};
use std::net::Ipv4Addr;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use guard::core::delta::Ban;
use guard::core::effects::Change;
use guard::core::jail::{JailId, JailName};
use guard::core::reason::Reason;
use guard::core::time::Timestamp;
use guard::store::Store;
use guard_tests::agent::PATIENCE;
use guard_tests::deadline::wait_for;
use guard_tests::lan::{ATTACKER, ATTACKER_V6, Lan, NEIGHBOUR, NEIGHBOUR_V6};
use guard_tests::probe::Answer;
use rusqlite::Connection;
use rustix::mount::{MountFlags, mount_remount};

use world::*;

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
    world.has_failed(NEIGHBOUR_V6, 1, 2)?;
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
        let [for_ever, known, let_in] = ["192.0.2.71", "192.0.2.72", "192.0.2.73"];
        world.agent.guardctl(&["ban", "sshd", for_ever, "--time", "-1"])?;
        world.agent.stop()?;
        // Of these the kernel knows nothing.
        only_stored(&world.store(), &[known, let_in])?;
        let other = Connection::open(world.store())?;
        other.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE")?;
        world.agent.start()?;
        world.works_without_store("locked")?;
        let unbanned = world.agent.guardctl_output(&["unban", "sshd", let_in])?;
        let said = String::from_utf8_lossy(&unbanned.stderr).into_owned();
        ensure!(said.contains("done, but not stored yet"), "{unbanned:?}");
        other.execute_batch("ROLLBACK")?;
        drop(other);
        let mut banned = vec![ATTACKER, ATTACKER_V6, BY_HAND];
        for stored in [for_ever, known] {
            banned.push(stored.parse()?);
        }
        world.recovers(&banned)?;
        // What only the store knew is in force without another start, and so it is with one.
        world.agent.wait_for_log("the store can be read again", PATIENCE)?;
        for time in ["read again", "restarted"] {
            let bans = world.agent.guardctl(&["--json", "bans", "list"])?;
            let bans: serde_json::Value = serde_json::from_str(&bans)?;
            let bans = bans.as_array().context("no list")?;
            ensure!(bans.len() == banned.len(), "{backend}, {time}: {bans:?}");
            let ends = |whom: &str| {
                bans.iter().find(|ban| ban["address"] == whom).map(|ban| ban["until"].is_null())
            };
            ensure!(ends(for_ever) == Some(true), "{backend}, {time}: it ends: {bans:?}");
            ensure!(ends(known) == Some(true), "{backend}, {time}: {known} in {bans:?}");
            let attacker = ends(&ATTACKER.to_string());
            ensure!(attacker == Some(false), "{backend}, {time}: not for ever: {bans:?}");
            ensure!(world.answer(ATTACKER)? != Answer::Connected, "{backend}: it got in");
            world.agent.stop()?;
            world.agent.start()?;
        }
        world.agent.stop()?;
    }
    Ok(())
}

/// Has the store ban these from `sshd` for ever.
fn only_stored(store: &Path, sources: &[&str]) -> Result<()> {
    let reason = Reason::Manual { forced: false };
    let bans = sources.iter().map(|source| {
        let (jail, source, since) = (JailId(0), source.parse()?, Timestamp::default());
        Ok(Change::Ban(Ban { jail, source, since, until: None, reason }))
    });
    let bans = bans.collect::<Result<Vec<_>>>()?;
    Store::open(store)?.persist(&bans, &[JailName::new("sshd")?])?;
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

#[test]
fn what_can_be_read_of_a_damaged_store_is_in_force() -> Result<()> {
    let lan = Lan::new()?;
    let mut world = World::new(&lan, "xdp")?;
    world.agent.stop()?;
    // Not even the kernel has it: only the damaged store can say it.
    world.agent.guardctl(&["detach"])?;
    world.agent.guardctl(&["attach"])?;
    world.wait_for_answer(ATTACKER, true)?;
    let store = world.store();
    let since = Store::open_existing(&store)?.bans()?[0].since;
    let damaged = overwrite_table(&store, "failure")?;
    world.agent.start()?;
    is_put_aside(&mut world, &[("", damaged)])?;
    let log = world.agent.log()?;
    ensure!(log.contains("1 bans can be read in the damaged store"), "{log}");
    let stored = Store::open_existing(&store)?.bans()?;
    let ban = stored.iter().find(|ban| ban.source.address() == ATTACKER);
    ensure!(ban.is_some_and(|ban| ban.since == since), "it is not as it was: {stored:?}");
    world.agent.stop()
}

/// An agent died when the damaged store was put aside and the new one had nothing yet.
#[test]
fn what_a_new_store_lacks_is_not_taken_for_over() -> Result<()> {
    let lan = Lan::new()?;
    for backend in ["xdp", "nft"] {
        let mut world = World::new(&lan, backend)?;
        world.fail_until_banned(ATTACKER_V6)?;
        world.agent.stop()?;
        let store = world.store();
        fs::remove_file(&store)?;
        drop(Store::open(&store)?);
        fs::write(beside(&store, ".lacking"), "")?;
        // Nor by who lets somebody in before the next one starts.
        world.agent.guardctl(&["unban", "sshd", &ATTACKER_V6.to_string()])?;
        world.wait_for_answer(ATTACKER_V6, true)?;
        ensure!(world.answer(ATTACKER)? != Answer::Connected, "{backend}: it got in");
        world.agent.start()?;
        ensure!(world.answer(ATTACKER)? != Answer::Connected, "{backend}: it got in");
        ensure!(world.answer(ATTACKER_V6)? == Answer::Connected, "{backend}: it was let in");
        world.wait_until_stored(&[ATTACKER])?;
        ensure!(!beside(&store, ".lacking").exists(), "{backend}: nothing is lacking");
        world.agent.stop()?;
    }
    Ok(())
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
    world.fail(NEIGHBOUR_V6, 1)?;
    world.agent.wait_for_log(&format!("Found {NEIGHBOUR_V6}"), PATIENCE)?;
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
    // One before, two after: the failure that had led to nothing yet counts.
    world.has_failed(NEIGHBOUR_V6, 1, 2)?;
    ensure!(world.answer(NEIGHBOUR_V6)? == Answer::Connected, "one too early");
    world.fail(NEIGHBOUR_V6, 1)?;
    world.wait_for_answer(NEIGHBOUR_V6, false)?;
    // Whoever has looked into it takes it away, and nothing is said any more.
    for end in ["", "-wal", "-shm"] {
        fs::remove_file(beside(&aside, end)).ok();
    }
    let problems = world.problems()?;
    ensure!(!problems.iter().any(|one| one.contains("aside")), "{problems:?}");
    world.agent.stop()
}

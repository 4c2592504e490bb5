//! `guardctl watch`: what happens is told in order, and nobody waits for who is slow.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use guard_tests::lan::{ATTACKER, HOST};
use serde_json::Value;

use super::*;

/// `guardctl watch --json` while it runs, line by line.
struct Watching {
    child: Running,
    lines: Receiver<String>,
}

impl Watching {
    fn start(agent: &Agent<'_>, arguments: &[&str]) -> Result<Self> {
        let mut watch = agent.guardctl_command(arguments);
        let mut child = Running(watch.stdout(Stdio::piped()).spawn()?);
        let stdout = child.0.stdout.take().context("stdout")?;
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        // It watches when the agent says so.
        wait_until("somebody watches", PATIENCE, || {
            Ok(agent.guardctl(&["metrics"])?.contains("\nguard_watchers 1\n"))
        })?;
        Ok(Self { child, lines })
    }

    fn next(&self) -> Result<Value> {
        let line = self.lines.recv_timeout(PATIENCE).context("no further event")?;
        serde_json::from_str(&line).with_context(|| format!("no JSON: {line}"))
    }
}

#[test]
fn events_come_in_order_and_with_their_reason() -> Result<()> {
    let lan = Lan::new()?;
    let mut world = World::new(&lan)?;
    world.agent.start()?;
    let mut watching = Watching::start(&world.agent, &["watch", "--json"])?;
    let attacker = ATTACKER.to_string();
    world.sshd_failures(HOST, 1)?;
    let event = watching.next()?;
    ensure!(event["event"] == "ignored" && event["because"]["why"] == "own", "{event}");
    world.sshd_failures(ATTACKER, 3)?;
    for _ in 0..3 {
        let event = watching.next()?;
        ensure!(event["event"] == "found" && event["address"] == attacker, "{event}");
        ensure!(event["jail"] == "sshd" && event["logged"].as_i64() <= event["time"].as_i64());
    }
    let event = watching.next()?;
    ensure!(event["event"] == "banned" && event["address"] == attacker, "{event}");
    ensure!(event["reason"]["count"] == 3 && event["until"].is_i64(), "{event}");
    // It is in the kernel when it is told.
    let held = world.agent.guardctl(&["status", "sshd"])?;
    ensure!(held.contains(&attacker), "{held}");
    world.agent.guardctl(&["unban", "sshd", &attacker])?;
    let event = watching.next()?;
    ensure!(event["event"] == "unbanned" && event["address"] == attacker, "{event}");
    world.agent.guardctl(&["reload"])?;
    let event = watching.next()?;
    ensure!(event["event"] == "reloaded" && event["kept"].as_array().map(Vec::len) == Some(2));
    // Who watches goes on to do so with the next configuration.
    world.agent.write("jail.d/99_wrong.conf", "[sshd]\nmaxretry = many\n")?;
    world.agent.guardctl_output(&["reload"])?;
    let event = watching.next()?;
    ensure!(event["event"] == "reload-refused", "{event}");
    ensure!(event["problems"].as_str().is_some_and(|text| text.contains("maxretry")), "{event}");
    world.agent.stop()?;
    let ended = watching.child.0.wait()?;
    ensure!(ended.code() == Some(1), "who watches is told that the agent ended: {ended}");
    Ok(())
}

#[test]
fn what_others_change_is_told_and_that_it_was_put_right() -> Result<()> {
    let lan = Lan::new()?;
    let mut world = World::new(&lan)?;
    world.agent.start()?;
    let watching = Watching::start(&world.agent, &["watch"])?;
    let pin = pinned(&world.agent.path("bpf"), "META")?.context("no pin of META")?;
    std::fs::remove_file(pin)?;
    let line = watching.lines.recv_timeout(PATIENCE)?;
    ensure!(line.contains("repaired") && line.contains("META"), "{line}");
    let text = world.agent.guardctl(&["metrics"])?;
    ensure!(text.contains("\nguard_repairs_total 1\n"), "{text}");
    world.agent.stop()
}

#[test]
fn who_does_not_read_holds_up_nobody_and_is_told_what_it_lost() -> Result<()> {
    let lan = Lan::new()?;
    let mut world = World::new(&lan)?;
    world.agent.start()?;
    let mut slow = UnixStream::connect(world.agent.path("control.socket"))?;
    slow.set_read_timeout(Some(PATIENCE))?;
    slow.write_all(b"{\"verb\":\"watch\"}\n")?;
    let mut lines = BufReader::new(slow.try_clone()?).lines();
    let first = lines.next().context("an answer")??;
    ensure!(first == "\"watching\"", "{first}");
    // More than the buffer and the socket hold, while nobody reads.
    let addresses: Vec<String> =
        (0..12_000_u32).map(|n| format!("198.18.{}.{}", n / 250, n % 250)).collect();
    let words: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let start = Instant::now();
    world.agent.guardctl(&[&["ban", "sshd"], words.as_slice()].concat())?;
    let answered = start.elapsed();
    ensure!(answered < PATIENCE, "the ban took {answered:?}");
    let metrics = world.agent.guardctl(&["metrics"])?;
    ensure!(metrics.contains("\nguard_bans_held{jail=\"sshd\"} 12000\n"), "{metrics}");
    let (mut told, mut missed) = (0, 0);
    while told + missed < 12_000 {
        let line: Value = serde_json::from_str(&lines.next().context("more events")??)?;
        let event = &line["event"];
        match event["event"].as_str() {
            Some("banned") => told += 1,
            Some("missed") => missed += event["events"].as_u64().context("how many")?,
            _ => ensure!(false, "{line}"),
        }
    }
    ensure!(told + missed == 12_000 && missed > 0, "{told} told, {missed} missed");
    let metrics = world.agent.guardctl(&["metrics"])?;
    ensure!(metrics.contains(&format!("\nguard_events_lost_total {missed}\n")), "{metrics}");
    // There are so many places for those who watch, and no more; others are answered still.
    let mut others = Vec::new();
    for _ in 0..7 {
        others.push(watcher(&world.agent)?);
    }
    wait_until("all of them watch", PATIENCE, || {
        Ok(world.agent.guardctl(&["metrics"])?.contains("\nguard_watchers 8\n"))
    })?;
    let mut line = String::new();
    BufReader::new(watcher(&world.agent)?).read_line(&mut line)?;
    ensure!(line.contains("who watch already"), "{line}");
    world.agent.stop()
}

/// Where a map is pinned.
fn pinned(directory: &Path, name: &str) -> Result<Option<PathBuf>> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name() == name {
            return Ok(Some(entry.path()));
        }
        if entry.file_type()?.is_dir()
            && let Some(found) = pinned(&entry.path(), name)?
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// A peer that asks to watch.
fn watcher(agent: &Agent<'_>) -> Result<UnixStream> {
    let mut peer = UnixStream::connect(agent.path("control.socket"))?;
    peer.set_read_timeout(Some(PATIENCE))?;
    peer.write_all(b"{\"verb\":\"watch\"}\n")?;
    Ok(peer)
}

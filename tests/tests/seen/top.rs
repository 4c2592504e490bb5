//! `guardctl top` on a real pseudo-terminal, with a real agent.

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, ensure};
use guard_tests::lan::{ATTACKER, NEIGHBOUR};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};

use super::*;

/// A terminal with a program on it.
struct Terminal {
    master: File,
    slave: File,
    screen: Arc<Mutex<vt100::Parser>>,
    child: Running,
    before: Termios,
}

impl Terminal {
    /// Starts a program on a terminal of its own. `setsid` makes that its controlling one.
    fn run(program: &Command, rows: u16, columns: u16) -> Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let name = ptsname(&master, Vec::new())?;
        let slave = File::options().read(true).write(true).open(name.to_str()?)?;
        let before = tcgetattr(&slave)?;
        let master = File::from(master);
        resize(&master, rows, columns)?;
        let mut setsid = Command::new("setsid");
        setsid.args(["--ctty", "--wait"]).arg(program.get_program()).args(program.get_args());
        for (name, value) in program.get_envs() {
            if let Some(value) = value {
                setsid.env(name, value);
            }
        }
        setsid.env("TERM", "xterm-256color");
        setsid
            .stdin(slave.try_clone()?)
            .stdout(slave.try_clone()?)
            .stderr(Stdio::from(slave.try_clone()?));
        let child = Running(setsid.spawn()?);
        let screen = Arc::new(Mutex::new(vt100::Parser::new(cells(rows)?, cells(columns)?, 0)));
        let (shown, mut read) = (Arc::clone(&screen), master.try_clone()?);
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = read.read(&mut bytes) {
                let mut screen = shown.lock().unwrap_or_else(PoisonError::into_inner);
                screen.process(&bytes[..length]);
            }
        });
        Ok(Self { master, slave, screen, child, before })
    }

    fn text(&self) -> String {
        self.look(vt100::Screen::contents)
    }

    fn look<T>(&self, at: impl FnOnce(&vt100::Screen) -> T) -> T {
        at(self.screen.lock().unwrap_or_else(PoisonError::into_inner).screen())
    }

    fn wait_for(&self, words: &str) -> Result<()> {
        wait_until(&format!("{words:?} on the screen"), PATIENCE, || {
            Ok(self.text().contains(words))
        })
        .with_context(|| format!("the screen:\n{}", self.text()))
    }

    fn press(&self, keys: &str) -> Result<()> {
        (&self.master).write_all(keys.as_bytes()).context("press keys")
    }

    fn resize(&self, rows: u16, columns: u16) -> Result<()> {
        let mut screen = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
        screen.screen_mut().set_size(cells(rows)?, cells(columns)?);
        resize(&self.master, rows, columns)
    }

    /// Waits until the program has ended; its exit code, and whether the terminal is as it
    /// was.
    fn ended(&mut self) -> Result<(Option<i32>, bool)> {
        let status = wait_for("top ends", PATIENCE, || Ok(self.child.0.try_wait()?))?;
        wait_until("the last bytes", PATIENCE, || {
            Ok(self.look(|screen| !screen.alternate_screen() && !screen.hide_cursor()))
        })?;
        let after = tcgetattr(&self.slave)?;
        let same = after.local_modes == self.before.local_modes
            && after.input_modes == self.before.input_modes
            && after.output_modes == self.before.output_modes;
        Ok((status.code(), same))
    }
}

/// Rows or columns.
fn cells(number: u16) -> Result<NonZero<u16>> {
    NonZero::new(number).context("a terminal has some")
}

fn resize(terminal: &File, rows: u16, columns: u16) -> Result<()> {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(terminal, size).context("set the size of the terminal")
}

#[test]
fn it_shows_what_happens_as_it_happens_and_leaves_the_terminal_as_it_was() -> Result<()> {
    let lan = Lan::new()?;
    let mut world = World::new(&lan)?;
    world.agent.start()?;
    let mut terminal = Terminal::run(&world.agent.guardctl_command(&["top"]), 24, 80)?;
    terminal.wait_for("no problems")?;
    terminal.wait_for("xdp")?;
    ensure!(terminal.look(vt100::Screen::alternate_screen), "on the other screen");
    // Somebody watches, so nothing is missed.
    wait_until("it watches", PATIENCE, || {
        Ok(world.agent.guardctl(&["metrics"])?.contains("\nguard_watchers 1\n"))
    })?;
    world.sshd_failures(NEIGHBOUR, 1)?;
    world.sshd_failures(ATTACKER, 3)?;
    terminal.wait_for(&format!("found     [sshd] {NEIGHBOUR}"))?;
    terminal.wait_for(&format!("ban       [sshd] {ATTACKER}"))?;
    terminal.wait_for(" 1 bans ")?;
    // Packets that the kernel drops are seen within two rounds of figures.
    world.wait_for_answer(ATTACKER, false)?;
    wait_until("drops on the screen", PATIENCE, || {
        let text = terminal.text();
        let line = text.lines().find(|line| line.contains("sshd ")).unwrap_or_default();
        let last = line.split_whitespace().last().unwrap_or_default();
        Ok(last.parse::<u64>().is_ok_and(|packets| packets > 0))
    })
    .with_context(|| terminal.text())?;
    terminal.press("h")?;
    terminal.wait_for("the other way round")?;
    terminal.press("h")?;
    terminal.press("\u{1b}[D")?;
    terminal.wait_for("FAILURES▼")?;
    terminal.press("r")?;
    terminal.wait_for("FAILURES▲")?;
    terminal.resize(12, 60)?;
    wait_until("it fits", PATIENCE, || {
        let lines: Vec<String> = terminal.text().lines().map(str::to_owned).collect();
        Ok(lines.len() == 12 && lines[11].contains("quit") && lines[0].contains("guard"))
    })
    .with_context(|| terminal.text())?;
    terminal.press("q")?;
    let (code, same) = terminal.ended()?;
    ensure!(code == Some(0) && same, "code {code:?}, terminal as before: {same}");
    world.agent.stop()
}

#[test]
fn an_agent_that_ends_is_told_and_every_way_out_restores_the_terminal() -> Result<()> {
    let lan = Lan::new()?;
    let mut world = World::new(&lan)?;
    world.agent.start()?;
    let mut plain = world.agent.guardctl_command(&["top"]);
    plain.env("NO_COLOR", "1");
    let mut terminal = Terminal::run(&plain, 24, 80)?;
    terminal.wait_for("no problems")?;
    world.agent.kill()?;
    terminal.wait_for("NO ANSWER")?;
    world.agent.start()?;
    terminal.wait_for("no problems")?;
    let coloured = terminal.look(|screen| {
        let cells = (0..24).flat_map(|row| (0..80).map(move |column| (row, column)));
        cells.filter_map(|(row, column)| screen.cell(row, column)).any(|cell| {
            cell.fgcolor() != vt100::Color::Default || cell.bgcolor() != vt100::Color::Default
        })
    });
    ensure!(!coloured, "NO_COLOR is set");
    // The program itself, not setsid, which waits for it.
    let pid = wait_for("the program", PATIENCE, || {
        let pid = terminal.child.0.id();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        Ok(children
            .split_whitespace()
            .next()
            .and_then(|pid| pid.parse().ok())
            .and_then(Pid::from_raw))
    });
    // setsid forks only where it leads a group of processes already.
    let pid = match pid {
        Ok(pid) => pid,
        Err(_) => Pid::from_child(&terminal.child.0),
    };
    kill_process(pid, Signal::TERM)?;
    let (code, same) = terminal.ended()?;
    ensure!(code == Some(0) && same, "code {code:?}, terminal as before: {same}");

    let mut terminal = Terminal::run(&world.agent.guardctl_command(&["top"]), 24, 80)?;
    terminal.wait_for("no problems")?;
    terminal.press("\u{3}")?;
    let (code, same) = terminal.ended()?;
    ensure!(code == Some(0) && same, "after Ctrl-C: code {code:?}, as before: {same}");

    // Without an agent, and without a terminal, it says so and touches nothing.
    let output = world.agent.guardctl_output(&["top"])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(2) && said.contains("needs a terminal"), "{said}");
    world.agent.stop()?;
    let mut terminal = Terminal::run(&world.agent.guardctl_command(&["top"]), 24, 80)?;
    let (code, same) = terminal.ended()?;
    ensure!(code == Some(3) && same, "code {code:?}, terminal as before: {same}");
    ensure!(terminal.text().contains("the agent is not running"), "{}", terminal.text());
    Ok(())
}

//! Every command in a block of `README.md` and `docs/*.md`, run as a reader runs it: on one
//! host, page by page, each line by the shell.
//!
//! The commands come from the pages; `rows` says what has to be known of some, and who runs
//! those that cannot be run here. A new command is run, or the test fails; so does a row of
//! it that is about no command any more.

mod pages;
mod rows;
mod states;
mod table;

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use guard_tests::command;
use guard_tests::deadline::{wait_for, wait_until};
use guard_tests::installed::{Installed, PATIENCE};
use guard_tests::root::Suite;
use pages::{Page, Step, What};
use rows::{PAGES, ROWS};
use table::{Deed, How, Look, PLAIN};

/// Seconds that a command may take that ends by itself.
const LIMIT: &str = "100";
/// Of `guardctl check`: errors.
const WRONG: i32 = 78;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn every_row_is_about_a_command_and_what_it_names_is_there() -> Result<()> {
    let pages = pages::read(&root())?;
    let typed: BTreeSet<(&str, &str)> = pages
        .iter()
        .flat_map(|page| page.steps.iter().map(move |step| (page.name.as_str(), &step.what)))
        .filter_map(|(page, what)| match what {
            What::Type(command) => Some((page, command.as_str())),
            What::Write { .. } => None,
        })
        .collect();
    ensure!(typed.len() > 30, "only {typed:?}");
    let mut seen = BTreeSet::new();
    for row in ROWS {
        let here = (row.page, row.command);
        ensure!(typed.contains(&here), "a row about a command that is not there: {here:?}");
        ensure!(seen.insert(here), "two rows about {here:?}");
        ensure!(!row.reason.is_empty(), "why is there a row about {here:?}?");
        let How::Elsewhere { file, holds } = row.how else { continue };
        let text = fs::read_to_string(root().join(file))
            .with_context(|| format!("{here:?} is said to be run by {file}"))?;
        for words in holds {
            ensure!(text.contains(words), "{here:?} is not run by {file}: no {words:?} in it");
        }
        ensure!(!holds.is_empty(), "{here:?}: how does one see that {file} runs it?");
    }
    for (name, _) in PAGES {
        ensure!(pages.iter().any(|page| page.name == *name), "{name} is no page");
    }
    Ok(())
}

#[test]
fn every_command_of_the_pages_does_what_they_say() -> Result<()> {
    let pages = pages::read(&root())?;
    let host = Installed::bare(Suite::BookwormWithPeer)?;
    let mut wrong = Vec::new();
    for page in &pages {
        walk(&host, page, &mut wrong);
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n\n"));

    // The neighbour case: what is wrong is told, and with its place.
    let typed = |line, command: &str| Step { line, what: What::Type(command.to_owned()) };
    let steps = vec![typed(7, "guardctl nothing-of-the-kind"), typed(8, "guardctl --version")];
    walk(&host, &Page { name: "docs/wrong.md".to_owned(), steps }, &mut wrong);
    ensure!(matches!(wrong.as_slice(), [one] if one.starts_with("docs/wrong.md:7: ")), "{wrong:?}");
    Ok(())
}

/// Does what a page says; all that is wrong is told at the end.
fn walk(host: &Installed, page: &Page, wrong: &mut Vec<String>) {
    let name = &page.name;
    if page.steps.is_empty() {
        return;
    }
    if let Some((_, given)) = PAGES.iter().find(|(page, _)| page == name)
        && let Err(error) = given(host)
    {
        wrong.push(format!("{name}: what it takes for given: {error:#}"));
        return;
    }
    let mut wrote = false;
    for step in &page.steps {
        let done = match &step.what {
            What::Type(command) => follow(host, name, command).with_context(|| command.clone()),
            What::Write { file, text } => {
                wrote = true;
                write(host, file, text).with_context(|| file.clone())
            }
        };
        if let Err(error) = done {
            wrong.push(format!("{name}:{}: {error:#}", step.line));
        }
    }
    if wrote && let Err(error) = sound(host) {
        wrong.push(format!("{name}: the files that it shows: {error:#}"));
    }
}

/// Runs a command, or leaves it to who runs it elsewhere.
fn follow(host: &Installed, page: &str, command: &str) -> Result<()> {
    let here = match table::row(page, command).map(|row| &row.how) {
        Some(How::Elsewhere { .. }) => return Ok(()),
        Some(How::Here(here)) => here,
        None => &PLAIN,
    };
    (here.before)(host).context("what it takes for given")?;
    let text = table::filled_in(host, command, here)?;
    let (code, said) = match here.until {
        None => run(host, &text)?,
        Some((meanwhile, shows)) => run_until(host, &text, meanwhile, shows)?,
    };
    ensure!(code == here.code, "it ended with {code}, not {}:\n{said}", here.code);
    (here.after)(host, &said).with_context(|| format!("afterwards; it said:\n{said}"))
}

/// A shell on the host as a reader has it, that types `text` first.
fn shell(host: &Installed, before: &[&str], text: &str) -> Result<Command> {
    let (first, more) = before.split_first().context("a program")?;
    let mut shell = host.host.command(first)?;
    shell.args(more).args(["sh", "-c", &format!("cd /root\n{text}")]);
    shell.env("HOME", "/root").env("DEBIAN_FRONTEND", "noninteractive");
    Ok(shell)
}

/// Runs a command that ends by itself: how it ended, and all that it said.
fn run(host: &Installed, text: &str) -> Result<(i32, String)> {
    let mut shell = shell(host, &["timeout", "--kill-after=5", LIMIT], text)?;
    let output = command::output(&mut shell)?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    Ok((output.status.code().context("ended by a signal")?, said))
}

/// Runs a command until it shows that it works, and ends it then.
fn run_until(host: &Installed, text: &str, meanwhile: Deed, shows: Look) -> Result<(i32, String)> {
    // A session of its own, so that its processes can be ended by one id.
    let mut shell = shell(host, &["setsid"], &format!("exec 2>&1\necho $$\n{text}"))?;
    shell.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut running = Running(shell.spawn().context("start a shell")?);
    let said = Arc::new(Mutex::new(String::new()));
    let mut output = running.0.stdout.take().context("what it says")?;
    let heard = Arc::clone(&said);
    let listening = thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = output.read(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..read]).into_owned();
            heard.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
        }
    });
    let so_far = || said.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let session = wait_for("the shell", PATIENCE, || {
        Ok(so_far().split_once('\n').map(|(first, _)| first.trim().to_owned()))
    })?;
    let ended = |signal: &str| host.host.exec(&["kill", signal, "--", &format!("-{session}")]);
    let shown = meanwhile(host).and_then(|()| {
        wait_until("it shows that it works", PATIENCE, || Ok(shows(host, &so_far()).is_ok()))
    });
    ensure!(running.0.try_wait()?.is_none(), "it ended by itself:\n{}", so_far());
    ended("-TERM")?;
    let code = wait_for("it ends", Duration::from_secs(10), || Ok(running.0.try_wait()?));
    if code.is_err() {
        ended("-KILL").ok();
    }
    let code = code?;
    listening.join().ok();
    let said = so_far();
    shown.with_context(|| format!("it said:\n{said}"))?;
    // As a shell tells it.
    let signal = code.signal().map(|signal| 128 + signal);
    Ok((code.code().or(signal).context("neither ended nor killed")?, said))
}

/// Ended when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Writes a file as a page shows it; what is in guard.toml stays, below it.
fn write(host: &Installed, file: &str, text: &str) -> Result<()> {
    let path = host.host.inside(file)?;
    let stays = match path.ends_with("etc/guard/guard.toml") {
        true => fs::read_to_string(&path)?,
        false => String::new(),
    };
    fs::write(&path, format!("{text}{stays}")).with_context(|| format!("write {file}"))
}

/// Sees that nothing is wrong with the configuration.
fn sound(host: &Installed) -> Result<()> {
    let (code, said) = run(host, "guardctl check")?;
    ensure!(code != WRONG, "guardctl check says:\n{said}");
    Ok(())
}

//! `cargo xtask man`: manual pages, shell completions and `docs/configuration.md`.
//!
//! Input: the example `reference` of `guard`, which knows the command line and what the
//! parsers read. Output: `man/`, `completions/` and `configuration.md` below a directory,
//! each judged by those who will read it: mandoc, groff, bash, zsh and fish.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::{packages, workspace};

/// Options of `man`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Write the files below this directory; target/reference by default.
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

/// The page in the repository, beside the one that is made.
const CONFIGURATION: &str = "docs/configuration.md";

/// What the completion of bash must offer: the word so far, and one of its endings.
const COMPLETED: &[(&str, &str)] =
    &[("unb", "unban"), ("--ba", "--backend"), ("unban --a", "--all")];

pub(crate) fn run(options: &Options) -> Result<()> {
    let directory = options.directory.clone().unwrap_or_else(usual_directory);
    make(&directory)?;
    judge(&directory)?;
    let made = fs::read(directory.join("configuration.md"))?;
    fs::write(workspace::root().join(CONFIGURATION), made)?;
    println!("made       {}\nmade       {CONFIGURATION}", directory.display());
    Ok(())
}

/// Makes everything anew, judges it, and sees that the page in the repository is current.
pub(crate) fn check() -> Result<()> {
    let directory = usual_directory();
    make(&directory)?;
    judge(&directory)?;
    let made = fs::read(directory.join("configuration.md"))?;
    let there = fs::read(workspace::root().join(CONFIGURATION)).unwrap_or_default();
    ensure!(made == there, "{CONFIGURATION} is not current; `cargo xtask man` makes it anew");
    Ok(())
}

/// Where the files are unless somebody names another place.
pub(crate) fn usual_directory() -> PathBuf {
    workspace::target().join("reference")
}

/// Writes the files; the same source gives the same bytes.
pub(crate) fn make(directory: &Path) -> Result<()> {
    let arguments = ["run", "--quiet", "--package", "guard", "--example", "reference", "--"];
    let mut make = workspace::cargo(&arguments);
    make.arg(directory).arg(date(epoch()?));
    workspace::run(&mut make)
}

/// When the source was last changed, in seconds since 1970: `SOURCE_DATE_EPOCH`, or the
/// last commit.
pub(crate) fn epoch() -> Result<u64> {
    if let Ok(epoch) = env::var("SOURCE_DATE_EPOCH") {
        return epoch.parse().context("SOURCE_DATE_EPOCH is no number of seconds");
    }
    let mut log = Command::new("git");
    log.current_dir(workspace::root()).args(["log", "-1", "--format=%ct"]);
    let output = log.output().context("start git, or set SOURCE_DATE_EPOCH")?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().context("this is no git repository; set SOURCE_DATE_EPOCH")
}

/// A date as manual pages have it.
fn date(epoch: u64) -> String {
    // Days since 1970 to a date, by the 400 years after which the calendar repeats itself
    // (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
    let days = epoch / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Has every file read by the programs that it is for.
fn judge(directory: &Path) -> Result<()> {
    packages::need(&[packages::PAGES])?;
    let mut pages = files(&directory.join("man"))?;
    pages.sort();
    ensure!(pages.len() >= 5, "only {} manual pages", pages.len());
    for page in &pages {
        silent(Command::new("mandoc").args(["-T", "lint", "-W", "style"]).arg(page))?;
        let mut groff = Command::new("groff");
        silent(groff.args(["-man", "-Tutf8", "-ww", "-z", "-rLL=80n"]).arg(page))?;
    }
    let completions = directory.join("completions");
    let bash = completions.join("guardctl.bash");
    silent(Command::new("bash").arg("-n").arg(&bash))?;
    silent(Command::new("zsh").arg("-n").arg(completions.join("_guardctl")))?;
    silent(Command::new("fish").arg("--no-execute").arg(completions.join("guardctl.fish")))?;
    for (words, expected) in COMPLETED {
        completes(&bash, words, expected)?;
    }
    Ok(())
}

/// Runs a program that must say nothing.
fn silent(command: &mut Command) -> Result<()> {
    let words = guard_tests::command::words(command);
    let output = command.output().with_context(|| format!("start {words}"))?;
    let said = [output.stdout, output.stderr].concat();
    if !output.status.success() || !said.is_empty() {
        bail!("{words}: {}\n{}", output.status, String::from_utf8_lossy(&said));
    }
    Ok(())
}

/// Sees what bash offers after `guardctl WORDS`.
fn completes(completion: &Path, words: &str, expected: &str) -> Result<()> {
    const SCRIPT: &str = "source \"$1\"; COMP_WORDS=(guardctl $2); \
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); \
        _guardctl guardctl \"${COMP_WORDS[COMP_CWORD]}\" \"${COMP_WORDS[COMP_CWORD - 1]}\"; \
        printf '%s\\n' \"${COMPREPLY[@]}\"";
    let mut bash = Command::new("bash");
    bash.args(["-c", SCRIPT, "bash"]).arg(completion).arg(words);
    let output = bash.output().context("start bash")?;
    let offered = String::from_utf8_lossy(&output.stdout);
    ensure!(
        offered.lines().any(|word| word == expected),
        "bash offers {offered:?} after `guardctl {words}`, not {expected}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let read = fs::read_dir(directory).with_context(|| format!("read {}", directory.display()))?;
    read.map(|entry| Ok(entry?.path())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (epoch, expected) in [
            (0, "1970-01-01"),
            (951_782_399, "2000-02-28"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_798_675_199, "2026-12-30"),
            (1_798_761_600, "2027-01-01"),
        ] {
            assert_eq!(date(epoch), expected);
        }
    }
}

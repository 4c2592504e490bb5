//! Manual pages, shell completions and `docs/configuration.md`.
//!
//! Input: the definition of the command line, the keys and options that the parsers read,
//! and the prose in `docs/man`. Output: files below a directory. `cargo xtask man` runs it
//! and has every file judged. Every page is Markdown first; [`roff`] turns it into a
//! manual page.

mod command_line;
mod options;
mod roff;

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use clap_complete::{Shell, generate_to};

/// Where a list stands in a page, and what makes it.
type List = (&'static str, fn() -> Result<String>);

const LISTS: &[List] = &[
    ("{{verbs}}", command_line::verbs),
    ("{{global-options}}", command_line::global_options),
    ("{{settings}}", options::settings),
    ("{{jail-options}}", options::jail),
    ("{{filter-options}}", options::filter),
    ("{{tags}}", options::tags),
];

/// The pages, by their names in `docs/man`.
const PAGES: &[&str] =
    &["guardctl.1", "guard.toml.5", "guard-jail.5", "guard-filter.5", "guard-helper.8"];

/// Those that make up `docs/configuration.md`.
const CONFIGURATION: &[&str] = &["guard.toml.5", "guard-jail.5", "guard-filter.5"];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, date] = arguments.as_slice() else {
        bail!("usage: reference DIRECTORY DATE");
    };
    let directory = Path::new(directory);
    let (man, completions) = (directory.join("man"), directory.join("completions"));
    for directory in [&man, &completions] {
        fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
    }
    for name in PAGES {
        let page = page(name)?;
        fs::write(man.join(name), roff::page(name, date, &page)?)?;
    }
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut guard::cli::command(), "guardctl", &completions)?;
    }
    fs::write(directory.join("configuration.md"), configuration()?)?;
    Ok(())
}

/// A page of `docs/man` with its lists filled in.
fn page(name: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../docs/man/{name}.md"));
    let mut text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    for (mark, list) in LISTS {
        if text.contains(mark) {
            text = text.replace(mark, list()?.trim_end());
        }
    }
    ensure!(!text.contains("{{"), "{}: a list that nobody makes", path.display());
    Ok(text)
}

/// What can be written into all files, in one document.
fn configuration() -> Result<String> {
    let mut text = "# Configuration\n\n\
        <!-- Made by `cargo xtask man` from what the parsers read and from docs/man. -->\n\n\
        The same as the manual pages `man guard.toml`, `man guard-jail` and\n\
        `man guard-filter`.\n"
        .to_owned();
    for name in CONFIGURATION {
        let page = page(name)?;
        let (mut in_name, mut in_block) = (false, false);
        for line in page.lines() {
            in_block ^= line.starts_with("```");
            // Sections of a page are one level deeper here, names of pages are titles.
            match line.split_once("# ") {
                _ if in_block && !in_name => text.push_str(&format!("{line}\n")),
                Some(("", title)) => text.push_str(&format!("\n## {title}\n")),
                Some(("#", title)) => {
                    in_name = title == "Name" || title == "See also";
                    if !in_name {
                        text.push_str(&format!("### {title}\n"));
                    }
                }
                Some(("##", title)) => text.push_str(&format!("### {title}\n")),
                _ if in_name => {}
                _ => text.push_str(&format!("{line}\n")),
            }
        }
    }
    while text.contains("\n\n\n") {
        text = text.replace("\n\n\n", "\n\n");
    }
    Ok(format!("{}\n", text.trim_end()))
}

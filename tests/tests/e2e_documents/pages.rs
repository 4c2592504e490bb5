//! What the documents have a reader do: commands to type, and files to write.
//!
//! Input: `docs/*.md` in the order of the list in `docs/README.md`, then `README.md`. Output:
//! their steps in order. Invariant: what a block holds is known. Each line of a block `sh`
//! is a command, and so is what follows a prompt `$ ` in any other; a line elsewhere that
//! begins as a command does is an error. A whole guardctl that a table's cell holds is a
//! command, too.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

/// The page that lists the others.
const LIST: &str = "docs/README.md";
/// The page that is read first by whoever knows nothing, and last here: it has guard installed.
const FRONT: &str = "README.md";
/// Kinds of block that are no commands.
const DATA: &[&str] = &["ini", "json", "text", "toml", "yaml"];

/// A page and what it has its reader do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// Its path in the source.
    pub(crate) name: String,
    /// In order.
    pub(crate) steps: Vec<Step>,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// Where it stands.
    pub(crate) line: usize,
    /// What it is.
    pub(crate) what: What,
}

/// Kinds of step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// To type this, without the comment behind it.
    Type(String),
    /// To write this into the file.
    Write { file: String, text: String },
}

/// All pages, in the order in which they are read.
pub(crate) fn read(root: &Path) -> Result<Vec<Page>> {
    let text =
        |name: &str| fs::read_to_string(root.join(name)).with_context(|| format!("read {name}"));
    let mut names = linked(&text(LIST)?);
    let mut missing = BTreeSet::new();
    for entry in fs::read_dir(root.join("docs"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let name = format!("docs/{name}");
        if name.ends_with(".md") && name != LIST && !names.contains(&name) {
            missing.insert(name);
        }
    }
    ensure!(missing.is_empty(), "{LIST} does not name {missing:?}");
    names.push(FRONT.to_owned());
    let mut pages = Vec::new();
    for name in names {
        let steps = steps(&text(&name)?).with_context(|| name.clone())?;
        pages.push(Page { name, steps });
    }
    programs_begin_commands_alone(root, &pages)?;
    Ok(pages)
}

/// The pages in docs that a list links to, once each.
fn linked(list: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for link in list.split("](").skip(1) {
        let link = link.split([')', '#']).next().unwrap_or(link);
        let name = format!("docs/{link}");
        if link.ends_with(".md") && !link.contains('/') && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// What a page has its reader do.
fn steps(page: &str) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    for Block { line, kind, lines } in blocks(page)? {
        let typed: Vec<(usize, &str)> = match kind {
            "sh" => (line..).zip(lines.iter().copied()).collect(),
            kind if DATA.contains(&kind) => (line..)
                .zip(&lines)
                .filter_map(|(line, text)| Some((line, text.trim_start().strip_prefix("$ ")?)))
                .collect(),
            kind => bail!("line {line}: a block of `{kind}`: is that {DATA:?}, or `sh`?"),
        };
        let mut begun = String::new();
        for (line, text) in typed {
            let text = without_comment(text);
            if let Some(more) = text.strip_suffix('\\') {
                begun.push_str(more);
            } else if !text.is_empty() || !begun.is_empty() {
                let command = std::mem::take(&mut begun) + text;
                steps.push(Step { line, what: What::Type(command) });
            }
        }
        ensure!(begun.is_empty(), "line {line}: the last command goes on nowhere");
        if let Some(file) = named_file(&lines) {
            let text = format!("{}\n", lines.join("\n"));
            steps.push(Step { line, what: What::Write { file, text } });
        }
    }
    for (line, text) in (1..).zip(page.lines()).filter(|(_, text)| text.starts_with('|')) {
        for command in text.split('|').flat_map(commands_of_cell) {
            steps.push(Step { line, what: What::Type(command) });
        }
    }
    steps.sort_by_key(|step| step.line);
    Ok(steps)
}

/// The commands that a table's cell is made of; none if it says more than that.
fn commands_of_cell(cell: &str) -> Vec<String> {
    let code = |piece: &str| {
        let code = piece.trim().strip_prefix('`')?.strip_suffix('`')?;
        (!code.contains('`')).then(|| code.to_owned())
    };
    let pieces: Option<Vec<String>> = cell.split(", ").map(code).collect();
    // What is left out or chosen between is no command.
    let whole = |code: &String| code.starts_with("guardctl ") && !code.contains(['[', '…', '<']);
    pieces.unwrap_or_default().into_iter().filter(whole).collect()
}

/// A fenced block: its kind, and its lines, the first of which is on `line`.
struct Block<'p> {
    line: usize,
    kind: &'p str,
    lines: Vec<&'p str>,
}

fn blocks(page: &str) -> Result<Vec<Block<'_>>> {
    let mut blocks = Vec::new();
    let mut open: Option<Block<'_>> = None;
    for (line, text) in (1..).zip(page.lines()) {
        match (open.take(), text.trim_start().strip_prefix("```")) {
            (None, None) => {}
            (None, Some(kind)) => {
                open = Some(Block { line: line + 1, kind: kind.trim(), lines: Vec::new() });
            }
            (Some(mut block), None) => {
                block.lines.push(text);
                open = Some(block);
            }
            (Some(block), Some(_)) => blocks.push(block),
        }
    }
    ensure!(open.is_none(), "a block that does not end");
    Ok(blocks)
}

/// A line of a shell's without the comment at its end.
fn without_comment(line: &str) -> &str {
    let mut quote = None;
    let mut before = ' ';
    for (place, c) in line.char_indices() {
        match (quote, c) {
            (None, '#') if before.is_whitespace() => return line[..place].trim(),
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
        before = c;
    }
    line.trim()
}

/// The file that a block's first line names in a comment.
fn named_file(lines: &[&str]) -> Option<String> {
    let file = lines.first()?.strip_prefix("# ")?.trim();
    (file.starts_with('/') && !file.contains(char::is_whitespace)).then(|| file.to_owned())
}

/// Refuses commands in blocks that are no commands: nobody would run them.
fn programs_begin_commands_alone(root: &Path, pages: &[Page]) -> Result<()> {
    let first = |text: &str| text.split_whitespace().next().unwrap_or_default().to_owned();
    let typed = pages.iter().flat_map(|page| &page.steps).filter_map(|step| match &step.what {
        What::Type(command) => Some(first(command)),
        What::Write { .. } => None,
    });
    let programs: BTreeSet<String> = typed.collect();
    for page in pages {
        let text = fs::read_to_string(root.join(&page.name))?;
        for block in blocks(&text)?.into_iter().filter(|block| block.kind != "sh") {
            for (line, text) in (block.line..).zip(block.lines) {
                // Not what a picture or the output of something shows.
                let shown = text.contains(['─', '►']) || text.starts_with(' ');
                ensure!(
                    shown || !programs.contains(&first(text)),
                    "{}:{line}: a command in a block of `{}`: make it `sh`",
                    page.name,
                    block.kind
                );
            }
        }
    }
    Ok(())
}

#[test]
fn commands_and_files_are_found_and_nothing_else() -> Result<()> {
    let page = "\
Say `guardctl status`.
```sh
# A comment.
guardctl a   # why
  guardctl b 'x # y' \\
    --more

```
```text
  $ guardctl c
  1
```
```toml
# /etc/guard/guard.toml
allow = []
```
```ini
# no file
[x]
```
| do | by |
| this | `guardctl d`, `--e`, `guardctl f [G]` |
| that | say `guardctl h` |
";
    let found: Vec<(usize, String)> = steps(page)?
        .into_iter()
        .map(|Step { line, what }| match what {
            What::Type(command) => (line, command),
            What::Write { file, text } => (line, format!("{file}: {text}")),
        })
        .collect();
    let expected = [
        (4, "guardctl a"),
        (6, "guardctl b 'x # y' --more"),
        (10, "guardctl c"),
        (14, "/etc/guard/guard.toml: # /etc/guard/guard.toml\nallow = []\n"),
        (22, "guardctl d"),
    ];
    ensure!(found == expected.map(|(line, text)| (line, text.to_owned())), "{found:?}");
    for wrong in ["```\nls\n```\n", "```sh\nls\n", "```sh\nls \\\n```\n"] {
        ensure!(steps(wrong).is_err(), "{wrong}");
    }
    let list = "1. [a](a.md) [b](b.md#c)\n2. [a](a.md) [up](../d.md) [w](https://x.example/e.md)";
    ensure!(linked(list) == ["docs/a.md", "docs/b.md"]);
    Ok(())
}

#[test]
fn a_page_that_nobody_lists_and_a_command_in_a_picture_are_told() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let root = directory.path();
    fs::create_dir(root.join("docs"))?;
    fs::write(root.join("README.md"), "")?;
    fs::write(root.join("docs/a.md"), "```sh\nguardctl x\n```\n")?;
    fs::write(root.join("docs/README.md"), "")?;
    let told = format!("{:#}", read(root).err().context("docs/a.md is in no list")?);
    ensure!(told.contains("docs/a.md"), "{told}");
    fs::write(root.join("docs/README.md"), "[a](a.md)")?;
    ensure!(read(root)?.len() == 2);
    fs::write(root.join("README.md"), "```text\nguardctl ──► x\n```\n")?;
    read(root)?;
    fs::write(root.join("README.md"), "\n```text\nguardctl y\n```\n")?;
    let told = format!("{:#}", read(root).err().context("a command that nobody runs")?);
    ensure!(told.contains("README.md:3"), "{told}");
    Ok(())
}

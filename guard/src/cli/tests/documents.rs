//! Commands that are named somewhere are commands that there are: in the documents, the manual
//! pages, the units, the package's scripts, the configuration and guard's own messages.
//!
//! What runs the lines of the documents' blocks on a host is `tests/tests/e2e_documents`; here
//! each `guardctl` in a sentence is read as guardctl reads it, with values for its capitals.

use std::fs;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;

use super::{Arguments, Parser as _, invocations};

/// A command as it is written, and how much of what follows belongs to it.
#[derive(Debug, PartialEq, Eq)]
struct Named {
    text: String,
    extent: Extent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    /// All of it, and nothing is missing.
    Line,
    /// All of it, but a verb or an option may stand for itself.
    Piece,
    /// A sentence may go on after it.
    Bare,
}

/// Values for words in capitals.
const VALUES: &[(&str, &str)] = &[
    ("JAIL", "sshd"),
    ("NAME", "sshd"),
    ("ADDR", "192.0.2.1"),
    ("ADDRESS", "192.0.2.1"),
    ("PREFIX", "192.0.2.0/24"),
    ("FILE", "/etc/guard/guard.toml"),
    ("LOG", "/var/log/auth.log"),
    ("FILTER", "sshd"),
    ("DIR", "/srv"),
    ("TIME", "1h"),
    ("NUMBER", "7"),
    ("PACKETS", "7"),
    ("VERB", "status"),
    ("WORDS", "status"),
    ("{words}", "status"),
];

/// What follows "guardctl" where it is no command but the program itself.
const PROSE: &[&str] = &["and", "holds", "talks", "that"];

/// The commands of a Markdown text: in the lines of its blocks, and between backquotes.
fn of_markdown(text: &str) -> Vec<Named> {
    let (mut found, mut prose, mut in_block) = (Vec::new(), String::new(), false);
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
            prose.push('\n');
        } else if in_block {
            let line = line.trim().trim_start_matches("$ ").trim_start_matches("sudo ");
            let line = line.split(" # ").next().unwrap_or(line);
            let line = line.split("   ").next().unwrap_or(line).trim();
            found.push(Named { text: line.to_owned(), extent: Extent::Line });
        } else if line.trim().is_empty() {
            prose.push('\n');
        } else {
            // A piece of code may go on in the next line.
            prose.push_str(line.trim());
            prose.push(' ');
        }
    }
    for paragraph in prose.lines() {
        // Every other piece is code.
        let pieces = paragraph.split('`').skip(1).step_by(2);
        let pieces = pieces.map(|text| Named { text: text.to_owned(), extent: Extent::Piece });
        found.extend(pieces);
    }
    found.retain(|named| named.text.starts_with("guardctl "));
    found
}

/// The commands of any other text: those between backquotes, of a unit, and bare ones.
fn of_text(text: &str) -> Vec<Named> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("guardctl ") {
        let (before, rest) = text.split_at(at);
        let line = before.lines().next_back().unwrap_or_default();
        let (end, extent) = match before.chars().next_back() {
            Some('`') => (rest.find('`'), Extent::Piece),
            Some('-' | '_') => continue,
            _ if line.trim_start_matches("# ").trim_start().starts_with("Exec") => {
                (rest.find('\n'), Extent::Line)
            }
            _ => (rest.find(['\n', '"', '`', ';', ',', ':', '(', ')', '>', '&']), Extent::Bare),
        };
        let text = &rest[..end.unwrap_or(rest.len())];
        let text = text.split("   ").next().unwrap_or(text);
        let text = text.split(". ").next().unwrap_or(text);
        found.push(Named { text: text.trim().trim_end_matches('.').to_owned(), extent });
    }
    found
}

/// The commands of a source file: its comments are Markdown, its literals text.
fn of_source(source: &str) -> Vec<Named> {
    let source = source.split("#[cfg(test)]\nmod").next().unwrap_or(source);
    let (mut comments, mut code) = (String::new(), String::new());
    for line in source.lines() {
        match line.trim_start().strip_prefix("//") {
            Some(comment) => {
                comments.push_str(comment.trim_start_matches(['/', '!']));
                comments.push('\n');
            }
            None => {
                // A literal that goes on in the next line goes on without its indentation.
                let continued = code.ends_with('\\');
                if continued {
                    code.pop();
                    code.push_str(line.trim_start());
                } else {
                    code.push('\n');
                    code.push_str(line);
                }
            }
        }
    }
    let mut found = of_markdown(&comments);
    found.extend(of_text(&code.replace("\\n", "\n").replace("\\\"", "'")));
    found
}

/// With values where words in capitals stand, and with what may be left out.
fn filled(text: &str) -> String {
    let text = text.replace(['[', ']', '…'], "");
    let words = text.split(' ').map(|word| {
        let value = VALUES.iter().find(|(name, _)| *name == word);
        value.map_or(word, |(_, value)| value)
    });
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// What is wrong with a command.
fn complaint(named: &Named) -> Option<String> {
    // What is chosen between is no command yet.
    let is_line = named.extent == Extent::Line;
    let is_choice = named.extent == Extent::Piece && named.text.contains('|');
    if is_choice || named.text.contains('─') || (!is_line && named.text.contains(['<', '*'])) {
        return None;
    }
    let mut all = invocations(&filled(&named.text));
    if named.extent == Extent::Bare {
        all.truncate(1);
    }
    all.iter().find_map(|words| wrong(words, named.extent))
}

fn wrong(words: &[String], extent: Extent) -> Option<String> {
    // A shell's variable may be anything.
    let is_prose = |word: &String| PROSE.contains(&word.as_str()) || word.starts_with('$');
    if extent == Extent::Bare && words.get(1).is_some_and(is_prose) {
        return None;
    }
    let options = words.iter().rposition(|word| word.starts_with('-')).unwrap_or(0);
    let least = match extent {
        Extent::Bare => (options + 1).max(2).min(words.len()),
        Extent::Line | Extent::Piece => words.len(),
    };
    let mut first = None;
    for count in (least..=words.len()).rev() {
        let Err(error) = Arguments::try_parse_from(&words[..count]) else { return None };
        let shown = [ErrorKind::DisplayHelp, ErrorKind::DisplayVersion];
        // A verb or an option may stand for itself.
        let alone = [
            ErrorKind::MissingRequiredArgument,
            ErrorKind::MissingSubcommand,
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
            ErrorKind::InvalidValue,
            ErrorKind::ValueValidation,
        ];
        let kind = error.kind();
        if shown.contains(&kind) || (extent != Extent::Line && alone.contains(&kind)) {
            return None;
        }
        first.get_or_insert(error.to_string());
    }
    first
}

/// Every file below a directory.
fn below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in directory.read_dir().expect("a directory") {
        let path = entry.expect("a file").path();
        if path.is_dir() { found.extend(below(&path)) } else { found.push(path) }
    }
    found
}

#[test]
fn every_guardctl_that_is_named_anywhere_is_one_that_there_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files: Vec<PathBuf> =
        ["README.md", "SECURITY.md", "CHANGELOG.md"].iter().map(|name| root.join(name)).collect();
    for directory in ["docs", "config", "packaging", "guard/src", "guard/examples", "xtask/src"] {
        files.extend(below(&root.join(directory)));
    }
    let mut wrong = Vec::new();
    // In documents, in sources, in all other files.
    let mut seen = [0; 3];
    for path in files {
        // Tests name what there is not.
        if path.to_string_lossy().contains("tests") {
            continue;
        }
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let (kind, found) = match path.extension().and_then(|extension| extension.to_str()) {
            Some("md") => (0, of_markdown(&text)),
            Some("rs") => (1, of_source(&text)),
            _ => (2, of_text(&text)),
        };
        seen[kind] += found.len();
        for named in found {
            if let Some(complaint) = complaint(&named) {
                wrong.push(format!("{}: `{}`: {complaint}", path.display(), named.text));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen[0] > 100 && seen[1] > 60 && seen[2] > 12, "only {seen:?} were found");
}

#[test]
fn a_command_that_is_not_there_is_found_wherever_it_stands() {
    let markdown = |text: &str| of_markdown(text).iter().filter_map(complaint).count();
    for right in [
        "See `guardctl bans list [JAIL]`.",
        "`guardctl\n  probe` warns.",
        "`guardctl ban` and `guardctl ban JAIL ADDR… --time TIME`",
        "```sh\nguardctl unban --all   # everybody\n$ guardctl status | head\n```",
        "guardctl lists bans.",
    ] {
        assert_eq!(markdown(right), 0, "{right}");
    }
    for wrong in [
        "See `guardctl list bans`.",
        "`guardctl\n  prob` warns.",
        "`guardctl ban JAIL ADDR --for TIME`",
        "```sh\nguardctl unban\n```",
        "```sh\nguardctl status | guardctl nothing\n```",
    ] {
        assert_eq!(markdown(wrong), 1, "{wrong}");
    }
    let source = |text: &str| of_source(text).iter().filter_map(complaint).count();
    for right in [
        "talk(\"nothing; guardctl migrate --apply switches over\");",
        "talk(\"run `guardctl attach` and `guardctl \\\n        reload`\");",
        "// guardctl embeds it, `guardctl run` starts it.",
        "format!(\"until `guardctl unban {jail} {source}`\")",
        "\"guardctl that was killed\"",
    ] {
        assert_eq!(source(right), 0, "{right}");
    }
    for wrong in [
        "talk(\"nothing; guardctl migrate --aply switches over\");",
        "talk(\"run `guardctl attach` and `guardctl \\\n        relod`\");",
        "/// As `guardctl runs` does.",
        "talk(\"guardctl mend it\");",
    ] {
        assert_eq!(source(wrong), 1, "{wrong}");
    }
    let unit = |text: &str| of_text(text).iter().filter_map(complaint).count();
    assert_eq!(unit("ExecStart=/usr/bin/guardctl run\n"), 0);
    assert_eq!(unit("#   ExecStart=/usr/bin/guardctl metrics --listen x:1 --pubic\n"), 1);
    assert_eq!(unit("ExecStart=/usr/bin/guardctl run now\n"), 1, "nothing may be left over");
    assert_eq!(unit("    if guardctl detach; then\n"), 0);
}

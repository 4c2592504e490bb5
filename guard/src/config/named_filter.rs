//! One filter by itself, as people name it on a command line.
//!
//! Input: `sshd`, `sshd[mode=aggressive]`, or a path of a filter's file. Output:
//! [`NamedFilter`], expanded as a jail would have it; nothing if there is no such file,
//! so that the text may be an expression.

use std::path::{Path, PathBuf};

use crate::config::diagnostic::{Checked, Diagnostic, Diagnostics};
use crate::config::filter::FilterFiles;
use crate::config::interpolate::Values;
use crate::config::layers::Tree;
use crate::config::text::Text;
use crate::config::{built_in, journalmatch, option_list};
use crate::core::filter::FilterText;
use crate::core::jail::JournalMatch;

/// A filter and what belongs to it.
#[derive(Clone, Debug)]
pub struct NamedFilter {
    /// Its name, without options.
    pub name: String,
    /// Where its files lie.
    pub directory: PathBuf,
    /// Its options, as they were given.
    pub options: Vec<(String, String)>,
    /// What is compiled.
    pub text: FilterText,
    /// Its `journalmatch`, if it has one.
    pub journal_match: Option<JournalMatch>,
    /// What is odd about it.
    pub diagnostics: Diagnostics,
}

/// Reads a `journalmatch`.
///
/// # Errors
/// What is wrong with it.
pub fn parse_journal_match(text: &str) -> Result<JournalMatch, Box<Diagnostic>> {
    journalmatch::parse(&Text::generated(text))
}

/// Reads a filter from `directory`, over those of `vendor`, or from the path that it is
/// named by. `of_journal` says whether its lines are the journal's. `None` when `value`
/// cannot be a name, or no file has it.
///
/// # Errors
/// What is wrong with the filter's files or options.
pub fn named_filter(
    directory: &Path,
    vendor: &Path,
    value: &str,
    of_journal: bool,
) -> Option<Checked<NamedFilter>> {
    let bare = value.split('[').next().unwrap_or(value);
    let word = |c: char| c.is_alphanumeric() || "_-./+".contains(c);
    if bare.is_empty() || !bare.chars().all(word) || (bare != value && !value.ends_with(']')) {
        return None;
    }
    let (tree, file) = locate(directory, vendor, bare)?;
    Some(read(&tree, &file, value, of_journal))
}

/// The tree in which a filter lies, and its path there, without extension.
fn locate(directory: &Path, vendor: &Path, name: &str) -> Option<(Tree, String)> {
    let stem = |name: &str| {
        let short = name.strip_suffix(".conf").or_else(|| name.strip_suffix(".local"));
        short.unwrap_or(name).to_owned()
    };
    if !name.contains('/') {
        // As with Fail2Ban, the directory may be filter.d itself.
        let root = match directory.file_name() {
            Some(last) if last == "filter.d" => directory.parent()?,
            _ => directory,
        };
        let tree = Tree { vendor: vendor.to_owned(), directory: root.to_owned() };
        let file = format!("filter.d/{}", stem(name));
        let exists = |root: &Path| {
            ["conf", "local"].iter().any(|end| root.join(format!("{file}.{end}")).is_file())
        };
        let shipped = built_in::text(Path::new(&format!("{file}.conf"))).is_some();
        let found = exists(root) || exists(vendor) || shipped;
        return found.then_some((tree, file));
    }
    let path = [name.to_owned(), format!("{name}.conf"), format!("{name}.local")]
        .into_iter()
        .map(PathBuf::from)
        .find(|path| path.is_file())?;
    let parent = path.parent()?.to_owned();
    let name = stem(path.file_name()?.to_str()?);
    Some(match (parent.file_name(), parent.parent()) {
        (Some(last), Some(root)) if last == "filter.d" => {
            let tree = Tree { vendor: vendor.to_owned(), directory: root.to_owned() };
            (tree, format!("filter.d/{name}"))
        }
        // A file by itself, with what it includes.
        _ => (Tree { vendor: PathBuf::from("/nowhere"), directory: parent }, name),
    })
}

fn read(tree: &Tree, file: &str, value: &str, of_journal: bool) -> Checked<NamedFilter> {
    let mut diagnostics = Diagnostics::default();
    let mut named = option_list::parse_one(&Text::generated(value))?;
    let name = file.rsplit('/').next().unwrap_or(file);
    named.name = Text::generated(name);
    let files = FilterFiles::read_from(tree, file, &named, &mut diagnostics)?;
    let mut jail = Values::new();
    let backend = if of_journal { "systemd" } else { "auto" };
    jail.insert("backend".to_owned(), Text::generated(backend));
    let source = files.resolve(&jail)?;
    let text = source.text(&Text::default(), &mut diagnostics);
    let journal_match = match source.journalmatch.is_blank() {
        true => None,
        false => Some(journalmatch::parse(&source.journalmatch)?),
    };
    let options = named.options.iter().map(|(name, value)| (name.clone(), value.to_string()));
    Ok(NamedFilter {
        name: name.to_owned(),
        directory: tree.directory.clone(),
        options: options.collect(),
        text,
        journal_match,
        diagnostics,
    })
}

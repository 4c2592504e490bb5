//! Which files make up a configuration, in which order, and how they merge.
//!
//! Input: a name such as `jail` or `filter.d/sshd`. Output: [`Merged`], sections in the
//! order in which they first appear, each key with every value that it was given, oldest
//! first. The order, later wins per key:
//!
//! ```text
//! vendor X.conf, vendor X.d/*.conf, X.conf, X.d/*.conf, X.local, X.d/*.local
//! ```
//!
//! A host's directory with a `jail.conf` of its own is complete, as `/etc/fail2ban` is:
//! then no vendor file lies under the host's, and one is only read where the host has
//! none of that name. `[INCLUDES] before` and `after` put other files around the one that
//! names them, each followed by its sibling `.local`. A vendor file is the one below
//! `vendor-directory`, else the one that is built in. Invariant: what cannot be read is
//! told.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::built_in;
use crate::config::diagnostic::{Checked, Diagnostic, Diagnostics};
use crate::config::includes::{self, FileName};
use crate::config::ini::{self, IniSection};
use crate::config::safely;
use crate::config::text::{SourceFile, Text};

/// More files than any configuration includes; fewer than it takes to stall.
const MOST_FILES: usize = 500;

/// Where configuration files lie.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    /// `vendor-directory`.
    pub(crate) vendor: PathBuf,
    /// `jail-directory`.
    pub(crate) directory: PathBuf,
}

/// All files of one name, merged.
#[derive(Debug, Default)]
pub(crate) struct Merged {
    /// `[DEFAULT]`.
    pub(crate) defaults: Section,
    /// The others, in the order in which they first appear.
    pub(crate) sections: Vec<Section>,
    /// How many files were read.
    pub(crate) files: usize,
    /// Whether a file could not be read.
    pub(crate) broken: bool,
}

/// A section over all files.
#[derive(Debug, Default)]
pub(crate) struct Section {
    /// Its name, where it stands last.
    pub(crate) name: Text,
    /// Every value that a key was given, oldest first, never empty. Keys of a
    /// conditional section `[Init?family=inet6]` end in its condition.
    pub(crate) keys: BTreeMap<String, Vec<Setting>>,
    /// Whether a line of it was not understood.
    pub(crate) broken: bool,
}

/// A value that a key was given.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    /// The key, as written.
    pub(crate) key: Text,
    /// The value, nothing expanded.
    pub(crate) value: Text,
    /// By which kind of file.
    pub(crate) layer: Layer,
}

/// Kinds of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layer {
    /// Shipped.
    Vendor,
    /// `.conf` of the host.
    Conf,
    /// `.local` of the host.
    Local,
}

impl Merged {
    /// Adds a section of one file: its values come after those that are there.
    pub(crate) fn add(&mut self, found: &IniSection, layer: Layer) {
        let word = |name: &str| name.chars().all(|c| c.is_alphanumeric() || c == '_');
        let (name, condition) = match found.name.as_str().split_once('?') {
            // `[Init?family=inet6]`: its keys stand beside those of `[Init]`.
            Some((name, condition)) if !condition.is_empty() && !name.is_empty() && word(name) => {
                (found.name.part(0..name.len()), &found.name.as_str()[name.len()..])
            }
            _ => (found.name.clone(), ""),
        };
        let section = if name.as_str() == "DEFAULT" {
            &mut self.defaults
        } else {
            let known = self.sections.iter().position(|s| s.name.as_str() == name.as_str());
            let index = known.unwrap_or_else(|| {
                self.sections.push(Section::default());
                self.sections.len() - 1
            });
            &mut self.sections[index]
        };
        section.name = name;
        section.broken |= found.broken;
        for entry in &found.entries {
            let setting = Setting { key: entry.key.clone(), value: entry.value.clone(), layer };
            section.keys.entry(format!("{}{condition}", entry.name)).or_default().push(setting);
        }
    }

    /// A section by its name.
    pub(crate) fn section(&self, name: &str) -> Option<&Section> {
        if name == "DEFAULT" {
            return Some(&self.defaults);
        }
        self.sections.iter().find(|section| section.name.as_str() == name)
    }
}

impl Merged {
    /// Gives the names that Fail2Ban gives to every file: its version and directory.
    pub(crate) fn describe_itself(&mut self, tree: &Tree) {
        let directory = tree.directory.to_string_lossy().into_owned();
        let own = [
            ("fail2ban_version", env!("CARGO_PKG_VERSION").to_owned()),
            ("fail2ban_confpath", directory),
        ];
        for (key, value) in own {
            self.defaults.keys.entry(key.to_owned()).or_insert_with(|| {
                vec![Setting {
                    key: Text::generated(key),
                    value: Text::generated(value),
                    layer: Layer::Vendor,
                }]
            });
        }
    }
}

impl Tree {
    /// Reads and merges every file of a name.
    pub(crate) fn read(&self, name: &str, diagnostics: &mut Diagnostics) -> Merged {
        let mut reader = Reader { tree: self, merged: Merged::default(), diagnostics };
        let file = |extension: &str| PathBuf::from(format!("{name}.{extension}"));
        let mut order = Vec::new();
        if self.has_vendor_under(&file("conf")) {
            order.push(FileName::Vendor(file("conf")));
            let listed = reader.listed(&self.vendor, name, "conf");
            order.extend(listed.into_iter().map(FileName::Vendor));
        }
        for extension in ["conf", "local"] {
            order.push(FileName::Host(file(extension)));
            let listed = reader.listed(&self.directory, name, extension);
            order.extend(listed.into_iter().map(FileName::Host));
        }
        for file in order {
            reader.read(&file, &mut Vec::new());
        }
        reader.merged
    }

    /// Whether the host's directory stands alone, as a copy of `/etc/fail2ban` does.
    pub(crate) fn is_complete(&self) -> bool {
        self.directory.join("jail.conf").is_file()
    }

    /// Whether the vendor's file of a name counts too, before the host's.
    pub(crate) fn has_vendor_under(&self, file: &Path) -> bool {
        !self.is_complete() || !self.directory.join(file).is_file()
    }

    /// Names for which there is a file below `filter.d`, sorted.
    pub(crate) fn filter_names(&self) -> Vec<String> {
        let on_disk = [&self.vendor, &self.directory].into_iter().flat_map(|root| {
            std::fs::read_dir(root.join("filter.d")).into_iter().flatten().flatten()
        });
        let mut names: Vec<String> = on_disk
            .map(|entry| PathBuf::from(entry.file_name()))
            .chain(
                built_in::paths()
                    .filter_map(|path| Some(path.strip_prefix("filter.d").ok()?.into())),
            )
            .filter(|name| name.extension().is_some_and(|extension| extension == "conf"))
            .filter_map(|name| Some(name.file_stem()?.to_str()?.to_owned()))
            .collect();
        names.sort();
        names.dedup();
        names
    }
}

struct Reader<'a> {
    tree: &'a Tree,
    merged: Merged,
    diagnostics: &'a mut Diagnostics,
}

impl Reader<'_> {
    /// Files of `root/NAME.d` with an extension, sorted, relative to `root`.
    fn listed(&mut self, root: &Path, name: &str, extension: &str) -> Vec<PathBuf> {
        let directory = PathBuf::from(format!("{name}.d"));
        let entries = match std::fs::read_dir(root.join(&directory)) {
            Ok(entries) => entries,
            Err(error) => {
                if error.kind() != std::io::ErrorKind::NotFound {
                    self.merged.broken = true;
                    let what = format!("cannot list this directory: {error}");
                    let help = "make it a directory that the agent can read, or remove it";
                    let root = root.join(directory);
                    self.diagnostics.push(Diagnostic::error(what).in_file(&root).help(help));
                }
                return Vec::new();
            }
        };
        let mut names: Vec<_> = entries
            .flatten()
            .map(|entry| PathBuf::from(entry.file_name()))
            .filter(|name| name.extension().is_some_and(|found| found == extension))
            // As a shell's `*` does.
            .filter(|name| !name.as_os_str().as_encoded_bytes().starts_with(b"."))
            .collect();
        names.sort();
        names.into_iter().map(|name| directory.join(name)).collect()
    }

    /// Reads a file with its includes, if it exists. `chain` holds the files that
    /// include it. Tells whether it exists.
    fn read(&mut self, name: &FileName, chain: &mut Vec<FileName>) -> bool {
        let Some(file) = self.load(name) else { return false };
        let file = match file {
            Ok(file) => file,
            Err(diagnostic) => {
                self.merged.broken = true;
                self.diagnostics.push(*diagnostic);
                return true;
            }
        };
        self.merged.files += 1;
        if self.merged.files > MOST_FILES {
            self.merged.broken = true;
            self.diagnostics.push(
                Diagnostic::error(format!("more than {MOST_FILES} files are included"))
                    .in_file(file.path())
                    .help("look for files that include each other"),
            );
            return true;
        }
        let parsed = ini::parse(&file);
        self.diagnostics.extend(parsed.diagnostics);
        chain.push(name.clone());
        self.include("before", &parsed.sections, name, chain);
        let layer = match (name, file.path().extension()) {
            (FileName::Vendor(_), _) => Layer::Vendor,
            (_, Some(extension)) if extension == "local" => Layer::Local,
            _ => Layer::Conf,
        };
        for section in &parsed.sections {
            if section.name.as_str() != "INCLUDES" {
                self.merged.add(section, layer);
            }
        }
        self.include("after", &parsed.sections, name, chain);
        chain.pop();
        true
    }

    /// Reads what `[INCLUDES]` names.
    fn include(
        &mut self,
        option: &str,
        sections: &[IniSection],
        from: &FileName,
        chain: &mut Vec<FileName>,
    ) {
        let value = match includes::value(sections, option) {
            Ok(value) => value,
            Err(diagnostic) => {
                self.merged.broken = true;
                self.diagnostics.push(*diagnostic);
                return;
            }
        };
        for line in value.split(|c| c == '\n') {
            let mut found = false;
            for name in includes::files(self.tree, from, line.as_str()) {
                // A loop: whoever is being read does not read itself again.
                found |= chain.contains(&name) || self.read(&name, chain);
            }
            // Distributions name `.local` files that need not be there.
            if !found && !line.as_str().ends_with(".local") {
                self.diagnostics.push(
                    Diagnostic::warning(format!("included file `{line}` does not exist"))
                        .at(&line)
                        .help("its path is relative to this file; it is left out"),
                );
            }
        }
    }

    /// A file's text; nothing if there is no such file.
    fn load(&mut self, name: &FileName) -> Option<Checked<Arc<SourceFile>>> {
        let path = match name {
            FileName::Vendor(path) => self.tree.vendor.join(path),
            FileName::Host(path) => self.tree.directory.join(path),
            FileName::Elsewhere(path) => path.clone(),
        };
        match safely::read(&path) {
            Ok(bytes) => Some(Ok(self.decode(path, bytes))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => match name {
                FileName::Vendor(name) => built_in::text(name)
                    .map(|text| Ok(SourceFile::new(Path::new("(built in)").join(name), text))),
                _ => None,
            },
            Err(error) => {
                let problem = Diagnostic::error(format!("cannot read this file: {error}"));
                let help = "make it readable for the agent, or remove it";
                Some(Err(problem.in_file(&path).help(help).into()))
            }
        }
    }

    fn decode(&mut self, path: PathBuf, bytes: Vec<u8>) -> Arc<SourceFile> {
        let text = String::from_utf8(bytes).unwrap_or_else(|error| {
            let valid = error.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
            let place = SourceFile::new(&path, text.as_str()).place(valid..valid + 1);
            self.diagnostics.push(
                Diagnostic::warning("this is not UTF-8; the character is replaced")
                    .in_place(place)
                    .help("save the file in UTF-8"),
            );
            text
        });
        SourceFile::new(path, text)
    }
}

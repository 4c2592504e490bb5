//! A host's configuration in a directory of its own, for the tests beside.

use std::path::{Path, PathBuf};

use guard::config::{Diagnostic, Loaded, Settings, Severity, jails};

/// A filter that finds failures, to be named by test jails.
pub(crate) const FILTER: (&str, &str) =
    ("filter.d/f.conf", "[Definition]\nfailregex = ^.* failed <HOST>$\njournalmatch = A=1\n");

/// A `jail-directory` of its own, and a `vendor-directory` beside it.
pub(crate) struct Host {
    directory: tempfile::TempDir,
}

impl Host {
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let host = Self { directory: tempfile::tempdir().expect("a directory") };
        for (name, text) in files {
            host.write(name, text);
        }
        host
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        match name.strip_prefix("vendor:") {
            Some(name) => self.directory.path().join("vendor").join(name),
            None => self.directory.path().join("etc").join(name),
        }
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(path, text).expect("written");
    }

    pub(crate) fn load(&self) -> Loaded {
        jails(&Settings {
            jail_directory: self.path(""),
            vendor_directory: self.path("vendor:"),
            ..Settings::default()
        })
    }

    /// Every problem as `severity file:line:column [jail] message`.
    pub(crate) fn told(&self) -> Vec<String> {
        let directory = self.path("");
        let shown = |diagnostic: &Diagnostic| {
            let severity = match diagnostic.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
                Severity::Note => "note",
            };
            assert!(diagnostic.help.is_some(), "{diagnostic} says what to do");
            let file = diagnostic.file.as_deref().unwrap_or(Path::new("?"));
            let file = file.strip_prefix(&directory).unwrap_or(file).display();
            let place = diagnostic.place.as_ref();
            let place = place.map_or(String::new(), |p| format!(":{}:{}", p.line, p.column));
            let jail = diagnostic.jail.as_deref().unwrap_or("-");
            format!("{severity} {file}{place} [{jail}] {}", diagnostic.message)
        };
        self.load().diagnostics.0.iter().map(shown).collect()
    }
}

pub(crate) fn names(loaded: &Loaded) -> Vec<&str> {
    loaded.jails.iter().map(|jail| jail.name.as_str()).collect()
}

//! What the committed object was made of, and by what: `guard.bpf.toml`.

use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::Context;
use sha2::{Digest, Sha256};

use super::toolchain::{Identity, Tools};
use super::{RECORD, compile};

/// The record.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Record {
    /// Of the object beside it.
    pub(super) object_sha256: String,
    /// [`source_sha256`].
    pub(super) source_sha256: String,
    /// What built it.
    pub(super) toolchain: Identity,
}

const HEAD: &str = "\
# What guard.bpf.o was made of, and by what. Written by `cargo xtask build-ebpf`;
# `cargo xtask check` proves that it is true.
";

impl Record {
    pub(super) fn of(root: &Path, tools: &Tools, object: &[u8]) -> anyhow::Result<Self> {
        Ok(Self {
            object_sha256: sha256(object),
            source_sha256: source_sha256(root)?,
            toolchain: tools.identity(),
        })
    }

    pub(super) fn read(root: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(root.join(RECORD))
            .with_context(|| format!("reading {RECORD} (cargo xtask build-ebpf writes it)"))?;
        toml::from_str(&text).with_context(|| format!("reading {RECORD}"))
    }

    pub(super) fn write(&self, root: &Path) -> anyhow::Result<()> {
        let text = format!("{HEAD}{}", toml::to_string(self)?);
        fs::write(root.join(RECORD), text).with_context(|| format!("writing {RECORD}"))
    }
}

/// In hexadecimal.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

/// Over the names and contents of all files that make the object, its lock file among
/// them, and over the compiler's flags.
pub(super) fn source_sha256(root: &Path) -> anyhow::Result<String> {
    let mut files = Vec::new();
    for directory in ["guard-ebpf", "guard-common"] {
        collect(&root.join(directory), &mut files)
            .with_context(|| format!("listing {directory}"))?;
    }
    files.sort();
    let mut hash = Sha256::new();
    // Each part with its length, so that no two lists of files are one text.
    let mut add = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    for flag in compile::FLAGS {
        add(flag.as_bytes());
    }
    for file in files {
        add(file.strip_prefix(root)?.as_os_str().as_encoded_bytes());
        add(&fs::read(&file).with_context(|| format!("reading {}", file.display()))?);
    }
    Ok(hexadecimal(&hash.finalize()))
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            files.push(entry.path());
        } else if entry.file_name() != "target" {
            collect(&entry.path(), files)?;
        }
    }
    Ok(())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkout(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a directory");
        for (name, content) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            fs::write(path, content).expect("a file");
        }
        root
    }

    fn hash_of(files: &[(&str, &str)]) -> String {
        source_sha256(checkout(files).path()).expect("a hash")
    }

    const MAIN: (&str, &str) = ("guard-ebpf/src/main.rs", "fn main() {}");
    const COMMON: (&str, &str) = ("guard-common/src/lib.rs", "pub mod layout;");

    #[test]
    fn the_source_hash_tells_every_change_and_nothing_else() {
        let hash = hash_of(&[MAIN, COMMON]);
        // The place of the checkout, what is built, and other packages do not count.
        let built = ("guard-ebpf/target/release/guard-ebpf", "ELF");
        let other = ("guard/src/lib.rs", "pub mod core;");
        assert_eq!(hash, hash_of(&[COMMON, MAIN, built, other]));
        for changed in [
            ("guard-common/src/lib.rs", "pub mod layout; "),
            ("guard-common/src/lab.rs", "pub mod layout;"),
            ("guard-common/src/a/lib.rs", "pub mod layout;"),
        ] {
            assert_ne!(hash, hash_of(&[MAIN, changed]), "{changed:?}");
        }
        assert_ne!(hash, hash_of(&[MAIN, COMMON, ("guard-ebpf/Cargo.lock", "")]));
    }

    #[test]
    fn the_committed_record_speaks_of_the_committed_object() {
        let root = super::super::root();
        let record = Record::read(&root).expect("the record");
        let object = fs::read(super::super::object_path(&root)).expect("the object");
        assert_eq!(record.object_sha256, sha256(&object));
        assert_eq!(record.source_sha256, source_sha256(&root).expect("a hash"));
    }
}

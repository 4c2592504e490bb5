//! `cargo xtask sbom`: what the shipped programs are made of, as CycloneDX 1.5 in JSON.
//!
//! Input: what cargo resolves for guardctl, guard-helper and the eBPF program, and the lock
//! files. Output: one file with every crate that is linked into them, and SQLite, each with
//! version, licence, package URL and checksum. Invariants: nothing that only builds or tests
//! is in it; the same source gives the same bytes, and a time only where `SOURCE_DATE_EPOCH`
//! or the package's date gives one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use guard_tests::command;
use serde_json::{Value, json};

use crate::workspace;

/// Options of `sbom`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Write it there; target/guard.cdx.json by default.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Where crates that are linked are resolved: a manifest, the lock file beside it, and the
/// package.
const ROOTS: &[(&str, &str, &str)] = &[
    ("Cargo.toml", "Cargo.lock", "guard"),
    ("guard-ebpf/Cargo.toml", "guard-ebpf/Cargo.lock", "guard-ebpf"),
];
/// The crate that brings SQLite's source, and where that says its version.
const SQLITE: (&str, &str) = ("libsqlite3-sys", "sqlite3/sqlite3.h");
/// Where a crate's source lies, as panic messages have it.
const SOURCES: &[u8] = b"/registry/src/";

/// One crate.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Crate {
    name: String,
    version: String,
    licence: String,
    repository: Option<String>,
    checksum: Option<String>,
    /// Package URLs of what it is linked with.
    uses: BTreeSet<String>,
}

impl Crate {
    fn purl(&self) -> String {
        format!("pkg:cargo/{}@{}", self.name, self.version)
    }
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let epoch = std::env::var("SOURCE_DATE_EPOCH").ok();
    let epoch = epoch.map(|epoch| epoch.parse().context("SOURCE_DATE_EPOCH is no number"));
    let text = make(epoch.transpose()?)?;
    let output =
        options.output.clone().unwrap_or_else(|| workspace::target().join("guard.cdx.json"));
    fs::write(&output, &text).with_context(|| format!("write {}", output.display()))?;
    println!("made       {}: {} components", output.display(), components(&text)?.len());
    Ok(())
}

/// That it can be made, and twice the same.
pub(crate) fn check() -> Result<()> {
    let text = make(None)?;
    if make(None)? != text {
        bail!("it is another one each time");
    }
    println!("{} components", components(&text)?.len());
    Ok(())
}

/// The bill of materials, with this time of its making.
pub(crate) fn make(epoch: Option<u64>) -> Result<String> {
    let mut crates = BTreeMap::new();
    for (manifest, lock, package) in ROOTS {
        let checksums = checksums(&workspace::root().join(lock))?;
        let mut tree = workspace::cargo(&["tree", "--locked", "--manifest-path", manifest]);
        tree.args(["--package", package, "--edges", "normal,no-proc-macro", "--prefix", "depth"]);
        tree.args(["--format", "{p}\t{l}\t{r}"]);
        for mut found in read_tree(&said(&mut tree)?)? {
            found.checksum = checksums.get(&(found.name.clone(), found.version.clone())).cloned();
            match crates.get_mut(&found.purl()) {
                None => _ = crates.insert(found.purl(), found),
                Some(Crate { uses, .. }) => uses.extend(found.uses),
            }
        }
    }
    let sqlite = sqlite(&crates)?;
    let version = env!("CARGO_PKG_VERSION");
    let guard = format!("pkg:cargo/guard@{version}");
    let main = crates.remove(&guard).context("cargo tree does not name guard")?;
    let mut metadata = json!({
        "tools": {"components": [{"type": "application", "name": "guard xtask", "version": version}]},
        "component": {
            "type": "application", "bom-ref": guard, "purl": guard, "name": "guard",
            "version": version, "licenses": [{"expression": spdx(&main.licence)}],
            "description": "guardctl and guard-helper, with the eBPF program in guardctl",
        },
    });
    if let Some(epoch) = epoch {
        let mut date = Command::new("date");
        date.args(["--utc", "-d", &format!("@{epoch}"), "+%Y-%m-%dT%H:%M:%SZ"]);
        metadata["timestamp"] = said(&mut date)?.trim().into();
    }
    let mut uses: BTreeMap<String, BTreeSet<String>> =
        crates.iter().map(|(purl, one)| (purl.clone(), one.uses.clone())).collect();
    let ebpf = crates.keys().find(|purl| purl.starts_with("pkg:cargo/guard-ebpf@")).cloned();
    let embedded = ebpf.context("cargo tree does not name guard-ebpf")?;
    uses.insert(guard, main.uses.into_iter().chain([embedded]).collect());
    for (purl, linked) in &mut uses {
        if purl.starts_with(&format!("pkg:cargo/{}@", SQLITE.0)) {
            linked.insert(sqlite.purl.clone());
        }
    }
    uses.insert(sqlite.purl.clone(), BTreeSet::new());
    let mut components: Vec<Value> = crates.values().map(component).collect();
    components.push(sqlite.component());
    let dependencies: Vec<Value> =
        uses.iter().map(|(of, on)| json!({"ref": of, "dependsOn": on})).collect();
    let bom = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": metadata,
        "components": components,
        "dependencies": dependencies,
    });
    Ok(format!("{}\n", serde_json::to_string_pretty(&bom)?))
}

/// That every crate of which a program tells where its source lay is in the bill.
pub(crate) fn covers(text: &str, program: &Path) -> Result<()> {
    let known: BTreeSet<String> = components(text)?
        .iter()
        .map(|one| {
            format!(
                "{}-{}",
                one["name"].as_str().unwrap_or(""),
                one["version"].as_str().unwrap_or("")
            )
        })
        .collect();
    let bytes = fs::read(program).with_context(|| format!("read {}", program.display()))?;
    let linked = linked_crates(&bytes);
    if linked.is_empty() {
        bail!("{} tells nothing of its crates", program.display());
    }
    let missing: Vec<&String> = linked.difference(&known).collect();
    if !missing.is_empty() {
        bail!("{} is linked with what the bill of materials lacks: {missing:?}", program.display());
    }
    Ok(())
}

/// `NAME-VERSION` of every crate whose source a program names.
fn linked_crates(program: &[u8]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, window) in program.windows(SOURCES.len()).enumerate() {
        if window != SOURCES {
            continue;
        }
        // The registry's own directory, then the crate's.
        let rest = &program[at + SOURCES.len()..];
        let name = rest.split(|byte| *byte == b'/').nth(1).unwrap_or_default();
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.+".contains(byte);
        if !name.is_empty() && name.len() < 100 && name.iter().all(plain) {
            found.insert(String::from_utf8_lossy(name).into_owned());
        }
    }
    found
}

fn components(text: &str) -> Result<Vec<Value>> {
    let bom: Value = serde_json::from_str(text)?;
    Ok(bom["components"].as_array().context("no components")?.clone())
}

/// The crates of `cargo tree --prefix depth`: a line is used by the last one above it that is
/// less deep by one.
fn read_tree(text: &str) -> Result<Vec<Crate>> {
    let mut found: BTreeMap<String, Crate> = BTreeMap::new();
    let mut above: Vec<String> = Vec::new();
    for line in text.lines() {
        let broken = || format!("cargo tree says `{line}`");
        let digits = line.find(|c: char| !c.is_ascii_digit()).with_context(broken)?;
        let depth: usize = line[..digits].parse().with_context(broken)?;
        let mut parts = line[digits..].trim_end_matches(" (*)").split('\t');
        let mut package = parts.next().with_context(broken)?.split(' ');
        let name = package.next().with_context(broken)?.to_owned();
        let version = package.next().and_then(|word| word.strip_prefix('v'));
        let version = version.with_context(broken)?.to_owned();
        let licence = parts.next().filter(|text| !text.is_empty()).with_context(broken)?;
        let repository = parts.next().filter(|text| !text.is_empty()).map(str::to_owned);
        let licence = licence.to_owned();
        let (checksum, uses) = (None, BTreeSet::new());
        let one = Crate { name, version, licence, repository, checksum, uses };
        above.truncate(depth);
        if let Some(user) = above.last().and_then(|user| found.get_mut(user)) {
            user.uses.insert(one.purl());
        }
        above.push(one.purl());
        found.entry(one.purl()).or_insert(one);
    }
    Ok(found.into_values().collect())
}

/// Checksums of a lock file by name and version.
fn checksums(path: &Path) -> Result<BTreeMap<(String, String), String>> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let lock: toml::Table = text.parse().with_context(|| format!("read {}", path.display()))?;
    let packages = lock.get("package").and_then(toml::Value::as_array).context("no packages")?;
    let of = |package: &toml::Value| {
        let word = |key: &str| Some(package.get(key)?.as_str()?.to_owned());
        Some(((word("name")?, word("version")?), word("checksum")?))
    };
    Ok(packages.iter().filter_map(of).collect())
}

fn component(one: &Crate) -> Value {
    let mut component = json!({
        "type": "library", "bom-ref": one.purl(), "purl": one.purl(), "name": one.name,
        "version": one.version, "scope": "required",
        "licenses": [{"expression": spdx(&one.licence)}],
    });
    if let Some(checksum) = &one.checksum {
        component["hashes"] = json!([{"alg": "SHA-256", "content": checksum}]);
    }
    if let Some(repository) = &one.repository {
        component["externalReferences"] = json!([{"type": "vcs", "url": repository}]);
    }
    component
}

/// Some crates separate licences as it was done before SPDX had expressions.
fn spdx(licence: &str) -> String {
    licence.replace('/', " OR ")
}

/// The library that is no crate.
struct Sqlite {
    version: String,
    purl: String,
}

impl Sqlite {
    fn component(&self) -> Value {
        json!({
            "type": "library", "bom-ref": self.purl, "purl": self.purl, "name": "sqlite",
            "version": self.version, "scope": "required",
            "licenses": [{"license": {"id": "blessing"}}],
            "externalReferences": [{"type": "website", "url": "https://sqlite.org/"}],
        })
    }
}

/// SQLite as its crate brings it.
fn sqlite(crates: &BTreeMap<String, Crate>) -> Result<Sqlite> {
    let (name, header) = SQLITE;
    let one = crates.values().find(|one| one.name == name).context("SQLite's crate is gone")?;
    let mut metadata = workspace::cargo(&["metadata", "--locked", "--format-version", "1"]);
    let metadata: Value = serde_json::from_str(&said(&mut metadata)?)?;
    let packages = metadata["packages"].as_array().context("cargo metadata has no packages")?;
    let package = packages.iter().find(|package| {
        package["name"] == one.name.as_str() && package["version"] == one.version.as_str()
    });
    let manifest = package.and_then(|package| package["manifest_path"].as_str());
    let manifest = Path::new(manifest.context("cargo metadata has no such crate")?);
    let header = manifest.with_file_name(header);
    let text = fs::read_to_string(&header).with_context(|| format!("read {}", header.display()))?;
    let line = text.lines().find_map(|line| line.strip_prefix("#define SQLITE_VERSION "));
    let version = line.context("no SQLITE_VERSION")?.trim().trim_matches('"').to_owned();
    Ok(Sqlite { purl: format!("pkg:generic/sqlite@{version}"), version })
}

fn said(command: &mut Command) -> Result<String> {
    let words = command::words(command);
    let output = command.output().with_context(|| format!("start {words}"))?;
    if !output.status.success() {
        bail!("{words}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}

#[cfg(test)]
mod tests {
    use cyclonedx_bom::prelude::{Bom, Validate as _};

    use super::*;

    #[test]
    fn it_is_valid_and_names_what_is_linked_and_nothing_else() {
        let text = make(Some(86_400)).expect("a bill of materials");
        let bom = Bom::parse_from_json(text.as_bytes()).expect("CycloneDX");
        let judged = bom.validate();
        assert!(judged.passed(), "{judged:?}");
        let value: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(value["metadata"]["timestamp"], "1970-01-02T00:00:00Z");
        assert!(value.get("serialNumber").is_none());
        let all = components(&text).expect("components");
        let named = |name: &str| all.iter().any(|one| one["name"] == name);
        for linked in ["rusqlite", "tokio", "systemd", "sqlite", "aya-ebpf", "guard-common"] {
            assert!(named(linked), "{linked} is missing");
        }
        // Tests, the project's commands, build scripts and macros.
        for other in ["proptest", "tempfile", "xtask", "cc", "syn", "serde_derive", "vt100"] {
            assert!(!named(other), "{other} is not shipped");
        }
        for one in &all {
            for key in ["version", "purl", "licenses"] {
                assert!(!one[key].is_null(), "{one}: no {key}");
            }
            let ours = one["name"].as_str().is_some_and(|name| name.starts_with("guard"));
            assert!(ours || named("sqlite") && one["name"] == "sqlite" || !one["hashes"].is_null());
        }
        let refs: BTreeSet<&str> = all.iter().filter_map(|one| one["bom-ref"].as_str()).collect();
        assert_eq!(refs.len(), all.len(), "each once");
        for dependency in value["dependencies"].as_array().expect("dependencies") {
            for on in dependency["dependsOn"].as_array().expect("a list") {
                assert!(refs.contains(on.as_str().expect("a reference")), "{on} is nothing");
            }
        }
    }

    #[test]
    fn a_tree_is_read_with_who_uses_what() {
        let tree = "0guard v0.1.0 (/x)\tMIT\t\n1a v1.0.0\tMIT/Apache-2.0\thttps://a\n\
                    2b v2.0.0+x\tMIT\t\n1b v2.0.0+x\tMIT\t (*)\n";
        let found = read_tree(tree).expect("a tree");
        let uses = |name: &str| {
            let one = found.iter().find(|one| one.name == name).expect("it is there");
            one.uses.iter().cloned().collect::<Vec<_>>()
        };
        assert_eq!(uses("guard"), ["pkg:cargo/a@1.0.0", "pkg:cargo/b@2.0.0+x"]);
        assert_eq!(uses("a"), ["pkg:cargo/b@2.0.0+x"]);
        assert_eq!(found.len(), 3);
        assert!(read_tree("0guard\n").is_err());
    }

    #[test]
    fn what_a_program_says_of_its_crates_is_found() {
        let program = b"\0/usr/src/cargo/registry/src/index.crates.io-1/tokio-1.2.3/src/a.rs\0\
                        /registry/src/x/\xff/";
        assert_eq!(linked_crates(program), BTreeSet::from(["tokio-1.2.3".to_owned()]));
    }
}

//! `cargo xtask install`: guardctl, its unit, its configuration and its manual pages,
//! below one root.
//!
//! Vendor files are replaced; what lies under `/etc` already is the administrator's and
//! is kept. Everything that is done is printed.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{man, packages, workspace};

/// Options of `install`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Install below this directory, such as the root of a container or a package.
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    /// Install this guardctl, and the guard-helper beside it, instead of building them.
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
}

/// Files of `config/` and where they go: all files of the source directory with the
/// given extension, or the one file.
const FILES: &[(&str, &str, Owner)] = &[
    ("jail.conf", "usr/lib/guard/jail.conf", Owner::Vendor),
    ("filter.d/*.conf", "usr/lib/guard/filter.d", Owner::Vendor),
    ("filter.d/examples/*.toml", "usr/lib/guard/filter.d/examples", Owner::Vendor),
    ("examples/*.sh", "usr/share/doc/guard/examples", Owner::Vendor),
    ("grafana/*.json", "usr/share/doc/guard/grafana", Owner::Vendor),
    ("prometheus/*.yaml", "usr/share/doc/guard/prometheus", Owner::Vendor),
    ("systemd/*.service", "usr/lib/systemd/system", Owner::Vendor),
    ("systemd/*.socket", "usr/lib/systemd/system", Owner::Vendor),
    ("systemd/*.timer", "usr/lib/systemd/system", Owner::Vendor),
    ("systemd/*.mount", "usr/lib/systemd/system", Owner::Vendor),
    ("sysusers.d/*.conf", "usr/lib/sysusers.d", Owner::Vendor),
    ("tmpfiles.d/*.conf", "usr/lib/tmpfiles.d", Owner::Vendor),
    ("guard.toml", "etc/guard/guard.toml", Owner::Administrator),
    ("jail.d/*.conf", "etc/guard/jail.d", Owner::Administrator),
    ("logrotate/guard", "etc/logrotate.d/guard", Owner::Administrator),
];

/// Files that `cargo xtask man` makes, and where they go.
const REFERENCE: &[(&str, &str, Owner)] = &[
    ("man/*.1", "usr/share/man/man1", Owner::Vendor),
    ("man/*.5", "usr/share/man/man5", Owner::Vendor),
    ("man/*.8", "usr/share/man/man8", Owner::Vendor),
    ("completions/guardctl.bash", "usr/share/bash-completion/completions/guardctl", Owner::Vendor),
    ("completions/_guardctl", "usr/share/zsh/vendor-completions/_guardctl", Owner::Vendor),
    (
        "completions/guardctl.fish",
        "usr/share/fish/vendor_completions.d/guardctl.fish",
        Owner::Vendor,
    ),
];

/// Directories that are there even when nothing is shipped for them.
const DIRECTORIES: &[&str] = &["etc/guard/jail.d", "etc/guard/filter.d"];

/// Whose a file is once it is installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// Replaced by every installation.
    Vendor,
    /// Written once.
    Administrator,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    match &options.program {
        Some(program) => place(&options.root, program, None)?,
        None => {
            packages::need(&[packages::BUILD])?;
            let (program, reference) = (workspace::build_guardctl()?, man::usual_directory());
            man::make(&reference)?;
            place(&options.root, &program, Some(&reference))?;
        }
    }
    finish(&options.root)
}

/// Puts everything in place: guardctl and the helper beside it, what lies in `config/`,
/// and what `cargo xtask man` made, if that is there.
pub(crate) fn place(root: &Path, program: &Path, reference: Option<&Path>) -> Result<()> {
    put(program, &root.join("usr/bin/guardctl"), Owner::Vendor, 0o755)?;
    let helper = program.with_file_name("guard-helper");
    put(&helper, &root.join("usr/bin/guard-helper"), Owner::Vendor, 0o755)?;
    for directory in DIRECTORIES {
        fs::create_dir_all(root.join(directory))
            .with_context(|| format!("make {}", root.join(directory).display()))?;
    }
    let config = workspace::root().join("config");
    let of_config = FILES.iter().map(|file| (config.as_path(), file));
    let of_reference =
        reference.into_iter().flat_map(|made| REFERENCE.iter().map(move |file| (made, file)));
    for (from, (source, destination, owner)) in of_config.chain(of_reference) {
        for (source, destination) in expand(from, source, root.join(destination))? {
            put(&source, &destination, *owner, 0o644)?;
        }
    }
    Ok(())
}

/// The files that a pattern of [`FILES`] stands for, with their destinations.
fn expand(config: &Path, pattern: &str, destination: PathBuf) -> Result<Vec<(PathBuf, PathBuf)>> {
    let Some((directory, extension)) = pattern.split_once("/*.") else {
        return Ok(vec![(config.join(pattern), destination)]);
    };
    let directory = config.join(directory);
    let mut files = Vec::new();
    if !directory.exists() {
        return Ok(files);
    }
    for entry in
        fs::read_dir(&directory).with_context(|| format!("read {}", directory.display()))?
    {
        let path = entry?.path();
        if path.extension() == Some(OsStr::new(extension))
            && let Some(name) = path.file_name()
        {
            files.push((path.clone(), destination.join(name)));
        }
    }
    files.sort();
    Ok(files)
}

/// Puts one file in place at once: a program that runs keeps its old file.
fn put(source: &Path, destination: &Path, owner: Owner, mode: u32) -> Result<()> {
    if owner == Owner::Administrator && destination.exists() {
        println!("kept       {}", destination.display());
        return Ok(());
    }
    let directory = destination.parent().context("a file in a directory")?;
    fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
    let aside = destination.with_added_extension("new");
    fs::copy(source, &aside)
        .with_context(|| format!("copy {} to {}", source.display(), aside.display()))?;
    fs::set_permissions(&aside, fs::Permissions::from_mode(mode))?;
    fs::rename(&aside, destination)
        .with_context(|| format!("put {} in place", destination.display()))?;
    println!("installed  {}", destination.display());
    Ok(())
}

/// Makes users and groups if this is a system and not a package, and tells systemd if it is
/// the running one.
fn finish(root: &Path) -> Result<()> {
    if root.join("etc/passwd").exists() {
        let mut users = Command::new("systemd-sysusers");
        workspace::run(users.arg("--root").arg(root).arg("guard.conf"))?;
    }
    let is_this_host = root.canonicalize().is_ok_and(|root| root == Path::new("/"))
        && Path::new("/run/systemd/system").exists();
    if is_this_host {
        workspace::run(Command::new("systemctl").arg("daemon-reload"))?;
        renew_helper_socket()?;
    }
    println!("\nTo start it now and at every boot: systemctl enable --now guard.service");
    Ok(())
}

/// Makes the helper's socket anew where there is one: whose it is shows only in a new one,
/// and the agent of a release before may have been another user.
fn renew_helper_socket() -> Result<()> {
    let mut active = Command::new("systemctl");
    active.args(["is-active", "--quiet", "guard-helper.socket"]);
    if !active.status().context("start systemctl")?.success() {
        return Ok(());
    }
    // The helper first: a socket whose service runs stays.
    workspace::run(Command::new("systemctl").args(["stop", "guard-helper.service"]))?;
    workspace::run(Command::new("systemctl").args(["restart", "guard-helper.socket"]))?;
    println!("restarted  guard-helper.socket");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vendor_files_are_replaced_and_the_administrators_are_kept() {
        let directory = std::env::temp_dir().join(format!("guard-install-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        let (source, vendor, own) =
            (directory.join("source"), directory.join("usr/a"), directory.join("etc/a"));
        for text in ["first", "second"] {
            fs::write(&source, text).expect("write");
            put(&source, &vendor, Owner::Vendor, 0o644).expect("put");
            put(&source, &own, Owner::Administrator, 0o644).expect("put");
        }
        assert_eq!(fs::read_to_string(&vendor).expect("read"), "second");
        assert_eq!(fs::read_to_string(&own).expect("read"), "first");
        fs::remove_dir_all(&directory).expect("remove");
    }
}

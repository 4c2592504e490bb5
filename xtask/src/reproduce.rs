//! `cargo xtask reproduce`: whoever builds the programs of the Debian package gets these bytes.
//!
//! Input: a commit. It is compiled twice as `cargo xtask deb` does it, in directories with other
//! names and other lengths, with nothing in common but the compiler and the sources of the
//! dependencies, which cargo reads by two names. Output: size and checksum of each program as
//! it is packaged. Invariant: an error unless both have the same bytes, and none of these paths in them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::deb::{self, Places};
use crate::{packages, workspace};

/// Options of `reproduce`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// What to compile.
    #[arg(long, default_value = "HEAD")]
    commit: String,
    /// Go on with what a run has left that did not come to its end.
    #[arg(long)]
    resume: bool,
}

/// What the package has of programs.
const PROGRAMS: &[&str] = &["guardctl", "guard-helper"];

pub(crate) fn run(options: &Options) -> Result<()> {
    packages::need(&[packages::BUILD, packages::DEBIAN])?;
    let scratch = workspace::target().join("reproduce");
    if scratch.exists() && !options.resume {
        fs::remove_dir_all(&scratch).with_context(|| format!("remove {}", scratch.display()))?;
    }
    let archive = scratch.join("source.tar");
    fs::create_dir_all(&scratch)?;
    let mut git = Command::new("git");
    git.current_dir(workspace::root()).args(["archive", "--format=tar", "--output"]);
    workspace::run(git.arg(&archive).arg(&options.commit)).context("the source is a commit's")?;

    let home = deb::cargo_home()?;
    let first = Places { source: scratch.join("a"), target: scratch.join("b"), home: home.clone() };
    let elsewhere = scratch.join("another-place/with-longer-names");
    let second = Places {
        source: elsewhere.join("for-the-source"),
        target: elsewhere.join("for-what-is-made-of-it"),
        home: elsewhere.join("for-dependencies"),
    };
    fs::create_dir_all(&second.home)?;
    let registry = second.home.join("registry");
    if !registry.exists() {
        symlink(home.join("registry"), registry)?;
    }
    for places in [&first, &second] {
        fs::create_dir_all(&places.source)?;
        let mut unpack = Command::new("tar");
        workspace::run(unpack.arg("-xf").arg(&archive).arg("-C").arg(&places.source))?;
        println!("\n=== compiling in {}", places.source.display());
        deb::build(places)?;
    }
    println!();
    for name in PROGRAMS {
        let shipped = [("one", &first), ("other", &second)].map(|(copy, places)| {
            let shipped = scratch.join(format!("{name}-{copy}"));
            fs::copy(places.program(name), &shipped)?;
            deb::strip(&shipped)?;
            let bytes = fs::read(&shipped)?;
            anyhow::Ok((shipped, bytes))
        });
        let [one, other] = shipped;
        let ((path, one), (_, other)) = (one?, other?);
        same(name, &one, &other)?;
        for place in [&first, &second].into_iter().flat_map(Places::all) {
            ensure!(!holds(&one, place), "{name} has {} in it", place.display());
        }
        let said = Command::new("sha256sum").arg(&path).output().context("start sha256sum")?;
        let sum = String::from_utf8_lossy(&said.stdout);
        let sum = sum.split_whitespace().next().context("sha256sum says nothing")?;
        println!("the same   {name}: {} bytes, SHA-256 {sum}", one.len());
    }
    Ok(fs::remove_dir_all(&scratch)?)
}

/// Complains of the first byte that differs.
fn same(name: &str, one: &[u8], other: &[u8]) -> Result<()> {
    if one == other {
        return Ok(());
    }
    let at = one.iter().zip(other).take_while(|(a, b)| a == b).count();
    bail!("{name}: {} and {} bytes, which differ from byte {at} on", one.len(), other.len())
}

fn holds(program: &[u8], path: &Path) -> bool {
    let path = path.as_os_str().as_encoded_bytes();
    program.windows(path.len()).any(|bytes| bytes == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_that_differ_are_told_apart() {
        assert!(same("x", b"abc", b"abc").is_ok());
        for (other, at) in [(&b"abd"[..], 2), (b"ab", 2), (b"abcd", 3), (b"", 0)] {
            let told = same("x", b"abc", other).expect_err("they differ").to_string();
            assert!(told.ends_with(&format!("from byte {at} on")), "{told}");
        }
        assert!(holds(b"x/usr/src/guardx", Path::new("/usr/src/guard")));
        assert!(!holds(b"x/usr/src/guar", Path::new("/usr/src/guard")));
    }
}

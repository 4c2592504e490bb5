//! Programs of others to test against, fetched from Debian and run in place: nothing of them
//! is installed, and no service of theirs starts.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::command::{command, finish};

/// Debian's current package of this name, unpacked; fetched once into `target/peers`.
///
/// # Errors
/// When it cannot be fetched or unpacked.
pub fn unpacked(name: &str) -> Result<PathBuf> {
    let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers");
    let tree = peers.join(name);
    if tree.exists() {
        return Ok(tree);
    }
    // Two tests may fetch at once: each in a place of its own, the first wins.
    fs::create_dir_all(&peers)?;
    let place = tempfile::tempdir_in(&peers)?;
    let mut fetch = command("apt-get", ["--quiet", "download", name]);
    fetch.current_dir(&place);
    finish(fetch).with_context(|| format!("fetch Debian's {name} (apt-get update may help)"))?;
    let package = fs::read_dir(&place)?.next().context("apt-get fetched nothing")??;
    let unpacked = place.path().join("unpacked");
    let mut unpack = command("dpkg-deb", ["--extract"]);
    unpack.arg(package.path()).arg(&unpacked);
    finish(unpack)?;
    if let Err(error) = fs::rename(&unpacked, &tree)
        && !tree.exists()
    {
        bail!("put {} in place: {error}", tree.display());
    }
    Ok(tree)
}

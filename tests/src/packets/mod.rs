//! Packet cases as data.
//!
//! Input: `tests/fixtures/packets/`: `world.toml` says what is banned where, every other
//! file is a list of packets, each with the verdict it must get. Output: bytes, and the
//! world as the tables that the host judges by. Whoever adds a case writes data, no code.

mod build;
mod world;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use guard_common::packet::Link;
use guard_common::verdict::Verdict;

pub use build::{Extension, Fragment, OnNft, Packet, Protocol, WrittenLink};
pub use world::{Class, Found, Listed, NOW, Scope, World};

/// One packet and what must become of it.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it shows, with the file that it comes from.
    pub description: String,
    /// What the bytes begin with.
    pub link: Link,
    /// The packet.
    pub bytes: Vec<u8>,
    /// Whether traffic to guests is in scope too.
    pub scope: Scope,
    /// What must become of it.
    pub verdict: Verdict,
    /// What becomes of it with nft, and the id of the difference, where that is another
    /// verdict.
    pub nft: Option<(OnNft, String)>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    case: Vec<Packet>,
}

/// Where the fixtures lie.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/packets")
}

/// All cases of all files. A case whose packet is IP right behind a plain Ethernet header
/// comes a second time without that header, as on a tun device.
///
/// # Errors
/// When a file cannot be read or says what no packet can be; which, and what.
pub fn cases() -> anyhow::Result<Vec<Case>> {
    let mut files: Vec<PathBuf> = fs::read_dir(directory())?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.retain(|path| !path.ends_with("world.toml"));
    files.sort();
    let mut cases = Vec::new();
    for path in files {
        let text = fs::read_to_string(&path)?;
        let file: File =
            toml::from_str(&text).with_context(|| format!("reading {}", path.display()))?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        for mut packet in file.case {
            packet.number = u16::try_from(cases.len() + 1)?;
            let description = format!("{stem}: {}", packet.description);
            let added = expand(&packet, description.clone()).context(description)?;
            cases.extend(added);
        }
    }
    ensure!(!cases.is_empty(), "no packet cases in {}", directory().display());
    Ok(cases)
}

fn expand(packet: &Packet, description: String) -> anyhow::Result<Vec<Case>> {
    let verdict = Verdict::ALL
        .into_iter()
        .find(|verdict| verdict.name() == packet.verdict)
        .with_context(|| format!("there is no verdict `{}`", packet.verdict))?;
    let nft = match (packet.nft, &packet.because) {
        (Some(nft), Some(because)) => Some((nft, because.clone())),
        (None, None) => None,
        _ => bail!("`nft` and `because` go together"),
    };
    let case = |link, bytes, description| {
        let scope = packet.scope;
        Case { description, link, bytes, scope, verdict, nft: nft.clone() }
    };
    Ok(match packet.link {
        Some(WrittenLink::Ethernet) => vec![case(Link::Ethernet, packet.ethernet()?, description)],
        Some(WrittenLink::Ip) => vec![case(Link::Ip, packet.ip()?, description)],
        None if packet.is_plain_ip() => vec![
            case(Link::Ethernet, packet.ethernet()?, description.clone()),
            case(Link::Ip, packet.ip()?, format!("{description} (without Ethernet)")),
        ],
        None => vec![case(Link::Ethernet, packet.ethernet()?, description)],
    })
}

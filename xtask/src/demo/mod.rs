//! `cargo xtask demo`: an attacker is banned and released, on this machine, for real.
//!
//! Two network namespaces stand for the host and for those outside; real journal files
//! carry what sshd and Proxmox VE would log; the real agent reads them and acts on the
//! real kernel. Nothing of this machine's own network is touched. Output: the story as
//! it happens, and success only if every part of it was observed.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::{packages, workspace};

mod act;
mod narrator;

use act::Act;

/// Options of `demo`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Show one backend only.
    #[arg(long)]
    backend: Option<Backend>,
}

impl Options {
    /// Everything that it shows.
    pub(crate) const fn all() -> Self {
        Self { backend: None }
    }
}

/// How bans are enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Backend {
    /// In the network driver: packets are dropped before the kernel sees them.
    Xdp,
    /// In nftables, with the table that Fail2Ban makes.
    Nft,
}

impl Backend {
    /// Its name in `guard.toml`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::Nft => "nft",
        }
    }
}

pub(crate) fn run(options: &Options) -> Result<()> {
    guard_tests::namespace::require_root()?;
    packages::need(&[packages::BUILD, packages::NAMESPACES])?;
    guard_tests::namespace::sweep()?;
    println!("Building guardctl (the first time takes some minutes).");
    let program = workspace::build_guardctl()?;
    let start = Instant::now();
    let backends =
        options.backend.map_or_else(|| vec![Backend::Xdp, Backend::Nft], |one| vec![one]);
    for backend in &backends {
        play(*backend, &program)
            .with_context(|| format!("the demo on {} failed", backend.name()))?;
    }
    println!(
        "\nAll of this was observed, on {} in {} s. Nothing of it is left on this machine.",
        backends.iter().map(|backend| backend.name()).collect::<Vec<_>>().join(" and "),
        start.elapsed().as_secs()
    );
    Ok(())
}

fn play(backend: Backend, program: &Path) -> Result<()> {
    let network = guard_tests::lan::Lan::new()?;
    let mut act = Act::prepare(backend, program, &network)?;
    act.start_agent()?;
    act.everybody_connects()?;
    act.attack_ssh()?;
    act.attacker_is_cut_off()?;
    act.list_bans()?;
    act.unban()?;
    act.attack_proxmox_and_wait()?;
    act.stop_agent()
}

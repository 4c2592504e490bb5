//! `cargo xtask bench`: figures, ours and Fail2Ban's, on one host in one run.
//!
//! The host is a Debian 12 container with guard installed and Fail2Ban beside it, both
//! with the jails of the Proxmox guide; one of them runs at a time. Output: a table
//! with ratios and the goals. `--check` makes a missed goal an error.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::{packages, workspace};

mod bans;
mod figures;
mod files;
mod idle;
mod journal;
mod latency;
mod load;
mod match_lines;
mod matching;
mod nft;
mod restore;
mod rig;

/// Options of `bench`.
#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
    /// How guard enforces.
    #[arg(long, global = true, default_value = "xdp", value_parser = ["xdp", "nft"])]
    backend: String,
    /// Do not measure Fail2Ban.
    #[arg(long, global = true)]
    alone: bool,
    /// Fail when a goal is missed.
    #[arg(long, global = true)]
    check: bool,
}

#[derive(Clone, Copy, clap::Subcommand)]
enum What {
    /// What a packet costs with few bans and with a million, beside a program that looks
    /// at nothing, xdp-filter and nft; no container. Writes docs/benchmarks.md.
    Datapath {
        /// Fewer and shorter runs, and nothing is written.
        #[arg(long)]
        quick: bool,
    },
    /// From the third failure in the journal to the first dropped packet.
    Latency {
        /// Bans of guard to measure, half with failures back to back, half with gaps.
        #[arg(long, default_value_t = 200)]
        bans: usize,
        /// Bans of Fail2Ban to measure.
        #[arg(long, default_value_t = 20)]
        peer_bans: usize,
    },
    /// One request with many addresses.
    Bans {
        /// Addresses for guard.
        #[arg(long, default_value_t = 100_000)]
        count: usize,
        /// Addresses for Fail2Ban.
        #[arg(long, default_value_t = 500)]
        peer_count: usize,
    },
    /// A start with many stored bans, and going over all of them; guard alone.
    Restore {
        /// Stored bans.
        #[arg(long, default_value_t = 1_000_000)]
        count: usize,
    },
    /// A log file that is written fast and rotated meanwhile; guard alone, no container.
    Files {
        /// How long to write.
        #[arg(long, default_value_t = 10)]
        seconds: u64,
        /// How much in each second.
        #[arg(long, default_value_t = 100)]
        megabytes: u64,
        /// How often the file is renamed and made anew meanwhile.
        #[arg(long, default_value_t = 3)]
        rotations: u64,
    },
    /// Lines a second through the filters, beside Fail2Ban, SSHGuard and ripgrep.
    Match {
        /// Lines for guard, SSHGuard and ripgrep.
        #[arg(long, default_value_t = 400_000)]
        lines: usize,
        /// Lines for Fail2Ban.
        #[arg(long, default_value_t = 10_000)]
        peer_lines: usize,
        /// What the lines are made from.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Entries a second out of a stored journal, beside bare loops around libsystemd and
    /// Fail2Ban.
    Journal {
        /// Entries for guard and the bare loops.
        #[arg(long, default_value_t = 200_000)]
        entries: usize,
        /// Entries for Fail2Ban.
        #[arg(long, default_value_t = 20_000)]
        peer_entries: usize,
        /// What the entries are made from.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// 100,000 bans through nftables, beside `nft -f`; no container.
    Nft,
    /// Entries as fast as journald takes them, a backlog, and a million sources; guard alone.
    Load {
        /// How long to write, without guard and with it.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
    /// Memory and processor time while nothing happens.
    Idle {
        /// How long to look.
        #[arg(long, default_value_t = 120)]
        seconds: u64,
    },
}

pub(crate) fn run(options: &Options) -> Result<()> {
    if let What::Match { lines, peer_lines, seed } = options.what {
        return matching::measure(lines, peer_lines, seed);
    }
    if let What::Journal { entries, peer_entries, seed } = options.what {
        packages::need(&[packages::BUILD, packages::NAMESPACES, packages::PEERS])?;
        return told(&journal::measure(entries, peer_entries, seed)?, options.check);
    }
    guard_tests::namespace::require_root()?;
    if let What::Datapath { quick } = options.what {
        let lists = [packages::BUILD, packages::NAMESPACES, packages::KERNEL, packages::DATAPATH];
        packages::need(&lists)?;
        let to = if quick { "--quick" } else { "docs" };
        let run =
            ["run", "--release", "--package", "guard-tests", "--example", "datapath", "--", to];
        return workspace::show("data plane", &mut workspace::cargo(&run));
    }
    if let What::Nft = options.what {
        packages::need(&[packages::BUILD, packages::NAMESPACES, packages::KERNEL])?;
        return told(&nft::measure()?, options.check);
    }
    packages::need(&[packages::BUILD, packages::NAMESPACES, packages::HOSTS])?;
    let program = workspace::build_guardctl()?;
    if let What::Files { seconds, megabytes, rotations } = options.what {
        return told(&files::measure(&program, seconds, megabytes, rotations)?, options.check);
    }
    let mut rig = rig::Rig::new(&program, &options.backend)?;
    let goals = match options.what {
        What::Files { .. } | What::Datapath { .. } => Vec::new(),
        What::Latency { bans, peer_bans } => {
            latency::measure(&mut rig, bans, unless(options.alone, peer_bans))?
        }
        What::Bans { count, peer_count } => {
            bans::measure(&mut rig, count, unless(options.alone, peer_count))?
        }
        What::Restore { count } => restore::measure(&mut rig, count)?,
        // Needs no host, and is done above.
        What::Match { .. } | What::Journal { .. } | What::Nft => Vec::new(),
        What::Load { seconds } => load::measure(&rig, seconds)?,
        What::Idle { seconds } => {
            idle::measure(&mut rig, Duration::from_secs(seconds), !options.alone)?
        }
    };
    told(&goals, options.check)
}

/// Prints the goals; with `check`, a missed one is an error.
fn told(goals: &[figures::Goal], check: bool) -> Result<()> {
    let missed = goals.iter().filter(|goal| !goal.is_met()).count();
    for goal in goals {
        println!("{goal}");
    }
    if check && missed > 0 {
        bail!("{missed} goals missed");
    }
    Ok(())
}

/// How much to ask of the peer: nothing if guard is measured alone.
fn unless(alone: bool, count: usize) -> usize {
    if alone { 0 } else { count }
}

//! The project's own commands: `cargo xtask VERB`.

use clap::{Parser, Subcommand};

mod build_ebpf;

/// Builds, checks, tests, shows and measures guard.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Build the eBPF object that guardctl embeds.
    BuildEbpf(build_ebpf::Options),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().verb {
        Verb::BuildEbpf(options) => build_ebpf::run(&options),
    }
}

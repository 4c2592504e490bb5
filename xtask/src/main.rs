//! The project's own commands: `cargo xtask VERB`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod asan;
mod bench;
mod build_ebpf;
mod check;
mod ci;
mod conformance;
mod deb;
mod demo;
#[cfg(test)]
mod documents;
mod fuzz;
mod install;
mod man;
mod packages;
mod sbom;
mod test;
mod vm;
mod workspace;

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
    /// Check format, lints, layers, file sizes, licences and the committed eBPF object.
    Check(check::Options),
    /// Run the tests: all of them, or one part.
    Test(test::Options),
    /// Put guardctl, its unit and its configuration in place.
    Install(install::Options),
    /// Make the Debian package.
    Deb(deb::Options),
    /// Say what the shipped programs are made of (CycloneDX).
    Sbom(sbom::Options),
    /// Make the manual pages, the completions and docs/configuration.md, and judge them.
    Man(man::Options),
    /// Watch an attacker being banned and released, on this machine, for real.
    Demo(demo::Options),
    /// Measure, beside Fail2Ban where it can do the same.
    Bench(bench::Options),
    /// Try inputs that nobody thought of, for a bounded time.
    Fuzz(fuzz::Options),
    /// Run what reaches `unsafe` code under AddressSanitizer, against the kernel.
    Asan(asan::Options),
    /// Run Fail2Ban's sample corpus, with its own filters, against guard.
    Conformance(conformance::Options),
    /// Everything that a change must pass: check, then test.
    Ci(ci::Options),
}

fn main() -> ExitCode {
    match run(Arguments::parse().verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Causes on lines of their own; a backtrace would tell nobody more.
            eprintln!("\nerror: {error}");
            for cause in error.chain().skip(1) {
                eprintln!("  because: {cause}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> anyhow::Result<()> {
    match verb {
        Verb::BuildEbpf(options) => build_ebpf::run(&options),
        Verb::Check(options) => check::run(&options),
        Verb::Test(options) => test::run(&options),
        Verb::Install(options) => install::run(&options),
        Verb::Deb(options) => deb::run(&options),
        Verb::Sbom(options) => sbom::run(&options),
        Verb::Man(options) => man::run(&options),
        Verb::Demo(options) => demo::run(&options),
        Verb::Bench(options) => bench::run(&options),
        Verb::Fuzz(options) => fuzz::run(&options),
        Verb::Asan(options) => asan::run(&options),
        Verb::Conformance(options) => conformance::run(&options),
        Verb::Ci(options) => ci::run(&options),
    }
}

//! The one binary: agent and command line.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    guard::cli::main()
}

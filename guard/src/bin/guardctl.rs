//! The one binary: agent and command line.

fn main() -> std::process::ExitCode {
    guard::cli::main()
}

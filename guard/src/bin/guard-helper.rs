//! Runs programs and resolves names for the agent, under a user of its own.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    guard::helper::main()
}

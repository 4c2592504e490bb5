//! `guard-helper`: does for the agent what the agent must not do itself.
//!
//! The agent can change the firewall and speaks to Unix and netlink sockets alone. Running programs
//! (`ignorecommand`) and resolving names (`ignoreip`, `usedns`) is done here, in a process
//! of its own user, over a socket that only the agent may use.
//!
//! - [`protocol`]: one JSON value a line, both ways.
//! - [`server`]: who is heard, and how much at a time.
//! - [`program`]: one program: no shell, a group of its own, a time limit.

pub mod program;
pub mod protocol;
pub mod server;

use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fs, io};

use clap::Parser;
use rustix::net::sockopt::socket_acceptconn;
use rustix::process::geteuid;
use tokio::net::UnixListener;

use server::Server;

use crate::accounts::Accounts;

/// Runs programs and resolves names for guard's agent.
#[derive(Debug, Parser)]
#[command(name = "guard-helper", version)]
struct Options {
    /// Listen here, unless systemd hands over a listening socket as standard input.
    #[arg(long, value_name = "PATH", default_value = "/run/guard-helper/helper.sock")]
    socket: PathBuf,
    /// Hear this user beside root: the one that the agent runs as.
    #[arg(long, value_name = "USER", value_parser = user)]
    agent_user: Option<u32>,
}

/// Why the helper does not run.
#[derive(Debug, thiserror::Error)]
enum HelperError {
    #[error("guard-helper does not run as root; start guard-helper.socket, or use setpriv")]
    Root,
    #[error("giving up the way to more rights: {0}")]
    Rights(io::Error),
    #[error("listening at {}: {cause}", path.display())]
    Socket { path: PathBuf, cause: io::Error },
    #[error("starting the event loop: {0}")]
    Start(io::Error),
}

/// Serves until it is killed.
pub fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("guard-helper: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), HelperError> {
    if geteuid().is_root() {
        return Err(HelperError::Root);
    }
    rustix::thread::set_no_new_privs(true).map_err(|cause| HelperError::Rights(cause.into()))?;
    let failed = |cause| HelperError::Socket { path: options.socket.clone(), cause };
    let listener = listening(&options.socket).map_err(failed)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(server::LOOKUPS + server::PROGRAMS)
        .build()
        .map_err(HelperError::Start)?;
    runtime.block_on(async {
        listener.set_nonblocking(true).map_err(failed)?;
        let listener = UnixListener::from_std(listener).map_err(failed)?;
        Server::new(options.agent_user).serve(&listener).await;
        Ok(())
    })
}

/// The id of a user, given by name or number.
fn user(word: &str) -> Result<u32, String> {
    let accounts = || Accounts::read().map_err(|error| format!("reading /etc/passwd: {error}"));
    match word.parse() {
        Ok(id) => Ok(id),
        Err(_) => accounts()?.user(word).ok_or_else(|| "no such user in /etc/passwd".to_owned()),
    }
}

/// Standard input if it is a listening socket, else a socket made at `path`. Everybody
/// may connect to that one; who is heard is a matter of credentials.
fn listening(path: &Path) -> io::Result<StdListener> {
    let input = io::stdin();
    if socket_acceptconn(input.as_fd()).unwrap_or(false) {
        return Ok(StdListener::from(input.as_fd().try_clone_to_owned()?));
    }
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    if fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        fs::remove_file(path)?;
    }
    let listener = StdListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o666))?;
    Ok(listener)
}

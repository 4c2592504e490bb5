//! The command line: `guardctl VERB`, one file a verb.
//!
//! stdout is data, stderr is talk. Exit codes: 0 done, 1 not done (stderr says why),
//! 2 wrong usage, 3 the agent is not running, 78 the configuration is wrong.

mod bans;
mod check;
mod detach;
mod events;
mod explain;
mod import;
mod layout;
mod metrics;
mod migrate;
mod named;
mod offline;
mod orders;
mod output;
mod probe;
mod progress;
mod regex;
mod reload;
mod replay;
mod report;
mod status;
mod top;
mod watch;

use std::fs::File;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::config::agent::{Backend, Settings};
use crate::control::client::{self, ClientError};
use crate::control::protocol::{Request, Response, Status};
use crate::daemon::reload::Origin;
use crate::daemon::run::{self, RunOptions};

/// Bans the addresses that this host's logs accuse, in the network driver.
#[derive(Debug, Parser)]
#[command(
    name = "guardctl",
    version,
    max_term_width = 80,
    after_help = "Examples:\n  \
        guardctl status sshd              how is the jail sshd?\n  \
        guardctl bans list                who is banned, since when, why, what was dropped\n  \
        guardctl unban sshd 10.3.0.1      let 10.3.0.1 in again\n  \
        guardctl unban --all              let everybody in again, even without the agent\n  \
        guardctl detach                   remove guard from the kernel until `attach`\n  \
        guardctl explain 10.3.0.1         why is it banned, or not?\n  \
        guardctl report --since 7d        what was done lately?\n  \
        guardctl top                      watch it at work\n  \
        guardctl check                    is the configuration sound?\n  \
        guardctl migrate                  what of Fail2Ban's would work here?\n  \
        guardctl reload                   have the agent read it anew\n  \
        guardctl regex auth.log sshd      what does a filter find in a log?\n  \
        guardctl replay auth.log          who would have been banned?\n  \
        guardctl --backend nft            run the agent on nftables\n\n\
        Exit codes: 0 done, 1 not done, 2 wrong usage, 3 the agent is not running,\n\
        78 the configuration is wrong."
)]
struct Arguments {
    /// The agent's configuration, /etc/guard/guard.toml by default.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What enforces the bans, whatever the configuration says. Without a verb: run the
    /// agent on it.
    #[arg(long, global = true, value_enum)]
    backend: Option<BackendName>,
    /// Print JSON instead of text.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum BackendName {
    /// XDP and tcx where possible, else nftables.
    Auto,
    /// BPF programs in the network drivers.
    Xdp,
    /// nftables, with Fail2Ban's table.
    Nft,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the agent in the foreground.
    Run(RunArguments),
    /// Show the jails, or one jail, as Fail2Ban shows them.
    Status(status::Arguments),
    /// Show bans.
    Bans {
        #[command(subcommand)]
        what: bans::Verb,
    },
    /// Ban addresses in a jail.
    Ban(orders::BanArguments),
    /// Lift bans; works without the agent too.
    Unban(orders::UnbanArguments),
    /// Take over the bans of Fail2Ban's database, and how often who was banned, while the
    /// agent is stopped.
    Import(import::Arguments),
    /// Take over from Fail2Ban: see what would work, switch over, go back.
    Migrate(migrate::Arguments),
    /// Have the agent read its configuration anew: all of it, or nothing if anything is
    /// wrong with it.
    #[command(after_help = "Examples:\n  \
        guardctl reload                   after a change of a jail\n  \
        guardctl check && guardctl reload\n\n\
        Bans and counted failures of jails that stay go on. A wrong configuration changes\n\
        nothing: every problem is printed with its place, and the exit code is 1.")]
    Reload,
    /// Show what each interface can do, and what would be chosen.
    #[command(after_help = "Examples:\n  \
        guardctl probe                    before XDP is relied on\n  \
        guardctl --json probe | jq .")]
    Probe,
    /// Print the agent's figures for Prometheus, write them to a file, or serve them.
    Metrics(metrics::Arguments),
    /// Show what was done in the last days: text, or a page with charts; needs no agent.
    Report(report::Arguments),
    /// Show the agent at work, live: jails, newest failures and bans, drops per second.
    #[command(after_help = "Examples:\n  guardctl top")]
    Top,
    /// Show what happens, as it happens: failures, bans, repairs; dropped packets too.
    Watch(watch::Arguments),
    /// Remove every trace of guard from the kernel while the agent is stopped; it stays
    /// so until `attach`.
    Detach(detach::Arguments),
    /// Let the agent enforce again after `detach`, from its next start on.
    #[command(after_help = "Examples:\n  guardctl attach && systemctl start guard")]
    Attach,
    /// Remove bans from nftables whose time is over, unless the agent runs and does so;
    /// for guard-expire.timer.
    #[command(after_help = "Examples:\n  guardctl expire")]
    Expire,
    /// Look for what is wrong with the configuration, and for ways to abuse it.
    Check(check::Arguments),
    /// Try a filter on a log, as fail2ban-regex does.
    Regex(Box<regex::Arguments>),
    /// Show who would have been banned by a log of the past, when and why.
    Replay(replay::Arguments),
    /// Show how an address stands, or what becomes of a log line.
    Explain(explain::Arguments),
}

/// Arguments of `guardctl run`.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(after_help = "Examples:\n  \
    guardctl run                      as guard.service does\n  \
    guardctl --backend nft run        on nftables, whatever guard.toml says\n  \
    guardctl --config my.toml run     with another configuration")]
struct RunArguments {
    /// Read the journal files in this directory instead of the system's journal.
    #[arg(long, value_name = "DIR")]
    journal_directory: Option<PathBuf>,
}

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    NotDone(String),
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{0}")]
    Configuration(String),
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Self::NotDone(_) => 1,
            Self::Usage(_) => 2,
            Self::Client(ClientError::NotRunning(_)) => 3,
            Self::Client(_) => 1,
            Self::Configuration(_) => 78,
        }
    }
}

/// What every verb needs.
#[derive(Debug)]
struct Context {
    settings: Settings,
    json: bool,
}

impl Context {
    fn ask(&self, request: &Request) -> Result<Response, Failure> {
        match client::ask(&self.settings.socket, request)? {
            Response::Error(error) => Err(Failure::NotDone(error)),
            response => Ok(response),
        }
    }
}

impl Context {
    fn status(&self) -> Result<Box<Status>, Failure> {
        match self.ask(&Request::Status)? {
            Response::Status(status) => Ok(status),
            _ => Err(Failure::NotDone("the agent answered something else".to_owned())),
        }
    }

    /// Refuses the name of a jail that is not started.
    fn jail(&self, name: &str) -> Result<(), Failure> {
        status::find(&*self.status()?, name).map(drop)
    }
}

/// The command line as it is defined, for manual pages and completions.
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Does what the command line says.
pub fn main() -> ExitCode {
    if let Some(code) = named::main() {
        return code;
    }
    let arguments = Arguments::parse();
    match carry_out(arguments) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            output::talk(&format!("error: {failure}"));
            ExitCode::from(failure.code())
        }
    }
}

/// Whether the usual configuration is there and this user may not read it.
fn is_kept_from_us(origin: &Origin) -> bool {
    let kind = File::open(Settings::PATH).err().map(|error| error.kind());
    origin.file.is_none() && kind == Some(ErrorKind::PermissionDenied)
}

/// Does it; the exit code when it is done.
fn carry_out(arguments: Arguments) -> Result<u8, Failure> {
    let verb = match (arguments.verb, arguments.backend) {
        (Some(verb), _) => verb,
        (None, Some(_)) => Verb::Run(RunArguments::default()),
        (None, None) => {
            // Printing help to a closed pipe is nobody's problem.
            let _ = command().print_help();
            return Ok(0);
        }
    };
    // What is wrong with the configuration is all that this verb is about.
    if let Verb::Check(check) = &verb {
        return check::check(arguments.config.as_deref(), arguments.json, check);
    }
    // It may be about another host's files.
    if let Verb::Migrate(migrate) = &verb {
        return migrate::migrate(arguments.config.as_deref(), arguments.json, migrate);
    }
    let backend = arguments.backend.map(|backend| match backend {
        BackendName::Auto => Backend::Auto,
        BackendName::Xdp => Backend::Xdp,
        BackendName::Nft => Backend::Nft,
    });
    let origin = Origin { file: arguments.config, backend };
    let settings = match origin.settings() {
        // All that it needs of them is where the agent listens.
        Err(_) if matches!(verb, Verb::Metrics(_)) && is_kept_from_us(&origin) => {
            let socket = Settings::default().figures_socket();
            output::talk(&format!(
                "{} is not for this user; asking the agent at {}",
                Settings::PATH,
                socket.display()
            ));
            Settings::default()
        }
        settings => settings.map_err(Failure::Configuration)?,
    };
    let context = Context { settings, json: arguments.json };
    match verb {
        Verb::Run(run) => {
            let options = RunOptions { journal_directory: run.journal_directory, origin };
            run::run(&context.settings, options)
                .map_err(|error| Failure::NotDone(error.to_string()))
        }
        Verb::Status(arguments) => status::status(&context, &arguments),
        Verb::Bans { what } => bans::bans(&context, &what),
        Verb::Ban(arguments) => orders::ban(&context, &arguments),
        Verb::Unban(arguments) => orders::unban(&context, &arguments),
        Verb::Import(arguments) => import::import(&context, &arguments),
        Verb::Reload => reload::reload(&context),
        Verb::Probe => probe::probe(&context),
        Verb::Metrics(arguments) => metrics::metrics(&context, &arguments),
        Verb::Report(arguments) => report::report(&context, &arguments),
        Verb::Top => top::top(&context),
        Verb::Watch(arguments) => watch::watch(&context, &arguments),
        Verb::Detach(arguments) => detach::detach(&context, &arguments),
        Verb::Attach => detach::attach(&context),
        Verb::Expire => detach::expire(&context),
        Verb::Regex(arguments) => return regex::regex(&context, &arguments),
        Verb::Replay(arguments) => replay::replay(&context, &arguments),
        Verb::Explain(arguments) => explain::explain(&context, &arguments),
        Verb::Check(_) | Verb::Migrate(_) => Ok(()),
    }
    .map(|()| 0)
}

#[cfg(test)]
mod narrow;
#[cfg(test)]
mod tests;

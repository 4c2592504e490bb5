//! The process: log, sockets, signals, and who takes whose place.
//!
//! Start: agent → socket → READY, so systemd holds whoever waits for guard until the stored
//! bans are in the kernel. Whoever asks while one agent takes another's place waits for the
//! answer of the second.

use std::path::PathBuf;
use std::sync::Arc;

use sd_notify::NotifyState;
use tokio::sync::{mpsc, oneshot};

use crate::config::agent::{LogTarget, Settings};
use crate::config::{self, Loaded, Severity};
use crate::control::event::Events;
use crate::control::figures;
use crate::control::protocol::{Request, Response};
use crate::control::server::{Bounds, Server};
use crate::daemon::agent::{Agent, Configuration, Lasting};
use crate::daemon::meters::Meters;
use crate::daemon::process::{Asked, Process};
use crate::daemon::reload::Origin;
use crate::daemon::signals::Signals;
use crate::daemon::sources::Counters;
use crate::daemon::{compat, log};
use crate::enforce::Moment;
use crate::host;

/// What the command line adds to the configuration.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// Read the journal files in this directory instead of the system's journal.
    pub journal_directory: Option<PathBuf>,
    /// Where the configuration is read anew.
    pub origin: Origin,
}

/// Why the agent does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The host does not let it.
    #[error("{0}")]
    Host(String),
}

/// Runs the agent until it is told to stop.
///
/// # Errors
/// When the configuration or the host does not let it run.
pub fn run(settings: &Settings, options: RunOptions) -> Result<(), RunError> {
    let loaded = config::jails(settings);
    log::start(&settings.log).map_err(|cause| {
        let place = match &settings.log {
            LogTarget::File(path) => path.display().to_string(),
            LogTarget::Journal => "the journal".to_owned(),
        };
        RunError::Host(format!("opening the log {place} (`log` in guard.toml): {cause}"))
    })?;
    tracing::info!(target: "fail2ban.server", "guard {} starts", env!("CARGO_PKG_VERSION"));
    for problem in &loaded.diagnostics.0 {
        let line = problem.line();
        match problem.severity {
            // Told below, with what the sources add.
            Severity::Error => {}
            Severity::Warning => tracing::warn!(target: "fail2ban.configreader", "{line}"),
            // For those who look, with `guardctl check`.
            Severity::Note => {}
        }
    }
    let Loaded { jails, diagnostics, .. } = loaded;
    let configuration = Configuration::new(settings.clone(), jails, &diagnostics);
    for problem in &configuration.problems {
        tracing::error!(target: "fail2ban.configreader", "{problem}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|cause| RunError::Host(format!("starting the event loop: {cause}")))?;
    let ended = runtime.block_on(process(configuration, options));
    // Threads that did not end in time end with the process.
    runtime.shutdown_background();
    ended
}

async fn process(configuration: Configuration, options: RunOptions) -> Result<(), RunError> {
    let mut signals = Signals::listen().map_err(broken)?;
    let lasting = Lasting {
        journal_directory: options.journal_directory,
        counters: Counters::default(),
        meters: Arc::new(Meters::new(now().wall)),
        events: Events::new(|| now().wall),
        notified: Arc::default(),
        reread: Arc::default(),
        before: None,
    };
    let mut process = Process::new(configuration.clone(), lasting, options.origin);
    let mut agent = Agent::start(configuration, &process.lasting)?;
    let server = Server::bind(&process.current.settings.socket, Bounds::default());
    let server = server.map_err(broken)?.telling(process.lasting.events.clone());
    let figures = figures::Server::bind(&process.current.settings.figures_socket());
    let figures = figures.map_err(broken)?;
    let compat = compat::bind(&process.current.settings);
    notify(&[NotifyState::Ready]);
    let (ask, mut asked) = mpsc::unbounded_channel::<Asked>();
    let told = {
        let ask = ask.clone();
        move || answered(ask.clone(), Request::Figures)
    };
    let answer = move |request| answered(ask.clone(), request);
    let live = async {
        loop {
            match process.attend(&mut agent, &mut asked, &mut signals).await {
                None => return Ok(agent),
                Some((next, to)) => agent = process.replace(agent, next, to).await?,
            }
        }
    };
    let agent = tokio::select! {
        () = server.serve(answer.clone()) => return Ok(()),
        () = figures.serve(told) => return Ok(()),
        () = compat::serve(compat.as_ref(), answer) => return Ok(()),
        agent = live => agent?,
    };
    notify(&[NotifyState::Stopping]);
    tracing::info!(target: "fail2ban.server", "guard stops; the bans stay in the kernel");
    drop((server, figures, compat));
    agent.stop().await;
    Ok(())
}

/// What the agent answers.
async fn answered(ask: mpsc::UnboundedSender<Asked>, request: Request) -> Response {
    let (to, answer) = oneshot::channel();
    let _ = ask.send((request, to));
    answer.await.unwrap_or_else(|_| Response::Error("the agent is stopping".into()))
}

/// Both clocks, now.
pub fn now() -> Moment {
    let (wall, boot_nanos) = host::now();
    Moment { wall, boot_nanos }
}

/// Tells systemd.
pub(super) fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(target: "fail2ban.server", "telling systemd: {error}");
    }
}

pub(super) fn broken(error: impl std::fmt::Display) -> RunError {
    RunError::Host(error.to_string())
}

//! The process: log, socket, signals, and one agent after the other.
//!
//! Start: agent → socket → READY, so systemd holds whoever waits for guard until the stored
//! bans are in the kernel. Whoever asks while one agent takes another's place waits for the
//! answer of the second.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::timeout;

use crate::config::agent::{LogTarget, Settings};
use crate::config::{self, Loaded, Severity};
use crate::control::event::{Events, What};
use crate::control::figures;
use crate::control::protocol::{Facts, Request, Response};
use crate::control::server::{Bounds, Server};
use crate::core::jail::{Jail, JailName};
use crate::daemon::agent::{Agent, Configuration, Lasting};
use crate::daemon::meters::Meters;
use crate::daemon::perform::Command;
use crate::daemon::reload::{self, Next, Origin, Source};
use crate::daemon::signals::{Signals, Told};
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

/// How long the engine may take to say how it is.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);

const SILENT: &str = "the engine does not answer";

/// Why another agent is to take the place of one.
enum Wish {
    /// The files say something else.
    Reload,
    /// One jail, or all, are to end.
    Without(Option<JailName>),
    /// The store holds what the agent could not read when it started.
    Reread,
}

/// A request from the socket, and who waits for the answer.
type Asked = (Request, oneshot::Sender<Response>);

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
    let mut process = Process {
        current: configuration.clone(),
        lasting: Lasting {
            journal_directory: options.journal_directory,
            counters: Counters::default(),
            meters: Arc::new(Meters::new(now().wall)),
            events: Events::new(|| now().wall),
            notified: Arc::default(),
            reread: Arc::default(),
            before: None,
        },
        origin: options.origin,
    };
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

/// What outlasts an agent.
struct Process {
    /// The configuration in force.
    current: Configuration,
    lasting: Lasting,
    origin: Origin,
}

impl Process {
    /// Looks after a running agent until there is another configuration for it, and
    /// somebody who waits for that perhaps, or it is told to stop.
    async fn attend(
        &self,
        agent: &mut Agent,
        asked: &mut mpsc::UnboundedReceiver<Asked>,
        signals: &mut Signals,
    ) -> Option<(Next, Option<oneshot::Sender<Response>>)> {
        let commands = agent.commands();
        let wishes = async {
            loop {
                let (wish, mut to) = tokio::select! {
                    told = signals.next() => match told {
                        Told::Stop => return None,
                        Told::Reload => (Wish::Reload, None),
                    },
                    () = self.lasting.reread.notified() => (Wish::Reread, None),
                    asked = asked.recv() => match asked {
                        Some((Request::Reload, to)) => (Wish::Reload, Some(to)),
                        Some((Request::Stop { jail }, to)) => (Wish::Without(jail), Some(to)),
                        Some((request, to)) => {
                            self.pass_on(request, to, &commands);
                            continue;
                        }
                        None => return None,
                    },
                };
                let stops = matches!(wish, Wish::Without(_));
                let rereads = matches!(wish, Wish::Reread);
                let mut next = Box::pin(self.next(wish, &commands));
                let mut again = false;
                // Others need not wait for that.
                let next = loop {
                    tokio::select! {
                        read = &mut next => {
                            if !again {
                                break read;
                            }
                            // It may be about files that had been read already.
                            again = false;
                            if let Some(to) = to.take_if(|_| stops) {
                                let overtaken = "the configuration is read anew; ask again";
                                let _ = to.send(Response::Error(overtaken.to_owned()));
                            }
                            next = Box::pin(self.next(Wish::Reload, &commands));
                        }
                        told = signals.next() => match told {
                            Told::Stop => return None,
                            Told::Reload => again = true,
                        },
                        asked = asked.recv() => match asked {
                            Some((Request::Reload | Request::Stop { .. }, to)) => {
                                let busy = "the configuration is being read already";
                                let _ = to.send(Response::Error(busy.to_owned()));
                            }
                            Some((request, to)) => self.pass_on(request, to, &commands),
                            None => return None,
                        },
                    }
                };
                match next {
                    Ok(next) => return Some((next, to)),
                    // It wishes again.
                    Err(problem) if rereads => tracing::warn!(target: "fail2ban.database",
                        "what the store holds is not known yet: {problem}"),
                    Err(problems) => self.refuse(&problems, to),
                }
            }
        };
        tokio::select! {
            wish = wishes => wish,
            () = agent.attend() => None,
        }
    }

    /// Answers what is about the process; the rest is the agent's.
    fn pass_on(
        &self,
        request: Request,
        to: oneshot::Sender<Response>,
        commands: &mpsc::UnboundedSender<Command>,
    ) {
        let told = match request {
            Request::Facts => Ok(()),
            Request::LogLevel { level } => log::set_level(&level),
            request => {
                let _ = commands.send(Command::Ask(request, to));
                return;
            }
        };
        let settings = &self.current.settings;
        let log = match &settings.log {
            LogTarget::File(path) => Some(path.clone()),
            LogTarget::Journal => None,
        };
        let (store, history) = (settings.store(), settings.limits.history);
        let facts = Facts { log, log_level: log::level(), store, history };
        let _ = to.send(told.map_or_else(Response::Error, |()| Response::Facts(facts)));
    }

    /// The configuration that is wished for.
    async fn next(
        &self,
        wish: Wish,
        commands: &mpsc::UnboundedSender<Command>,
    ) -> Result<Next, String> {
        let next = match wish {
            Wish::Reload => {
                let (origin, settings) = (self.origin.clone(), self.current.settings.clone());
                let next = spawn_blocking(move || reload::read(&origin, &settings)).await;
                next.map_err(|error: JoinError| error.to_string())??
            }
            Wish::Without(jail) => {
                reload::without(&self.current, jails_of(commands).await?, jail.as_ref())?
            }
            Wish::Reread => reload::same(&self.current, jails_of(commands).await?),
        };
        // What the store does not have the next agent would not know.
        let (to, behind) = oneshot::channel();
        let _ = commands.send(Command::Behind(to));
        match timeout(ANSWER_PATIENCE, behind).await {
            Ok(Ok(None)) => Ok(next),
            Ok(Ok(Some(problem))) => Err(problem),
            Ok(Err(_)) | Err(_) => Err(SILENT.to_owned()),
        }
    }

    /// Has an agent with another configuration take the place of one; an agent with the same
    /// configuration again if that cannot be.
    async fn replace(
        &mut self,
        agent: Agent,
        next: Next,
        to: Option<oneshot::Sender<Response>>,
    ) -> Result<Agent, RunError> {
        if !agent.stop().await {
            // The next process reads the same configuration.
            return Err(RunError::Host("the agent did not end to be reloaded".to_owned()));
        }
        let before = self.current.names();
        self.lasting.before = Some(before.clone());
        notify(&[NotifyState::Watchdog]);
        let error = match Agent::start(next.configuration.clone(), &self.lasting) {
            Ok(agent) => {
                self.replaced(next, &before, to);
                return Ok(agent);
            }
            Err(error) => error,
        };
        notify(&[NotifyState::Watchdog]);
        let agent = Agent::start(self.current.clone(), &self.lasting);
        match &agent {
            Ok(_) => self.refuse(&error.to_string(), to),
            // The next process tries again, with the same files.
            Err(second) => self.refuse(&format!("{error}\n{second}"), to),
        }
        agent
    }

    /// Tells that another configuration is in force.
    fn replaced(&mut self, next: Next, before: &[JailName], to: Option<oneshot::Sender<Response>>) {
        let change = reload::changed(before, &next.configuration.names(), next.warnings);
        for warning in &change.warnings {
            tracing::warn!(target: "fail2ban.configreader", "{warning}");
        }
        self.current = next.configuration;
        match next.source {
            Source::Store => {
                tracing::info!(target: "fail2ban.database", notice = true,
                    "the store can be read again; what it held is in force");
                return;
            }
            Source::Files => {
                log::reset_level();
                tracing::info!(target: "fail2ban.server", "configuration reloaded");
            }
            Source::Order => {}
        }
        self.lasting.meters.reloaded(now().wall);
        self.lasting.events.tell(What::Reloaded(change.clone()));
        if let Some(to) = to {
            let _ = to.send(Response::Reloaded(change));
        }
    }

    /// Tells that the configuration in force stays in force.
    fn refuse(&self, problems: &str, to: Option<oneshot::Sender<Response>>) {
        self.lasting.meters.reload_refused();
        self.lasting.events.tell(What::ReloadRefused { problems: problems.to_owned() });
        for problem in problems.lines() {
            tracing::error!(target: "fail2ban.configreader", "{problem}");
        }
        tracing::error!(target: "fail2ban.server",
            "the configuration was not reloaded: the one before stays in force");
        if let Some(to) = to {
            let _ = to.send(Response::Error(format!(
                "{problems}\nnothing was changed: the configuration before this one stays in force"
            )));
        }
    }
}

/// The jails as they are now.
async fn jails_of(commands: &mpsc::UnboundedSender<Command>) -> Result<Vec<Jail>, String> {
    let (to, jails) = oneshot::channel();
    let _ = commands.send(Command::Jails(to));
    match timeout(ANSWER_PATIENCE, jails).await {
        Ok(Ok(jails)) => Ok(jails),
        _ => Err(SILENT.to_owned()),
    }
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

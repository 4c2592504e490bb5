//! One agent after the other, with what outlasts them.
//!
//! Input: a running agent, requests and signals. Output: the agent that takes its place when the
//! configuration, or a store that could not be read, is read anew. Invariant: what cannot take
//! its place leaves everything as it is.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::{Instant, sleep_until, timeout};

use crate::config::agent::LogTarget;
use crate::control::event::What;
use crate::control::protocol::{Facts, Request, Response};
use crate::core::jail::{Jail, JailName};
use crate::daemon::agent::{Agent, Configuration, Lasting};
use crate::daemon::log;
use crate::daemon::perform::Command;
use crate::daemon::reload::{self, Next, Origin, Source};
use crate::daemon::run::{RunError, notify, now};
use crate::daemon::signals::{Signals, Told};

/// How long the engine may take to say how it is.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);

/// Pause between two agents that take each other's place to read the store: each of them fills
/// the kernel anew.
const REREAD_PAUSE: Duration = Duration::from_secs(60);

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
pub(super) type Asked = (Request, oneshot::Sender<Response>);

/// What outlasts an agent.
pub(super) struct Process {
    /// The configuration in force.
    pub(super) current: Configuration,
    pub(super) lasting: Lasting,
    origin: Origin,
    /// When the store may be read once more that could not be read at a start.
    reread_after: Option<Instant>,
}

impl Process {
    /// One whose first agent is to be started.
    pub(super) fn new(current: Configuration, lasting: Lasting, origin: Origin) -> Self {
        Self { current, lasting, origin, reread_after: None }
    }

    /// Looks after a running agent until there is another configuration for it, and
    /// somebody who waits for that perhaps, or it is told to stop.
    pub(super) async fn attend(
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
                    () = self.wants_reading() => (Wish::Reread, None),
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

    /// Ends when the store is to be read; not at once if it just was.
    async fn wants_reading(&self) {
        if let Some(again) = self.reread_after {
            sleep_until(again).await;
        }
        self.lasting.reread.notified().await;
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
    pub(super) async fn replace(
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
        if next.source == Source::Store {
            self.reread_after = Some(Instant::now() + REREAD_PAUSE);
        }
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

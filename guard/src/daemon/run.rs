//! From the configuration to a running agent, and back down in order.
//!
//! Start: store → engine → kernel → socket → READY → sources. So the stored bans are in
//! the kernel before anything else happens, and systemd holds whoever waits for guard
//! until then.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::PathBuf;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{interval, sleep, timeout};

use crate::config::agent::{LogTarget, Settings};
use crate::config::{self, Diagnostic, Loaded, Severity};
use crate::control::protocol::Response;
use crate::control::server::{Bounds, Server};
use crate::core::effects::Effects;
use crate::core::engine::{Engine, Seed};
use crate::core::entry::Batch;
use crate::core::jail::JailName;
use crate::core::time::Span;
use crate::daemon::answer::Background;
use crate::daemon::enforcing;
use crate::daemon::perform::{Command, Performer};
use crate::daemon::sources::{self, Counters, Plan};
use crate::daemon::stored::{self, Recalled};
use crate::daemon::{asking, backend, log, report};
use crate::enforce::Moment;
use crate::host;
use crate::store::Store;

/// What the command line adds to the configuration.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// Read the journal files in this directory instead of the system's journal.
    pub journal_directory: Option<PathBuf>,
}

/// Why the agent does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The host does not let it.
    #[error("{0}")]
    Host(String),
}

/// How long the threads may take to end.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
/// Changes of the network come in flocks: pause after each look.
const SETTLE: Duration = Duration::from_millis(20);
/// The longest time without a look at the network.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// Batches that may wait for the engine.
const WAITING_BATCHES: usize = 8;
/// Jobs that may wait for the enforcer; then the engine waits too.
const WAITING_JOBS: usize = 4_096;

/// Runs the agent until it is told to stop.
///
/// # Errors
/// When the configuration or the host does not let it run.
pub fn run(settings: &Settings, options: RunOptions) -> Result<(), RunError> {
    let loaded = config::jails(settings);
    let level = tracing::Level::INFO;
    log::start(&settings.log, level).map_err(|cause| {
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
            Severity::Error => tracing::error!(target: "fail2ban.configreader", "{line}"),
            Severity::Warning => tracing::warn!(target: "fail2ban.configreader", "{line}"),
            // For those who look, with `guardctl check`.
            Severity::Note => {}
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|cause| RunError::Host(format!("starting the event loop: {cause}")))?;
    let ended = runtime.block_on(agent(settings, loaded, options));
    // Threads that did not end in time end with the process.
    runtime.shutdown_background();
    ended
}

async fn agent(settings: &Settings, loaded: Loaded, options: RunOptions) -> Result<(), RunError> {
    let (jails, left_out) = sources::startable(loaded.jails);
    for problem in &left_out {
        tracing::error!(target: "fail2ban.configreader", "{problem}");
    }
    // Listen for changes before looking, so that none is missed in between.
    let mut watch = host::Watch::open().map_err(broken)?;
    let seen = host::read().map_err(broken)?;
    let mut store = Store::open(&settings.store()).map_err(broken)?;
    let Recalled { stored, totals, positions } =
        stored::recall(&mut store, &jails).map_err(broken)?;

    let names: Vec<JailName> = jails.iter().map(|jail| jail.name.clone()).collect();
    let longest = jails.iter().map(|jail| jail.find_time).max().unwrap_or(Span::ZERO);
    let (mut engine, effects) = Engine::restore(
        jails,
        settings.allow.clone(),
        settings.limits.engine(),
        seen.addresses.clone(),
        stored,
        now().wall,
    );
    engine.seed(Seed { secret: random(), process: std::process::id() });
    let since = now().wall - longest;
    let plan = Plan::new(&engine, positions, since, options.journal_directory);
    let Effects { persist, report: reports, ask, .. } = effects;
    store.persist(&persist, &names).map_err(broken)?;
    // Those of jails that are not started.
    store.expire(now().wall).map_err(broken)?;

    let (mut enforcer, backend_reason) = backend::choose(settings).map_err(broken)?;
    let kind = enforcer.name();
    tracing::info!(target: "fail2ban.server", "backend {kind}: {backend_reason}");
    // What is not covered is told when this is done once more, below.
    let _ = enforcer.follow(&seen);
    let unenforced =
        enforcer.replace(&engine.snapshot(), now()).err().map(|error| error.to_string());
    report::write(&names, &reports);
    for name in &names {
        tracing::info!(target: "fail2ban.jail", "Jail '{name}' started");
    }

    let server = Server::bind(&settings.socket, Bounds::default()).map_err(broken)?;
    backend::leave_other(settings, kind);
    let (commands, inbox) = mpsc::unbounded_channel();
    let (batches, batch_inbox) = mpsc::channel(WAITING_BATCHES);
    let (questions, question_inbox) = mpsc::unbounded_channel();
    for question in ask {
        let _ = questions.send(question);
    }
    let (jobs, job_inbox) = std::sync::mpsc::sync_channel(WAITING_JOBS);
    let counters = Counters::default();
    let mut problems: Vec<String> = loaded.diagnostics.errors().map(Diagnostic::line).collect();
    problems.extend(backend::without_effect(settings, kind));
    problems.extend(left_out);
    let background = Background { backend_reason, problems, sources: counters.clone() };
    let enforcing = {
        let (names, commands) = (names.clone(), commands.downgrade());
        spawn("enforcer", move || {
            enforcing::work(enforcer, unenforced.as_deref(), &names, &job_inbox, &commands, now);
        })?
    };
    let performing = {
        let (names, waiting) = (names.clone(), VecDeque::new());
        let performer = Performer {
            engine,
            store,
            names,
            totals,
            jobs,
            questions,
            background,
            now,
            waiting,
            store_problem: None,
            retry_at: None,
        };
        spawn("engine", move || perform(performer, inbox, batch_inbox))?
    };
    let readers = plan.start(&batches, &counters).map_err(broken)?;
    drop(batches);

    let _ = commands.send(Command::Host(seen));
    notify(&[NotifyState::Ready]);
    let answer = {
        let commands = commands.clone();
        move |request| {
            let commands = commands.clone();
            async move {
                let (to, answer) = oneshot::channel();
                let _ = commands.send(Command::Ask(request, to));
                answer.await.unwrap_or_else(|_| Response::Error("the agent is stopping".into()))
            }
        }
    };
    tokio::select! {
        () = server.serve(answer) => {}
        () = follow(&mut watch, &commands) => {}
        () = keep_alive(&commands) => {}
        () = asking::work(question_inbox, &commands, &settings.helper_socket) => {}
        result = told_to_stop() => result.map_err(broken)?,
    }

    notify(&[NotifyState::Stopping]);
    tracing::info!(target: "fail2ban.server", "guard stops; the bans stay in the kernel");
    drop(server);
    readers.stop();
    drop(commands);
    // What is not done in time is done again at the next start.
    let ended = tokio::task::spawn_blocking(move || {
        readers.join();
        for thread in [performing, enforcing] {
            // A panic has aborted the process.
            let _ = thread.join();
        }
    });
    let _ = timeout(STOP_PATIENCE, ended).await;
    Ok(())
}

/// A number that nobody can guess: the standard library keys its hash tables with one.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Both clocks, now.
pub fn now() -> Moment {
    let (wall, boot_nanos) = host::now();
    Moment { wall, boot_nanos }
}

fn perform(
    performer: Performer,
    commands: mpsc::UnboundedReceiver<Command>,
    batches: mpsc::Receiver<Batch>,
) {
    match tokio::runtime::Builder::new_current_thread().enable_time().build() {
        Ok(runtime) => runtime.block_on(performer.work(commands, batches)),
        Err(cause) => tracing::error!(target: "fail2ban.server", "engine: {cause}"),
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, RunError> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map_err(|cause| RunError::Host(format!("starting the {name} thread: {cause}")))
}

/// Tells the engine what the host's network looks like: at once when it changed, for
/// bans are not in force on an address or interface that nobody knows of, and now and
/// then in any case, so that what could not be covered is tried again.
async fn follow(watch: &mut host::Watch, commands: &mpsc::UnboundedSender<Command>) {
    loop {
        match timeout(LOOK_AGAIN, watch.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::error!(target: "fail2ban.server", "{error}");
                sleep(Duration::from_secs(1)).await;
            }
            // Nothing happened for long: put right what others may have changed.
            Err(_) => {
                let _ = commands.send(Command::Resync);
            }
        }
        match host::read() {
            Ok(host) => {
                let _ = commands.send(Command::Host(host));
            }
            Err(error) => tracing::error!(target: "fail2ban.server", "{error}"),
        }
        sleep(SETTLE).await;
    }
}

/// Tells systemd's watchdog that engine and enforcer are alive, as long as they are.
async fn keep_alive(commands: &mpsc::UnboundedSender<Command>) {
    let Some(period) = watchdog_period() else { return std::future::pending().await };
    let mut ticks = interval(period / 3);
    loop {
        ticks.tick().await;
        let (to, alive) = oneshot::channel();
        let _ = commands.send(Command::Ping(to));
        if alive.await.is_ok() {
            notify(&[NotifyState::Watchdog]);
        }
    }
}

/// What systemd's `WatchdogSec=` says, if it says anything.
fn watchdog_period() -> Option<Duration> {
    let micros = std::env::var("WATCHDOG_USEC").ok()?.parse().ok()?;
    Some(Duration::from_micros(micros))
}

async fn told_to_stop() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hangup.recv() => tracing::warn!(target: "fail2ban.server",
                "SIGHUP does not reload yet; restart guard to read its configuration anew"),
        }
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(target: "fail2ban.server", "telling systemd: {error}");
    }
}

fn broken(error: impl std::fmt::Display) -> RunError {
    RunError::Host(error.to_string())
}

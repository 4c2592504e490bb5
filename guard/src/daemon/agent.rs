//! The agent with one configuration: from the stored bans to running threads, and back
//! down in order.
//!
//! Start: store → engine → kernel → threads. So the stored bans are in the kernel before
//! anything else happens. Stop: sources → engine → enforcer; what they did not get to is
//! done by the next one, from the store and the sources' positions.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{interval, sleep, timeout};

use crate::config::agent::Settings;
use crate::config::described::{self, Described};
use crate::config::{Diagnostic, Diagnostics};
use crate::control::event::Events;
use crate::core::effects::{Effects, Report};
use crate::core::engine::{Engine, Seed};
use crate::core::entry::Batch;
use crate::core::jail::{Jail, JailName};
use crate::core::question::Question;
use crate::core::time::Span;
use crate::daemon::answer::Background;
use crate::daemon::keep::Keep as _;
use crate::daemon::keeper::Keeper;
use crate::daemon::keeping;
use crate::daemon::meters::Meters;
use crate::daemon::perform::{self, Command, Performer};
use crate::daemon::run::{RunError, broken, notify, now};
use crate::daemon::sources::{self, Counters, Plan, Readers};
use crate::daemon::stored::Recalled;
use crate::daemon::teller::Teller;
use crate::daemon::unstored::{Known, Unstored};
use crate::daemon::{asking, backend, enforcing, notices, recording, report};
use crate::host;

/// How long the threads may take to end.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
/// Changes of the network come in flocks: pause after each look.
const SETTLE: Duration = Duration::from_millis(20);
/// The longest time without a look at the network.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// Batches that may wait for the engine.
pub(super) const WAITING_BATCHES: usize = 8;
/// Jobs that may wait for the enforcer; then the engine waits too.
pub(super) const WAITING_JOBS: usize = 4_096;

/// What an agent does, as it was read and found to be sound.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// Of `guard.toml` and the command line.
    pub settings: Settings,
    /// The jails that can start.
    pub jails: Vec<Jail>,
    /// What is wrong, in words, for `status`.
    pub problems: Vec<String>,
    /// What the files of the enabled jails say.
    pub described: Vec<Described>,
}

impl Configuration {
    /// The jails of [`config::jails`](crate::config::jails) whose sources can be read. What
    /// is wrong with the others is among the problems.
    pub fn new(settings: Settings, jails: Vec<Jail>, diagnostics: &Diagnostics) -> Self {
        let (jails, left_out) = sources::startable(jails);
        let mut problems: Vec<String> = diagnostics.errors().map(Diagnostic::line).collect();
        problems.extend(left_out);
        let (described, _) = described::describe(&settings, true);
        Self { settings, jails, problems, described }
    }

    /// Names of the jails, by [`JailId`](crate::core::jail::JailId).
    pub fn names(&self) -> Vec<JailName> {
        self.jails.iter().map(|jail| jail.name.clone()).collect()
    }
}

/// What goes on from one configuration to the next.
#[derive(Clone, Debug)]
pub struct Lasting {
    /// Read the journal files in this directory instead of the system's journal.
    pub journal_directory: Option<PathBuf>,
    /// What happened in the sources.
    pub counters: Counters,
    /// What became of those who are told of bans.
    pub notified: Arc<notices::Counts>,
    /// What else is counted.
    pub meters: Arc<Meters>,
    /// Who is told what happens.
    pub events: Events,
    /// Told when there is a store to be read that no agent has read.
    pub reread: Arc<Notify>,
    /// Jails that the configuration before this one had; `None` at the first start.
    pub before: Option<Vec<JailName>>,
}

/// A running agent.
#[derive(Debug)]
pub struct Agent {
    commands: mpsc::UnboundedSender<Command>,
    questions: mpsc::UnboundedReceiver<Question>,
    notices: notices::Notices,
    watch: host::Watch,
    helper_socket: PathBuf,
    readers: Readers,
    threads: [JoinHandle<()>; 2],
}

impl Agent {
    /// Puts the stored bans into the kernel and begins to read.
    ///
    /// # Errors
    /// When the host does not let it.
    pub fn start(configuration: Configuration, lasting: &Lasting) -> Result<Self, RunError> {
        let names = configuration.names();
        let Configuration { settings, jails, mut problems, described } = configuration;
        // Listen for changes before looking, so that none is missed in between.
        let watch = host::Watch::open().map_err(broken)?;
        let seen = host::read().map_err(broken)?;
        let keeping::Found { keeper: mut store, recalled, lacking, problem } =
            keeping::open(&settings.store(), &jails).map_err(broken)?;
        let Recalled { stored, mut totals, positions } = match recalled {
            Some(recalled) if !lacking => recalled,
            recalled => keeping::adopt(recalled, &settings, &jails, now()),
        };

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
        let mut unstored = Unstored::new(&positions);
        let plan = Plan::new(&engine, positions, since, lasting.journal_directory.clone());
        let Effects { persist, report: mut reports, ask, .. } = effects;
        let (batches, batch_inbox) = mpsc::channel(WAITING_BATCHES);
        // What follows may fail; nothing of this has changed anything.
        let readers = plan.start(&batches, &lasting.counters).map_err(broken)?;
        drop(batches);
        let (mut enforcer, backend_reason) = backend::choose(&settings).map_err(broken)?;
        let kind = enforcer.name();
        let reloads = lasting.before.is_some();
        // A ban that waited for an answer which nobody asks for any more.
        perform::add_up(&mut totals, &persist);
        unstored.push(persist);
        if let Some(filling) = store.wants_filling() {
            unstored.fill(filling);
        }
        let mut store_problem = problem;
        if !reloads {
            let known = Known { engine: &engine, names: &names, totals: &totals };
            store_first(&mut store, &mut unstored, &mut store_problem, known);
        }
        tracing::info!(target: "fail2ban.server", "backend {kind}: {backend_reason}");
        // What is not covered is told when this is done once more, below.
        let _ = enforcer.follow(&seen);
        let unenforced =
            enforcer.replace(&engine.snapshot(), now()).err().map(|error| error.to_string());

        let other = backend::is_other(&settings, kind);
        if let Some(cause) = unenforced.as_ref().filter(|_| reloads && other) {
            // The backend before this one still holds the bans, and goes on.
            enforcer.detach().map_err(broken)?;
            return Err(RunError::Host(cause.clone()));
        }
        if let Some(before) = &lasting.before {
            // Only now it is certain that this configuration stays.
            let known = Known { engine: &engine, names: &names, totals: &totals };
            store_first(&mut store, &mut unstored, &mut store_problem, known);
            // Nobody was let in, and nobody was away, in between.
            let restored =
                |report: &Report| matches!(report, Report::Restored(_) | Report::RestoredMore(_));
            reports.retain(|report| !restored(report));
            end_bans_of_others(&mut store, before, &names);
        }
        if let Some(filling) = store.wants_filling() {
            unstored.fill(filling);
        }
        report::write(&names, &reports);
        lasting.meters.bounds_reached(&names, &reports);
        for name in &names {
            if lasting.before.as_ref().is_none_or(|before| !before.contains(name)) {
                tracing::info!(target: "fail2ban.jail", "Jail '{name}' started");
            }
        }
        if unenforced.is_none() {
            backend::leave_other(&settings, kind);
        }
        problems.extend(backend::without_effect(&settings, kind));

        let (commands, inbox) = mpsc::unbounded_channel();
        let (asked, questions) = mpsc::unbounded_channel();
        for question in ask {
            let _ = asked.send(question);
        }
        let (jobs, job_inbox) = std::sync::mpsc::sync_channel(WAITING_JOBS);
        let (notifier, notices) = notices::open(&settings, Arc::clone(&lasting.notified));
        let enforcing = {
            let teller = Teller {
                names: names.clone(),
                meters: Arc::clone(&lasting.meters),
                events: lasting.events.clone(),
                notifier,
            };
            let commands = commands.downgrade();
            spawn("enforcer", move || {
                enforcing::work(
                    enforcer,
                    unenforced.as_deref(),
                    teller,
                    &job_inbox,
                    &commands,
                    now,
                );
            })?
        };
        let sources = lasting.counters.clone();
        let notified = Arc::clone(&lasting.notified);
        let reread = Arc::clone(&lasting.reread);
        let background =
            Background { backend_reason, problems, sources, described, notified, reread };
        let performer = Performer {
            engine,
            store: Box::new(store),
            names,
            totals,
            jobs,
            questions: asked,
            meters: Arc::clone(&lasting.meters),
            events: lasting.events.clone(),
            background,
            now,
            unstored,
            retry_at: store_problem.is_some().then(tokio::time::Instant::now),
            store_problem,
        };
        let performing = spawn("engine", move || perform(performer, inbox, batch_inbox))?;
        let _ = commands.send(Command::Host(seen));
        let helper_socket = settings.helper_socket;
        let threads = [performing, enforcing];
        Ok(Self { commands, questions, notices, watch, helper_socket, readers, threads })
    }

    /// Where it takes commands. It does not end while somebody has this.
    pub fn commands(&self) -> mpsc::UnboundedSender<Command> {
        self.commands.clone()
    }

    /// What is to be done all the while it runs; never ends.
    pub async fn attend(&mut self) {
        tokio::join!(
            follow(&mut self.watch, &self.commands),
            keep_alive(&self.commands),
            asking::work(&mut self.questions, &self.commands, &self.helper_socket),
            recording::work(&self.commands),
            self.notices.work(&self.helper_socket),
        );
    }

    /// Ends it; the bans stay in the kernel. Whether it ended in time.
    pub async fn stop(self) -> bool {
        let Self { commands, readers, threads, .. } = self;
        readers.stop();
        drop(commands);
        // What is not done in time is done again at the next start.
        let ended = tokio::task::spawn_blocking(move || {
            readers.join();
            for thread in threads {
                // A panic has aborted the process.
                let _ = thread.join();
            }
        });
        timeout(STOP_PATIENCE, ended).await.is_ok()
    }
}

/// Makes durable what a start decided; and lets go what is over in jails that are not
/// started. Why not, if that cannot be, becomes the problem.
fn store_first(
    store: &mut Keeper,
    unstored: &mut Unstored,
    problem: &mut Option<String>,
    known: Known<'_>,
) {
    let mut write = || {
        while !unstored.is_empty() {
            unstored.write_one(store, known)?;
        }
        store.expire(now().wall)
    };
    if problem.is_some() {
        return;
    }
    match write() {
        Ok(_) => store.has_all(),
        Err(error) => {
            tracing::error!(target: "fail2ban.database", "{error}");
            *problem = Some(error.to_string());
        }
    }
}

/// Ends the bans of jails that were there before and are no more. (They are not in the
/// kernel already; if the store does not let them go, they wait for their jail in it.)
fn end_bans_of_others(store: &mut Keeper, before: &[JailName], names: &[JailName]) {
    for name in before.iter().filter(|name| !names.contains(name)) {
        match store.end_bans(name) {
            Ok(ended) => {
                tracing::info!(target: "fail2ban.jail", "Jail '{name}' stopped, {ended} bans lifted");
            }
            Err(error) => tracing::error!(target: "fail2ban.database", "jail {name}: {error}"),
        }
    }
}

/// A number that nobody can guess: the standard library keys its hash tables with one.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
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

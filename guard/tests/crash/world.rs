//! A machine with an agent on it: the product's own engine, performer, enforcer's thread
//! and store, without the threads; a model kernel; a journal; and somebody who gives orders
//! until they are answered.
//!
//! Input: the steps of a timeline. Output: what engine, kernel and store hold. Invariant:
//! what a dead agent had in hand is gone, and nothing else.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::Instant;

use guard::config::agent::Settings;
use guard::control::event::Events;
use guard::control::protocol::{Request, Response};
use guard::core::effects::Effects;
use guard::core::engine::Stored;
use guard::core::entry::Entry;
use guard::core::input::Input;
use guard::core::question::Question;
use guard::core::time::Timestamp;
use guard::daemon::answer::Background;
use guard::daemon::enforcing::{Enforcing, Job};
use guard::daemon::keep::Keep;
use guard::daemon::meters::Meters;
use guard::daemon::notices;
use guard::daemon::perform::{Command, Performer, Total};
use guard::daemon::stored::{self, Recalled};
use guard::daemon::teller::Teller;
use guard::daemon::unstored::Unstored;
use guard::enforce::{Enforcer as _, Moment};
use guard::store::{Store, StoreError};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use crate::faults::{self, Death, Place, reach};
use crate::jails::{Kind, answer, source};
use crate::kernel::{Bans, Kernel};
use crate::memory;
use crate::timeline::{LONG, Timeline, What, bans, batch, entries};
use crate::vfs::with_disk;
use crate::watched::Watched;

thread_local! {
    static NOW: Cell<Timestamp> = const { Cell::new(Timestamp::from_seconds(0)) };
}

/// More than the faults of a timeline can make necessary.
const ATTEMPTS: usize = 1_000;

fn now() -> Moment {
    Moment { wall: NOW.get(), boot_nanos: 0 }
}

/// Where the agent keeps what must outlive it.
#[derive(Clone, Debug)]
pub(crate) enum Backing {
    /// In the model of it.
    Memory,
    /// In the real one, at this path of the model disk.
    Sqlite(PathBuf),
}

/// The machine.
pub(crate) struct World {
    kind: Kind,
    late: bool,
    batch: usize,
    pace: Option<usize>,
    backing: Backing,
    pub(crate) kernel: Kernel,
    pub(crate) journal: Vec<Entry>,
    agent: Option<Agent>,
    instant: Instant,
    /// Steps for which a dead agent stays dead.
    down: u64,
}

struct Agent {
    performer: Performer,
    enforcing: Enforcing,
    jobs: Receiver<Job>,
    inbox: UnboundedReceiver<Command>,
    questions: UnboundedReceiver<Question>,
    /// Entries of the journal that it has read.
    read: usize,
    /// The enforcer asks for as long as somebody has it.
    _commands: UnboundedSender<Command>,
}

impl World {
    /// A machine at the beginning of a timeline.
    pub(crate) fn new(timeline: &Timeline, backing: Backing, start: Timestamp) -> Self {
        NOW.set(start);
        let &Timeline { kind, late, batch, pace, .. } = timeline;
        Self {
            kind,
            late,
            batch,
            pace,
            backing,
            kernel: Kernel::default(),
            journal: Vec::new(),
            agent: None,
            instant: Instant::now(),
            down: 0,
        }
    }

    /// One step at its time.
    pub(crate) fn step(&mut self, now: Timestamp, what: &What) {
        NOW.set(now);
        self.down = self.down.saturating_sub(1);
        match what {
            What::Fail(attempts) => self.journal.extend(entries(attempts, now.seconds())),
            What::Ban(n, jail) => self.order(&Request::Ban {
                jail: self.kind.names()[usize::from(*jail)].clone(),
                sources: vec![source(*n)],
                ban_time: None,
                force: false,
            }),
            What::Unban(who) => {
                self.order(&Request::Unban { jail: None, sources: who.map(|n| vec![source(n)]) });
            }
            What::Wait => {}
            What::Restart => self.agent = None,
        }
        if !self.late {
            self.catch_up(self.pace);
        } else if self.down == 0 {
            self.start();
            self.go_on(self.pace);
        }
    }

    /// Lets everything come to its end.
    pub(crate) fn settle(&mut self) {
        self.catch_up(None);
        assert!(self.is_quiet(), "something is left to do");
    }

    /// Bans of the engine, which runs.
    pub(crate) fn bans(&mut self) -> Bans {
        bans(&self.start().performer.engine)
    }

    /// Whether nothing waits.
    pub(crate) fn is_quiet(&mut self) -> bool {
        let length = self.journal.len();
        let agent = self.start();
        agent.read == length && !agent.performer.is_behind()
    }

    /// Stops the agent for good; what it stored.
    pub(crate) fn stop(&mut self) {
        self.agent = None;
    }

    /// Goes on until the agent lives, has read everything, and its store has it.
    fn catch_up(&mut self, pace: Option<usize>) {
        for _ in 0..ATTEMPTS {
            if self.go_on(pace) && self.is_quiet() {
                return;
            }
        }
        panic!("the agent does not come to rest");
    }

    /// Gives an order until it is answered.
    fn order(&mut self, request: &Request) {
        for _ in 0..ATTEMPTS {
            // Who orders sees what was logged before; but for those who let in again.
            if !self.late || matches!(request, Request::Ban { .. }) {
                self.catch_up(self.pace);
            }
            let (to, mut answer) = oneshot::channel();
            let agent = self.start();
            agent.performer.obey(Command::Ask(request.clone(), to), 0);
            self.fall_if_dead();
            for _ in 0..ATTEMPTS {
                match answer.try_recv() {
                    Ok(Response::Done(outcome)) if outcome.unstored.is_none() => return,
                    Ok(Response::Error(why)) if why.starts_with("stored") => return,
                    Ok(Response::Done(_)) => {
                        // It may have died after it answered.
                        if self.agent.is_some() && self.is_stored_in_the_end() {
                            return;
                        }
                        break;
                    }
                    Ok(Response::Error(why)) if why.starts_with("nothing was done") => break,
                    Ok(other) => panic!("{other:?}"),
                    Err(oneshot::error::TryRecvError::Empty) => _ = self.go_on(None),
                    // It died with the agent.
                    Err(oneshot::error::TryRecvError::Closed) => break,
                }
            }
            self.go_on(None);
        }
        panic!("no answer to {request:?}");
    }

    /// Whether the store takes what it lacks before the agent dies.
    fn is_stored_in_the_end(&mut self) -> bool {
        for _ in 0..ATTEMPTS {
            if !self.go_on(None) {
                return false;
            }
            if self.agent.as_ref().is_some_and(|agent| !agent.performer.is_behind()) {
                return true;
            }
        }
        panic!("the store never takes it");
    }

    /// What the agent's threads do until nothing is left, but that the enforcer does `pace`
    /// jobs; whether the agent is alive then.
    fn go_on(&mut self, pace: Option<usize>) -> bool {
        self.start();
        self.instant += LONG;
        let (instant, late) = (self.instant, self.late);
        // A store that refuses is tried again before anything else is done, or after all else.
        let at_once = self.batch.is_multiple_of(2);
        let mut jobs = pace.unwrap_or(usize::MAX);
        loop {
            if self.fall_if_dead() {
                return false;
            }
            let Some(agent) = &mut self.agent else { return false };
            let performer = &mut agent.performer;
            if let Ok(command) = agent.inbox.try_recv() {
                performer.obey(command, 0);
            } else if performer.is_behind() && at_once {
                performer.retry();
                if performer.is_behind() && late {
                    return true;
                }
            } else if agent.read < self.journal.len() {
                let end = self.journal.len().min(agent.read + self.batch);
                let batch = batch(agent.read, &self.journal[agent.read..end]);
                agent.read = end;
                performer.handle(Input::Entries(batch), None);
            } else if let Ok(question) = agent.questions.try_recv() {
                performer.obey(Command::Answer(answer(&question)), 0);
            } else if performer.engine.wake_at().is_some_and(|at| at <= now().wall) {
                performer.handle(Input::Tick, None);
            } else if jobs > 0
                && let Ok(job) = agent.jobs.try_recv()
            {
                jobs -= 1;
                if reach(Place::Transaction).is_ok() {
                    agent.enforcing.take(job, instant);
                }
            } else if performer.is_behind() {
                performer.retry();
                if performer.is_behind() && late {
                    return true;
                }
            } else {
                // The enforcer may want the whole ban set.
                agent.enforcing.look_after(instant);
                if agent.inbox.is_empty() {
                    return true;
                }
            }
        }
    }

    fn fall_if_dead(&mut self) -> bool {
        let Some(death) = faults::death() else { return false };
        self.agent = None;
        match death {
            Death::Kill => {}
            Death::PowerLoss(number) => {
                self.kernel.reboot();
                memory::lose_power(number);
                with_disk(|disk| disk.lose_power(number));
                self.down = number % 4;
            }
        }
        if self.late && death == Death::Kill {
            self.down = 2;
        }
        faults::recovered();
        true
    }

    /// The agent, which systemd starts until it runs.
    fn start(&mut self) -> &mut Agent {
        let mut attempts = 0;
        while self.agent.is_none() {
            attempts += 1;
            assert!(attempts < ATTEMPTS, "the agent does not start");
            self.agent = self.try_start().ok();
            self.fall_if_dead();
        }
        self.down = 0;
        self.agent.as_mut().expect("just started")
    }

    /// As the product's `Agent::start`: store, engine, store, kernel.
    fn try_start(&mut self) -> Result<Agent, StoreError> {
        let names = self.kind.names();
        let now_ = now().wall;
        let (mut keep, recalled): (Box<dyn Keep>, Recalled) = match &self.backing {
            Backing::Memory => {
                let tables = memory::tables();
                let recalled = Recalled {
                    stored: tables.stored(),
                    totals: tables.totals(names.len()),
                    positions: tables.position.into_iter().collect(),
                };
                (Box::new(memory::Kept), recalled)
            }
            Backing::Sqlite(path) => {
                // The store makes its file beside SQLite, before it.
                with_disk(|disk| disk.make(&path.to_string_lossy()));
                let mut store = Store::open(path)?;
                let recalled = stored::recall(&mut store, &self.kind.jails())?;
                store.settle()?;
                store.expire(now_)?;
                (Box::new(Watched(store)), recalled)
            }
        };
        let Recalled { stored, totals, positions } = recalled;
        let (engine, effects) = self.kind.engine(stored, now_);
        let Effects { persist, ask, .. } = effects;
        keep.persist(&persist, names)?;
        let mut kernel = self.kernel.clone();
        let broken = kernel.replace(&engine.snapshot(), now()).err().map(|error| error.to_string());
        let (commands, inbox) = unbounded_channel();
        let (asked, questions) = unbounded_channel();
        ask.into_iter().for_each(|question| asked.send(question).expect("it is there"));
        let (jobs, job_inbox) = mpsc::sync_channel(4_096);
        let meters = Arc::new(Meters::new(now_));
        let events = Events::new(|| now().wall);
        let (notifier, _) = notices::open(&Settings::default(), Arc::default());
        let teller = Teller {
            names: names.to_vec(),
            meters: Arc::clone(&meters),
            events: events.clone(),
            notifier,
        };
        let enforcing =
            Enforcing::new(Box::new(kernel), broken.as_deref(), teller, commands.downgrade(), now);
        let performer = Performer {
            engine,
            store: keep,
            names: names.to_vec(),
            totals,
            jobs,
            questions: asked,
            meters,
            events,
            background: Background::default(),
            now,
            unstored: Unstored::new(&positions),
            store_problem: None,
            retry_at: None,
        };
        let read =
            positions.first().map_or(0, |position| position.place.parse().expect("a number"));
        Ok(Agent {
            performer,
            enforcing,
            jobs: job_inbox,
            inbox,
            questions,
            read,
            _commands: commands,
        })
    }
}

/// What the real store holds.
pub(crate) fn stored(path: &std::path::Path, kind: Kind) -> (Stored, Vec<Total>) {
    let mut store = Store::open(path).expect("the store");
    let Recalled { stored, totals, .. } =
        stored::recall(&mut store, &kind.jails()).expect("all of it");
    (stored, totals)
}

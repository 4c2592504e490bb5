//! Random timelines, and what must come of them.
//!
//! Input: nothing. Output: a [`Timeline`], and with [`undisturbed`] what an agent to which
//! nothing happens makes of it.

use std::time::Duration;

use guard::core::effects::Effects;
use guard::core::engine::{Engine, Stored};
use guard::core::entry::{Batch, Entry, Position};
use guard::core::input::{Input, Manual};
use guard::core::jail::JailId;
use guard::core::time::Timestamp;
use proptest::prelude::*;

use crate::faults::{Fault, Planned};
use crate::jails::{Kind, answer, entry, source};
use crate::kernel::Bans;
use crate::memory::Tables;

/// When every timeline begins.
pub(crate) const START: i64 = 1_000;
/// A pause that makes whatever waits for a time due.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// What happens, and what goes wrong meanwhile.
#[derive(Clone, Debug)]
pub(crate) struct Timeline {
    pub(crate) kind: Kind,
    /// Time goes on while the agent is dead or its store refuses.
    pub(crate) late: bool,
    /// The first start finds no store.
    pub(crate) fresh: bool,
    /// Entries that are read in one go.
    pub(crate) batch: usize,
    /// Jobs that the enforcer does after each step; `None` is all.
    pub(crate) pace: Option<usize>,
    pub(crate) steps: Vec<Step>,
    pub(crate) faults: Vec<Planned>,
}

/// One thing that happens, so many seconds after the one before.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) after: i64,
    pub(crate) what: What,
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    /// Attempts fail: who, in which jail, and how many seconds before now by the clock of
    /// the daemon that logs it.
    Fail(Vec<(u8, u16, i64)>),
    /// Somebody is banned by hand.
    Ban(u8, u16),
    /// Somebody is let in again, or everybody.
    Unban(Option<u8>),
    /// Nothing.
    Wait,
    /// The agent is stopped and started.
    Restart,
}

/// Timelines; `places` is about how many places one reaches at which something can go wrong.
pub(crate) fn timelines(places: u16) -> impl Strategy<Value = Timeline> {
    let who = || 1_u8..5;
    let attempt = (who(), 0_u16..2, prop_oneof![6 => Just(0), 1 => 0_i64..61]);
    let what = prop_oneof![
        6 => prop::collection::vec(attempt, 0..5).prop_map(What::Fail),
        1 => (who(), 0_u16..2).prop_map(|(n, jail)| What::Ban(n, jail)),
        1 => prop::option::weighted(0.9, who()).prop_map(What::Unban),
        1 => Just(What::Wait),
        1 => Just(What::Restart),
    ];
    let after = prop_oneof![3 => 0_i64..3, 3 => 0_i64..30, 1 => 0_i64..150];
    let step = (after, what).prop_map(|(after, what)| Step { after, what });
    let fault = prop_oneof![
        3 => any::<u64>().prop_map(Fault::Kill),
        3 => any::<u64>().prop_map(Fault::PowerLoss),
        1 => (1_u8..6).prop_map(Fault::Full),
        1 => (1_u8..6).prop_map(Fault::Broken),
        1 => (1_u8..6).prop_map(Fault::Refused),
        1 => Just(Fault::Lacking),
    ];
    let planned = (0..places, fault).prop_map(|(after, fault)| Planned { after, fault });
    let kind = prop_oneof![
        Just((Kind::Plain, false)),
        Just((Kind::Plain, true)),
        Just((Kind::All, false))
    ];
    (
        kind,
        prop::bool::weighted(0.05),
        1_usize..5,
        prop::option::of(0_usize..3),
        prop::collection::vec(step, 1..14),
        prop::collection::vec(planned, 0..5),
    )
        .prop_map(|((kind, late), fresh, batch, pace, steps, faults)| Timeline {
            kind,
            late,
            fresh,
            batch,
            pace,
            steps,
            faults,
        })
}

/// Entries as the source reads them, the number of the first being `first`.
pub(crate) fn batch(first: usize, entries: &[Entry]) -> Batch {
    let time = entries.last().map_or(Timestamp::from_seconds(START), |last| last.time);
    let place = (first + entries.len()).to_string();
    let position = Position { source: "journal".to_owned(), place, time };
    Batch { entries: entries.to_vec(), position }
}

/// What an agent to which nothing happens has after each step.
pub(crate) struct Undisturbed {
    engine: Engine,
    tables: Tables,
    read: usize,
}

impl Undisturbed {
    pub(crate) fn new(kind: Kind) -> Self {
        let (engine, _) = kind.engine(Stored::default(), Timestamp::from_seconds(START));
        Self { engine, tables: Tables::default(), read: 0 }
    }

    /// Deals with a step at its time; the journal is as it is after that.
    pub(crate) fn step(&mut self, now: Timestamp, what: &What, journal: &[Entry]) {
        match what {
            What::Fail(_) => {
                let entries = &journal[self.read..];
                let batch = batch(self.read, entries);
                self.read = journal.len();
                self.handle(now, Input::Entries(batch));
            }
            What::Ban(n, jail) => {
                let (jail, sources) = (JailId(*jail), vec![source(*n)]);
                let ban = Manual::Ban { jail, sources, ban_time: None, force: false };
                self.handle(now, Input::Manual(ban));
            }
            What::Unban(who) => {
                let sources = who.map(|n| vec![source(n)]);
                self.handle(now, Input::Manual(Manual::Unban { jail: None, sources }));
            }
            What::Wait | What::Restart => self.handle(now, Input::Tick),
        }
    }

    fn handle(&mut self, now: Timestamp, input: Input) {
        let Effects { persist, ask, .. } = self.engine.handle(now, input);
        self.tables.apply(&persist);
        for question in ask {
            self.handle(now, Input::Answer(answer(&question)));
        }
    }

    pub(crate) fn bans(&self) -> Bans {
        bans(&self.engine)
    }

    /// What is stored then.
    pub(crate) fn tables(&self) -> &Tables {
        &self.tables
    }
}

/// Ends of the bans of an engine.
pub(crate) fn bans(engine: &Engine) -> Bans {
    engine.bans().map(|ban| ((ban.jail.0, ban.source), ban.until)).collect()
}

/// The attempts of a step, as the journal has them.
pub(crate) fn entries(attempts: &[(u8, u16, i64)], now: i64) -> impl Iterator<Item = Entry> {
    attempts.iter().map(move |&(n, jail, before)| entry(n, jail, now - before))
}

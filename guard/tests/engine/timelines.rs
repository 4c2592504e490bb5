//! Random timelines: the engine against a model written in the plainest way, and
//! against itself with a crash between any two effects.

use std::collections::BTreeMap;

use guard::core::addr::Prefix;
use guard::core::delta::{Ban, Delta};
use guard::core::effects::{Change, Effects};
use guard::core::engine::{Engine, Stored};
use guard::core::failure::Failure;
use guard::core::history::Past;
use guard::core::input::{Input, Manual};
use guard::core::jail::{IgnoreCommand, Jail, JailId};
use guard::core::question::{Answer, Ask, Question, Said};
use guard::core::time::Timestamp;
use proptest::prelude::*;

use super::returning::{escalation, recidive};
use super::{
    BAN_TIME, FIND_TIME, MAX_RETRY, at, bans, batch, engine, engine_of, entry, jails, source,
};

/// One step of a random timeline; times grow by the given seconds.
#[derive(Clone, Debug)]
enum Step {
    Fail(Vec<(u8, u16)>, i64),
    Ban(u8, u16, i64),
    Unban(u8, i64),
    Wait(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let who = || 1u8..5;
    let jail = || 0u16..2;
    let step = prop_oneof![
        6 => (prop::collection::vec((who(), jail()), 0..5), 0i64..30)
            .prop_map(|(failures, wait)| Step::Fail(failures, wait)),
        1 => (who(), jail(), 0i64..30).prop_map(|(n, jail, wait)| Step::Ban(n, jail, wait)),
        1 => (who(), 0i64..30).prop_map(|(n, wait)| Step::Unban(n, wait)),
        1 => (0i64..150).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 0..40)
}

/// The same timeline as inputs, each with the time at which it happens.
fn inputs(steps: &[Step]) -> Vec<(i64, Input)> {
    let mut now = 1_000;
    let mut inputs = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        let input = match step {
            Step::Fail(failures, wait) => {
                now += wait;
                let entries = failures.iter().map(|&(n, jail)| entry(n, jail, now)).collect();
                batch(entries, number, now)
            }
            Step::Ban(n, jail, wait) => {
                now += wait;
                Input::Manual(Manual::Ban {
                    jail: JailId(*jail),
                    sources: vec![source(*n)],
                    ban_time: None,
                    force: false,
                })
            }
            Step::Unban(n, wait) => {
                now += wait;
                let sources = Some(vec![source(*n)]);
                Input::Manual(Manual::Unban { jail: None, sources })
            }
            Step::Wait(wait) => {
                now += wait;
                Input::Tick
            }
        };
        inputs.push((now, input));
    }
    inputs
}

/// Fail2Ban's words, taken literally: who has three failures in a minute is banned for
/// a hundred seconds.
#[derive(Default)]
struct Model {
    failures: BTreeMap<(u16, u8), Vec<i64>>,
    bans: BTreeMap<(u16, Prefix), Option<i64>>,
    pardons: BTreeMap<u8, i64>,
}

impl Model {
    fn step(&mut self, now: i64, step: &Step) {
        self.bans.retain(|_, until| until.is_none_or(|until| until > now));
        match step {
            Step::Fail(failures, _) => {
                for &(n, jail) in failures {
                    if self.pardons.get(&n) == Some(&now) {
                        continue;
                    }
                    let times = self.failures.entry((jail, n)).or_default();
                    times.push(now);
                    times.retain(|&time| time >= now - FIND_TIME);
                    if times.len() >= MAX_RETRY as usize {
                        times.clear();
                        self.bans.insert((jail, source(n)), Some(now + BAN_TIME));
                    }
                }
            }
            Step::Ban(n, jail, _) => {
                self.bans.insert((*jail, source(*n)), Some(now + BAN_TIME));
                self.failures.remove(&(*jail, *n));
            }
            Step::Unban(n, _) => {
                self.pardons.insert(*n, now);
                for jail in 0..2 {
                    self.bans.remove(&(jail, source(*n)));
                    self.failures.remove(&(jail, *n));
                }
            }
            Step::Wait(_) => {}
        }
    }
}

/// A store that keeps whole transactions, as the real one does.
#[derive(Clone, Default)]
struct ModelStore {
    bans: BTreeMap<(u16, Prefix), Ban>,
    failures: Vec<(Failure, u32)>,
    pardons: BTreeMap<(u16, Option<Prefix>), Timestamp>,
    history: BTreeMap<(u16, Prefix), Past>,
    awaited: BTreeMap<(u16, Prefix), Ban>,
    names: Vec<(JailId, String, Timestamp, Option<String>)>,
    position: Option<usize>,
}

impl ModelStore {
    fn persist(&mut self, changes: &[Change]) {
        for change in changes {
            match change.clone() {
                Change::Count { failure, weight } => self.failures.push((failure, weight)),
                Change::Forget { jail, source, before } => self.failures.retain(|(failure, _)| {
                    (failure.jail, failure.source) != (jail, source)
                        || before.is_some_and(|before| failure.time >= before)
                }),
                Change::Ban(ban) | Change::Prolong(ban) => {
                    self.bans.insert((ban.jail.0, ban.source), ban);
                }
                Change::Unban { jail, source } => {
                    self.bans.remove(&(jail.0, source));
                }
                Change::Position(position) => {
                    self.position = position.place.parse().ok();
                }
                Change::Pardon { jail, source, until } => {
                    match until {
                        Some(until) => self.pardons.insert((jail.0, source), until),
                        None => self.pardons.remove(&(jail.0, source)),
                    };
                }
                Change::Remember { jail, source, past } => {
                    match past {
                        Some(past) => self.history.insert((jail.0, source), past),
                        None => self.history.remove(&(jail.0, source)),
                    };
                }
                Change::Await(ban) => {
                    self.awaited.insert((ban.jail.0, ban.source), ban);
                }
                Change::Decided { jail, source } => {
                    self.awaited.remove(&(jail.0, source));
                }
                Change::AwaitName { jail, name, time, user } => {
                    self.names.push((jail, name, time, user));
                }
                Change::NameDecided { name } => self.names.retain(|named| named.1 != name),
                Change::Correlate { .. } | Change::Listed { .. } => {}
            }
        }
    }

    fn stored(&self) -> Stored {
        Stored {
            bans: self.bans.values().copied().collect(),
            failures: self.failures.clone(),
            correlations: Vec::new(),
            lists: Vec::new(),
            history: self
                .history
                .iter()
                .map(|(&(jail, source), &past)| (JailId(jail), source, past))
                .collect(),
            awaited: self.awaited.values().copied().collect(),
            names: self.names.clone(),
            pardons: self
                .pardons
                .iter()
                .map(|(&(jail, source), &until)| (JailId(jail), source, until))
                .collect(),
        }
    }
}

/// What the kernel holds.
fn enforce(kernel: &mut BTreeMap<(u16, Prefix), Option<i64>>, deltas: &[Delta]) {
    for delta in deltas {
        match *delta {
            Delta::Ban(ban) => {
                kernel.insert((ban.jail.0, ban.source), ban.until.map(Timestamp::seconds));
            }
            Delta::Unban { jail, source } => {
                kernel.remove(&(jail.0, source));
            }
            Delta::Allow(_) | Delta::Disallow(_) => {}
        }
    }
}

/// `sshd` whose bans grow, `proxmox` that asks a command, and `recidive` on top.
fn all_kinds() -> Vec<Jail> {
    let [mut sshd, mut proxmox]: [Jail; 2] = jails().try_into().expect("two jails");
    sshd.escalation = Some(escalation());
    let arguments = vec!["/bin/known".to_owned(), "<ip>".to_owned()];
    proxmox.ignore_command = Some(IgnoreCommand { arguments, cache: None });
    vec![sshd, proxmox, recidive()]
}

/// Answers every question, also those that an answer leads to: the command lets only
/// the first source be.
fn answer(engine: &mut Engine, now: i64, effects: Effects, mut carry_out: impl FnMut(&Effects)) {
    let mut questions = effects.ask;
    while let Some(Question { id, ask }) = questions.pop() {
        let Ask::Run(arguments) = ask else { panic!("not asked: {ask:?}") };
        let code = i32::from(arguments != ["/bin/known", "192.0.2.1"]);
        let said = Ok(Said::Exited(code));
        let effects = engine.handle(at(now), Input::Answer(Answer { id, said }));
        carry_out(&effects);
        questions.extend(effects.ask);
    }
}

/// Where a crash strikes while one input is dealt with.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Crash {
    BeforePersist,
    BeforeEnforce,
    AfterEnforce,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn as_the_model(steps in steps()) {
        let (mut engine, _) = engine(Stored::default(), at(1_000));
        let mut model = Model::default();
        let mut kernel = BTreeMap::new();
        for ((now, input), step) in inputs(&steps).into_iter().zip(&steps) {
            let effects = engine.handle(at(now), input);
            enforce(&mut kernel, &effects.enforce);
            model.step(now, step);
            prop_assert_eq!(&bans(&engine), &model.bans, "after {:?} at {}", step, now);
            prop_assert_eq!(&kernel, &model.bans);
        }
    }

    /// Growing bans, bans of bans and bans that wait for an answer included.
    #[test]
    fn a_crash_anywhere_changes_nothing(
        steps in steps(),
        crashes in prop::collection::btree_map(0usize..40, prop_oneof![
            Just(Crash::BeforePersist), Just(Crash::BeforeEnforce), Just(Crash::AfterEnforce),
        ], 0..6),
    ) {
        let (mut undisturbed, _) = engine_of(all_kinds(), Stored::default(), at(1_000));
        let (mut disturbed, _) = engine_of(all_kinds(), Stored::default(), at(1_000));
        let mut store = ModelStore::default();
        let mut kernel = BTreeMap::new();
        for (number, (now, input)) in inputs(&steps).into_iter().enumerate() {
            let effects = undisturbed.handle(at(now), input.clone());
            answer(&mut undisturbed, now, effects, |_| {});
            let crash = crashes.get(&number).copied();
            let effects = disturbed.handle(at(now), input.clone());
            if crash != Some(Crash::BeforePersist) {
                store.persist(&effects.persist);
            }
            if !matches!(crash, Some(Crash::BeforePersist | Crash::BeforeEnforce)) {
                enforce(&mut kernel, &effects.enforce);
            }
            // What the source and whoever orders do again after a crash.
            let mut again = None;
            let mut effects = effects;
            if crash.is_some() {
                (disturbed, effects) = engine_of(all_kinds(), store.stored(), at(now));
                store.persist(&effects.persist);
                // The start brings the kernel to the snapshot.
                kernel = bans(&disturbed);
                // The source goes on after the stored position; whoever gave an order
                // by hand got no answer, and gives it again.
                let read = matches!(input, Input::Entries(_)) && store.position == Some(number);
                again = (!read).then_some(input);
            }
            let mut carry_out = |effects: &Effects| {
                store.persist(&effects.persist);
                enforce(&mut kernel, &effects.enforce);
            };
            answer(&mut disturbed, now, effects, &mut carry_out);
            if let Some(input) = again {
                let effects = disturbed.handle(at(now), input);
                carry_out(&effects);
                answer(&mut disturbed, now, effects, carry_out);
            }
            prop_assert_eq!(bans(&undisturbed), bans(&disturbed), "after input {}", number);
            prop_assert_eq!(&kernel, &bans(&undisturbed));
        }
    }
}

#[test]
fn failures_that_fell_out_of_the_window_are_not_kept() {
    let (mut engine, _) = engine(Stored::default(), at(1_000));
    let mut store = ModelStore::default();
    for number in 0..50 {
        // Two in each window: never banned, always failing.
        let now = 1_000 + i64::try_from(number).expect("small") * (FIND_TIME / 2 + 1);
        let effects = engine.handle(at(now), batch(vec![entry(1, 0, now)], number, now));
        store.persist(&effects.persist);
    }
    assert!(bans(&engine).is_empty());
    assert_eq!(store.failures.len(), 2);
}

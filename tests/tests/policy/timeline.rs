//! Timelines: jails, and what happens to them when. All times are whole seconds.

use proptest::prelude::*;

/// What happens to some jails.
#[derive(Clone, Debug)]
pub(crate) struct Timeline {
    pub(crate) jails: Vec<JailPolicy>,
    /// `dbpurgeage`.
    pub(crate) history: i64,
    pub(crate) steps: Vec<Step>,
}

/// The policy of one jail.
#[derive(Clone, Debug)]
pub(crate) struct JailPolicy {
    pub(crate) name: &'static str,
    pub(crate) max_retry: u32,
    pub(crate) find_time: i64,
    /// `None` is for ever.
    pub(crate) ban_time: Option<i64>,
    pub(crate) escalates: Option<Escalates>,
    /// Whether it reads the bans of the other jails instead of a log.
    pub(crate) reads_bans: bool,
}

/// `bantime.increment`.
#[derive(Clone, Debug)]
pub(crate) struct Escalates {
    pub(crate) factor: u32,
    pub(crate) multipliers: Vec<u32>,
    pub(crate) max_time: Option<i64>,
    pub(crate) over_all_jails: bool,
}

impl Default for Escalates {
    fn default() -> Self {
        Self { factor: 1, multipliers: Vec::new(), max_time: None, over_all_jails: false }
    }
}

impl JailPolicy {
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            max_retry: 3,
            find_time: 60,
            ban_time: Some(200),
            escalates: None,
            reads_bans: false,
        }
    }
}

/// One thing that happens.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) at: i64,
    pub(crate) what: What,
}

/// What can happen.
#[derive(Clone, Debug)]
pub(crate) enum What {
    /// Time goes by.
    Nothing,
    /// Failures are read: jail, last octet of the source, when they were logged.
    Fail(Vec<(usize, u8, i64)>),
    /// A ban by hand: jail, source.
    Ban(usize, u8),
    /// An unban in all jails.
    Unban(u8),
}

/// Random ones: two jails that read logs, and one that reads their bans.
pub(crate) fn timelines() -> impl Strategy<Value = Timeline> {
    (jail("sshd"), jail("web"), 1u32..4, prop::sample::select(vec![60, 1_000, 86_400]))
        .prop_flat_map(|(sshd, web, max_retry, history)| {
            let recidive = JailPolicy {
                max_retry,
                find_time: 2_000,
                ban_time: Some(1_000),
                reads_bans: true,
                ..JailPolicy::new("recidive")
            };
            let jails = vec![sshd, web, recidive];
            (Just(jails), Just(history), prop::collection::vec((gap(), what()), 5..60))
        })
        .prop_map(|(jails, history, happenings)| {
            let mut at = 100_000;
            let steps = happenings.into_iter().map(|(gap, mut what)| {
                at += gap;
                if let What::Fail(failures) = &mut what {
                    failures.iter_mut().for_each(|(_, _, time)| *time = at);
                }
                Step { at, what }
            });
            Timeline { steps: steps.collect(), jails, history }
        })
}

/// Mostly short, now and then long enough to forget.
fn gap() -> impl Strategy<Value = i64> {
    prop_oneof![12 => 1i64..15, 3 => 15i64..200, 1 => 200i64..5_000]
}

fn what() -> impl Strategy<Value = What> {
    let (jail, source) = (|| 0usize..2, || 1u8..4);
    prop_oneof![
        12 => prop::collection::vec((jail(), source(), Just(0)), 1..5).prop_map(What::Fail),
        1 => (jail(), source()).prop_map(|(jail, source)| What::Ban(jail, source)),
        1 => source().prop_map(What::Unban),
        3 => Just(What::Nothing),
    ]
}

fn jail(name: &'static str) -> impl Strategy<Value = JailPolicy> {
    let ban_time = prop_oneof![9 => (5i64..120).prop_map(Some), 1 => Just(None)];
    (1u32..7, 10i64..120, ban_time, prop::option::weighted(0.8, escalates())).prop_map(
        move |(max_retry, find_time, ban_time, escalates)| JailPolicy {
            name,
            max_retry,
            find_time,
            ban_time,
            escalates,
            reads_bans: false,
        },
    )
}

fn escalates() -> impl Strategy<Value = Escalates> {
    let multipliers = prop::sample::select(vec![vec![], vec![1, 2, 5], vec![2], vec![1, 1, 7, 3]]);
    let max_time = prop::option::of(50i64..2_000);
    (1u32..4, multipliers, max_time, any::<bool>()).prop_map(
        |(factor, multipliers, max_time, over_all_jails)| Escalates {
            factor,
            multipliers,
            max_time,
            over_all_jails,
        },
    )
}

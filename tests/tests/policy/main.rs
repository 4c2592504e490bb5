//! Side by side: the same timelines into Fail2Ban's own counting and into guard's engine.
//!
//! Fail2Ban's classes are those of Debian's package, imported where they lie by
//! `tests/fixtures/policy/drive.py`. After each step the bans in force must be the same,
//! but for the [`DIFFERENCES`], each of which is an entry of
//! `docs/differences-from-fail2ban.md` with this id: with all of them applied to
//! Fail2Ban, random timelines must agree throughout; and each one alone must explain a
//! timeline of its own on which the two do differ.

mod bed;
mod recidive;
mod timeline;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use bed::{fail2ban, guard};
use timeline::{Escalates, JailPolicy, Step, Timeline, What, timelines};

/// Ids of the differences, as `differences-from-fail2ban.md` and the driver know them.
const DIFFERENCES: [&str; 5] = ["window", "end", "purge", "afresh", "late"];
/// So many random timelines.
const RANDOM: usize = 400;

#[test]
fn every_difference_is_listed() {
    let listed = include_str!("../../../docs/differences-from-fail2ban.md");
    for id in DIFFERENCES {
        assert!(listed.contains(&format!("(policy: `{id}`)")), "{id} is not listed");
    }
}

#[test]
fn random_timelines_differ_only_as_listed() {
    let mut runner = TestRunner::deterministic();
    let random = timelines();
    let mut draw = || random.new_tree(&mut runner).expect("a timeline").current();
    let timelines: Vec<Timeline> = (0..RANDOM).map(|_| draw()).collect();
    let ours: Vec<_> = timelines.iter().map(guard).collect();
    let plain = fail2ban(&timelines, &[]);
    let with_differences = fail2ban(&timelines, &DIFFERENCES);
    let mut bans = 0;
    for (number, timeline) in timelines.iter().enumerate() {
        for (step, (ours, theirs)) in ours[number].iter().zip(&with_differences[number]).enumerate()
        {
            let what = &timeline.steps[step];
            assert_eq!(ours, theirs, "timeline {number}, step {step}: {what:?}\n{timeline:?}");
            bans += ours.len();
        }
    }
    let agree = ours.iter().zip(&plain).filter(|(ours, plain)| ours == plain).count();
    println!("{agree} of {RANDOM} timelines agree without any difference; {bans} bans compared");
    assert!(bans > 10 * RANDOM && agree > 0 && agree < RANDOM, "the timelines say something");
}

/// Plain Fail2Ban differs, and this difference alone explains it.
fn explained_by(id: &str, timeline: &Timeline) {
    assert!(DIFFERENCES.contains(&id));
    let timelines = std::slice::from_ref(timeline);
    let ours = guard(timeline);
    assert_ne!(ours, fail2ban(timelines, &[]).remove(0), "{id}: there is no difference");
    assert_eq!(ours, fail2ban(timelines, &[id]).remove(0), "{id} does not explain it");
}

fn directed(jail: JailPolicy, steps: Vec<Step>) -> Timeline {
    Timeline { jails: vec![jail], history: 86_400, steps }
}

fn fail(at: i64) -> Step {
    Step { at, what: What::Fail(vec![(0, 1, at)]) }
}

fn look(at: i64) -> Step {
    Step { at, what: What::Nothing }
}

#[test]
fn window_a_rate_is_no_window() {
    // One failure every 160 s with 600 s and 5: a window never holds five.
    let jail = JailPolicy { max_retry: 5, find_time: 600, ..JailPolicy::new("sshd") };
    explained_by("window", &directed(jail, (0..30).map(|n| fail(1_000 + n * 160)).collect()));
}

#[test]
fn end_a_ban_is_over_at_its_end() {
    let jail = JailPolicy { max_retry: 1, ban_time: Some(100), ..JailPolicy::new("sshd") };
    let steps = vec![fail(1_000), look(1_099), look(1_100), look(1_101)];
    explained_by("end", &directed(jail, steps));
}

#[test]
fn purge_the_past_is_forgotten_on_time() {
    let jail = JailPolicy {
        max_retry: 1,
        ban_time: Some(10),
        escalates: Some(Escalates::default()),
        ..JailPolicy::new("sshd")
    };
    // Remembered until 1,000 + 3 × 10 + 100; Fail2Ban looks once an hour.
    let timeline =
        |later| Timeline { history: 100, ..directed(jail.clone(), vec![fail(1_000), fail(later)]) };
    explained_by("purge", &timeline(1_131));
    let last = timeline(1_130);
    assert_eq!(guard(&last), fail2ban(std::slice::from_ref(&last), &[]).remove(0));
}

#[test]
fn afresh_who_is_let_in_starts_anew() {
    let jail = JailPolicy { max_retry: 2, ..JailPolicy::new("sshd") };
    let unban = Step { at: 1_001, what: What::Unban(1) };
    explained_by("afresh", &directed(jail, vec![fail(1_000), unban, fail(1_002)]));
}

#[test]
fn late_failures_count_when_they_were_logged() {
    let jail = JailPolicy { max_retry: 2, find_time: 60, ..JailPolicy::new("sshd") };
    let late = Step { at: 1_100, what: What::Fail(vec![(0, 1, 1_000), (0, 1, 1_010)]) };
    explained_by("late", &directed(jail, vec![late, look(1_109), look(1_200)]));
}

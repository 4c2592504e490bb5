//! What the threads count as they go, for [`Figures`](crate::core::figures::Figures).
//!
//! One [`Meters`] lasts as long as the process: whoever counts has a share of it. What
//! engine, store, sources and enforcer count themselves is not counted once more.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::core::effects::Report;
use crate::core::entry::Position;
use crate::core::figures::Histogram;
use crate::core::jail::{JailId, JailName};
use crate::core::reason::Reason;
use crate::core::surplus::Evictions;
use crate::core::time::{Span, Timestamp};

/// Ends of the buckets in which bans are counted by how long they took, in microseconds.
const ENFORCEMENT: &[i64] = &[
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000, 60_000_000,
];
/// The same for transactions of the store.
const TRANSACTIONS: &[i64] =
    &[100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000, 1_000_000];

/// What is counted.
#[derive(Debug)]
pub struct Meters {
    started: Timestamp,
    loaded: AtomicI64,
    reloads: AtomicU64,
    reloads_refused: AtomicU64,
    jobs: AtomicU64,
    store_refused: AtomicU64,
    put_right: AtomicU64,
    full: AtomicU64,
    /// Of the last batch of the journal and of files, in microseconds; less than nothing
    /// before the first.
    lag: [AtomicI64; 2],
    enforcement: Mutex<Histogram>,
    transactions: Mutex<Histogram>,
    jails: Mutex<BTreeMap<JailName, JailMeters>>,
}

/// What is counted for one jail.
#[derive(Clone, Debug, Default)]
pub struct JailMeters {
    /// Bans that ended.
    pub lifted: u64,
    /// Failures that did not count, by why.
    pub ignored: BTreeMap<&'static str, u64>,
    /// Addresses that were not believed.
    pub planted: u64,
    /// Lines given up.
    pub given_up: u64,
    /// What was given up because a bound is reached.
    pub evictions: Evictions,
}

impl Meters {
    /// All at nothing, in a process that starts now.
    pub fn new(now: Timestamp) -> Self {
        Self {
            started: now,
            loaded: AtomicI64::new(now.micros()),
            reloads: AtomicU64::new(0),
            reloads_refused: AtomicU64::new(0),
            jobs: AtomicU64::new(0),
            store_refused: AtomicU64::new(0),
            put_right: AtomicU64::new(0),
            full: AtomicU64::new(0),
            lag: [AtomicI64::new(-1), AtomicI64::new(-1)],
            enforcement: Mutex::new(Histogram::new(ENFORCEMENT)),
            transactions: Mutex::new(Histogram::new(TRANSACTIONS)),
            jails: Mutex::default(),
        }
    }

    /// When the process started.
    pub fn started(&self) -> Timestamp {
        self.started
    }

    /// When the configuration in force was read.
    pub fn loaded(&self) -> Timestamp {
        Timestamp::from_micros(self.loaded.load(Ordering::Relaxed))
    }

    /// Configurations that were read anew: taken, and refused.
    pub fn reloads(&self) -> (u64, u64) {
        (self.reloads.load(Ordering::Relaxed), self.reloads_refused.load(Ordering::Relaxed))
    }

    /// A configuration was read anew and is in force now.
    pub fn reloaded(&self, now: Timestamp) {
        self.loaded.store(now.micros(), Ordering::Relaxed);
        self.reloads.fetch_add(1, Ordering::Relaxed);
    }

    /// A configuration was refused.
    pub fn reload_refused(&self) {
        self.reloads_refused.fetch_add(1, Ordering::Relaxed);
    }

    /// The enforcer has one more job.
    pub fn job_sent(&self) {
        self.jobs.fetch_add(1, Ordering::Relaxed);
    }

    /// The enforcer has taken a job.
    pub fn job_taken(&self) {
        self.jobs.fetch_sub(1, Ordering::Relaxed);
    }

    /// Jobs that wait for the enforcer.
    pub fn jobs(&self) -> u64 {
        self.jobs.load(Ordering::Relaxed)
    }

    /// Something that others changed in the kernel was put right.
    pub fn is_put_right(&self) {
        self.put_right.fetch_add(1, Ordering::Relaxed);
    }

    /// How often something was put right.
    pub fn put_right(&self) -> u64 {
        self.put_right.load(Ordering::Relaxed)
    }

    /// Bans that were not made because there are as many as allowed.
    pub fn full(&self) -> u64 {
        self.full.load(Ordering::Relaxed)
    }

    /// The store took a transaction, in so much time.
    pub fn persisted(&self, took: Span) {
        lock(&self.transactions).add(took);
    }

    /// The store refused a transaction.
    pub fn store_refused(&self) {
        self.store_refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Transactions that the store refused.
    pub fn store_refusals(&self) -> u64 {
        self.store_refused.load(Ordering::Relaxed)
    }

    /// How long transactions took.
    pub fn transactions(&self) -> Histogram {
        lock(&self.transactions).clone()
    }

    /// A batch up to this position is dealt with.
    pub fn read(&self, position: &Position, now: Timestamp) {
        let lag = (now - position.time).micros();
        self.lag[usize::from(position.is_of_file())].store(lag, Ordering::Relaxed);
    }

    /// How late the last batch of the journal was, or of files.
    pub fn lag(&self, of_files: bool) -> Option<Span> {
        let lag = self.lag[usize::from(of_files)].load(Ordering::Relaxed);
        (lag >= 0).then(|| Span::from_micros(lag))
    }

    /// The engine decided this. `names` are the jails by [`JailId`].
    pub fn decided(&self, names: &[JailName], reports: &[Report]) {
        if reports.is_empty() {
            return;
        }
        self.bounds_reached(names, reports);
        let mut jails = lock(&self.jails);
        let mut of = |jail: &JailId, count: fn(&mut JailMeters) -> &mut u64| {
            if let Some(name) = names.get(jail.index()) {
                if !jails.contains_key(name) {
                    jails.insert(name.clone(), JailMeters::default());
                }
                if let Some(meters) = jails.get_mut(name) {
                    *count(meters) += 1;
                }
            }
        };
        for report in reports {
            match report {
                Report::Unbanned { jail, .. } => of(jail, |meters| &mut meters.lifted),
                Report::Planted { jail, .. } => of(jail, |meters| &mut meters.planted),
                Report::StepLimit { jail, .. } => of(jail, |meters| &mut meters.given_up),
                _ => {}
            }
        }
        for report in reports {
            if let Report::Ignored { failure, allowed } = report
                && let Some(name) = names.get(failure.jail.index())
            {
                let meters = jails.entry(name.clone()).or_default();
                *meters.ignored.entry(allowed.word()).or_default() += 1;
            }
        }
    }

    /// Of what the engine decided, counts only what was given up or refused because a bound
    /// is reached.
    pub fn bounds_reached(&self, names: &[JailName], reports: &[Report]) {
        let mut jails = lock(&self.jails);
        for report in reports {
            let jail = match report {
                Report::Evicted { jail, .. } | Report::GivenUp { jail, .. } => jail,
                Report::Full { .. } => {
                    self.full.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                _ => continue,
            };
            let Some(name) = names.get(jail.index()) else { continue };
            let evictions = &mut jails.entry(name.clone()).or_default().evictions;
            match report {
                Report::GivenUp { what, count, .. } => evictions.add(*what, *count),
                _ => evictions.sources += 1,
            }
        }
    }

    /// What was counted for a jail.
    pub fn jail(&self, name: &JailName) -> JailMeters {
        lock(&self.jails).get(name).cloned().unwrap_or_default()
    }

    /// The kernel holds what these say, since now.
    pub fn enforced(&self, reports: &[Report], now: Timestamp) {
        for report in reports {
            // A ban by failures begins with the last of them.
            if let Report::Banned(ban) = report
                && matches!(ban.reason, Reason::Failures { .. })
            {
                lock(&self.enforcement).add(now - ban.since);
            }
        }
    }

    /// How long it took from failures to bans in force.
    pub fn enforcement(&self) -> Histogram {
        lock(&self.enforcement).clone()
    }
}

/// What is counted stays true when whoever counted has panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::delta::Ban;
    use crate::core::failure::Failure;
    use crate::core::reason::Allowed;
    use crate::core::surplus::Surplus;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    #[test]
    fn a_ban_by_failures_is_timed_from_the_last_of_them_and_one_by_hand_is_not() {
        let meters = Meters::new(at(0));
        let (jail, source) = (JailId(0), "192.0.2.1".parse().expect("an address"));
        let ban =
            |reason| Report::Banned(Ban { jail, source, since: at(100), until: None, reason });
        let failures = Reason::Failures { count: 3, within: Span::from_seconds(1), last: None };
        meters.enforced(&[ban(failures), ban(Reason::Manual { forced: false })], at(102));
        let enforcement = meters.enforcement();
        assert_eq!((enforcement.count(), enforcement.sum()), (1, Span::from_seconds(2)));
    }

    #[test]
    fn what_is_given_up_is_counted_for_its_jail_and_what_is_refused_for_all() {
        let meters = Meters::new(at(0));
        let names = ["sshd", "proxmox"].map(|name| JailName::new(name).expect("a name"));
        let (jail, source) = (JailId(0), "192.0.2.1".parse().expect("an address"));
        let connections = Report::GivenUp { jail, what: Surplus::Connections, count: 3 };
        let reports = [
            Report::Evicted { jail, source },
            connections.clone(),
            connections,
            Report::Full { jail: JailId(1), source },
            Report::Unbanned { jail, source },
        ];
        meters.decided(&names, &reports);
        // What a start decides besides is no news.
        meters.bounds_reached(&names, &reports[..1]);
        meters.bounds_reached(&names, &reports[4..]);
        let [sshd, proxmox] = names.map(|name| meters.jail(&name));
        let evictions = Evictions { sources: 2, connections: 6, ..Evictions::default() };
        assert_eq!((sshd.evictions, sshd.lifted), (evictions, 1));
        assert_eq!((proxmox.evictions, meters.full()), (Evictions::default(), 1));
    }

    #[test]
    fn each_jail_has_its_own_counts() {
        let meters = Meters::new(at(0));
        let names = ["sshd", "proxmox"].map(|name| JailName::new(name).expect("a name"));
        let source = "192.0.2.1".parse().expect("an address");
        let failure = Failure { jail: JailId(1), source, time: at(1), user: None };
        let reports = [
            Report::Unbanned { jail: JailId(0), source },
            Report::Ignored { failure, allowed: Allowed::Own { address: source } },
            Report::Unbanned { jail: JailId(7), source },
        ];
        meters.decided(&names, &reports);
        let [sshd, proxmox] = names.map(|name| meters.jail(&name));
        assert_eq!((sshd.lifted, sshd.ignored.len()), (1, 0));
        assert_eq!((proxmox.lifted, proxmox.ignored.get("own")), (0, Some(&1)));
    }
}

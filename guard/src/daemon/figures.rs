//! The agent in figures: the engine's half, then the kernel's.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::control::protocol::Response;
use crate::core::enforced::Coverage;
use crate::core::figures::{Figures, JailCounts, Queue, SourceCounts, StoreCounts, Traffic};
use crate::core::jail::{JailId, JailName};
use crate::daemon::agent::{WAITING_BATCHES, WAITING_JOBS};
use crate::daemon::answer;
use crate::daemon::perform::Performer;
use crate::daemon::tally::Tally;

/// The kernel's half, as the enforcer tells it.
#[derive(Debug)]
pub struct Enforced {
    /// `xdp`, `nft` or `null`.
    pub backend: &'static str,
    /// What it holds, or why it cannot be asked.
    pub tally: Result<Tally, String>,
    /// What became of packets.
    pub traffic: Result<Vec<Traffic>, String>,
    /// How each interface is guarded.
    pub coverage: Vec<Coverage>,
    /// What is wrong, in words.
    pub problems: Vec<String>,
}

/// How many bans of each jail there should be, in configuration order.
pub fn wanted(performer: &Performer) -> Vec<(JailName, u64)> {
    let mut counts = vec![0; performer.names.len()];
    for ban in performer.engine.bans() {
        counts[ban.jail.index()] += 1;
    }
    performer.names.iter().cloned().zip(counts).collect()
}

/// Makes the answer to [`Request::Figures`](crate::control::protocol::Request::Figures),
/// once the kernel was looked at. `batches` wait for the engine.
pub fn figures(
    performer: &Performer,
    batches: usize,
) -> impl FnOnce(Enforced) -> Response + Send + use<> {
    let now = (performer.now)().wall;
    let meters = &performer.meters;
    let (reloads, reloads_refused) = meters.reloads();
    let jails = performer.engine.jails().map(|(id, _)| jail(performer, id)).collect();
    let of = |queue: &str, waiting, capacity| Queue { queue: queue.to_owned(), waiting, capacity };
    let number = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let half = Figures {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        time: now,
        started: meters.started(),
        loaded: meters.loaded(),
        reloads,
        reloads_refused,
        backend: String::new(),
        bans_limit: number(performer.engine.bans_limit()),
        bans_refused: meters.full(),
        jails,
        interfaces: Vec::new(),
        problems: answer::problems(performer),
        traffic: Vec::new(),
        maps: Vec::new(),
        repairs: meters.put_right(),
        queues: vec![
            of("entries", number(batches), Some(number(WAITING_BATCHES))),
            of("enforcer", meters.jobs(), Some(number(WAITING_JOBS))),
            of("store", number(performer.unstored.len()), None),
        ],
        sources: sources(performer),
        store: StoreCounts {
            works: performer.store_problem.is_none(),
            refused: meters.store_refusals(),
        },
        enforcement: meters.enforcement(),
        transactions: meters.transactions(),
        watchers: performer.events.watchers(),
        events_lost: performer.events.lost(),
    };
    move |enforced: Enforced| Response::Figures(Box::new(with_kernel(half, enforced)))
}

fn with_kernel(half: Figures, enforced: Enforced) -> Figures {
    let mut problems = half.problems;
    problems.extend(enforced.tally.as_ref().err().cloned());
    problems.extend(enforced.traffic.as_ref().err().cloned());
    problems.extend(enforced.problems);
    let Tally { jails: mut known, maps } = enforced.tally.unwrap_or_default();
    let mut jails = half.jails;
    for jail in &mut jails {
        let held = known.remove(&jail.name).unwrap_or_default();
        jail.held = held.held;
        jail.not_enforced = held.missing;
        jail.dropped_packets = held.dropped_packets;
        jail.dropped_bytes = held.dropped_bytes;
    }
    Figures {
        backend: enforced.backend.to_owned(),
        jails,
        interfaces: enforced.coverage,
        problems,
        traffic: enforced.traffic.unwrap_or_default(),
        maps,
        ..half
    }
}

fn jail(performer: &Performer, id: JailId) -> JailCounts {
    let figures = performer.engine.figures(id, (performer.now)().wall);
    let name = performer.names[id.index()].clone();
    let total = performer.totals[id.index()];
    let meters = performer.meters.jail(&name);
    // A reason that did not occur is told as well: a rate begins with nothing.
    let mut ignored: HashMap<&str, u64> = IGNORED.iter().map(|why| (*why, 0)).collect();
    ignored.extend(meters.ignored);
    let mut ignored: Vec<(String, u64)> =
        ignored.into_iter().map(|(why, count)| (why.to_owned(), count)).collect();
    ignored.sort_unstable();
    JailCounts {
        name,
        failing: u64::try_from(figures.failing).unwrap_or(u64::MAX),
        failures: total.failures,
        bans_made: total.bans,
        bans_lifted: meters.lifted,
        ignored,
        planted: meters.planted,
        evictions: meters.evictions,
        given_up: meters.given_up,
        held: 0,
        not_enforced: 0,
        dropped_packets: None,
        dropped_bytes: None,
    }
}

/// The reasons that any host meets sooner or later.
const IGNORED: &[&str] = &["command", "gateway", "listed", "own", "pardoned", "session", "special"];

fn sources(performer: &Performer) -> Vec<SourceCounts> {
    let (meters, background) = (&performer.meters, &performer.background);
    let (journal, files) = (&background.sources.journal, &background.sources.files);
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let of_journal = SourceCounts {
        source: "journal".to_owned(),
        read: count(&journal.read),
        accepted: count(&journal.accepted),
        cut: count(&journal.cut),
        forged: Some(count(&journal.forged)),
        unreadable: Some(count(&journal.unreadable)),
        lost: count(&journal.lost_places),
        lag: meters.lag(false),
    };
    let of_files = SourceCounts {
        source: "files".to_owned(),
        read: count(&files.read),
        accepted: count(&files.accepted),
        cut: count(&files.cut),
        forged: None,
        unreadable: None,
        lost: count(&files.lost),
        lag: meters.lag(true),
    };
    vec![of_journal, of_files]
}

//! What the agent says of itself: the engine's half and the kernel's half together.
//!
//! Only what the kernel holds is called banned.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::Notify;

use crate::config::described::Described;
use crate::control::protocol::{
    BanRow, BanTime, JailFacts, JailStatus, Request, Response, Standing, StandingBan, Status,
};
use crate::core::addr::Prefix;
use crate::core::delta::Ban;
use crate::core::enforced::{Coverage, Dropped, Held};
use crate::core::engine::{Engine, JailFigures};
use crate::core::input::Manual;
use crate::core::jail::{Jail, JailId, JailName, JournalMatch, LogSource};
use crate::core::surplus::Evictions;
use crate::daemon::enforcing::Picture;
use crate::daemon::notices::Counts;
use crate::daemon::perform::{Performer, Total};
use crate::daemon::sources::Counters;

/// Facts about the agent that neither engine nor enforcer know.
#[derive(Clone, Debug, Default)]
pub struct Background {
    /// Why this backend.
    pub backend_reason: String,
    /// Problems of the configuration, in words.
    pub problems: Vec<String>,
    /// What happened in the sources.
    pub sources: Counters,
    /// What the jails' files say.
    pub described: Vec<Described>,
    /// What became of those who are told of bans.
    pub notified: Arc<Counts>,
    /// To be told that the store holds what nobody has read, and can be read now.
    pub reread: Arc<Notify>,
}

/// What of a jail goes into its status, but for the kernel's half.
struct Known {
    name: JailName,
    journal_matches: String,
    files: Option<Vec<String>>,
    figures: JailFigures,
    evictions: Evictions,
    total: Total,
}

/// Makes the answer to [`Request::Status`], once the kernel was looked at.
pub fn status(performer: &Performer) -> impl FnOnce(&Picture) -> Response + Send + use<> {
    let now = (performer.now)().wall;
    let known: Vec<Known> = performer
        .engine
        .jails()
        .map(|(id, jail)| Known {
            name: jail.name.clone(),
            journal_matches: jail.journal_match().map(ToString::to_string).unwrap_or_default(),
            files: files(performer, id, jail),
            figures: performer.engine.figures(id, now),
            evictions: performer.meters.jail(&jail.name).evictions,
            total: performer.totals[id.index()],
        })
        .collect();
    let mut problems = problems(performer);
    let backend_reason = performer.background.backend_reason.clone();
    let forged_entries = performer.background.sources.journal.forged.load(Ordering::Relaxed);
    let notified = performer.background.notified.figures();
    let wanted = wanted(performer);
    move |picture: &Picture| {
        let held = held_by_jail(picture);
        problems.extend(picture.held.as_ref().err().cloned());
        problems.extend(picture.problems.iter().cloned());
        let counts = picture.capabilities.counts_drops;
        let status = |known| jail_status(known, &held, counts, &wanted);
        let jails = known.into_iter().map(status).collect();
        Response::Status(Box::new(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            backend: picture.backend.to_owned(),
            backend_reason,
            capabilities: picture.capabilities,
            jails,
            interfaces: picture.coverage.clone(),
            problems,
            forged_entries,
            put_right: picture.put_right,
            notified,
        }))
    }
}

/// What is wrong with the engine's half, in words.
pub fn problems(performer: &Performer) -> Vec<String> {
    let mut problems = performer.background.problems.clone();
    problems.extend(performer.store_problem.as_ref().map(|problem| {
        format!("{problem}; bans are made and lifted all the same, and stored when it works again")
    }));
    problems.extend(performer.store.put_aside().into_iter().map(|place| {
        format!(
            "a damaged store was put aside, as it was found, as {}; guard goes on in a new one: \
             take the old one away when it has been looked into",
            place.display()
        )
    }));
    problems.extend(performer.engine.troubles());
    let full = performer.meters.full();
    if full > 0 {
        problems.push(format!("{full} bans were not made: limits.bans is reached"));
    }
    let nameless = performer.engine.without_address();
    if nameless > 0 {
        problems.push(format!(
            "{nameless} failures were of something else than an address: nobody was banned"
        ));
    }
    let Counters { journal: counters, files } = &performer.background.sources;
    let unreadable = counters.unreadable.load(Ordering::Relaxed);
    if unreadable > 0 {
        problems.push(format!("{unreadable} journal entries could not be read"));
    }
    let lost = counters.lost_places.load(Ordering::Relaxed);
    if lost > 0 {
        problems.push(format!(
            "the journal no longer had the place to go on from ({lost} times): entries may have \
             been missed"
        ));
    }
    let lost = files.lost.load(Ordering::Relaxed);
    if lost > 0 {
        problems.push(format!(
            "a log file that was read in part was gone ({lost} times): lines may have been missed"
        ));
    }
    let too_many = files.too_many.load(Ordering::Relaxed);
    if too_many > 0 {
        problems.push(format!("{too_many} log files are not read: there are too many"));
    }
    problems.extend(performer.background.notified.problems());
    problems
}

/// The log files that a jail reads now, if it reads files.
fn files(performer: &Performer, id: JailId, jail: &Jail) -> Option<Vec<String>> {
    matches!(jail.source, LogSource::Files(_)).then(|| {
        let files = performer.background.sources.files.files_of(id);
        files.iter().map(|path| path.display().to_string()).collect()
    })
}

/// The answer to [`Request::Jail`].
pub fn jail(performer: &Performer, name: &JailName) -> Response {
    let found = performer.engine.jails().find(|(_, jail)| jail.name == *name);
    Response::Jail(found.map(|(id, jail)| {
        let described = performer.background.described.iter();
        let described = described.clone().find(|found| found.name == name.as_str());
        let (networks, hosts): (Vec<_>, Vec<_>) =
            jail.allow.entries().iter().partition(|entry| !entry.is_host());
        let elsewhere = jail.allow_elsewhere.iter().map(ToString::to_string);
        let ignored = networks.into_iter().map(ToString::to_string).chain(elsewhere);
        let ignored = ignored.chain(hosts.into_iter().map(ToString::to_string)).collect();
        let options = described.into_iter().flat_map(|found| &found.options);
        let actions = described.into_iter().flat_map(|found| &found.actions);
        Box::new(JailFacts {
            name: jail.name.clone(),
            max_retry: jail.max_retry,
            find_time: jail.find_time,
            ban_time: jail.ban_time,
            ignored,
            journal_matches: jail.journal_match().map(JournalMatch::words).unwrap_or_default(),
            files: files(performer, id, jail),
            options: options.map(|value| (value.name.clone(), value.value.clone())).collect(),
            actions: actions.map(|action| action.name.clone()).collect(),
        })
    }))
}

/// Makes the answer to [`Request::Bans`], once the kernel was looked at.
pub fn bans(performer: &Performer) -> impl FnOnce(&Picture) -> Response + Send + use<> {
    let wanted = wanted(performer);
    move |picture: &Picture| {
        let held = match &picture.held {
            Ok(held) => held,
            Err(error) => return Response::Error(error.clone()),
        };
        let held: HashMap<(&JailName, Prefix), &Held> =
            held.iter().map(|held| ((&held.jail, held.source), held)).collect();
        let why = why_not_enforced(picture);
        let mut rows: Vec<BanRow> = wanted
            .iter()
            .map(|(jail, ban)| {
                let held = held.get(&(jail, ban.source));
                BanRow {
                    jail: jail.clone(),
                    address: ban.source,
                    since: ban.since,
                    until: ban.until,
                    reason: ban.reason,
                    enforced: held.is_some(),
                    not_enforced_because: held.is_none().then(|| why.clone()),
                    dropped: held.and_then(|held| held.dropped),
                }
            })
            .collect();
        rows.sort_by(|a, b| (&a.jail, a.address).cmp(&(&b.jail, b.address)));
        let bare = picture.coverage.iter().filter(|interface| interface.means == "none");
        Response::Bans { bans: rows, uncovered: bare.cloned().collect() }
    }
}

/// Makes the answer to [`Request::Explain`], once the kernel was looked at.
pub fn explain(
    performer: &Performer,
    source: Prefix,
) -> impl FnOnce(&Picture) -> Response + Send + use<> {
    let now = (performer.now)().wall;
    let jails: Vec<Standing> = performer
        .engine
        .jails()
        .map(|(id, jail)| {
            let known = performer.engine.standing(id, source, now);
            let ban = known.ban.map(|ban| StandingBan {
                source: ban.source,
                since: ban.since,
                until: ban.until,
                reason: ban.reason,
            });
            Standing {
                jail: jail.name.clone(),
                max_retry: jail.max_retry,
                find_time: jail.find_time,
                failures: known.failures,
                counted_with: known.counted_with,
                ban,
                enforced: false,
                dropped: None,
                allowed: known.allowed,
            }
        })
        .collect();
    move |picture: &Picture| {
        let held = match &picture.held {
            Ok(held) => held,
            Err(error) => return Response::Error(error.clone()),
        };
        let in_kernel = |standing: Standing| {
            let banned = standing.ban.map_or(source, |ban| ban.source);
            let found = held.iter().find(|h| h.jail == standing.jail && h.source == banned);
            let dropped = found.and_then(|held| held.dropped);
            Standing { enforced: found.is_some(), dropped, ..standing }
        };
        Response::Explained(jails.into_iter().map(in_kernel).collect())
    }
}

/// The engine's form of a ban or unban that was asked for.
///
/// # Errors
/// In words for whoever asked, when there is no such jail.
pub fn manual(engine: &Engine, request: Request) -> Result<Manual, String> {
    let find = |name: &JailName| {
        engine
            .jail_named(name.as_str())
            .ok_or_else(|| format!("Sorry but the jail '{name}' does not exist"))
    };
    match request {
        Request::Ban { jail, sources, ban_time, force } => {
            let ban_time = ban_time.map(|ban_time| match ban_time {
                BanTime::For(span) => Some(span),
                BanTime::Forever => None,
            });
            Ok(Manual::Ban { jail: find(&jail)?, sources, ban_time, force })
        }
        Request::Unban { jail, sources } => {
            Ok(Manual::Unban { jail: jail.as_ref().map(find).transpose()?, sources })
        }
        Request::Attempt { jail, source, count } => {
            Ok(Manual::Attempt { jail: find(&jail)?, source, count })
        }
        Request::Adjust { jail, adjustment } => {
            Ok(Manual::Adjust { jail: find(&jail)?, adjustment })
        }
        _ => Err("not an order".to_owned()),
    }
}

/// Why a ban that should be in the kernel is not, as far as the enforcer knows.
fn why_not_enforced(picture: &Picture) -> String {
    let bare = |one: &&Coverage| one.means == "none";
    if let Some(first) = picture.coverage.iter().find(bare)
        && picture.coverage.iter().all(|one| bare(&one))
    {
        return format!("no interface is guarded: {}", first.reason);
    }
    match picture.problems.first() {
        Some(problem) => format!("{problem}; guard goes on trying"),
        None => "others removed it from the kernel; guard puts it back now".to_owned(),
    }
}

fn wanted(performer: &Performer) -> Vec<(JailName, Ban)> {
    let name = |ban: &Ban| performer.names[ban.jail.index()].clone();
    performer.engine.bans().map(|ban| (name(&ban), ban)).collect()
}

/// What the kernel holds for one jail.
#[derive(Clone, Debug, Default)]
struct HeldByJail {
    sources: Vec<Prefix>,
    dropped: Option<Dropped>,
}

fn held_by_jail(picture: &Picture) -> HashMap<&JailName, HeldByJail> {
    let mut by_jail: HashMap<&JailName, HeldByJail> = HashMap::new();
    for held in picture.held.iter().flatten() {
        let jail = by_jail.entry(&held.jail).or_default();
        jail.sources.push(held.source);
        if let Some(dropped) = held.dropped {
            *jail.dropped.get_or_insert_default() += dropped;
        }
    }
    by_jail.values_mut().for_each(|jail| jail.sources.sort_unstable());
    by_jail
}

fn jail_status(
    known: Known,
    held: &HashMap<&JailName, HeldByJail>,
    counts_drops: bool,
    wanted: &[(JailName, Ban)],
) -> JailStatus {
    let HeldByJail { sources: banned, dropped } =
        held.get(&known.name).cloned().unwrap_or_default();
    let dropped = dropped.or(counts_drops.then(Dropped::default));
    let missing = |source: &Prefix| banned.binary_search(source).is_err();
    let mut not_enforced: Vec<Prefix> = wanted
        .iter()
        .filter(|(name, _)| *name == known.name)
        .map(|(_, ban)| ban.source)
        .filter(missing)
        .collect();
    not_enforced.sort_unstable();
    JailStatus {
        name: known.name,
        currently_failed: known.figures.failing,
        total_failed: known.total.failures,
        evictions: known.evictions,
        journal_matches: known.journal_matches,
        files: known.files,
        total_banned: known.total.bans,
        banned,
        not_enforced,
        dropped,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::enforced::Capabilities;

    fn picture(means: &[&str], problems: &[&str]) -> Picture {
        let covered = |means: &&str| Coverage {
            interface: "eth0".to_owned(),
            means: (*means).to_owned(),
            reason: "its reason".to_owned(),
            dropped: None,
        };
        Picture {
            backend: "xdp",
            capabilities: Capabilities {
                counts_drops: true,
                ends_bans: true,
                survives_agent: true,
            },
            held: Ok(Vec::new()),
            coverage: means.iter().map(covered).collect(),
            problems: problems.iter().map(|one| (*one).to_owned()).collect(),
            put_right: 0,
        }
    }

    #[test]
    fn what_is_not_enforced_says_why() {
        let why = |means: &[&str], problems: &[&str]| why_not_enforced(&picture(means, problems));
        assert_eq!(why(&["none", "none"], &["x"]), "no interface is guarded: its reason");
        assert_eq!(
            why(&["none", "tcx"], &["BANS_V4 is full"]),
            "BANS_V4 is full; guard goes on trying"
        );
        assert!(why(&["tcx"], &[]).contains("others removed it"));
        assert!(why(&[], &[]).contains("others removed it"), "no interface but loopback");
    }
}

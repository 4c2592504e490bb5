//! The switch between the two services, in both directions.
//!
//! There: bans are stored, those of the database and those that Fail2Ban tells → guard starts,
//! and is ready when they are in the kernel → what the kernel holds is looked at → Fail2Ban
//! is asked once more → it ends → bans that it made meanwhile follow. Whatever fails before
//! it has ended is put back. Where both keep the same nftables table (guard's nft backend
//! adopts it, and what is not stored is out of it then), Fail2Ban would take the rules with
//! it when it ends, so there it is killed. Back: likewise.

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Instant;

use super::asked;
use super::handover::{INTERVAL, Ours, PATIENCE, bans, hand_over, held};
use super::plan::{Plan, shares_table};
use super::record::Record;
use super::taken;
use super::units::{EXPIRY, FAIL2BAN, GUARD, is, kill_fail2ban, systemctl};
use super::{DIRECTORY, Host};
use crate::cli::{Failure, output};
use crate::config::{self, agent::Settings};
use crate::control::client;
use crate::control::protocol::{BanRow, BanTime, Request, Response, Status};
use crate::core::addr::Prefix;
use crate::core::jail::JailName;
use crate::daemon::{backend, detached, run};
use crate::enforce::nft::expire::Lasting;
use crate::store::fail2ban::{self, LastBan};
use crate::store::snapshot::Snapshot;

/// Switches over.
pub(super) fn apply(host: &Host, plan: &Plan, force: bool) -> Result<(), Failure> {
    let known = host.known()?;
    let guard_ran = is("is-active", GUARD);
    if known.is_some() && guard_ran && !is("is-active", FAIL2BAN) {
        return Err(Failure::NotDone(
            "guard has taken over already; guardctl migrate --undo goes back".to_owned(),
        ));
    }
    let there = host.record()?;
    // Then guard's nft backend may have adopted their table.
    let shared = there.fail2ban_active && shares_table(&theirs(host));
    let had = taken::snapshot(&host.settings.store())?;
    host.keep(&there, known.as_ref())?;
    let detached = detached::reason(&host.settings).is_some();
    let known = known.as_ref();
    let mut before = Before { record: &there, known, guard_ran, detached, had, shared };
    take_over(host, plan, &mut before, force)
        .map_err(|failure| put_back(host, &before, &failure))?;
    // From here on only guard is there, and there is no way but on.
    if there.fail2ban_active
        && let Err(failure) = follow(host, plan)
    {
        output::talk(&format!(
            "warning: whom Fail2Ban banned in its last moment may get in again: {failure}"
        ));
    }
    if there.fail2ban_enabled {
        systemctl(&["disable", FAIL2BAN]).map_err(|failure| {
            Failure::NotDone(format!(
                "{failure}\nguard has taken over, but Fail2Ban begins again at the next boot: \
                 systemctl disable {FAIL2BAN}"
            ))
        })?;
    }
    output::talk("Fail2Ban has ended, and guard goes on; guardctl migrate --undo goes back");
    Ok(())
}

/// All up to the end of Fail2Ban; until that is done everything can be put back.
fn take_over(
    host: &Host,
    plan: &Plan,
    before: &mut Before<'_>,
    force: bool,
) -> Result<(), Failure> {
    // Bans of an agent that runs stay in the kernel.
    systemctl(&["stop", GUARD])?;
    // What it stored to its end.
    before.had = taken::snapshot(&host.settings.store())?;
    let backend = protecting(*begin(host, plan, before.record)?, force)?;
    systemctl(&["enable", GUARD])?;
    if before.record.fail2ban_active
        && let Ok(since) = asked::bans(&socket(&theirs(host)))
    {
        // What it banned since it was asked first.
        ban_too(host, since)?;
        holding(host)?;
    }
    output::talk(&format!("guard holds the bans (backend {backend})"));
    if before.record.fail2ban_active {
        end_fail2ban(backend == "nft" && before.shared)?;
    }
    Ok(())
}

/// Ends Fail2Ban; where both have one table, so that the table stays.
fn end_fail2ban(shared: bool) -> Result<(), Failure> {
    let ended = if shared { kill_fail2ban() } else { systemctl(&["stop", FAIL2BAN]) };
    // That it has ended is what counts, however it did.
    ended.or_else(|failure| if is("is-active", FAIL2BAN) { Err(failure) } else { Ok(()) })
}

/// How it was before a switch was tried.
struct Before<'h> {
    record: &'h Record,
    /// What an earlier migration kept.
    known: Option<&'h Record>,
    guard_ran: bool,
    /// Whether it was to enforce nothing.
    detached: bool,
    /// What guard had stored, if anything: what it takes over goes again with the switch.
    had: Option<Snapshot>,
    /// Whether Fail2Ban runs and has the table that guard's nft backend has.
    shared: bool,
}

/// Fail2Ban goes on as before; what is told of it.
fn put_back(host: &Host, before: &Before<'_>, failure: &Failure) -> Failure {
    Failure::NotDone(match go_on(host, before) {
        Ok(()) => {
            let goes_on = match before.record.fail2ban_active {
                true => "Fail2Ban goes on",
                false => "Fail2Ban did not run before",
            };
            format!(
                "{failure}\nNothing was switched: {goes_on}; guard.toml is what it was. Mend this, \
                 then guardctl migrate --apply tries again"
            )
        }
        Err(second) => format!("{failure}\nand going on as before: {second}"),
    })
}

/// Fail2Ban goes on as before, and so does guard if it ran. What fails keeps nothing else from
/// being put back.
fn go_on(host: &Host, before: &Before<'_>) -> Result<(), Failure> {
    let stopped = systemctl(&["stop", GUARD]);
    let restored = host.restore(before.record);
    let known = match before.known {
        Some(known) => known.write(&host.file),
        None => Record::forget(&host.file),
    };
    let theirs = match before.record.fail2ban_active && !is("is-active", FAIL2BAN) {
        true => systemctl(&["start", FAIL2BAN]),
        false => Ok(()),
    };
    if !before.record.guard_enabled {
        let _ = systemctl(&["disable", GUARD]);
    }
    // What an agent that did not stop has open is not taken from it.
    let ours = stopped.and_then(|()| back(host, before, theirs.is_ok()));
    let known = known.map_err(|error| host.failed(&error));
    let failures = [theirs, restored, known, ours].into_iter().filter_map(Result::err);
    let failures: Vec<String> = failures.map(|failure| failure.to_string()).collect();
    if failures.is_empty() { Ok(()) } else { Err(Failure::NotDone(failures.join("\n"))) }
}

/// The stopped guard is what it was; if Fail2Ban does not go on, its bans stay in the kernel.
fn back(host: &Host, before: &Before<'_>, theirs_goes_on: bool) -> Result<(), Failure> {
    let noted = match before.detached {
        true => detached::take_note(&host.settings),
        false => Ok(()),
    };
    let noted = noted.map_err(|error| Failure::NotDone(format!("noting the detachment: {error}")));
    // Else whom Fail2Ban lets in from now on would be banned by what was taken over.
    let store = host.settings.store();
    let stored = match &before.had {
        Some(had) => taken::put_back(&store, had),
        None if before.guard_ran => Ok(()),
        None => taken::remove(&store),
    };
    let goes_on = match before.guard_ran {
        // What was logged meanwhile is read again, from where it had read up to.
        true => systemctl(&["start", GUARD]),
        false if !theirs_goes_on => Ok(()),
        false => {
            let _ = systemctl(&["stop", EXPIRY]);
            leave(&host.settings, before.shared)
        }
    };
    stored.and(noted).and(goes_on)
}

/// Removes guard from the kernel; a table that is Fail2Ban's too stays, and is Fail2Ban's.
fn leave(settings: &Settings, shared: bool) -> Result<(), Failure> {
    if shared {
        backend::disown(settings).map_err(|error| {
            Failure::NotDone(format!("giving up the table inet f2b-table: {error}"))
        })?;
    }
    let removed = backend::detach(settings, false);
    removed.map(drop).map_err(|error| Failure::NotDone(error.to_string()))
}

/// The settings, with Fail2Ban's jails.
fn theirs(host: &Host) -> Settings {
    Settings { jail_directory: DIRECTORY.into(), ..host.settings.clone() }
}

/// Starts guard with Fail2Ban's bans; how it is once it holds them.
fn begin(host: &Host, plan: &Plan, record: &Record) -> Result<Box<Status>, Failure> {
    detached::forget(&host.settings).map_err(|error| Failure::NotDone(error.to_string()))?;
    host.import(plan)?;
    if record.fail2ban_active {
        host.take(plan, &asked_for(host, plan)?)?;
    }
    host.point(record)?;
    systemctl(&["start", GUARD])?;
    holding(host)
}

/// How guard is once the kernel holds all of its bans.
fn holding(host: &Host) -> Result<Box<Status>, Failure> {
    let start = Instant::now();
    loop {
        let Response::Status(status) = client::ask(&host.settings.socket, &Request::Status)? else {
            return Err(Failure::NotDone("the agent answered something else".to_owned()));
        };
        let missing = status.jails.iter().map(|jail| jail.not_enforced.len()).sum::<usize>();
        if missing == 0 {
            return Ok(status);
        }
        if start.elapsed() > PATIENCE {
            let problems = status.problems.join("\n");
            return Err(Failure::NotDone(format!("{missing} bans are not enforced:\n{problems}")));
        }
        sleep(INTERVAL);
    }
}

/// The backend, if it drops what is banned, and unless `force` on each interface.
fn protecting(status: Status, force: bool) -> Result<String, Failure> {
    if status.backend == "null" {
        return Err(Failure::NotDone(format!("guard drops nothing: {}", status.backend_reason)));
    }
    let bare = status.interfaces.iter().filter(|one| one.means == "none");
    let bare: Vec<String> = bare
        .map(|one| format!("nothing is dropped on {}: {}", one.interface, one.reason))
        .collect();
    let none = !bare.is_empty() && bare.len() == status.interfaces.len();
    if bare.is_empty() || (force && !none) {
        return Ok(status.backend);
    }
    let way_out = if none { "" } else { "\n--force switches over all the same" };
    Err(Failure::NotDone(format!("{}{way_out}", bare.join("\n"))))
}

/// What the Fail2Ban that runs holds, which need not all be in a database.
fn asked_for(host: &Host, plan: &Plan) -> Result<Vec<LastBan>, Failure> {
    asked::bans(&socket(&theirs(host))).or_else(|failure| {
        if plan.database.is_none() {
            return Err(failure);
        }
        output::talk(&format!("warning: only what is in its database is known: {failure}"));
        Ok(Vec::new())
    })
}

/// Bans that Fail2Ban made after they were taken over.
fn follow(host: &Host, plan: &Plan) -> Result<(), Failure> {
    let Some(database) = &plan.database else { return Ok(()) };
    let found = fail2ban::read(database);
    let found = found.map_err(|error| Failure::NotDone(error.to_string()))?;
    ban_too(host, found.bans)
}

/// Has guard ban whom it does not ban yet.
fn ban_too(host: &Host, theirs: Vec<LastBan>) -> Result<(), Failure> {
    let held = bans(&host.settings.socket)?;
    let known: HashSet<(&JailName, Prefix)> =
        held.iter().map(|ban| (&ban.jail, ban.address)).collect();
    let now = run::now().wall;
    for LastBan { jail, source, past, .. } in theirs {
        let until = past.length.map(|length| past.since + length);
        let covers = |ban: &BanRow| ban.jail == jail && ban.address.contains(&source);
        if until.is_some_and(|until| until <= now)
            || known.contains(&(&jail, source))
            || held.iter().any(covers)
        {
            continue;
        }
        let ban_time = until.map_or(BanTime::Forever, |until| BanTime::For(until - now));
        let ban_time = Some(ban_time);
        let request = Request::Ban { jail, sources: vec![source], ban_time, force: false };
        // Of a jail that is not there, or of somebody who is allowed: told, and no more.
        match client::ask(&host.settings.socket, &request)? {
            Response::Error(error) => output::talk(&format!("warning: {source}: {error}")),
            Response::Done(outcome) => {
                if let Some(problem) = outcome.not_stored() {
                    output::talk(&format!("warning: {source}: {problem}"));
                }
                for (source, allowed) in outcome.refused {
                    output::talk(&format!("warning: {source} is banned no more: {allowed}"));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Refuses to end an agent that could not go on with the files as they are: a jail that does
/// not start drops nothing.
fn could_go_on(settings: &Settings, ours: &[Ours]) -> Result<(), Failure> {
    let jails = config::jails(settings).jails;
    let starts = |name: &JailName| jails.iter().any(|jail| jail.name == *name);
    let lost: BTreeSet<&str> =
        ours.iter().map(Ours::jail).filter(|name| !starts(name)).map(JailName::as_str).collect();
    if lost.is_empty() {
        return Ok(());
    }
    let lost = lost.into_iter().collect::<Vec<_>>().join(", ");
    Err(Failure::NotDone(format!(
        "nothing was changed: with the files in {} as they are {lost} would not start, so neither \
         would Fail2Ban be sure to, nor could guard go on then. Mend what guardctl check names, \
         or go back all the same with --force",
        settings.jail_directory.display()
    )))
}

/// Goes back.
pub(super) fn undo(host: &Host, force: bool) -> Result<(), Failure> {
    let Some(record) = host.known()? else {
        return Err(Failure::NotDone("there was no migration to undo".to_owned()));
    };
    let settings = &host.settings;
    let fail2ban_runs = is("is-active", FAIL2BAN);
    let goes_on = record.fail2ban_active || fail2ban_runs;
    // Also while the agent is dead.
    let shared = goes_on && backend::last_used(settings) == "nft" && shares_table(&theirs(host));
    let ours = held(settings)?;
    let mut left = Vec::new();
    if shared {
        if is("is-active", GUARD) && !force {
            could_go_on(settings, &ours)?;
        }
        // Its bans stay in the table, and Fail2Ban puts its own rules over them.
        systemctl(&["stop", GUARD])?;
    }
    if goes_on {
        left = hand_back(&theirs(host), &ours).map_err(|failure| {
            if !fail2ban_runs {
                // Not in peace if that can be: it would empty the table that both share.
                if !shared || kill_fail2ban().is_err() {
                    let _ = systemctl(&["stop", FAIL2BAN]);
                }
            }
            let goes_on = match systemctl(&["start", GUARD]) {
                Ok(()) => "guard goes on".to_owned(),
                Err(second) => second.to_string(),
            };
            Failure::NotDone(format!("{failure}\n{goes_on}"))
        })?;
    }
    if record.fail2ban_enabled {
        systemctl(&["enable", FAIL2BAN])?;
    }
    systemctl(&["stop", GUARD])?;
    let _ = systemctl(&["stop", EXPIRY]);
    if shared {
        // Nobody else would ever lift it.
        let lifted = backend::expire(settings, &left, run::now());
        lifted.map_err(|error| Failure::NotDone(error.to_string()))?;
    }
    leave(settings, shared)?;
    if !record.guard_enabled {
        systemctl(&["disable", GUARD])?;
    }
    host.restore(&record)?;
    Record::forget(&host.file).map_err(|error| host.failed(&error))?;
    output::talk(match goes_on {
        true => "Fail2Ban guards this host again; guard has ended, and guard.toml is as before",
        false => "guard has ended, and guard.toml is as before; Fail2Ban did not run before",
    });
    Ok(())
}

/// Starts Fail2Ban, and has it ban whom guard bans; what it does not ban as guard does.
fn hand_back(settings: &Settings, ours: &[Ours]) -> Result<Vec<Lasting>, Failure> {
    systemctl(&["start", FAIL2BAN])?;
    hand_over(&socket(settings), ours)
}

/// Where Fail2Ban listens.
fn socket(settings: &Settings) -> PathBuf {
    let socket = config::fail2ban_option(settings, "socket");
    socket.unwrap_or_else(|| "/var/run/fail2ban/fail2ban.sock".to_owned()).into()
}

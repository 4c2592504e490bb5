//! The switch between the two services, in both directions.
//!
//! There: bans are stored → guard starts, and is ready when they are in the kernel → what the
//! kernel holds is looked at → Fail2Ban ends → bans that it made meanwhile follow. Where
//! both keep the same nftables table (guard's nft backend adopts it), Fail2Ban would take
//! the rules with it when it ends, so there it is killed. Back: likewise.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::plan::{Plan, shares_table};
use super::record::Record;
use super::units::{FAIL2BAN, GUARD, is, kill_fail2ban, systemctl};
use super::{DIRECTORY, Host};
use crate::cli::{Failure, output};
use crate::compat::client::Client;
use crate::compat::value::Value;
use crate::config::agent::Settings;
use crate::config::{self};
use crate::control::client;
use crate::control::protocol::{BanRow, BanTime, Request, Response};
use crate::core::addr::Prefix;
use crate::core::jail::JailName;
use crate::daemon::{backend, detached, run};
use crate::store::fail2ban::{self, LastBan};

/// How long bans may take to be in the kernel, and Fail2Ban to be there.
const PATIENCE: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_millis(50);
/// Addresses in one command to Fail2Ban.
const AT_ONCE: usize = 500;

/// Switches over.
pub(super) fn apply(host: &Host, plan: &Plan) -> Result<(), Failure> {
    if let Ok(Some(_)) = Record::read(&host.file)
        && is("is-active", GUARD)
        && !is("is-active", FAIL2BAN)
    {
        return Err(Failure::NotDone(
            "guard has taken over already; guardctl migrate --undo goes back".to_owned(),
        ));
    }
    let theirs = Settings { jail_directory: DIRECTORY.into(), ..host.settings.clone() };
    // Then guard's nft backend may have adopted their table.
    let shared = shares_table(&theirs);
    let record = host.record(
        is("is-enabled", FAIL2BAN),
        is("is-active", FAIL2BAN),
        is("is-enabled", GUARD),
    )?;
    host.write(&record)?;
    let switched = begin(host, plan);
    let backend = match switched {
        Ok(backend) => backend,
        Err(failure) => {
            // Fail2Ban goes on as before.
            let _ = systemctl(&["stop", GUARD]);
            if !shared {
                let _ = backend::detach(&host.settings, false);
            }
            host.restore(&record)?;
            Record::forget(&host.file).map_err(|error| host.failed(&error))?;
            return Err(Failure::NotDone(format!(
                "{failure}\nFail2Ban goes on; guard.toml is what it was"
            )));
        }
    };
    systemctl(&["enable", GUARD])?;
    output::talk(&format!("guard holds the bans (backend {backend})"));
    if record.fail2ban_active {
        if backend == "nft" && shared {
            kill_fail2ban()?;
        } else {
            systemctl(&["stop", FAIL2BAN])?;
        }
        follow(host, plan)?;
    }
    if record.fail2ban_enabled {
        systemctl(&["disable", FAIL2BAN])?;
    }
    output::talk("Fail2Ban has ended, and guard goes on; guardctl migrate --undo goes back");
    Ok(())
}

/// Starts guard with Fail2Ban's bans; the backend that holds them.
fn begin(host: &Host, plan: &Plan) -> Result<String, Failure> {
    // Bans of an agent that runs stay in the kernel.
    systemctl(&["stop", GUARD])?;
    detached::forget(&host.settings).map_err(|error| Failure::NotDone(error.to_string()))?;
    host.import(plan)?;
    systemctl(&["start", GUARD])?;
    let start = Instant::now();
    loop {
        let Response::Status(status) = client::ask(&host.settings.socket, &Request::Status)? else {
            return Err(Failure::NotDone("the agent answered something else".to_owned()));
        };
        let missing = status.jails.iter().map(|jail| jail.not_enforced.len()).sum::<usize>();
        if missing == 0 {
            return Ok(status.backend);
        }
        if start.elapsed() > PATIENCE {
            let problems = status.problems.join("\n");
            return Err(Failure::NotDone(format!("{missing} bans are not enforced:\n{problems}")));
        }
        sleep(INTERVAL);
    }
}

/// Bans that Fail2Ban made after they were taken over.
fn follow(host: &Host, plan: &Plan) -> Result<(), Failure> {
    let Some(database) = &plan.database else { return Ok(()) };
    let found = fail2ban::read(database);
    let found = found.map_err(|error| Failure::NotDone(error.to_string()))?;
    let held = bans(&host.settings.socket)?;
    let now = run::now().wall;
    for LastBan { jail, source, past, .. } in found.bans {
        let until = past.length.map(|length| past.since + length);
        let covered = |ban: &BanRow| ban.jail == jail && ban.address.contains(&source);
        if until.is_some_and(|until| until <= now) || held.iter().any(covered) {
            continue;
        }
        let ban_time = until.map_or(BanTime::Forever, |until| BanTime::For(until - now));
        let ban_time = Some(ban_time);
        let request = Request::Ban { jail, sources: vec![source], ban_time, force: false };
        // Of a jail that is not there, or of somebody who is allowed: told, and no more.
        if let Response::Error(error) = client::ask(&host.settings.socket, &request)? {
            output::talk(&format!("warning: {source}: {error}"));
        }
    }
    Ok(())
}

/// Goes back.
pub(super) fn undo(host: &Host) -> Result<(), Failure> {
    let record = Record::read(&host.file);
    let Some(record) = record.map_err(|error| host.failed(&error))? else {
        return Err(Failure::NotDone("there was no migration to undo".to_owned()));
    };
    let settings = &host.settings;
    let ours = if is("is-active", GUARD) { bans(&settings.socket)? } else { Vec::new() };
    let shared = match is("is-active", GUARD) {
        true => match client::ask(&settings.socket, &Request::Status)? {
            Response::Status(status) => status.backend == "nft" && shares_table(settings),
            _ => false,
        },
        false => false,
    };
    if shared {
        // Its bans stay in the table, and Fail2Ban puts its own rules over them.
        systemctl(&["stop", GUARD])?;
    }
    if record.fail2ban_active {
        systemctl(&["start", FAIL2BAN])?;
        let socket = config::fail2ban_option(settings, "socket")
            .unwrap_or_else(|| "/var/run/fail2ban/fail2ban.sock".to_owned());
        hand_over(Path::new(&socket), &ours)?;
    }
    if record.fail2ban_enabled {
        systemctl(&["enable", FAIL2BAN])?;
    }
    if !shared {
        systemctl(&["stop", GUARD])?;
        let removed = backend::detach(settings, false);
        removed.map_err(|error| Failure::NotDone(error.to_string()))?;
    }
    let _ = systemctl(&["stop", "guard-expire.timer"]);
    if !record.guard_enabled {
        systemctl(&["disable", GUARD])?;
    }
    host.restore(&record)?;
    Record::forget(&host.file).map_err(|error| host.failed(&error))?;
    output::talk("Fail2Ban guards this host again; guard has ended, and guard.toml is what it was");
    Ok(())
}

fn bans(socket: &Path) -> Result<Vec<BanRow>, Failure> {
    match client::ask(socket, &Request::Bans)? {
        Response::Bans { bans, .. } => Ok(bans),
        _ => Err(Failure::NotDone("the agent does not tell its bans".to_owned())),
    }
}

/// Has Fail2Ban ban whom guard bans, once it is there.
fn hand_over(socket: &Path, bans: &[BanRow]) -> Result<(), Failure> {
    let jails: BTreeMap<&JailName, Vec<Prefix>> =
        bans.iter().fold(BTreeMap::new(), |mut all, ban| {
            all.entry(&ban.jail).or_default().push(ban.address);
            all
        });
    let mut server = connected(socket)?;
    for (jail, sources) in jails {
        let (hosts, networks): (Vec<&Prefix>, Vec<&Prefix>) =
            sources.iter().partition(|source| source.is_host());
        for network in networks {
            output::talk(&format!("warning: {network} in {jail}: Fail2Ban bans no networks"));
        }
        for some in hosts.chunks(AT_ONCE) {
            let words = ["set", jail.as_str(), "banip"].map(str::to_owned).into_iter();
            let words: Vec<String> = words.chain(some.iter().map(ToString::to_string)).collect();
            if let Err(problem) = told(&mut server, &words) {
                output::talk(&format!("warning: jail {jail}: {problem}"));
            }
        }
    }
    Ok(())
}

/// Fail2Ban, once it has all of its jails.
fn connected(socket: &Path) -> Result<Client, Failure> {
    let start = Instant::now();
    loop {
        let ready = Client::connect(socket, Some(PATIENCE)).ok().and_then(|mut client| {
            told(&mut client, &["server-status".to_owned()]).ok()?;
            // Its client sends the configuration after the socket is there.
            let status = told(&mut client, &["status".to_owned()]).ok()?;
            let count = status.items()?.first()?.items()?.get(1)?.clone();
            (count != Value::Number(0)).then_some(client)
        });
        if let Some(client) = ready {
            return Ok(client);
        }
        if start.elapsed() > PATIENCE {
            return Err(Failure::NotDone(format!(
                "Fail2Ban does not answer at {}; guard goes on",
                socket.display()
            )));
        }
        sleep(INTERVAL);
    }
}

fn told(server: &mut Client, words: &[String]) -> Result<Value, String> {
    let request = Value::texts(words.iter().map(String::as_str));
    let answer = server.ask(&request).map_err(|error| error.to_string())?;
    answer.map_err(|fault| fault.argument.to_string())
}

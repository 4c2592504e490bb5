//! `guardctl replay`: bans of the past, by the log's own time.

use anyhow::{Context, Result};
use guard_tests::journal_files::{JournalFiles, Record};

use crate::host::Host;

/// Three failures within ten minutes ban for an hour; a file is named, and a jail that
/// reads the journal stands beside.
const JAILS: (&str, &str) = (
    "jail.local",
    "[DEFAULT]\nmaxretry = 3\nfindtime = 600\nbantime = 3600\n\
     [app]\nenabled = true\nbackend = auto\nlogpath = LOG\nfilter = app\nport = 80\n\
     ignoreip = 192.0.2.99\n\
     [sshd]\nenabled = true\n",
);
const FILTER: (&str, &str) = (
    "filter.d/app.conf",
    "[Definition]\nfailregex = ^ \\S+ app\\[\\d+\\]: bad login of <F-USER>.*</F-USER> from <HOST>$\n",
);

fn at(time: &str, address: &str) -> String {
    format!("2026-03-01 {time} pve app[7]: bad login of bob from {address}\n")
}

fn host(log: &str) -> Result<(Host, String)> {
    let host = Host::new(&[FILTER])?;
    let path = host.write("app.log", log)?.to_str().context("UTF-8")?.to_owned();
    host.write("etc/jail.local", &JAILS.1.replace("LOG", &path))?;
    Ok((host, path))
}

#[test]
fn bans_begin_and_end_in_the_logs_own_time() -> Result<()> {
    let mut log = String::new();
    for time in ["10:00:00", "10:01:00", "10:02:00", "10:30:00"] {
        log.push_str(&at(time, "192.0.2.1"));
    }
    // Banned till 11:02; then it comes back.
    for time in ["11:03:00", "11:03:01", "11:03:02"] {
        log.push_str(&at(time, "192.0.2.1"));
    }
    // Too slow, and allowed.
    for time in ["12:00:00", "12:06:00", "12:12:00"] {
        log.push_str(&at(time, "192.0.2.2"));
        log.push_str(&at(time, "192.0.2.99"));
    }
    let (host, path) = host(&log)?;
    let json = host.json(&["replay", &path])?;
    let bans: Vec<(String, i64, i64)> = json["bans"]
        .as_array()
        .context("bans")?
        .iter()
        .map(|ban| {
            let time = |key: &str| ban[key].as_i64().expect("a time") / 1_000_000;
            (ban["address"].as_str().expect("text").to_owned(), time("since"), time("until"))
        })
        .collect();
    // 2026-03-01 10:02:00 and 11:03:02 UTC.
    let first = 1_772_359_320;
    let second = first + 3_662;
    let banned = |since| ("192.0.2.1".to_owned(), since, since + 3_600);
    assert_eq!(bans, [banned(first), banned(second)], "{json:#}");
    let app = &json["jails"][1];
    assert_eq!((&app["jail"], &app["lines"]), (&"app".into(), &13.into()), "{json:#}");
    assert_eq!((&app["allowed"], &app["sources"]), (&3.into(), &2.into()), "{json:#}");
    // The jail that reads the journal read nothing of the file.
    assert_eq!(json["jails"][0]["lines"], 0);
    let told = host.guardctl(&["replay", &path])?;
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(told.out.contains("2026-03-01 10:02 "), "{}", told.out);
    assert!(told.out.contains("3 failures in 2m"), "{}", told.out);
    assert!(told.out.lines().all(|line| line.chars().count() <= 80), "{}", told.out);
    Ok(())
}

#[test]
fn a_part_of_the_past_and_one_jail() -> Result<()> {
    let log: String =
        ["10:00:00", "10:01:00", "10:02:00"].map(|time| at(time, "192.0.2.1")).concat();
    let (host, path) = host(&log)?;
    let count = |options: &[&str]| -> Result<usize> {
        let json = host.json(&[&["replay", &path], options].concat())?;
        Ok(json["bans"].as_array().context("bans")?.len())
    };
    assert_eq!(count(&["--since", "2026-03-01 10:00:00"])?, 1);
    assert_eq!(count(&["--since", "2026-03-01 10:00:01"])?, 0);
    assert_eq!(count(&["--until", "2026-03-01 10:02:01"])?, 1);
    assert_eq!(count(&["--until", "2026-03-01 10:02:00"])?, 0);
    assert_eq!(count(&["--jail", "app"])?, 1);
    assert_eq!(count(&["--jail", "sshd"])?, 0);
    assert_eq!(host.guardctl(&["replay", &path, "--jail", "none"])?.code, Some(1));
    assert_eq!(host.guardctl(&["replay", &path, "--since", "soon"])?.code, Some(2));
    assert_eq!(host.guardctl(&["replay", "/nowhere.log"])?.code, Some(1));
    Ok(())
}

#[test]
fn a_stored_journal_is_replayed_without_root() -> Result<()> {
    use std::time::{Duration, UNIX_EPOCH};
    let (host, _) = host("")?;
    let mut journal = JournalFiles::new(&host.path("journal"))?;
    for (process, second) in (1..).zip([0, 60, 120]) {
        let message = "Failed password for root from 192.0.2.7 port 4000 ssh2";
        let time = UNIX_EPOCH + Duration::from_secs(1_772_359_200 + second);
        journal.append_one(&Record::sshd(process, message).at(time))?;
        let forged = Record::sshd(process, &message.replace("2.7", "2.8")).with("_UID", "1000");
        journal.append_one(&forged.at(time))?;
    }
    journal.finish()?;
    let directory = host.path("journal");
    let json = host.json(&["replay", directory.to_str().context("UTF-8")?])?;
    let bans = json["bans"].as_array().context("bans")?;
    assert_eq!(bans.len(), 1, "{json:#}");
    assert_eq!(bans[0]["address"], "192.0.2.7");
    assert_eq!(bans[0]["since"], 1_772_359_320_000_000_i64);
    Ok(())
}

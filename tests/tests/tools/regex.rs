//! `guardctl regex` beside the real `fail2ban-regex`, on logs made here.

use std::io::Write as _;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use guard_tests::fail2ban::Package;
use guard_tests::journal_files::{JournalFiles, Record};

use crate::host::{Host, told};

/// A sequence that looks like chance and is the same each time (Knuth's MMIX).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("fits") % bound
    }

    fn of<'t>(&mut self, choices: &[&'t str]) -> &'t str {
        choices[self.below(choices.len())]
    }
}

/// A system's log with all that sshd says, in `{u}` and `{h}` the client's.
const MESSAGES: [&str; 16] = [
    "Invalid user {u} from {h} port 4000",
    "Failed password for invalid user {u} from {h} port 4000 ssh2",
    "Failed password for {u} from {h} port 4000 ssh2",
    "Failed publickey for {u} from {h} port 4000 ssh2: RSA SHA256:abc",
    "Failed publickey for invalid user {u} from {h} port 4000 ssh2: RSA SHA256:abc",
    "Accepted password for {u} from {h} port 4000 ssh2",
    "Connection closed by {h} port 4000 [preauth]",
    "Connection closed by authenticating user {u} {h} port 4000 [preauth]",
    "Received disconnect from {h} port 4000:11: Bye Bye [preauth]",
    "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost={h}  user={u}",
    "error: maximum authentication attempts exceeded for {u} from {h} port 4000 ssh2 [preauth]",
    "User {u} from {h} not allowed because not listed in AllowUsers",
    "Disconnecting: Too many authentication failures for {u} [preauth]",
    "Unable to negotiate with {h} port 4000: no matching key exchange method found. Their offer: x [preauth]",
    "Did not receive identification string from {h}",
    "Server listening on 0.0.0.0 port 22.",
];

fn system_log(lines: usize) -> String {
    let mut chance = Chance(7);
    let mut log = String::new();
    for number in 0..lines {
        // Within five minutes and a hundred connections: Fail2Ban forgets older ones by
        // its own clock and not the log's.
        let second = number * 280 / lines;
        let (minute, second) = (second / 60, second % 60);
        let program = chance.of(&["sshd", "sshd", "sshd", "CRON", "systemd"]);
        let host = format!("192.0.2.{}", chance.below(250));
        let user = chance.of(&["root", "admin", "bob", "git"]);
        let message = chance.of(&MESSAGES).replace("{h}", &host).replace("{u}", user);
        let process = chance.below(60);
        log.push_str(&format!(
            "Nov  3 10:{minute:02}:{second:02} pve {program}[{process}]: {message}\n"
        ));
    }
    log
}

/// The numbers of a report: totals, hits of each expression, lines of each kind.
fn numbers(report: &str) -> Vec<String> {
    let number =
        |line: &&str| line.contains(" total") || line.starts_with("Lines:") || line.contains(") [");
    let head = |line: &str| match line.split_once("] ") {
        Some((hits, _)) if line.starts_with("|  ") => format!("{hits}]"),
        _ => line.to_owned(),
    };
    report.lines().filter(number).map(head).collect()
}

#[test]
fn the_numbers_are_those_of_fail2ban_regex() -> Result<()> {
    let package = Package::fetch()?;
    let configuration = package.configuration();
    let configuration = configuration.to_str().context("a path in UTF-8")?;
    let host = Host::new(&[])?;
    let log = host.write("auth.log", &system_log(3_000))?;
    let log = log.to_str().context("a path in UTF-8")?;
    let mut matched = 0;
    for filter in
        ["sshd", "sshd[mode=aggressive]", "sshd[mode=ddos]", "pam-generic", "dropbear", "recidive"]
    {
        let mut theirs = package.program("fail2ban-regex");
        theirs.args(["--config", configuration, "--usedns", "no", log, filter]).env("TZ", "UTC");
        let theirs = told(&theirs.output()?);
        ensure!(theirs.code == Some(0), "{theirs:?}");
        let ours = host.guardctl(&["regex", "-c", configuration, "--usedns", "no", log, filter])?;
        ensure!(ours.code == Some(0), "{ours:?}");
        assert_eq!(numbers(&ours.out), numbers(&theirs.out), "{filter}\n{}", ours.out);
        matched += usize::from(!ours.out.contains(" 0 matched"));
    }
    assert!(matched >= 4, "the log holds nothing for most filters");
    Ok(())
}

#[test]
fn the_failures_printed_are_those_of_fail2ban_regex() -> Result<()> {
    let package = Package::fetch()?;
    let configuration = package.configuration();
    let configuration = configuration.to_str().context("a path in UTF-8")?;
    let host = Host::new(&[])?;
    let log = host.write("auth.log", &system_log(1_000))?;
    let log = log.to_str().context("a path in UTF-8")?;
    for form in ["ip", "id", "user", "<ip> <F-USER> <time>"] {
        let mut theirs = package.program("fail2ban-regex");
        theirs.args(["--config", configuration, "--usedns", "no", "-o", form, log, "sshd"]);
        let theirs = told(&theirs.env("TZ", "UTC").output()?);
        let ours = host.guardctl(&[
            "regex",
            "-c",
            configuration,
            "--usedns",
            "no",
            "-o",
            form,
            log,
            "sshd",
        ])?;
        ensure!(theirs.out.lines().count() > 100, "{theirs:?}");
        assert_eq!(ours.out, theirs.out, "{form}");
    }
    Ok(())
}

#[test]
fn an_expression_is_tried_on_a_line() -> Result<()> {
    let host = Host::new(&[])?;
    for (line, expression, ignore, counts) in [
        (
            "pve x[1]: bad login from 192.0.2.1",
            "bad login from <HOST>$",
            None,
            "0 ignored, 1 matched, 0 missed",
        ),
        (
            "pve x[1]: bad login from 192.0.2.1",
            "good login from <HOST>$",
            None,
            "0 ignored, 0 matched, 1 missed",
        ),
        (
            "pve x[1]: bad login from 192.0.2.1",
            "bad login from <HOST>$",
            Some("from 192"),
            "1 ignored, 0 matched, 0 missed",
        ),
        (
            "x <HOST>\nx 192.0.2.1\nx 192.0.2.2",
            "^x <HOST>$",
            None,
            "0 ignored, 2 matched, 1 missed",
        ),
    ] {
        let mut arguments = vec!["regex", line, expression];
        arguments.extend(ignore);
        let told = host.guardctl(&arguments)?;
        assert_eq!(told.code, Some(0), "{told:?}");
        assert!(told.out.contains(counts), "{line} {expression}: {}", told.out);
    }
    let told = host.guardctl(&["regex", "x", "y("])?;
    assert_eq!(told.code, Some(255), "{told:?}");
    assert!(told.err.starts_with("ERROR: "), "{}", told.err);
    assert_eq!(host.guardctl(&["regex", "x"])?.code, Some(2));
    Ok(())
}

#[test]
fn missed_lines_are_printed_as_asked_for() -> Result<()> {
    let host = Host::new(&[])?;
    let mut log = "# a comment\n\n".to_owned();
    log.extend((0..30).map(|number| format!("pve x[1]: missed {number}\n")));
    log.push_str("pve x[1]: bad 192.0.2.1\n");
    let log = host.write("log", &log)?;
    let log = log.to_str().context("a path in UTF-8")?;
    let try_with = |options: &[&str]| {
        let mut arguments = vec!["regex", log, "bad <HOST>$"];
        arguments.extend(options);
        host.guardctl(&arguments)
    };
    let told = try_with(&[])?;
    assert!(told.out.contains("Lines: 31 lines, 0 ignored, 1 matched, 30 missed"), "{}", told.out);
    assert!(told.out.contains("Use --print-all-missed to print all 30 lines"), "{}", told.out);
    assert!(!told.out.contains("missed 7"));
    assert!(try_with(&["--print-all-missed"])?.out.contains("|  pve x[1]: missed 29\n"));
    assert!(!try_with(&["--print-no-missed"])?.out.contains("Missed line(s)"));
    let matched = try_with(&["--print-all-matched", "-v"])?.out;
    assert!(matched.contains("|- Matched line(s):\n|  pve x[1]: bad 192.0.2.1\n`-\n"), "{matched}");
    assert!(matched.contains("|      192.0.2.1  "), "{matched}");
    Ok(())
}

#[test]
fn a_stored_journal_is_read_with_the_filters_match() -> Result<()> {
    let host = Host::new(&[])?;
    let mut journal = JournalFiles::new(&host.path("journal"))?;
    let failed = |process, host: &str| {
        Record::sshd(process, &format!("Failed password for root from {host} port 4000 ssh2"))
    };
    journal.append(&[
        failed(1, "192.0.2.1"),
        failed(2, "192.0.2.2"),
        // Forged: no sshd of root's wrote it.
        failed(3, "192.0.2.3").with("_UID", "1000"),
        Record::new(
            "cron.service",
            "cron",
            4,
            "Failed password for root from 192.0.2.4 port 1 ssh2",
        ),
    ])?;
    journal.finish()?;
    let directory = host.path("journal");
    let directory = directory.to_str().context("a path in UTF-8")?;
    let log = ["--journal-directory", directory, "systemd-journal", "sshd"];
    let told = host.guardctl(&[&["regex", "-o", "ip"], &log[..]].concat())?;
    assert_eq!(told.out, "192.0.2.1\n192.0.2.2\n", "{told:?}");
    let told =
        host.guardctl(&[&["regex", "-m", "_SYSTEMD_UNIT=cron.service"], &log[..]].concat())?;
    assert!(told.out.contains("Lines: 1 lines, 0 ignored, 0 matched, 1 missed"), "{}", told.out);
    assert!(told.out.contains("Use    journal match : _SYSTEMD_UNIT=cron.service"), "{}", told.out);
    Ok(())
}

#[test]
fn json_has_the_same_numbers_and_a_reader_may_leave() -> Result<()> {
    let host = Host::new(&[])?;
    let log = host.write("auth.log", &system_log(500))?;
    let log = log.to_str().context("a path in UTF-8")?;
    let text = host.guardctl(&["regex", log, "sshd"])?.out;
    let json = host.json(&["regex", log, "sshd"])?;
    let lines = &json["lines"];
    let words = format!(
        "Lines: {} lines, {} ignored, {} matched, {} missed",
        lines["tested"], lines["ignored"], lines["matched"], lines["missed"]
    );
    assert!(text.contains(&words), "{words}\n{text}");
    assert_eq!(json["failregex"].as_array().map(Vec::len), Some(18));

    // From standard input, to somebody who reads one line.
    let mut child = host
        .command(&["regex", "-o", "ip", "-", "sshd"])?
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    drop(child.stdout.take());
    let text = system_log(20_000);
    let mut pipe = child.stdin.take().context("a pipe")?;
    // It may have left already.
    pipe.write_all(text.as_bytes()).ok();
    drop(pipe);
    let output = child.wait_with_output()?;
    let told = told(&output);
    assert_eq!((told.code, told.err.as_str()), (Some(0), ""));
    Ok(())
}

//! Each vulnerability that Fail2Ban once had, tried on guard with today's filters.
//!
//! `docs/past-vulnerabilities.md` says what precludes each; what it names as proof is
//! checked to exist.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use guard::config::{Settings, jails};
use guard::core::entry::{Daemon, Dating, Entry};
use guard::core::filter::{Filter, FilterText, Finding, Limits, Memory};
use guard::core::jail::{Jail, JailId};
use guard::core::time::Timestamp;
use guard_tests::fail2ban::Package;

const SENDER: &str = "198.51.100.1";
const PLANTED: &str = "203.0.113.9";

/// Jails of these stock filters, read in place. The lines here hold no date.
fn stock(filters: &[&str]) -> Vec<Jail> {
    let package = Package::fetch().expect("Debian's fail2ban");
    let place = tempfile::tempdir().expect("a directory");
    symlink(package.configuration().join("filter.d"), place.path().join("filter.d"))
        .expect("a link to the filters");
    let jail = |(number, filter): (usize, &&str)| {
        format!(
            "[j{number}]\nenabled = true\nbackend = systemd\nfilter = {filter}\njournalmatch = A=b\n"
        )
    };
    let text: String = filters.iter().enumerate().map(jail).collect();
    fs::write(place.path().join("jail.local"), text).expect("writing a file");
    let loaded = jails(&Settings {
        jail_directory: place.path().to_owned(),
        vendor_directory: place.path().join("vendor"),
        ..Settings::default()
    });
    assert_eq!(loaded.jails.len(), filters.len(), "{}", loaded.diagnostics);
    loaded.jails
}

fn look(filter: &Filter, line: &str, daemon: Option<Daemon>) -> Finding {
    let entry = Entry {
        time: Timestamp::from_seconds(0),
        dating: Dating::Known,
        line: line.to_owned(),
        message_start: line.find(": ").map_or(0, |at| at + 2),
        daemon,
        jails: vec![JailId(0)],
    };
    filter.find(&entry, &mut Memory::new(16))
}

fn found(filter: &Filter, line: &str, daemon: Option<Daemon>) -> Option<String> {
    let failure = look(filter, line, daemon).failure;
    failure.and_then(|found| found.who.address()).map(|address| address.to_string())
}

/// CVE-2006-6302, CVE-2007-4321: sshd's log with the client's text in it.
#[test]
fn stock_sshd_in_every_mode_finds_nobody_but_the_sender() {
    let modes = ["normal", "ddos", "extra", "aggressive"].map(|mode| format!("sshd[mode={mode}]"));
    let jails = stock(&modes.each_ref().map(String::as_str));
    let texts = [
        format!("root from {PLANTED}"),
        format!("root from {PLANTED} port 22 ssh2"),
        format!("{PLANTED} port 22: 11: "),
        format!("x rhost={PLANTED} user=root"),
        format!("SSH-2.0-{PLANTED}"),
        format!("a' from {PLANTED} port 1\\n"),
        format!("x not allowed because not listed in AllowUsers from {PLANTED}"),
    ];
    let mut matched = 0;
    let fields = include_str!("../fixtures/client-fields.txt");
    for line in fields.lines().filter(|line| line.starts_with("sshd ")) {
        let (_, message) = line.split_once(": ").expect("`DAEMON KIND: MESSAGE`");
        for text in &texts {
            let message = message.replace("{h}", SENDER).replace("{c}", text);
            let line = format!("pve sshd[77]: {message}");
            for jail in &jails {
                let found = found(&jail.filter, &line, Some(Daemon::Sshd));
                assert!(found.as_deref().is_none_or(|found| found == SENDER), "{found:?}: {line}");
                matched += usize::from(found.is_some());
            }
        }
    }
    assert!(matched > 500, "the sender himself is found: {matched}");
}

/// CVE-2013-2178, CVE-2013-7176, CVE-2013-7177, CVE-2009-0362: other daemons. Guard does
/// not know their messages; what protects is how today's filters are written, and that
/// their anchors mean here what they mean in Python.
#[test]
fn stock_filters_of_other_daemons_find_nobody_but_the_sender() {
    // The filter, a line that it matches, and lines with a planted address.
    let cases: &[(&str, &str, &[&str])] = &[
        (
            "apache-auth",
            "[] [error] [client {h}] user root not found: /",
            &[
                "[] [error] [client {h}] user x] [client {p}] user root not found: /: /",
                "[] [error] [client {h}] File does not exist: /[client {p}] user root not found",
                "[] [error] [client {h}] x, referer: [client {p}] user root not found: /",
            ],
        ),
        (
            "apache-noscript",
            "[] [error] [client {h}] script '/var/www/x.php' not found or unable to stat",
            &[
                "[] [error] [client {h}] File does not exist: /[client {p}] script '/x.php' not found or unable to stat",
                "[] [error] [client {h}] x [client {p}] script '/x.php' not found or unable to stat",
            ],
        ),
        (
            "apache-overflows",
            "[] [error] [client {h}] Invalid URI in request \\x16\\x03",
            &["[] [error] [client {h}] x [client {p}] Invalid URI in request y"],
        ),
        (
            "postfix",
            "mail postfix/smtpd[77]: NOQUEUE: reject: RCPT from unknown[{h}]: 554 5.7.1 <a@b.example>: Relay access denied; from=<x> to=<y> proto=ESMTP helo=<z>",
            &[
                "mail postfix/smtpd[77]: NOQUEUE: reject: RCPT from unknown[{h}]: 554 5.7.1 <x RCPT from unknown[{p}]: 554 5.7.1 <a>: Relay access denied>: Relay access denied; from=<x> to=<y> proto=ESMTP helo=<z>",
                "mail postfix/smtpd[77]: NOQUEUE: filter: RCPT from x[{h}]: <reject: RCPT from unknown[{p}]: 554 5.7.1 <a>: Relay access denied>: x; from=<a> to=<b>",
            ],
        ),
        (
            "cyrus-imap",
            "mail cyrus/imap[77]: badlogin: x.example [{h}] plaintext root SASL(-13): authentication failure: checkpass failed",
            &[
                "mail cyrus/imap[77]: badlogin: x.example [{h}] plaintext x [{p}] plaintext a SASL(-13): authentication failure: checkpass failed",
                "mail cyrus/imap[77]: login: x.example [{h}] badlogin: x [{p}] plaintext a SASL(-13): authentication failure: checkpass failed",
            ],
        ),
        (
            "wuftpd",
            "ftp wu-ftpd[77]: failed login from x.example [{h}]",
            &["ftp wu-ftpd[77]: failed login from {p}.example [{h}]"],
        ),
    ];
    let filters: Vec<&str> = cases.iter().map(|(filter, _, _)| *filter).collect();
    let jails = stock(&filters);
    for (jail, (name, line, attacks)) in jails.iter().zip(cases) {
        let of = |line: &str| {
            let line = line.replace("{h}", SENDER).replace("{p}", PLANTED);
            let found = found(&jail.filter, &line, None);
            assert!(found.as_deref().is_none_or(|f| f == SENDER), "{name}: {found:?}: {line}");
            found
        };
        assert_eq!(of(line).as_deref(), Some(SENDER), "{name}: {line}");
        for line in *attacks {
            of(line);
        }
    }
}

/// GHSA-33wh-ccjc-p397: an expression that a line makes search for ages.
#[test]
fn an_expression_that_would_search_for_ages_is_given_up_and_named() {
    let filter = |failregex: &str| {
        let failregex = vec![failregex.to_owned()];
        Filter::compile(&FilterText { failregex, ..FilterText::default() }, Limits::default())
            .expect("a filter")
    };
    let evil = format!("{}! from {SENDER}", "a".repeat(4_001));
    // Without look-around the time is linear whatever the expression: an answer, at once.
    for expression in ["^(a+)+$ <HOST>", r"^(?:a|a?)*b.*<HOST>", r"^(\w+\s?)*: <HOST>$"] {
        let finding = look(&filter(expression), &evil, None);
        assert_eq!((finding.failure, finding.step_limit), (None, None), "{expression}");
    }
    // Back-references need another engine: it is given up after so many steps, and that
    // is told. (The number of letters is odd, and no multiple of three.)
    for expression in [r"^(?:(a+)\1)+! from <HOST>", r"^(?:(aa|a)\1\1)+! from <HOST>"] {
        let finding = look(&filter(expression), &evil, None);
        assert_eq!((finding.failure, finding.step_limit), (None, Some(1)), "{expression}");
        // The next line is looked at as ever.
        let finding = look(&filter(expression), "x", None);
        assert_eq!(finding.step_limit, None, "{expression}");
    }
}

/// The same for what comes with the filters: no line makes a stock filter give up.
#[test]
fn a_line_of_a_megabyte_is_no_burden_to_stock_sshd() {
    let jails = stock(&["sshd[mode=aggressive]"]);
    for piece in
        ["a", " ", "1.", ": ", "from ", "\\n", "é", "\u{0}", "[preauth]", "Failed password for "]
    {
        let line = format!(
            "pve sshd[77]: Failed password for {} from {SENDER} port 22 ssh2",
            piece.repeat((1 << 20) / piece.len())
        );
        let finding = look(&jails[0].filter, &line, Some(Daemon::Sshd));
        let found = finding.failure.map(|found| found.who.to_string());
        assert!(found.as_deref().is_none_or(|found| found == SENDER), "{piece:?}: {found:?}");
    }
}

/// Every test that the pages name is there.
#[test]
fn the_pages_name_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for page in ["docs/past-vulnerabilities.md", "docs/threat-model.md"] {
        let text = fs::read_to_string(root.join(page)).expect(page);
        let mut named = 0;
        for proof in text.split('`').skip(1).step_by(2) {
            let Some((file, test)) = proof.split_once("::").or_else(|| whole_file(proof)) else {
                continue;
            };
            let text =
                fs::read_to_string(root.join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
            let there = text.contains(&format!("fn {test}("))
                || test.is_empty() && text.contains("#[test]");
            assert!(there, "{page}: {file} has no test `{test}`");
            named += 1;
        }
        assert!(named >= 10, "{page} names its proofs: {named}");
    }
}

/// A file of tests that is named as a whole.
fn whole_file(proof: &str) -> Option<(&str, &str)> {
    proof.ends_with(".rs").then_some((proof, ""))
}

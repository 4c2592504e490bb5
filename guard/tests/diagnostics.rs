//! What is said about jails that cannot start, and about words without effect.

mod host;

use proptest::prelude::*;

use host::{FILTER, Host, names};

/// One broken jail, from line 4 on, between two sound ones: the sound ones start.
fn broken(text: &str) -> String {
    let sound = |name: &str| format!("[{name}]\nenabled = true\nfilter = f\n");
    let head = "[Definition]\njournalmatch = A=1\nfailregex = ";
    let host = Host::new(&[
        FILTER,
        ("filter.d/noaddress.conf", &format!("{head}^no address$\n")),
        ("filter.d/nocompile.conf", &format!("{head}^<HOST> ok$\n  ^(<HOST>$\n")),
        ("filter.d/empty.conf", "[Definition]\nignoreregex =\n"),
        ("filter.d/syntax.conf", "[Definition]\nfailregex <HOST>\n"),
        ("jail.local", &format!("{}{text}{}", sound("one"), sound("two"))),
    ]);
    let loaded = host.load();
    assert_eq!(names(&loaded), ["one", "two"], "{}", loaded.diagnostics);
    host.told().join("; ")
}

#[test]
fn a_broken_jail_is_left_out_and_named() {
    for (text, told) in [
        ("port = ssh,htps", "6:12 [x] unknown port name `htps`"),
        ("protocol = icmp", "6:12 [x] unknown protocol `icmp`"),
        ("findtime = 5q", "6:12 [x] findtime = `5q` is no length of time: `q` is no unit of time"),
        ("findtime = -1", "6:12 [x] findtime = `-1` is no time in which failures count"),
        ("bantime = 0", "6:11 [x] bantime = `0` bans for no time at all"),
        ("maxretry = many", "6:12 [x] maxretry = `many` is no number of failures"),
        ("maxretry = 0", "6:12 [x] maxretry = `0` is no number of failures"),
        ("backend = sytemd", "6:11 [x] unknown backend `sytemd`"),
        ("backend = auto\njournalmatch =", "4:2 [x] the jail reads nothing: it has no logpath"),
        (
            "backend = polling\nlogpath = var/log/x",
            "7:11 [x] logpath: `var/log/x` is no absolute path",
        ),
        (
            "backend = auto\nlogpath = /var/log/x y",
            "7:22 [x] logpath: `y` is neither head nor tail",
        ),
        (
            "ignorecommand = /x <ip> | /y",
            "6:25 [x] ignorecommand: a pipe needs a shell, which guard does not run",
        ),
        ("ignorecache = max-count=1", "6:15 [x] ignorecache has no key"),
        ("ignoreself = perhaps", "6:14 [x] ignoreself = `perhaps` is neither true nor false"),
        ("maxlines = x", "6:12 [x] maxlines = `x` is no number of lines"),
        (
            "bantime.increment = true\nbantime.factor = os.system('x')",
            "7:18 [x] bantime.factor = `os.system('x')` is no number",
        ),
        (
            "bantime.increment = true\nbantime.multipliers = 1 two",
            "7:25 [x] bantime.multipliers: `two` is no number",
        ),
        (
            "bantime.increment = true\nbantime.maxtime = soon",
            "7:19 [x] bantime.maxtime = `soon` is no length of time: a number is expected, not `s`",
        ),
        (
            "ignoreip = 10.0.0.0/33",
            "6:12 [x] ignoreip: `10.0.0.0/33` is neither an address nor a name",
        ),
        ("journalmatch = unit", "6:16 [x] `unit` is no journal match"),
        ("port = %(ports)s", "6:8 [x] `ports` has no value"),
        (
            "port 22",
            "6:1 [-] `port 22` is no `key = value`; error jail.local:4:2 [x] left out, because \
             files that it is made of have errors",
        ),
        ("action = iptables[name", "6:18 [x] `[name` has no `]`"),
        ("action = guard[port=htps]", "6:21 [x] unknown port name `htps`"),
        (
            "action = iptables[blocktype=RETURN]",
            "6:29 [x] blocktype = `RETURN` lets addresses in; guard only bans",
        ),
    ] {
        let told = format!("error jail.local:{told}");
        assert_eq!(broken(&format!("[x]\nenabled = true\n{text}\nfilter = f\n")), told);
    }
    let told = broken("[x]\nfilter = f\nenabled = maybe\n");
    assert_eq!(told, "error jail.local:6:11 [x] enabled = `maybe` is neither true nor false");
}

#[test]
fn a_jail_whose_filter_is_broken_is_left_out_and_named() {
    for (filter, told) in [
        ("", "error jail.local:4:2 [x] the jail is enabled but has no filter"),
        ("nope", "error jail.local:6:10 [x] there is no filter `nope`"),
        ("../f", "error jail.local:6:10 [x] `../f` is no filter name"),
        ("f[a", "error jail.local:6:11 [x] `[a` has no `]`"),
        ("empty", "error jail.local:6:10 [x] filter `empty` has no failregex"),
        (
            "syntax",
            "error filter.d/syntax.conf:2:1 [x] `failregex <HOST>` is no `key = value`; \
             error jail.local:6:10 [x] the files of filter `syntax` have errors",
        ),
    ] {
        assert_eq!(broken(&format!("[x]\nenabled = true\nfilter = {filter}\n")), told);
    }
    let told = broken("[x]\nenabled = true\nfilter = nocompile\n");
    let place = "error filter.d/nocompile.conf:4:3 [x] filter `nocompile` does not compile: ";
    assert!(told.starts_with(place) && !told.contains("; error"), "{told}");
    let told = broken("[x]\nenabled = true\nfilter = noaddress\n");
    assert!(told.contains("[x] filter `noaddress` does not compile: "), "{told}");
    assert!(told.contains("address group"), "{told}");
}

#[test]
fn every_problem_of_a_jail_is_told_at_once() {
    let told =
        broken("[x]\nenabled = true\nfilter = f\nport = htps\nbantime = soon\nmaxretry = -1\n");
    assert_eq!(told.matches("error jail.local").count(), 3, "{told}");
    let told = broken("[.x]\nenabled = true\nfilter = f\n");
    assert!(told.starts_with("error jail.local:4:2 [.x] `.x` is not a jail name"), "{told}");
}

#[test]
fn the_expression_that_does_not_compile_is_shown() {
    let host = Host::new(&[
        ("filter.d/x.conf", "[Definition]\nfailregex = ^(<HOST>$\n"),
        ("jail.local", "[x]\nenabled = true\n"),
    ]);
    let shown = host.load().diagnostics.to_string();
    assert!(shown.contains("filter.d/x.conf:2:13: [x] filter `x` does not compile"), "{shown}");
    let source = "\n 2 | failregex = ^(<HOST>$\n   |             ^^^^^^^^^\n";
    assert!(shown.contains(source), "{shown}");
}

#[test]
fn an_error_in_a_value_that_jails_share_keeps_them_all_from_starting() {
    let jails = "[x]\nenabled = true\nfilter = f\n[y]\nenabled = true\nfilter = f\n";
    let host =
        Host::new(&[FILTER, ("jail.local", &format!("{jails}[DEFAULT]\nignoreip 1.2.3.4\n"))]);
    assert!(host.load().jails.is_empty());
    let told = host.told();
    assert_eq!(told[0], "error jail.local:8:1 [-] `ignoreip 1.2.3.4` is no `key = value`");
    assert_eq!(told.len(), 3, "{told:?}");
}

#[test]
fn what_has_no_effect_is_told() {
    let told = |text: &str| {
        let text = format!("[x]\nenabled = true\n{text}\n");
        let filter = if text.contains("filter") { "" } else { "filter = f\n" };
        let host = Host::new(&[FILTER, ("jail.local", &(text + filter))]);
        assert_eq!(names(&host.load()), ["x"]);
        host.told().join("; ")
    };
    for (text, expected) in [
        ("usedns = yess", "10 [x] usedns = `yess` is taken as `no`"),
        ("ignoreself = false", "14 [x] ignoreself = `false` has no effect"),
        ("chain = FORWARD", "9 [x] chain = `FORWARD` has no effect"),
        (
            "backend = polling\nlogpath = /none/x",
            "4:1 [x] no file matches `/none/x` yet: the jail waits for one",
        ),
        (
            "backend = auto\nlogpath = /none/x",
            "4:1 [x] no file matches `/none/x`: the jail reads the journal instead",
        ),
        (
            "bantime.increment = on\nbantime.formula = ban.Time * 2",
            "4:19 [x] bantime.formula is not evaluated; each ban is twice as long",
        ),
        ("maxretri = 3", "1 [x] unknown option `maxretri`; nothing refers to it"),
        ("blocktype = DROP", "13 [x] blocktype = `DROP` has no effect"),
        (
            "action = guard[port=1] nftables[port=2, protocol=udp]",
            "24 [x] a ban cuts off the ports of all actions, each for TCP and UDP",
        ),
        ("action = guard mail[a=b]", "16 [x] action `mail` is not run"),
        ("filter = f[mode=ddos]", "17 [x] filter `f` has no use for `mode`"),
        ("backend = systemd[journalpath=/x]", "31 [x] backend option `journalpath` has no effect"),
    ] {
        let line = if expected.starts_with("4:") { "" } else { "3:" };
        assert_eq!(told(text), format!("warning jail.local:{line}{expected}"), "{text}");
    }
    let every = "every entry of the journal is matched";
    assert!(told("journalmatch =").contains(every), "{}", told("journalmatch ="));
    for quiet in [
        "usedns = raw",
        "bantime.increment = no\nbantime.formula = x",
        "bantime.increment = yes",
        "mine = ssh\nport = %(mine)s",
        "logpath = /x",
        "ignoreip = admin.example.org file:/x",
        "ignorecommand = /x <ip>\nignorecache = key=<ip>",
        "maxlines = 10",
        "logencoding = latin1\nlogtimezone = UTC",
        "skip_if_nologs = true",
    ] {
        assert_eq!(told(quiet), "", "{quiet}");
    }
    let note = "note jail.local:3:1 [x] maxmatches has no effect: log lines are not kept";
    assert_eq!(told("maxmatches = 3"), note);
    let alone = "note jail.local:3:15 [x] ignorecache has no effect without ignorecommand";
    assert_eq!(told("ignorecache = key=<ip>"), alone);
}

#[test]
fn defaults_are_complained_about_once() {
    let host = Host::new(&[
        FILTER,
        (
            "jail.local",
            "[DEFAULT]\nchain = FORWARD\nmaxretri = 3\nsender = me\n\
             [x]\nenabled = true\nfilter = f\n[y]\nenabled = true\nfilter = f\n",
        ),
    ]);
    assert_eq!(
        host.told(),
        [
            "warning jail.local:2:9 [x] chain = `FORWARD` has no effect",
            "warning jail.local:3:1 [x] unknown option `maxretri`; nothing refers to it",
        ]
    );
}

#[test]
fn a_directory_that_is_missing_or_empty_is_told() {
    let host = Host::new(&[]);
    let told = host.load().diagnostics.to_string();
    let path = host.path("");
    let expected = format!("error: {}: cannot read the jail-directory", path.display());
    assert!(told.starts_with(&expected), "{told}");
    assert!(told.contains("help: make it, or name another in guard.toml"), "{told}");
    host.write("jail.conf", "");
    assert_eq!(host.told().len(), 1);
    assert!(host.told()[0].contains("no jail is enabled"));
    std::fs::create_dir(host.path("jail.local")).expect("made");
    let cannot = "error jail.local [-] cannot read this file";
    assert!(host.told().iter().any(|told| told.starts_with(cannot)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_directory_is_read_and_every_problem_has_its_place(
        jail in LINES,
        filter in LINES,
        bytes: Vec<u8>,
    ) {
        let enabled = format!("[x]\nenabled = true\nfilter = f\n{jail}");
        let host = Host::new(&[("jail.local", &enabled), ("filter.d/f.conf", &filter)]);
        std::fs::write(host.path("jail.conf"), bytes).expect("written");
        let loaded = host.load();
        prop_assert!(!loaded.jails.is_empty() || !loaded.diagnostics.0.is_empty());
        for diagnostic in &loaded.diagnostics.0 {
            let Some(place) = &diagnostic.place else { continue };
            let text = std::fs::read(&place.file).expect("a file");
            let text = String::from_utf8_lossy(&text);
            let line = text.split('\n').nth(place.line - 1).expect("a line");
            prop_assert_eq!(line.trim_end_matches('\r'), &place.source);
            prop_assert!(place.column <= 1 + place.source.chars().count());
            let _ = diagnostic.render(true);
        }
    }
}

/// Lines that are nearly right.
const LINES: &str = "((\\[(x|DEFAULT|Definition|Init|INCLUDES|KNOWN/x)\\]|\
    (port|bantime|filter|failregex|before|ignoreip|action|x|known/x|journalmatch) ?[=:] ?\
    (%\\((x|port|known/failregex|DEFAULT/x|x/port)\\)s|<(HOST|x|port|x-<x>)>|[a-zA-Z0-9=%+,;:\"' é\\[\\]]{0,9}){0,3}|\
     [^\n]{0,9})\n){0,9}";

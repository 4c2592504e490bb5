//! What each option of a jail becomes, in a directory of its own and over guard's.

mod host;

use std::path::Path;

use guard::config::{Loaded, Settings, jails};
use guard::core::jail::{
    AllowElsewhere, AnswerCache, Escalation, IgnoreCommand, Jail, LogFiles, LogPattern, LogSource,
};
use guard::core::ports::{Ports, Protocols};
use guard::core::time::Span;

use host::{FILTER, Host, names};

/// The one jail `x` with these lines, over guard's defaults.
fn jail(lines: &str) -> Jail {
    let text = format!("[x]\nenabled = true\nfilter = f\n{lines}\n");
    only(&Host::new(&[FILTER, ("jail.local", &text)]))
}

fn only(host: &Host) -> Jail {
    let mut loaded = host.load();
    assert_eq!(loaded.jails.len(), 1, "{}", loaded.diagnostics);
    loaded.jails.remove(0)
}

fn journal(jail: &Jail) -> String {
    jail.journal_match().unwrap_or_else(|| panic!("{:?}", jail.source)).to_string()
}

fn files(patterns: &[(&str, bool)], encoding: &str) -> LogSource {
    let pattern =
        |(path, from_end): &(&str, bool)| LogPattern { path: (*path).into(), from_end: *from_end };
    LogSource::Files(LogFiles {
        patterns: patterns.iter().map(pattern).collect(),
        encoding: encoding.into(),
        may_be_missing: true,
    })
}

#[test]
fn where_lines_come_from() {
    assert_eq!(journal(&jail("")), "A=1");
    assert_eq!(journal(&jail("backend = systemd\nlogpath = /var/log/x")), "A=1");
    let two = "backend = polling\nlogpath = /none/a*.log\n  /none/b tail\nlogencoding = Latin1";
    assert_eq!(jail(two).source, files(&[("/none/a*.log", false), ("/none/b", true)], "latin1"));
    let automatic = "backend = pyinotify\nlogpath = /none/a\nlogencoding = auto";
    assert_eq!(jail(automatic).source, files(&[("/none/a", false)], "utf-8"));
}

#[test]
fn without_files_the_journal_is_read_if_the_filter_says_where() {
    let host = Host::new(&[FILTER, ("log", "")]);
    let log = host.path("log");
    let text = |path: &Path, more: &str| {
        let path = path.display();
        format!("[x]\nenabled = true\nfilter = f\nbackend = auto\nlogpath = {path}\n{more}")
    };
    host.write("jail.local", &text(&log, ""));
    assert_eq!(only(&host).source, files(&[(&log.to_string_lossy(), false)], "utf-8"));
    assert_eq!(host.told(), [""; 0]);
    host.write("jail.local", &text(Path::new("/none"), ""));
    assert_eq!(journal(&only(&host)), "A=1");
    host.write("jail.local", &text(Path::new("/none"), "systemd_if_nologs = false\n"));
    assert_eq!(only(&host).source, files(&[("/none", false)], "utf-8"));
    host.write("jail.local", &text(Path::new("/none"), "journalmatch =\n"));
    assert_eq!(only(&host).source, files(&[("/none", false)], "utf-8"));
}

#[test]
fn who_reads_the_log_of_bans_gets_the_bans() {
    for lines in [
        "backend = auto\nlogpath = /var/log/fail2ban.log",
        "backend = polling\nlogpath = /var/log/fail2ban.log*",
        "backend = auto\nlogpath = /var/log/guard/guard.log tail",
        "journalmatch = _SYSTEMD_UNIT=fail2ban.service PRIORITY=5",
    ] {
        assert_eq!(jail(lines).source, LogSource::OwnBans, "{lines}");
    }
    let beside = "backend = auto\nlogpath = /var/log/fail2ban.log\n  /none/other";
    assert_eq!(
        jail(&format!("{beside}\njournalmatch =")).source,
        files(&[("/none/other", false)], "utf-8")
    );
    assert_eq!(journal(&jail("journalmatch = _COMM=fail2ban-server")), "_COMM=fail2ban-server");
}

#[test]
fn sshds_unit_under_either_name() {
    let found = jail("journalmatch = _SYSTEMD_UNIT=sshd.service + _COMM=sshd");
    let expected = "_SYSTEMD_UNIT=sshd.service _SYSTEMD_UNIT=ssh.service + _COMM=sshd \
                    _COMM=sshd-session _COMM=sshd-auth";
    assert_eq!(journal(&found), expected);
}

#[test]
fn bans_that_grow() {
    assert_eq!(jail("").escalation, None);
    assert_eq!(jail("bantime.increment = false\nbantime.factor = 2").escalation, None);
    let stock = Escalation {
        factor: 1.0,
        multipliers: vec![],
        max_time: None,
        random_time: Span::ZERO,
        over_all_jails: false,
    };
    let formula =
        "bantime.formula = ban.Time * (1<<(ban.Count if ban.Count<20 else 20)) * banFactor";
    let found = jail(&format!("bantime.increment = true\n{formula}"));
    assert_eq!(found.escalation, Some(stock));
    let found = jail(
        "bantime.increment = 1\nbantime.factor = 1.5\nbantime.multipliers = 1 2 4\n\
         bantime.maxtime = 5w\nbantime.rndtime = 10m\nbantime.overalljails = yes",
    );
    let expected = Escalation {
        factor: 1.5,
        multipliers: vec![1.0, 2.0, 4.0],
        max_time: Some(Span::from_seconds(5 * 7 * 86_400)),
        random_time: Span::from_seconds(600),
        over_all_jails: true,
    };
    assert_eq!(found.escalation, Some(expected));
}

#[test]
fn who_is_let_be() {
    let found = jail(
        "ignoreip = 192.0.2.1, trusted.example  file:/etc/trusted\n\
         ignorecommand = /usr/bin/ask --who '<ip>' \"a b\"\n\
         ignorecache = key=\"<ip>\", max-count=7, max-time=1m",
    );
    assert_eq!(found.allow.entries().len(), 1);
    let name = AllowElsewhere::Name("trusted.example".into());
    assert_eq!(found.allow_elsewhere, [name, AllowElsewhere::File("/etc/trusted".into())]);
    let cache = AnswerCache { key: "<ip>".into(), max_count: 7, max_time: Span::from_seconds(60) };
    let arguments = ["/usr/bin/ask", "--who", "<ip>", "a b"].map(str::to_owned).into();
    assert_eq!(found.ignore_command, Some(IgnoreCommand { arguments, cache: Some(cache) }));
}

#[test]
fn the_ports_of_several_actions_together() {
    let udp = "action = nftables[port=\"1,2\"]\n  nftables[port=3, protocol=udp]";
    assert_eq!(jail(udp).ports, Ports::new(Protocols::TcpAndUdp, [1..=3]));
    let all = "action = nftables[port=1]\n  nftables-allports[protocol=all]";
    assert_eq!(jail(all).ports, Ports::new(Protocols::All, []));
    assert_eq!(jail("port = 5\naction = mail").ports, Ports::new(Protocols::Tcp, [5..=5]));
}

/// The values that Fail2Ban's own defaults give, and none of guard's.
#[test]
fn a_directory_with_its_own_jail_conf_stands_alone() {
    let conf = "[DEFAULT]\nfilter = f\n[x]\nenabled = true\nlogpath = /none\nbackend = polling\n";
    let host = Host::new(&[FILTER, ("jail.conf", conf)]);
    let found = only(&host);
    assert_eq!((found.max_retry, found.find_time), (3, Span::from_seconds(600)));
    assert_eq!(found.ban_time, Some(Span::from_seconds(600)));
    assert_eq!(found.ports, Ports::new(Protocols::Tcp, [0..=65535]));
    // No jail of guard's is there to be enabled.
    host.write("jail.d/sshd.conf", "[DEFAULT]\nenabled = true\n");
    assert_eq!(names(&host.load()), ["x"]);
    // A filter of that directory stands alone too, and one that it lacks is guard's.
    let own = "[Definition]\nfailregex = ^own <HOST>$\n";
    host.write("filter.d/proxmox.conf", own);
    host.write("jail.d/sshd.conf", "[y]\nenabled = true\nbackend = systemd\nfilter = proxmox\n");
    let jails: Loaded = host.load();
    assert_eq!(journal(&jails.jails[1]), "");
    std::fs::remove_file(host.path("filter.d/proxmox.conf")).expect("removed");
    assert_eq!(journal(&host.load().jails[1]), "_SYSTEMD_UNIT=pvedaemon.service");
    // Without it, guard's lie under.
    std::fs::remove_file(host.path("jail.conf")).expect("removed");
    host.write("filter.d/proxmox.conf", own);
    assert_eq!(journal(&host.load().jails[0]), "_SYSTEMD_UNIT=pvedaemon.service");
}

#[test]
fn what_the_filter_is_told() {
    use guard::config::described::describe;
    let filter = "[Definition]\nfailregex = ^<HOST> <logtype>$\njournalmatch = A=1\nmaxlines = 4\n";
    let text = "[x]\nenabled = true\nfilter = f\nusedns = raw\n[y]\nfilter = f\nbackend = polling\n\
                logpath = /none\n";
    let host = Host::new(&[("filter.d/f.conf", filter), ("jail.local", text)]);
    let settings = Settings {
        jail_directory: host.path(""),
        vendor_directory: host.path("vendor:"),
        ..Settings::default()
    };
    let (described, problems) = describe(&settings, false);
    assert_eq!(problems.to_string(), "");
    let of = |name: &str| described.iter().find(|jail| jail.name == name).expect("a jail");
    assert_eq!(of("x").option("failregex"), Some("^<HOST> journal$"));
    assert_eq!(of("y").option("failregex"), Some("^<HOST> file$"));
    assert_eq!((of("x").option("maxlines"), of("x").option("usedns")), (Some("4"), Some("raw")));
    assert!(of("x").enabled && !of("y").enabled && !of("sshd").enabled);
    let place = of("x").options.iter().find(|value| value.name == "usedns");
    let place = place.and_then(|value| value.place.as_ref()).expect("a place");
    assert_eq!((place.line, place.column), (4, 10));
    assert_eq!(jails(&settings).jails.len(), 1);
}

#[test]
fn how_long_ipv6_prefixes_are() {
    for (lines, length) in [
        ("", 64),
        ("ipv6prefix = 128", 128),
        ("ipv6prefix = /56", 56),
        ("ipv6prefix =", 64),
        ("ipv6prefix = 1", 1),
    ] {
        assert_eq!(jail(lines).ipv6_prefix, length, "{lines}");
    }
    for wrong in ["0", "129", "64 64", "-1", "long"] {
        let text = format!("[x]\nenabled = true\nfilter = f\nipv6prefix = {wrong}\n");
        let host = Host::new(&[FILTER, ("jail.local", &text)]);
        assert!(host.load().jails.is_empty(), "{wrong}");
        let told = host.told().join("\n");
        assert!(told.contains(&format!("ipv6prefix = `{wrong}` is no length")), "{told}");
    }
    // A directory of its own, as /etc/fail2ban: the same.
    let text = "[DEFAULT]\n[x]\nenabled = true\nfilter = f\nbackend = systemd\nmaxretry = 3\n";
    let host = Host::new(&[FILTER, ("jail.conf", text)]);
    assert_eq!(only(&host).ipv6_prefix, 64);
}

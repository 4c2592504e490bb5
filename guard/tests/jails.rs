//! Directories of jails and filters, read as a whole: what starts, with which values.

mod host;

use std::path::Path;

use guard::config::{Loaded, Settings, jails};
use guard::core::entry::{Dating, Entry};
use guard::core::filter::Memory;
use guard::core::jail::{Jail, JailId};
use guard::core::ports::{Ports, Protocols};
use guard::core::time::{Span, Timestamp};

use host::{FILTER, Host, names};

fn jail<'a>(loaded: &'a Loaded, name: &str) -> &'a Jail {
    let found = loaded.jails.iter().find(|jail| jail.name.as_str() == name);
    found.unwrap_or_else(|| panic!("jail {name} is missing: {}", loaded.diagnostics))
}

fn hours(hours: i64) -> Span {
    Span::from_seconds(hours * 3_600)
}

/// Its `journalmatch`.
fn shown(jail: &Jail) -> String {
    jail.journal_match().expect("it reads the journal").to_string()
}

/// Whether the jail's filter finds a failure in a line.
fn finds(jail: &Jail, line: &str) -> bool {
    let entry = Entry {
        time: Timestamp::from_seconds(1),
        dating: Dating::Known,
        line: line.to_owned(),
        message_start: 0,
        daemon: None,
        jails: vec![JailId(0)],
    };
    jail.filter.find(&entry, &mut Memory::new(100)).failure.is_some()
}

#[test]
fn the_guides_files_work_unchanged() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/guide");
    let loaded = jails(&Settings {
        jail_directory: fixtures,
        vendor_directory: "/nowhere".into(),
        ..Settings::default()
    });
    assert_eq!(loaded.diagnostics.to_string(), "");
    assert_eq!(names(&loaded), ["sshd", "proxmox"]);
    let sshd = jail(&loaded, "sshd");
    assert_eq!(sshd.ports, Ports::new(Protocols::Tcp, [22..=22]));
    assert_eq!((sshd.max_retry, sshd.find_time), (3, Span::from_seconds(600)));
    assert_eq!(sshd.ban_time, Some(hours(1)));
    let proxmox = jail(&loaded, "proxmox");
    assert_eq!(proxmox.ports, Ports::new(Protocols::Tcp, [80..=80, 443..=443, 8006..=8006]));
    assert_eq!((proxmox.max_retry, proxmox.find_time), (3, hours(48)));
    assert_eq!(proxmox.ban_time, Some(hours(1)));
    assert_eq!(shown(proxmox), "_SYSTEMD_UNIT=pvedaemon.service");
    // Its own expression is in force, and no prefix of the vendor's filter.
    let line = "pve pvedaemon[7]: authentication failure; rhost=192.0.2.1 user=a msg=b";
    assert!(finds(proxmox, line));
    assert!(finds(proxmox, &line.replace("pve ", "anything at all ")));
    assert!(!finds(proxmox, &line.replace("failure", "success")));
}

#[test]
fn the_shipped_directory_guards_sshd_alone() {
    let shipped = include_str!("../../config/jail.d/defaults.conf");
    let loaded = Host::new(&[("jail.d/defaults.conf", shipped)]).load();
    assert_eq!(loaded.diagnostics.to_string(), "");
    assert_eq!(names(&loaded), ["sshd"]);
    let sshd = jail(&loaded, "sshd");
    assert_eq!(sshd.ports, Ports::new(Protocols::Tcp, [22..=22]));
    assert_eq!((sshd.max_retry, sshd.ban_time), (5, Some(hours(1))));
}

#[test]
fn every_vendor_jail_starts_without_a_word() {
    let loaded = Host::new(&[("jail.local", "[DEFAULT]\nenabled = true\n")]).load();
    assert_eq!(loaded.diagnostics.to_string(), "");
    assert_eq!(names(&loaded), ["sshd", "proxmox", "pvedaemon"]);
    assert_eq!(jail(&loaded, "proxmox").ports, jail(&loaded, "pvedaemon").ports);
}

#[test]
fn later_files_win_per_key() {
    let host = Host::new(&[
        FILTER,
        ("jail.conf", "[a]\nenabled = true\nfilter = f\nmaxretry = 1\n"),
        ("jail.d/30.conf.bak", "[a]\nmaxretry = 9\n"),
    ]);
    for (name, count) in [
        ("jail.d/10.conf", 2),
        ("jail.d/20.conf", 3),
        ("jail.local", 4),
        ("jail.d/05.local", 5),
        ("jail.d/15.local", 6),
    ] {
        assert_eq!(jail(&host.load(), "a").max_retry, count - 1);
        host.write(name, &format!("[a]\nmaxretry = {count}\n"));
        assert_eq!(jail(&host.load(), "a").max_retry, count, "{name}");
    }
}

#[test]
fn filters_have_the_same_order() {
    let host = Host::new(&[FILTER, ("jail.local", "[a]\nenabled = true\nfilter = f\n")]);
    for (name, value) in
        [("f.d/1.conf", "A=2"), ("f.local", "A=3"), ("f.d/0.local", "%(known/journalmatch)s + A=4")]
    {
        host.write(&format!("filter.d/{name}"), &format!("[Definition]\njournalmatch = {value}\n"));
        let shown = shown(jail(&host.load(), "a"));
        assert_eq!(shown, value.replace("%(known/journalmatch)s", "A=3"));
    }
}

#[test]
fn vendor_files_on_disk_take_the_place_of_the_built_in_ones() {
    let host = Host::new(&[
        FILTER,
        (
            "vendor:jail.conf",
            "[DEFAULT]\nbackend = systemd\nprotocol = tcp\nport = 1\nfindtime = 1\n\
             bantime = 1\nmaxretry = 7\n[v]\nfilter = f\n",
        ),
        ("vendor:filter.d/g.conf", "[Definition]\nfailregex = y <HOST>\njournalmatch = B=1\n"),
        ("jail.local", "[v]\nenabled = true\n[w]\nenabled = true\nfilter = g\n"),
    ]);
    let loaded = host.load();
    assert_eq!(names(&loaded), ["v", "w"], "{}", loaded.diagnostics);
    assert_eq!(jail(&loaded, "v").max_retry, 7);
    assert_eq!(shown(jail(&loaded, "w")), "B=1");
}

#[test]
fn includes_stand_around_their_file_and_bring_their_local() {
    let host = Host::new(&[
        FILTER,
        (
            "jail.conf",
            "[INCLUDES]\nbefore = b.conf\n  none.local\nafter = sub/c.conf\n\
             [DEFAULT]\nbackend = systemd\naction = nftables\n\
             [a]\nenabled = true\nfilter = f\nmaxretry = 2\nfindtime = 2\n",
        ),
        ("b.conf", "[a]\nmaxretry = 1\nfindtime = 1\nbantime = 1\n"),
        ("b.local", "[a]\nbantime = 11\n"),
        ("sub/c.conf", "[INCLUDES]\nafter = ../jail.conf\n d.conf\n[a]\nfindtime = 3\n"),
    ]);
    let loaded = host.load();
    let a = jail(&loaded, "a");
    let seconds = Span::from_seconds;
    assert_eq!((a.max_retry, a.find_time, a.ban_time), (2, seconds(3), Some(seconds(11))));
    assert_eq!(host.told(), ["warning sub/c.conf:3:2 [-] included file `d.conf` does not exist"]);
}

#[test]
fn the_value_of_each_option() {
    let host = Host::new(&[
        FILTER,
        (
            "jail.local",
            "[DEFAULT]\nmy_ports = ssh,8000:8010\nignoreip = 192.0.2.0/24\n\
             [a]\nenabled = yes\nfilter = f\nport = %(my_ports)s\nprotocol = tcp,udp\n\
             bantime = -1\nignoreip = %(known/ignoreip)s, 2001:db8::1\njournalmatch = B=1 + C=2\n\
             [b]\nenabled = 1\nfilter = f\nbanaction = %(banaction_allports)s\n\
             [c]\nenabled = on\nfilter = f\n\
             action = iptables-multiport[name=c, port=\"25,465\", protocol=udp]\n\
             [d]\nenabled = off\nfilter = nope\n\
             [e]\nenabled = true\nfilter = f\nport = sip\n\
             action = nftables[protocol=tcp] nftables[protocol=udp]\n",
        ),
    ]);
    assert_eq!(host.told(), [""; 0]);
    let loaded = host.load();
    assert_eq!(names(&loaded), ["a", "b", "c", "e"]);
    let a = jail(&loaded, "a");
    assert_eq!(a.ports, Ports::new(Protocols::TcpAndUdp, [22..=22, 8000..=8010]));
    assert_eq!(a.ban_time, None);
    let allowed: Vec<_> = a.allow.entries().iter().map(ToString::to_string).collect();
    assert_eq!(allowed, ["192.0.2.0/24", "2001:db8::1"]);
    assert_eq!(shown(a), "B=1 + C=2");
    let b = jail(&loaded, "b");
    assert_eq!(b.ports, Ports::new(Protocols::Tcp, []));
    assert_eq!(shown(b), "A=1");
    assert_eq!(jail(&loaded, "c").ports, Ports::new(Protocols::Udp, [25..=25, 465..=465]));
    assert_eq!(jail(&loaded, "e").ports, Ports::new(Protocols::TcpAndUdp, [5060..=5060]));
}

#[test]
fn a_jail_adds_to_its_filter_and_the_filters_options_count() {
    let host = Host::new(&[
        (
            "filter.d/g.conf",
            "[DEFAULT]\nwho = <HOST>\n[Definition]\n_pre = p%(number)s\n\
             number = 1\nfailregex = ^%(_pre)s <re-<mode>>$\n  ^<lt_<logtype>/tail>$\n\
             re-normal = normal %(who)s\nre-other = other %(who)s\n\
             journalmatch = UNIT=<unit>\n[Init]\nmode = normal\nunit = init\n\
             [lt_journal]\ntail = tail <HOST>\n[lt_file]\ntail = file <HOST>\n",
        ),
        (
            "jail.local",
            "[a]\nenabled = true\nfilter = g[mode=other, number=2]\n\
             failregex = %(known/failregex)s\n  ^more <HOST>$\n",
        ),
    ]);
    assert_eq!(host.told(), [""; 0]);
    let loaded = host.load();
    assert_eq!(shown(jail(&loaded, "a")), "UNIT=init");
    for (line, found) in [
        ("p2 other 192.0.2.1", true),
        ("p1 other 192.0.2.1", false),
        ("p2 normal 192.0.2.1", false),
        ("tail 192.0.2.1", true),
        ("more 192.0.2.1", true),
        ("less 192.0.2.1", false),
    ] {
        assert_eq!(finds(jail(&loaded, "a"), line), found, "{line}");
    }
}

#[test]
fn a_hosts_filter_does_not_build_on_the_vendors_prefix() {
    let vendor = (
        "vendor:filter.d/g.conf",
        "[Definition]\nprefregex = ^pre: <F-CONTENT>.+</F-CONTENT>$\n\
         failregex = ^vendor <HOST>$\njournalmatch = A=1\n",
    );
    let enabled = ("jail.local", "[a]\nenabled = true\nfilter = g\n");
    let own = "[Definition]\nfailregex = ^own <HOST>$\n";
    let host = Host::new(&[vendor, enabled, ("filter.d/g.local", own)]);
    assert!(finds(jail(&host.load(), "a"), "pre: own 192.0.2.1"));
    assert!(!finds(jail(&host.load(), "a"), "own 192.0.2.1"));
    let host = Host::new(&[vendor, enabled, ("filter.d/g.conf", own)]);
    assert!(!finds(jail(&host.load(), "a"), "pre: own 192.0.2.1"));
    assert!(finds(jail(&host.load(), "a"), "own 192.0.2.1"));
}

//! What has to be known of single commands and pages beyond their words, with the reason.
//! A command without a row is typed as it stands, and must end with 0.

use anyhow::ensure;

use crate::states::{self, ATTACKER_IS_LET_IN, ATTACKER_STAYS_OUT};
use crate::table::{Deed, Here, How, PLAIN, Row, Value, says};

/// The address that pages ban, and the one that is banned here.
const BANNED: &[(&str, Value)] =
    &[("192.0.2.7", Value::Is("10.3.0.1")), ("203.0.113.5", Value::Is("10.3.0.1"))];

/// What pages take for given when they begin; for others what the page before left.
pub(crate) const PAGES: &[(&str, Deed)] = &[
    ("docs/install.md", states::package_is_there),
    ("docs/first-ban.md", states::guard_is_not_started),
    ("docs/proxmox.md", states::guard_runs),
    ("docs/migrating.md", states::fail2ban_guards),
    ("docs/configuration.md", states::fail2ban_is_gone),
    ("docs/metrics.md", states::directories_for_metrics),
    ("docs/locked-out.md", states::attacker_is_banned),
    ("docs/differences-from-fail2ban.md", states::guard_runs),
    ("README.md", states::guard_runs),
];

pub(crate) const ROWS: &[Row] = &[
    Row {
        page: "docs/install.md",
        command: "cargo xtask deb",
        how: How::Elsewhere { file: "tests/src/package.rs", holds: &["\"xtask\", \"deb\""] },
        reason: "it builds guard; the package that this page installs here is made by it",
    },
    Row {
        page: "docs/install.md",
        command: "guardctl status",
        how: How::Here(Here { after: |_, said| says(said, "Jail list:\tsshd"), ..PLAIN }),
        reason: "the jail that a new installation has",
    },
    Row {
        page: "docs/install.md",
        command: "apt-get install libsystemd-dev pkg-config gcc",
        how: How::Elsewhere {
            file: "xtask/src/packages.rs",
            holds: &["\"libsystemd-dev\"", "\"pkg-config\"", "\"gcc\""],
        },
        reason: "it needs the network; `cargo xtask test` installs these first",
    },
    Row {
        page: "docs/install.md",
        command: "cargo xtask install",
        how: How::Elsewhere {
            file: "tests/src/installed.rs",
            holds: &["\"xtask\", \"install\", \"--root\""],
        },
        reason: "it builds guard; the hosts of e2e_guard are installed by it",
    },
    Row {
        page: "docs/first-ban.md",
        command: "guardctl watch",
        how: How::Here(Here {
            until: Some((states::attacker_guesses, |_, said| says(said, "10.3.0.1"))),
            code: states::TERMINATED,
            ..PLAIN
        }),
        reason: "it runs until stopped; meanwhile somebody fails to log in, as the page says",
    },
    Row {
        page: "docs/first-ban.md",
        command: "guardctl bans list",
        how: How::Here(Here {
            before: states::somebody_is_banned,
            after: |_, said| says(said, "sshd"),
            ..PLAIN
        }),
        reason: "the failures have led to a ban, and later the command before this",
    },
    Row {
        page: "docs/first-ban.md",
        command: "guardctl explain 192.0.2.7",
        how: How::Here(Here { with: BANNED, after: |_, said| says(said, "sshd"), ..PLAIN }),
        reason: "who was banned is another address here",
    },
    Row {
        page: "docs/first-ban.md",
        command: "guardctl unban sshd 192.0.2.7",
        how: How::Here(Here { with: BANNED, after: ATTACKER_IS_LET_IN, ..PLAIN }),
        reason: "who was banned is another address here",
    },
    Row {
        page: "docs/migrating.md",
        command: "guardctl migrate",
        how: How::Here(Here { after: |_, said| says(said, "jail sshd: works"), ..PLAIN }),
        reason: "the page says what it tells",
    },
    Row {
        page: "docs/migrating.md",
        command: "guardctl migrate --apply",
        how: How::Here(Here {
            after: |host, _| {
                states::services(host, true)?;
                host.wait_for_bans(&["sshd 10.3.0.1"])?;
                ATTACKER_STAYS_OUT(host, "")
            },
            ..PLAIN
        }),
        reason: "guard has taken Fail2Ban's place, and its ban",
    },
    Row {
        page: "docs/migrating.md",
        command: "guardctl migrate --undo",
        how: How::Here(Here {
            after: |host, _| {
                states::services(host, false)?;
                ATTACKER_STAYS_OUT(host, "")
            },
            ..PLAIN
        }),
        reason: "Fail2Ban has its place again, and the ban",
    },
    Row {
        page: "docs/operations.md",
        command: "systemctl status guard",
        how: How::Here(Here { after: |_, said| says(said, "Active: active (running)"), ..PLAIN }),
        reason: "all is well",
    },
    Row {
        page: "docs/metrics.md",
        command: "guardctl metrics",
        how: How::Here(Here { after: |_, said| says(said, "\nguard_up 1\n"), ..PLAIN }),
        reason: "all is well",
    },
    Row {
        page: "docs/metrics.md",
        command: "systemctl enable --now guard-metrics",
        how: How::Here(Here { after: |host, _| states::metrics_are_served(host), ..PLAIN }),
        reason: "the page says where they are",
    },
    Row {
        page: "docs/metrics.md",
        command: "guardctl metrics --listen unix:/run/x/http.sock",
        how: How::Here(Here {
            until: Some((
                |_| Ok(()),
                |host, _| {
                    let made = host.host.inside("/run/x/http.sock")?.exists();
                    ensure!(made, "no socket");
                    Ok(())
                },
            )),
            code: states::TERMINATED,
            ..PLAIN
        }),
        reason: "it serves until stopped",
    },
    Row {
        page: "docs/locked-out.md",
        command: "guardctl bans list",
        how: How::Here(Here { after: |_, said| says(said, "10.3.0.1"), ..PLAIN }),
        reason: "the page asks: am I in it?",
    },
    Row {
        page: "docs/locked-out.md",
        command: "guardctl unban sshd 203.0.113.5",
        how: How::Here(Here { with: BANNED, after: ATTACKER_IS_LET_IN, ..PLAIN }),
        reason: "who is locked out is another address here",
    },
    Row {
        page: "docs/locked-out.md",
        command: "guardctl unban --all 203.0.113.5",
        how: How::Here(Here {
            before: states::attacker_is_banned,
            with: BANNED,
            after: ATTACKER_IS_LET_IN,
            ..PLAIN
        }),
        reason: "as above, instead of it",
    },
    Row {
        page: "docs/locked-out.md",
        command: "guardctl unban --all",
        how: How::Here(Here {
            before: states::attacker_is_banned,
            after: ATTACKER_IS_LET_IN,
            ..PLAIN
        }),
        reason: "as above, instead of it",
    },
    Row {
        page: "docs/locked-out.md",
        command: "systemctl stop guard",
        how: How::Here(Here {
            before: states::attacker_is_banned,
            after: ATTACKER_STAYS_OUT,
            ..PLAIN
        }),
        reason: "the page says that this lifts no bans; each time somebody is locked out still",
    },
    Row {
        page: "docs/locked-out.md",
        command: "guardctl detach --dry-run",
        how: How::Here(Here { after: ATTACKER_STAYS_OUT, ..PLAIN }),
        reason: "it only says what it would do",
    },
    Row {
        page: "docs/locked-out.md",
        command: "guardctl detach",
        how: How::Here(Here { after: ATTACKER_IS_LET_IN, ..PLAIN }),
        reason: "guard is out of the kernel",
    },
    Row {
        page: "docs/locked-out.md",
        command: "systemctl restart guard",
        how: How::Here(Here { after: ATTACKER_STAYS_OUT, ..PLAIN }),
        reason: "the page says that bans are in force again",
    },
    Row {
        page: "docs/locked-out.md",
        command: "nft delete table inet f2b-table",
        how: How::Here(Here {
            before: |host| states::is_stopped_on(host, "nft"),
            after: ATTACKER_IS_LET_IN,
            ..PLAIN
        }),
        reason: "the page says that this is for nft",
    },
    Row {
        page: "docs/locked-out.md",
        command: "rm -r /run/guard/bpf/links",
        how: How::Here(Here {
            before: |host| states::is_stopped_on(host, "xdp"),
            after: ATTACKER_IS_LET_IN,
            ..PLAIN
        }),
        reason: "the page says that this is for XDP",
    },
    Row {
        page: "docs/locked-out.md",
        command: "rm -r /run/guard/bpf/maps-v*",
        how: How::Here(Here {
            after: |host, _| {
                let left = host.host.exec(&["ls", "/run/guard/bpf"])?;
                ensure!(!left.contains("maps-v"), "{left}");
                Ok(())
            },
            ..PLAIN
        }),
        reason: "the page says what this removes",
    },
    Row {
        page: "docs/locked-out.md",
        command: "bpftool prog show",
        how: How::Here(Here {
            before: |host| states::is_stopped_on(host, "xdp"),
            after: |_, said| says(said, "guard_xdp"),
            ..PLAIN
        }),
        reason: "the page says that the program is there still",
    },
    Row {
        page: "docs/locked-out.md",
        command: "bpftool link show",
        how: How::Here(Here { after: |_, said| says(said, "xdp"), ..PLAIN }),
        reason: "the page says what it shows",
    },
    Row {
        page: "docs/locked-out.md",
        command: "bpftool link detach id N",
        how: How::Here(Here {
            with: &[(" N", Value::Of(states::link_of_xdp))],
            after: ATTACKER_IS_LET_IN,
            ..PLAIN
        }),
        reason: "N is what the commands before it show",
    },
    Row {
        page: "README.md",
        command: "cargo xtask demo",
        how: How::Elsewhere { file: ".ci/run", holds: &["\ncargo xtask demo\n"] },
        reason: "it builds guard",
    },
    Row {
        page: "README.md",
        command: "cargo xtask test",
        how: How::Elsewhere { file: ".ci/run", holds: &["\ncargo xtask test\n"] },
        reason: "it runs this test, too",
    },
    Row {
        page: "README.md",
        command: "guardctl unban sshd 10.3.0.1",
        how: How::Here(Here {
            before: states::attacker_is_banned,
            after: ATTACKER_IS_LET_IN,
            ..PLAIN
        }),
        reason: "the page shows what the demo does; its ban is made here",
    },
    Row {
        page: "README.md",
        command: "guardctl top",
        how: How::Elsewhere { file: "tests/tests/seen/top.rs", holds: &["&[\"top\"]"] },
        reason: "it needs a terminal",
    },
    Row {
        page: "README.md",
        command: "guardctl watch",
        how: How::Here(Here {
            until: Some((states::ban_198_51_100_7, |_, said| says(said, "198.51.100.7"))),
            code: states::TERMINATED,
            ..PLAIN
        }),
        reason: "it runs until stopped",
    },
    Row {
        page: "README.md",
        command: "guardctl import /var/lib/fail2ban/fail2ban.sqlite3",
        how: How::Here(Here {
            before: states::guard_is_not_started,
            after: |host, _| states::guard_runs(host),
            ..PLAIN
        }),
        reason: "it says itself that the agent must be stopped",
    },
    Row {
        page: "README.md",
        command: "guardctl --backend nft",
        how: How::Here(Here {
            before: states::guard_is_not_started,
            until: Some((
                |_| Ok(()),
                |host, _| says(&host.guardctl(&["--json", "status"])?, "\"nft\""),
            )),
            code: states::TERMINATED,
            after: |host, _| states::guard_runs(host),
            ..PLAIN
        }),
        reason: "it is the agent, which runs until stopped",
    },
    Row {
        page: "README.md",
        command: "apt install libsystemd-dev pkg-config gcc",
        how: How::Elsewhere {
            file: "xtask/src/packages.rs",
            holds: &["\"libsystemd-dev\"", "\"pkg-config\"", "\"gcc\""],
        },
        reason: "it needs the network; `cargo xtask test` installs these first",
    },
    Row {
        page: "README.md",
        command: "cargo xtask install",
        how: How::Elsewhere {
            file: "tests/src/installed.rs",
            holds: &["\"xtask\", \"install\", \"--root\""],
        },
        reason: "it builds guard; the hosts of e2e_guard are installed by it",
    },
];

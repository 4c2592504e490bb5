//! The options of a jail: guard-jail(5).

use super::Described;

const fn option(
    name: &'static str,
    default: &'static str,
    meaning: &'static str,
    here: &'static str,
) -> Described {
    Described { name, default, meaning, here }
}

/// Every option of a jail, in the order in which people meet them.
pub const JAIL_OPTIONS: &[Described] = &[
    option("enabled", "false", "Whether the jail is started: `true` or `false`.", ""),
    option(
        "filter",
        "%(__name__)s[mode=%(mode)s]",
        "What finds failures in log lines: the name of a file in `filter.d`, without its \
         extension and with options in brackets. See guard-filter(5).",
        "",
    ),
    option("mode", "normal", "Handed on to the filter, for those that have several modes.", ""),
    option(
        "backend",
        "systemd",
        "Where log lines come from: `systemd` is the journal, `auto`, `polling` and \
         `pyinotify` are the files of `logpath`.",
        "All file backends are one: files are watched by inotify. Options in brackets, such \
         as `systemd[journalflags=1]`, have no effect and give a warning.",
    ),
    option(
        "journalmatch",
        "",
        "Which entries of the journal are read, as journalctl(1) takes them: `FIELD=value`, \
         where `+` between two groups means or. It counts together with the filter's.",
        "sshd is known by all its names: `ssh.service` and `sshd.service` stand for each \
         other, and so do `sshd`, `sshd-session` and `sshd-auth`.",
    ),
    option(
        "logpath",
        "",
        "Log files, one on each line; patterns with `*`, `?` and `[…]` are possible. `head` \
         behind a path reads the file from its start, `tail` from its end.",
        "What was logged while guard was down counts too, also if the file was rotated. New \
         files that match are found while guard runs; compressed ones are never read.",
    ),
    option(
        "skip_if_nologs",
        "",
        "Whether the jail may start while none of its log files is there.",
        "A jail with a path starts without its files and reads them when they come; a \
         warning names them.",
    ),
    option(
        "systemd_if_nologs",
        "",
        "Whether a jail with `backend = auto` reads the journal when none of its log files is \
         there and there is a `journalmatch`; `true` by default.",
        "",
    ),
    option(
        "logencoding",
        "",
        "How the log files are encoded, such as `utf-8` or `latin-1`.",
        "`auto`, the default, is UTF-8, not the locale's.",
    ),
    option(
        "logtimezone",
        "",
        "The zone of dates that name none: `UTC`, or `UTC+0200`. The host's by default.",
        "",
    ),
    option(
        "datepattern",
        "",
        "How dates are written in the log, with the codes of strptime(3), `{^LN-BEG}`, \
         `{DATE}`, `{EPOCH}` and the like. Without it, the usual forms are tried.",
        "",
    ),
    option("maxretry", "5", "So many failures within `findtime` lead to a ban.", ""),
    option(
        "findtime",
        "10m",
        "For how long failures count.",
        "A true sliding window: the first and the last of `maxretry` failures are at most \
         `findtime` apart. Fail2Ban estimates a rate.",
    ),
    option(
        "bantime",
        "1h",
        "How long a ban lasts, from the last failure on; `-1` is for ever.",
        "Fail2Ban's own default is `10m`.",
    ),
    option(
        "bantime.increment",
        "",
        "Whether each further ban of the same address lasts longer.",
        "",
    ),
    option(
        "bantime.factor",
        "",
        "What the length of a grown ban is multiplied with; 1 if nothing is said.",
        "",
    ),
    option(
        "bantime.formula",
        "",
        "How the length grows: `bantime` * 2^min(count, 20) * factor.",
        "It is Python in Fail2Ban and is not evaluated here. Its stock form is what guard \
         does; any other gives a warning. Write `bantime.multipliers` for other steps.",
    ),
    option(
        "bantime.multipliers",
        "",
        "Lengths in multiples of `bantime`, such as `1 2 4 8`: the first ban, the second, \
         and so on; the last one counts for all that follow.",
        "",
    ),
    option("bantime.maxtime", "", "The longest that a ban may grow to.", ""),
    option(
        "bantime.rndtime",
        "",
        "Up to so much is added to a grown ban at random, so that nobody knows its end.",
        "",
    ),
    option("bantime.overalljails", "", "Whether bans of other jails count for the growth too.", ""),
    option(
        "ignoreip",
        "",
        "Who is never banned: addresses, prefixes and host names, separated by white space, \
         and `file:PATH` for a file of such.",
        "Names are resolved at the start and every 5 minutes, files are read every 30 \
         seconds; both only allow addresses. The allow-list is asked before every ban, and \
         lifts bans that it would refuse.",
    ),
    option(
        "ignoreself",
        "true",
        "Whether this host's own addresses are spared.",
        "They always are; `false` has no effect and gives a warning.",
    ),
    option(
        "ignorecommand",
        "",
        "A program that says whether somebody is spared: 0 is yes, 1 is no. `<ip>`, \
         `<fid>`, `<F-ID>`, `<family>`, `<failures>`, `<time>` and `<name>` are filled in.",
        "It is asked once, before a ban. It runs in guard-helper as a user without rights, \
         for 10 seconds at most, and without a shell: pipes, `;`, `$` and the like are errors.",
    ),
    option(
        "ignorecache",
        "",
        "How long answers of `ignorecommand` are kept, such as \
         `key=\"<ip>\", max-count=100, max-time=5m`.",
        "Failed answers are not kept.",
    ),
    option(
        "usedns",
        "no",
        "Whether a client may be a host name: `no`, `yes`, `warn` or `raw`.",
        "A name bans at most 8 addresses, and addresses are never turned into names.",
    ),
    option(
        "port",
        "0:65535",
        "What a ban cuts off: port numbers, service names and ranges such as `8000:8010`, \
         separated by commas.",
        "An unknown service name is an error, not a ban that never works.",
    ),
    option(
        "protocol",
        "tcp",
        "Of which protocol: `tcp`, `udp`, `tcp,udp` or `all`.",
        "Others are errors. `all` with named ports is TCP and UDP.",
    ),
    option(
        "ipv6prefix",
        "64",
        "IPv6 addresses are counted and banned with their network of this length; 128 takes \
         each address alone.",
        "Guard's own option. A network in which somebody is who must not be banned is never \
         banned.",
    ),
    option(
        "banaction",
        "guard-multiport",
        "What cuts off the ports of `port`.",
        "Guard bans by itself: an action only says what a ban cuts off. Those of Fail2Ban's \
         firewall actions are recognised by their name.",
    ),
    option(
        "banaction_allports",
        "guard-allports",
        "What cuts off all ports.",
        "As `banaction`: a name with `allports` covers every port of the protocol.",
    ),
    option(
        "action",
        "%(banaction)s",
        "What is done at a ban, with options in brackets.",
        "The `port` and `protocol` of firewall actions count; several are covered together. \
         All other actions are not run, and a warning names them.",
    ),
    option(
        "blocktype",
        "",
        "How a firewall action refuses.",
        "It has no effect and gives a warning: XDP drops in silence, nftables rejects. One \
         that lets addresses in is an error.",
    ),
    option(
        "chain",
        "",
        "Which chain of the firewall a ban is put into.",
        "Any but `INPUT` gives a warning: bans cover what comes to this host; see `scope` in \
         guard.toml(5).",
    ),
    option(
        "fail2ban_agent",
        "",
        "How Fail2Ban names itself to services that it reports to.",
        "It is read as a variable, and nothing is reported.",
    ),
    option(
        "maxmatches",
        "",
        "How many log lines are kept of each address.",
        "It has no effect: log lines are not kept.",
    ),
    option("prefregex", "", "As in the filter, before the filter's own. See guard-filter(5).", ""),
    option(
        "failregex",
        "",
        "As in the filter, together with the filter's own if that is given in brackets or in \
         `[Init]`, else in its place.",
        "",
    ),
    option("ignoreregex", "", "As `failregex`.", ""),
    option("maxlines", "", "As in the filter.", ""),
];

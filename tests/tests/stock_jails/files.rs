//! Files that tests put over Debian's.

/// Overrides of every kind: each place where a value can come from has one.
pub(crate) const OVERRIDES: &[(&str, &str)] = &[
    (
        "jail.local",
        "[DEFAULT]\nenabled = true\nusedns = raw\nignoreself = no\nmaxmatches = 7\n\
         ignoreip = 127.0.0.1/8, ::1 trusted.example\n  192.0.2.0/24\n\
         bantime.increment = true\nbantime.rndtime = 5m\nbantime.factor = 2\n\
         bantime.formula = ban.Time * (1<<(ban.Count if ban.Count<20 else 20)) * banFactor\n\
         bantime.multipliers = 1 2 4\nbantime.maxtime = 1w\nbantime.overalljails = no\n\
         banaction = nftables\nbanaction_allports = nftables[type=allports]\n\
         ignorecache = key=\"<ip>\", max-count=10, max-time=1m\n\
         [sshd]\nfilter = sshd[mode=aggressive, publickey=\"any\"]\nport = 22,2222\n\
         failregex = %(known/failregex)s\n   ^own words from <HOST>$\n\
         logtimezone = UTC+0200\nlogencoding = latin1\n\
         [postfix]\nmode = aggressive\nmaxretry = %(known/maxretry)s0\n\
         [dovecot]\njournalmatch = _SYSTEMD_UNIT=a.service + _COMM='b c'\n  PRIORITY=3\n\
         [nginx-http-auth]\nmode = fallback\nmaxlines = 3\n\
         [apache-auth]\ndatepattern = %%Y-%%m-%%d\\s%%H:%%M\n\
         [exim]\nignoreregex = ^first$\n\n  ^second;no comment$ ; a comment\n\
         [murmur]\nenabled = off\n\
         [recidive]\nbackend = systemd[journalflags=1]\n",
    ),
    ("jail.d/10-one.conf", "[vsftpd]\nmaxretry = 11\nfindtime = 1h 5m\n[sshd]\nmaxretry = 12\n"),
    ("jail.d/20-two.conf", "[vsftpd]\nmaxretry = 1%(known/maxretry)s\n"),
    ("jail.d/30-three.local", "[sshd]\nmaxretry = 13\nbantime = %(findtime)s\n"),
    ("jail.d/.hidden.conf", "[sshd]\nmaxretry = 99\n"),
    ("jail.d/40.conf.bak", "[sshd]\nmaxretry = 98\n"),
    ("paths-overrides.local", "[DEFAULT]\nsshd_log = %(fail2ban_confpath)s/logs/s*.log tail\n"),
    ("logs/s1.log", ""),
    ("logs/s2.log", ""),
    ("logs/.s3.log", ""),
    ("filter.d/common.local", "[DEFAULT]\n__hostname = host\\S+\n"),
    ("filter.d/sshd.local", "[Definition]\njournalmatch = %(known/journalmatch)s + _X=1\n"),
    ("filter.d/sshd.d/1.conf", "[Definition]\nmaxlines = 4\n"),
    ("filter.d/postfix.local", "[Definition]\nmdre-normal = ^nothing <HOST>\n[Init]\nmode = x\n"),
    ("filter.d/dovecot.local", "[INCLUDES]\nbefore = own/a.conf\nafter = own/b.conf\n"),
    ("filter.d/own/a.conf", "[INCLUDES]\nbefore = c.conf\n[Definition]\nmaxlines = 5\n"),
    ("filter.d/own/b.conf", "[Definition]\nmaxlines = 6\n"),
    ("filter.d/own/b.local", "[Definition]\nusedns = no\nmaxlines = 1%(known/maxlines)s\n"),
    ("filter.d/own/c.conf", "[DEFAULT]\n_auth_worker = (?:w%%k)\n"),
];

/// Filters and jails that use the whole language.
pub(crate) const LANGUAGE: &[(&str, &str)] = &[
    (
        "filter.d/own.conf",
        "[INCLUDES]\nbefore = common.conf\n[DEFAULT]\n_daemon = (?:own|%(__name__)s)\nnum = 1\n\
             [Definition]\nprefregex = ^%(__prefix_line)s<F-CONTENT>.+</F-CONTENT>$\n\
             failregex = ^<re-<mode>> <HOST> <unknown> <retries>$\n  \n  ^%(other/text)s <ADDR>$\n\
             \x20 ^<other/text> 100%% <sub-<deep-<num>>>$\n# a comment\n  ^after <HOST> <num> <NUM>$\n\
             re-normal = normal %(num)s\nre-extra = extra <re-normal>\nretries = <num><num>\n\
             deep-1 = two\ndeep-2 = three\nsub-two = found<sub-three>\nsub-three = three\n\
             ignoreregex = ^%(_daemon)s$\ndatepattern = ^%%s {NONE}\n\
             journalmatch = UNIT=<unit> NAME='two words'\n mode=x\n\
             [other]\ntext = a %(num)s\n\
             [Init]\nunit = init\nmode = normal\n\
             [Init?family=inet6]\nunit = six\n",
    ),
    ("filter.d/own.local", "[Definition]\nre-normal = %(known/re-normal)s twice <known/num>\n"),
    (
        "filter.d/old.conf",
        "[Definition]\nfailregex = ^old <HOST>\n[Init]\nmaxlines = 3\n\
             journalmatch = A=1\ndatepattern = ^%%Y\nusedns = no\nfailregex = ^init <HOST>\n",
    ),
    (
        "jail.local",
        "[DEFAULT]\nenabled = false\nlogpath = /nowhere\n\
             [sshd]\nenabled = false\n\
             [a]\nenabled = true\nfilter = own\n\
             [b]\nenabled = yes\nfilter = own[mode=extra, num=\"2\", unit='x,y']\n\
             [c]\nenabled = 1\nfilter = own[mode=extra][num=2, logtype=rfc5424]\nbackend = systemd\n\
             failregex = ^mine <HOST> <num>$\nprefregex =\n\
             [d]\nenabled = on\nfilter = old\n\
             [e]\nenabled = true\nfilter = old[usedns=yes, maxlines=9]\nmaxlines = 2\nusedns = raw\n\
             journalmatch = B=2\ndatepattern = ^%%m\nfailregex = ^jail <HOST>\n\
             [f]\nenabled = true\nfilter = own[failregex=\"^args <HOST> <num>\"]\nbackend = auto\n\
             failregex = %(known/failregex)s\n\
             action = nftables[name=%(__name__)s-x, port=\"1,2\"]\n  iptables[protocol=udp,\n  port=3]\n\
             [g]\nenabled = true\nfilter = own/sub\nignoreip =\nmaxmatches = 1\nlogencoding =\n",
    ),
    (
        "filter.d/own/sub.conf",
        "[INCLUDES]\nbefore = ../own.conf\n[Definition]\nmode = extra\nprefregex =\n",
    ),
];

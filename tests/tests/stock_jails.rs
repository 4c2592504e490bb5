//! Debian's own `/etc/fail2ban`, read by guard and by `fail2ban-client -d`: every value
//! that Fail2Ban's client would send to its server is the one that guard reads.
//!
//! The client runs in place from Debian's package. All stock jails are enabled, as they
//! are and with overrides of every kind; the log files exist in neither case, so that the
//! client prints `addlogpath` only where a test makes them.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;

use guard::config::described::{Described, describe};
use guard::config::{Settings, glob};
use guard_tests::fail2ban::Package;

/// One command of the client to its server, as it prints it.
type Command = Vec<serde_json::Value>;

/// A copy of Debian's `/etc/fail2ban`, with files of the test over it.
struct Host(tempfile::TempDir);

impl Host {
    fn new(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let package = Package::fetch().expect("Debian's fail2ban");
        copy(&package.configuration(), directory.path());
        for (name, text) in files {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            std::fs::write(path, text).expect("written");
        }
        Self(directory)
    }

    /// What guard reads.
    fn described(&self) -> Vec<Described> {
        let settings = Settings {
            jail_directory: self.0.path().into(),
            vendor_directory: "/nowhere".into(),
            ..Settings::default()
        };
        let (described, problems) = describe(&settings, true);
        assert_eq!(problems.errors().count(), 0, "{problems}");
        described
    }

    /// What Fail2Ban's client reads, by jail, in its order.
    fn dumped(&self) -> Vec<(String, Dumped)> {
        let mut command = Package::fetch().expect("fail2ban").program("fail2ban-client");
        command.arg("-c").arg(self.0.path()).arg("-d").stderr(Stdio::piped());
        let output = command.output().expect("fail2ban-client runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let mut jails: Vec<(String, Dumped)> = Vec::new();
        for line in text.lines().filter(|line| line.starts_with('[')) {
            let command = python_list(line);
            let word = |at: usize| command.get(at).and_then(|word| word.as_str());
            if word(0) == Some("add") {
                let jail = word(1).expect("a name").to_owned();
                let backend = word(2).expect("a backend").to_owned();
                jails.push((jail, Dumped { backend, ..Dumped::default() }));
                continue;
            }
            let jail = word(1).unwrap_or_default().to_owned();
            if let Some((_, dumped)) = jails.iter_mut().find(|(name, _)| *name == jail) {
                dumped.take(&command);
            }
        }
        jails
    }

    /// Compares every value of every jail; gives the jails' names.
    fn compare(&self) -> Vec<String> {
        let (ours, theirs) = (self.described(), self.dumped());
        let names: Vec<String> = ours.iter().map(|jail| jail.name.clone()).collect();
        let expected: Vec<String> = theirs.iter().map(|(name, _)| name.clone()).collect();
        assert_eq!(names, expected);
        let mut values = 0;
        let mut wrong = Vec::new();
        for (jail, (name, dumped)) in ours.iter().zip(&theirs) {
            wrong.extend(different_actions(jail, dumped));
            for (what, expected) in dumped.values() {
                let found = read(jail, &what);
                values += 1;
                if found != expected {
                    wrong.push(format!("[{name}] {what}: {found:?}, Fail2Ban: {expected:?}"));
                }
            }
            let dumped: BTreeMap<_, _> = dumped.values().into_iter().collect();
            for what in WHAT {
                let found = read(jail, what);
                if !dumped.contains_key(*what) && found.iter().any(|line| !line.is_empty()) {
                    wrong.push(format!("[{name}] {what}: {found:?}, Fail2Ban: nothing"));
                }
            }
        }
        assert!(
            wrong.is_empty(),
            "{} of {values} values differ:\n{}",
            wrong.len(),
            wrong.join("\n")
        );
        println!("{values} values of {} jails are equal", names.len());
        names
    }
}

/// Everything that the client can say about a jail.
const WHAT: &[&str] = &[
    "backend",
    "usedns",
    "prefregex",
    "maxlines",
    "failregex",
    "ignoreregex",
    "datepattern",
    "journalmatch",
    "maxretry",
    "maxmatches",
    "findtime",
    "bantime",
    "bantime.increment",
    "bantime.factor",
    "bantime.formula",
    "bantime.multipliers",
    "bantime.maxtime",
    "bantime.rndtime",
    "bantime.overalljails",
    "ignorecommand",
    "ignoreself",
    "ignoreip",
    "ignorecache",
    "logtimezone",
    "logencoding",
    "logpath",
];

/// What the client sends about one jail.
#[derive(Default)]
struct Dumped {
    backend: String,
    /// The last value of each option.
    set: BTreeMap<String, String>,
    /// Everything that was added to an option.
    added: BTreeMap<String, Vec<String>>,
    /// Name, port and protocol of each action.
    actions: Vec<(String, String, String)>,
}

impl Dumped {
    fn take(&mut self, command: &Command) {
        let text = |value: &serde_json::Value| match value {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let option = command.get(2).and_then(|word| word.as_str()).unwrap_or_default();
        match (option, &command[3.min(command.len())..]) {
            ("addaction", [name, ..]) => {
                self.actions.push((text(name), String::new(), String::new()));
            }
            ("action", [_, options]) => {
                let last = self.actions.last_mut().expect("an action");
                for pair in options.as_array().expect("pairs") {
                    match (pair[0].as_str(), pair[1].as_str()) {
                        (Some("port"), Some(port)) => last.1 = port.to_owned(),
                        (Some("protocol"), Some(protocol)) => last.2 = protocol.to_owned(),
                        _ => {}
                    }
                }
            }
            ("addlogpath", [path, tail]) => {
                let line = format!("{} {}", text(path), text(tail));
                self.added.entry("logpath".to_owned()).or_default().push(line);
            }
            ("addjournalmatch", words) => {
                let words: Vec<_> = words.iter().map(text).collect();
                self.added.entry("journalmatch".to_owned()).or_default().push(words.join(" "));
            }
            (added, words) if added.starts_with("add") => {
                let words = words.iter().flat_map(|word| match word.as_array() {
                    Some(list) => list.iter().map(text).collect(),
                    None => vec![text(word)],
                });
                self.added.entry(added[3..].to_owned()).or_default().extend(words);
            }
            (option, [value]) => {
                self.set.insert(option.to_owned(), text(value));
            }
            _ => {}
        }
    }

    fn values(&self) -> Vec<(String, Vec<String>)> {
        let mut all = vec![("backend".to_owned(), vec![self.backend.clone()])];
        all.extend(self.set.iter().map(|(option, value)| (option.clone(), vec![value.clone()])));
        all.extend(self.added.iter().map(|(option, values)| (option.clone(), values.clone())));
        for (option, values) in &mut all {
            // Given and blank is what guard leaves out.
            values.retain(|value| !value.is_empty());
            if option == "logpath" {
                // Python lists a directory in no order.
                values.sort();
            }
        }
        all
    }
}

/// The value that guard reads, in the form of what the client prints.
fn read(jail: &Described, what: &str) -> Vec<String> {
    let value = jail.option(what);
    let lines = || value.unwrap_or_default().split('\n').filter(|line| !line.is_empty());
    match what {
        "failregex" | "ignoreregex" => lines().map(str::to_owned).collect(),
        "journalmatch" => lines().map(|line| line.replace(['"', '\''], "")).collect(),
        "ignoreip" => {
            let words = value.unwrap_or_default().split([',', ' ', '\n']);
            words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
        }
        "logpath" if jail.option("backend").is_some_and(|b| b.starts_with("systemd")) => vec![],
        "logpath" => lines()
            .flat_map(|line| {
                let (path, tail) = line.rsplit_once(' ').unwrap_or((line, "head"));
                let files = glob::matching(path);
                files.into_iter().map(move |file| format!("{} {tail}", file.display()))
            })
            .collect(),
        "ignoreself" | "bantime.increment" | "bantime.overalljails" => {
            let yes = |value: &str| ["1", "on", "true", "yes"].contains(&&*value.to_lowercase());
            value.map(|value| yes(value).to_string()).into_iter().collect()
        }
        "backend" => vec![value.unwrap_or("auto").to_owned()],
        _ => value.filter(|value| !value.is_empty()).map(str::to_owned).into_iter().collect(),
    }
}

/// Actions that differ in their number, name, or a port or protocol that the jail gives.
fn different_actions(jail: &Described, dumped: &Dumped) -> Vec<String> {
    let mut wrong = Vec::new();
    if jail.actions.len() != dumped.actions.len() {
        wrong.push(format!("[{}] {:?}, Fail2Ban: {:?}", jail.name, jail.actions, dumped.actions));
    }
    for (ours, (name, port, protocol)) in jail.actions.iter().zip(&dumped.actions) {
        let option = |name: &str| ours.options.iter().find(|option| option.name == name);
        let same = |name: &str, theirs: &str| option(name).is_none_or(|ours| ours.value == theirs);
        if !name.starts_with(&ours.name) || !same("port", port) || !same("protocol", protocol) {
            wrong.push(format!("[{}] {ours:?}, Fail2Ban: {name} {port} {protocol}", jail.name));
        }
    }
    wrong
}

/// A list as Python prints it: strings in either quotes, numbers, booleans, lists.
fn python_list(line: &str) -> Command {
    let mut json = String::new();
    let mut characters = line.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '\'' | '"' => {
                let mut text = String::new();
                while let Some(next) = characters.next().filter(|next| *next != c) {
                    match next {
                        '\\' => match characters.next().expect("an escape") {
                            'n' => text.push('\n'),
                            't' => text.push('\t'),
                            'r' => text.push('\r'),
                            'x' => {
                                let digits: String = characters.by_ref().take(2).collect();
                                let code = u32::from_str_radix(&digits, 16).expect("hex");
                                text.push(char::from_u32(code).expect("a character"));
                            }
                            other => text.push(other),
                        },
                        other => text.push(other),
                    }
                }
                json.push_str(&serde_json::Value::String(text).to_string());
            }
            'T' | 'F' | 'N' => {
                let mut word = String::from(c);
                while let Some(next) = characters.next_if(char::is_ascii_alphabetic) {
                    word.push(next);
                }
                json.push_str(match word.as_str() {
                    "True" => "true",
                    "False" => "false",
                    _ => "null",
                });
            }
            other => json.push(other),
        }
    }
    serde_json::from_str(&json).unwrap_or_else(|error| panic!("{line}: {error}"))
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            std::fs::create_dir_all(&target).expect("made");
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copied");
        }
    }
}

#[test]
fn every_stock_jail() {
    let names = Host::new(&[("jail.local", "[DEFAULT]\nenabled = true\n")]).compare();
    assert!(names.len() > 80, "{} jails", names.len());
}

#[test]
fn every_stock_jail_on_the_journal() {
    let text = "[DEFAULT]\nenabled = true\nbackend = systemd\n";
    Host::new(&[("jail.local", text)]).compare();
}

/// Overrides of every kind: each place where a value can come from has one.
const OVERRIDES: &[(&str, &str)] = &[
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

#[test]
fn every_stock_jail_with_overrides_of_every_kind() {
    let names = Host::new(OVERRIDES).compare();
    assert!(names.len() > 80 && !names.contains(&"murmur".to_owned()), "{names:?}");
}

#[test]
fn filters_that_use_the_whole_language() {
    let host = Host::new(&[
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
    ]);
    assert_eq!(host.compare(), ["a", "b", "c", "d", "e", "f", "g"]);
}

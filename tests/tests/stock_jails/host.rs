//! A copy of Debian's `/etc/fail2ban`, read by guard and by Fail2Ban, and the two compared.

use std::collections::BTreeMap;
use std::path::Path;

use guard::config::described::{Described, describe};
use guard::config::{Settings, glob};
use guard_tests::fail2ban::Package;

use crate::client::{self, Dumped};

/// A copy of Debian's `/etc/fail2ban`, with files of the test over it.
pub(crate) struct Host(tempfile::TempDir);

impl Host {
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
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

    pub(crate) fn settings(&self) -> Settings {
        Settings {
            jail_directory: self.0.path().into(),
            vendor_directory: "/nowhere".into(),
            ..Settings::default()
        }
    }

    /// What guard reads.
    fn described(&self) -> Vec<Described> {
        let (described, problems) = describe(&self.settings(), true);
        assert_eq!(problems.errors().count(), 0, "{problems}");
        described
    }

    /// What Fail2Ban's client reads.
    pub(crate) fn dumped(&self) -> Vec<(String, Dumped)> {
        client::dumped(self.0.path())
    }

    /// Compares every value of every jail; gives the jails' names.
    pub(crate) fn compare(&self) -> Vec<String> {
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

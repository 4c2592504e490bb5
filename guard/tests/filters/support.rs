//! What the filter tests share: the shipped filters, and entries made from lines.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use guard::core::entry::{Daemon, Dating, Entry};
use guard::core::filter::{Filter, FilterText, Limits};
use guard::core::jail::JailId;
use guard::core::time::Timestamp;

/// A file of the repository.
pub(crate) fn repository(path: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()))
}

/// A shipped filter. Reads as much of the configuration language as these files use.
pub(crate) fn shipped(name: &str) -> Filter {
    let mut keys: BTreeMap<String, String> = BTreeMap::new();
    let mut last = String::new();
    for line in repository(&format!("config/filter.d/{name}.conf")).lines() {
        if line.starts_with(['#', '[']) || line.trim().is_empty() {
            continue;
        }
        if line.starts_with(' ') {
            let value = keys.get_mut(&last).expect("a key before its continuation");
            value.push('\n');
            value.push_str(line.trim());
        } else {
            let (key, value) = line.split_once('=').expect("key = value");
            last = key.trim().to_owned();
            keys.insert(last.clone(), value.trim().to_owned());
        }
    }
    let list = |key: &str| -> Vec<String> {
        let mut value = keys[key].clone();
        while let Some(start) = value.find("%(") {
            let end = start + value[start..].find(")s").expect("%(name)s");
            let inner = &keys[&value[start + 2..end]];
            value = format!("{}{inner}{}", &value[..start], &value[end + 2..]);
        }
        value.lines().map(str::to_owned).filter(|line| !line.is_empty()).collect()
    };
    compile(&FilterText {
        name: name.to_owned(),
        failregex: list("failregex"),
        ignoreregex: list("ignoreregex"),
        ..FilterText::default()
    })
}

/// A filter of these expressions.
pub(crate) fn filter(failregex: &[&str]) -> Filter {
    compile(&FilterText {
        failregex: failregex.iter().map(|text| (*text).to_owned()).collect(),
        ..FilterText::default()
    })
}

/// The filter that the Proxmox guide publishes.
pub(crate) fn guide() -> Filter {
    filter(&[r"pvedaemon\[.*authentication failure; rhost=<HOST> user=.* msg=.*"])
}

fn compile(text: &FilterText) -> Filter {
    Filter::compile(text, Limits::default())
        .unwrap_or_else(|problems| panic!("filter {}: {problems:#?}", text.name))
}

/// An entry that the journal would give.
pub(crate) fn entry(line: &str, daemon: Option<Daemon>, seconds: i64) -> Entry {
    Entry {
        time: Timestamp::from_seconds(seconds),
        dating: Dating::Known,
        line: line.to_owned(),
        message_start: line.find(": ").map_or(0, |at| at + 2),
        daemon,
        jails: vec![JailId(0)],
    }
}

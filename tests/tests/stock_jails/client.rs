//! Fail2Ban's own client and server, asked what a configuration means.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;

use guard_tests::fail2ban::Package;

/// One command of the client to its server, as it prints it.
type Command = Vec<serde_json::Value>;

/// What Fail2Ban's client reads, by jail, in its order.
pub(crate) fn dumped(directory: &Path) -> Vec<(String, Dumped)> {
    let mut command = Package::fetch().expect("fail2ban").program("fail2ban-client");
    command.arg("-c").arg(directory).arg("-d").stderr(Stdio::piped());
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

/// Lengths of time as Fail2Ban's server reads them, in microseconds.
pub(crate) fn lengths(texts: &[&str]) -> Vec<i64> {
    let code = "import sys\nfrom fail2ban.server.mytime import MyTime\n\
                for text in sys.argv[1:]: print(round(MyTime.str2seconds(text) * 1000000))";
    let package = Package::fetch().expect("fail2ban");
    let mut command = std::process::Command::new("python3");
    command.args(["-c", code]).args(texts).env("PYTHONPATH", package.python());
    let output = command.output().expect("python3 runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines().map(|line| line.parse().expect("a number")).collect()
}

/// What the client sends about one jail.
#[derive(Default)]
pub(crate) struct Dumped {
    pub(crate) backend: String,
    /// The last value of each option.
    pub(crate) set: BTreeMap<String, String>,
    /// Everything that was added to an option.
    added: BTreeMap<String, Vec<String>>,
    /// Name, port and protocol of each action.
    pub(crate) actions: Vec<(String, String, String)>,
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

    pub(crate) fn values(&self) -> Vec<(String, Vec<String>)> {
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

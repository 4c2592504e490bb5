//! What can be configured, for manual pages and documentation.
//!
//! Input: the keys that the parser of `guard.toml` asks for, the comments of the shipped
//! `config/guard.toml`, and the tables of options beside this file. Output: every key and
//! option with its meaning. Invariant: what the parsers take and what is described here
//! are the same; tests compare them.

mod filter;
mod jail;

use crate::config::agent::Settings;

pub use filter::{FILTER_OPTIONS, TAGS};
pub use jail::JAIL_OPTIONS;

/// The shipped file: each key with its default, and before it what it means.
const SHIPPED: &str = include_str!("../../../../config/guard.toml");

/// A key of `guard.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The table in which it stands; empty for the top.
    pub table: String,
    /// The key.
    pub key: String,
    /// What may be written; empty where the meaning says it.
    pub form: String,
    /// Its default as TOML.
    pub default: String,
    /// What it means, in one paragraph.
    pub meaning: String,
}

/// A table of `guard.toml`, and what it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its name, as in `[name]`; empty for the top.
    pub name: String,
    /// What it is for.
    pub meaning: String,
}

/// Something that can be written, and what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Described {
    /// How it is written.
    pub name: &'static str,
    /// Guard's default; empty for none.
    pub default: &'static str,
    /// What it means, here and in Fail2Ban.
    pub meaning: &'static str,
    /// What is different here; empty for nothing.
    pub here: &'static str,
}

/// Every key of `guard.toml` and every table, in the order of the shipped file.
///
/// # Errors
/// The keys that the parser takes and the shipped file does not describe, or the other
/// way round.
pub fn settings() -> Result<(Vec<Group>, Vec<Setting>), String> {
    let (groups, mut settings) = described(SHIPPED);
    let asked = Settings::keys();
    let mut wrong = Vec::new();
    for asked in &asked {
        match settings
            .iter_mut()
            .find(|setting| setting.table == asked.table && setting.key == asked.key)
        {
            Some(setting) => setting.form.clone_from(&asked.form),
            None if groups.iter().any(|group| group.name == asked.key) => {}
            None => wrong.push(format!("`{}` is not described in guard.toml", asked.key)),
        }
    }
    for setting in &settings {
        if !asked.iter().any(|asked| asked.table == setting.table && asked.key == setting.key) {
            wrong.push(format!("nobody reads `{}` of guard.toml", setting.key));
        }
        if setting.meaning.is_empty() {
            wrong.push(format!("`{}` of guard.toml has no comment", setting.key));
        }
    }
    if wrong.is_empty() { Ok((groups, settings)) } else { Err(wrong.join("; ")) }
}

/// What a file like the shipped one describes: a comment, then `#key = default` or
/// `[table]`.
fn described(text: &str) -> (Vec<Group>, Vec<Setting>) {
    let mut groups = vec![Group { name: String::new(), meaning: String::new() }];
    let mut settings = Vec::new();
    let mut comment = String::new();
    for line in text.lines() {
        let bare = line.strip_prefix('#').unwrap_or(line);
        let key = bare.split_once(" = ").filter(|(key, _)| {
            key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-') && !key.is_empty()
        });
        if let Some((key, default)) = key {
            settings.push(Setting {
                table: groups.last().map(|group| group.name.clone()).unwrap_or_default(),
                key: key.to_owned(),
                form: String::new(),
                default: default.to_owned(),
                meaning: std::mem::take(&mut comment),
            });
        } else if let Some(name) = bare.strip_prefix('[') {
            let name = name.trim_matches(['[', ']']).to_owned();
            groups.push(Group { name, meaning: std::mem::take(&mut comment) });
        } else if let Some(words) = line.strip_prefix('#') {
            if !comment.is_empty() {
                comment.push(' ');
            }
            comment.push_str(words.trim());
        } else {
            // What stands alone is about the file, not about a key.
            comment.clear();
        }
    }
    (groups, settings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{filter as filter_files, options, resolve};

    /// A file without its comments, for `key = value` in it.
    const JAILS: &str = include_str!("../../../../config/jail.conf");

    #[test]
    fn every_key_is_described_and_read() {
        let (groups, settings) = settings().expect("one definition");
        assert_eq!(groups[1].name, "limits");
        let backend = &settings[0];
        assert_eq!((backend.key.as_str(), backend.default.as_str()), ("backend", "\"auto\""));
        assert!(backend.meaning.starts_with("What drops packets."), "{}", backend.meaning);
        assert_eq!(backend.form, r#"one of "auto", "xdp", "nft", "null""#);
        let bans = settings.iter().find(|setting| setting.key == "bans").expect("bans");
        assert_eq!(
            (bans.table.as_str(), bans.form.as_str()),
            ("limits", "a whole number from 1 to 16777216")
        );
    }

    #[test]
    fn comments_tables_and_keys_are_told_apart() {
        let (groups, settings) = described(
            "# About the file.\n\n# What it is.\n# More: a = b.\n#a-b = [1]\n\n# Two.\n[t]\nc = 2\n",
        );
        assert_eq!(groups[1], Group { name: "t".into(), meaning: "Two.".into() });
        let found: Vec<_> = settings
            .iter()
            .map(|s| [s.table.as_str(), &s.key, &s.default, &s.meaning].join("|"))
            .collect();
        assert_eq!(found, ["|a-b|[1]|What it is. More: a = b.", "t|c|2|"]);
    }

    fn assert_same(described: &[Described], read: &[&str]) {
        let mut described: Vec<_> = described.iter().map(|option| option.name).collect();
        let mut read = read.to_vec();
        described.sort_unstable();
        read.sort_unstable();
        assert_eq!(described, read, "described, and read");
    }

    #[test]
    fn every_option_of_a_jail_is_described() {
        let read = [&resolve::OPTIONS[..], &options::OTHERS[..]].concat();
        assert_same(JAIL_OPTIONS, &read);
    }

    #[test]
    fn every_option_of_a_filter_is_described() {
        let read = [&filter_files::OPTIONS[..], &["before", "after"]].concat();
        assert_same(FILTER_OPTIONS, &read);
    }

    /// Values of `[DEFAULT]` in guard's own `jail.conf`.
    #[test]
    fn the_defaults_are_those_of_the_shipped_jails() {
        let defaults = JAILS.split("\n\n\n[sshd]").next().expect("the first section");
        for (key, value) in defaults
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split_once('='))
        {
            let (key, value) = (key.trim(), value.trim());
            let option = JAIL_OPTIONS.iter().find(|option| option.name == key).expect(key);
            assert_eq!(option.default, value, "{key}");
        }
    }

    #[test]
    fn nothing_is_left_unsaid() {
        for option in JAIL_OPTIONS.iter().chain(FILTER_OPTIONS).chain(TAGS) {
            for text in [option.meaning, option.here] {
                assert!(text.is_empty() || text.ends_with('.'), "{}: {text}", option.name);
                assert_eq!(text.matches('`').count() % 2, 0, "{}: {text}", option.name);
            }
            assert!(!option.meaning.is_empty(), "{}", option.name);
        }
    }
}

//! The options of a jail: which there are, and which have no effect here.
//!
//! Input: a jail's section. Output: warnings for what works differently from
//! Fail2Ban, each with its place; nothing is silently left out. Keys that nobody knows
//! may be variables for `%(name)s`; one that nothing refers to is told.

use crate::config::diagnostic::{Checked, Diagnostic, Diagnostics, nearest};
use crate::config::interpolate::{Scope, Values, is_referenced};
use crate::config::jail::taken;
use crate::config::layers::{Layer, Section};
use crate::config::text::Text;

/// Options of a jail that guard follows.
const FOLLOWED: [&str; 18] = [
    "enabled",
    "backend",
    "port",
    "protocol",
    "filter",
    "prefregex",
    "failregex",
    "ignoreregex",
    "journalmatch",
    "maxretry",
    "findtime",
    "bantime",
    "ignoreip",
    "ignoreself",
    "usedns",
    "action",
    "banaction",
    "banaction_allports",
];

/// Options that change nothing where guard reads the journal and bans by itself: what
/// is kept for mails, how files are read, how commands are cached.
const WITHOUT_MEANING: [&str; 11] = [
    "maxmatches",
    "datepattern",
    "logtimezone",
    "logencoding",
    "logpath",
    "skip_if_nologs",
    "systemd_if_nologs",
    "ignorecache",
    "maxlines",
    "mode",
    "fail2ban_agent",
];

/// Options that only matter with `bantime.increment`.
const OF_INCREMENT: [&str; 6] = [
    "bantime.factor",
    "bantime.formula",
    "bantime.multipliers",
    "bantime.maxtime",
    "bantime.rndtime",
    "bantime.overalljails",
];

/// Options of a jail that a filter may refer to, as in Fail2Ban.
pub(crate) const FOR_FILTERS: [&str; 17] = [
    "enabled",
    "backend",
    "filter",
    "maxretry",
    "findtime",
    "bantime",
    "ignoreip",
    "ignorecommand",
    "logpath",
    "logencoding",
    "usedns",
    "prefregex",
    "failregex",
    "ignoreregex",
    "maxlines",
    "datepattern",
    "journalmatch",
];

/// Those of the keys that have a value.
pub(crate) fn values(scope: &Scope<'_>, keys: &[&str], found: &mut Diagnostics) -> Values {
    let mut values = Values::new();
    for key in keys {
        if let Some(value) = scope.value(key).and_then(|value| taken(value, found)) {
            values.insert((*key).to_owned(), value);
        }
    }
    values
}

/// `1`, `on`, `true` and `yes`; `0`, `off`, `false`, `no` and nothing.
pub(crate) fn boolean(option: &str, value: &Text) -> Checked<bool> {
    match value.as_str().trim().to_lowercase().as_str() {
        "1" | "on" | "true" | "yes" => Ok(true),
        "" | "0" | "off" | "false" | "no" => Ok(false),
        _ => Err(Diagnostic::error(format!("{option} = `{value}` is neither true nor false"))
            .at(value)
            .help("write true or false")
            .into()),
    }
}

/// Tells which options of a jail have no effect, or another one than in Fail2Ban.
pub(crate) fn warn(scope: &Scope<'_>, section: &Section, found: &mut Diagnostics) {
    let mut without_effect = |option: &str, instead: &str, harmless: &dyn Fn(&Text) -> bool| {
        let value = scope.value(option).and_then(|value| taken(value, found));
        if let Some(value) = value.filter(|value| !value.is_blank() && !harmless(value)) {
            let what = format!("{option} = `{value}` has no effect yet");
            found.push(Diagnostic::warning(what).at(&value).help(instead));
        }
    };
    let off = |value: &Text| matches!(boolean("", value), Ok(false));
    let on = |value: &Text| matches!(boolean("", value), Ok(true));
    without_effect("bantime.increment", "every ban lasts `bantime`", &off);
    without_effect("ignorecommand", "the command is not run; use ignoreip", &|_| false);
    without_effect("ignoreself", "this host's own addresses are never banned", &on);
    without_effect("usedns", "host names in log lines are not resolved", &|value| {
        value.as_str().eq_ignore_ascii_case("no")
    });
    without_effect("chain", "bans cover what comes to this host", &|value| {
        value.as_str().eq_ignore_ascii_case("input") || value.as_str().starts_with('<')
    });
    unknown_keys(scope, section, found);
}

fn unknown_keys(scope: &Scope<'_>, section: &Section, found: &mut Diagnostics) {
    let others = ["bantime.increment", "ignorecommand", "chain", "blocktype"];
    let known =
        || FOLLOWED.iter().chain(&WITHOUT_MEANING).chain(&OF_INCREMENT).chain(&others).copied();
    for (key, own) in
        [(section, true), (&scope.merged.defaults, false)].into_iter().flat_map(|(section, own)| {
            let last = |(key, all): (_, &'_ Vec<_>)| (key, all.last().cloned());
            section.keys.iter().map(last).map(move |found| (found, own))
        })
    {
        let (name, Some(setting)) = key else { continue };
        let name: &String = name;
        if setting.layer == Layer::Vendor
            || known().any(|known| known == name)
            || is_referenced(scope.merged, name)
        {
            continue;
        }
        let near = nearest(name, known());
        // [DEFAULT] may hold variables that no enabled jail needs.
        if own || near.is_some() {
            found.push(
                Diagnostic::warning(format!(
                    "unknown option `{}`; nothing refers to it",
                    setting.key
                ))
                .at(&setting.key)
                .help("remove it")
                .maybe_help(near.map(|near| format!("did you mean `{near}`?"))),
            );
        }
    }
}

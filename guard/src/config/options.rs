//! The options of a jail: which there are, and what those do that work differently here.
//!
//! Input: a jail's section. Output: what works differently from Fail2Ban, each with its
//! place and with what happens instead; nothing is silently left out. Keys that nobody
//! knows may be variables for `%(name)s`; one that nothing refers to is told.

use crate::config::diagnostic::{Checked, Diagnostic, Diagnostics, nearest};
use crate::config::interpolate::{Scope, is_referenced};
use crate::config::layers::{Layer, Section};
use crate::config::resolve::{self, taken};
use crate::config::text::Text;

/// Keys that are no options of Fail2Ban's server but mean something to jails; `ipv6prefix`
/// is guard's own.
pub(crate) const OTHERS: [&str; 9] = [
    "port",
    "protocol",
    "banaction",
    "banaction_allports",
    "blocktype",
    "chain",
    "mode",
    "fail2ban_agent",
    "ipv6prefix",
];

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
    let mut tell = |option: &str, told: &dyn Fn(&Text) -> Option<Diagnostic>| {
        let value = scope.value(option).and_then(|value| taken(value, found));
        if let Some(value) = value.filter(|value| !value.is_blank()) {
            found.extend(told(&value).map(|diagnostic| diagnostic.at(&value)));
        }
    };
    let without_effect = |option: &str, value: &Text, instead: &str| {
        Diagnostic::warning(format!("{option} = `{value}` has no effect")).help(instead)
    };
    tell("ignoreself", &|value| match boolean("ignoreself", value) {
        Err(diagnostic) => Some(*diagnostic),
        Ok(true) => None,
        Ok(false) => {
            let instead = "this host's own addresses are never banned";
            Some(without_effect("ignoreself", value, instead))
        }
    });
    tell("chain", &|value| {
        let input = value.as_str().eq_ignore_ascii_case("input");
        let instead = "bans cover what comes to this host; see `scope` in guard.toml";
        (!input && !value.as_str().starts_with('<'))
            .then(|| without_effect("chain", value, instead))
    });
    if let Some(key) = scope.key("maxmatches") {
        found.push(
            Diagnostic::note("maxmatches has no effect: log lines are not kept")
                .at(key)
                .help("the user names of failures are kept until they are too old to count"),
        );
    }
    unknown_keys(scope, section, found);
}

fn unknown_keys(scope: &Scope<'_>, section: &Section, found: &mut Diagnostics) {
    let known = || resolve::OPTIONS.iter().chain(&OTHERS).copied();
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

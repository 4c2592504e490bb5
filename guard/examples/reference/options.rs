//! What can be written into the files, as Markdown.

use anyhow::{Result, anyhow};
use guard::config::reference::{self, Described};

/// The keys of `guard.toml`.
pub(crate) fn settings() -> Result<String> {
    let (groups, settings) = reference::settings().map_err(|error| anyhow!("{error}"))?;
    let mut text = String::new();
    for group in groups {
        if !group.name.is_empty() {
            text.push_str(&format!("### [{}]\n\n{}\n\n", group.name, group.meaning));
        }
        for setting in settings.iter().filter(|setting| setting.table == group.name) {
            text.push_str(&format!("#### `{}`\n\n{}\n\n", setting.key, setting.meaning));
            if !setting.form.is_empty() {
                text.push_str(&format!("Write {}. ", setting.form));
            }
            text.push_str(&format!("Default: `{}`\n\n", setting.default));
        }
    }
    Ok(text)
}

/// The options of a jail.
#[expect(clippy::unnecessary_wraps, reason = "one signature for all lists")]
pub(crate) fn jail() -> Result<String> {
    Ok(list(reference::JAIL_OPTIONS))
}

/// The options of a filter.
#[expect(clippy::unnecessary_wraps, reason = "one signature for all lists")]
pub(crate) fn filter() -> Result<String> {
    Ok(list(reference::FILTER_OPTIONS))
}

/// The tags of expressions.
#[expect(clippy::unnecessary_wraps, reason = "one signature for all lists")]
pub(crate) fn tags() -> Result<String> {
    Ok(list(reference::TAGS))
}

fn list(options: &[Described]) -> String {
    let mut text = String::new();
    for option in options {
        text.push_str(&format!("#### `{}`\n\n{}", option.name, option.meaning));
        if !option.here.is_empty() {
            text.push_str(&format!(" **Here:** {}", option.here));
        }
        if !option.default.is_empty() {
            text.push_str(&format!(" Default: `{}`", option.default));
        }
        text.push_str("\n\n");
    }
    text
}

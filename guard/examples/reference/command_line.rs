//! The verbs of guardctl, as Markdown.

use anyhow::Result;
use clap::{Arg, Command};

/// Each verb with its usage, its arguments and its examples.
#[expect(clippy::unnecessary_wraps, reason = "one signature for all lists")]
pub(crate) fn verbs() -> Result<String> {
    let mut all = guard::cli::command();
    all.build();
    let mut text = String::new();
    for verb in all.get_subcommands().filter(|verb| verb.get_name() != "help") {
        describe(verb.get_name(), verb, &mut text);
    }
    Ok(text)
}

/// The options that every verb takes.
#[expect(clippy::unnecessary_wraps, reason = "one signature for all lists")]
pub(crate) fn global_options() -> Result<String> {
    let mut all = guard::cli::command();
    all.build();
    let mut text = String::new();
    for argument in all.get_arguments() {
        argument_described(argument, &mut text);
    }
    Ok(text)
}

fn describe(words: &str, verb: &Command, text: &mut String) {
    let below: Vec<_> = verb.get_subcommands().filter(|verb| verb.get_name() != "help").collect();
    for verb in &below {
        describe(&format!("{words} {}", verb.get_name()), verb, text);
    }
    if !below.is_empty() {
        return;
    }
    let usage = verb.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").trim();
    let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
    text.push_str(&format!(
        "### guardctl {words}\n\n```text\n{usage}\n```\n\n{}\n\n",
        sentence(&about)
    ));
    for argument in verb.get_arguments().filter(|argument| !is_global(argument)) {
        argument_described(argument, text);
    }
    if let Some(help) = verb.get_after_help() {
        text.push_str("<!-- -->\n\n");
        after(&help.to_string(), text);
    }
}

fn is_global(argument: &Arg) -> bool {
    argument.is_global_set() || ["help", "version"].contains(&argument.get_id().as_str())
}

fn argument_described(argument: &Arg, text: &mut String) {
    if argument.is_hide_set() {
        return;
    }
    let values: Vec<_> = argument
        .get_value_names()
        .unwrap_or_default()
        .iter()
        .map(|name| format!("<{name}>"))
        .collect();
    let takes = argument.get_action().takes_values();
    let values = if takes { values.join(" ") } else { String::new() };
    let mut names = Vec::new();
    names.extend(argument.get_short().map(|name| format!("-{name}")));
    names.extend(argument.get_long().map(|name| format!("--{name}")));
    let name = match (names.is_empty(), values.is_empty()) {
        (true, _) => values,
        (false, true) => names.join(", "),
        (false, false) => format!("{} {values}", names.join(", ")),
    };
    let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
    text.push_str(&format!("#### `{name}`\n\n{}", sentence(&help)));
    let possible: Vec<_> = argument
        .get_possible_values()
        .iter()
        .filter(|_| takes)
        .map(|value| match value.get_help() {
            Some(help) => format!("`{}` ({help})", value.get_name()),
            None => format!("`{}`", value.get_name()),
        })
        .collect();
    if !possible.is_empty() {
        text.push_str(&format!(" One of {}.", possible.join(", ")));
    }
    for default in argument.get_default_values().iter().filter(|_| takes) {
        text.push_str(&format!(" Default: `{}`", default.to_string_lossy()));
    }
    text.push_str("\n\n");
}

/// What stands after the options: examples are code, the rest is text.
fn after(help: &str, text: &mut String) {
    let mut in_code = false;
    for line in help.lines() {
        let is_code = line.starts_with("  ");
        match (in_code, is_code) {
            (false, true) => text.push_str("\n```sh\n"),
            (true, false) => text.push_str("```\n"),
            _ => {}
        }
        in_code = is_code;
        match line {
            _ if is_code => text.push_str(&format!("{}\n", line.trim())),
            line => text.push_str(&format!("{line}\n")),
        }
    }
    text.push_str(if in_code { "```\n\n" } else { "\n" });
}

/// Clap takes the full stop at the end away.
fn sentence(text: &str) -> String {
    let text = text.trim().replace('<', "\\<");
    match text.chars().last() {
        None | Some('.' | '?' | ':' | ')') => text,
        Some(_) => format!("{text}."),
    }
}

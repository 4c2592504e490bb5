//! The command line as people meet it: help that is complete, true and fits a terminal.

use clap::builder::StyledStr;

use super::*;

mod documents;

/// Columns of a terminal that nobody has made wider.
const WIDTH: usize = 80;

/// Every verb that does something, as its words, with its definition.
fn verbs() -> Vec<(String, clap::Command)> {
    fn walk(words: &str, command: &clap::Command, found: &mut Vec<(String, clap::Command)>) {
        let below: Vec<_> =
            command.get_subcommands().filter(|verb| verb.get_name() != "help").collect();
        for verb in &below {
            walk(&format!("{words} {}", verb.get_name()), verb, found);
        }
        if below.is_empty() {
            found.push((words.to_owned(), command.clone()));
        }
    }
    let mut found = Vec::new();
    let mut all = command();
    all.build();
    walk("guardctl", &all, &mut found);
    found
}

fn text(styled: Option<&StyledStr>) -> String {
    styled.map(ToString::to_string).unwrap_or_default()
}

/// The command lines of a help text's examples, without the words that explain them.
fn examples(help: &str) -> Vec<String> {
    help.lines()
        .filter_map(|line| line.strip_prefix("  "))
        .map(|line| line.split("   ").next().unwrap_or(line).trim().to_owned())
        .collect()
}

/// The words of a shell's line, with quotes taken away.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().expect("one word").push(c),
        }
    }
    words
}

/// The arguments of each guardctl in a line.
fn invocations(line: &str) -> Vec<Vec<String>> {
    let words = words(line);
    words
        .split(|word| ["|", "&&", "<"].contains(&word.as_str()))
        .filter(|words| words.first().is_some_and(|word| word == "guardctl"))
        .map(<[String]>::to_vec)
        .collect()
}

#[test]
fn every_verb_has_examples_that_are_right() {
    let all = [vec![("guardctl".to_owned(), command())], verbs()].concat();
    for (name, verb) in all {
        let examples = examples(&text(verb.get_after_help()));
        assert!(!examples.is_empty(), "{name}: --help has no lines with examples");
        let mut own = 0;
        for example in examples {
            for invocation in invocations(&example) {
                own += usize::from(invocation.join(" ").contains(&name[8..]));
                if let Err(error) = Arguments::try_parse_from(&invocation) {
                    panic!("{name}: the example `{example}` is wrong: {error}");
                }
            }
        }
        assert!(own > 0, "{name}: no example shows it");
    }
}

#[test]
fn every_verb_and_argument_is_described() {
    for (name, verb) in verbs() {
        assert!(!text(verb.get_about()).is_empty(), "{name}");
        for argument in verb.get_arguments().filter(|argument| !argument.is_hide_set()) {
            let help = text(argument.get_help());
            assert!(!help.is_empty(), "{name}: {} is not described", argument.get_id());
        }
    }
}

#[test]
fn help_fits_a_terminal_and_has_no_colour_elsewhere() {
    for (name, verb) in [vec![("guardctl".to_owned(), command())], verbs()].concat() {
        for help in [verb.clone().render_help(), verb.clone().render_long_help()] {
            let help = help.to_string();
            assert!(!help.contains('\x1b'), "{name}: {help:?}");
            for line in help.lines() {
                assert!(line.chars().count() <= WIDTH, "{name}: longer than {WIDTH}: {line}");
            }
        }
    }
}

#[test]
fn every_exit_code_is_documented() {
    let help = text(command().get_after_help());
    let codes = help.split("Exit codes: ").nth(1).expect("exit codes");
    for (failure, words) in [
        (Failure::NotDone(String::new()), "1 not done"),
        (Failure::Usage(String::new()), "2 wrong usage"),
        (
            Failure::Client(ClientError::NotRunning("/run/guard/guard.sock".into())),
            "3 the agent is not running",
        ),
        (Failure::Configuration(String::new()), "78 the configuration is wrong"),
    ] {
        assert!(words.starts_with(&failure.code().to_string()), "{failure:?}");
        assert!(codes.replace('\n', " ").contains(words), "{codes}");
    }
}

#[test]
fn words_of_an_example_are_those_of_a_shell() {
    let line = "tail -1 x | guardctl explain 'a b' - && guardctl status";
    assert_eq!(
        invocations(line),
        [vec!["guardctl", "explain", "a b", "-"], vec!["guardctl", "status"]]
    );
    assert_eq!(examples("Examples:\n  a b   said\n  c\nmore"), ["a b", "c"]);
}

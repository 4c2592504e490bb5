//! `fail2ban-regex LOG REGEX [IGNOREREGEX]`: `guardctl regex` with that command line.

use clap::Parser;

use crate::cli::named::FAILED;
use crate::cli::{Context, output, regex};
use crate::compat::answer::VERSION;
use crate::config::agent::Settings;

/// Try a filter on a log.
#[derive(Debug, Parser)]
#[command(name = "fail2ban-regex", disable_version_flag = true)]
struct Line {
    #[command(flatten)]
    arguments: regex::Arguments,
}

pub(super) fn main(words: &[String]) -> u8 {
    let (mut line, mut version) = (vec!["fail2ban-regex".to_owned()], None);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let value = word.split_once('=').map(|(_, value)| value.to_owned());
        match word.split('=').next().unwrap_or_default() {
            "--" => {
                line.push(word.clone());
                line.extend(words.by_ref().cloned());
            }
            "--config" => {
                line.push("--directory".to_owned());
                line.extend(value);
            }
            "--verbosity" => {
                let level = value.or_else(|| words.next().cloned()).unwrap_or_default();
                let level = level.parse().unwrap_or(0_usize).min(4);
                line.extend(std::iter::repeat_n("-v".to_owned(), level));
            }
            // They change how Fail2Ban tells of its own errors.
            "-t" | "--log-traceback" | "--full-traceback" | "--verbose-date" | "--VD" => {}
            "-D" | "--debuggex" => {}
            "-V" => version = Some(VERSION.to_owned()),
            "--version" => version = Some(format!("fail2ban-regex {VERSION}")),
            _ => line.push(word.clone()),
        }
    }
    if let Some(version) = version {
        return output::print(&format!("{version}\n")).map_or(FAILED, |()| 0);
    }
    let arguments = match Line::try_parse_from(line) {
        Ok(line) => line.arguments,
        Err(error) => {
            // Nowhere else to say it.
            let _ = error.print();
            return match error.kind() {
                clap::error::ErrorKind::DisplayHelp => 0,
                clap::error::ErrorKind::UnknownArgument => 2,
                _ => FAILED,
            };
        }
    };
    let told = Settings::load(None).map_err(|problems| problems.to_string()).and_then(|settings| {
        let context = Context { settings, json: false };
        regex::regex(&context, &arguments).map_err(|failure| failure.to_string())
    });
    told.unwrap_or_else(|problem| {
        output::talk(&format!("ERROR: {problem}"));
        FAILED
    })
}

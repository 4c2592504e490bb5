//! What the engine cannot know by itself and has asked outside.
//!
//! A [`Question`] leaves with the effects and is asked once these are durable; its
//! [`Answer`] comes back as an input. The engine does not wait for it, and goes on without
//! one when it does not come in time.

use std::net::IpAddr;
use std::path::PathBuf;

/// One question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Its number: not used twice within one run of the agent.
    pub id: u64,
    /// What is asked.
    pub ask: Ask,
}

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// What exit code has this program, with these arguments?
    Run(Vec<String>),
    /// Which addresses has the host of this name?
    Resolve(String),
    /// What is in this file?
    Read(PathBuf),
}

/// The answer to one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The question's number.
    pub id: u64,
    /// What is said, or why nothing can be.
    pub said: Result<Said, String>,
}

/// What can be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// The program ended with this code.
    Exited(i32),
    /// The host has these addresses; none if there is no such host.
    Addresses(Vec<IpAddr>),
    /// This is in the file.
    Content(String),
}

/// Whether a text can be the name of a host, and no way to write an address: labels of
/// letters, digits, hyphens and underscores, the last of which is no number. Resolvers
/// take `2130706433` and `0x7f.1` for 127.0.0.1.
pub fn is_host_name(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && label.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_'))
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    let hexadecimal = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    let number = hexadecimal.is_some_and(|digits| digits.chars().all(|c| c.is_ascii_hexdigit()))
        || !last.chars().any(char::is_alphabetic);
    text.len() <= 253 && text.split('.').all(label) && !number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_in_disguise() {
        for name in ["localhost", "a.example.org", "xn--bcher-kva.example.", "7.x", "_a.b"] {
            assert!(is_host_name(name), "{name}");
        }
        let long = "a".repeat(64);
        for other in
            ["", "127.1", "2130706433", "0x7f000001", "a.0X7f", "0x", "-a.b", "a..b", "a b", &long]
        {
            assert!(!is_host_name(other), "{other}");
        }
    }
}

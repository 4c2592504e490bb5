//! `ignoreip` of a jail, and addresses as Fail2Ban writes them.
//!
//! Input: addresses, prefixes, names of hosts and `file:/path`, separated by commas or
//! white space. Output: [`Allowed`]. Names are not resolved and files not read here.
//! Invariant: what is neither is an error, since an address that is missing from the list
//! could be banned.

use std::net::{IpAddr, Ipv4Addr};

use crate::config::diagnostic::{Checked, Diagnostic, Diagnostics};
use crate::config::text::Text;
use crate::core::addr::Prefix;
use crate::core::allow::AllowList;
use crate::core::jail::AllowElsewhere;

/// What a jail lets be: what is an address already, and what stands for addresses.
#[derive(Debug, Default)]
pub(crate) struct Allowed {
    /// Addresses and prefixes.
    pub(crate) list: AllowList,
    /// Names and files.
    pub(crate) elsewhere: Vec<AllowElsewhere>,
}

/// Reads `ignoreip`; nothing if an error is told.
pub(crate) fn allowed(value: &Text, found: &mut Diagnostics) -> Option<Allowed> {
    let (mut prefixes, mut elsewhere, mut sound) = (Vec::new(), Vec::new(), true);
    for item in value.split(|c| c == ',' || c.is_whitespace()) {
        match entry(&item) {
            Ok(Entry::Prefix(prefix)) => prefixes.push(prefix),
            Ok(Entry::Elsewhere(place)) => {
                if !elsewhere.contains(&place) {
                    elsewhere.push(place);
                }
            }
            Err(diagnostic) => {
                sound = false;
                found.push(*diagnostic);
            }
        }
    }
    sound.then(|| Allowed { list: prefixes.into_iter().collect(), elsewhere })
}

enum Entry {
    Prefix(Prefix),
    Elsewhere(AllowElsewhere),
}

fn entry(item: &Text) -> Checked<Entry> {
    let text = item.as_str();
    if let Some(prefix) = prefix(text) {
        return Ok(Entry::Prefix(prefix));
    }
    if let Some(path) = text.strip_prefix("file:") {
        // `file:/path` and `file:///path` are the same.
        let path = path.strip_prefix("//").unwrap_or(path);
        if !path.starts_with('/') {
            return Err(Diagnostic::error(format!("ignoreip: `{text}` is no absolute path"))
                .at(item)
                .help("write file:/path; the file holds addresses and prefixes")
                .into());
        }
        return Ok(Entry::Elsewhere(AllowElsewhere::File(path.into())));
    }
    if is_host_name(text) {
        return Ok(Entry::Elsewhere(AllowElsewhere::Name(text.to_owned())));
    }
    Err(Diagnostic::error(format!("ignoreip: `{text}` is neither an address nor a name"))
        .at(item)
        .help("write addresses, prefixes such as 192.0.2.0/24 or 2001:db8::/32, names of hosts, or file:/path")
        .into())
}

/// An address or prefix; a dotted netmask is a length too.
fn prefix(text: &str) -> Option<Prefix> {
    let text = text.trim_matches(['[', ']']);
    if let Ok(prefix) = text.parse() {
        return Some(prefix);
    }
    let (address, mask) = text.split_once('/')?;
    let mask = u32::from(mask.parse::<Ipv4Addr>().ok()?);
    let length = mask.leading_ones();
    let contiguous = mask.count_ones() == length;
    let address: IpAddr = address.parse().ok()?;
    let length = u8::try_from(length).ok().filter(|_| contiguous && address.is_ipv4())?;
    Prefix::new(address, length).ok()
}

/// Labels of letters, digits and hyphens, the last of them with a letter.
fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && label.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_'))
    };
    let text = text.strip_suffix('.').unwrap_or(text);
    let last = text.rsplit('.').next().unwrap_or_default();
    text.split('.').all(label) && last.chars().any(char::is_alphabetic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_prefixes_and_masks() {
        for (text, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.1/24", "192.0.2.0/24"),
            ("10.0.0.0/255.255.0.0", "10.0.0.0/16"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("[::1]", "::1"),
        ] {
            assert_eq!(prefix(text).expect(text).to_string(), expected);
        }
        for text in ["10.0.0.0/255.0.255.0", "10.0.0.0/33", "::1/255.0.0.0", "10.0.0", "x"] {
            assert_eq!(prefix(text), None, "{text}");
        }
    }

    #[test]
    fn names_and_files_are_told_elsewhere() {
        let read = |text: &str| {
            let mut found = Diagnostics::default();
            allowed(&Text::generated(text), &mut found).ok_or_else(|| found.to_string())
        };
        let found = read("192.0.2.1, a.example\nfile:/x  file:///x a.example").expect("sound");
        assert_eq!(found.list.entries().len(), 1);
        let name = AllowElsewhere::Name("a.example".to_owned());
        assert_eq!(found.elsewhere, [name, AllowElsewhere::File("/x".into())]);
        for wrong in ["10.0.0", "file:x", "192.0.2.1/33", "a/24"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn host_names() {
        for name in ["localhost", "a.example.org", "xn--bcher-kva.example", "1.example."] {
            assert!(is_host_name(name), "{name}");
        }
        for other in ["10.0.0", "1.2.3.4.5", "a..b", "-a.b", "a/24", "", "a b", "1:2"] {
            assert!(!is_host_name(other), "{other}");
        }
    }
}

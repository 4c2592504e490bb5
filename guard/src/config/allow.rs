//! `ignoreip` of a jail, and addresses as Fail2Ban writes them.
//!
//! Input: addresses, prefixes and host names, separated by commas or spaces. Output: an
//! [`AllowList`]. What guard cannot honour yet is told: an address that is missing from
//! the list can be banned.

use std::net::{IpAddr, Ipv4Addr};

use crate::config::diagnostic::{Checked, Diagnostic, Diagnostics};
use crate::config::interpolate::Scope;
use crate::config::jail::taken;
use crate::config::text::Text;
use crate::core::addr::Prefix;
use crate::core::allow::AllowList;

/// Reads `ignoreip`; nothing if a problem is told that keeps the jail from starting.
pub(crate) fn allow_list(scope: &Scope<'_>, found: &mut Diagnostics) -> Option<AllowList> {
    let value = taken(scope.value_or_empty("ignoreip"), found)?;
    let mut prefixes = Vec::new();
    let mut sound = true;
    for item in value.split(|c| c == ',' || c.is_whitespace()) {
        match entry(&item) {
            Ok(Some(prefix)) => prefixes.push(prefix),
            Ok(None) => found.push(unresolved(&item)),
            Err(diagnostic) => {
                sound = false;
                found.push(*diagnostic);
            }
        }
    }
    sound.then(|| prefixes.into_iter().collect())
}

/// An address or prefix, nothing for a host name or a file.
fn entry(item: &Text) -> Checked<Option<Prefix>> {
    let text = item.as_str();
    if let Some(prefix) = prefix(text) {
        return Ok(Some(prefix));
    }
    if text.starts_with("file:") || is_host_name(text) {
        return Ok(None);
    }
    Err(Diagnostic::error(format!("ignoreip: `{text}` is neither an address nor a prefix"))
        .at(item)
        .help("write addresses and prefixes such as 192.0.2.1, 192.0.2.0/24 or 2001:db8::/32")
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

fn unresolved(item: &Text) -> Diagnostic {
    let what = if item.as_str().starts_with("file:") {
        format!("ignoreip: `{item}` is not read yet")
    } else {
        format!("ignoreip: host name `{item}` is not resolved yet")
    };
    Diagnostic::warning(what)
        .at(item)
        .help("its addresses can be banned; write them into ignoreip instead")
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
    fn host_names() {
        for name in ["localhost", "a.example.org", "xn--bcher-kva.example", "1.example."] {
            assert!(is_host_name(name), "{name}");
        }
        for other in ["10.0.0", "1.2.3.4.5", "a..b", "-a.b", "a/24", "", "a b", "1:2"] {
            assert!(!is_host_name(other), "{other}");
        }
    }
}

//! Fail2Ban's tags in an expression: `<HOST>`, `<ADDR>`, `<F-USER>…</F-USER>` and so on.
//!
//! Input: an expression as written. Output: the same as a plain Python expression,
//! with named groups in the places of the tags. Invariant: text that is no tag comes
//! out as it went in.

/// An IPv4 address, also as an IPv4-mapped IPv6 one.
const IPV4: &str = r"(?:::[fF]{4,6}:)?(?P<ip4>[0-9]{1,3}(?:\.[0-9]{1,3}){3})";
/// Anything that may be an IPv6 address; parsing decides afterwards.
const IPV6: &str = r"(?P<ip6>(?:::|[0-9A-Fa-f]{1,4}:{1,2}){1,7}(?::|[0-9A-Fa-f]{1,4}))";
const DNS: &str = r"(?P<dns>[\w\-.^_]*\w)";
const CIDR: &str = r"(?P<cidr>[0-9]+)";

/// Puts groups in the places of the tags. `<HOST>` is an address; where `names` count
/// (`usedns` is not `no`) it may be a host's name too.
pub(super) fn expand(expression: &str, names: bool) -> String {
    let mut out = String::with_capacity(expression.len() * 2);
    let mut open: Vec<&str> = Vec::new();
    let mut skipped_lines = 0;
    let mut rest = expression;
    while let Some(at) = rest.find('<') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let Some(name) = tag_name(rest) else {
            out.push('<');
            rest = &rest[1..];
            continue;
        };
        let verbatim = &rest[..name.len() + 2];
        rest = &rest[verbatim.len()..];
        match name {
            "HOST" if names => out.push_str(&format!(r"(?:\[?(?:{IPV4}|{IPV6})\]?|{DNS})")),
            "HOST" | "ADDR" | "F-ADDR/" => out.push_str(&format!(r"\[?(?:{IPV4}|{IPV6})\]?")),
            "IP4" | "F-IP4/" => out.push_str(IPV4),
            "IP6" | "F-IP6/" => out.push_str(IPV6),
            "DNS" | "F-DNS/" => out.push_str(DNS),
            "CIDR" | "F-CIDR/" => out.push_str(CIDR),
            "SUBNET" | "F-SUBNET/" => {
                out.push_str(&format!(r"\[?(?:{IPV4}|{IPV6})(?:/{CIDR})?\]?"));
            }
            "F-ID/" => out.push_str(r"(?P<fid>\S+)"),
            "F-PORT/" => out.push_str(r"(?P<fport>\w+)"),
            "SKIPLINES" => {
                out.push_str(&format!(r"\n(?P<skiplines{skipped_lines}>(?:(?:.*\n)*?))"));
                skipped_lines += 1;
            }
            _ => match custom_tag(name) {
                Some((custom, false)) => {
                    open.push(custom);
                    out.push_str(&format!("(?P<{}>", group_name(custom)));
                }
                Some((custom, true)) if open.contains(&custom) => out.push(')'),
                _ => out.push_str(verbatim),
            },
        }
    }
    out.push_str(rest);
    out
}

/// The name between `<` and `>` at the start of `text`, slashes included.
fn tag_name(text: &str) -> Option<&str> {
    let inner = &text[1..text.find('>')?];
    let name = inner.strip_prefix('/').unwrap_or(inner);
    let name = name.strip_suffix('/').unwrap_or(name);
    let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
    (!name.is_empty() && name.chars().all(word)).then_some(inner)
}

/// `F-XXX` or `/F-XXX`: the name after `F-`, and whether it closes.
fn custom_tag(name: &str) -> Option<(&str, bool)> {
    let (name, closes) = match name.strip_prefix('/') {
        Some(name) => (name, true),
        None => (name, false),
    };
    let custom = name.strip_prefix("F-")?;
    let allowed = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-');
    (!custom.is_empty() && custom.bytes().all(allowed)).then_some((custom, closes))
}

/// The group that `<F-name>` stands for.
fn group_name(custom: &str) -> String {
    match custom {
        "ID" => "fid".to_owned(),
        "PORT" => "fport".to_owned(),
        other => other.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn custom_tags_become_groups() {
        assert_eq!(expand("<F-USER>.*</F-USER>", false), "(?P<user>.*)");
        assert_eq!(expand("<F-ALT_USER_1>a</F-ALT_USER_1>", false), "(?P<alt_user_1>a)");
        assert_eq!(expand("<F-ID>x</F-ID>", false), "(?P<fid>x)");
    }

    #[test]
    fn what_is_no_tag_stays() {
        for text in ["(?P<name>a)", "a<b", "<", "</F-USER>", "<other>", "<a b>", "(?<=x)", "é<é"]
        {
            assert_eq!(expand(text, false), text);
        }
    }

    #[test]
    fn every_address_tag_names_its_groups() {
        for (tag, groups) in [
            ("<HOST>", &["ip4", "ip6"][..]),
            ("<ADDR>", &["ip4", "ip6"]),
            ("<IP4>", &["ip4"]),
            ("<IP6>", &["ip6"]),
            ("<DNS>", &["dns"]),
            ("<SUBNET>", &["ip4", "ip6", "cidr"]),
            ("<IP4>/<CIDR>", &["ip4", "cidr"]),
        ] {
            let expanded = expand(tag, false);
            for group in groups {
                assert!(expanded.contains(&format!("(?P<{group}>")), "{tag}: {expanded}");
            }
            assert!(!tag.contains("HOST") || !expanded.contains("<dns>"));
            assert!(!tag.contains("HOST") || expand(tag, true).contains("<dns>"));
        }
    }
}

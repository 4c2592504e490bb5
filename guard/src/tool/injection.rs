//! Expressions that let a client have others banned, each with a line that does.
//!
//! Input: a filter. Output: [`Injection`]s. A client controls what the daemon logs of
//! it: a user name, a path, a version. From the expression a line is made that it
//! matches; then the client's part is filled with text that looks like the rest of the
//! line with another address. Invariant: what is reported was proven: the real filter
//! finds the planted address in the line.

use crate::core::entry::{Daemon, Dating};
use crate::core::filter::{Filter, Finding, Memory};
use crate::core::time::Timestamp;
use crate::tool::line;
use crate::tool::template::{Piece, Template, VARIANTS};

/// The client's true address in the lines shown (RFC 5737).
pub const SENDER: &str = "198.51.100.1";
/// The address that it plants.
pub const PLANTED: &str = "203.0.113.9";

/// Lines tried for one template of an expression.
const MOST_ATTEMPTS: usize = 600;

/// How a client reaches its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// Its text stands where a wildcard is, in the message that the expression means.
    Wildcard,
    /// Nothing ties the expression to the beginning of the message, so its text can
    /// stand in any other message.
    Unanchored,
}

/// A line by which a client has somebody else banned.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Injection {
    /// Number of the `failregex`, from 1.
    pub expression: usize,
    /// How.
    pub way: Way,
    /// The line that the daemon would log.
    pub line: String,
    /// What the client sent.
    pub sent: String,
    /// The client's true address.
    pub sender: &'static str,
    /// Who is found instead.
    pub planted: &'static str,
    /// Guard knows the daemon and what in its messages is the client's: it does not find
    /// the planted address. Fail2Ban would.
    pub guarded: bool,
}

/// Looks for a way into each expression of a filter; for each the worst one found.
/// `program` is what the daemon is called in its log, `daemon` who it is, if proven.
pub fn injections(filter: &Filter, program: &str, daemon: Option<Daemon>) -> Vec<Injection> {
    let converted = filter.converted();
    let prefixes: Vec<Template> = match converted.prefix {
        None => vec![Template(vec![Piece::Content])],
        Some(prefix) => (0..VARIANTS).filter_map(|v| Template::of(prefix, v)).collect(),
    };
    let mut all = Vec::new();
    for (index, expression) in converted.fail.iter().enumerate() {
        let target = Target { filter, program, daemon, number: index + 1 };
        let mut worst: Option<Injection> = None;
        for variant in 0..VARIANTS {
            let Some(content) = Template::of(expression, variant) else { continue };
            for prefix in &prefixes {
                let found = target.attack(prefix, &content);
                let worse = |found: &Injection, known: &Injection| {
                    (!found.guarded && known.guarded)
                        || (found.guarded == known.guarded
                            && found.way == Way::Wildcard
                            && known.way == Way::Unanchored)
                };
                if let Some(found) = found
                    && worst.as_ref().is_none_or(|known| worse(&found, known))
                {
                    worst = Some(found);
                }
            }
            if worst.as_ref().is_some_and(|w| !w.guarded && w.way == Way::Wildcard) {
                break;
            }
        }
        all.extend(worst);
    }
    all
}

/// One expression under attack.
struct Target<'f> {
    filter: &'f Filter,
    program: &'f str,
    daemon: Option<Daemon>,
    number: usize,
}

impl Target<'_> {
    /// The worst line for one template, if there is any.
    fn attack(&self, prefix: &Template, content: &Template) -> Option<Injection> {
        let whole = prefix.with_content(content);
        let (head, honest) = self.honest(&whole)?;
        let (message_start, _) = line::origin(&honest);
        let wildcards = self.through_wildcards(&head, &whole, message_start);
        match wildcards {
            Some(found) if !found.guarded => Some(found),
            guarded => {
                let other = self.unanchored(prefix, content);
                match other {
                    Some(other) if guarded.is_none() || !other.guarded => Some(other),
                    _ => guarded,
                }
            }
        }
    }

    /// What stands before the template in an honest line, and that line.
    fn honest(&self, whole: &Template) -> Option<(String, String)> {
        whole.host()?;
        let body = whole.render(SENDER);
        let tag = format!("pve {}[1234]: ", self.program);
        let heads = if line::origin(&body).0 > 0 { ["pve ", ""] } else { [tag.as_str(), ""] };
        heads.into_iter().find_map(|head| {
            let line = format!("{head}{body}");
            let finding = self.find(&line, None);
            let right = finding.expression == Some(self.number) && names(&finding, SENDER);
            right.then(|| (head.to_owned(), line))
        })
    }

    /// Fills each wildcard of the daemon's message with parts of the template itself.
    fn through_wildcards(
        &self,
        head: &str,
        whole: &Template,
        message_start: usize,
    ) -> Option<Injection> {
        let pieces = &whole.0;
        let host = whole.host()?;
        let ends = [host + 1, (host + 2).min(pieces.len()), pieces.len()];
        let mut guarded = None;
        let mut attempts = 0;
        for (place, piece) in pieces.iter().enumerate() {
            // A word after the address is the daemon's; before it may be a name.
            let open = match piece {
                Piece::Wild(_) => true,
                Piece::Word(_) => place < host,
                Piece::Literal(_) | Piece::Host | Piece::Content => false,
            };
            if !open {
                continue;
            }
            let part = |range: &[Piece], address: &str| -> String {
                range.iter().map(|piece| piece.text(address)).collect()
            };
            let before = format!("{head}{}", part(&pieces[..place], SENDER));
            if before.len() < message_start {
                continue;
            }
            let after = part(&pieces[place + 1..], SENDER);
            // The shortest text first: it is the easiest to see through.
            for start in (0..=host).rev() {
                for end in ends {
                    for lead in ["x", "x "] {
                        let sent = format!("{lead}{}", part(&pieces[start..end], PLANTED));
                        attempts += 1;
                        if attempts > MOST_ATTEMPTS {
                            return guarded;
                        }
                        let line = format!("{before}{sent}{after}");
                        match self.judge(Way::Wildcard, line, sent) {
                            Some(found) if !found.guarded => return Some(found),
                            found => guarded = guarded.or(found),
                        }
                    }
                }
            }
        }
        guarded
    }

    /// Puts the whole of what the expression looks for into another message.
    fn unanchored(&self, prefix: &Template, content: &Template) -> Option<Injection> {
        let sent = content.render(PLANTED);
        let quoted = format!("client {SENDER} said \"{sent}\" and went away");
        let last = format!("client {SENDER} said: {sent}");
        [quoted, last].into_iter().find_map(|message| {
            let other = Template(vec![Piece::Literal(message)]);
            let body = prefix.with_content(&other).render(SENDER);
            let tag = format!("pve {}[1234]: ", self.program);
            let tagged = prefix.0.len() > 1 && line::origin(&body).0 > 0;
            let heads = if tagged { ["pve ", ""] } else { [tag.as_str(), ""] };
            heads
                .into_iter()
                .find_map(|head| self.judge(Way::Unanchored, format!("{head}{body}"), sent.clone()))
        })
    }

    /// Whether the filter finds the planted address, and whether guard would too.
    fn judge(&self, way: Way, line: String, sent: String) -> Option<Injection> {
        if !names(&self.find(&line, None), PLANTED) {
            return None;
        }
        let daemon = self.daemon.or(line::origin(&line).1);
        let guarded = daemon.is_some() && !names(&self.find(&line, daemon), PLANTED);
        let (sender, planted, expression) = (SENDER, PLANTED, self.number);
        Some(Injection { expression, way, line, sent, sender, planted, guarded })
    }

    fn find(&self, text: &str, daemon: Option<Daemon>) -> Finding {
        let mut entry = line::entry(text, Dating::Known, Timestamp::default());
        entry.daemon = daemon;
        self.filter.find(&entry, &mut Memory::new(1))
    }
}

fn names(finding: &Finding, address: &str) -> bool {
    finding.failure.as_ref().is_some_and(|found| found.who.to_string() == address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::filter::{FilterText, Limits};

    fn found(failregex: &[&str], program: &str, daemon: Option<Daemon>) -> Vec<Injection> {
        let text = FilterText {
            failregex: failregex.iter().map(|text| (*text).to_owned()).collect(),
            ..FilterText::default()
        };
        let filter = Filter::compile(&text, Limits::default()).expect("a filter");
        injections(&filter, program, daemon)
    }

    #[test]
    fn the_guides_proxmox_filter_is_injectable_through_the_user_name() {
        let guide = [r"pvedaemon\[.*authentication failure; rhost=<HOST> user=.* msg=.*"];
        let found = found(&guide, "pvedaemon", Some(Daemon::Pvedaemon));
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].way, found[0].guarded), (Way::Wildcard, true), "{found:?}");
        assert!(
            found[0].line.starts_with(
                "pve pvedaemon[1234]: authentication failure; rhost=198.51.100.1 user=x"
            ),
            "{}",
            found[0].line
        );
        assert!(found[0].sent.contains("rhost=203.0.113.9"));
    }

    #[test]
    fn a_daemon_that_guard_does_not_know_is_not_protected() {
        let found = found(&[r"^\S+ myd\[\d+\]: login of \S+ from <HOST>"], "myd", None);
        assert_eq!((found[0].way, found[0].guarded), (Way::Wildcard, false));
        assert_eq!(found[0].line, "pve myd[1]: login of x from 203.0.113.9 from 198.51.100.1");
    }

    #[test]
    fn what_is_tied_to_both_ends_is_not_injectable() {
        for safe in [
            r"^\S+ myd\[\d+\]: login of .* from <HOST>$",
            r"^\S+ myd\[\d+\]: <HOST> failed to log in as .*$",
            r"^\S+ myd\[\d+\]: login from <HOST> port \d+$",
        ] {
            assert_eq!(found(&[safe], "myd", None), [], "{safe}");
        }
    }

    #[test]
    fn an_expression_without_anchor_matches_in_other_messages() {
        for (expression, line) in [
            (
                r"login failed for <HOST>",
                "pve myd[1234]: client 198.51.100.1 said \"login failed for 203.0.113.9\" and went away",
            ),
            (
                r"login of \w+ failed for <HOST>$",
                "pve myd[1234]: client 198.51.100.1 said: login of a failed for 203.0.113.9",
            ),
        ] {
            let found = found(&[expression], "myd", None);
            assert_eq!((found[0].way, found[0].guarded), (Way::Unanchored, false), "{found:?}");
            assert_eq!(found[0].line, line);
        }
    }
}

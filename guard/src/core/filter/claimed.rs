//! Which spans of a line the client controls, for daemons whose messages guard knows.
//!
//! Input: an entry whose daemon is proven. Output: the spans of the line that the
//! client, or whoever runs its reverse DNS, could have written. Invariant: outside of
//! them an address is the daemon's own word. When in doubt a span is claimed:
//!
//! - Another program that logs from the daemon's unit (`sudo` in an SSH session without
//!   its own scope): all of its message.
//! - A message that fits two readings (client text on both sides of the address): all
//!   of it.
//! - The place of the address, when what stands there is no address (with `UseDNS` it
//!   can be a name that the client's owner chose): that place.
//! - A message of sshd that no form describes: OpenSSH adds messages, and filters for
//!   them should work, so one single address in it is believed. With two there is no
//!   telling which one is true, and all of it is claimed.
//! - A message of pvedaemon that no form describes: all of it. Where pvedaemon logs
//!   the client's address it says `rhost=`, and those forms are known.

use std::net::IpAddr;
use std::sync::{LazyLock, OnceLock};

use regex::Regex;

use smallvec::SmallVec;

use super::Subject;
use super::expression::Span;
use crate::core::addr::{Prefix, ipv4};
use crate::core::entry::Daemon;

mod bytes;
mod fit;
mod forms;
mod literal;
mod pvedaemon;
mod sshd;
mod steps;

use forms::Forms;

/// As many fields of a client's as nearly all messages have; more take memory.
const FIELDS: usize = 4;

/// What the client controls in one line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Claims {
    /// Spans of the line, in order, never empty.
    pub spans: SmallVec<[Span; FIELDS]>,
    /// Whether the message reports a failure, so that somebody should be found in it.
    pub reports_failure: bool,
    /// Whether the client wrote more than plain names.
    pub elaborate: bool,
    /// The address in the daemon's own words, and where in the line it stands.
    pub host: Option<(Span, IpAddr)>,
}

/// A form of message: how it begins, how it goes on, and what is whose in it.
#[derive(Debug)]
struct Form {
    /// The daemon's own first words.
    head: &'static str,
    /// An expression for all that follows. `<c>` is the client's, as is a group named `c…`; one named `q…`
    /// quotes what it wrote, `<host>` is the place of the address, `<name>`,
    /// `<user>` and `<peer>` are how OpenSSH names a user and a connection.
    tail: &'static str,
    reading: Reading,
    reports_failure: bool,
    compiled: OnceLock<(Regex, Option<Regex>)>,
}

/// How the place of the address is told from the client's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// The daemon's own words on one side of it leave only one reading.
    Certain,
    /// The client's text is on both sides: certain only if the first place that fits
    /// is also the last.
    Either,
}

/// A form with one certain reading.
const fn form(head: &'static str, tail: &'static str) -> Form {
    Form {
        head,
        tail,
        reading: Reading::Certain,
        reports_failure: false,
        compiled: OnceLock::new(),
    }
}

/// The same for a message that reports a failure.
const fn failure(head: &'static str, tail: &'static str) -> Form {
    let mut form = form(head, tail);
    form.reports_failure = true;
    form
}

/// A form with the client's text on both sides of the address.
const fn either(mut form: Form) -> Form {
    form.reading = Reading::Either;
    form
}

/// PAM modules log in the name of the daemon that calls them.
static PAM: [Form; 4] = [
    failure(
        "pam_",
        concat!(
            r"[a-z0-9_]+\([^ )]*\): +authentication failure;(?: +(?:logname|e?uid|tty)=[^ ]*)*",
            r" +ruser=(?P<client>[^ ]*) +rhost=<host>(?: +user=<c>)?",
        ),
    ),
    failure("pam_", r"[a-z0-9_]+\([^ )]*\): access denied for user [`']<c>' from [`']<host>'"),
    form("pam_", "<c>"),
    failure(
        "PAM ",
        concat!(
            r"[0-9]+ more authentication failures?;(?: +(?:logname|e?uid|tty)=[^ ]*)*",
            r" +ruser=(?P<client>[^ ]*) +rhost=<host>(?: +user=<c>)?",
        ),
    ),
];

/// What the client controls in the subject; nothing when its daemon is not known.
pub(super) fn claims(subject: &Subject<'_>) -> Claims {
    let Some(daemon) = subject.daemon else { return Claims::default() };
    let start = subject.message_start.min(subject.line.len());
    let (Some(before), Some(message)) = (subject.line.get(..start), subject.line.get(start..))
    else {
        return Claims::all(0, subject.line.len());
    };
    let program = program(before);
    if !daemon.programs().iter().any(|name| program == Some(name)) {
        return Claims::all(start, subject.line.len());
    }
    let (skipped, message) = match daemon {
        Daemon::Sshd => sshd::without_level(message),
        Daemon::Pvedaemon => (0, message),
    };
    let start = start + skipped;
    if let Some(claims) = Forms::of(daemon).read(message, start) {
        return claims;
    }
    if daemon == Daemon::Sshd && holds_one_address(message) {
        return Claims::default();
    }
    Claims::all(start, subject.line.len())
}

/// Whether a message begins like a message that reports a failure. Costs next to
/// nothing.
pub(super) fn may_report_failure(subject: &Subject<'_>) -> bool {
    let message = subject.line.get(subject.message_start..).unwrap_or_default();
    let (forms, message): (&LazyLock<FailureHeads>, &str) = match subject.daemon {
        Some(Daemon::Sshd) => (&SSHD_FAILURES, sshd::without_level(message).1),
        Some(Daemon::Pvedaemon) => (&PVEDAEMON_FAILURES, message),
        None => return false,
    };
    forms.begin(message)
        || (PAM_FAILURES.begin(message) && message.contains("authentication failure"))
}

/// How messages begin that report a failure.
struct FailureHeads {
    heads: Vec<&'static str>,
    /// A bit for each byte that one begins with.
    first: [u64; 4],
}

static SSHD_FAILURES: LazyLock<FailureHeads> = LazyLock::new(|| FailureHeads::of(&sshd::FORMS));
static PVEDAEMON_FAILURES: LazyLock<FailureHeads> =
    LazyLock::new(|| FailureHeads::of(&pvedaemon::FORMS));
static PAM_FAILURES: LazyLock<FailureHeads> = LazyLock::new(|| FailureHeads::of(&PAM));

impl FailureHeads {
    fn of(forms: &[Form]) -> Self {
        let failures = forms.iter().filter(|form| form.reports_failure);
        let heads: Vec<&'static str> = failures.map(|form| form.head).collect();
        let mut first = [0; 4];
        for byte in heads.iter().filter_map(|head| head.bytes().next()) {
            first[usize::from(byte / 64)] |= 1 << (byte % 64);
        }
        Self { heads, first }
    }

    fn begin(&self, message: &str) -> bool {
        let Some(&byte) = message.as_bytes().first() else { return false };
        self.first[usize::from(byte / 64)] >> (byte % 64) & 1 == 1
            && self.heads.iter().any(|head| message.starts_with(head))
    }
}

impl Claims {
    fn all(start: usize, end: usize) -> Self {
        let spans = (start < end).then_some(start..end).into_iter().collect();
        Self { spans, elaborate: true, ..Self::default() }
    }

    /// The part of `span` that the client controls.
    pub(super) fn overlap(&self, span: &Span) -> Option<Span> {
        self.spans
            .iter()
            .map(|claimed| claimed.start.max(span.start)..claimed.end.min(span.end))
            .find(|overlap| !overlap.is_empty())
    }

    /// Whether all of `span` is the client's.
    pub(super) fn contains(&self, span: &Span) -> bool {
        self.spans.iter().any(|claimed| claimed.start <= span.start && span.end <= claimed.end)
    }
}

impl Form {
    /// What the client controls in a message of this form, by the names and spans of
    /// its groups, that was `offset` bytes into the line. `first_host` is where the
    /// first place that fits has the address; it is asked for if there are two readings.
    fn claims<'n>(
        &self,
        message: &str,
        offset: usize,
        groups: impl Iterator<Item = (&'n str, Span)>,
        first_host: impl FnOnce() -> Option<Span>,
    ) -> Claims {
        let mut claims = Claims { reports_failure: self.reports_failure, ..Claims::default() };
        let mut host = None;
        for (name, span) in groups {
            let found = &message[span.clone()];
            let kind = name.as_bytes()[0];
            let is_host = kind == b'h';
            host = if is_host { Some(span.clone()) } else { host };
            claims.elaborate |= kind == b'c' && !found.bytes().all(is_plain);
            let in_line = span.start + offset..span.end + offset;
            match Some(found).filter(|_| is_host).and_then(address) {
                // Text in brackets is an address, but not its text alone.
                Some(address) if !found.starts_with('[') => {
                    claims.host = Some((in_line, address));
                }
                Some(_) => {}
                None if span.is_empty() => {}
                None => claims.spans.push(in_line),
            }
        }
        if !claims.spans.is_sorted_by_key(|span| span.start) {
            claims.spans.sort_unstable_by_key(|span| span.start);
        }
        if self.reading == Reading::Either && first_host() != host {
            let all = Claims::all(offset, offset + message.len());
            return Claims { reports_failure: self.reports_failure, ..all };
        }
        claims
    }

    /// An expression for a whole message, which takes the last place that fits.
    fn whole(&self) -> String {
        format!("(?s)^{}{}", regex::escape(self.head), self.rest())
    }

    /// An expression for what follows the head.
    fn rest(&self) -> String {
        let mut tail = self
            .tail
            .replace("<name>", "(?:(?:invalid|illegal) user )?<c>")
            .replace("<user>", "(?:(?:authenticating|invalid) )?user <c> <host> port [0-9]+")
            .replace("<peer>", "<host>(?: port [0-9]+)?")
            .replacen("<host>", "(?P<host>[^ ]+)", 1);
        for number in 1.. {
            if !tail.contains("<c>") {
                break;
            }
            tail = tail.replacen("<c>", &format!("(?P<c{number}>.*)"), 1);
        }
        format!(r"(?:{tail})(?: \[(?:pre|post)auth\])?$")
    }

    /// The expression that takes the last place that fits, and for [`Reading::Either`]
    /// also the one that takes the first.
    fn compile(&self) -> (Regex, Option<Regex>) {
        let rest = self.rest();
        let compile = |flags: &str| {
            Regex::new(&format!("(?{flags})^{rest}"))
                .unwrap_or_else(|error| panic!("form `{}`: {error}", self.head))
        };
        (compile("s"), (self.reading == Reading::Either).then(|| compile("sU")))
    }
}

/// The program that logged, from what the source put before the message:
/// `HOST PROGRAM[PID]: ` or `HOST PROGRAM: `, the host perhaps missing.
fn program(before: &str) -> Option<&str> {
    // Most end in one space, and there is nothing else to trim.
    let is_trimmed = |text: &&str| {
        let ends = [text.as_bytes().first(), text.as_bytes().last()];
        ends.into_iter().flatten().all(u8::is_ascii_graphic)
    };
    let trimmed = before.strip_suffix(' ').filter(is_trimmed).unwrap_or_else(|| before.trim());
    let tag = trimmed.strip_suffix(':')?;
    let name = match tag.strip_suffix(']') {
        Some(tag) => &tag[..literal::last(tag.as_bytes(), b'[')?],
        None => tag,
    };
    let space = literal::find(name.as_bytes(), b' ');
    let Some(name) = name.get(space + 1..) else { return Some(name) };
    (literal::find(name.as_bytes(), b' ') == name.len()).then_some(name)
}

/// Whether a byte belongs to names that do no harm.
fn is_plain(byte: u8) -> bool {
    const PLAIN: [bool; 256] = {
        let mut plain = [false; 256];
        let mut byte = 0_u8;
        while byte.is_ascii() {
            plain[byte as usize] =
                byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'@');
            byte += 1;
        }
        plain
    };
    PLAIN[usize::from(byte)]
}

/// The address that a text is, perhaps in brackets.
fn address(text: &str) -> Option<IpAddr> {
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    ipv4(inner).map(IpAddr::V4).or_else(|| inner.parse().ok())
}

/// Whether a message holds the text of exactly one address, however often.
fn holds_one_address(message: &str) -> bool {
    static ADDRESS: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(concat!(
            r"(?:::[fF]{4}:)?[0-9]{1,3}(?:\.[0-9]{1,3}){3}",
            r"|(?:::|[0-9A-Fa-f]{1,4}:{1,2}){2,7}(?::|[0-9A-Fa-f]{1,4})?",
        ))
        .unwrap_or_else(|error| panic!("address expression: {error}"))
    });
    let mut found = ADDRESS.find_iter(message).filter_map(|m| {
        let text = m.as_str();
        let trimmed = text.strip_suffix(':').filter(|text| !text.ends_with(':')).unwrap_or(text);
        trimmed.parse::<Prefix>().ok()
    });
    found.next().is_none_or(|first| found.all(|other| other == first))
}

#[cfg(test)]
mod tests;

//! One entry as the line that Fail2Ban would make of it, because its filters match that.

use std::fmt::Write as _;

use super::fields::{Field, Fields};
use crate::core::time::Timestamp;

/// As whom the kernel logs.
const KERNEL: &[u8] = b"kernel";

/// The line, and where the daemon's own message begins in it.
///
/// `HOST IDENTIFIER[PID]: MESSAGE`: what the entry does not have is left out with what
/// belongs to it; `monotonic_micros` is shown for entries of the kernel, which have
/// no process id. No newline is left in it.
///
/// Of the host's name anything but letters, digits, `.`, `-` and `_` becomes `_`, and a
/// process id that is no number is left out: so the head of a line ends where it seems to,
/// and [`Glance`](crate::core::filter::Glance) can do without it.
pub(super) fn line(fields: &Fields, monotonic_micros: impl FnOnce() -> i64) -> (String, usize) {
    let message = fields.value(Field::Message);
    let host = fields.value(Field::Hostname);
    let identifier = first_of(fields, Field::Identifier, Field::Comm);
    let pids = [Field::SyslogPid, Field::Pid].map(|field| fields.value(field));
    let pid = pids.into_iter().find(|pid| is_number(pid)).unwrap_or_default();
    let prefix = host.len() + identifier.len() + pid.len() + 5;
    let mut line = String::with_capacity(prefix + message.len());
    if !host.is_empty() {
        push_host(&mut line, host);
        line.push(' ');
    }
    if !identifier.is_empty() {
        push(&mut line, identifier);
        if !pid.is_empty() {
            line.push('[');
            push(&mut line, pid);
            line.push(']');
        }
        line.push_str(": ");
        if identifier == KERNEL && pid.is_empty() {
            let micros = fields.number(Field::SourceMonotonic).unwrap_or_else(monotonic_micros);
            let (seconds, rest) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
            // Writing to a string cannot fail.
            let _ = write!(line, "[{seconds:5}.{rest:06}] ");
        }
    }
    let message_start = line.len();
    push(&mut line, message);
    (line, message_start)
}

/// Makes of an entry what can be said of its line by identifier and message alone:
/// ` IDENTIFIER: MESSAGE`, as they stand in the line. `false` where the rest matters.
pub(super) fn glance(text: &mut String, fields: &Fields) -> bool {
    let sufficient = begin_glance(text, fields.value(Field::Identifier));
    push(text, fields.value(Field::Message));
    sufficient
}

/// Begins that with the identifier. `false` without one, because then the program's name
/// stands there, and for the kernel, whose messages have a clock of their own before them.
pub(super) fn begin_glance(text: &mut String, identifier: &[u8]) -> bool {
    text.clear();
    text.push(' ');
    push(text, identifier);
    text.push_str(": ");
    !identifier.is_empty() && identifier != KERNEL
}

/// When the daemon logged it; else when journald received it.
pub(super) fn time(fields: &Fields, received: Timestamp) -> Timestamp {
    fields.number(Field::SourceRealtime).map_or(received, Timestamp::from_micros)
}

fn first_of(fields: &Fields, field: Field, otherwise: Field) -> &[u8] {
    match fields.value(field) {
        [] => fields.value(otherwise),
        value => value,
    }
}

fn is_number(pid: &[u8]) -> bool {
    !pid.is_empty() && pid.iter().all(u8::is_ascii_digit)
}

/// Appends the name of a host.
fn push_host(line: &mut String, name: &[u8]) {
    let clean = |c: char| match c {
        '.' | '-' | '_' => c,
        c if c.is_ascii_alphanumeric() || !c.is_ascii() => c,
        _ => '_',
    };
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b".-_".contains(byte);
    if name.iter().all(plain) {
        return push(line, name);
    }
    for chunk in name.utf8_chunks() {
        line.extend(chunk.valid().chars().map(clean));
        if !chunk.invalid().is_empty() {
            line.push(char::REPLACEMENT_CHARACTER);
        }
    }
}

/// Appends bytes as text: what is not UTF-8 is replaced, newlines are written out.
pub(super) fn push(line: &mut String, bytes: &[u8]) {
    // As almost all are.
    if memchr::memchr(b'\n', bytes).is_none()
        && let Ok(text) = std::str::from_utf8(bytes)
    {
        return line.push_str(text);
    }
    for chunk in bytes.utf8_chunks() {
        let mut parts = chunk.valid().split('\n');
        line.push_str(parts.next().unwrap_or_default());
        for part in parts {
            line.push_str("\\n");
            line.push_str(part);
        }
        if !chunk.invalid().is_empty() {
            line.push(char::REPLACEMENT_CHARACTER);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(fields: &[(&str, &[u8])]) -> (String, String) {
        let mut taken = Fields::default();
        for (name, value) in fields {
            taken.take(name.as_bytes(), value);
        }
        let (line, start) = line(&taken, || 12_345_678);
        let message = line[start..].to_owned();
        (line, message)
    }

    #[test]
    fn each_part_has_its_second_choice() {
        for (fields, expected) in [
            (
                &[
                    ("_HOSTNAME", &b"pve"[..]),
                    ("SYSLOG_IDENTIFIER", b"sshd"),
                    ("_COMM", b"sshd-session"),
                    ("SYSLOG_PID", b"7"),
                    ("_PID", b"8"),
                    ("MESSAGE", b"hi there"),
                ][..],
                "pve sshd[7]: hi there",
            ),
            (&[("_COMM", b"sh"), ("_PID", b"8"), ("MESSAGE", b"hi")], "sh[8]: hi"),
            (&[("SYSLOG_IDENTIFIER", b"sh"), ("MESSAGE", b"hi")], "sh: hi"),
            (&[("_HOSTNAME", b"pve"), ("_PID", b"8"), ("MESSAGE", b"hi")], "pve hi"),
            (&[("_HOSTNAME", b"pve"), ("SYSLOG_IDENTIFIER", b"sh")], "pve sh: "),
            (&[], ""),
            (
                &[
                    ("_HOSTNAME", b"p v\ne:"),
                    ("SYSLOG_IDENTIFIER", b"sh"),
                    ("SYSLOG_PID", b"1]: x"),
                    ("_PID", b"8"),
                    ("MESSAGE", b"hi"),
                ],
                "p_v_e_ sh[8]: hi",
            ),
            (&[("_COMM", b"sh"), ("_PID", b"x"), ("MESSAGE", b"hi")], "sh: hi"),
            (
                &[("_HOSTNAME", b"pve"), ("SYSLOG_IDENTIFIER", b"kernel"), ("MESSAGE", b"up")],
                "pve kernel: [   12.345678] up",
            ),
        ] {
            assert_eq!(of(fields).0, expected);
        }
    }

    #[test]
    fn odd_bytes_stay_on_one_line() {
        let message = b"a\nb\xff\xfec\0\n";
        let (line, seen) = of(&[("SYSLOG_IDENTIFIER", b"x\ny"), ("MESSAGE", message)]);
        assert_eq!(seen, "a\\nb\u{fffd}\u{fffd}c\0\\n");
        assert_eq!(line, format!("x\\ny: {seen}"));
    }

    #[test]
    fn the_message_of_an_empty_line_is_empty() {
        assert_eq!(of(&[("MESSAGE", b"")]).1, "");
        assert_eq!(of(&[("MESSAGE", b"x"), ("MESSAGE", b"y")]).1, "x");
    }
}

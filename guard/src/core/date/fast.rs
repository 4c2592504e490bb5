//! The most frequent forms of dates, read by hand.
//!
//! Input: a line and the place where a date may begin. Output: the date, but only where
//! the template's expression would surely find the same one; nothing leaves it to the
//! expression. Invariant: both agree, which a property test checks.

use super::fields::{Fields, ZoneSaid, month};
use crate::core::time::Timestamp;

/// A form that can be read by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `Nov 22 17:40:01`
    Syslog,
    /// `2026-11-22T17:40:01.123456+01:00` and its kin.
    Iso,
    /// `1795369201.123`
    Epoch,
}

/// Reads a date. Where a line's begin is looked at, up to two characters that belong to
/// no word may stand before it. Gives where the date begins and ends, and what it says.
pub(super) fn read(
    form: Form,
    line: &[u8],
    from: usize,
    at_begin: bool,
) -> Option<(usize, usize, Fields)> {
    let mut at = from;
    if at_begin {
        while at < 2 && line.get(at).is_some_and(|byte| byte.is_ascii() && !is_word(*byte)) {
            at += 1;
        }
    } else if form == Form::Epoch {
        if from > 0 {
            return None;
        }
        at += usize::from(line.first() == Some(&b'['));
    } else if from > 0 && may_be_word(line[from - 1]) {
        return None;
    }
    let (end, fields) = match form {
        Form::Syslog => syslog(line, at)?,
        Form::Iso => iso(line, at)?,
        Form::Epoch => epoch(line, at)?,
    };
    Some((at, end, fields))
}

fn syslog(line: &[u8], at: usize) -> Option<(usize, Fields)> {
    let text: &[u8; 15] = line.get(at..at + 15)?.try_into().ok()?;
    if text[3] != b' ' || text[6] != b' ' {
        return None;
    }
    let (hour, minute, second) = time(text[7..].try_into().ok()?)?;
    let day = match text[4] {
        b' ' => digit(text[5])?,
        _ => two(text[4], text[5])?,
    };
    let end = at + 15;
    match line.get(end) {
        // A year may follow.
        Some(b' ') => {
            let year = line.get(end + 1..).unwrap_or_default();
            if year.starts_with(b"20") {
                return None;
            }
        }
        Some(b':' | b',' | b';' | b']' | b')' | b'\t') | None => {}
        Some(_) => return None,
    }
    let month = Some(month(&text[..3])?);
    let fields = Fields { month, day: Some(day), hour, minute, second, ..Fields::default() };
    (1..=31).contains(&day).then_some((end, fields))
}

fn iso(line: &[u8], at: usize) -> Option<(usize, Fields)> {
    let text: &[u8; 19] = line.get(at..at + 19)?.try_into().ok()?;
    let separator = text[4];
    if text[0] != b'2'
        || text[1] != b'0'
        || !matches!(separator, b'-' | b'/' | b'.')
        || text[7] != separator
        || !matches!(text[10], b'T' | b' ')
    {
        return None;
    }
    let (hour, minute, second) = time(text[11..].try_into().ok()?)?;
    let (month, day) = (two(text[5], text[6])?, two(text[8], text[9])?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let mut end = at + 19;
    if let Some(b'.' | b',') = line.get(end) {
        let digits = line[end + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if !(1..=6).contains(&digits) {
            return None;
        }
        end += 1 + digits;
    }
    let year = 2000 + i16::from(two(text[2], text[3])?);
    let mut fields = Fields {
        year: Some(year),
        month: Some(month),
        day: Some(day),
        hour,
        minute,
        second,
        ..Fields::default()
    };
    let rest = &line[end..];
    match rest {
        [] => {}
        [b'Z', after @ ..] => {
            if after.first().is_some_and(|byte| may_be_word(*byte)) {
                return None;
            }
            fields.zone = ZoneSaid::Ahead(0);
            end += 1;
        }
        [b'+' | b'-', ..] => {
            let (length, minutes) = offset(rest)?;
            fields.zone = ZoneSaid::Ahead(minutes);
            end += length;
        }
        [b' ', b' ' | b'\t' | b'+' | b'-' | b'Z' | b'U' | b'G' | 0x80.., ..] => return None,
        [b' ' | b':' | b',' | b';' | b']' | b')' | b'"' | b'|', ..] => {}
        _ => return None,
    }
    Some((end, fields))
}

/// `+01`, `+0100` or `+01:00`: its length and minutes.
fn offset(text: &[u8]) -> Option<(usize, i32)> {
    let sign = if text[0] == b'-' { -1 } else { 1 };
    let digits = text.get(1..6).unwrap_or(&text[1..]);
    let (hours, minutes, length) = match digits {
        [a, b, b':', c, d] => (two(*a, *b)?, two(*c, *d)?, 6),
        [a, b, c, d, ..] if c.is_ascii_digit() => (two(*a, *b)?, two(*c, *d)?, 5),
        _ => return None,
    };
    let word_follows = text.get(length).is_some_and(|byte| may_be_word(*byte));
    (hours < 20 && !word_follows)
        .then(|| (length, sign * (i32::from(hours) * 60 + i32::from(minutes))))
}

fn epoch(line: &[u8], at: usize) -> Option<(usize, Fields)> {
    let rest = line.get(at..)?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !(10..=11).contains(&digits) {
        return None;
    }
    let mut micros = number(&rest[..digits]) * 1_000_000;
    let mut end = digits;
    if rest.get(end) == Some(&b'.') {
        let fraction = rest[end + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if !(3..=6).contains(&fraction) {
            return None;
        }
        let unit = [1_000, 100, 10, 1][fraction - 3];
        micros += number(&rest[end + 1..end + 1 + fraction]) * unit;
        end += 1 + fraction;
    }
    if rest.get(end).is_some_and(|byte| may_be_word(*byte)) {
        return None;
    }
    let instant = Some(Timestamp::from_micros(micros));
    Some((at + end, Fields { instant, ..Fields::default() }))
}

/// `HH:MM:SS`, each within its bounds.
fn time(text: &[u8; 8]) -> Option<(i8, i8, i8)> {
    if text[2] != b':' || text[5] != b':' {
        return None;
    }
    let (hour, minute) = (two(text[0], text[1])?, two(text[3], text[4])?);
    let second = two(text[6], text[7])?;
    (hour < 24 && minute < 60 && second < 60).then_some((hour, minute, second))
}

fn number(digits: &[u8]) -> i64 {
    digits.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'))
}

fn two(tens: u8, ones: u8) -> Option<i8> {
    Some(digit(tens)? * 10 + digit(ones)?)
}

fn digit(byte: u8) -> Option<i8> {
    let digit = byte.wrapping_sub(b'0');
    (digit < 10).then_some(digit as i8)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Beyond ASCII it takes more than a byte to tell.
fn may_be_word(byte: u8) -> bool {
    is_word(byte) || !byte.is_ascii()
}

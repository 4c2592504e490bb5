//! Lengths of time as Fail2Ban writes them: `600`, `10m`, `1h 30m`, `1d12h`, `1y-6mo`.
//!
//! Input: a value. Output: a length in seconds, or forever when it is negative. A month
//! is a twelfth and a year 365.25 days, as in Fail2Ban, which leaves the arithmetic to
//! Python; here `+ - * /` on numbers with units is the whole of it.

use crate::config::diagnostic::{Checked, Diagnostic};
use crate::config::text::Text;
use crate::core::time::Span;

const DAY: f64 = 86_400.0;
const YEAR: f64 = 365.25 * DAY;

/// The length that `value` means, or `None` for a negative one: forever.
pub(crate) fn length(option: &str, value: &Text) -> Checked<Option<Span>> {
    let seconds = seconds(value.as_str()).map_err(|message| {
        Box::new(
            Diagnostic::error(format!("{option} = `{value}` is no length of time: {message}"))
                .at(value)
                .help("write seconds, or numbers with units, such as 600, 10m, 1h 30m, 2d, 1w"),
        )
    })?;
    Ok(span_of(seconds))
}

/// The length of time that a text means.
///
/// # Errors
/// When it means none, or for ever.
pub(crate) fn span(text: &str) -> Result<Span, String> {
    span_of(seconds(text)?).ok_or_else(|| "it is less than nothing".to_owned())
}

fn span_of(seconds: f64) -> Option<Span> {
    if seconds < 0.0 {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "what is longer than an i64 saturates")]
    let micros = (seconds * 1e6).round() as i64;
    Some(Span::from_micros(micros))
}

/// Seconds; never infinite or undefined.
fn seconds(text: &str) -> Result<f64, String> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err("it is empty".to_owned());
    }
    let mut sum = 0.0;
    let mut sign = 1.0;
    loop {
        let mut product = factor(&mut rest)?;
        loop {
            rest = rest.trim_start();
            if let Some(after) = rest.strip_prefix('*') {
                rest = after;
                product *= factor(&mut rest)?;
            } else if let Some(after) = rest.strip_prefix('/') {
                rest = after;
                product /= factor(&mut rest)?;
            } else {
                break;
            }
        }
        sum += sign * product;
        sign = match rest.as_bytes().first() {
            None => break,
            Some(b'-') => -1.0,
            _ => 1.0,
        };
        // Without an operator between two numbers, they are added.
        rest = rest.strip_prefix(['-', '+']).unwrap_or(rest);
    }
    if sum.is_finite() { Ok(sum) } else { Err("it has no finite value".to_owned()) }
}

/// A number with its unit and sign, taken from the front of `rest`.
fn factor(rest: &mut &str) -> Result<f64, String> {
    let mut text = rest.trim_start();
    let mut sign = 1.0;
    while let Some(after) = text.strip_prefix(['-', '+']) {
        if text.starts_with('-') {
            sign = -sign;
        }
        text = after.trim_start();
    }
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (digits, after) = text.split_at(end);
    if digits.is_empty() {
        let found = text.chars().next().map_or("the end".to_owned(), |c| format!("`{c}`"));
        return Err(format!("a number is expected, not {found}"));
    }
    let number: f64 = digits.parse().map_err(|_| format!("`{digits}` is no number"))?;
    let after = after.trim_start();
    let end = after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len());
    let (unit, after) = after.split_at(end);
    *rest = after;
    Ok(sign * number * unit_seconds(unit)?)
}

fn unit_seconds(unit: &str) -> Result<f64, String> {
    Ok(match unit.to_lowercase().as_str() {
        "" | "s" | "ss" | "se" | "sec" | "second" | "seconds" => 1.0,
        "m" | "mm" | "mi" | "min" | "minute" | "minutes" => 60.0,
        "h" | "hh" | "ho" | "hou" | "hour" | "hours" => 3_600.0,
        "d" | "dd" | "da" | "day" | "days" => DAY,
        "w" | "ww" | "we" | "wee" | "week" | "weeks" => 7.0 * DAY,
        "mo" | "mon" | "month" | "months" => YEAR / 12.0,
        "y" | "yy" | "ye" | "yea" | "year" | "years" => YEAR,
        _ => return Err(format!("`{unit}` is no unit of time")),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Checked<Option<Span>> {
        length("findtime", &Text::generated(text))
    }

    #[test]
    fn lengths() {
        for (text, expected) in [
            ("600", 600),
            (" 10m ", 600),
            ("1h 30m", 5_400),
            ("1hour+30min", 5_400),
            ("1d12h", 129_600),
            ("0d 1h 30m", 5_400),
            ("2d", 172_800),
            ("1w", 604_800),
            ("1mo", 2_629_800),
            ("6 months", 15_778_800),
            ("1y", 31_557_600),
            ("1y-6mo", 15_778_800),
            ("1.5h", 5_400),
            ("1h 30", 3_630),
            ("2 * 1h", 7_200),
            ("1h/2", 1_800),
            ("5 * -1 + 10", 5),
            ("0", 0),
        ] {
            let length = parsed(text).expect(text).expect("finite");
            assert_eq!(length, Span::from_seconds(expected), "{text}");
        }
        for text in ["-1", "-1d", "1h-2h"] {
            assert_eq!(parsed(text).expect(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_no_length_is_named() {
        for (text, told) in [
            ("", "it is empty"),
            ("1x", "`x` is no unit of time"),
            ("ten minutes", "a number is expected, not `t`"),
            ("1.2.3h", "`1.2.3` is no number"),
            ("1h+", "a number is expected, not the end"),
            ("1/0", "it has no finite value"),
            ("(1h)", "a number is expected, not `(`"),
        ] {
            let error = parsed(text).expect_err(text);
            assert_eq!(
                error.message,
                format!("findtime = `{text}` is no length of time: {told}"),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_longer_than_we_can_count_saturates() {
        let longest = Span::from_micros(i64::MAX);
        assert_eq!(parsed("99999999999999999999y").expect("a length"), Some(longest));
    }

    proptest! {
        #[test]
        fn any_text_is_a_length_or_an_error(text: String, near in "[0-9.hdwmosy+*/ -]{0,12}") {
            let _ = (parsed(&text), parsed(&near));
        }

        #[test]
        fn what_guard_prints_reads_back(seconds in 0_i64..4_000_000_000) {
            let span = Span::from_seconds(seconds);
            prop_assert_eq!(parsed(&span.to_string()).expect("a length"), Some(span));
            let together = span.to_string().replace(' ', "");
            prop_assert_eq!(parsed(&together).expect("a length"), Some(span));
        }
    }
}

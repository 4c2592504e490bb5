//! Values as Python prints them, which is what `fail2ban-client` shows.

use std::fmt::Write as _;

use crate::compat::value::Value;

/// As `str()` has it: text as it is, everything else as [`repr`].
pub fn text(value: &Value) -> String {
    match value {
        Value::Text(text) => text.to_string(),
        Value::Fault(fault) => fault.argument.to_string(),
        other => repr(other),
    }
}

/// As `repr()` has it.
pub fn repr(value: &Value) -> String {
    match value {
        Value::Nothing => "None".to_owned(),
        Value::Boolean(true) => "True".to_owned(),
        Value::Boolean(false) => "False".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Fraction(number) => format!("{number:?}"),
        Value::Text(text) => quoted(text),
        Value::List(items) => format!("[{}]", joined(items)),
        Value::Tuple(items) if items.len() == 1 => format!("({},)", joined(items)),
        Value::Tuple(items) => format!("({})", joined(items)),
        Value::Dictionary(pairs) => {
            let pair = |(key, value): &(Value, Value)| format!("{}: {}", repr(key), repr(value));
            format!("{{{}}}", pairs.iter().map(pair).collect::<Vec<_>>().join(", "))
        }
        Value::Fault(fault) => {
            format!("{}({})", fault.class.name().1, quoted(&fault.argument))
        }
    }
}

fn joined(items: &[Value]) -> String {
    items.iter().map(repr).collect::<Vec<_>>().join(", ")
}

fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::from(quote);
    for c in text.chars() {
        // Writing to a string does not fail.
        let _ = match c {
            '\n' => write!(out, "\\n"),
            '\r' => write!(out, "\\r"),
            '\t' => write!(out, "\\t"),
            '\\' => write!(out, "\\\\"),
            c if c == quote => write!(out, "\\{c}"),
            c if c.is_control() && u32::from(c) < 0x100 => write!(out, "\\x{:02x}", u32::from(c)),
            c => write!(out, "{c}"),
        };
    }
    out.push(quote);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_python_prints_it() {
        let jails = Value::Dictionary(vec![(Value::text("sshd"), Value::texts(["192.0.2.1"]))]);
        assert_eq!(repr(&Value::List(vec![jails])), "[{'sshd': ['192.0.2.1']}]");
        assert_eq!(repr(&Value::Tuple(vec![Value::Nothing])), "(None,)");
        assert_eq!(repr(&Value::text("it's")), "\"it's\"");
        assert_eq!(repr(&Value::text("a'b\"c\\\n\x1b")), r#"'a\'b"c\\\n\x1b'"#);
        assert_eq!(text(&Value::text("it's")), "it's");
        assert_eq!(repr(&Value::Fraction(1.0)), "1.0");
    }
}

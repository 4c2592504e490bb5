//! The conditions of the corpus: small Python expressions over the filter's name and its
//! options.
//!
//! Input: text such as `opts.get('mode') == 'aggressive' and name != 'x'`. Output: whether
//! it holds. What is not understood is an error, never false.

use anyhow::{Result, bail};

use super::corpus::Options;

/// A value of such an expression.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    None,
    Truth(bool),
    Text(String),
    List(Vec<Value>),
}

/// Whether a condition holds for a filter with options.
///
/// # Errors
/// When it is not understood.
pub(super) fn holds(condition: &str, name: &str, options: &Options) -> Result<bool> {
    let tokens = tokens(condition)?;
    let mut reader = Reader { tokens: &tokens, name, options };
    let value = reader.either()?;
    match reader.tokens {
        [] => Ok(value.is_true()),
        rest => bail!("condition `{condition}`: `{}` is not expected", rest.join(" ")),
    }
}

impl Value {
    fn is_true(&self) -> bool {
        match self {
            Self::None => false,
            Self::Truth(truth) => *truth,
            Self::Text(text) => !text.is_empty(),
            Self::List(list) => !list.is_empty(),
        }
    }
}

struct Reader<'a> {
    tokens: &'a [String],
    name: &'a str,
    options: &'a Options,
}

impl Reader<'_> {
    fn take(&mut self, expected: &[&str]) -> bool {
        let found = self.tokens.len() >= expected.len()
            && self.tokens.iter().zip(expected).all(|(token, expected)| token == expected);
        if found {
            self.tokens = &self.tokens[expected.len()..];
        }
        found
    }

    fn expect(&mut self, expected: &str) -> Result<()> {
        if self.take(&[expected]) { Ok(()) } else { bail!("condition lacks `{expected}`") }
    }

    fn either(&mut self) -> Result<Value> {
        let mut value = self.both()?;
        while self.take(&["or"]) {
            let other = self.both()?;
            value = if value.is_true() { value } else { other };
        }
        Ok(value)
    }

    fn both(&mut self) -> Result<Value> {
        let mut value = self.negation()?;
        while self.take(&["and"]) {
            let other = self.negation()?;
            value = if value.is_true() { other } else { value };
        }
        Ok(value)
    }

    fn negation(&mut self) -> Result<Value> {
        if self.take(&["not"]) {
            return Ok(Value::Truth(!self.negation()?.is_true()));
        }
        let left = self.value()?;
        let truth = if self.take(&["=="]) || self.take(&["is"]) {
            if self.take(&["not"]) { left != self.value()? } else { left == self.value()? }
        } else if self.take(&["!="]) {
            left != self.value()?
        } else if self.take(&["not", "in"]) {
            !within(&left, &self.value()?)
        } else if self.take(&["in"]) {
            within(&left, &self.value()?)
        } else {
            return Ok(left);
        };
        Ok(Value::Truth(truth))
    }

    fn value(&mut self) -> Result<Value> {
        let Some((token, rest)) = self.tokens.split_first() else {
            bail!("condition ends too early")
        };
        self.tokens = rest;
        Ok(match token.as_str() {
            "None" => Value::None,
            "True" => Value::Truth(true),
            "False" => Value::Truth(false),
            "name" => Value::Text(self.name.to_owned()),
            "opts" => return self.option(),
            "(" | "[" => {
                let end = if token == "(" { ")" } else { "]" };
                let mut values = Vec::new();
                let mut is_list = token == "[";
                while !self.take(&[end]) {
                    values.push(self.either()?);
                    if !self.take(&[","]) {
                        self.expect(end)?;
                        break;
                    }
                    is_list = true;
                }
                match values.pop() {
                    Some(only) if !is_list => only,
                    last => Value::List(values.into_iter().chain(last).collect()),
                }
            }
            text if text.starts_with(['\'', '"']) => Value::Text(text[1..].to_owned()),
            other => bail!("condition: `{other}` is not understood"),
        })
    }

    /// `opts.get('x')`, `opts.get('x', 'y')` or `opts['x']`.
    fn option(&mut self) -> Result<Value> {
        let (end, mut default) = if self.take(&[".", "get", "("]) {
            (")", Value::None)
        } else {
            self.expect("[")?;
            ("]", Value::None)
        };
        let Value::Text(key) = self.value()? else { bail!("condition: an option has a name") };
        if self.take(&[","]) {
            default = self.value()?;
        }
        self.expect(end)?;
        Ok(self.options.get(&key).map_or(default, |value| Value::Text(value.clone())))
    }
}

fn within(value: &Value, all: &Value) -> bool {
    match (value, all) {
        (value, Value::List(all)) => all.contains(value),
        (Value::Text(part), Value::Text(text)) => text.contains(part.as_str()),
        _ => false,
    }
}

/// Words, signs and strings; of a string the opening quote is kept.
fn tokens(text: &str) -> Result<Vec<String>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\'' | '"' => {
                let Some(end) = rest[1..].find(first) else { bail!("`{text}`: open string") };
                tokens.push(rest[..=end].to_owned());
                rest = rest[end + 2..].trim_start();
                continue;
            }
            c if c.is_alphanumeric() || c == '_' => {
                rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
            }
            '=' | '!' if rest[1..].starts_with('=') => 2,
            c => c.len_utf8(),
        };
        tokens.push(rest[..length].to_owned());
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_over_name_and_options() {
        let options = Options::from([("mode".to_owned(), "extra".to_owned())]);
        for (condition, expected) in [
            ("name == 'sshd'", true),
            ("name=='other'", false),
            ("opts.get('mode') == 'extra'", true),
            ("opts.get('mode') != 'extra'", false),
            ("opts.get('logtype') is None", true),
            ("opts.get('logtype', 'file') == 'file'", true),
            ("opts['mode'] in ('extra', 'ddos')", true),
            ("opts.get('mode') not in [\"extra\"]", false),
            ("not (name == 'x' or opts.get('mode'))", false),
            ("name.x", false),
        ] {
            let found = holds(condition, "sshd", &options);
            match condition {
                "name.x" => assert!(found.is_err()),
                _ => assert_eq!(found.expect(condition), expected, "{condition}"),
            }
        }
    }
}

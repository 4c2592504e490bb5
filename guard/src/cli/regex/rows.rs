//! `-o`: one line for each failure, in the form that was asked for.

use std::io::{BufWriter, ErrorKind, Stdout, Write};
use std::ops::ControlFlow;

use crate::cli::Failure;
use crate::core::failure::Attempt;
use crate::core::filter::Examined;
use crate::core::time::Timestamp;

/// Failures on their way to standard output.
pub(super) struct Rows {
    form: Form,
    out: BufWriter<Stdout>,
    broken: Option<std::io::Error>,
}

/// What is printed of a failure.
enum Form {
    Id,
    Message,
    Row,
    Group(String),
    Template(String),
}

impl Rows {
    pub(super) fn new(form: &str) -> Self {
        let form = match form {
            "id" | "fid" | "ip" => Form::Id,
            "msg" => Form::Message,
            "row" => Form::Row,
            form if form.contains('<') => Form::Template(form.to_owned()),
            group => Form::Group(group.to_owned()),
        };
        Self { form, out: BufWriter::new(std::io::stdout()), broken: None }
    }

    /// Prints a failure.
    pub(super) fn tell(
        &mut self,
        attempt: &Attempt,
        examined: &Examined,
        line: &str,
    ) -> ControlFlow<()> {
        let text = match &self.form {
            Form::Id => attempt.who.to_string(),
            Form::Message => line.to_owned(),
            Form::Row => row(attempt, examined),
            Form::Group(name) => value(name, attempt, examined, line).unwrap_or_default(),
            Form::Template(form) => filled(form, attempt, examined, line),
        };
        match writeln!(self.out, "{text}") {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.broken = Some(error);
                ControlFlow::Break(())
            }
        }
    }

    /// Prints what is left. Whoever closes the pipe early has read enough.
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        let result = match self.broken.take() {
            Some(error) => Err(error),
            None => self.out.flush(),
        };
        // What could not be written is not tried again.
        let (_, _) = self.out.into_parts();
        match result {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                Err(Failure::NotDone(format!("writing to standard output: {error}")))
            }
            _ => Ok(()),
        }
    }
}

/// Seconds since the epoch with their fraction, as Python writes a float.
fn seconds(time: Timestamp) -> String {
    let micros = time.micros().rem_euclid(1_000_000);
    let fraction = format!("{micros:06}");
    let fraction = fraction.trim_end_matches('0');
    format!("{}.{}", time.seconds(), if fraction.is_empty() { "0" } else { fraction })
}

/// What a tag or a group's name means for a failure.
fn value(name: &str, attempt: &Attempt, examined: &Examined, line: &str) -> Option<String> {
    let group = |name: &str| examined.groups.get(name).cloned();
    match name {
        "ip" | "fid" | "id" => Some(attempt.who.to_string()),
        "host" | "ip-host" => group("dns").or_else(|| Some(attempt.who.to_string())),
        "time" => Some(seconds(attempt.time)),
        "msg" | "matches" => Some(line.to_owned()),
        "failures" => Some("1".to_owned()),
        "user" => group("user").or_else(|| attempt.user.clone()),
        "users" => Some(examined.users.iter().cloned().collect::<Vec<_>>().join(" ")),
        "family" => {
            let prefix = attempt.who.address()?;
            Some(if prefix.is_ipv4() { "inet4" } else { "inet6" }.to_owned())
        }
        name => group(name),
    }
}

/// The form with its tags replaced; what no group has stays as it is.
fn filled(form: &str, attempt: &Attempt, examined: &Examined, line: &str) -> String {
    let mut out = String::new();
    let mut rest = form;
    while let Some(start) = rest.find('<') {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let Some(end) = rest.find('>') else { break };
        let tag = &rest[1..end];
        let name = tag.strip_prefix("F-").map_or_else(|| tag.to_owned(), str::to_lowercase);
        match value(&name, attempt, examined, line) {
            Some(value) => out.push_str(&value),
            None => out.push_str(&rest[..=end]),
        }
        rest = &rest[end + 1..];
    }
    out.push_str(rest);
    out
}

/// As Python shows a list of the id, the time and what was captured.
fn row(attempt: &Attempt, examined: &Examined) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
    let mut groups: Vec<String> = examined
        .groups
        .iter()
        .filter(|(_, text)| !text.is_empty())
        .map(|(name, text)| format!("{}: {}", quoted(name), quoted(text)))
        .collect();
    if !examined.users.is_empty() {
        let users: Vec<String> = examined.users.iter().map(|user| quoted(user)).collect();
        groups.push(format!("'users': {{{}}}", users.join(", ")));
    }
    let who = quoted(&attempt.who.to_string());
    format!("[{who},\t{},\t{{{}}}],", seconds(attempt.time), groups.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::failure::Who;

    #[test]
    fn every_form_tells_the_same_failure() {
        let attempt = Attempt {
            who: Who::Address("192.0.2.1".parse().expect("an address")),
            time: Timestamp::from_micros(1_500_000),
            user: Some("it's".to_owned()),
        };
        let groups = [("ip4", "192.0.2.1"), ("user", "it's"), ("ip6", "")];
        let examined = Examined {
            groups: groups.map(|(name, text)| (name.to_owned(), text.to_owned())).into(),
            users: ["it's".to_owned()].into(),
            ..Examined::default()
        };
        assert_eq!(
            row(&attempt, &examined),
            "['192.0.2.1',\t1.5,\t{'ip4': '192.0.2.1', 'user': 'it\\'s', 'users': {'it\\'s'}}],"
        );
        let filled = filled("<ip> <F-USER> <time> <F-NONE> <x", &attempt, &examined, "l");
        assert_eq!(filled, "192.0.2.1 it's 1.5 <F-NONE> <x");
    }
}

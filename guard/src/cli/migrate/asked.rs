//! Whom a Fail2Ban that runs bans, asked of itself: what is in no database, or in one that
//! cannot be read.
//!
//! Input: its socket. Output: a ban for each address in each of its jails. Invariant: it is
//! asked, and nothing of it is changed.

use std::path::Path;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::handover::{PATIENCE, told};
use crate::cli::{Failure, output};
use crate::compat::client::Client;
use crate::compat::value::Value;
use crate::core::addr::Prefix;
use crate::core::jail::JailName;
use crate::core::time::Timestamp;

/// How it writes that a ban has no end.
const FOR_EVER: i64 = -1;

/// A ban that Fail2Ban holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Theirs {
    pub(super) jail: JailName,
    pub(super) source: Prefix,
    /// `None` for ever.
    pub(super) until: Option<Timestamp>,
}

/// All of its bans. What it holds that is no address, such as a user, is told.
pub(super) fn bans(socket: &Path) -> Result<Vec<Theirs>, Failure> {
    let failed = |what: &str| {
        Failure::NotDone(format!("asking Fail2Ban at {} whom it bans: {what}", socket.display()))
    };
    let mut server = Client::connect(socket, Some(PATIENCE));
    let server = server.as_mut().map_err(|error| failed(&error.to_string()))?;
    let mut ask = |words: &[&str]| {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        told(server, &words).map_err(|problem| failed(&problem))
    };
    let status = ask(&["status"])?;
    let jails = jails(&status).ok_or_else(|| failed("its answer is none"))?;
    let mut bans = Vec::new();
    for jail in jails {
        let rows = ask(&["get", jail.as_str(), "banip", "--with-time"])?;
        for row in rows.items().unwrap_or_default().iter().filter_map(Value::as_text) {
            match ban(&jail, row) {
                Some(ban) => bans.push(ban),
                None => output::talk(&format!(
                    "warning: not a ban of an address: {jail} {}",
                    output::visible(row)
                )),
            }
        }
    }
    Ok(bans)
}

/// Its jails, as `status` lists them.
fn jails(status: &Value) -> Option<Vec<JailName>> {
    let list = status.items()?.get(1)?.items()?.get(1)?.as_text()?;
    let names = list.split(',').map(str::trim).filter(|name| !name.is_empty());
    names.map(|name| JailName::new(name).ok()).collect()
}

/// A ban as `get JAIL banip --with-time` shows it: whom, since when, for how many seconds,
/// until when in local time.
fn ban(jail: &JailName, row: &str) -> Option<Theirs> {
    let (source, times) = row.split_once(char::is_whitespace)?;
    let (begun, end) = times.split_once(" = ")?;
    let (_, length) = begun.rsplit_once(" + ")?;
    let until = match length.trim().parse().ok()? {
        FOR_EVER => None,
        _ => {
            let end = DateTime::strptime("%Y-%m-%d %H:%M:%S", end.trim()).ok()?;
            let end = end.to_zoned(TimeZone::system()).ok()?.timestamp();
            Some(Timestamp::from_seconds(end.as_second()))
        }
    };
    Some(Theirs { jail: jail.clone(), source: source.parse().ok()?, until })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bans_are_read_as_fail2ban_shows_them() {
        let jail = JailName::new("sshd").expect("a name");
        let row = "192.0.2.1 \t2026-11-22 15:49:58 + 3600 = 2026-11-22 16:49:58";
        let found = ban(&jail, row).expect("a ban");
        assert_eq!(found.source.to_string(), "192.0.2.1");
        let shown = jiff::Timestamp::from_second(found.until.expect("an end").seconds());
        let shown = shown.expect("a time").to_zoned(TimeZone::system());
        assert_eq!(shown.strftime("%Y-%m-%d %H:%M:%S").to_string(), "2026-11-22 16:49:58");
        let ever = "2001:db8::1 \t2026-11-22 15:49:58 + -1 = 9999-12-31 23:59:59";
        let ever = ban(&jail, ever).expect("a ban");
        assert_eq!((ever.source.to_string(), ever.until), ("2001:db8::1".to_owned(), None));
        for wrong in ["", "192.0.2.1", "root \t2026-11-22 15:49:58 + 9 = 2026-11-22 15:50:07"] {
            assert_eq!(ban(&jail, wrong), None, "{wrong}");
        }
    }

    #[test]
    fn jails_are_those_of_the_list() {
        let status = |list: &str| {
            let row = |name: &str, value| Value::Tuple(vec![Value::text(name), value]);
            Value::List(vec![
                row("Number of jail", Value::Number(2)),
                row("Jail list", Value::text(list)),
            ])
        };
        let names = |list| {
            let jails = jails(&status(list)).expect("a list");
            jails.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(names("proxmox, sshd"), ["proxmox", "sshd"]);
        assert_eq!(names(""), Vec::<String>::new());
        assert_eq!(jails(&Value::Nothing), None);
    }
}

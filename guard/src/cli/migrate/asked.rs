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
use crate::core::history::Past;
use crate::core::jail::JailName;
use crate::core::time::{Span, Timestamp};
use crate::store::fail2ban::LastBan;

/// How it writes that a ban has no end.
const FOR_EVER: i64 = -1;
/// Longer than this no ban is meant: ten thousand years.
const MOST_SECONDS: i64 = 10_000 * 366 * 86_400;

/// All of its bans. What it holds that is no address, such as a user, is told.
pub(super) fn bans(socket: &Path) -> Result<Vec<LastBan>, Failure> {
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

/// A ban as `get JAIL banip --with-time` shows it: whom, since when in local time, for how
/// many seconds, until when.
fn ban(jail: &JailName, row: &str) -> Option<LastBan> {
    let (source, times) = row.split_once(char::is_whitespace)?;
    let (begun, _) = times.split_once(" = ")?;
    let (since, length) = begun.rsplit_once(" + ")?;
    let since = DateTime::strptime("%Y-%m-%d %H:%M:%S", since.trim()).ok()?;
    let since = since.to_zoned(TimeZone::system()).ok()?.timestamp();
    let since = Timestamp::from_seconds(since.as_second());
    let length = match length.trim().parse().ok()? {
        FOR_EVER => None,
        seconds @ 0..=MOST_SECONDS => Some(Span::from_seconds(seconds)),
        _ => return None,
    };
    // How often it was banned before, only the database knows.
    let past = Past { count: 1, since, length };
    Some(LastBan { jail: jail.clone(), source: source.parse().ok()?, past, failures: 0 })
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
        assert_eq!(found.past.length, Some(Span::from_seconds(3600)));
        let shown = jiff::Timestamp::from_second(found.past.since.seconds()).expect("a time");
        let shown = shown.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string();
        assert_eq!(shown, "2026-11-22 15:49:58");
        let ever = "2001:db8::1 \t2026-11-22 15:49:58 + -1 = 9999-12-31 23:59:59";
        let ever = ban(&jail, ever).expect("a ban");
        assert_eq!((ever.source.to_string(), ever.past.length), ("2001:db8::1".to_owned(), None));
        for wrong in [
            "",
            "192.0.2.1",
            "192.0.2.1 \t2026-11-22 15:49:58 + -2 = 2026-11-22 15:49:56",
            "192.0.2.1 \tyesterday + 9 = today",
            "root \t2026-11-22 15:49:58 + 9 = 2026-11-22 15:50:07",
        ] {
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

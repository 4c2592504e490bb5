//! A connection's state as text for the store.
//!
//! Format 1: `1|BEGAN|FLAGS|WHO|USER|FIRST USER`. BEGAN is in microseconds since
//! the epoch. FLAGS is any of `p` (a failure is pending) and `s` (several users). WHO is
//! an address, `n=` and a host's name, or `i=` and another id. What is not known is empty.
//! In all of them `\` and `|` have a backslash before them, so no text can break the
//! format.

use std::sync::Arc;

use super::Connection;
use crate::core::failure::Who;
use crate::core::time::Timestamp;

const FORMAT: &str = "1";

pub(super) fn encode(connection: &Connection) -> String {
    let who = connection.who.as_ref().map(|who| match who {
        Who::Address(prefix) => prefix.to_string(),
        Who::Name(name) => format!("n={name}"),
        Who::Id(id) => format!("i={id}"),
    });
    let mut text = format!("{FORMAT}|{}|", connection.began.micros());
    for (flag, letter) in [(connection.pending, 'p'), (connection.several_users, 's')] {
        if flag {
            text.push(letter);
        }
    }
    let users = [&connection.user, &connection.first_user].map(Option::as_deref);
    for field in [who.as_deref()].into_iter().chain(users) {
        text.push('|');
        for c in field.iter().flat_map(|field| field.chars()) {
            if matches!(c, '\\' | '|') {
                text.push('\\');
            }
            text.push(c);
        }
    }
    text
}

pub(super) fn decode(text: &str) -> Option<Connection> {
    let fields = split(text)?;
    let [format, began, flags, who, user, first_user] = <[String; 6]>::try_from(fields).ok()?;
    if format != FORMAT || !flags.chars().all(|c| matches!(c, 'p' | 's')) {
        return None;
    }
    let mut connection = Connection::new(Timestamp::from_micros(began.parse().ok()?));
    if !who.is_empty() {
        connection.who = Some(match (who.strip_prefix("n="), who.strip_prefix("i=")) {
            (Some(name), _) => Who::Name(name.to_owned()),
            (None, Some(id)) => Who::Id(id.to_owned()),
            (None, None) => Who::Address(who.parse().ok()?),
        });
    }
    let [user, first_user] = [user, first_user]
        .map(|user| Some(user).filter(|user| !user.is_empty()).map(Arc::<str>::from));
    (connection.user, connection.first_user) = (user, first_user);
    connection.pending = flags.contains('p');
    connection.several_users = flags.contains('s');
    Some(connection)
}

/// Splits at bars that have no backslash before them; `None` when a backslash is last.
fn split(text: &str) -> Option<Vec<String>> {
    let mut fields = vec![String::new()];
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match c {
            '|' => fields.push(String::new()),
            c => {
                let c = if c == '\\' { characters.next()? } else { c };
                if let Some(field) = fields.last_mut() {
                    field.push(c);
                }
            }
        }
    }
    Some(fields)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_state_survives_the_store(
            began in any::<i64>(),
            who in proptest::option::of(prop_oneof![
                any::<std::net::IpAddr>().prop_map(|address| Who::Address(address.into())),
                r"[\\|=\PC]{1,20}".prop_map(Who::Name),
                r"[\\|=\PC]{1,20}".prop_map(Who::Id),
            ]),
            users in proptest::option::of((r"[\\|\PC]{1,20}", r"[\\|\PC]{1,20}")),
            pending in any::<bool>(),
            several_users in any::<bool>(),
        ) {
            let (user, first_user) = users.unzip();
            let [user, first_user] = [user, first_user].map(|user| user.map(Arc::<str>::from));
            let connection = Connection {
                began: Timestamp::from_micros(began),
                serial: 0,
                who,
                user,
                first_user,
                several_users,
                pending,
            };
            prop_assert_eq!(decode(&encode(&connection)), Some(connection));
        }

        #[test]
        fn no_text_makes_it_panic(text in r"(1\|)?[-0-9ps|\\.:a-z\PC]{0,40}") {
            let _ = decode(&text);
        }
    }

    #[test]
    fn other_formats_are_refused() {
        for text in
            ["", "1", "2|0|||a|a", "1|x||||", "1|0|q|||", "1|0|||a|b|c", "1|0||host||", "1\\"]
        {
            assert_eq!(decode(text), None, "{text}");
        }
        assert!(decode("1|0||||").is_some());
    }
}

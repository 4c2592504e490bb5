//! One entry as the follower takes it, for the fuzz target `entry`.

use super::MESSAGE_BYTES;
use super::fields::{Field, Fields};
use super::line;
use super::trust::{Origin, origin};
use crate::core::entry::Daemon;

/// Takes an entry's fields.
///
/// # Panics
/// When its line is no line, or it is believed to be of a daemon without journald's word.
pub fn take(entry: &[(&[u8], &[u8])]) {
    let mut fields = Fields::default();
    for (name, value) in entry {
        fields.take(name, value);
    }
    let (text, message_start) = line::line(&fields, || 0);
    assert!(!text.contains('\n') && text.is_char_boundary(message_start), "{text:?}");
    // A byte that is no UTF-8 becomes one of three.
    assert!(text.len() <= 3 * MESSAGE_BYTES + 16_384, "{} bytes", text.len());
    let mut glance = String::new();
    if line::glance(&mut glance, &fields) {
        let message = &text[message_start..];
        assert!(glance.ends_with(message), "{glance:?} is not of {text:?}");
    }
    let _ = line::time(&fields, crate::core::time::Timestamp::default());
    if let Origin::Proven(daemon) = origin(&fields) {
        // Looked for by other means: the words themselves, in the entry as it came.
        let said = |name: &[u8], is: &dyn Fn(&[u8]) -> bool| {
            entry.iter().any(|(field, value)| *field == name && is(value))
        };
        assert!(said(b"_UID", &|uid| uid == b"0"), "{text:?} is believed of {daemon:?}");
        let stem: &[&[u8]] = match daemon {
            Daemon::Sshd => &[b"ssh", b"sshd"],
            Daemon::Pvedaemon => &[b"pvedaemon"],
        };
        let own = |unit: &[u8]| stem.iter().any(|stem| unit.starts_with(stem));
        assert!(said(b"_SYSTEMD_UNIT", &own), "{text:?} is believed of {daemon:?}");
        assert_eq!(fields.value(Field::Uid), b"0");
    }
}

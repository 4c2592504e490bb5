//! The fields of one entry that make its line, its time and its proof.

use super::MESSAGE_BYTES;

/// Bytes of every other field that are looked at. Journald's own fields are shorter;
/// a client may send an identifier of any length.
const FIELD_BYTES: usize = 1 << 10;

/// A field that guard reads by itself, whatever the jails ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Field {
    Hostname,
    Identifier,
    Comm,
    SyslogPid,
    Pid,
    Message,
    SourceRealtime,
    SourceMonotonic,
    Uid,
    Unit,
}

const NAMES: [(&[u8], Field); 10] = [
    (b"MESSAGE", Field::Message),
    (b"_HOSTNAME", Field::Hostname),
    (b"SYSLOG_IDENTIFIER", Field::Identifier),
    (b"_COMM", Field::Comm),
    (b"SYSLOG_PID", Field::SyslogPid),
    (b"_PID", Field::Pid),
    (b"_SOURCE_REALTIME_TIMESTAMP", Field::SourceRealtime),
    (b"_SOURCE_MONOTONIC_TIMESTAMP", Field::SourceMonotonic),
    (b"_UID", Field::Uid),
    (b"_SYSTEMD_UNIT", Field::Unit),
];

/// The values of one entry; used again for the next, so that reading allocates nothing.
#[derive(Debug, Default)]
pub(super) struct Fields {
    values: [Vec<u8>; NAMES.len()],
    /// Bit n: the field with that number was there.
    seen: u16,
    cut: bool,
}

impl Fields {
    /// Forgets the entry.
    pub(super) fn clear(&mut self) {
        if self.seen != 0 {
            self.values.iter_mut().for_each(Vec::clear);
        }
        self.seen = 0;
        self.cut = false;
    }

    /// Takes a field of the entry; only the first value of each counts.
    pub(super) fn take(&mut self, name: &[u8], value: &[u8]) {
        let Some((_, field)) = NAMES.iter().find(|(known, _)| *known == name) else { return };
        let bit = 1 << (*field as usize);
        if self.seen & bit != 0 {
            return;
        }
        self.seen |= bit;
        let limit = if *field == Field::Message { MESSAGE_BYTES } else { FIELD_BYTES };
        self.cut |= value.len() > limit;
        self.values[*field as usize].extend_from_slice(&value[..value.len().min(limit)]);
    }

    /// The value, empty when the entry has no such field.
    pub(super) fn value(&self, field: Field) -> &[u8] {
        &self.values[field as usize]
    }

    /// The value as a number.
    pub(super) fn number(&self, field: Field) -> Option<i64> {
        std::str::from_utf8(self.value(field)).ok()?.parse().ok()
    }

    /// Whether a value was too long and was cut.
    pub(super) fn was_cut(&self) -> bool {
        self.cut
    }
}

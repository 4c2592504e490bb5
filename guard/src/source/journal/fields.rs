//! The fields of one entry that make its line, its time and its proof.

use super::MESSAGE_BYTES;

/// Bytes of every other field that are looked at. Journald's own fields are shorter;
/// a client may send an identifier of any length.
pub(super) const FIELD_BYTES: usize = 1 << 10;

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

/// How many these are.
const COUNT: usize = 10;

impl Field {
    fn named(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"MESSAGE" => Self::Message,
            b"_HOSTNAME" => Self::Hostname,
            b"SYSLOG_IDENTIFIER" => Self::Identifier,
            b"_COMM" => Self::Comm,
            b"SYSLOG_PID" => Self::SyslogPid,
            b"_PID" => Self::Pid,
            b"_SOURCE_REALTIME_TIMESTAMP" => Self::SourceRealtime,
            b"_SOURCE_MONOTONIC_TIMESTAMP" => Self::SourceMonotonic,
            b"_UID" => Self::Uid,
            b"_SYSTEMD_UNIT" => Self::Unit,
            _ => return None,
        })
    }
}

/// The values of one entry; used again for the next, so that reading allocates nothing.
#[derive(Debug, Default)]
pub(super) struct Fields {
    values: [Vec<u8>; COUNT],
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
        let Some(field) = Field::named(name) else { return };
        let bit = 1 << (field as usize);
        if self.seen & bit != 0 {
            return;
        }
        self.seen |= bit;
        let limit = if field == Field::Message { MESSAGE_BYTES } else { FIELD_BYTES };
        self.cut |= value.len() > limit;
        self.values[field as usize].extend_from_slice(&value[..value.len().min(limit)]);
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

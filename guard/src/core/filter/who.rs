//! Who failed, by what an expression captured.
//!
//! Input: the captured spans. Output: an address, a host's name or another id, as
//! Fail2Ban prefers them: an `<F-ID>` that differs from the address counts before it.

use super::captured::{Captured, Piece};
use super::memory::{Changes, Line, Memory};
use super::{Subject, UseDns, text_at};
use crate::core::addr::Prefix;
use crate::core::failure::Who;
use crate::core::time::Timestamp;

/// Whether what was captured completes a failure.
pub(super) fn judge(
    subject: &Subject<'_>,
    time: Timestamp,
    captured: &Captured,
    use_dns: UseDns,
    memory: &mut Memory,
    changes: &mut Changes,
) -> Option<(Who, Option<String>)> {
    let text = |piece: Option<Piece>| piece.map(|piece| text_at(subject.line, &piece.span()));
    let who = who(subject.line, captured, use_dns);
    let user = text(captured.user);
    let Some(connection) = text(captured.connection) else {
        return who.map(|who| (who, user.map(str::to_owned)));
    };
    let line = Line {
        who,
        user,
        no_failure: captured.no_failure.is_some(),
        gained: captured.gained.is_some(),
        forget: captured.forget.is_some(),
    };
    memory.merge(connection, time, &line, changes)
}

fn who(line: &str, captured: &Captured, use_dns: UseDns) -> Option<Who> {
    let text = |piece: Option<Piece>| piece.map(|piece| text_at(line, &piece.span()));
    let id = text(captured.id);
    let other_id = |than: &str| id.filter(|id| *id != than).map(id_or_address);
    if let Some(host) = text(captured.address) {
        // Text that only looks like an address is an id.
        let address = || captured.source.map_or_else(|| host.parse(), |known| Ok(known.into()));
        return other_id(host).or_else(|| match address() {
            Ok(address) => with_length(line, address, captured).map(Who::Address),
            Err(_) => Some(Who::Id(host.to_owned())),
        });
    }
    if let Some(name) = text(captured.name) {
        let resolved = || name.parse().map(Who::Address).ok();
        return match use_dns {
            UseDns::No => resolved(),
            UseDns::Warn | UseDns::Yes => resolved().or(Some(Who::Name(name.to_owned()))),
            UseDns::Raw => other_id(name).or_else(resolved).or(Some(Who::Name(name.to_owned()))),
        };
    }
    id.map(id_or_address)
}

fn id_or_address(id: &str) -> Who {
    id.parse().map_or_else(|_| Who::Id(id.to_owned()), Who::Address)
}

/// An address with the length of prefix that was captured, if one was; none when there
/// is no such prefix.
fn with_length(line: &str, address: Prefix, captured: &Captured) -> Option<Prefix> {
    match captured.prefix_length {
        None => Some(address),
        Some(piece) => {
            Prefix::new(address.address(), text_at(line, &piece.span()).parse().ok()?).ok()
        }
    }
}

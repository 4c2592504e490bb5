//! What an expression captured.
//!
//! Input: the begin and the end of each group that means something. Output: [`Captured`],
//! small enough to be handed on by value. Invariant: a span that is there is not empty.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::ops::Range;

/// A span that is not empty, of a text shorter than 4 GiB. One that is perhaps not there
/// takes no more room, so that what an expression captured is cheap to hand on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    start: u32,
    end: NonZeroU32,
}

impl Piece {
    /// A span as a piece; nothing for an empty one.
    pub(super) fn new(start: u32, end: u32) -> Option<Self> {
        NonZeroU32::new(end).filter(|end| start < end.get()).map(|end| Self { start, end })
    }

    pub(super) fn of(span: &Range<usize>) -> Option<Self> {
        Self::new(u32::try_from(span.start).ok()?, u32::try_from(span.end).ok()?)
    }

    /// Where it is.
    pub(super) fn span(self) -> Range<usize> {
        self.start as usize..self.end.get() as usize
    }

    /// The same, so many bytes further on.
    fn moved_by(self, offset: u32) -> Option<Self> {
        Some(Self { start: self.start.checked_add(offset)?, end: self.end.checked_add(offset)? })
    }
}

/// What the groups captured, as far as that is any text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Captured {
    /// `<HOST>` and its kin, where it is an address.
    pub address: Option<Piece>,
    /// The same, where it is a name.
    pub name: Option<Piece>,
    /// `<F-ID>`.
    pub id: Option<Piece>,
    /// `<CIDR>`.
    pub prefix_length: Option<Piece>,
    /// `<F-USER>`, or else the first of `<F-ALT_USER…>`.
    pub user: Option<Piece>,
    /// `<F-MLFID>`.
    pub connection: Option<Piece>,
    /// `<F-NOFAIL>`.
    pub no_failure: Option<Piece>,
    /// `<F-MLFGAINED>`.
    pub gained: Option<Piece>,
    /// `<F-MLFFORGET>`.
    pub forget: Option<Piece>,
    /// `<F-CONTENT>`.
    pub content: Option<Piece>,
    /// The part of the text that was searched; set by the search of the line.
    pub searched: Range<usize>,
    /// What the address is, if that has been read already.
    pub source: Option<IpAddr>,
}

/// A field of [`Captured`], by its place in [`Captured::pieces`].
pub(super) type Field = usize;

impl Captured {
    /// What groups captured, each for a field; the first that captured anything counts.
    #[inline]
    pub(super) fn of(groups: &[(usize, Field)], group: impl Fn(usize) -> Option<Piece>) -> Self {
        let mut pieces = [None; 10];
        for (number, field) in groups {
            let piece = &mut pieces[*field];
            *piece = piece.or_else(|| group(*number));
        }
        let [
            address,
            name,
            id,
            prefix_length,
            user,
            connection,
            no_failure,
            gained,
            forget,
            content,
        ] = pieces;
        Self {
            address,
            name,
            id,
            prefix_length,
            user,
            connection,
            no_failure,
            gained,
            forget,
            content,
            searched: 0..0,
            source: None,
        }
    }

    /// The same in a text that has `offset` bytes more before this one.
    pub(super) fn move_by(&mut self, offset: usize) {
        let offset = u32::try_from(offset).unwrap_or(u32::MAX);
        for piece in self.pieces() {
            *piece = piece.and_then(|piece| piece.moved_by(offset));
        }
    }

    /// Takes what is missing here from `other`.
    pub(super) fn fill_in(&mut self, other: &Self) {
        let others = [
            other.address,
            other.name,
            other.id,
            other.prefix_length,
            other.user,
            other.connection,
            other.no_failure,
            other.gained,
            other.forget,
            other.content,
        ];
        for (piece, other) in self.pieces().into_iter().zip(others) {
            *piece = piece.or(other);
        }
    }

    fn pieces(&mut self) -> [&mut Option<Piece>; 10] {
        [
            &mut self.address,
            &mut self.name,
            &mut self.id,
            &mut self.prefix_length,
            &mut self.user,
            &mut self.connection,
            &mut self.no_failure,
            &mut self.gained,
            &mut self.forget,
            &mut self.content,
        ]
    }
}

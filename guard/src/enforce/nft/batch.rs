//! A batch: the messages that change `f2b-table`, in order, and their framing.
//!
//! Input: the messages that `message.rs` writes. Output: transactions, as a rule one,
//! of which the kernel does all or nothing; and for each message what it is about, so
//! that an error can say so.
//!
//! Source of the numbers: `include/uapi/linux/netfilter/nfnetlink.h` and `nf_tables.h`.

use crate::enforce::nft::TABLE;
use crate::enforce::nft::wire::{Header, NLM_F_ACK, NLM_F_REQUEST, Writer};

/// `NFNL_SUBSYS_NFTABLES`.
pub(super) const SUBSYSTEM: u16 = 10;
/// `NFPROTO_INET`.
pub(super) const INET: u8 = 1;

/// `NFT_MSG_*`.
pub(super) mod kind {
    pub(in crate::enforce::nft) const NEW_TABLE: u16 = 0;
    pub(in crate::enforce::nft) const GET_TABLE: u16 = 1;
    pub(in crate::enforce::nft) const DELETE_TABLE: u16 = 2;
    pub(in crate::enforce::nft) const NEW_CHAIN: u16 = 3;
    pub(in crate::enforce::nft) const GET_CHAIN: u16 = 4;
    pub(in crate::enforce::nft) const DELETE_CHAIN: u16 = 5;
    pub(in crate::enforce::nft) const NEW_RULE: u16 = 6;
    pub(in crate::enforce::nft) const GET_RULE: u16 = 7;
    pub(in crate::enforce::nft) const DELETE_RULE: u16 = 8;
    pub(in crate::enforce::nft) const NEW_SET: u16 = 9;
    pub(in crate::enforce::nft) const GET_SET: u16 = 10;
    pub(in crate::enforce::nft) const DELETE_SET: u16 = 11;
    pub(in crate::enforce::nft) const NEW_ELEMENTS: u16 = 12;
    pub(in crate::enforce::nft) const GET_ELEMENTS: u16 = 13;
    pub(in crate::enforce::nft) const DELETE_ELEMENTS: u16 = 14;
    pub(in crate::enforce::nft) const NEW_GENERATION: u16 = 15;
    pub(in crate::enforce::nft) const GET_GENERATION: u16 = 16;
}

/// `NFNL_MSG_BATCH_BEGIN` and `NFNL_MSG_BATCH_END`: they carry the subsystem in
/// `res_id`, not in their type.
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
/// `NFNL_BATCH_GENID`.
const BATCH_GENERATION: u16 = 1;

/// A transaction that is being written.
#[derive(Debug)]
pub(super) struct Batch {
    writer: Writer,
    first_sequence: u32,
    messages: Vec<Mark>,
    sets: u32,
}

/// One message of a batch.
#[derive(Debug)]
struct Mark {
    /// Where its bytes end.
    end: usize,
    /// What it is about.
    subject: String,
    /// It is done together with the next one or not at all.
    joined: bool,
}

impl Batch {
    /// An empty batch whose messages are numbered from `first_sequence` on.
    pub(super) fn new(first_sequence: u32) -> Self {
        Self { writer: Writer::default(), first_sequence, messages: Vec::new(), sets: 0 }
    }

    /// Whether there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// How many messages it has.
    pub(super) fn messages(&self) -> usize {
        self.messages.len()
    }

    /// How long it is.
    pub(super) fn length(&self) -> usize {
        self.writer.bytes().len()
    }

    /// What the message of this number is about.
    pub(super) fn subject(&self, sequence: u32) -> Option<&str> {
        let index = sequence.checked_sub(self.first_sequence)?;
        Some(&self.messages.get(usize::try_from(index).ok()?)?.subject)
    }

    /// The number after the last message.
    pub(super) fn next_sequence(&self) -> u32 {
        self.first_sequence + u32::try_from(self.messages.len()).expect("fewer than 2^32 messages")
    }

    /// What came so far is done together, however small the socket's buffer is.
    pub(super) fn join(&mut self) {
        let so_far = self.messages.len().saturating_sub(1);
        self.messages[..so_far].iter_mut().for_each(|mark| mark.joined = true);
    }

    /// The last message is done together with the next one.
    pub(super) fn join_next(&mut self) {
        if let Some(last) = self.messages.last_mut() {
            last.joined = true;
        }
    }

    /// Numbers a set within the batch, from 1.
    pub(super) fn next_set(&mut self) -> u32 {
        self.sets += 1;
        self.sets
    }

    /// The batch framed for the kernel, in as many transactions as `limit` bytes make
    /// necessary: one, unless the socket's send buffer is too small. `generation` makes
    /// the kernel refuse the first one (`ERESTART`) when its rules have changed since.
    pub(super) fn transactions(&self, limit: usize, generation: Option<u32>) -> Vec<Transaction> {
        let mut transactions = Vec::new();
        let (mut first, mut start) = (0, 0);
        while first < self.messages.len() {
            let mut next = self.group_end(first);
            while next < self.messages.len() {
                let group_end = self.group_end(next);
                if self.messages[group_end - 1].end - start + FRAME > limit {
                    break;
                }
                next = group_end;
            }
            transactions.push(self.frame(start, next - 1, generation.filter(|_| first == 0)));
            (first, start) = (next, self.messages[next - 1].end);
        }
        transactions
    }

    /// The index after the last message that is joined to this one.
    fn group_end(&self, index: usize) -> usize {
        let joined = self.messages[index..].iter().take_while(|mark| mark.joined).count();
        (index + joined + 1).min(self.messages.len())
    }

    /// The messages from byte `start` to the message `last`, framed.
    fn frame(&self, start: usize, last: usize, generation: Option<u32>) -> Transaction {
        let sequence = self.next_sequence();
        let edge = |kind| {
            let flags = NLM_F_REQUEST;
            Header { kind, flags, sequence, family: 0, resource: SUBSYSTEM }
        };
        let mut begin = Writer::default();
        begin.message(edge(BATCH_BEGIN), |writer| {
            if let Some(generation) = generation {
                writer.number(BATCH_GENERATION, generation);
            }
        });
        let mut end = Writer::default();
        end.message(edge(BATCH_END), |_| {});
        let mut bytes = begin.bytes().to_vec();
        let mut last_start = bytes.len();
        if let Some(before) = last.checked_sub(1).map(|before| self.messages[before].end) {
            last_start += before.saturating_sub(start);
        }
        bytes.extend(&self.writer.bytes()[start..self.messages[last].end]);
        // Answered even when nothing is wrong: nothing at all would tell nothing.
        let flags = NLM_F_ACK | u16::from_ne_bytes([bytes[last_start + 6], bytes[last_start + 7]]);
        bytes[last_start + 6..last_start + 8].copy_from_slice(&flags.to_ne_bytes());
        bytes.extend(end.bytes());
        let last = u32::try_from(last).expect("fewer than 2^32 messages");
        Transaction { bytes, acknowledged: self.first_sequence + last, framed: sequence }
    }

    /// Appends a message about our table.
    pub(super) fn message(
        &mut self,
        kind: u16,
        flags: u16,
        subject: String,
        attributes: impl FnOnce(&mut Writer),
    ) {
        let header = Header {
            kind: SUBSYSTEM << 8 | kind,
            flags: NLM_F_REQUEST | flags,
            sequence: self.next_sequence(),
            family: INET,
            resource: 0,
        };
        self.writer.message(header, |writer| {
            writer.text(1, TABLE);
            attributes(writer);
        });
        self.messages.push(Mark { end: self.writer.bytes().len(), subject, joined: false });
    }
}

/// Room for the begin and the end of a transaction.
const FRAME: usize = 64;

/// Bytes that the kernel does as a whole.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) bytes: Vec<u8>,
    /// The number of the message whose acknowledgement says that it was seen to its
    /// end.
    pub(super) acknowledged: u32,
    /// The number of the frame: errors of the whole carry it.
    pub(super) framed: u32,
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::core::addr::Prefix;
    use crate::enforce::nft::rule::Family;
    use crate::enforce::nft::wire::{Message, Messages};

    fn addresses(count: u32) -> Vec<Prefix> {
        (0..count).map(|number| Ipv4Addr::from(number).into()).collect()
    }

    fn messages(transaction: &Transaction) -> Vec<Message<'_>> {
        Messages(&transaction.bytes).collect()
    }

    #[test]
    fn a_batch_is_one_transaction_and_its_last_message_is_acknowledged() {
        let mut batch = Batch::new(10);
        batch.create_table();
        batch.add(Family::V4, "addr-set-sshd", &addresses(10_000));
        let transactions = batch.transactions(usize::MAX, Some(7));
        assert_eq!(transactions.len(), 1);
        let messages = messages(&transactions[0]);
        let sequences: Vec<_> = messages.iter().map(|message| message.sequence).collect();
        // Ten thousand elements of 16 bytes do not fit into two attributes.
        assert_eq!(sequences, [14, 10, 11, 12, 13, 14]);
        assert_eq!(messages[0].attributes().number(BATCH_GENERATION), Some(7));
        let asked: Vec<_> = messages.iter().map(|message| message.flags & NLM_F_ACK != 0).collect();
        assert_eq!(asked, [false, false, false, false, true, false]);
        assert_eq!((transactions[0].acknowledged, transactions[0].framed), (13, 14));
        assert_eq!(batch.subject(10), Some("create table f2b-table"));
        assert_eq!(batch.subject(13), Some("add 0.0.31.254 and 1809 more to set addr-set-sshd"));
        assert_eq!((batch.subject(9), batch.subject(14)), (None, None));
    }

    #[test]
    fn what_does_not_fit_goes_in_parts_and_what_belongs_together_stays() {
        let mut batch = Batch::new(1);
        batch.create_table();
        batch.create_chain();
        batch.create_set(Family::V4, "addr-set-sshd");
        batch.join();
        batch.add(Family::V4, "addr-set-sshd", &addresses(5_000));
        batch.ensure_removed(Family::V4, "addr-set-sshd", &addresses(1));
        let whole = batch.length();
        for limit in [1, 1_000, 70_000, whole] {
            let transactions = batch.transactions(limit, Some(1));
            let mut seen = Vec::new();
            for (index, transaction) in transactions.iter().enumerate() {
                let messages = messages(transaction);
                let (first, last) = (messages[0], messages[messages.len() - 1]);
                assert_eq!((first.kind, last.kind), (BATCH_BEGIN, BATCH_END));
                let generation = first.attributes().number(BATCH_GENERATION);
                assert_eq!(generation.is_some(), index == 0);
                let inner = &messages[1..messages.len() - 1];
                let asked = inner.iter().rposition(|message| message.flags & NLM_F_ACK != 0);
                assert_eq!(asked, Some(inner.len() - 1));
                assert_eq!(inner[inner.len() - 1].sequence, transaction.acknowledged);
                seen.push(inner.iter().map(|message| message.sequence).collect::<Vec<_>>());
            }
            assert_eq!(seen.concat(), [1, 2, 3, 4, 5, 6, 7]);
            for together in [[1, 2, 3].as_slice(), &[6, 7]] {
                assert!(seen.iter().any(|part| together.iter().all(|one| part.contains(one))));
            }
            let within = |transaction: &Transaction| transaction.bytes.len() <= limit;
            assert!(limit < 70_000 || transactions.iter().all(within), "limit {limit}");
        }
        assert_eq!(batch.transactions(whole + FRAME, None).len(), 1);
        assert!(Batch::new(1).transactions(usize::MAX, None).is_empty());
    }
}

//! Netlink messages as bytes: writing them, and reading what the kernel sent.
//!
//! Input: types, flags and values. Output: the framing of netlink(7), with attributes
//! as `include/uapi/linux/netlink.h` has them. Reading never panics and never reads
//! beyond a length: what is cut short or says a wrong length ends the iteration.

/// `NLMSG_ERROR`: an answer with an error number, 0 for an acknowledgement.
pub(super) const NLMSG_ERROR: u16 = 2;
/// `NLMSG_DONE`: the end of a dump.
pub(super) const NLMSG_DONE: u16 = 3;

pub(super) const NLM_F_REQUEST: u16 = 0x1;
pub(super) const NLM_F_ACK: u16 = 0x4;
/// The dump crossed a change and may be inconsistent.
pub(super) const NLM_F_DUMP_INTR: u16 = 0x10;
pub(super) const NLM_F_DUMP: u16 = 0x300;
pub(super) const NLM_F_CREATE: u16 = 0x400;
pub(super) const NLM_F_APPEND: u16 = 0x800;
/// In an answer: the request is quoted by its header alone.
pub(super) const NLM_F_CAPPED: u16 = 0x100;
/// In an answer: attributes that explain follow.
pub(super) const NLM_F_ACK_TLVS: u16 = 0x200;

/// `struct nlmsghdr`.
pub(super) const HEADER: usize = 16;
/// `struct nfgenmsg`, which follows it in each message of netfilter.
const FAMILY_HEADER: usize = 4;
/// `struct nlattr`.
pub(super) const ATTRIBUTE_HEADER: usize = 4;
const NESTED: u16 = 0x8000;
/// Without the bits for nesting and byte order.
const TYPE_MASK: u16 = 0x3fff;

/// The largest payload that an attribute can have: its length is a `u16` and counts
/// its header.
pub(super) const LARGEST_ATTRIBUTE: usize = u16::MAX as usize - ATTRIBUTE_HEADER;

/// What stands in the header of one message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    /// Subsystem and message number.
    pub(super) kind: u16,
    /// `NLM_F_*`.
    pub(super) flags: u16,
    /// What the answer will carry too.
    pub(super) sequence: u32,
    /// `NFPROTO_*`.
    pub(super) family: u8,
    /// `res_id`: the subsystem, for the begin and end of a batch.
    pub(super) resource: u16,
}

/// Bytes of messages to be sent.
#[derive(Debug, Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// All messages so far.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Appends a message with what `attributes` writes.
    ///
    /// # Panics
    /// When the message is larger than 4 GiB.
    pub(super) fn message(&mut self, header: Header, attributes: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.bytes.extend([0; 4]);
        self.bytes.extend(header.kind.to_ne_bytes());
        self.bytes.extend(header.flags.to_ne_bytes());
        self.bytes.extend(header.sequence.to_ne_bytes());
        // The sender's port: the kernel fills it in.
        self.bytes.extend([0; 4]);
        // NFNETLINK_V0 is the only version.
        self.bytes.extend([header.family, 0]);
        self.bytes.extend(header.resource.to_be_bytes());
        attributes(self);
        let length = u32::try_from(self.bytes.len() - start).expect("a message below 4 GiB");
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    /// Appends an attribute.
    ///
    /// # Panics
    /// When `value` is longer than [`LARGEST_ATTRIBUTE`].
    pub(super) fn attribute(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(value.len() + ATTRIBUTE_HEADER).expect("a 16-bit length");
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        self.pad();
    }

    /// Appends a number in network byte order, as nf_tables wants them.
    pub(super) fn number(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_be_bytes());
    }

    /// Appends text with its closing NUL.
    pub(super) fn text(&mut self, kind: u16, value: &str) {
        let mut terminated = Vec::with_capacity(value.len() + 1);
        terminated.extend(value.as_bytes());
        terminated.push(0);
        self.attribute(kind, &terminated);
    }

    /// Appends an attribute that holds what `attributes` writes.
    ///
    /// # Panics
    /// When that is longer than [`LARGEST_ATTRIBUTE`].
    pub(super) fn nested(&mut self, kind: u16, attributes: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.bytes.extend([0; 2]);
        self.bytes.extend((kind | NESTED).to_ne_bytes());
        attributes(self);
        let length = u16::try_from(self.bytes.len() - start).expect("a 16-bit length");
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// One message that the kernel sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    /// Whose request it answers or tells of: the number of that socket.
    pub(super) port: u32,
    /// What follows the header.
    pub(super) payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// The attributes of a message of netfilter.
    pub(super) fn attributes(&self) -> Attributes<'a> {
        Attributes(self.payload.get(FAMILY_HEADER..).unwrap_or_default())
    }

    /// The error number (positive, 0 for an acknowledgement) and the kernel's
    /// explanation, of an `NLMSG_ERROR`, or of an `NLMSG_DONE` that tells of one.
    pub(super) fn error(&self) -> Option<(i32, Option<&'a str>)> {
        let number = i32::from_ne_bytes(self.payload.first_chunk().copied()?);
        let quoted = match self.kind {
            NLMSG_DONE => 0,
            _ if self.flags & NLM_F_CAPPED != 0 => HEADER,
            _ => {
                let length = self.payload.get(4..)?.first_chunk().copied()?;
                usize::try_from(u32::from_ne_bytes(length)).ok()?.checked_next_multiple_of(4)?
            }
        };
        let explained = self.flags & NLM_F_ACK_TLVS != 0;
        let attributes = quoted.checked_add(4).and_then(|start| self.payload.get(start..));
        let text = attributes.filter(|_| explained).and_then(|bytes| {
            // NLMSGERR_ATTR_MSG
            Attributes(bytes).value(1).and_then(text)
        });
        Some((number.wrapping_neg(), text))
    }
}

/// The messages of one datagram.
#[derive(Clone, Copy, Debug)]
pub(super) struct Messages<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let header: &[u8; HEADER] = self.0.first_chunk()?;
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]);
        let length = usize::try_from(length).ok()?;
        let payload = self.0.get(HEADER..length)?;
        self.0 = self.0.get(length.checked_next_multiple_of(4)?..).unwrap_or_default();
        Some(Message {
            kind: u16::from_ne_bytes([header[4], header[5]]),
            flags: u16::from_ne_bytes([header[6], header[7]]),
            sequence: u32::from_ne_bytes([header[8], header[9], header[10], header[11]]),
            port: u32::from_ne_bytes([header[12], header[13], header[14], header[15]]),
            payload,
        })
    }
}

/// A run of attributes: each one's type, without the flag bits, and its value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attributes<'a>(pub(super) &'a [u8]);

impl<'a> Attributes<'a> {
    /// The value of the first attribute of this type.
    pub(super) fn value(mut self, kind: u16) -> Option<&'a [u8]> {
        self.find(|(found, _)| *found == kind).map(|(_, value)| value)
    }

    /// The attributes inside the first attribute of this type.
    pub(super) fn nested(self, kind: u16) -> Option<Self> {
        self.value(kind).map(Self)
    }

    /// The number in network byte order that the first attribute of this type holds.
    pub(super) fn number(self, kind: u16) -> Option<u32> {
        self.value(kind).and_then(number)
    }

    /// The text that the first attribute of this type holds.
    pub(super) fn text(self, kind: u16) -> Option<&'a str> {
        self.value(kind).and_then(text)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<(u16, &'a [u8])> {
        let header: &[u8; ATTRIBUTE_HEADER] = self.0.first_chunk()?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let value = self.0.get(ATTRIBUTE_HEADER..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([header[2], header[3]]) & TYPE_MASK, value))
    }
}

fn number(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_be_bytes)
}

fn text(value: &[u8]) -> Option<&str> {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    std::str::from_utf8(&value[..end]).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> Writer {
        let mut writer = Writer::default();
        for sequence in [7, 8] {
            let header = Header { kind: 0xa00, flags: 1, sequence, family: 1, resource: 0 };
            writer.message(header, |writer| {
                writer.text(1, "name");
                writer.nested(2, |writer| writer.number(3, 0x0102_0304));
            });
        }
        writer
    }

    #[test]
    fn what_is_written_is_read() {
        let writer = sample();
        let messages: Vec<_> = Messages(writer.bytes()).collect();
        assert_eq!(messages.iter().map(|m| m.sequence).collect::<Vec<_>>(), [7, 8]);
        let attributes = messages[1].attributes();
        assert_eq!(attributes.text(1), Some("name"));
        assert_eq!(attributes.nested(2).and_then(|inner| inner.number(3)), Some(0x0102_0304));
        assert_eq!(attributes.number(1), None);
        assert_eq!(attributes.value(9), None);
    }

    #[test]
    fn an_answer_with_its_explanation() {
        // NLMSG_ERROR of -ENOENT that quotes the header alone and says why.
        let mut payload = (-2_i32).to_ne_bytes().to_vec();
        payload.extend([0; HEADER]);
        let mut explanation = Writer::default();
        explanation.text(1, "no such set");
        payload.extend(explanation.bytes());
        let flags = NLM_F_CAPPED | NLM_F_ACK_TLVS;
        let message = Message { kind: NLMSG_ERROR, flags, sequence: 1, port: 0, payload: &payload };
        assert_eq!(message.error(), Some((2, Some("no such set"))));
        let plain = Message { flags: NLM_F_CAPPED, ..message };
        assert_eq!(plain.error(), Some((2, None)));
        let cut = Message { payload: &payload[..3], ..message };
        assert_eq!(cut.error(), None);
    }

    #[test]
    fn a_datagram_that_is_cut_gives_what_is_whole() {
        let writer = sample();
        for end in 0..writer.bytes().len() {
            let whole = Messages(&writer.bytes()[..end]).count();
            assert_eq!(whole, end / (writer.bytes().len() / 2), "cut at {end}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for message in Messages(&bytes) {
                let _ = message.error();
                for (_, value) in message.attributes() {
                    let _ = Attributes(value).count();
                }
            }
            for kind in 0..4 {
                let _ = (Attributes(&bytes).text(kind), Attributes(&bytes).number(kind));
            }
        }
    }
}

//! What DNS wants to hear: messages in frames, and answers that are no more than a header.

use bytes::{Buf, BytesMut};
use domain::base::iana::Rcode;
use domain::base::{Message, MessageBuilder};
use smol_transports::Transport;

pub(crate) type DnsMessage = Message<Vec<u8>>;

/// DnsMessage of a datagram that passes everywhere.
const LARGEST_DATAGRAM: u16 = 1232;
/// What every client can receive.
const SMALLEST_DATAGRAM: u16 = 512;

/// Messages on a stream, each behind its length in two bytes.
#[derive(Default)]
pub(crate) struct Frames(BytesMut);

impl Frames {
    pub(crate) fn extend(&mut self, data: &[u8]) {
        self.0.extend_from_slice(data);
    }

    /// The next message that has arrived whole.
    pub(crate) fn next(&mut self) -> Option<Vec<u8>> {
        let (length, rest) = self.0.split_first_chunk()?;
        let message = rest.get(..u16::from_be_bytes(*length).into())?.to_vec();
        self.0.advance(2 + message.len());
        Some(message)
    }
}

pub(crate) fn write_frame(transport: &Transport, message: &DnsMessage) {
    let message = message.as_slice();
    let length = u16::try_from(message.len()).expect("what came in a datagram or a frame is no longer");
    transport.write_vectored([&length.to_be_bytes(), message]);
}

/// An answer that says why there is none.
pub(crate) fn failure(query: &DnsMessage, code: Rcode) -> DnsMessage {
    empty(query, code, false)
}

/// The answer as a datagram: without its records if it is too long, so that the client asks again by TCP.
pub(crate) fn cut(query: &DnsMessage, answer: DnsMessage) -> DnsMessage {
    let room = query.opt().map_or(SMALLEST_DATAGRAM, |opt| opt.udp_payload_size());
    let room = room.clamp(SMALLEST_DATAGRAM, LARGEST_DATAGRAM);
    if answer.as_slice().len() <= room.into() { answer } else { empty(query, answer.header().rcode(), true) }
}

fn empty(query: &DnsMessage, code: Rcode, truncated: bool) -> DnsMessage {
    let asked = query.header();
    let mut builder = MessageBuilder::new_vec();
    let header = builder.header_mut();
    header.set_id(asked.id());
    header.set_qr(true);
    header.set_opcode(asked.opcode());
    header.set_rd(asked.rd());
    header.set_ra(true);
    header.set_tc(truncated);
    header.set_rcode(code);
    let mut builder = builder.question();
    // Many of them, which may refer to one long name, would make it far longer than what it answers.
    if let Ok(question) = query.sole_question() {
        builder.push(question).expect("a vector has room");
    }
    let mut builder = builder.additional();
    if query.opt().is_some() {
        let size = |opt: &mut domain::base::message_builder::OptBuilder<'_, _>| {
            opt.set_udp_payload_size(LARGEST_DATAGRAM);
            Ok(())
        };
        builder.opt(size).expect("a vector has room");
    }
    builder.into_message()
}

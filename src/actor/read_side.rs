//! The receiving half of an actor.

use std::io;
use std::task::{Context, Poll};

use super::delivery::Delivery;
use crate::io::scratch::SIZE;
use crate::io::{Endpoint, Flow, Recv};
use crate::message::Event;
use crate::protocol::OnEof;
use crate::state::kind::Kind;

/// Bytes received at once while something waits to be sent.
const SMALL: usize = 64 * 1024;

/// Short reads of one turn.
const READS: usize = 16;

/// What one turn of reading has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Nothing more now; the task is woken when there is, or when reading is wanted again.
    Rest,
    /// The turn is used up, there may be more.
    Spent,
}

/// Receives and delivers, one turn of work at most.
pub(crate) fn poll_read(
    cx: &mut Context<'_>,
    endpoint: &mut dyn Endpoint,
    delivery: &mut Delivery<'_>,
) -> io::Result<Turn> {
    for _ in 0..READS {
        if delivery.view.has_news {
            // More is to be told than one turn may: nobody has asked for what can be read, so nobody would wake the task.
            return Ok(Turn::Spent);
        }
        if !delivery.wants_data() {
            return Ok(Turn::Rest);
        }
        if endpoint.poll_recv_ready(cx)?.is_pending() {
            return Ok(Turn::Rest);
        }
        match receive(cx, endpoint, delivery)? {
            Poll::Pending | Poll::Ready(Recv::Awaited) => return Ok(Turn::Rest),
            Poll::Ready(Recv::Idle) => {}
            Poll::Ready(Recv::More) if delivery.flow() == Flow::Continue => return Ok(Turn::Spent),
            Poll::Ready(Recv::More) => {}
            Poll::Ready(Recv::Eof) => end_of_file(delivery),
        }
    }
    Ok(Turn::Spent)
}

/// One receive, in the way that the present protocol asks for.
fn receive(cx: &mut Context<'_>, endpoint: &mut dyn Endpoint, delivery: &mut Delivery<'_>) -> io::Result<Poll<Recv>> {
    if !delivery.takes_buffers() {
        // While the peer does not read, what it sends may have to wait here as well.
        let budget = if delivery.view.has_backlog { SMALL } else { SIZE };
        return Ok(endpoint.poll_recv(cx, budget, &mut |data| delivery.data(data))?);
    }
    let Some(buffer) = delivery.buffer(SIZE)? else { return Ok(Poll::Pending) };
    match endpoint.poll_recv_into(cx, buffer)? {
        Poll::Pending => Ok(Poll::Pending),
        Poll::Ready(0) => Ok(Poll::Ready(Recv::Eof)),
        Poll::Ready(count) => {
            delivery.reads += 1;
            delivery.deliver(Event::BufferUpdated(count));
            Ok(Poll::Ready(Recv::Idle))
        }
    }
}

/// What the end of file means is what the kinds of stream differ in most.
fn end_of_file(delivery: &mut Delivery<'_>) {
    match delivery.mailbox.kind() {
        Kind::ReadPipe => {
            delivery.mailbox.hang_up();
            delivery.deliver(Event::EofReceived);
        }
        Kind::WritePipe => delivery.mailbox.reader_gone(),
        kind => {
            if delivery.deliver(Event::EofReceived) == OnEof::Close || !kind.can_write_eof() {
                delivery.mailbox.close();
            }
        }
    }
    delivery.settle();
}

//! Two protocols against each other.

use std::task::Poll;

use super::{Memory, Peer, poll};
use crate::connection::Connection;
use crate::protocol::StreamProtocol;
use crate::transport::Transport;

/// Runs two protocols against each other until both have ended, and gives them back: a client and its server, in memory.
///
/// What one writes arrives at the other in one piece for each turn, its end of file after it. A conversation that never
/// ends never returns.
///
/// # Panics
///
/// If both wait for the other one. A panic of a callback goes on in the caller.
///
/// # Examples
///
/// ```
/// use smol_transports::testing::{Memory, converse};
/// use smol_transports::{Protocol, Transport};
///
/// struct Echo;
///
/// impl Protocol for Echo {
///     fn data_received(&mut self, transport: &Transport, data: &[u8]) {
///         transport.write(data);
///     }
/// }
///
/// struct Client(Vec<u8>);
///
/// impl Protocol for Client {
///     fn connection_made(&mut self, transport: &Transport) {
///         transport.write("hello");
///     }
///
///     fn data_received(&mut self, transport: &Transport, data: &[u8]) {
///         self.0.extend_from_slice(data);
///         transport.close();
///     }
/// }
///
/// let (client, Echo) = converse(Memory::new(Client(Vec::new())), Memory::new(Echo));
/// assert_eq!(client.0, b"hello");
/// ```
#[track_caller]
pub fn converse<A, B>(one: Memory<A>, other: Memory<B>) -> (A, B)
where
    A: StreamProtocol<Transport>,
    B: StreamProtocol<Transport>,
{
    let (mut one, mut other) = (Speaker::new(one), Speaker::new(other));
    while one.speak(&other.peer) | other.speak(&one.peer) {}
    match (one.state, other.state) {
        (State::Over(one), State::Over(other)) => (one, other),
        _ => panic!("the conversation is not over, and neither has anything to say"),
    }
}

/// One side of a conversation.
struct Speaker<P: StreamProtocol<Transport>> {
    state: State<P>,
    peer: Peer,
    /// The other side knows that this one has finished.
    finished: bool,
}

enum State<P: StreamProtocol<Transport>> {
    Talking(Connection<P>),
    Over(P),
}

impl<P: StreamProtocol<Transport>> Speaker<P> {
    fn new(memory: Memory<P>) -> Self {
        let (connection, peer) = memory.connect();
        Self { state: State::Talking(connection), peer, finished: false }
    }

    /// Does all that can be done now, and hands over what was said. False if that is nothing.
    fn speak(&mut self, to: &Peer) -> bool {
        if let State::Talking(connection) = &mut self.state {
            if let Poll::Ready(protocol) = poll(connection) {
                self.state = State::Over(protocol);
            }
        }
        let said = self.peer.take_written();
        let spoke = !said.is_empty();
        if spoke {
            to.feed(said);
        }
        let finishes = !self.finished && (self.peer.has_eof() || self.peer.is_closed());
        if finishes {
            self.finished = true;
            to.feed_eof();
        }
        spoke || finishes
    }
}

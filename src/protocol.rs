//! The traits that users implement.

use std::io;

use crate::message::Event;
use crate::transport::{ReadTransport, Transport, WriteTransport};

/// What to do when the peer has finished sending.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "there is no third answer")]
pub enum OnEof {
    /// Close the transport, after what is buffered was sent.
    #[default]
    Close,
    /// Keep the own side open: the protocol closes the transport when it is done.
    KeepOpen,
}

/// A protocol on a stream of bytes.
///
/// ```text
/// start → connection_made [→ data_received]* [→ eof_received]? → connection_lost → end
/// ```
///
/// `pause_writing` and `resume_writing` may come at any time between `connection_made` and `connection_lost`, strictly
/// in turn, beginning with a pause.
///
/// Every method has a default that does nothing. A method is never called while another one of the same protocol runs:
/// what a callback asks of its transport takes effect before the next callback. A panic in a callback ends this
/// transport only: `connection_lost` is called with an error, and whoever awaits the connection gets the panic.
///
/// `T` is the handle that the callbacks are given: [`Transport`] for two-way streams, [`ReadTransport`] and
/// [`WriteTransport`] for pipes.
///
/// # Examples
///
/// ```
/// use smol_transports::{Protocol, Transport};
///
/// struct Echo;
///
/// impl Protocol for Echo {
///     fn data_received(&mut self, transport: &Transport, data: &[u8]) {
///         transport.write(data);
///     }
/// }
/// ```
#[allow(unused_variables)]
pub trait Protocol<T = Transport> {
    /// The connection is open; reading starts after this call.
    fn connection_made(&mut self, transport: &T) {}

    /// Bytes have arrived; never empty. A message may come in pieces, and a piece may hold several messages.
    fn data_received(&mut self, transport: &T, data: &[u8]) {}

    /// The peer will send no more. Not called when the connection broke.
    fn eof_received(&mut self, transport: &T) -> OnEof {
        OnEof::Close
    }

    /// More bytes wait to be sent than the high mark allows: please stop writing.
    fn pause_writing(&mut self, transport: &T) {}

    /// The buffer has emptied to the low mark: writing may go on.
    fn resume_writing(&mut self, transport: &T) {}

    /// The connection is gone; the last call. `None` after an orderly end: end of file, `close` or `abort`.
    fn connection_lost(&mut self, exc: Option<io::Error>) {}
}

/// A protocol on a stream of bytes that brings its own receive buffer. Wrap it in [`Buffered`] where it is handed over.
///
/// ```text
/// start → connection_made [→ get_buffer [→ buffer_updated]?]* [→ eof_received]? → connection_lost → end
/// ```
///
/// Like [`Protocol`] otherwise.
///
/// # Examples
///
/// ```
/// use smol_transports::{Buffered, BufferedProtocol, Transport};
///
/// struct Count { buffer: Vec<u8>, total: usize }
///
/// impl BufferedProtocol for Count {
///     fn get_buffer(&mut self, _size_hint: usize) -> &mut [u8] {
///         &mut self.buffer
///     }
///
///     fn buffer_updated(&mut self, _transport: &Transport, nbytes: usize) {
///         self.total += nbytes;
///     }
/// }
///
/// let protocol = Buffered(Count { buffer: vec![0; 4096], total: 0 });
/// ```
#[allow(unused_variables)]
pub trait BufferedProtocol<T = Transport> {
    /// The connection is open; reading starts after this call.
    fn connection_made(&mut self, transport: &T) {}

    /// Lends the buffer to receive into, all of it. An empty one is an error that ends the connection. A call may be
    /// followed by another one without a `buffer_updated` between them.
    fn get_buffer(&mut self, size_hint: usize) -> &mut [u8];

    /// That many bytes have arrived at the start of the buffer; never zero.
    fn buffer_updated(&mut self, transport: &T, nbytes: usize);

    /// The peer will send no more. Not called when the connection broke.
    fn eof_received(&mut self, transport: &T) -> OnEof {
        OnEof::Close
    }

    /// More bytes wait to be sent than the high mark allows: please stop writing.
    fn pause_writing(&mut self, transport: &T) {}

    /// The buffer has emptied to the low mark: writing may go on.
    fn resume_writing(&mut self, transport: &T) {}

    /// The connection is gone; the last call. `None` after an orderly end: end of file, `close` or `abort`.
    fn connection_lost(&mut self, exc: Option<io::Error>) {}
}

/// Marks a [`BufferedProtocol`] where a stream protocol is expected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "a mark around one value")]
pub struct Buffered<P>(pub P);

/// Any protocol that a stream transport with the handle `T` can drive: every [`Protocol`], and every
/// [`BufferedProtocol`] inside [`Buffered`]. It cannot be implemented by hand.
pub trait StreamProtocol<T>: sealed::Stream<T> {}

impl<T, P: sealed::Stream<T> + ?Sized> StreamProtocol<T> for P {}

pub(crate) mod sealed {
    use super::{Event, OnEof};

    /// One entry for all callbacks, so that the actors need not know the kind of protocol.
    ///
    /// The read side asks for a `buffer` before each receive, so a protocol sees one kind of data event only.
    pub trait Stream<T> {
        /// Makes the callback for `event`. The answer counts for `EofReceived` alone.
        fn event(&mut self, transport: &T, event: Event<'_>) -> OnEof;

        /// The buffer to receive into; `None` if the protocol takes bytes as they are lent.
        fn buffer(&mut self, size_hint: usize) -> Option<&mut [u8]>;
    }
}

macro_rules! stream_protocol {
    ($handle:ty) => {
        impl<P: Protocol<$handle>> sealed::Stream<$handle> for P {
            fn event(&mut self, transport: &$handle, event: Event<'_>) -> OnEof {
                match event {
                    Event::ConnectionMade => self.connection_made(transport),
                    Event::DataReceived(data) => self.data_received(transport, &data),
                    Event::BufferUpdated(_) => {}
                    Event::EofReceived => return self.eof_received(transport),
                    Event::PauseWriting => self.pause_writing(transport),
                    Event::ResumeWriting => self.resume_writing(transport),
                    Event::ConnectionLost(exc) => self.connection_lost(exc),
                }
                OnEof::Close
            }

            fn buffer(&mut self, _: usize) -> Option<&mut [u8]> {
                None
            }
        }

        impl<P: BufferedProtocol<$handle>> sealed::Stream<$handle> for Buffered<P> {
            fn event(&mut self, transport: &$handle, event: Event<'_>) -> OnEof {
                match event {
                    Event::ConnectionMade => self.0.connection_made(transport),
                    Event::DataReceived(_) => {}
                    Event::BufferUpdated(count) => self.0.buffer_updated(transport, count),
                    Event::EofReceived => return self.0.eof_received(transport),
                    Event::PauseWriting => self.0.pause_writing(transport),
                    Event::ResumeWriting => self.0.resume_writing(transport),
                    Event::ConnectionLost(exc) => self.0.connection_lost(exc),
                }
                OnEof::Close
            }

            fn buffer(&mut self, size_hint: usize) -> Option<&mut [u8]> {
                Some(self.0.get_buffer(size_hint))
            }
        }
    };
}

stream_protocol!(Transport);
stream_protocol!(ReadTransport);
stream_protocol!(WriteTransport);

macro_rules! forward_common {
    ($trait:ident) => {
        fn connection_made(&mut self, transport: &T) {
            <P as $trait<T>>::connection_made(self, transport);
        }

        fn eof_received(&mut self, transport: &T) -> OnEof {
            <P as $trait<T>>::eof_received(self, transport)
        }

        fn pause_writing(&mut self, transport: &T) {
            <P as $trait<T>>::pause_writing(self, transport);
        }

        fn resume_writing(&mut self, transport: &T) {
            <P as $trait<T>>::resume_writing(self, transport);
        }

        fn connection_lost(&mut self, exc: Option<io::Error>) {
            <P as $trait<T>>::connection_lost(self, exc);
        }
    };
}

macro_rules! forward {
    ($pointer:ty) => {
        impl<T, P: Protocol<T> + ?Sized> Protocol<T> for $pointer {
            forward_common!(Protocol);

            fn data_received(&mut self, transport: &T, data: &[u8]) {
                <P as Protocol<T>>::data_received(self, transport, data);
            }
        }

        impl<T, P: BufferedProtocol<T> + ?Sized> BufferedProtocol<T> for $pointer {
            forward_common!(BufferedProtocol);

            fn get_buffer(&mut self, size_hint: usize) -> &mut [u8] {
                <P as BufferedProtocol<T>>::get_buffer(self, size_hint)
            }

            fn buffer_updated(&mut self, transport: &T, nbytes: usize) {
                <P as BufferedProtocol<T>>::buffer_updated(self, transport, nbytes);
            }
        }
    };
}

forward!(&mut P);
forward!(Box<P>);

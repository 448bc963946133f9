//! The traits that users implement.

use std::io;
#[cfg(unix)]
use std::process::ExitStatus;

use crate::datagram::DatagramTransport;
use crate::info::Addr;
use crate::message::Event;
#[cfg(unix)]
use crate::process::SubprocessTransport;
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
/// Every method has a default: `eof_received` closes the transport, the others do nothing. A method is never called while another one of the same protocol runs:
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
///
///     // A peer may send without reading the answers: it is not read from while they pile up. Examples elsewhere leave
///     // this out.
///     fn pause_writing(&mut self, transport: &Transport) {
///         transport.pause_reading();
///     }
///
///     fn resume_writing(&mut self, transport: &Transport) {
///         transport.resume_reading();
///     }
/// }
/// ```
#[doc(alias = "BaseProtocol")]
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
    /// followed by another one without a `buffer_updated` between them. `size_hint` is what protocols without a buffer are
    /// given at once at most, 256 KiB; the buffer may be smaller or larger.
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

/// One of the three pipes of a child process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(clippy::exhaustive_enums, reason = "there are three")]
pub enum Pipe {
    /// What the child reads; written here.
    Stdin,
    /// What the child prints; read here.
    Stdout,
    /// What the child reports; read here.
    Stderr,
}

impl Pipe {
    /// The number of the descriptor in the child: 0, 1 or 2.
    #[must_use]
    pub const fn fd(self) -> i32 {
        self as i32
    }

    /// The pipe with that number.
    #[must_use]
    pub const fn from_fd(fd: i32) -> Option<Self> {
        match fd {
            0 => Some(Self::Stdin),
            1 => Some(Self::Stdout),
            2 => Some(Self::Stderr),
            _ => None,
        }
    }
}

/// A protocol on a child process.
///
/// ```text
/// start → connection_made [→ pipe_data_received | pipe_connection_lost | process_exited]* → connection_lost → end
/// ```
///
/// The exit and the end of each pipe come in any order: a descendant of the child may hold a pipe for longer than the
/// child lives. All data of a pipe come before its loss. `connection_lost` follows the exit and the loss of every pipe.
///
/// Otherwise like [`Protocol`].
///
/// # Examples
///
/// ```
/// use smol_transports::{Pipe, SubprocessProtocol, SubprocessTransport};
///
/// #[derive(Default)]
/// struct Output(Vec<u8>);
///
/// impl SubprocessProtocol for Output {
///     fn pipe_data_received(&mut self, _: &SubprocessTransport, _: Pipe, data: &[u8]) {
///         self.0.extend_from_slice(data);
///     }
/// }
/// ```
#[cfg(unix)]
#[allow(unused_variables)]
pub trait SubprocessProtocol {
    /// The child is running.
    fn connection_made(&mut self, transport: &SubprocessTransport) {}

    /// The child has written to its standard output or error; never empty.
    fn pipe_data_received(&mut self, transport: &SubprocessTransport, pipe: Pipe, data: &[u8]) {}

    /// A pipe is gone. `None` after an orderly end: end of file, `close`, or a child that has closed its end of `Stdin`
    /// while nothing waited to be written.
    fn pipe_connection_lost(&mut self, transport: &SubprocessTransport, pipe: Pipe, exc: Option<io::Error>) {}

    /// The child has exited, whatever still holds its pipes. What it has written itself was told before, unless a pipe is
    /// paused.
    fn process_exited(&mut self, transport: &SubprocessTransport, status: ExitStatus) {}

    /// More bytes wait for `Stdin` than the high mark allows: please stop writing.
    fn pause_writing(&mut self, transport: &SubprocessTransport, pipe: Pipe) {}

    /// The buffer for `Stdin` has emptied: writing may go on.
    fn resume_writing(&mut self, transport: &SubprocessTransport, pipe: Pipe) {}

    /// All is over; the last call. The child has exited and its pipes are gone, unless the
    /// [`Subprocess`](crate::Subprocess) was dropped or a callback has panicked: then the child was killed, and nobody is
    /// told its exit. `exc` is there only if a callback has panicked.
    fn connection_lost(&mut self, exc: Option<io::Error>) {}
}

/// A protocol on datagrams.
///
/// ```text
/// start → connection_made [→ datagram_received | error_received]* → connection_lost → end
/// ```
///
/// An error is that of one datagram: the endpoint lives on, and is ended by its handle alone. Otherwise like
/// [`Protocol`].
///
/// # Examples
///
/// ```
/// use smol_transports::{Addr, DatagramProtocol, DatagramTransport};
///
/// struct Echo;
///
/// impl DatagramProtocol for Echo {
///     fn datagram_received(&mut self, transport: &DatagramTransport, data: &[u8], addr: &Addr) {
///         transport.send_to(data, addr);
///     }
/// }
/// ```
#[allow(unused_variables)]
pub trait DatagramProtocol {
    /// The endpoint is there; reading starts after this call.
    fn connection_made(&mut self, transport: &DatagramTransport) {}

    /// A datagram has arrived: whole, and possibly empty. The sender on a Unix socket often has no name.
    fn datagram_received(&mut self, transport: &DatagramTransport, data: &[u8], addr: &Addr) {}

    /// A datagram could not be sent and was dropped, or the system has reported that an earlier one did not arrive, or
    /// one could not be received. Comes as soon as the callback that has sent it returns. While 65,536 errors wait to be
    /// told no more of them are kept.
    fn error_received(&mut self, transport: &DatagramTransport, exc: io::Error) {}

    /// More bytes wait to be sent than the high mark allows: please stop sending.
    fn pause_writing(&mut self, transport: &DatagramTransport) {}

    /// The buffer has emptied to the low mark: sending may go on.
    fn resume_writing(&mut self, transport: &DatagramTransport) {}

    /// The endpoint is gone; the last call. `None` after `close` or `abort`.
    fn connection_lost(&mut self, exc: Option<io::Error>) {}
}

/// Marks a [`BufferedProtocol`] where a stream protocol is expected: `create_connection(Buffered(protocol), addr)`.
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

        /// Whether it has buffers to receive into; else it takes bytes as they are lent.
        fn takes_buffers(&self) -> bool;

        /// The buffer to receive into.
        fn buffer(&mut self, size_hint: usize) -> &mut [u8];
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

            fn takes_buffers(&self) -> bool {
                false
            }

            fn buffer(&mut self, _: usize) -> &mut [u8] {
                &mut []
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

            fn takes_buffers(&self) -> bool {
                true
            }

            fn buffer(&mut self, size_hint: usize) -> &mut [u8] {
                self.0.get_buffer(size_hint)
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

macro_rules! forward_subprocess {
    ($pointer:ty) => {
        #[cfg(unix)]
        impl<P: SubprocessProtocol + ?Sized> SubprocessProtocol for $pointer {
            fn connection_made(&mut self, transport: &SubprocessTransport) {
                (**self).connection_made(transport);
            }

            fn pipe_data_received(&mut self, transport: &SubprocessTransport, pipe: Pipe, data: &[u8]) {
                (**self).pipe_data_received(transport, pipe, data);
            }

            fn pipe_connection_lost(&mut self, transport: &SubprocessTransport, pipe: Pipe, exc: Option<io::Error>) {
                (**self).pipe_connection_lost(transport, pipe, exc);
            }

            fn process_exited(&mut self, transport: &SubprocessTransport, status: ExitStatus) {
                (**self).process_exited(transport, status);
            }

            fn pause_writing(&mut self, transport: &SubprocessTransport, pipe: Pipe) {
                (**self).pause_writing(transport, pipe);
            }

            fn resume_writing(&mut self, transport: &SubprocessTransport, pipe: Pipe) {
                (**self).resume_writing(transport, pipe);
            }

            fn connection_lost(&mut self, exc: Option<io::Error>) {
                (**self).connection_lost(exc);
            }
        }
    };
}

forward_subprocess!(&mut P);
forward_subprocess!(Box<P>);

macro_rules! forward_datagram {
    ($pointer:ty) => {
        impl<P: DatagramProtocol + ?Sized> DatagramProtocol for $pointer {
            fn connection_made(&mut self, transport: &DatagramTransport) {
                (**self).connection_made(transport);
            }

            fn datagram_received(&mut self, transport: &DatagramTransport, data: &[u8], addr: &Addr) {
                (**self).datagram_received(transport, data, addr);
            }

            fn error_received(&mut self, transport: &DatagramTransport, exc: io::Error) {
                (**self).error_received(transport, exc);
            }

            fn pause_writing(&mut self, transport: &DatagramTransport) {
                (**self).pause_writing(transport);
            }

            fn resume_writing(&mut self, transport: &DatagramTransport) {
                (**self).resume_writing(transport);
            }

            fn connection_lost(&mut self, exc: Option<io::Error>) {
                (**self).connection_lost(exc);
            }
        }
    };
}

forward_datagram!(&mut P);
forward_datagram!(Box<P>);

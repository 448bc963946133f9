//! Transports and protocols for smol: callbacks on real sockets, in the manner of Python's asyncio.
//!
//! You write a [`Protocol`], a value whose methods are called when the connection is made, when bytes arrive and when
//! it ends. A transport does the rest: it owns the socket, buffers what cannot be sent yet, and tells the protocol when
//! to stop writing and when to go on.
//!
//! ```
//! use std::io;
//!
//! use smol_transports::{Protocol, Transport, create_connection, create_server};
//!
//! struct Echo;
//!
//! impl Protocol for Echo {
//!     fn data_received(&mut self, transport: &Transport, data: &[u8]) {
//!         transport.write(data);
//!     }
//!
//!     // A client that does not read must not fill the memory.
//!     fn pause_writing(&mut self, transport: &Transport) {
//!         transport.pause_reading();
//!     }
//!
//!     fn resume_writing(&mut self, transport: &Transport) {
//!         transport.resume_reading();
//!     }
//! }
//!
//! #[derive(Default)]
//! struct Client {
//!     answer: Vec<u8>,
//! }
//!
//! impl Protocol for Client {
//!     fn connection_made(&mut self, transport: &Transport) {
//!         transport.write("Hello World!\n");
//!     }
//!
//!     fn data_received(&mut self, transport: &Transport, data: &[u8]) {
//!         self.answer.extend_from_slice(data);
//!         if self.answer.ends_with(b"\n") {
//!             transport.close();
//!         }
//!     }
//! }
//!
//! fn main() -> io::Result<()> {
//!     smol::block_on(async {
//!         let server = create_server(|| Echo, "127.0.0.1:0").await?;
//!         let address = server.local_addr()?;
//!         let (handle, serving) = server.spawn();
//!
//!         // The first await connects, the second one runs the connection to its end.
//!         let client = create_connection(Client::default(), address).await?.await;
//!         assert_eq!(client.answer, b"Hello World!\n");
//!
//!         handle.close();
//!         serving.await
//!     })
//! }
//! ```
//!
//! # How it works
//!
//! - An entry point, such as [`create_connection`] or [`create_datagram_endpoint`], gives a running thing that is a future:
//!   a [`Connection`] makes progress while it is polled and resolves to the protocol when it is lost. A [`Server`] is run by
//!   one of its `serve_*` methods, or in the background by [`Server::spawn`].
//! - [`Connection::transport`] is its handle: cloneable, `Send + Sync`, never blocking. Callbacks are given it too.
//! - What waits to leave lies in a buffer with two marks, [`WriteLimits`], that decide when `pause_writing` and
//!   `resume_writing` are called.
//! - [`spawn`] runs a future of yours beside the transports: what a callback begins and cannot wait for.
//! - [`actor::open`] gives the layer below: messages in, events out, without a protocol.
//! - [`testing`] runs a protocol without a socket.
//! - `capture` (Unix) runs a child and captures its output, with sinks, time limits, and a stop for all that it has
//!   started.
//!
//! The names of asyncio's transports and protocols can be searched for here. The repository has [a book] that begins at the
//! beginning.
//!
//! [a book]: https://github.com/smol-rs/smol-transports/blob/HEAD/book/src/SUMMARY.md
//!
//! # Features
//!
//! None is on by default, and each only adds something: `tls`, TLS with the cryptography of ring; `tls-aws-lc`, the same
//! with that of AWS-LC; `tls-custom`, TLS with a configuration of your own; beside one of the first two,
//! `tls-platform-roots` and `tls-webpki-roots`, the authorities that a client trusts; `tracing`, spans and events.
//!
//! # What runs in the background
//!
//! - The thread of async-io, from the first connect on, or the first socket or timer that waits outside of a driver;
//!   threads of the `blocking` crate while names are looked up; where there are no pidfds, the thread of async-process
//!   once a child was started.
//! - On Linux, the threads of the [`driver`], one unless more are asked for, once something runs in the background: by
//!   [`Connection::spawn`] and its like, [`Server::spawn`], [`Server::serve_forever`] or [`spawn`], and for the collecting of
//!   a child that is dropped while it runs. Elsewhere smol's global executor does this work.
//!
//! [`driver`]: https://docs.rs/smol-transports/latest/smol_transports/driver/
//!
//! This crate installs no signal handler; to learn that a child has exited, async-process does so on systems other than
//! Linux from 5.3 on.
//!
//! # Watching it
//!
//! - [`stats::stats`] reads counters that are always on: transports alive, bytes that wait to be sent, reads, writes.
//! - With the feature `tracing` each transport has a span named `transport`, at the level DEBUG. Its fields say what it
//!   is, and with whom it talks; its events, how it was made, paused, resumed, and lost. Callbacks run inside of it, so
//!   that what a protocol logs belongs to the transport.

#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod actor;
mod address;
#[cfg(unix)]
pub mod capture;
mod connect;
mod connection;
mod datagram;
#[cfg(unix)]
mod deferred;
#[cfg(target_os = "linux")]
pub mod driver;
mod info;
mod io;
mod message;
#[cfg(unix)]
mod pipe;
#[cfg(unix)]
mod process;
mod protocol;
mod running;
mod sendfile;
mod server;
mod state;
pub mod stats;
mod stream;
mod sync;
pub mod testing;
#[cfg(feature = "tls-custom")]
mod tls;
mod trace;
mod transport;
#[cfg(unix)]
mod unix;

pub use address::Address;
pub use connect::{
    Connect, ConnectSocket, Connecting, StreamSocket, connect_accepted_socket, connect_socket, create_connection,
};
pub use connection::{Connection, Parts};
pub use datagram::{
    CreateDatagramEndpoint, CreatingDatagramEndpoint, DatagramEndpoint, DatagramSocket, DatagramTransport, Family,
    create_datagram_endpoint,
};
#[cfg(unix)]
pub use deferred::Deferred;
pub use info::{Addr, Credentials, ExtraInfo, PipeKind, SocketKind, UnixAddr};
pub use message::{Closed, Command, DatagramCommand, DatagramEvent, Event, Misuse, ReadCommand, WriteCommand, Written};
#[cfg(unix)]
pub use message::{ProcessCommand, ProcessEvent};
#[cfg(unix)]
pub use pipe::{ConnectReadPipe, ConnectWritePipe, connect_read_pipe, connect_write_pipe};
#[cfg(unix)]
pub use process::{
    IntoCommand, PipeTransport, Spawn, Stdio, Subprocess, SubprocessTransport, subprocess_exec, subprocess_shell,
};
#[cfg(unix)]
pub use protocol::SubprocessProtocol;
pub use protocol::{Buffered, BufferedProtocol, DatagramProtocol, OnEof, Pipe, Protocol, StreamProtocol};
pub use running::{Running, spawn};
pub use sendfile::SendFile;
pub use server::{CreateServer, CreatingServer, Listen, Server, ServerHandle, Serving, create_server};
pub use state::limits::WriteLimits;
pub use stream::{ConnectStream, IoStream, connect_stream};
#[cfg(feature = "tls-custom")]
#[cfg_attr(docsrs, doc(cfg(any(feature = "tls", feature = "tls-aws-lc", feature = "tls-custom"))))]
pub use tls::{IntoServerName, IntoTlsAcceptor, IntoTlsConnector, StartTls, Tls, TlsInfo};
pub use transport::{ReadTransport, Transport, WriteTransport};
#[cfg(unix)]
pub use unix::{ConnectUnix, create_unix_connection, create_unix_server};

/// Crates whose types are in the interface.
pub use {bytes, socket2};

#[cfg(feature = "tls-custom")]
#[cfg_attr(docsrs, doc(cfg(any(feature = "tls", feature = "tls-aws-lc", feature = "tls-custom"))))]
pub use futures_rustls::{self, rustls};

/// Longer documents: the reasons, the inside, and what has changed.
#[cfg(doc)]
pub mod _documentation {
    #[doc = "[ARCHITECTURE.md]: crate::_documentation::architecture"]
    #[doc = ""]
    #[doc = include_str!("../DESIGN.md")]
    pub mod design {}

    #[doc = include_str!("../ARCHITECTURE.md")]
    pub mod architecture {}

    #[doc = include_str!("../CHANGELOG.md")]
    pub mod changelog {}
}

/// With the features that its examples need.
#[cfg(all(doctest, any(feature = "tls", feature = "tls-aws-lc"), feature = "tls-webpki-roots"))]
#[doc = include_str!("../README.md")]
struct Readme;

//! Transports and protocols for smol: callbacks on real sockets, in the manner of Python's asyncio.
//!
//! You write a [`Protocol`], a value whose methods are called when the connection is made, when bytes arrive and when
//! it ends. A transport does the rest: it owns the socket, buffers what cannot be sent yet, and tells the protocol when
//! to stop writing and when to go on.
//!
//! ```no_run
//! use smol_transports::{Protocol, Transport, create_server};
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
//! fn main() -> std::io::Result<()> {
//!     smol::block_on(async {
//!         create_server(|| Echo, "127.0.0.1:8888").await?.serve_forever().await
//!     })
//! }
//! ```
//!
//! # How it works
//!
//! - An entry point, [`create_connection`], [`connect_socket`] or [`create_server`], gives a running thing that is a
//!   future: a [`Connection`] makes progress while it is polled and resolves to the protocol when it is lost.
//! - [`Connection::transport`] is its handle: cloneable, `Send + Sync`, never blocking. Callbacks are given it too.
//! - What waits to leave lies in a buffer with two marks, [`WriteLimits`], that decide when `pause_writing` and
//!   `resume_writing` are called.
//! - [`actor::open`] gives the layer below: messages in, events out, without a protocol.
//! - [`testing`] runs a protocol without a socket.
//!
//! # What runs in the background
//!
//! The thread of async-io that waits for sockets and timers; threads of the `blocking` crate while names are looked up;
//! and smol's global executor, one thread unless `SMOL_THREADS` says otherwise, once something is spawned on it: by
//! [`Connection::spawn`], [`Server::spawn`] or [`Server::serve_forever`]. No signal handler is installed.

#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod actor;
mod address;
mod connect;
mod connection;
mod info;
mod io;
mod message;
#[cfg(unix)]
mod pipe;
mod protocol;
mod running;
mod server;
mod state;
pub mod stats;
pub mod testing;
mod transport;

pub use address::Address;
pub use connect::{
    Connect, ConnectSocket, Connecting, StreamSocket, connect_accepted_socket, connect_socket, create_connection,
};
pub use connection::{Connection, Parts};
pub use info::{Addr, ExtraInfo, UnixAddr};
pub use message::{Closed, Command, Event, Misuse, Written};
#[cfg(unix)]
pub use pipe::{ConnectReadPipe, ConnectWritePipe, connect_read_pipe, connect_write_pipe};
pub use protocol::{Buffered, BufferedProtocol, OnEof, Protocol, StreamProtocol};
pub use running::Running;
pub use server::{CreateServer, CreatingServer, Listen, Server, ServerHandle, Serving, create_server};
pub use state::limits::WriteLimits;
pub use transport::{ReadTransport, Transport, WriteTransport};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

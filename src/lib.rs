//! Transports and protocols on smol: callbacks on sockets, as in Python's asyncio.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod actor;
mod address;
mod connect;
mod connection;
mod info;
mod io;
mod message;
mod protocol;
mod server;
mod state;
pub mod stats;
pub mod testing;
mod transport;

pub use address::Address;
pub use connect::{
    Connect, ConnectSocket, Connecting, StreamSocket, connect_accepted_socket, connect_socket, create_connection,
};
pub use connection::{Connection, Parts, Running};
pub use info::{Addr, ExtraInfo, UnixAddr};
pub use message::{Closed, Command, Event, Misuse, Written};
pub use protocol::{Buffered, BufferedProtocol, OnEof, Protocol, StreamProtocol};
pub use server::{CreateServer, CreatingServer, Listen, Server, ServerHandle, Serving, create_server};
pub use state::limits::WriteLimits;
pub use transport::Transport;

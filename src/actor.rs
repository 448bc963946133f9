//! The message layer: a transport without a protocol.
//!
//! [`open`] gives three things: a handle to post messages to, a stream of [`Event`](crate::Event)s, and the actor
//! between them, a future that must be polled.
//!
//! # Examples
//!
//! ```
//! use smol::stream::StreamExt;
//! use smol_transports::{Event, actor, spawn};
//!
//! # #[cfg(unix)]
//! # smol::block_on(async {
//! let (near, mut far) = std::os::unix::net::UnixStream::pair()?;
//! let (transport, mut events, actor) = actor::open(near)?;
//! let task = spawn(actor);
//!
//! std::io::Write::write_all(&mut far, b"ping")?;
//! drop(far);
//! while let Some(event) = events.next().await {
//!     match event {
//!         Event::DataReceived(data) => assert_eq!(*data, *b"ping"),
//!         Event::EofReceived => transport.close(),
//!         _ => {}
//!     }
//! }
//! task.await;
//! # std::io::Result::Ok(())
//! # })?;
//! # std::io::Result::Ok(())
//! ```

pub(crate) mod cause;
pub(crate) mod datagram;
pub(crate) mod datagram_side;
pub(crate) mod delivery;
mod events;
pub(crate) mod mailbox;
#[cfg(all(test, any(model = "loom", model = "shuttle")))]
mod models;
#[cfg(unix)]
pub(crate) mod process;
pub(crate) mod queue;
pub(crate) mod read_side;
pub(crate) mod report;
pub(crate) mod send_side;
pub(crate) mod stream;
pub(crate) mod succession;
pub(crate) mod times;
pub(crate) mod watch;
pub(crate) mod write_side;

pub use events::{Actor, DatagramActor, DatagramEvents, Events, open, open_datagram};
#[cfg(unix)]
pub use events::{ProcessActor, ProcessEvents, open_process, open_read_pipe, open_write_pipe};

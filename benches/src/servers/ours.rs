//! This crate: through the whole abstraction, with a protocol whose type is erased.

use std::io;
use std::net::TcpListener;

use smol_transports::{Protocol, Transport, create_server};

type Erased = Box<dyn Protocol + Send>;

struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        transport.write(data);
    }

    // A loop that awaits its writes does not read ahead of them either.
    fn pause_writing(&mut self, transport: &Transport) {
        transport.pause_reading();
    }

    fn resume_writing(&mut self, transport: &Transport) {
        transport.resume_reading();
    }
}

fn echo() -> Erased {
    Box::new(Echo)
}

/// Clients on smol's global executor.
pub(super) fn serve_forever(listener: TcpListener) -> io::Result<()> {
    smol::block_on(async { create_server(echo, listener).nodelay(true).await?.serve_forever().await })
}

/// Clients on this thread.
pub(super) fn serve_local(listener: TcpListener) -> io::Result<()> {
    smol::block_on(async { create_server(echo, listener).nodelay(true).await?.serve_local().await })
}

//! A protocol on a socket that exists already: asyncio's example "Connecting Existing Sockets".
//!
//! Run it with `cargo run --example existing_socket`.

#![cfg_attr(not(unix), allow(unused))]

use std::io::{self, Write};

use smol_transports::{Protocol, Transport, connect_socket};

struct MyProtocol;

impl Protocol for MyProtocol {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        println!("Received: {:?}", String::from_utf8_lossy(data));

        // We are done: close the transport. `connection_lost` is called next.
        transport.close();
    }

    fn connection_lost(&mut self, _exc: Option<io::Error>) {
        println!("The socket is closed");
    }
}

#[cfg(unix)]
fn main() -> io::Result<()> {
    smol::block_on(async {
        let (rsock, mut wsock) = std::os::unix::net::UnixStream::pair()?;
        let connection = connect_socket(MyProtocol, rsock).await?;

        // Simulate the reception of data from the network.
        wsock.write_all(b"abc")?;

        connection.await;
        Ok(())
    })
}

#[cfg(not(unix))]
fn main() {
    println!("This example needs a socket pair, which only Unix has.");
}

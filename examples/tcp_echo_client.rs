//! A TCP echo client: asyncio's example of that name.
//!
//! Run it with `cargo run --example tcp_echo_client [ADDRESS]` while `tcp_echo_server` is running. The address is
//! `127.0.0.1:8888` if none is given.

use std::io;

use smol_transports::{Protocol, Transport, create_connection};

struct EchoClient {
    message: &'static str,
}

impl Protocol for EchoClient {
    fn connection_made(&mut self, transport: &Transport) {
        transport.write(self.message);
        println!("Data sent: {:?}", self.message);
    }

    fn data_received(&mut self, _transport: &Transport, data: &[u8]) {
        println!("Data received: {:?}", String::from_utf8_lossy(data));
    }

    fn connection_lost(&mut self, _exc: Option<io::Error>) {
        println!("The server closed the connection");
    }
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8888".to_owned());
    smol::block_on(async {
        // Awaiting the connection takes the place of the page's `on_con_lost` future.
        create_connection(EchoClient { message: "Hello World!" }, address).await?.await;
        Ok(())
    })
}

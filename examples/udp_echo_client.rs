//! A UDP echo client: asyncio's example of that name.
//!
//! Run it with `cargo run --example udp_echo_client` while the server of the other example is running.

use std::io;

use smol_transports::{Addr, DatagramProtocol, DatagramTransport, create_datagram_endpoint};

struct EchoClient {
    message: &'static str,
}

impl DatagramProtocol for EchoClient {
    fn connection_made(&mut self, transport: &DatagramTransport) {
        println!("Send: {}", self.message);
        transport.send(self.message);
    }

    fn datagram_received(&mut self, transport: &DatagramTransport, data: &[u8], _addr: &Addr) {
        println!("Received: {}", String::from_utf8_lossy(data));

        println!("Close the socket");
        transport.close();
    }

    fn error_received(&mut self, _transport: &DatagramTransport, exc: io::Error) {
        println!("Error received: {exc}");
    }

    fn connection_lost(&mut self, _exc: Option<io::Error>) {
        println!("Connection closed");
    }
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9999".to_owned());
    smol::block_on(async {
        // Awaiting the endpoint takes the place of the page's `on_con_lost` future.
        create_datagram_endpoint(EchoClient { message: "Hello World!" }).remote_addr(address).await?.await;
        Ok(())
    })
}

//! A TCP echo server: asyncio's example of that name.
//!
//! Run it with `cargo run --example tcp_echo_server [ADDRESS]`, then `tcp_echo_client`, or `nc 127.0.0.1 8888`. The
//! address is `127.0.0.1:8888` if none is given; with port 0 the system chooses one.

use std::io;

use smol_transports::{Protocol, Transport, create_server};

struct EchoServer;

impl Protocol for EchoServer {
    fn connection_made(&mut self, transport: &Transport) {
        if let Some(peername) = transport.extra_info().peername() {
            println!("Connection from {peername}");
        }
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        let message = String::from_utf8_lossy(data);
        println!("Data received: {message:?}");

        println!("Send: {message:?}");
        transport.write(data);

        println!("Close the client socket");
        transport.close();
    }
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8888".to_owned());
    smol::block_on(async {
        let server = create_server(|| EchoServer, address).await?;
        println!("Serving on {}", server.local_addr()?);
        server.serve_forever().await
    })
}

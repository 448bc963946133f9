//! A UDP echo server: asyncio's example of that name.
//!
//! Run it with `cargo run --example udp_echo_server`, then the client of the other example, or `nc -u 127.0.0.1 9999`.

use std::io;
use std::time::Duration;

use smol::Timer;
use smol_transports::{Addr, DatagramProtocol, DatagramTransport, create_datagram_endpoint};

struct EchoServer;

impl DatagramProtocol for EchoServer {
    fn datagram_received(&mut self, transport: &DatagramTransport, data: &[u8], addr: &Addr) {
        let message = String::from_utf8_lossy(data);
        println!("Received {message:?} from {addr}");
        println!("Send {message:?} to {addr}");
        transport.send_to(data, addr);
    }
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1);
    println!("Starting UDP server");
    smol::block_on(async {
        let local = address.as_deref().unwrap_or("127.0.0.1:9999");
        let mut endpoint = create_datagram_endpoint(EchoServer).local_addr(local).await?;
        if let (Some(_), Some(sockname)) = (&address, endpoint.transport().extra_info().sockname()) {
            println!("Serving on {sockname}");
        }
        // Serve for one hour. Dropping the endpoint closes it.
        endpoint.run_until(Timer::after(Duration::from_secs(3600))).await;
        Ok(())
    })
}

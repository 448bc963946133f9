//! A UDP server that counts, and a client that asks again.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use smol::{Timer, future};
use smol_transports::{Addr, DatagramProtocol, DatagramTransport, create_datagram_endpoint};

// ANCHOR: server
/// Tells each sender how many datagrams have come from it.
#[derive(Default)]
struct Counter {
    seen: HashMap<Addr, u32>,
}

impl DatagramProtocol for Counter {
    fn datagram_received(&mut self, transport: &DatagramTransport, _data: &[u8], addr: &Addr) {
        let count = self.seen.entry(addr.clone()).or_default();
        *count += 1;
        transport.send_to(count.to_string(), addr);
    }
}
// ANCHOR_END: server

// ANCHOR: client
#[derive(Default)]
struct Client {
    answer: Option<String>,
    errors: Vec<io::Error>,
}

impl DatagramProtocol for Client {
    fn datagram_received(&mut self, transport: &DatagramTransport, data: &[u8], _addr: &Addr) {
        self.answer = Some(String::from_utf8_lossy(data).into_owned());
        transport.close();
    }

    fn error_received(&mut self, _transport: &DatagramTransport, exc: io::Error) {
        self.errors.push(exc);
    }
}
// ANCHOR_END: client

// ANCHOR: ask
/// Asks up to five times: a datagram may be lost on its way, and so may the answer.
async fn ask(address: &str) -> io::Result<String> {
    let (transport, running) = create_datagram_endpoint(Client::default()).remote_addr(address).await?.spawn();
    for _ in 0..5 {
        transport.send("how many?");
        let patience = async {
            Timer::after(Duration::from_secs(1)).await;
            Ok(())
        };
        future::or(transport.closed(), patience).await?;
        if transport.is_closing() {
            break;
        }
    }
    transport.close();
    let mut client = running.await;
    let exc = client.errors.pop().unwrap_or_else(|| io::ErrorKind::TimedOut.into());
    client.answer.ok_or(exc)
}
// ANCHOR_END: ask

// ANCHOR: main
pub fn main() -> io::Result<()> {
    smol::block_on(async {
        let server = create_datagram_endpoint(Counter::default()).local_addr("127.0.0.1:0").await?;
        let address = server.local_addr()?.to_string();
        let (_transport, _running) = server.spawn();
        println!("the answer is {}", ask(&address).await?);
        Ok(())
    })
}
// ANCHOR_END: main

#[cfg(test)]
mod tests {
    use smol_transports::testing::{MemoryDatagram, finish, poll};

    use super::*;

    // ANCHOR: test
    #[test]
    fn senders_are_counted_apart() {
        let (mut endpoint, network) = MemoryDatagram::new(Counter::default()).open();
        let [near, far] = [1, 2].map(|host| Addr::from(([10, 0, 0, host], 9999)));
        network.feed("how many?", &near);
        network.feed("how many?", &far);
        network.feed("", &near);
        assert!(poll(&mut endpoint).is_pending());

        let sent = network.take_sent();
        let expected = [("1", near.clone()), ("1", far), ("2", near)];
        assert_eq!(sent, expected.map(|(data, addr)| (data.as_bytes().to_vec(), Some(addr))));
    }
    // ANCHOR_END: test

    #[test]
    fn an_error_is_that_of_one_datagram() {
        let server = Addr::from(([10, 0, 0, 1], 9999));
        let (mut endpoint, network) = MemoryDatagram::new(Client::default()).remote_addr(&server).open();
        network.fail_receiving(io::ErrorKind::ConnectionRefused.into());
        assert!(poll(&mut endpoint).is_pending());
        network.feed("1", &server);
        let client = finish(endpoint);
        assert_eq!(client.answer.as_deref(), Some("1"));
        assert_eq!(client.errors[0].kind(), io::ErrorKind::ConnectionRefused);
    }
}

//! A client that asks a question, and what its connection leaves behind.

// ANCHOR: client
use std::io;
use std::time::Duration;

use smol_transports::{Protocol, Transport, create_connection};

#[derive(Default)]
struct Client {
    answer: Vec<u8>,
    exc: Option<io::Error>,
}

impl Protocol for Client {
    fn connection_made(&mut self, transport: &Transport) {
        transport.write("Hello World!\n");
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        self.answer.extend_from_slice(data);
        if self.answer.ends_with(b"\n") {
            transport.close();
        }
    }

    fn connection_lost(&mut self, exc: Option<io::Error>) {
        self.exc = exc;
    }
}
// ANCHOR_END: client

// ANCHOR: answer
impl Client {
    fn into_answer(self) -> io::Result<String> {
        if let Some(exc) = self.exc {
            return Err(exc);
        }
        if !self.answer.ends_with(b"\n") {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        String::from_utf8(self.answer).map_err(io::Error::other)
    }
}
// ANCHOR_END: answer

// ANCHOR: ask
async fn ask(address: &str) -> io::Result<String> {
    let connection = create_connection(Client::default(), address).connect_timeout(Duration::from_secs(10)).await?;
    let client = connection.await;
    client.into_answer()
}
// ANCHOR_END: ask

// ANCHOR: main
pub fn main() -> io::Result<()> {
    let address = std::env::args().nth(2).unwrap_or_else(|| "127.0.0.1:8888".to_owned());
    let answer = smol::block_on(ask(&address))?;
    print!("the server has answered: {answer}");
    Ok(())
}
// ANCHOR_END: main

// ANCHOR: background
/// Two questions at once: the connections run in the background.
async fn ask_both(first: &str, second: &str) -> io::Result<[String; 2]> {
    let (_, first) = create_connection(Client::default(), first).await?.spawn();
    let (_, second) = create_connection(Client::default(), second).await?.spawn();
    Ok([first.await.into_answer()?, second.await.into_answer()?])
}
// ANCHOR_END: background

// ANCHOR: outside
/// Drives the connection from outside of the protocol: writes in a task, and waits where a callback could not.
async fn upload(address: &str, blocks: &[&[u8]]) -> io::Result<()> {
    let (transport, running) = create_connection(Sink, address).await?.spawn();
    for block in blocks {
        transport.write(block);
        transport.drain().await?;
    }
    transport.write_eof()?;
    transport.closed().await?;
    running.await;
    Ok(())
}

struct Sink;

impl Protocol for Sink {}
// ANCHOR_END: outside

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use smol_transports::testing::{Memory, poll};

    use super::*;

    #[test]
    fn it_closes_after_the_answer() {
        let (mut connection, peer) = Memory::new(Client::default()).connect();
        assert!(poll(&mut connection).is_pending());
        assert_eq!(peer.take_written(), b"Hello World!\n");
        peer.feed("Hel");
        assert!(poll(&mut connection).is_pending());
        peer.feed("lo!\n");
        let std::task::Poll::Ready(client) = poll(&mut connection) else { panic!("it is not closed") };
        assert_eq!(client.into_answer().unwrap(), "Hello!\n");
    }

    #[test]
    fn a_server_that_hangs_up_too_early_is_an_error() {
        let (mut connection, peer) = Memory::new(Client::default()).connect();
        peer.feed("Hel");
        peer.feed_eof();
        let std::task::Poll::Ready(client) = poll(&mut connection) else { panic!("it is not closed") };
        assert_eq!(client.into_answer().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    /// A server that sends each of its clients back what it has sent, up to the end of a line or of the file.
    fn server(clients: usize) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        thread::spawn(move || {
            for stream in listener.incoming().take(clients) {
                let mut stream = stream.unwrap();
                let mut line = Vec::new();
                while !line.ends_with(b"\n") {
                    let mut byte = [0];
                    if stream.read(&mut byte).unwrap() == 0 {
                        break;
                    }
                    line.push(byte[0]);
                }
                stream.write_all(&line).unwrap();
            }
        });
        address
    }

    #[test]
    fn it_asks_on_sockets() {
        let address = server(3);
        assert_eq!(smol::block_on(ask(&address)).unwrap(), "Hello World!\n");
        let both = smol::block_on(ask_both(&address, &address)).unwrap();
        assert_eq!(both, ["Hello World!\n", "Hello World!\n"]);
    }

    #[test]
    fn it_uploads() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = thread::spawn(move || {
            let mut all = Vec::new();
            listener.accept().unwrap().0.read_to_end(&mut all).unwrap();
            all
        });
        let block = vec![7; 300_000];
        smol::block_on(upload(&address, &[&block, &block, b"end"])).unwrap();
        assert_eq!(server.join().unwrap().len(), 600_003);
    }
}

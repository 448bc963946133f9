//! A TCP echo server.

// ANCHOR: program
use std::io;

use smol_transports::{Protocol, Transport, create_server};

// ANCHOR: echo
struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        transport.write(data);
    }
    // ANCHOR_END: echo

    // ANCHOR: pauses
    fn pause_writing(&mut self, transport: &Transport) {
        transport.pause_reading();
    }

    fn resume_writing(&mut self, transport: &Transport) {
        transport.resume_reading();
    }
    // ANCHOR_END: pauses

    // ANCHOR: lost
    fn connection_lost(&mut self, exc: Option<io::Error>) {
        match exc {
            None => println!("a client has left"),
            Some(exc) => println!("a client was lost: {exc}"),
        }
    }
    // ANCHOR_END: lost
}

// ANCHOR: main
pub fn main() -> io::Result<()> {
    let address = std::env::args().nth(2).unwrap_or_else(|| "127.0.0.1:8888".to_owned());
    smol::block_on(async {
        let server = create_server(|| Echo, address).await?;
        println!("serving on {}", server.local_addr()?);
        server.serve_forever().await
    })
}
// ANCHOR_END: main
// ANCHOR_END: program

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpStream};

    use smol_transports::testing::{Memory, poll};

    use super::*;

    // ANCHOR: test
    #[test]
    fn every_piece_comes_back() {
        let (mut connection, peer) = Memory::new(Echo).connect();
        peer.feed("hello");
        assert!(poll(&mut connection).is_pending());
        assert_eq!(peer.take_written(), b"hello");

        peer.feed_eof();
        assert!(poll(&mut connection).is_ready());
        assert!(peer.is_closed());
    }
    // ANCHOR_END: test

    #[test]
    fn a_client_that_does_not_read_is_not_read_from() {
        let (mut connection, peer) = Memory::new(Echo).connect();
        peer.set_room(0);
        for _ in 0..100 {
            peer.feed(vec![b'x'; 10_000]);
        }
        assert!(poll(&mut connection).is_pending());
        let transport = connection.transport();
        assert!(!transport.is_reading());
        assert!(transport.write_buffer_size() <= transport.write_buffer_limits().high_water() + 10_000);

        peer.set_room(usize::MAX);
        assert!(poll(&mut connection).is_pending());
        assert_eq!(peer.take_written().len(), 1_000_000);
    }

    #[test]
    fn what_was_sent_before_the_end_of_file_comes_back_on_a_socket() {
        smol::block_on(async {
            let server = create_server(|| Echo, "127.0.0.1:0").await?;
            let mut stream = TcpStream::connect(server.local_addr()?)?;
            let (handle, serving) = server.spawn();
            let answer = smol::unblock(move || {
                stream.write_all(b"hello")?;
                stream.shutdown(Shutdown::Write)?;
                let mut answer = String::new();
                stream.read_to_string(&mut answer)?;
                io::Result::Ok(answer)
            });
            assert_eq!(answer.await?, "hello");
            handle.close();
            serving.await
        })
        .unwrap();
    }
}

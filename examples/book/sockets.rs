//! Sockets that exist already: given to a protocol, and taken back.

use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use smol::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use smol_transports::{Connection, Parts, Protocol, Transport, connect_accepted_socket, connect_socket, create_server};

// ANCHOR: collect
#[derive(Default)]
struct Collect {
    data: Vec<u8>,
}

impl Protocol for Collect {
    fn data_received(&mut self, _transport: &Transport, data: &[u8]) {
        self.data.extend_from_slice(data);
    }
}
// ANCHOR_END: collect

// ANCHOR: main
pub fn main() -> io::Result<()> {
    let (ours, mut theirs) = pair()?;
    thread::spawn(move || theirs.write_all(b"abc"));
    smol::block_on(async {
        let collected = connect_socket(Collect::default(), ours).await?.await;
        println!("received {:?}", String::from_utf8_lossy(&collected.data));
        Ok(())
    })
}
// ANCHOR_END: main

/// The two ends of a TCP connection.
fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let near = TcpStream::connect(listener.local_addr()?)?;
    Ok((near, listener.accept()?.0))
}

// ANCHOR: accepted
/// Accepts by other means, and runs a protocol on what was accepted.
async fn serve_one(listener: &smol::net::TcpListener) -> io::Result<Vec<u8>> {
    let (stream, _) = listener.accept().await?;
    Ok(connect_accepted_socket(Collect::default(), stream).await?.await.data)
}
// ANCHOR_END: accepted

// ANCHOR: listening
/// Serves on a socket that somebody else has bound: a test, a supervisor, an earlier version of this program.
async fn serve_on(listener: TcpListener) -> io::Result<()> {
    create_server(Collect::default, listener).await?.serve_forever().await
}
// ANCHOR_END: listening

// ANCHOR: stream
/// Goes on with `read` and `write` where the protocol has stopped.
async fn ask_a_question<P: Protocol>(connection: Connection<P>) -> io::Result<String> {
    let (mut stream, _protocol) = connection.into_stream();
    stream.write_all(b"how are you?\n").await?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).await?;
    Ok(answer)
}
// ANCHOR_END: stream

// ANCHOR: parts
/// Takes the socket back.
fn take_back(connection: Connection<Collect>) -> (Option<socket2::Socket>, Vec<u8>) {
    let Parts { socket, protocol, unsent, .. } = connection.into_parts();
    assert!(unsent.is_empty(), "nothing was written");
    (socket, protocol.data)
}
// ANCHOR_END: parts

#[cfg(test)]
mod tests {
    use std::io::Read;

    use smol_transports::testing::{Memory, poll};

    use super::*;

    #[test]
    fn a_socket_that_was_accepted_elsewhere() {
        smol::block_on(async {
            let listener = smol::net::TcpListener::bind("127.0.0.1:0").await?;
            let mut client = TcpStream::connect(listener.local_addr()?)?;
            client.write_all(b"abc")?;
            drop(client);
            assert_eq!(serve_one(&listener).await?, b"abc");
            io::Result::Ok(())
        })
        .unwrap();
    }

    #[test]
    fn a_socket_that_listens_already() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let task = smol::spawn(serve_on(listener));
        let mut client = TcpStream::connect(address).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(client.read(&mut [0]).unwrap(), 0, "it is served, and closed at the end of file");
        drop(task);
    }

    #[test]
    fn a_stream_of_a_connection() {
        smol::block_on(async {
            let (ours, mut theirs) = pair()?;
            theirs.write_all(b"very well\n")?;
            let connection = connect_socket(Collect::default(), ours).await?;
            assert_eq!(ask_a_question(connection).await?, "very well\n");
            let mut question = [0; 13];
            theirs.read_exact(&mut question)?;
            assert_eq!(&question, b"how are you?\n");
            io::Result::Ok(())
        })
        .unwrap();
    }

    #[test]
    fn a_socket_that_is_taken_back() {
        smol::block_on(async {
            let (ours, mut theirs) = pair()?;
            let connection = connect_socket(Collect::default(), ours).await?;
            let transport = connection.transport().clone();
            let (socket, data) = take_back(connection);
            assert!(transport.is_closing() && data.is_empty());
            theirs.write_all(b"x")?;
            let mut stream = TcpStream::from(socket.expect("it is not in use"));
            stream.set_nonblocking(false)?;
            assert_eq!(stream.read(&mut [0; 2])?, 1);
            io::Result::Ok(())
        })
        .unwrap();
    }

    #[test]
    fn what_has_arrived_stays_with_the_protocol() {
        let (mut connection, peer) = Memory::new(Collect::default()).connect();
        peer.feed("abc");
        assert!(poll(&mut connection).is_pending());
        let (socket, data) = take_back(connection);
        assert_eq!((socket.is_none(), data.as_slice()), (true, &b"abc"[..]));
    }
}

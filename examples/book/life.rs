//! A protocol that tells what it is told.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;

use smol_transports::{OnEof, Protocol, Transport, create_connection};

// ANCHOR: protocol
struct Narrator;

impl Protocol for Narrator {
    fn connection_made(&mut self, transport: &Transport) {
        println!("connection_made");
        transport.write("hello");
    }

    fn data_received(&mut self, _transport: &Transport, data: &[u8]) {
        println!("data_received({:?})", String::from_utf8_lossy(data));
    }

    fn eof_received(&mut self, _transport: &Transport) -> OnEof {
        println!("eof_received");
        OnEof::Close
    }

    fn connection_lost(&mut self, exc: Option<io::Error>) {
        println!("connection_lost({exc:?})");
    }
}
// ANCHOR_END: protocol

// ANCHOR: main
pub fn main() -> io::Result<()> {
    let address = plain_server()?;
    smol::block_on(async {
        // The first await connects. The second one runs the connection to its end.
        create_connection(Narrator, address).await?.await;
        Ok(())
    })
}
// ANCHOR_END: main

/// A peer that knows nothing of protocols: it answers "hello" with "good bye", and hangs up.
fn plain_server() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        let (mut stream, _) = listener.accept()?;
        stream.read_exact(&mut [0; 5])?;
        stream.write_all(b"good bye")
    });
    Ok(address)
}

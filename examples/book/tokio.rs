//! An echo server as it is written for tokio, and a protocol in a tokio program.

use std::io;

use smol_transports::{Protocol, Transport, create_connection, create_server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

// ANCHOR: tokio
/// One task for each client, and one loop in each task.
async fn tokio_echo(listener: tokio::net::TcpListener) -> io::Result<()> {
    loop {
        let (mut stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            let mut buffer = vec![0; 65536];
            loop {
                let count = stream.read(&mut buffer).await?;
                if count == 0 {
                    return io::Result::Ok(());
                }
                stream.write_all(&buffer[..count]).await?;
            }
        });
    }
}
// ANCHOR_END: tokio

// ANCHOR: ours
/// One value for each client, and one callback for each thing that happens.
struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        transport.write(data);
    }

    fn pause_writing(&mut self, transport: &Transport) {
        transport.pause_reading();
    }

    fn resume_writing(&mut self, transport: &Transport) {
        transport.resume_reading();
    }
}
// ANCHOR_END: ours

// ANCHOR: main
pub fn main() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let theirs = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let ours = create_server(|| Echo, "127.0.0.1:0").await?;
        let addresses = [theirs.local_addr()?, ours.local_addr()?];

        tokio::spawn(tokio_echo(theirs));
        tokio::spawn(ours.serve_forever());
        for address in addresses {
            // The future of a connection does not care which runtime polls it.
            let connection = create_connection(Client::default(), address).await?;
            let client = tokio::spawn(connection).await?;
            println!("{}", String::from_utf8_lossy(&client.answer));
        }
        Ok(())
    })
}
// ANCHOR_END: main

#[derive(Default)]
struct Client {
    answer: Vec<u8>,
}

impl Protocol for Client {
    fn connection_made(&mut self, transport: &Transport) {
        transport.write("the same from both");
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        self.answer.extend_from_slice(data);
        if self.answer.len() == "the same from both".len() {
            transport.close();
        }
    }
}

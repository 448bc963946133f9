//! smol without this crate: a loop of reading and writing for each client.

use std::io;
use std::net::{TcpListener, TcpStream};

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use smol::{Async, LocalExecutor};

use super::BUFFER;

/// Clients on smol's global executor.
pub(super) fn global(listener: TcpListener) -> io::Result<()> {
    smol::block_on(accept(listener, |client| smol::spawn(echo(client)).detach()))
}

/// Clients on this thread.
pub(super) fn local(listener: TcpListener) -> io::Result<()> {
    let executor = LocalExecutor::new();
    smol::block_on(executor.run(accept(listener, |client| executor.spawn(echo(client)).detach())))
}

async fn accept(listener: TcpListener, spawn: impl Fn(Async<TcpStream>)) -> io::Result<()> {
    let listener = Async::new(listener)?;
    loop {
        let (client, _) = listener.accept().await?;
        client.get_ref().set_nodelay(true)?;
        spawn(client);
    }
}

async fn echo(mut client: Async<TcpStream>) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = client.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        client.write_all(&buffer[..count]).await?;
    }
}

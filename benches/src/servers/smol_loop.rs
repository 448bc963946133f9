//! smol without this crate: a loop of reading and writing for each client.

use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixListener;

use futures_lite::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use smol::{Async, LocalExecutor};

use super::{BUFFER, Socket};

/// Clients on smol's global executor.
pub(super) fn global(socket: Socket) -> io::Result<()> {
    smol::block_on(async {
        match socket {
            Socket::Tcp(listener) => accept_tcp(listener, |client| smol::spawn(echo(client)).detach()).await,
            Socket::Unix(listener) => accept_unix(listener, |client| smol::spawn(echo(client)).detach()).await,
            Socket::Udp(socket) => smol::spawn(answer(socket)).await,
        }
    })
}

/// Clients on this thread.
pub(super) fn local(socket: Socket) -> io::Result<()> {
    let executor = LocalExecutor::new();
    smol::block_on(executor.run(async {
        match socket {
            Socket::Tcp(listener) => accept_tcp(listener, |client| executor.spawn(echo(client)).detach()).await,
            Socket::Unix(listener) => accept_unix(listener, |client| executor.spawn(echo(client)).detach()).await,
            Socket::Udp(socket) => answer(socket).await,
        }
    }))
}

async fn accept_tcp(listener: TcpListener, spawn: impl Fn(Async<std::net::TcpStream>)) -> io::Result<()> {
    let listener = Async::new(listener)?;
    loop {
        let (client, _) = listener.accept().await?;
        client.get_ref().set_nodelay(true)?;
        spawn(client);
    }
}

async fn accept_unix(listener: UnixListener, spawn: impl Fn(Async<std::os::unix::net::UnixStream>)) -> io::Result<()> {
    let listener = Async::new(listener)?;
    loop {
        spawn(listener.accept().await?.0);
    }
}

async fn echo(mut client: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = client.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        client.write_all(&buffer[..count]).await?;
    }
}

async fn answer(socket: UdpSocket) -> io::Result<()> {
    let socket = Async::new(socket)?;
    let mut buffer = vec![0; BUFFER];
    loop {
        let (count, from) = socket.recv_from(&mut buffer).await?;
        socket.send_to(&buffer[..count], from).await?;
    }
}

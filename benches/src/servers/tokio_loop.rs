//! tokio: a loop of reading and writing for each client, everything on one thread.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket, UnixListener};
use tokio::runtime::Builder;

use super::{BUFFER, Socket};

pub(super) fn serve(socket: Socket) -> io::Result<()> {
    Builder::new_current_thread().enable_io().build()?.block_on(async {
        match socket {
            Socket::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                accept_tcp(TcpListener::from_std(listener)?).await
            }
            Socket::Unix(listener) => {
                listener.set_nonblocking(true)?;
                accept_unix(UnixListener::from_std(listener)?).await
            }
            Socket::Udp(socket) => {
                socket.set_nonblocking(true)?;
                answer(UdpSocket::from_std(socket)?).await
            }
        }
    })
}

async fn accept_tcp(listener: TcpListener) -> io::Result<()> {
    loop {
        let (client, _) = listener.accept().await?;
        client.set_nodelay(true)?;
        tokio::spawn(echo(client));
    }
}

async fn accept_unix(listener: UnixListener) -> io::Result<()> {
    loop {
        let (client, _) = listener.accept().await?;
        tokio::spawn(echo(client));
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
    let mut buffer = vec![0; BUFFER];
    loop {
        let (count, from) = socket.recv_from(&mut buffer).await?;
        socket.send_to(&buffer[..count], from).await?;
    }
}

//! Libraries of the same purpose: frames of tokio-util, events of message-io.

use std::io;

use futures_util::{SinkExt, StreamExt};
use message_io::network::{NetEvent, Transport};
use message_io::node;
use tokio_util::codec::{BytesCodec, Framed};

use super::{BUFFER, Socket};

/// A loop over frames for each client, everything on one thread.
pub(super) fn codec(socket: Socket) -> io::Result<()> {
    let Socket::Tcp(listener) = socket else { return Err(io::ErrorKind::Unsupported.into()) };
    tokio::runtime::Builder::new_current_thread().enable_io().build()?.block_on(async {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let (client, _) = listener.accept().await?;
            client.set_nodelay(true)?;
            tokio::spawn(async move {
                let mut frames = Framed::with_capacity(client, BytesCodec::new(), BUFFER);
                while let Some(Ok(frame)) = frames.next().await {
                    if frames.send(frame).await.is_err() {
                        break;
                    }
                }
            });
        }
    })
}

/// One queue of events for all clients.
pub(super) fn events(socket: Socket) -> io::Result<()> {
    let Socket::Tcp(listener) = socket else { return Err(io::ErrorKind::Unsupported.into()) };
    // It binds its sockets itself.
    let address = listener.local_addr()?;
    drop(listener);
    let (handler, events) = node::split::<()>();
    handler.network().listen(Transport::Tcp, address)?;
    events.for_each(move |event| {
        if let NetEvent::Message(client, data) = event.network() {
            handler.network().send(client, data);
        }
    });
    Ok(())
}

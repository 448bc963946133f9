//! A server that stops well.

use std::future::Future;
use std::io;
use std::time::Duration;

use smol_transports::{Protocol, ServerHandle, Transport, create_server};

/// A visitor who may stay as long as it likes.
struct Visit;

impl Protocol for Visit {
    fn connection_made(&mut self, transport: &Transport) {
        println!("a client has come");
        transport.write("welcome\n");
    }

    fn connection_lost(&mut self, _exc: Option<io::Error>) {
        println!("a client has gone");
    }
}

// ANCHOR: main
pub fn main() -> io::Result<()> {
    let address = std::env::args().nth(2).unwrap_or_else(|| "127.0.0.1:8888".to_owned());
    let asked_to_stop = stop_signal()?;
    smol::block_on(async {
        let server = create_server(|| Visit, address).await?;
        println!("serving on {}", server.local_addr()?);
        let (handle, serving) = server.spawn();

        asked_to_stop.await?;
        println!("stopping");
        let aborted = handle.shutdown(Duration::from_secs(10)).await;
        println!("clients that had to be aborted: {aborted}");
        serving.await
    })
}
// ANCHOR_END: main

// ANCHOR: signal
/// Listens for Ctrl-C, and for whoever started the program to end it. From now on, not only when it is awaited.
#[cfg(unix)]
fn stop_signal() -> io::Result<impl Future<Output = io::Result<()>>> {
    use async_signal::{Signal, Signals};
    use smol::stream::StreamExt;

    let mut signals = Signals::new([Signal::Int, Signal::Term])?;
    Ok(async move { signals.next().await.transpose().map(drop) })
}
// ANCHOR_END: signal

#[cfg(not(unix))]
fn stop_signal() -> io::Result<impl Future<Output = io::Result<()>>> {
    Ok(smol::future::pending())
}

// ANCHOR: at_once
/// Ends a server whose clients only wait for news: what is buffered for them is sent, and that is all.
async fn stop_at_once(handle: &ServerHandle, limit: Duration) -> usize {
    // First the door, so that nobody comes in between.
    handle.close();
    handle.close_clients();
    handle.shutdown(limit).await
}
// ANCHOR_END: at_once

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpStream;

    use super::*;

    /// Pours more into a client than it will ever read.
    struct Pour;

    impl Protocol for Pour {
        fn connection_made(&mut self, transport: &Transport) {
            transport.write(vec![0; 50_000_000]);
        }
    }

    /// Runs a server on a free port, with a client that has received so many bytes, up to an end that is asked for.
    fn end<P: Protocol + Send + 'static>(
        protocol: fn() -> P,
        greeting: usize,
        end: impl AsyncFnOnce(ServerHandle) -> usize,
    ) -> (usize, TcpStream) {
        smol::block_on(async {
            let server = create_server(protocol, "127.0.0.1:0").await?;
            let mut client = TcpStream::connect(server.local_addr()?)?;
            let (handle, serving) = server.spawn();
            client.read_exact(&mut vec![0; greeting])?;
            let aborted = end(handle).await;
            serving.await?;
            io::Result::Ok((aborted, client))
        })
        .unwrap()
    }

    #[test]
    fn a_client_may_stay_for_half_of_the_time() {
        // Whether it was closed or aborted then is a matter of how busy the machine is.
        let (_, mut client) = end(|| Visit, 8, async |handle| handle.shutdown(Duration::from_millis(100)).await);
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn clients_get_what_was_buffered_for_them() {
        let (aborted, mut client) =
            end(|| Visit, 8, async |handle| stop_at_once(&handle, Duration::from_secs(60)).await);
        assert_eq!((aborted, client.read(&mut [0]).unwrap()), (0, 0));
    }

    #[test]
    fn one_that_does_not_read_is_not_waited_for() {
        let (aborted, _client) = end(|| Pour, 1, async |handle| stop_at_once(&handle, Duration::from_millis(1)).await);
        assert_eq!(aborted, 1);
    }
}

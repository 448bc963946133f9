//! A server that stops well.

use std::future::Future;
use std::io;
use std::time::Duration;

use smol::{Timer, future};
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
    let address = super::arguments().next().unwrap_or_else(|| "127.0.0.1:8888".to_owned());
    let asked_to_stop = stop_signal()?;
    smol::block_on(async {
        let server = create_server(|| Visit, address).close_timeout(Duration::from_secs(10)).await?;
        println!("serving on {}", server.local_addr()?);
        let (handle, serving) = server.spawn();
        asked_to_stop.await?;
        println!("stopping");
        stop(&handle, Duration::from_secs(5)).await;
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
    Ok(future::pending())
}

// ANCHOR: stop
/// Stops a server: first kindly, and after a while not.
async fn stop(handle: &ServerHandle, patience: Duration) {
    // From here on nobody can connect. Those who are connected do not notice.
    handle.close();
    // What is buffered for them is still sent.
    handle.close_clients();
    or_after(patience, handle.wait_closed(), || handle.abort_clients()).await;
}

/// Waits for `end`, and does something about it if it takes too long.
async fn or_after(patience: Duration, end: impl Future<Output = ()>, act: impl FnOnce()) {
    let late = async {
        Timer::after(patience).await;
        act();
        future::pending().await
    };
    future::or(end, late).await;
}
// ANCHOR_END: stop

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

    #[test]
    fn clients_get_what_was_buffered_for_them() {
        smol::block_on(async {
            let server = create_server(|| Visit, "127.0.0.1:0").await?;
            let mut client = TcpStream::connect(server.local_addr()?)?;
            let (handle, serving) = server.spawn();
            let mut welcome = [0; 8];
            client.read_exact(&mut welcome)?;
            stop(&handle, Duration::from_secs(60)).await;
            assert_eq!(client.read(&mut [0])?, 0);
            serving.await
        })
        .unwrap();
    }

    #[test]
    fn one_that_does_not_read_is_not_waited_for() {
        smol::block_on(async {
            let server = create_server(|| Pour, "127.0.0.1:0").await?;
            let mut client = TcpStream::connect(server.local_addr()?)?;
            let (handle, serving) = server.spawn();
            client.read_exact(&mut [0])?;
            stop(&handle, Duration::from_millis(1)).await;
            serving.await
        })
        .unwrap();
    }
}

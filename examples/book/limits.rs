//! A server for strangers, and what becomes of those who ask too much of it.

use std::io;
use std::time::Duration;

use smol_transports::testing::{Clock, Memory, finish, poll};
use smol_transports::{CreateServer, Protocol, create_server};

const KIB: usize = 1024;
const MINUTE: Duration = Duration::from_secs(60);

/// Tells how it ends.
struct Guest;

impl Protocol for Guest {
    fn connection_lost(&mut self, exc: Option<io::Error>) {
        match exc {
            None => println!("  connection_lost(None)"),
            Some(exc) => println!("  connection_lost({:?}: {exc})", exc.kind()),
        }
    }
}

// ANCHOR: server
/// Nobody can take all the places, all the memory, or all the time.
fn server_for_strangers<F, P>(factory: F, address: &str) -> CreateServer<F>
where
    F: FnMut() -> P,
    P: Protocol,
{
    create_server(factory, address)
        .max_connections(10_000)
        .max_write_buffer(1024 * KIB)
        .idle_timeout(10 * MINUTE)
        .read_timeout(2 * MINUTE)
        .write_timeout(MINUTE)
        .close_timeout(MINUTE)
}
// ANCHOR_END: server

// ANCHOR: silent
/// One who says nothing, and is waited for.
fn silent(clock: &Clock) {
    let (connection, _peer) = Memory::new(Guest).clock(clock).read_timeout(2 * MINUTE).connect();
    clock.advance(2 * MINUTE);
    finish(connection);
}
// ANCHOR_END: silent

// ANCHOR: greedy
/// One who does not read, and is written to all the same.
fn greedy() {
    let (connection, _peer) = Memory::new(Guest).room(0).max_write_buffer(1024 * KIB).connect();
    connection.transport().write(vec![0; 1000 * KIB]);
    connection.transport().write(vec![0; 100 * KIB]);
    finish(connection);
}
// ANCHOR_END: greedy

/// One who takes nothing of what waits for it.
fn stuck(clock: &Clock) {
    let (connection, _peer) = Memory::new(Guest).room(0).clock(clock).write_timeout(MINUTE).connect();
    connection.transport().write("news");
    clock.advance(MINUTE);
    finish(connection);
}

/// One who takes a byte from time to time, and so never ends: only a limit of closing stops it.
fn slow(clock: &Clock) {
    let memory = Memory::new(Guest).room(0).clock(clock).write_timeout(MINUTE).close_timeout(MINUTE);
    let (mut connection, peer) = memory.connect();
    connection.transport().write("good bye, and thank you");
    connection.transport().close();
    while poll(&mut connection).is_pending() {
        clock.advance(MINUTE / 4);
        peer.set_room(1);
    }
}

pub fn main() -> io::Result<()> {
    let clock = Clock::new();
    println!("read_timeout:");
    silent(&clock);
    println!("max_write_buffer:");
    greedy();
    println!("write_timeout:");
    stuck(&clock);
    println!("close_timeout:");
    slow(&clock);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpStream;

    use smol_transports::Transport;

    use super::*;

    /// Greets and stays.
    struct Greeter;

    impl Protocol for Greeter {
        fn connection_made(&mut self, transport: &Transport) {
            transport.write("hello");
        }
    }

    fn hello(mut stream: &TcpStream) -> io::Result<()> {
        let mut greeting = [0; 5];
        stream.read_exact(&mut greeting)?;
        assert_eq!(&greeting, b"hello");
        Ok(())
    }

    #[test]
    fn the_server_greets_as_many_as_have_a_place() {
        smol::block_on(async {
            let server = server_for_strangers(|| Greeter, "127.0.0.1:0").max_connections(2).await?;
            let address = server.local_addr()?;
            let (handle, serving) = server.spawn();
            let [first, second, third] = [0; 3].map(|_| TcpStream::connect(address).unwrap());
            hello(&first)?;
            hello(&second)?;
            assert_eq!(handle.connections(), 2);
            // The third one has waited in the backlog.
            drop(first);
            hello(&third)?;
            drop((second, third));
            handle.close();
            serving.await
        })
        .unwrap();
    }
}

//! Where protocols run, and what to do with work that takes long.

use std::cell::Cell;
use std::io;

use smol::Executor;
use smol_transports::{Protocol, Transport, create_connection, create_server, spawn};

// ANCHOR: slow
/// Answers each piece with a number that takes long to work out.
struct Slow;

impl Protocol for Slow {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        let (transport, data) = (transport.clone(), data.to_vec());
        spawn(async move {
            let number = smol::unblock(move || work_out(&data)).await;
            transport.write(format!("{number}\n"));
        })
        .detach();
    }
}
// ANCHOR_END: slow

/// Takes long where the data is long.
fn work_out(data: &[u8]) -> u32 {
    data.iter().fold(1, |number, byte| number.wrapping_mul(31).wrapping_add(u32::from(*byte)))
}

/// A client that asks once.
#[derive(Default)]
struct Once {
    answer: Vec<u8>,
}

impl Protocol for Once {
    fn connection_made(&mut self, transport: &Transport) {
        transport.write("?");
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        self.answer.extend_from_slice(data);
        if data.ends_with(b"\n") {
            transport.close();
        }
    }
}

// ANCHOR: local
/// Counts the visitors in a plain variable: all of it is one future, on one thread.
async fn count_visitors(visitors: u32) -> io::Result<u32> {
    let count = Cell::new(0);
    let server = create_server(|| Visit { count: &count }, "127.0.0.1:0").await?;
    let (address, handle) = (server.local_addr()?, server.handle());
    let clients = async {
        for _ in 0..visitors {
            create_connection(Once::default(), address).await?.await;
        }
        handle.close();
        Ok(())
    };
    smol::future::try_zip(server.serve_local(), clients).await?;
    Ok(count.get())
}

/// It borrows, and it is neither `Send` nor `'static`.
struct Visit<'a> {
    count: &'a Cell<u32>,
}

impl Protocol for Visit<'_> {
    fn data_received(&mut self, transport: &Transport, _data: &[u8]) {
        self.count.set(self.count.get() + 1);
        transport.write("welcome\n");
    }
}
// ANCHOR_END: local

// ANCHOR: executor
/// Runs a server and its clients on an executor of our own.
async fn on_my_executor(executor: &Executor<'_>) -> io::Result<Vec<u8>> {
    let server = create_server(|| Slow, "127.0.0.1:0").await?;
    let (address, handle) = (server.local_addr()?, server.handle());
    let serving = executor.run(server.serve_on(executor));
    let client = async {
        let (_transport, running) = create_connection(Once::default(), address).await?.spawn_on(executor);
        let client = running.await;
        handle.close();
        Ok(client.answer)
    };
    Ok(smol::future::try_zip(serving, client).await?.1)
}
// ANCHOR_END: executor

// ANCHOR: main
pub fn main() -> io::Result<()> {
    let visitors = smol::block_on(count_visitors(3))?;
    println!("{visitors} visitors");
    let answer = smol::block_on(on_my_executor(&Executor::new()))?;
    print!("the number is {}", String::from_utf8_lossy(&answer));
    on_a_driver()
}
// ANCHOR_END: main

// ANCHOR: driver
/// Makes a driver of this thread.
#[cfg(target_os = "linux")]
fn on_a_driver() -> io::Result<()> {
    use smol_transports::driver;

    driver::block_on(async {
        let server = create_server(|| Slow, "127.0.0.1:0").await?;
        let address = server.local_addr()?;
        let (handle, serving) = server.spawn();
        let client = create_connection(Once::default(), address).await?.await;
        print!("once more: {}", String::from_utf8_lossy(&client.answer));
        handle.close();
        serving.await
    })
}
// ANCHOR_END: driver

#[cfg(not(target_os = "linux"))]
fn on_a_driver() -> io::Result<()> {
    Ok(())
}

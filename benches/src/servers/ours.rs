//! This crate: through the whole abstraction, with a protocol whose type is erased.

use std::future::Future;
use std::io;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use smol::LocalExecutor;
use smol_transports::{
    Addr, Connection, DatagramProtocol, DatagramTransport, Listen, Protocol, Transport, create_datagram_endpoint,
    create_server, driver,
};

use super::Socket;

type Erased = Box<dyn Protocol + Send>;

struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        transport.write(data);
    }

    // A loop that awaits its writes does not read ahead of them either.
    fn pause_writing(&mut self, transport: &Transport) {
        transport.pause_reading();
    }

    fn resume_writing(&mut self, transport: &Transport) {
        transport.resume_reading();
    }
}

struct Answer;

impl DatagramProtocol for Answer {
    fn datagram_received(&mut self, transport: &DatagramTransport, data: &[u8], addr: &Addr) {
        transport.send_to(data, addr.clone());
    }
}

fn listen(socket: Socket) -> io::Result<Listen> {
    match socket {
        Socket::Tcp(listener) => Ok(listener.into()),
        Socket::Unix(listener) => Ok(listener.into()),
        Socket::Udp(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// Clients on a driver, which is this thread.
pub(super) fn driver(socket: Socket) -> io::Result<()> {
    driver::block_on(serve_on_driver(socket))
}

async fn serve_on_driver(socket: Socket) -> io::Result<()> {
    if let Socket::Udp(socket) = socket {
        let endpoint = create_datagram_endpoint(Box::new(Answer) as Box<dyn DatagramProtocol + Send>);
        endpoint.socket(socket).await?.spawn().1.await;
        return Ok(());
    }
    create_server(|| Box::new(Echo) as Erased, listen(socket)?).backlog(4096).await?.serve_forever().await
}

/// The same, but for looking for work for a while before it sleeps.
pub(super) fn busy(socket: Socket) -> io::Result<()> {
    driver::configure().busy_poll(Duration::from_micros(100)).block_on(serve_on_driver(socket))?
}

/// Clients on this thread, which waits by async-io.
pub(super) fn local(socket: Socket) -> io::Result<()> {
    smol::block_on(async {
        if let Socket::Udp(socket) = socket {
            let endpoint = create_datagram_endpoint(Box::new(Answer) as Box<dyn DatagramProtocol + Send>);
            endpoint.socket(socket).await?.await;
            return Ok(());
        }
        create_server(|| Box::new(Echo) as Erased, listen(socket)?).backlog(4096).await?.serve_local().await
    })
}

/// Hands what it receives to a thread, which answers.
struct Forward {
    sender: mpsc::Sender<Vec<u8>>,
    /// For the thread.
    receiver: Option<mpsc::Receiver<Vec<u8>>>,
}

impl Protocol for Forward {
    fn data_received(&mut self, _: &Transport, data: &[u8]) {
        // The thread ends with the connection.
        let _ = self.sender.send(data.to_vec());
    }
}

/// Accepts clients on a driver that is this thread, and runs each as `run` says.
fn forward<F: Future<Output = ()> + 'static>(
    socket: Socket,
    run: impl Fn(Connection<Forward>, mpsc::Receiver<Vec<u8>>) -> F,
) -> io::Result<()> {
    let executor = LocalExecutor::new();
    driver::block_on(executor.run(async {
        let factory = || {
            let (sender, receiver) = mpsc::channel();
            Forward { sender, receiver: Some(receiver) }
        };
        let mut server = create_server(factory, listen(socket)?).await?;
        loop {
            let mut connection = server.accept().await?;
            if let Some(receiver) = connection.protocol_mut().receiver.take() {
                executor.spawn(run(connection, receiver)).detach();
            }
        }
    }))
}

/// The thread of each client writes its answers itself: a `Transport` may be used from every thread.
pub(super) fn thread(socket: Socket) -> io::Result<()> {
    forward(socket, |connection, receiver| {
        let transport = connection.transport().clone();
        thread::spawn(move || {
            receiver.into_iter().for_each(|data| {
                transport.write(data);
            })
        });
        async { drop(connection.await) }
    })
}

/// The thread puts its answers into a queue, and wakes a task beside the connection that writes them: what one would
/// build around a transport that belongs to one thread.
pub(super) fn queue(socket: Socket) -> io::Result<()> {
    forward(socket, |mut connection, receiver| {
        let transport = connection.transport().clone();
        let (queue, queued) = smol::channel::unbounded();
        thread::spawn(move || receiver.into_iter().all(|data: Vec<u8>| queue.send_blocking(data).is_ok()));
        async move {
            let write = async {
                while let Ok(data) = queued.recv().await {
                    transport.write(data);
                }
            };
            let closed = async { drop(transport.closed().await) };
            connection.run_until(smol::future::or(write, closed)).await;
        }
    })
}

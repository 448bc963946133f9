//! What connections cost: processor time and descriptors with hostile peers, memory in a pause and at rest.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::{Duration, Instant};

use futures_rustls::rustls::version::TLS13;
use futures_rustls::rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::common::{CERTIFICATES, Served, serve, server};
use super::hostile::{CLOSE_NOTIFY, HALF_A_RECORD, OVERSIZE};
use crate::common::{self, blocking, descriptors, guard, isolated, read_exact};
use crate::recorder::{Call, Recorder};

/// How long a handshake may take.
const LIMIT: Duration = Duration::from_secs(1);

/// Processor time that one of them may cost: a twentieth of the time that it may have.
const SHARE: u32 = 20;

/// Processor time of the drivers of this process so far, in hundredths of a second.
fn used() -> u64 {
    let tasks = fs::read_dir("/proc/self/task").unwrap().filter_map(|task| {
        let stat = fs::read_to_string(task.ok()?.path().join("stat")).ok()?;
        let (name, fields) = stat.split_once('(')?.1.rsplit_once(')')?;
        let mut fields = fields.split_whitespace().skip(11);
        let times = [fields.next()?.parse::<u64>().ok()?, fields.next()?.parse().ok()?];
        name.starts_with("smol-transports").then_some(times.iter().sum::<u64>())
    });
    tasks.sum()
}

/// A stream over TLS 1.3 whose handshake is done with the first bytes.
fn stream(socket: TcpStream) -> StreamOwned<ClientConnection, TcpStream> {
    static CONFIG: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| Arc::new(CERTIFICATES.client_config(&[&TLS13])));
    let connection = ClientConnection::new(CONFIG.clone(), "localhost".try_into().unwrap()).unwrap();
    StreamOwned::new(connection, socket)
}

/// A stream to an echoing server, after the handshake.
fn shaken(socket: &TcpStream) -> StreamOwned<ClientConnection, TcpStream> {
    let mut stream = stream(socket.try_clone().unwrap());
    stream.write_all(b"hello").unwrap();
    assert_eq!(read_exact(&mut stream, 5), b"hello");
    stream
}

/// Says something again and again until the server is gone.
fn repeat(stream: &TcpStream, mut say: impl FnMut() -> std::io::Result<()>, pause: Duration) {
    stream.set_read_timeout(Some(pause)).unwrap();
    let is_there = || matches!((&mut &*stream).read(&mut [0; 64]), Err(err) if err.kind() == ErrorKind::WouldBlock);
    while is_there() && say().is_ok() {}
    stream.set_read_timeout(Some(common::PATIENCE)).unwrap();
}

type Peer = fn(&mut TcpStream);

const PEERS: &[(&str, Peer)] = &[
    ("garbage", |stream| drop(stream.write_all(&[0xa5; 300]))),
    ("plain HTTP", |stream| drop(stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"))),
    ("an oversize record", |stream| drop(stream.write_all(&OVERSIZE))),
    ("a truncated record", |stream| {
        stream.write_all(&HALF_A_RECORD).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
    }),
    ("a truncated record, and silence", |stream| stream.write_all(&HALF_A_RECORD).unwrap()),
    ("close_notify in the handshake", |stream| while stream.write_all(&CLOSE_NOTIFY).is_ok() {}),
    ("silence", |_| {}),
    ("one byte at a time", |stream| {
        let mut bytes = HALF_A_RECORD.iter().chain(&[0; 200]).copied().collect::<Vec<_>>().into_iter();
        let near = stream.try_clone().unwrap();
        repeat(stream, || (&near).write_all(&[bytes.next().unwrap_or(0)]), Duration::from_millis(20));
    }),
    ("end of file without close_notify", |stream| {
        shaken(stream);
        stream.shutdown(Shutdown::Write).unwrap();
    }),
    ("a flood of key updates", |stream| {
        let mut tls = shaken(stream);
        while tls.conn.refresh_traffic_keys().is_ok() && tls.conn.write_tls(&mut tls.sock).is_ok() {}
    }),
    ("a flood of warnings", |stream| {
        let mut tls = shaken(stream);
        while tls.sock.write_all(&[21, 3, 3, 0, 2, 1, 90]).is_ok() {}
    }),
    ("a flood of empty records", |stream| {
        let mut tls = shaken(stream);
        while tls.sock.write_all(&[23, 3, 3, 0, 0]).is_ok() {}
    }),
];

/// Lets one of them loose; how long it was there.
async fn suffer(served: &Served, peer: Peer) -> Duration {
    let addr = served.addr;
    let begun = Instant::now();
    blocking(move || {
        let mut stream = common::client(addr);
        peer(&mut stream);
        // Whatever the server has said to it, the connection is closed then.
        let _ = stream.read_to_end(&mut Vec::new());
    })
    .await;
    begun.elapsed()
}

/// A hostile peer should be rid of within half a second beyond what it may have. `TLS_TIMES` insists on that: it takes a
/// machine that has nothing else to do.
pub(super) fn ends_in_time(peer: &str, limit: Duration, there: Duration) {
    const SLACK: Duration = Duration::from_millis(500);
    let is_strict = std::env::var_os("TLS_TIMES").is_some();
    println!("{peer}: there for {there:?}, {limit:?} allowed");
    assert!(!is_strict || there <= limit + SLACK, "{peer} was there for {there:?}");
}

#[test]
fn hostile_peers_cost_next_to_nothing() {
    isolated("tls::cost::hostile_peers_cost_next_to_nothing", || {
        guard(async {
            let served = serve(server().handshake_timeout(LIMIT), Recorder::echo).await;
            // The first connections start threads and fill caches.
            for (_, peer) in PEERS.iter().filter(|(name, _)| name.starts_with("end of file")) {
                suffer(&served, *peer).await;
            }
            let before = descriptors();
            for (name, peer) in PEERS {
                let (ends, reports) = (lost(&served), served.errors.len());
                let start = used();
                let there = suffer(&served, *peer).await;
                // One end or one report, and no descriptor is left.
                while descriptors() > before || lost(&served) + served.errors.len() == ends + reports {
                    futures_lite::future::yield_now().await;
                }
                let spent = Duration::from_millis(10 * (used() - start));
                assert_eq!(lost(&served) + served.errors.len(), ends + reports + 1, "{name}");
                assert!(
                    is_watched() || spent <= there.max(LIMIT) / SHARE,
                    "{name}: {spent:?} of processor time in {there:?}"
                );
                println!("{name}: {spent:?} of processor time");
                ends_in_time(name, LIMIT, there);
            }
        });
    });
}

/// Connections that were made and have ended.
fn lost(served: &Served) -> usize {
    served.log.calls().iter().filter(|call| matches!(call, Call::Lost(_))).count()
}

/// Whether costs cannot be measured: a tool watches, which takes its time and keeps what was freed. `scripts/sanitize`
/// says so.
fn is_watched() -> bool {
    std::env::var_os("SMOL_TRANSPORTS_SANITIZE").is_some()
}

/// Memory of this process, in KiB.
fn memory() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn a_paused_connection_keeps_little() {
    const SIZE: usize = 1 << 30;
    if is_watched() {
        return println!("skipped: memory is not measured under a tool that keeps what was freed");
    }
    isolated("tls::cost::a_paused_connection_keeps_little", || {
        guard(async {
            let (sender, transports) = async_channel::unbounded();
            let served = serve(server(), move |log| {
                let sender = sender.clone();
                Recorder::counting(log).on_data(move |transport, _| {
                    transport.pause_reading();
                    let _ = sender.try_send((transport.clone(), memory()));
                })
            });
            let served = served.await;
            let addr = served.addr;
            let (progress, stalls) = async_channel::unbounded();
            thread::spawn(move || offer(addr, SIZE, &progress));
            let (transport, before) = transports.recv().await.unwrap();
            let sent = stalls.recv().await.unwrap();
            // What the system holds on both sides, and no more than one turn of reading here.
            assert!(sent < SIZE / 8, "{sent} bytes were taken from a peer that is not read");
            assert!(served.log.bytes() <= 512 << 10, "{} bytes delivered", served.log.bytes());
            let growth = memory().saturating_sub(before);
            assert!(growth < 1024, "{growth} KiB more memory");
            println!("{sent} bytes were taken, {growth} KiB more memory");
            transport.abort();
        });
    });
}

/// Sends `size` bytes, or as many as are taken; then waits for the end of the connection.
fn offer(addr: SocketAddr, size: usize, progress: &async_channel::Sender<usize>) {
    let mut stream = stream(common::client(addr));
    let impatient = Some(Duration::from_millis(300));
    stream.sock.set_read_timeout(impatient).unwrap();
    stream.sock.set_write_timeout(impatient).unwrap();
    let mut sent = 0;
    while sent < size && stream.write_all(&[1; 16 << 10]).is_ok() {
        sent += 16 << 10;
    }
    let _ = progress.send_blocking(sent);
    stream.sock.set_read_timeout(Some(common::PATIENCE)).unwrap();
    let _ = stream.sock.read_to_end(&mut Vec::new());
}

#[test]
fn a_connection_at_rest_keeps_no_buffer() {
    const CONNECTIONS: usize = 200;
    if is_watched() {
        return println!("skipped: memory is not measured under a tool that keeps what was freed");
    }
    isolated("tls::cost::a_connection_at_rest_keeps_no_buffer", || {
        guard(async {
            let served =
                serve(server(), |log| Recorder::counting(log).on_data(|transport, data| transport.write(data)));
            let served = served.await;
            // The first connection starts threads and fills caches.
            let mut streams = vec![exchange(served.addr).await];
            let before = memory();
            for _ in 0..CONNECTIONS {
                streams.push(exchange(served.addr).await);
            }
            let each = (memory() - before) / CONNECTIONS;
            println!("{each} KiB for both ends of a connection at rest");
            // Two sessions, and the buffer for a record that rustls leaves at the other end. A second one is too much.
            assert!(each <= 52, "{each} KiB for both ends of a connection at rest");
        });
    });
}

/// A connection over which much has gone in both directions.
async fn exchange(addr: SocketAddr) -> StreamOwned<ClientConnection, TcpStream> {
    const SIZE: usize = 64 << 10;
    blocking(move || {
        let mut stream = stream(common::client(addr));
        stream.write_all(&[1; SIZE]).unwrap();
        stream.read_exact(&mut vec![0; SIZE]).unwrap();
        stream
    })
    .await
}

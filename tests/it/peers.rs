//! Programs of other makers as peers, in both directions.

use std::io::Write;
use std::net::SocketAddr;
use std::process::{ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use smol_transports::{OnEof, Transport, Written, create_connection, create_server};

use crate::common::{ANY, blocking, guard, pattern, read_all, read_exact};
use crate::recorder::{Log, Recorder};

const SIZE: usize = 100_000_000;

/// Sends and expects the same pseudo-random bytes as the other side, then half-closes; run as client or as server.
const PEER: &str = r#"
import asyncio, sys, hashlib

size, mode = int(sys.argv[1]), sys.argv[2]
block = bytes((i * 7 + (i >> 8)) & 255 for i in range(1 << 16))

def data():
    for at in range(0, size, len(block)):
        yield block[:min(len(block), size - at)]

async def talk(reader, writer):
    async def send():
        for piece in data():
            writer.write(piece)
            await writer.drain()
        writer.write_eof()
    async def receive():
        digest, count = hashlib.sha256(), 0
        while piece := await reader.read(1 << 18):
            digest.update(piece)
            count += len(piece)
        return count, digest.digest()
    _, got = await asyncio.gather(send(), receive())
    expected = hashlib.sha256()
    for piece in data():
        expected.update(piece)
    assert got == (size, expected.digest()), got
    writer.close()
    await writer.wait_closed()

async def client(host, port):
    await talk(*await asyncio.open_connection(host, port))

async def server():
    first = asyncio.get_running_loop().create_future()
    async def serve(reader, writer):
        first.set_result((reader, writer))
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await talk(*await first)
    server.close()

asyncio.run(server() if mode == "server" else client("127.0.0.1", int(sys.argv[3])))
"#;

/// The bytes that the script sends.
fn block() -> Vec<u8> {
    (0..1usize << 16).map(|i| (i * 7 + (i >> 8)) as u8).collect()
}

/// A program that does not outlive its test.
pub(crate) struct Child(std::process::Child);

impl Child {
    pub(crate) fn pipes(&mut self) -> (ChildStdin, ChildStdout) {
        (self.0.stdin.take().unwrap(), self.0.stdout.take().unwrap())
    }

    /// What it says beside that, if it was started with a pipe there.
    pub(crate) fn stderr(&mut self) -> ChildStderr {
        self.0.stderr.take().unwrap()
    }

    /// Waits for the end; whether it was a good one.
    pub(crate) async fn succeeds(&mut self) -> bool {
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.success();
            }
            async_io::Timer::after(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a program; says so if it is missing.
pub(crate) fn start(command: &mut Command) -> Option<Child> {
    match command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() {
        Ok(child) => Some(Child(child)),
        Err(err) => {
            println!("skipped: {:?} cannot be run: {err}", command.get_program());
            None
        }
    }
}

fn python(args: &[&str]) -> Option<Child> {
    start(Command::new("python3").args(["-c", PEER]).args(args))
}

/// Whether `data` goes on behind `at` bytes of the block repeated for ever.
fn continues(block: &[u8], mut at: usize, mut data: &[u8]) -> bool {
    while !data.is_empty() {
        let expected = &block[at % block.len()..];
        let (piece, rest) = data.split_at(data.len().min(expected.len()));
        if *piece != expected[..piece.len()] {
            return false;
        }
        (at, data) = (at + piece.len(), rest);
    }
    true
}

/// What a talker still has to send.
struct Supply {
    left: usize,
    block: Vec<u8>,
    /// The peer has sent everything.
    peer_done: bool,
}

impl Supply {
    /// Writes as much as it may; the end of file behind the last byte.
    fn pour(&mut self, transport: &Transport) {
        while self.left > 0 {
            let piece = &self.block[..self.left.min(self.block.len())];
            self.left -= piece.len();
            if transport.write(piece) != Written::Queued {
                break;
            }
        }
        if self.left == 0 {
            transport.write_eof().unwrap();
            self.close_if_done(transport);
        }
    }

    fn close_if_done(&self, transport: &Transport) {
        if self.left == 0 && self.peer_done {
            transport.close();
        }
    }
}

/// Sends everything with flow control, half-closes, and checks what comes against the same bytes.
fn talker(log: &Log) -> Recorder {
    let (mut seen, expected) = (0, block());
    let supply = Arc::new(Mutex::new(Supply { left: SIZE, block: block(), peer_done: false }));
    let (first, again, last) = (supply.clone(), supply.clone(), supply);
    Recorder::counting(log)
        .on_made(move |transport| first.lock().unwrap().pour(transport))
        .on_resume(move |transport| again.lock().unwrap().pour(transport))
        .on_eof(move |transport| {
            let mut supply = last.lock().unwrap();
            supply.peer_done = true;
            supply.close_if_done(transport);
            OnEof::KeepOpen
        })
        .on_data(move |_, data| {
            assert!(continues(&expected, seen, data), "a wrong byte behind {seen}");
            seen += data.len();
        })
}

#[test]
fn a_python_client_exchanges_100_mb_both_ways() {
    let log = Log::default();
    guard(async {
        let mut server = create_server(|| talker(&log), ANY).await.unwrap();
        let port = server.local_addr().unwrap().port().to_string();
        let Some(mut child) = python(&[&SIZE.to_string(), "client", &port]) else { return };
        server.accept().await.unwrap().await;
        assert!(child.succeeds().await);
        assert_eq!((log.bytes(), log.end()), (SIZE, None));
    });
}

#[test]
fn a_python_server_exchanges_100_mb_both_ways() {
    let log = Log::default();
    guard(async {
        let Some(mut child) = python(&[&SIZE.to_string(), "server"]) else { return };
        let (_stdin, stdout) = child.pipes();
        let port = blocking(move || {
            let mut line = String::new();
            std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).unwrap();
            line.trim().parse::<u16>().unwrap()
        });
        let addr = SocketAddr::from((ANY.0, port.await));
        create_connection(talker(&log), addr).await.unwrap().await;
        assert!(child.succeeds().await);
        assert_eq!((log.bytes(), log.end()), (SIZE, None));
    });
}

#[test]
fn curl_gets_back_what_it_sends() {
    let log = Log::default();
    guard(async {
        let server = create_server(|| Recorder::echo(&log), ANY).await.unwrap();
        let addr = server.local_addr().unwrap();
        let Some(mut child) = start(Command::new("curl").args(["-sN", &format!("telnet://{addr}")])) else { return };
        let handle = server.handle();
        let (mut stdin, stdout) = child.pipes();
        // Telnet gives bytes over 127 a meaning of their own.
        let text: Vec<u8> = pattern(20_000, 1).into_iter().map(|byte| b'a' + byte % 26).collect();
        let sent = text.clone();
        let talk = blocking(move || {
            stdin.write_all(&sent).unwrap();
            let got = read_exact(stdout, sent.len());
            drop((stdin, child));
            handle.close();
            got
        });
        let (served, got) = futures_lite::future::zip(server.serve_local(), talk).await;
        served.unwrap();
        assert_eq!(got, text);
    });
    assert_eq!(log.data().len(), 20_000);
}

#[test]
fn curl_fetches_a_page() {
    const PAGE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
    guard(async {
        let factory = || {
            let mut head = Vec::new();
            Recorder::new(&Log::default()).on_data(move |transport, data| {
                head.extend_from_slice(data);
                if head.ends_with(b"\r\n\r\n") {
                    transport.write(PAGE);
                    transport.close();
                }
            })
        };
        let mut server = create_server(factory, ANY).await.unwrap();
        let url = format!("http://{}/", server.local_addr().unwrap());
        let Some(mut child) = start(Command::new("curl").args(["-s", "--noproxy", "*", &url])) else { return };
        let (_stdin, stdout) = child.pipes();
        let page = blocking(move || read_all(stdout));
        server.accept().await.unwrap().await;
        assert_eq!(page.await, b"hello");
        assert!(child.succeeds().await);
    });
}

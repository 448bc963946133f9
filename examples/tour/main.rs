//! A tour: servers and clients in one process, and what their protocols see, line by line.
//!
//! Run it with `cargo run --release --example tour`. It ends with status 0 if every protocol has seen what it should,
//! else it says what was different and ends with status 1.

#[cfg(unix)]
mod kinds;
#[cfg(feature = "tls")]
mod tls;

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_channel::Sender;
use smol_transports::{
    OnEof, Protocol, ServerHandle, Serving, Transport, Written, connect_socket, create_connection, create_server,
};

/// What each protocol of a scene should see, by its name.
type Story = Vec<(&'static str, String)>;

fn main() -> ExitCode {
    let late = async {
        smol::Timer::after(Duration::from_secs(30)).await;
        println!("the tour takes too long");
        false
    };
    if smol::block_on(smol::future::or(tour(), late)) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn tour() -> bool {
    let scenes = [
        scene("1. Echo", echo).await,
        scene("2. Half-close: one side has finished, the other one answers", half_close).await,
        scene("3. Flow control: the writer is faster than the reader", flow_control).await,
        scene("4. Reset: the peer breaks the connection", reset).await,
        scene("5. A socket that exists already", existing_socket).await,
        scene("6. Another protocol in mid-stream", set_protocol).await,
        scene("7. A panic ends one connection, not the server", panic_contained).await,
        scene("8. The server closes: clients stay until they are closed", server_close).await,
    ];
    let scenes = [&scenes[..], &other_kinds().await, &tls_scenes().await].concat();
    let right = scenes.iter().filter(|right| **right).count();
    println!("\n{right} of {} scenes as expected", scenes.len());
    right == scenes.len()
}

#[cfg(unix)]
async fn other_kinds() -> Vec<bool> {
    vec![
        scene("9. A Unix socket", kinds::unix).await,
        scene("10. Datagrams", kinds::datagrams).await,
        scene("11. A pipe", kinds::pipes).await,
        scene("12. A child process", kinds::child).await,
        scene("13. A file between two writes", kinds::send_file).await,
    ]
}

#[cfg(not(unix))]
async fn other_kinds() -> Vec<bool> {
    Vec::new()
}

#[cfg(feature = "tls")]
async fn tls_scenes() -> Vec<bool> {
    vec![scene("14. TLS from the start", tls::from_the_start).await, scene("15. TLS by upgrade", tls::by_upgrade).await]
}

#[cfg(not(feature = "tls"))]
async fn tls_scenes() -> Vec<bool> {
    Vec::new()
}

/// Plays a scene and compares what was seen with what it expects.
async fn scene(title: &str, play: impl AsyncFnOnce(&Log) -> io::Result<Story>) -> bool {
    println!("\n{title}");
    let log = Log::default();
    let differences = match play(&log).await {
        Ok(story) => log.differences(&story),
        Err(err) => vec![format!("the scene failed: {err}")],
    };
    for line in &differences {
        println!("  !! {line}");
    }
    differences.is_empty()
}

async fn echo(log: &Log) -> io::Result<Story> {
    let server = Host::open(log.numbered(|| Echo)).await?;
    create_connection(log.witness("client", Say("hello")), &server.addr).await?.await;
    server.leave().await?;
    Ok(vec![
        ("client", r#"connection_made, data_received "hello", connection_lost(None)"#.into()),
        ("server 1", r#"connection_made, data_received "hello", eof_received, connection_lost(None)"#.into()),
    ])
}

async fn half_close(log: &Log) -> io::Result<Story> {
    let server = Host::open(log.numbered(CountWords::default)).await?;
    create_connection(log.witness("client", Ask), &server.addr).await?.await;
    server.leave().await?;
    let client = r#"connection_made, data_received "3 words", eof_received, connection_lost(None)"#;
    let answering = r#"connection_made, data_received "one two three", eof_received, connection_lost(None)"#;
    Ok(vec![("client", client.into()), ("server 1", answering.into())])
}

async fn flow_control(log: &Log) -> io::Result<Story> {
    let sent = Arc::new(AtomicUsize::new(0));
    let (paused, pauses) = async_channel::unbounded();
    let total = sent.clone();
    let server = Host::open(log.numbered(move || Pour { sent: sent.clone(), paused: paused.clone() })).await?;
    let mut client = create_connection(log.witness("client", Reluctant), &server.addr).await?;
    let transport = client.transport().clone();
    let resume = async {
        // The client reads nothing until the server was told to pause.
        let _ = pauses.recv().await;
        transport.resume_reading();
    };
    client.run_until(resume).await;
    client.await;
    server.leave().await?;
    let total = total.load(Ordering::SeqCst);
    Ok(vec![
        ("client", format!("connection_made, data_received {total} bytes, eof_received, connection_lost(None)")),
        ("server 1", "connection_made, pause_writing, resume_writing, connection_lost(None)".into()),
    ])
}

async fn reset(log: &Log) -> io::Result<Story> {
    let server = Host::open(log.numbered(|| Echo)).await?;
    create_connection(log.witness("client", Rude), &server.addr).await?.await;
    server.leave().await?;
    Ok(vec![
        ("client", r#"connection_made, data_received "hello", connection_lost(None)"#.into()),
        ("server 1", r#"connection_made, data_received "hello", connection_lost(connection reset)"#.into()),
    ])
}

async fn existing_socket(log: &Log) -> io::Result<Story> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut plain = TcpStream::connect(listener.local_addr()?)?;
    let (socket, _) = listener.accept()?;
    let connection = connect_socket(log.witness("reader", CloseOnData), socket).await?;
    plain.write_all(b"abc")?;
    connection.await;
    let rest = plain.read(&mut [0; 16])?;
    log.tell("plain", Saw::Call(format!("reads {rest} bytes")));
    Ok(vec![
        ("plain", "reads 0 bytes".into()),
        ("reader", r#"connection_made, data_received "abc", connection_lost(None)"#.into()),
    ])
}

async fn set_protocol(log: &Log) -> io::Result<Story> {
    let next = log.clone();
    let server = Host::open(log.numbered(move || Upgrade { next: next.clone() })).await?;
    create_connection(log.witness("client", AskForUpgrade), &server.addr).await?.await;
    server.leave().await?;
    Ok(vec![
        ("client", r#"connection_made, data_received "OK", data_received "echo", connection_lost(None)"#.into()),
        ("server 1", r#"connection_made, data_received "UPGRADE""#.into()),
        ("upgraded", r#"data_received "echo", eof_received, connection_lost(None)"#.into()),
    ])
}

async fn panic_contained(log: &Log) -> io::Result<Story> {
    let (report, reports) = async_channel::unbounded();
    let server = create_server(log.numbered(|| Fragile), "127.0.0.1:0")
        .on_error(move |err| drop(report.try_send(err.to_string())))
        .await?;
    let server = Host::of(server)?;
    let (calm, running) = create_connection(log.witness("calm", CloseOnData), &server.addr).await?.spawn();
    let bold = create_connection(log.witness("bold", Say("boom")), &server.addr).await?;
    quietly(bold).await;
    log.tell("on_error", Saw::Call(reports.recv().await.map_err(io::Error::other)?));
    calm.write("still here?");
    running.await;
    server.leave().await?;
    let (boom, calm) = (r#"data_received "boom""#, r#"data_received "still here?""#);
    Ok(vec![
        ("bold", "connection_made, eof_received, connection_lost(None)".into()),
        ("calm", format!("connection_made, {calm}, connection_lost(None)")),
        ("on_error", "a callback panicked: boom".into()),
        ("server 1", format!("connection_made, {calm}, eof_received, connection_lost(None)")),
        ("server 2", format!("connection_made, {boom}, connection_lost(a callback panicked: boom)")),
    ])
}

async fn server_close(log: &Log) -> io::Result<Story> {
    let (echoed, echoes) = async_channel::unbounded();
    let server = Host::open(log.numbered(|| Echo)).await?;
    let client = log.witness("client", Tell(echoed));
    let (transport, running) = create_connection(client, &server.addr).await?.spawn();
    transport.write("before");
    let _ = echoes.recv().await;

    server.handle.close();
    let refused = create_connection(log.witness("newcomer", Echo), &server.addr).await;
    log.tell("newcomer", Saw::Call(refused.map_or_else(|err| err.kind().to_string(), |_| "connected".into())));
    transport.write("after");
    let _ = echoes.recv().await;

    server.handle.close_clients();
    server.handle.wait_closed().await;
    log.tell("wait_closed", Saw::Call("done".into()));
    running.await;
    server.leave().await?;
    let data = r#"data_received "before", data_received "after""#;
    Ok(vec![
        ("client", format!("connection_made, {data}, eof_received, connection_lost(None)")),
        ("newcomer", "connection refused".into()),
        ("server 1", format!("connection_made, {data}, connection_lost(None)")),
        ("wait_closed", "done".into()),
    ])
}

/// Runs a connection without the message that a panic leaves on standard error.
async fn quietly<F: Future>(connection: F) -> F::Output {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let output = connection.await;
    std::panic::set_hook(hook);
    output
}

/// A server in the background, on a free port.
struct Host {
    addr: String,
    handle: ServerHandle,
    serving: Serving,
}

impl Host {
    async fn open<P: Protocol + Send + 'static>(factory: impl FnMut() -> P + Send + 'static) -> io::Result<Self> {
        Self::of(create_server(factory, "127.0.0.1:0").await?)
    }

    fn of<P, F>(server: smol_transports::Server<F>) -> io::Result<Self>
    where
        P: Protocol + Send + 'static,
        F: FnMut() -> P + Send + 'static,
    {
        let addr = server.local_addr()?.to_string();
        let (handle, serving) = server.spawn();
        Ok(Self { addr, handle, serving })
    }

    /// Stops listening, and waits for the last client.
    async fn leave(self) -> io::Result<()> {
        self.handle.close();
        self.serving.await
    }
}

/// Sends back what it gets.
struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        transport.write(data);
    }
}

/// Sends a word and closes when there is an answer.
struct Say(&'static str);

impl Protocol for Say {
    fn connection_made(&mut self, transport: &Transport) {
        transport.write(self.0);
    }

    fn data_received(&mut self, transport: &Transport, _data: &[u8]) {
        transport.close();
    }
}

/// Closes as soon as it gets something.
struct CloseOnData;

impl Protocol for CloseOnData {
    fn data_received(&mut self, transport: &Transport, _data: &[u8]) {
        transport.close();
    }
}

/// Tells the scene that something has arrived.
struct Tell(Sender<()>);

impl Protocol for Tell {
    fn data_received(&mut self, _transport: &Transport, _data: &[u8]) {
        let _ = self.0.try_send(());
    }
}

/// Sends a text, finishes its own side, and waits for the answer.
struct Ask;

impl Protocol for Ask {
    fn connection_made(&mut self, transport: &Transport) {
        transport.write("one two three");
        let _ = transport.write_eof();
    }
}

/// Reads until the peer has finished, answers, and closes.
#[derive(Default)]
struct CountWords(Vec<u8>);

impl Protocol for CountWords {
    fn data_received(&mut self, _transport: &Transport, data: &[u8]) {
        self.0.extend_from_slice(data);
    }

    fn eof_received(&mut self, transport: &Transport) -> OnEof {
        let words = self.0.split(|byte| *byte == b' ').count();
        transport.write(format!("{words} words"));
        OnEof::Close
    }
}

/// Writes until it is told to stop; closes when it may go on.
struct Pour {
    sent: Arc<AtomicUsize>,
    paused: Sender<()>,
}

impl Protocol for Pour {
    fn connection_made(&mut self, transport: &Transport) {
        let block = [b'x'; 64 * 1024];
        loop {
            self.sent.fetch_add(block.len(), Ordering::SeqCst);
            if transport.write(block) != Written::Queued {
                break;
            }
        }
    }

    fn pause_writing(&mut self, _transport: &Transport) {
        let _ = self.paused.try_send(());
    }

    fn resume_writing(&mut self, transport: &Transport) {
        transport.close();
    }
}

/// Reads nothing until somebody else resumes the reading.
struct Reluctant;

impl Protocol for Reluctant {
    fn connection_made(&mut self, transport: &Transport) {
        transport.pause_reading();
        // A small buffer in the system: the writer feels soon that nobody reads.
        transport.with_socket(|socket| socket.set_recv_buffer_size(64 * 1024));
    }
}

/// Breaks the connection as soon as it has an answer.
struct Rude;

impl Protocol for Rude {
    fn connection_made(&mut self, transport: &Transport) {
        transport.write("hello");
    }

    fn data_received(&mut self, transport: &Transport, _data: &[u8]) {
        // Closing without lingering sends a reset instead of an end of file.
        transport.with_socket(|socket| socket.set_linger(Some(Duration::ZERO)));
        transport.abort();
    }
}

/// Hands the connection over to another protocol.
struct Upgrade {
    next: Log,
}

impl Protocol for Upgrade {
    fn data_received(&mut self, transport: &Transport, _data: &[u8]) {
        transport.set_protocol(self.next.witness("upgraded", Echo));
        transport.write("OK");
    }
}

/// Asks for the other protocol and uses it.
struct AskForUpgrade;

impl Protocol for AskForUpgrade {
    fn connection_made(&mut self, transport: &Transport) {
        transport.write("UPGRADE");
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        if data == b"OK" {
            transport.write("echo");
        } else {
            transport.close();
        }
    }
}

/// Sends back what it gets, but panics at "boom".
struct Fragile;

impl Protocol for Fragile {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        assert!(data != b"boom", "boom");
        transport.write(data);
    }
}

/// Tells every callback to the log before it is made on the protocol inside.
struct Witness<P> {
    who: String,
    log: Log,
    inner: P,
}

impl<P> Witness<P> {
    fn tell(&self, call: &str) {
        self.log.tell(&self.who, Saw::Call(call.to_owned()));
    }
}

impl<P: Protocol> Protocol for Witness<P> {
    fn connection_made(&mut self, transport: &Transport) {
        self.tell("connection_made");
        self.inner.connection_made(transport);
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        self.log.tell(&self.who, Saw::Data(data.to_vec()));
        self.inner.data_received(transport, data);
    }

    fn eof_received(&mut self, transport: &Transport) -> OnEof {
        self.tell("eof_received");
        self.inner.eof_received(transport)
    }

    fn pause_writing(&mut self, transport: &Transport) {
        self.tell("pause_writing");
        self.inner.pause_writing(transport);
    }

    fn resume_writing(&mut self, transport: &Transport) {
        self.tell("resume_writing");
        self.inner.resume_writing(transport);
    }

    fn connection_lost(&mut self, exc: Option<io::Error>) {
        let cause = match &exc {
            None => "None".to_owned(),
            Some(exc) if exc.kind() == io::ErrorKind::Other => exc.to_string(),
            Some(exc) => exc.kind().to_string(),
        };
        self.tell(&format!("connection_lost({cause})"));
        self.inner.connection_lost(exc);
    }
}

/// What a protocol has seen.
enum Saw {
    Data(Vec<u8>),
    Call(String),
}

/// Longer data is a part of more: it comes in pieces whose number is up to the system.
const SHORT: usize = 64;

impl Saw {
    fn is_bulk(&self) -> bool {
        matches!(self, Self::Data(data) if data.len() > SHORT)
    }
}

impl fmt::Display for Saw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data(data) if self.is_bulk() => write!(f, "data_received {} bytes", data.len()),
            Self::Data(data) => write!(f, "data_received {:?}", String::from_utf8_lossy(data)),
            Self::Call(call) => f.write_str(call),
        }
    }
}

/// What all protocols of a scene have seen, by their names. Every line is printed as it comes.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<BTreeMap<String, Vec<Saw>>>>);

impl Log {
    fn witness<P>(&self, who: impl Into<String>, inner: P) -> Witness<P> {
        Witness { who: who.into(), log: self.clone(), inner }
    }

    /// A factory of witnesses: `server 1`, `server 2`, …
    fn numbered<P, F: FnMut() -> P>(&self, mut factory: F) -> impl FnMut() -> Witness<P> + use<P, F> {
        let log = self.clone();
        let mut number = 0;
        move || {
            number += 1;
            log.witness(format!("server {number}"), factory())
        }
    }

    /// Large data is joined, and printed when it is complete.
    fn tell(&self, who: &str, saw: Saw) {
        let mut stories = self.0.lock().expect("no callback panics here");
        let story = stories.entry(who.to_owned()).or_default();
        match (story.last_mut(), saw) {
            (Some(Saw::Data(all)), Saw::Data(more)) if all.len() > SHORT => all.extend(more),
            (last, saw) => {
                let bulk = last.filter(|last| last.is_bulk());
                bulk.into_iter().for_each(|bulk| println!("  {who:<12} {bulk}"));
                if !saw.is_bulk() {
                    println!("  {who:<12} {saw}");
                }
                story.push(saw);
            }
        }
    }

    fn differences(&self, expected: &Story) -> Vec<String> {
        let stories = self.0.lock().expect("no callback panics here");
        let lines = |story: &Vec<Saw>| story.iter().map(Saw::to_string).collect::<Vec<_>>().join(", ");
        let mut seen: BTreeMap<_, _> = stories.iter().map(|(who, story)| (who.as_str(), lines(story))).collect();
        let mut differences = Vec::new();
        for (who, expected) in expected {
            let seen = seen.remove(who).unwrap_or_default();
            if seen != *expected {
                differences.push(format!("{who}: expected {expected}; seen {seen}"));
            }
        }
        differences.extend(seen.iter().map(|(who, seen)| format!("{who}: not expected; seen {seen}")));
        differences
    }
}

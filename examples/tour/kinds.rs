//! The scenes of the other kinds of transport.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitStatus};

use smol_transports::{
    Addr, DatagramProtocol, DatagramTransport, Pipe, Protocol, ReadTransport, SubprocessProtocol, SubprocessTransport,
    Transport, WriteTransport, connect_read_pipe, connect_write_pipe, create_connection, create_datagram_endpoint,
    create_unix_connection, create_unix_server, subprocess_exec,
};

use super::{Echo, Host, Log, Saw, Say, Story};

pub(super) async fn unix(log: &Log) -> io::Result<Story> {
    let folder = std::env::temp_dir().join(format!("smol-transports-tour-{}", std::process::id()));
    std::fs::create_dir(&folder)?;
    let path = folder.join("socket");
    let (handle, serving) = create_unix_server(log.numbered(|| Echo), &*path).await?.spawn();
    create_unix_connection(log.witness("client", Say("over a path")), &*path).await?.await;
    handle.close();
    serving.await?;
    log.tell("path", Saw::Call(if path.exists() { "is left" } else { "is gone" }.to_owned()));
    std::fs::remove_dir(&folder)?;
    let data = r#"connection_made, data_received "over a path""#;
    Ok(vec![
        ("client", format!("{data}, connection_lost(None)")),
        ("server 1", format!("{data}, eof_received, connection_lost(None)")),
        ("path", "is gone".into()),
    ])
}

pub(super) async fn datagrams(log: &Log) -> io::Result<Story> {
    let server = create_datagram_endpoint(Post { who: "server", log: log.clone() }).local_addr("127.0.0.1:0").await?;
    let addr = server.local_addr()?;
    let (_server, _running) = server.spawn();
    let client = Post { who: "client", log: log.clone() };
    create_datagram_endpoint(client).remote_addr(addr).await?.await;
    Ok(vec![
        ("server", r#"connection_made, datagram_received "ping", datagram_received """#.into()),
        ("client", r#"connection_made, datagram_received "ping", datagram_received "", connection_lost(None)"#.into()),
    ])
}

/// Answers each datagram as a server; sends two and waits for the answers as a client.
struct Post {
    who: &'static str,
    log: Log,
}

impl Post {
    fn tell(&self, call: impl Into<String>) {
        self.log.tell(self.who, Saw::Call(call.into()));
    }
}

impl DatagramProtocol for Post {
    fn connection_made(&mut self, transport: &DatagramTransport) {
        self.tell("connection_made");
        if self.who == "client" {
            transport.send("ping");
            transport.send("");
        }
    }

    fn datagram_received(&mut self, transport: &DatagramTransport, data: &[u8], addr: &Addr) {
        self.tell(format!("datagram_received {:?}", String::from_utf8_lossy(data)));
        if self.who == "server" {
            transport.send_to(data, addr);
        } else if data.is_empty() {
            transport.close();
        }
    }

    fn connection_lost(&mut self, exc: Option<io::Error>) {
        // The server is still there when the scene is over.
        if self.who == "client" {
            self.tell(format!("connection_lost({})", exc.map_or_else(|| "None".to_owned(), |exc| exc.to_string())));
        }
    }
}

pub(super) async fn pipes(log: &Log) -> io::Result<Story> {
    let (theirs, ours) = UnixStream::pair()?;
    let end = |who| End { who, log: log.clone() };
    let reader = connect_read_pipe(end("reader"), theirs).await?;
    connect_write_pipe(end("writer"), ours).await?.await;
    reader.await;
    Ok(vec![
        ("writer", "connection_made, connection_lost".into()),
        ("reader", r#"connection_made, data_received "through", eof_received, connection_lost"#.into()),
    ])
}

/// One end of a pipe.
struct End {
    who: &'static str,
    log: Log,
}

impl End {
    fn tell(&self, call: &str) {
        self.log.tell(self.who, Saw::Call(call.to_owned()));
    }
}

impl Protocol<WriteTransport> for End {
    fn connection_made(&mut self, transport: &WriteTransport) {
        self.tell("connection_made");
        transport.write("through");
        transport.close();
    }

    fn connection_lost(&mut self, _exc: Option<io::Error>) {
        self.tell("connection_lost");
    }
}

impl Protocol<ReadTransport> for End {
    fn connection_made(&mut self, _transport: &ReadTransport) {
        self.tell("connection_made");
    }

    fn data_received(&mut self, _transport: &ReadTransport, data: &[u8]) {
        self.log.tell(self.who, Saw::Data(data.to_vec()));
    }

    fn eof_received(&mut self, _transport: &ReadTransport) -> smol_transports::OnEof {
        self.tell("eof_received");
        smol_transports::OnEof::Close
    }

    fn connection_lost(&mut self, _exc: Option<io::Error>) {
        self.tell("connection_lost");
    }
}

pub(super) async fn child(log: &Log) -> io::Result<Story> {
    let parent = Parent { log: log.clone() };
    subprocess_exec(parent, Command::new("sh").args(["-c", "cat; exit 3"])).await?.await;
    Ok(vec![
        ("made", "connection_made".into()),
        ("stdin", "lost".into()),
        ("stdout", r#"data_received "to the child and back", lost"#.into()),
        ("stderr", "lost".into()),
        ("exit", "exit status: 3".into()),
        ("end", "connection_lost".into()),
    ])
}

/// The pipes and the exit come in any order, so each has a story of its own.
struct Parent {
    log: Log,
}

impl Parent {
    fn tell(&self, who: &str, call: impl Into<String>) {
        self.log.tell(who, Saw::Call(call.into()));
    }
}

fn name(pipe: Pipe) -> &'static str {
    match pipe {
        Pipe::Stdin => "stdin",
        Pipe::Stdout => "stdout",
        Pipe::Stderr => "stderr",
    }
}

impl SubprocessProtocol for Parent {
    fn connection_made(&mut self, transport: &SubprocessTransport) {
        self.tell("made", "connection_made");
        if let Some(stdin) = transport.stdin() {
            stdin.write("to the child and back");
            stdin.close();
        }
    }

    fn pipe_data_received(&mut self, _transport: &SubprocessTransport, pipe: Pipe, data: &[u8]) {
        self.log.tell(name(pipe), Saw::Data(data.to_vec()));
    }

    fn pipe_connection_lost(&mut self, _transport: &SubprocessTransport, pipe: Pipe, _exc: Option<io::Error>) {
        self.tell(name(pipe), "lost");
    }

    fn process_exited(&mut self, _transport: &SubprocessTransport, status: ExitStatus) {
        self.tell("exit", status.to_string());
    }

    fn connection_lost(&mut self, _exc: Option<io::Error>) {
        self.tell("end", "connection_lost");
    }
}

pub(super) async fn send_file(log: &Log) -> io::Result<Story> {
    let path = std::env::temp_dir().join(format!("smol-transports-tour-file-{}", std::process::id()));
    let mut file = File::options().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    file.write_all(b"the file")?;
    file.rewind()?;
    let mut file = Some(file);
    let server = Host::open(log.numbered(move || Serve { file: file.take() })).await?;
    create_connection(Collect { log: log.clone(), all: Vec::new() }, &server.addr).await?.await;
    server.leave().await?;
    Ok(vec![
        ("client", r#"data_received "<the file>""#.into()),
        ("server 1", "connection_made, connection_lost(None)".into()),
    ])
}

/// Sends a file between two writes.
struct Serve {
    file: Option<File>,
}

impl Protocol for Serve {
    fn connection_made(&mut self, transport: &Transport) {
        transport.write("<");
        if let Some(file) = self.file.take() {
            drop(transport.sendfile(file, ..));
        }
        transport.write(">");
        transport.close();
    }
}

/// Takes what comes, in however many pieces.
struct Collect {
    log: Log,
    all: Vec<u8>,
}

impl Protocol for Collect {
    fn data_received(&mut self, _transport: &Transport, data: &[u8]) {
        self.all.extend_from_slice(data);
    }

    fn connection_lost(&mut self, _exc: Option<io::Error>) {
        self.log.tell("client", Saw::Data(std::mem::take(&mut self.all)));
    }
}

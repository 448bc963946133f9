//! A server over TLS in memory. Its client is a real one, whose bytes come in any pieces, are tampered with, cut off or
//! held up: what the server's protocol is given is at any time the beginning of what the client has said.

use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock};

use futures_rustls::pki_types::PrivatePkcs8KeyDer;
use futures_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig};
use smol_transports::testing::{Clock, Memory, Peer, poll};
use smol_transports::{Connection, OnEof, Protocol, Tls, Transport};

#[derive(Clone, Debug)]
#[cfg_attr(fuzzing, derive(arbitrary::Arbitrary))]
pub(crate) enum Step {
    /// The client says that many bytes.
    Say(u16),
    /// That many bytes of what is on the wire arrive.
    Pass(u16),
    /// All of it arrives.
    PassAll,
    /// One byte on the wire is changed.
    Spoil(u16, u8),
    /// Bytes arrive that the client has not sent.
    Inject(Vec<u8>),
    /// The client says that it will say no more.
    Farewell,
    /// The client is gone.
    Eof,
    /// The server says that many bytes.
    Answer(u16),
    Pause,
    Resume,
    Close,
    Abort,
    /// The system takes that many bytes of the server.
    Room(u16),
    AllRoom,
    Poll,
}

/// Bytes in which a lost, doubled or moved piece shows.
fn pattern(from: usize, len: usize) -> Vec<u8> {
    (from..from + len).map(|at| (at * 7 % 251) as u8).collect()
}

/// The configurations of both sides, made once.
fn configs() -> &'static (Arc<ClientConfig>, Arc<ServerConfig>) {
    static CONFIGS: OnceLock<(Arc<ClientConfig>, Arc<ServerConfig>)> = OnceLock::new();
    CONFIGS.get_or_init(|| {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = made.cert.der().clone();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        let provider = Arc::new(futures_rustls::rustls::crypto::ring::default_provider());
        let client =
            ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
        let server = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let client = client.with_root_certificates(roots).with_no_client_auth();
        let server = server.with_no_client_auth().with_single_cert(vec![certificate], key.into()).unwrap();
        (Arc::new(client), Arc::new(server))
    })
}

/// The line that asks for the upgrade.
pub(crate) const REQUEST: &[u8] = b"STARTTLS\n";

#[derive(Debug, Default)]
struct Log {
    received: Vec<u8>,
    ends: usize,
    losses: usize,
}

struct Server {
    /// What came before the upgrade; none once it was asked for.
    line: Option<Vec<u8>>,
    log: Arc<Mutex<Log>>,
}

impl Server {
    fn upgrade(&mut self, transport: &Transport, rest: &[u8]) {
        self.line = None;
        let tls = Tls::server(configs().1.clone()).received(rest);
        // The loss tells how it has failed.
        drop(transport.start_tls(tls));
    }
}

impl Protocol for Server {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        let Some(mut line) = self.line.take() else {
            return self.log.lock().unwrap().received.extend_from_slice(data);
        };
        line.extend_from_slice(data);
        match line.strip_prefix(REQUEST) {
            Some(rest) => self.upgrade(transport, rest),
            None => self.line = Some(line),
        }
    }

    fn eof_received(&mut self, _: &Transport) -> OnEof {
        self.log.lock().unwrap().ends += 1;
        OnEof::Close
    }

    fn connection_lost(&mut self, _: Option<io::Error>) {
        self.log.lock().unwrap().losses += 1;
    }
}

struct World {
    /// None once it has resolved.
    connection: Option<Connection<Server>>,
    transport: Transport,
    peer: Peer,
    client: ClientConnection,
    /// From the client, on its way.
    wire: Vec<u8>,
    said: usize,
    answered: usize,
    heard: usize,
    log: Arc<Mutex<Log>>,
    /// Neither side nor the wire has done anything that ends the connection.
    is_well: bool,
    /// There was something that the client has not understood: it hears no more.
    is_deaf: bool,
}

impl World {
    fn new(first: Vec<u8>) -> Self {
        let log = Arc::new(Mutex::new(Log::default()));
        let server = Server { line: Some(Vec::new()), log: log.clone() };
        // No time passes.
        let (connection, peer) = Memory::new(server).clock(&Clock::new()).connect();
        let client = ClientConnection::new(configs().0.clone(), "localhost".try_into().unwrap()).unwrap();
        let transport = connection.transport().clone();
        let mut world = Self {
            connection: Some(connection),
            transport,
            peer,
            client,
            wire: first,
            said: 0,
            answered: 0,
            heard: 0,
            log,
            is_well: true,
            is_deaf: false,
        };
        world.talk();
        world
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Say(len) => self.say((*len).into()),
            Step::Pass(len) => self.pass((*len).into()),
            Step::PassAll => self.pass(self.wire.len()),
            Step::Spoil(at, mask) => self.spoil((*at).into(), *mask),
            Step::Inject(bytes) => {
                self.is_well &= bytes.is_empty();
                self.peer.feed(bytes);
            }
            Step::Farewell => {
                self.is_well = false;
                self.client.send_close_notify();
            }
            Step::Eof => {
                self.is_well = false;
                self.peer.feed_eof();
            }
            Step::Answer(len) => self.answer((*len).into()),
            Step::Pause => self.transport.pause_reading(),
            Step::Resume => self.transport.resume_reading(),
            Step::Close => {
                self.is_well = false;
                self.transport.close();
            }
            Step::Abort => {
                self.is_well = false;
                self.transport.abort();
            }
            Step::Room(len) => self.peer.set_room((*len).into()),
            Step::AllRoom => self.peer.set_room(usize::MAX),
            Step::Poll => self.poll(),
        }
        self.check();
    }

    fn say(&mut self, len: usize) {
        let said = self.client.writer().write(&pattern(self.said, len));
        self.said += said.unwrap_or(0);
        self.talk();
    }

    fn answer(&mut self, len: usize) {
        // Before the upgrade it would be no answer over TLS.
        if !self.client.is_handshaking() {
            let written = self.transport.write(pattern(self.answered, len));
            self.answered += if written.ok().is_ok() { len } else { 0 };
        }
    }

    fn spoil(&mut self, at: usize, mask: u8) {
        if let Some(byte) = self.wire.get_mut(at) {
            *byte ^= mask;
            self.is_well &= mask == 0;
        }
    }

    fn pass(&mut self, len: usize) {
        let rest = self.wire.split_off(len.min(self.wire.len()));
        self.peer.feed(&self.wire);
        self.wire = rest;
    }

    /// What the client has to send goes onto the wire.
    fn talk(&mut self) {
        while self.client.wants_write() {
            self.client.write_tls(&mut self.wire).unwrap();
        }
    }

    fn poll(&mut self) {
        if let Some(connection) = &mut self.connection {
            if poll(connection).is_ready() {
                self.connection = None;
            }
        }
        self.hear();
        self.talk();
    }

    /// The client reads what the server has sent.
    fn hear(&mut self) {
        let sent = self.peer.take_written();
        let mut rest = &sent[..];
        while !self.is_deaf && !rest.is_empty() && self.client.read_tls(&mut rest).is_ok_and(|count| count > 0) {
            if !self.understand() {
                assert!(!self.is_well, "the client does not understand the server");
                self.is_deaf = true;
                return;
            }
            let mut heard = Vec::new();
            // It ends with `WouldBlock`.
            let _ = self.client.reader().read_to_end(&mut heard);
            assert!(heard == pattern(self.heard, heard.len()), "the client was told something else");
            self.heard += heard.len();
        }
    }

    /// Lets the client decrypt. With debug assertions rustls panics over nonsense that follows its own close_notify.
    fn understand(&mut self) -> bool {
        catch_unwind(AssertUnwindSafe(|| self.client.process_new_packets().is_ok())).unwrap_or(false)
    }

    fn check(&self) {
        let log = self.log.lock().unwrap();
        assert!(log.received == pattern(0, log.received.len()), "the server was told something else");
        assert!(log.received.len() <= self.said, "the server was told more than was said");
        assert!(log.ends <= 1 && log.losses <= 1);
        assert_eq!(log.losses == 1, self.connection.is_none());
    }

    /// Lets everything arrive, if nothing has ended the connection.
    fn finish(mut self) {
        if self.is_well {
            self.transport.resume_reading();
            self.peer.set_room(usize::MAX);
            for _ in 0..20 {
                self.pass(self.wire.len());
                self.poll();
                self.check();
            }
            assert_eq!(self.log.lock().unwrap().received.len(), self.said, "something that was said is missing");
            assert_eq!(self.heard, self.answered, "something that was answered is missing");
        }
        drop(self.connection.take());
        self.check();
        assert!(self.peer.is_closed());
    }
}

/// Runs the steps on a connection that begins with the line that asks for TLS, cut into two pieces there.
pub(crate) fn run(cut: u8, steps: &[Step]) {
    let cut = usize::from(cut) % (REQUEST.len() + 1);
    let mut world = World::new(REQUEST.to_vec());
    world.pass(cut);
    world.poll();
    steps.iter().for_each(|step| world.step(step));
    world.finish();
}

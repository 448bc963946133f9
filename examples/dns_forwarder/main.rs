//! A DNS forwarder: a UDP face and a TCP face on one core, which asks a server by UDP, and by TCP for long answers.
//!
//! Run it with `cargo run --release --example dns_forwarder -- 127.0.0.1:5353 9.9.9.9:53`, the second address being that
//! of a server that you may ask, then try `dig @127.0.0.1 -p 5353 example.com`, the same with `+tcp`, or with
//! `+notcp +ignore +bufsize=512 TXT google.com`, whose answer does not fit into a datagram. Ctrl-C ends it.
//!
//! Look at `ask_udp` and `ask_tcp` first: a question is a protocol, and awaiting its endpoint gives the answer. Each has
//! a socket of its own, so who wants to forge an answer has to guess a port too. The faces start a task for each
//! query, and the task writes to the handle of the client when it has the answer, whatever has come in between.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use domain::base::Message;
use domain::base::iana::{Opcode, Rcode};
use smol::Timer;
use smol::future::FutureExt;
use smol::lock::Semaphore;
use smol_transports::{
    Addr, DatagramProtocol, DatagramTransport, OnEof, Protocol, Transport, create_connection, create_datagram_endpoint,
    create_server, spawn,
};

mod message;
#[path = "../shared/mod.rs"]
mod shared;

use message::{DnsMessage, Frames, cut, failure, write_frame};
use shared::{Interrupt, start};

const USAGE: &str = "usage: dns_forwarder [ADDRESS [SERVER]]; 127.0.0.1:5353 and 9.9.9.9:53 by default";

/// Questions that are open at the same time; more are answered with a failure.
const MOST_QUESTIONS: usize = 1000;
/// Datagrams sent for one question, one after another.
const TRIES: usize = 3;
const PATIENCE: Duration = Duration::from_secs(1);
/// TCP clients at a time, more wait; and how long one may be silent, longer than a question may be open.
const MOST_CLIENTS: usize = 100;
const SILENCE: Duration = Duration::from_secs(10);

/// What both faces share.
struct Core {
    server: SocketAddr,
    free: Arc<Semaphore>,
}

impl Core {
    /// Finds the answer to a query in a task, and hands it to `reply`.
    fn start(self: &Arc<Self>, query: Vec<u8>, reply: impl FnOnce(&DnsMessage, DnsMessage) + Send + 'static) {
        // Two who answer answers would do so for ever.
        let Some(query) = Message::from_octets(query).ok().filter(|query| !query.header().qr()) else { return };
        let core = self.clone();
        let slot = self.free.try_acquire_arc();
        spawn(async move {
            let answer = match slot {
                Some(_slot) => core.answer(&query).await,
                None => failure(&query, Rcode::SERVFAIL),
            };
            reply(&query, answer);
        })
        .detach();
    }

    async fn answer(&self, query: &DnsMessage) -> DnsMessage {
        if query.sole_question().is_err() {
            return failure(query, Rcode::FORMERR);
        }
        if query.header().opcode() != Opcode::QUERY {
            return failure(query, Rcode::NOTIMP);
        }
        let mut question = query.clone();
        question.header_mut().set_id(RandomState::new().hash_one(()) as u16);
        let answer = match self.ask_udp(&question).await {
            Ok(answer) if answer.header().tc() => self.ask_tcp(&question).await,
            result => result,
        };
        let Ok(mut answer) = answer else { return failure(query, Rcode::SERVFAIL) };
        answer.header_mut().set_id(query.header().id());
        answer
    }

    async fn ask_udp(&self, question: &DnsMessage) -> io::Result<DnsMessage> {
        let ask = Ask { question: question.clone(), answer: None };
        let endpoint = create_datagram_endpoint(ask).remote_addr(self.server).await?;
        let transport = endpoint.transport().clone();
        let answer = async { endpoint.await.answer.ok_or_else(|| io::ErrorKind::ConnectionRefused.into()) };
        let ask_again = async {
            for _ in 1..TRIES {
                Timer::after(PATIENCE).await;
                transport.send(question);
            }
            out_of_time().await
        };
        answer.or(ask_again).await
    }

    async fn ask_tcp(&self, question: &DnsMessage) -> io::Result<DnsMessage> {
        let ask = AskTcp { question: question.clone(), frames: Frames::default(), answer: None };
        let answer = async {
            let ask = create_connection(ask, self.server).await?.await;
            ask.answer.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
        };
        answer.or(out_of_time()).await
    }
}

async fn out_of_time<R>() -> io::Result<R> {
    Timer::after(PATIENCE).await;
    Err(io::ErrorKind::TimedOut.into())
}

struct Ask {
    question: DnsMessage,
    answer: Option<DnsMessage>,
}

impl DatagramProtocol for Ask {
    fn connection_made(&mut self, transport: &DatagramTransport) {
        transport.send(&self.question);
    }

    fn datagram_received(&mut self, transport: &DatagramTransport, data: &[u8], _: &Addr) {
        self.answer = answer_in(data.to_vec(), &self.question);
        if self.answer.is_some() {
            transport.close();
        }
    }

    // Nobody listens there: there is no need to wait.
    fn error_received(&mut self, transport: &DatagramTransport, exc: io::Error) {
        transport.fail(exc);
    }
}

struct AskTcp {
    question: DnsMessage,
    frames: Frames,
    answer: Option<DnsMessage>,
}

impl Protocol for AskTcp {
    fn connection_made(&mut self, transport: &Transport) {
        write_frame(transport, &self.question);
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        self.frames.extend(data);
        if let Some(message) = self.frames.next() {
            self.answer = answer_in(message, &self.question);
            transport.close();
        }
    }
}

/// The message, if it comes from somebody who knows the question.
fn answer_in(message: Vec<u8>, question: &DnsMessage) -> Option<DnsMessage> {
    Message::from_octets(message).ok().filter(|message| message.is_answer(question))
}

struct UdpFace(Arc<Core>);

impl DatagramProtocol for UdpFace {
    fn datagram_received(&mut self, transport: &DatagramTransport, data: &[u8], addr: &Addr) {
        let (transport, addr) = (transport.clone(), addr.clone());
        self.0.start(data.to_vec(), move |query, answer| {
            transport.send_to(cut(query, answer), addr);
        });
    }

    fn pause_writing(&mut self, transport: &DatagramTransport) {
        transport.pause_reading();
    }

    fn resume_writing(&mut self, transport: &DatagramTransport) {
        transport.resume_reading();
    }
}

struct TcpFace {
    core: Arc<Core>,
    frames: Frames,
    /// Held by each question that is open as well, and by the protocol until the client has asked all.
    open: Option<Arc<CloseOnDrop>>,
}

struct CloseOnDrop(Transport);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Protocol for TcpFace {
    fn connection_made(&mut self, transport: &Transport) {
        self.open = Some(Arc::new(CloseOnDrop(transport.clone())));
    }

    fn data_received(&mut self, _: &Transport, data: &[u8]) {
        self.frames.extend(data);
        while let (Some(query), Some(open)) = (self.frames.next(), self.open.clone()) {
            self.core.start(query, move |_, answer| write_frame(&open.0, &answer));
        }
    }

    // A client that has asked all may still wait for answers.
    fn eof_received(&mut self, _: &Transport) -> OnEof {
        self.open = None;
        OnEof::KeepOpen
    }

    fn pause_writing(&mut self, transport: &Transport) {
        transport.pause_reading();
    }

    fn resume_writing(&mut self, transport: &Transport) {
        transport.resume_reading();
    }
}

async fn run([address, server]: [String; 2], interrupt: Interrupt) -> io::Result<()> {
    let server =
        server.parse().map_err(|err| io::Error::new(io::ErrorKind::InvalidInput, format!("{server}: {err}")))?;
    let core = Arc::new(Core { server, free: Arc::new(Semaphore::new(MOST_QUESTIONS)) });
    let its = core.clone();
    let face = move || TcpFace { core: its.clone(), frames: Frames::default(), open: None };
    let tcp = create_server(face, address).max_connections(MOST_CLIENTS).idle_timeout(SILENCE).await?;
    // The same port for both, also if the system has chosen it.
    let address = tcp.local_addr()?;
    let udp = create_datagram_endpoint(UdpFace(core)).local_addr(address).await?;
    println!("listening on {address}, asking {server}");
    let (_tcp, _udp) = (tcp.spawn(), udp.spawn());
    interrupt.wait().await
}

fn main() -> ExitCode {
    start(USAGE, ["127.0.0.1:5353", "9.9.9.9:53"], run)
}

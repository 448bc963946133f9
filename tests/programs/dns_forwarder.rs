//! The DNS forwarder: dig by UDP and TCP, and a server behind it that does what the name asks for.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, UdpSocket};
use std::process::Command;
use std::thread;

use domain::base::iana::Rcode;
use domain::base::{Message, MessageBuilder, Name, Rtype};
use domain::rdata::{A, Txt};

use crate::program::{LATE, Program, check_arguments, client, connect, read_all, run, text};

type Query = Message<Vec<u8>>;

const GOOD: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const FORGED: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 255);

/// A forwarder, and the server that it asks.
struct Dns {
    forwarder: Program,
}

impl Dns {
    fn start() -> Self {
        let (udp, tcp) = same_port();
        let server = udp.local_addr().expect("bound").to_string();
        thread::spawn(move || serve_udp(&udp));
        thread::spawn(move || serve_tcp(&tcp));
        Self::asking(&server)
    }

    fn asking(server: &str) -> Self {
        // The port that the system chooses may be free for TCP alone.
        let start = || Program::try_start("dns_forwarder", &["127.0.0.1:0", server]);
        Self { forwarder: std::iter::repeat_with(start).take(20).flatten().next().expect("a forwarder") }
    }

    fn dig(&self, args: &[&str]) -> Option<Command> {
        let port = self.forwarder.port();
        client("dig", &[&["@127.0.0.1", "-p", &port, "+tries=1", "+timeout=30"], args].concat())
    }

    fn udp(&self) -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
        socket.connect(self.forwarder.address()).expect("connected");
        socket.set_read_timeout(Some(LATE)).expect("a socket");
        socket
    }
}

fn same_port() -> (UdpSocket, TcpListener) {
    loop {
        let udp = UdpSocket::bind("127.0.0.1:0").expect("bound");
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().expect("bound")) {
            return (udp, tcp);
        }
    }
}

fn serve_udp(socket: &UdpSocket) {
    let mut buffer = [0; 4096];
    let mut asked_late = 0;
    while let Ok((count, client)) = socket.recv_from(&mut buffer) {
        let query = parse(&buffer[..count]);
        let send = |message: Query| drop(socket.send_to(message.as_slice(), client));
        match name(&query).as_str() {
            "silent.test" => {}
            "late.test" if asked_late == 0 => asked_late += 1,
            "forged.test" => forge(&query, send),
            "long.test" => {
                let mut message = MessageBuilder::new_vec().start_error(&query, Rcode::NOERROR);
                message.header_mut().set_tc(true);
                send(message.into_message());
            }
            _ => send(answer(&query, GOOD)),
        }
    }
}

/// Answers that must not be believed, and then the right one.
fn forge(query: &Query, send: impl Fn(Query)) {
    let mut wrong_id = answer(query, FORGED);
    wrong_id.header_mut().set_id(query.header().id().wrapping_add(1));
    send(wrong_id);
    send(answer(&ask_for(query.header().id(), "other.test"), FORGED));
    let mut query_again = answer(query, FORGED);
    query_again.header_mut().set_qr(false);
    send(query_again);
    send(answer(query, GOOD));
}

fn serve_tcp(listener: &TcpListener) {
    for stream in listener.incoming() {
        let mut stream = stream.expect("a client");
        let mut length = [0; 2];
        stream.read_exact(&mut length).expect("a length");
        let mut query = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut query).expect("a query");
        stream.write_all(&frame(answer(&parse(&query), GOOD).as_slice())).expect("sent");
    }
}

fn parse(message: &[u8]) -> Query {
    Message::from_octets(message.to_vec()).expect("a message")
}

fn name(query: &Query) -> String {
    query.sole_question().expect("a question").qname().to_string()
}

fn answer(query: &Query, address: Ipv4Addr) -> Query {
    let mut message = MessageBuilder::new_vec().start_answer(query, Rcode::NOERROR).expect("room");
    message.header_mut().set_ra(true);
    let owner = Name::<Vec<u8>>::vec_from_str(&name(query)).expect("a name");
    if name(query) == "long.test" {
        for n in 0..100 {
            let text = Txt::<Vec<u8>>::build_from_slice(format!("this is text {n}").as_bytes()).expect("short");
            message.push((&owner, 60, text)).expect("room");
        }
    } else {
        message.push((&owner, 60, A::new(address))).expect("room");
    }
    message.into_message()
}

fn ask_for(id: u16, name: &str) -> Query {
    let mut message = MessageBuilder::new_vec().question();
    message.header_mut().set_id(id);
    message.push((Name::<Vec<u8>>::vec_from_str(name).expect("a name"), Rtype::A)).expect("room");
    message.into_message()
}

fn query(id: u16, name: &str) -> Vec<u8> {
    ask_for(id, name).into_octets()
}

fn frame(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes(), message].concat()
}

#[test]
fn arguments() {
    check_arguments("dns_forwarder");
    let (status, _, stderr) = run("dns_forwarder", &["127.0.0.1:0", "nonsense"]);
    assert!(status == Some(1) && stderr.starts_with("error: nonsense: "), "{status:?} {stderr}");
}

#[test]
fn dig_is_answered_by_udp_and_tcp() {
    let dns = Dns::start();
    for way in ["+notcp", "+tcp", "+noedns"] {
        let Some(mut dig) = dns.dig(&[way, "+short", "plain.test"]) else { return };
        assert_eq!(text(&mut dig), "192.0.2.1\n", "{way}");
    }
    // Types that nobody has a name for are passed on as well.
    let mut dig = dns.dig(&["-t", "TYPE65280", "plain.test"]).expect("dig");
    let report = text(&mut dig);
    assert!(report.contains("status: NOERROR") && report.contains("192.0.2.1"), "{report}");
}

#[test]
fn dig_comes_back_by_tcp_for_a_long_answer() {
    let dns = Dns::start();
    let Some(mut dig) = dns.dig(&["-t", "TXT", "long.test"]) else { return };
    let report = text(&mut dig);
    assert!(report.contains("Truncated, retrying in TCP mode"), "{report}");
    assert!(report.contains("ANSWER: 100") && report.contains("(TCP)"), "{report}");
    let report = text(&mut dns.dig(&["+notcp", "+ignore", "-t", "TXT", "long.test"]).expect("dig"));
    assert!(report.contains("flags: qr tc rd ra;") && report.contains("ANSWER: 0"), "{report}");
}

#[test]
fn dig_is_told_that_nobody_answers() {
    let dns = Dns::start();
    let Some(mut dig) = dns.dig(&["silent.test"]) else { return };
    let report = text(&mut dig);
    assert!(report.contains("status: SERVFAIL"), "{report}");
    // A port that is bound and not listened to: the system says so.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().expect("an address").into()).expect("bound");
    let closed = socket.local_addr().expect("bound").as_socket().expect("an address").to_string();
    let report = text(&mut Dns::asking(&closed).dig(&["plain.test"]).expect("dig"));
    assert!(report.contains("status: SERVFAIL"), "{report}");
}

#[test]
fn a_lost_datagram_is_sent_again() {
    let dns = Dns::start();
    let Some(mut dig) = dns.dig(&["+short", "late.test"]) else { return };
    assert_eq!(text(&mut dig), "192.0.2.1\n");
}

#[test]
fn forged_answers_are_not_believed() {
    let dns = Dns::start();
    let Some(mut dig) = dns.dig(&["+short", "forged.test"]) else { return };
    assert_eq!(text(&mut dig), "192.0.2.1\n");
}

#[test]
fn nonsense_is_refused_or_ignored() {
    let dns = Dns::start();
    let socket = dns.udp();
    for nonsense in [&b""[..], b"short", &query(1, "plain.test")[..11]] {
        socket.send(nonsense).expect("sent");
    }
    let mut response = query(2, "plain.test");
    response[2] |= 0x80;
    socket.send(&response).expect("sent");
    let mut cut = query(3, "plain.test");
    cut.truncate(20);
    socket.send(&cut).expect("sent");
    let mut buffer = [0; 512];
    let count = socket.recv(&mut buffer).expect("an answer");
    let refusal = parse(&buffer[..count]).header();
    assert_eq!((refusal.id(), refusal.rcode()), (3, Rcode::FORMERR));
    socket.send(&query(4, "plain.test")).expect("sent");
    let count = socket.recv(&mut buffer).expect("an answer");
    assert_eq!(parse(&buffer[..count]).header().id(), 4);
}

/// All that was asked is answered, also after the client has finished; then the connection is closed.
#[test]
fn many_questions_on_one_connection() {
    let dns = Dns::start();
    let mut stream = connect(dns.forwarder.address());
    for id in 0..200 {
        stream.write_all(&frame(&query(id, "plain.test"))).expect("sent");
    }
    stream.shutdown(Shutdown::Write).expect("finished");
    let answers = read_all(stream);
    let mut ids = Vec::new();
    let mut rest = &answers[..];
    while let Some((length, more)) = rest.split_first_chunk() {
        let (message, more) = more.split_at(u16::from_be_bytes(*length).into());
        let message = parse(message);
        assert_eq!(message.header_counts().ancount(), 1);
        ids.push(message.header().id());
        rest = more;
    }
    ids.sort_unstable();
    assert_eq!(ids, (0..200).collect::<Vec<u16>>());
}

#[test]
fn an_interrupt_ends_it() {
    let dns = Dns::start();
    dns.forwarder.interrupt();
    assert_eq!(dns.forwarder.wait().code(), Some(0));
}

/// Whoever sends it may not be who gets the answer.
#[test]
fn many_questions_are_refused_in_a_few_words() {
    let dns = Dns::start();
    let mut asked = query(7, &format!("{}.test", "long".repeat(15)));
    let again = [&[0xc0, 12][..], &asked[asked.len() - 4..]].concat();
    (0..100).for_each(|_| asked.extend_from_slice(&again));
    asked[4..6].copy_from_slice(&101_u16.to_be_bytes());
    let udp = dns.udp();
    udp.send(&asked).expect("sent");
    let mut answer = [0; 4096];
    let count = udp.recv(&mut answer).expect("an answer");
    let refused = parse(&answer[..count]);
    assert_eq!((refused.header().id(), refused.header().rcode()), (7, Rcode::FORMERR));
    assert!(count <= asked.len(), "{count} bytes for {}", asked.len());
    // The same by TCP, where there is room for more of them.
    (0..10_000).for_each(|_| asked.extend_from_slice(&again));
    asked[4..6].copy_from_slice(&10_101_u16.to_be_bytes());
    asked.truncate(65_000);
    let mut stream = connect(dns.forwarder.address());
    stream.write_all(&frame(&asked)).expect("sent");
    stream.shutdown(Shutdown::Write).expect("connected");
    assert!(read_all(stream).len() < 1000);
}

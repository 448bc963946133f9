//! Opening connections: addresses, happy eyeballs, options, existing sockets.

use std::future::IntoFuture;
use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use async_io::Async;
use smol_transports::{Address, StreamSocket, WriteLimits, connect_socket, create_connection};
use socket2::{Domain, Socket, Type};

use crate::common::{ANY, Silent, connected, guard, has_ipv6, read_exact, refusing, tcp_pair, unix_pair};
use crate::recorder::{Call, Log, Recorder};

fn silent_recorder() -> Recorder {
    Recorder::new(&Log::default())
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(ANY).unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

/// Where a connection to these addresses ends up.
async fn winner(addrs: &[SocketAddr]) -> std::io::Result<SocketAddr> {
    let connection = create_connection(silent_recorder(), addrs).await?;
    Ok(connection.transport().extra_info().peername().unwrap().as_inet().unwrap())
}

#[test]
fn every_form_of_an_address_is_taken() {
    let (listener, addr) = listener();
    let (text, port) = (addr.to_string(), addr.port());
    let addrs: Vec<Address> = vec![
        text.as_str().into(),
        (&text).into(),
        text.clone().into(),
        ("127.0.0.1", port).into(),
        (String::from("127.0.0.1"), port).into(),
        ("localhost", port).into(),
        format!("localhost:{port}").into(),
        format!(":{port}").into(),
        addr.into(),
        (addr.ip(), port).into(),
        (Ipv4Addr::LOCALHOST, port).into(),
        vec![addr].into(),
        (&[addr][..]).into(),
    ];
    for addr in addrs {
        let text = format!("{addr:?}");
        guard(async {
            let connection = create_connection(silent_recorder(), addr).await.expect(&text);
            let (peer, _) = listener.accept().unwrap();
            assert_eq!(*connection.transport().extra_info().sockname().unwrap(), peer.peer_addr().unwrap());
        });
    }
}

#[test]
fn an_ipv6_address_in_brackets_is_taken() {
    if !has_ipv6() {
        return;
    }
    let listener = TcpListener::bind("[::1]:0").unwrap();
    let addr = listener.local_addr().unwrap();
    drop(guard(create_connection(silent_recorder(), addr.to_string()).into_future()).unwrap());
    assert!(listener.accept().unwrap().1.is_ipv6());
}

#[test]
fn the_protocol_can_write_from_connection_made_on() {
    let (listener, addr) = listener();
    let log = Log::default();
    guard(async {
        let recorder = Recorder::new(&log).alone().on_made(|transport| transport.write(b"first"));
        let connection = create_connection(recorder, addr).await.unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        assert_eq!(read_exact(&peer, 5), b"first");
        peer.write_all(b"second").unwrap();
        drop(peer);
        connection.await;
    });
    assert_eq!(log.calls(), [Call::Made, Call::Data(b"second".to_vec()), Call::Eof, Call::Lost(None)]);
}

#[test]
fn the_next_address_is_tried_when_one_refuses() {
    let (_listener, addr) = listener();
    let (_socket, refused) = refusing();
    assert_eq!(guard(winner(&[refused, refused, addr])).unwrap(), addr);
}

#[test]
fn the_next_address_is_tried_when_one_does_not_answer() {
    let (_listener, addr) = listener();
    let silent = Silent::new();
    assert_eq!(guard(winner(&[silent.addr, addr])).unwrap(), addr);
}

/// The port is the same for both attempts, which are made side by side.
#[cfg(unix)]
#[test]
fn a_local_port_is_no_hindrance_to_the_next_attempt() {
    let (_listener, addr) = listener();
    let silent = Silent::new();
    // It keeps the port from others.
    let held = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    held.set_reuse_address(true).unwrap();
    held.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let local = held.local_addr().unwrap().as_socket().unwrap();
    let connect = create_connection(silent_recorder(), vec![silent.addr, addr]).local_addr(local);
    let connection = guard(connect.into_future()).unwrap();
    assert_eq!(*connection.transport().extra_info().sockname().unwrap(), local);
}

#[test]
fn the_next_attempt_waits_for_the_delay() {
    let (_listener, addr) = listener();
    let silent = Silent::new();
    let delay = Duration::from_millis(120);
    let begin = Instant::now();
    let connect = create_connection(silent_recorder(), vec![silent.addr, addr]).happy_eyeballs(delay);
    drop(guard(connect.into_future()).unwrap());
    assert!(begin.elapsed() >= delay);
}

#[test]
fn the_first_that_answers_wins_though_it_began_last() {
    let (_listener, addr) = listener();
    let silent = [Silent::new(), Silent::new()];
    let addrs = vec![silent[0].addr, silent[1].addr, addr];
    let connect = create_connection(silent_recorder(), addrs).happy_eyeballs(Duration::from_millis(1));
    let connection = guard(connect.into_future()).unwrap();
    assert_eq!(*connection.transport().extra_info().peername().unwrap(), addr);
}

#[test]
fn a_failure_begins_the_next_attempt_without_delay() {
    let (_listener, addr) = listener();
    let (_socket, refused) = refusing();
    let day = Duration::from_secs(24 * 3600);
    let connect = create_connection(silent_recorder(), vec![refused, addr]).happy_eyeballs(day);
    let connection = guard(connect.into_future()).unwrap();
    assert_eq!(*connection.transport().extra_info().peername().unwrap(), addr);
}

#[test]
fn without_happy_eyeballs_each_attempt_is_waited_for() {
    let (_listener, addr) = listener();
    let silent = Silent::new();
    let connect = create_connection(silent_recorder(), vec![silent.addr, addr])
        .happy_eyeballs(None)
        .connect_timeout(Duration::from_millis(300));
    assert_eq!(guard(connect.into_future()).unwrap_err().kind(), ErrorKind::TimedOut);
}

#[test]
fn a_connect_that_takes_too_long_has_timed_out() {
    let silent = Silent::new();
    let log = Log::default();
    let connect = create_connection(Recorder::new(&log), silent.addr).connect_timeout(Duration::from_millis(30));
    assert_eq!(guard(connect.into_future()).unwrap_err().kind(), ErrorKind::TimedOut);
    assert_eq!(log.calls(), [], "a protocol whose connection fails gets no callback");
}

#[test]
fn a_connect_in_time_is_not_disturbed_by_its_limit() {
    let (_listener, addr) = listener();
    let connect = create_connection(silent_recorder(), addr).connect_timeout(Duration::from_secs(3600));
    drop(guard(connect.into_future()).unwrap());
}

#[test]
fn the_same_error_of_all_addresses_is_told_once() {
    let (first, second) = (refusing(), refusing());
    let err = guard(winner(&[first.1, second.1])).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(err.raw_os_error(), Some(rustix::io::Errno::CONNREFUSED.raw_os_error()));
}

#[test]
fn different_errors_are_told_with_their_addresses() {
    let (_socket, refused) = refusing();
    let other: SocketAddr = "[::1]:9".parse().unwrap();
    let connect = create_connection(silent_recorder(), vec![refused, other]).local_addr(("127.0.0.1", 0));
    let err = guard(connect.into_future()).unwrap_err();
    let text = err.to_string();
    assert!(text.contains(&refused.to_string()) && text.contains("[::1]:9"), "{text}");
    assert_eq!(err.kind(), ErrorKind::Other);
}

#[test]
fn families_are_interleaved_unless_it_is_switched_off() {
    if !has_ipv6() {
        return;
    }
    let (_listener, v4) = listener();
    let listener = TcpListener::bind("[::1]:0").unwrap();
    let v6 = listener.local_addr().unwrap();
    let (_socket, refused) = refusing();
    for (first, expected) in [(0, v4), (1, v6), (2, v4)] {
        let connect = create_connection(silent_recorder(), vec![refused, v4, v6]).interleave(first);
        let connection = guard(connect.into_future()).unwrap();
        assert_eq!(*connection.transport().extra_info().peername().unwrap(), expected, "interleave({first})");
    }
}

#[test]
fn the_local_address_is_bound() {
    let (listener, addr) = listener();
    let connect = create_connection(silent_recorder(), addr).local_addr("127.0.0.9:0");
    let connection = guard(connect.into_future()).unwrap();
    let local = connection.transport().extra_info().sockname().unwrap().as_inet().unwrap();
    assert_eq!(local.ip(), Ipv4Addr::new(127, 0, 0, 9));
    assert_eq!(listener.accept().unwrap().1, local);
}

#[test]
fn of_the_local_addresses_the_first_that_is_free_is_taken() {
    let (_listener, addr) = listener();
    let taken = TcpListener::bind("127.0.0.8:0").unwrap();
    let locals = vec![taken.local_addr().unwrap(), "127.0.0.9:0".parse().unwrap()];
    let connect = create_connection(silent_recorder(), addr).local_addr(locals);
    let connection = guard(connect.into_future()).unwrap();
    let local = connection.transport().extra_info().sockname().unwrap().as_inet().unwrap();
    assert_eq!(local.ip(), Ipv4Addr::new(127, 0, 0, 9));
}

#[test]
fn a_local_address_that_cannot_be_had_is_an_error() {
    let (_listener, addr) = listener();
    let taken = TcpListener::bind(ANY).unwrap();
    let connect = create_connection(silent_recorder(), addr).local_addr(taken.local_addr().unwrap());
    assert_eq!(guard(connect.into_future()).unwrap_err().kind(), ErrorKind::AddrInUse);
}

#[test]
fn small_segments_are_sent_at_once_unless_it_is_switched_off() {
    let (_listener, addr) = listener();
    let nodelay = |connection: smol_transports::Connection<Recorder>| {
        connection.transport().with_socket(|socket| socket.tcp_nodelay().unwrap()).unwrap()
    };
    guard(async {
        assert!(nodelay(create_connection(silent_recorder(), addr).await.unwrap()));
        assert!(!nodelay(create_connection(silent_recorder(), addr).nodelay(false).await.unwrap()));
        assert!(nodelay(connect_socket(silent_recorder(), tcp_pair().0).await.unwrap()));
        assert!(!nodelay(connect_socket(silent_recorder(), tcp_pair().0).nodelay(false).await.unwrap()));
    });
}

#[test]
fn keep_alive_is_off_unless_it_is_asked_for() {
    let (_listener, addr) = listener();
    guard(async {
        for on in [false, true] {
            let connection = create_connection(silent_recorder(), addr).keep_alive(on).await.unwrap();
            let found = connection.transport().with_socket(|socket| socket.keepalive().unwrap());
            assert_eq!(found, Some(on));
        }
    });
}

#[test]
fn the_marks_can_be_set_from_the_beginning() {
    let (_listener, addr) = listener();
    let limits = WriteLimits::new(5, 50).unwrap();
    guard(async {
        let connection = create_connection(silent_recorder(), addr).write_limits(limits).await.unwrap();
        assert_eq!(connection.transport().write_buffer_limits(), limits);
    });
}

#[test]
fn options_can_be_set_through_with_socket() {
    guard(async {
        let connection = connect_socket(silent_recorder(), tcp_pair().0).await.unwrap();
        let transport = connection.transport();
        transport.with_socket(|socket| socket.set_tcp_nodelay(false)).unwrap().unwrap();
        assert_eq!(transport.with_socket(|socket| socket.tcp_nodelay().unwrap()), Some(false));
    });
}

/// Talks over an existing socket of some kind.
fn talk(socket: impl StreamSocket, mut far: impl Write + std::io::Read) {
    let log = Log::default();
    guard(async {
        let mut connection = connect_socket(Recorder::new(&log).alone(), socket).await.unwrap();
        connection.transport().write(b"ping");
        assert_eq!(read_exact(&mut far, 4), b"ping");
        far.write_all(b"pong").unwrap();
        connection.run_until(log.until(|log| log.data() == b"pong")).await;
    });
}

#[test]
fn every_kind_of_stream_socket_is_taken() {
    let (near, far) = tcp_pair();
    talk(near, far);
    let (near, far) = unix_pair();
    talk(near, far);
    let (near, far) = tcp_pair();
    talk(Async::new(near).unwrap(), far);
    let (near, far) = unix_pair();
    talk(Async::<UnixStream>::new(near).unwrap(), far);
    let (near, far) = tcp_pair();
    talk(Socket::from(near), far);
    let (near, far) = unix_pair();
    talk(OwnedFd::from(near), far);
}

#[test]
fn a_blocking_socket_becomes_non_blocking() {
    let (near, _far) = tcp_pair();
    near.set_nonblocking(false).unwrap();
    let second: TcpStream = near.try_clone().unwrap();
    let connection = connected(silent_recorder(), near);
    assert_eq!(second.peek(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    drop(connection);
}

//! What is wrong is told as an error of the right kind, and no protocol gets a callback.

use std::future::IntoFuture;
use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;

use smol_transports::{
    Address, Buffered, BufferedProtocol, Listen, StreamSocket, Transport, WriteLimits, connect_accepted_socket,
    connect_socket, create_connection, create_server,
};

use crate::common::{ANY, guard, read_all, refusing, tcp_pair};
use crate::recorder::{BufferedRecorder, Call, Log, Recorder};

fn connect_error(addr: impl Into<Address>) -> std::io::Error {
    let log = Log::default();
    let err = guard(create_connection(Recorder::new(&log), addr).into_future()).unwrap_err();
    assert_eq!(log.calls(), []);
    err
}

fn listen_error(addr: impl Into<Listen>) -> std::io::Error {
    guard(create_server(|| Recorder::new(&Log::default()), addr).into_future()).unwrap_err()
}

fn socket_error(socket: impl StreamSocket) -> ErrorKind {
    let log = Log::default();
    let err = guard(connect_socket(Recorder::new(&log), socket).into_future()).unwrap_err();
    assert_eq!(log.calls(), []);
    err.kind()
}

#[test]
fn a_malformed_address_is_invalid_input_and_named() {
    for text in ["", "localhost", "127.0.0.1", "127.0.0.1:", "127.0.0.1:99999", "127.0.0.1:-1", "::1:80", "host:http"] {
        for err in [connect_error(text), listen_error(text)] {
            assert_eq!(err.kind(), ErrorKind::InvalidInput, "{text:?}: {err}");
            assert!(err.to_string().contains(text), "{err}");
        }
    }
}

#[test]
fn a_list_without_addresses_is_invalid_input() {
    assert_eq!(connect_error(Vec::<SocketAddr>::new()).kind(), ErrorKind::InvalidInput);
    assert_eq!(listen_error(Vec::<SocketAddr>::new()).kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_host_that_does_not_exist_is_an_error() {
    for host in ["no-such-host.invalid", "bad host name", "[127.0.0.1]"] {
        drop(connect_error((host, 1)));
        drop(listen_error((host, 0)));
    }
}

#[test]
fn a_host_with_a_zero_byte_is_an_error() {
    drop(connect_error(("local\0host", 1)));
}

#[test]
fn a_port_that_nobody_listens_on_is_refused() {
    let (_socket, addr) = refusing();
    assert_eq!(connect_error(addr).kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn a_port_that_is_taken_is_in_use_and_named() {
    let taken = TcpListener::bind(ANY).unwrap();
    let addr = taken.local_addr().unwrap();
    let err = listen_error(addr);
    assert_eq!(err.kind(), ErrorKind::AddrInUse);
    assert!(err.to_string().contains(&addr.to_string()), "{err}");
}

#[test]
fn one_taken_port_of_several_fails_the_whole_call_and_frees_the_others() {
    let holder = TcpListener::bind(ANY).unwrap();
    let taken = holder.local_addr().unwrap();
    let free = TcpListener::bind("127.0.0.3:0").unwrap().local_addr().unwrap();
    assert_eq!(listen_error(vec![free, taken]).kind(), ErrorKind::AddrInUse);
    drop(TcpListener::bind(free).unwrap());
    drop(holder);
}

#[test]
fn an_address_of_another_machine_is_not_available() {
    let foreign: SocketAddr = "192.0.2.1:0".parse().unwrap();
    let err = listen_error(foreign);
    assert_eq!(err.kind(), ErrorKind::AddrNotAvailable);
    assert!(err.to_string().contains("192.0.2.1"), "{err}");
}

#[test]
fn an_address_of_another_machine_among_own_ones_is_left_out() {
    let addrs: Vec<SocketAddr> = vec!["192.0.2.1:0".parse().unwrap(), "127.0.0.1:0".parse().unwrap()];
    let server = guard(create_server(|| Recorder::new(&Log::default()), addrs).into_future()).unwrap();
    assert_eq!(server.sockets().len(), 1);
}

#[test]
fn a_socket_that_is_no_stream_is_invalid_input() {
    let udp = UdpSocket::bind(ANY).unwrap();
    assert_eq!(socket_error(OwnedFd::from(udp)), ErrorKind::InvalidInput);
    let (unix, _far) = UnixDatagram::pair().unwrap();
    assert_eq!(socket_error(OwnedFd::from(unix)), ErrorKind::InvalidInput);
}

#[test]
fn a_listening_socket_is_invalid_input() {
    let listener = TcpListener::bind(ANY).unwrap();
    assert_eq!(socket_error(OwnedFd::from(listener.try_clone().unwrap())), ErrorKind::InvalidInput);
    let socket = socket2::Socket::from(listener);
    let log = Log::default();
    let err = guard(connect_accepted_socket(Recorder::new(&log), socket).into_future()).unwrap_err();
    assert_eq!((err.kind(), log.calls()), (ErrorKind::InvalidInput, vec![]));
}

#[test]
fn a_descriptor_that_is_no_socket_is_an_error() {
    let file = tempfile::tempfile().unwrap();
    let log = Log::default();
    assert!(guard(connect_socket(Recorder::new(&log), OwnedFd::from(file)).into_future()).is_err());
    assert_eq!(log.calls(), []);
}

#[test]
fn a_datagram_socket_cannot_be_listened_to() {
    let socket = socket2::Socket::from(UdpSocket::bind(ANY).unwrap());
    drop(listen_error(socket));
}

#[test]
fn a_connected_socket_cannot_be_listened_to() {
    let (near, _far) = tcp_pair();
    drop(listen_error(socket2::Socket::from(near)));
}

#[test]
fn a_socket_that_is_not_connected_ends_with_an_error() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let log = Log::default();
    guard(async {
        let Ok(connection) = connect_socket(Recorder::new(&log), socket).await else {
            return assert_eq!(log.calls(), []);
        };
        connection.transport().write(b"to nobody");
        connection.await;
        assert!(log.end().is_some());
    });
}

#[test]
fn an_empty_receive_buffer_ends_the_connection_with_an_error() {
    let (near, mut far) = tcp_pair();
    let log = Log::default();
    guard(async {
        let recorder = BufferedRecorder::new(Recorder::new(&log), 0);
        let connection = connect_socket(Buffered(recorder), near).await.unwrap();
        far.write_all(b"x").unwrap();
        connection.await;
    });
    assert_eq!(log.calls(), [Call::Made, Call::Lost(Some(ErrorKind::InvalidInput))]);
}

/// Lends a buffer that is empty after the first time.
struct Shrinking(Vec<u8>);

impl BufferedProtocol for Shrinking {
    fn get_buffer(&mut self, _: usize) -> &mut [u8] {
        &mut self.0
    }

    fn buffer_updated(&mut self, _: &Transport, _: usize) {
        self.0.clear();
    }
}

#[test]
fn a_buffer_that_becomes_empty_is_an_error_then() {
    let (near, mut far) = tcp_pair();
    guard(async {
        let connection = connect_socket(Buffered(Shrinking(vec![0; 1])), near).await.unwrap();
        let transport = connection.transport().clone();
        far.write_all(b"xy").unwrap();
        connection.await;
        assert_eq!(transport.closed().await.unwrap_err().kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn a_low_mark_over_the_high_one_changes_nothing() {
    assert_eq!(WriteLimits::new(2, 1).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(WriteLimits::new(1, 0).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_callback_that_fails_a_transport_tells_its_own_error() {
    let (near, mut far) = tcp_pair();
    let log = Log::default();
    let recorder = Recorder::new(&log).on_data(|transport, _| {
        transport.write(b"sorry");
        transport.fail(std::io::Error::new(ErrorKind::InvalidData, "not our protocol"));
    });
    guard(async {
        let connection = connect_socket(recorder, near).await.unwrap();
        far.write_all(b"GET /").unwrap();
        connection.await;
    });
    assert_eq!(log.end(), Some(ErrorKind::InvalidData));
    assert!(b"sorry".starts_with(&read_all(far)));
}

#[test]
fn a_listening_socket_of_packets_is_no_stream() {
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::SEQPACKET, None).unwrap();
    assert_eq!(listen_error(vec![socket]).kind(), ErrorKind::InvalidInput);
}

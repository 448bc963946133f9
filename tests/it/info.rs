//! What is known about a transport, also after its end.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::Command;

use smol_transports::{
    DatagramProtocol, Pipe, PipeKind, PipeTransport, Protocol, ReadTransport, SocketKind, SubprocessProtocol,
    WriteTransport, connect_read_pipe, connect_socket, connect_write_pipe, create_connection, create_datagram_endpoint,
    create_server, subprocess_exec, testing,
};

use crate::common::guard;
use crate::pipe::pipe;

/// Hears nothing.
struct Deaf;

impl Protocol for Deaf {}
impl Protocol<ReadTransport> for Deaf {}
impl Protocol<WriteTransport> for Deaf {}
impl DatagramProtocol for Deaf {}
impl SubprocessProtocol for Deaf {}

#[test]
fn the_kind_of_a_stream_socket_survives_it() {
    guard(async {
        for addr in ["127.0.0.1:0", "[::1]:0"] {
            let server = create_server(|| Deaf, addr).await.unwrap();
            let addr = server.local_addr().unwrap();
            let connection = create_connection(Deaf, addr).await.unwrap();
            let transport = connection.transport().clone();
            drop(connection);
            assert!(transport.with_socket(|_| ()).is_none());
            assert_eq!(transport.extra_info().socket_kind(), Some(SocketKind::Tcp));
            assert_eq!(transport.extra_info().pipe_kind(), None);
            assert_eq!(transport.extra_info().peername().unwrap().as_inet(), Some(addr));
        }
        let (near, _far) = UnixStream::pair().unwrap();
        let connection = connect_socket(Deaf, near).await.unwrap();
        let transport = connection.transport().clone();
        drop(connection);
        assert_eq!(transport.extra_info().socket_kind(), Some(SocketKind::UnixStream));
    });
}

#[test]
fn the_kind_of_a_datagram_socket_survives_it() {
    guard(async {
        let udp = create_datagram_endpoint(Deaf).local_addr("127.0.0.1:0").await.unwrap();
        let transport = udp.transport().clone();
        drop(udp);
        assert_eq!(transport.extra_info().socket_kind(), Some(SocketKind::Udp));
        let (near, _far) = UnixDatagram::pair().unwrap();
        let unix = create_datagram_endpoint(Deaf).socket(near).await.unwrap();
        assert_eq!(unix.transport().extra_info().socket_kind(), Some(SocketKind::UnixDatagram));
    });
}

#[test]
fn a_protocol_without_a_socket_is_on_none() {
    let (connection, _peer) = testing::Memory::new(Deaf).connect();
    assert_eq!(connection.transport().extra_info().socket_kind(), None);
    assert_eq!(connection.transport().extra_info().pipe_kind(), None);
}

/// What a read pipe on `fd` is told to be on, after its end.
async fn kind(fd: impl Into<OwnedFd>) -> Option<PipeKind> {
    let connection = connect_read_pipe(Deaf, fd).await.unwrap();
    let transport = connection.transport().clone();
    drop(connection);
    assert!(transport.with_pipe(|_| ()).is_none());
    assert_eq!(transport.extra_info().socket_kind(), None);
    transport.extra_info().pipe_kind()
}

#[test]
fn the_kind_of_a_pipe_survives_it() {
    guard(async {
        let (read, write) = pipe();
        assert_eq!(kind(read).await, Some(PipeKind::Fifo));
        let writer = connect_write_pipe(Deaf, write).await.unwrap();
        assert_eq!(writer.transport().extra_info().pipe_kind(), Some(PipeKind::Fifo));
        assert_eq!(kind(UnixStream::pair().unwrap().0).await, Some(PipeKind::Socket));
        assert_eq!(kind(File::open("/dev/null").unwrap()).await, Some(PipeKind::Device));
    });
}

#[test]
fn the_kind_of_a_terminal_survives_it() {
    guard(async {
        let Some((_user, program)) = crate::pipe::terminal::terminal() else { return };
        assert_eq!(kind(program).await, Some(PipeKind::Terminal));
    });
}

#[test]
fn the_pipes_of_a_child_are_pipes() {
    guard(async {
        let child = subprocess_exec(Deaf, Command::new("cat")).await.unwrap();
        let transport = child.transport().clone();
        drop(child);
        for pipe in [Pipe::Stdin, Pipe::Stdout, Pipe::Stderr] {
            let kind = match transport.pipe(pipe).unwrap() {
                PipeTransport::Read(pipe) => pipe.extra_info().pipe_kind(),
                PipeTransport::Write(pipe) => pipe.extra_info().pipe_kind(),
                _ => None,
            };
            assert_eq!(kind, Some(PipeKind::Fifo), "{pipe:?}");
        }
    });
}

//! TLS from the start, this crate on both sides.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_rustls::rustls::version::TLS13;
use futures_rustls::rustls::{self, ClientConnection, ProtocolVersion, StreamOwned};
use futures_rustls::{TlsAcceptor, TlsConnector};
use smol_transports::{
    Buffered, Server, Tls, connect_accepted_socket, connect_socket, connect_stream, create_connection, create_server,
    create_unix_connection, create_unix_server,
};
use socket2::Socket;

use super::common::{BOTH, CERTIFICATES, Identity, client, serve, serve_echo, server};
use crate::common::{self, ANY, assert_same, blocking, guard, pattern, read_exact, tcp_pair, unix_pair};
use crate::recorder::{BufferedRecorder, Call, Log, Recorder};

/// A client that sends `data`, and closes when it has got as much.
fn asking(log: &Log, data: Vec<u8>) -> Recorder {
    let (total, mut left) = (data.len(), data.len());
    assert!(total > 0);
    Recorder::new(log).on_made(move |transport| transport.write(&data)).on_data(move |transport, data| {
        left -= data.len();
        if left == 0 {
            transport.close();
        }
    })
}

#[test]
fn both_versions_echo_and_end_in_good_order() {
    for version in BOTH {
        guard(async {
            let served = serve_echo(Tls::server(CERTIFICATES.server_config(&[version]))).await;
            let log = Log::default();
            let connection = served.connect(asking(&log, b"hello".to_vec()), client()).await;
            let transport = connection.transport().clone();
            let info = transport.extra_info().tls().unwrap();
            assert_eq!(info.protocol_version(), version.version);
            assert!(!info.peer_certificates().is_empty());
            assert!(!transport.can_write_eof());
            assert!(transport.with_socket(|_| ()).is_some());
            connection.await;
            assert_eq!(log.calls(), [Call::Made, Call::Data(b"hello".to_vec()), Call::Lost(None)]);
            served.log.until_call(Call::Lost(None)).await;
            assert_eq!(served.log.calls(), [Call::Made, Call::Data(b"hello".to_vec()), Call::Eof, Call::Lost(None)]);
            // What is known about TLS survives the loss.
            assert!(transport.extra_info().tls().is_some());
            assert!(!transport.can_write_eof());
        });
    }
}

#[test]
fn much_goes_both_ways_at_once() {
    const SIZE: usize = 8 << 20;
    guard(async {
        let served = serve(server(), |log| {
            Recorder::counting(log)
                .on_data(|transport, data| transport.write(data))
                .on_pause(|transport| transport.pause_reading())
                .on_resume(|transport| transport.resume_reading())
        });
        let served = served.await;
        let log = Log::default();
        let data = pattern(SIZE, 1);
        let connection = served.connect(asking(&log, data.clone()), client()).await;
        connection.spawn().1.await;
        assert_same(&log.data(), &data);
        assert_eq!(log.end(), None);
    });
}

#[test]
fn a_buffer_of_any_size_gets_all_bytes() {
    for size in [1, 1000, 40_000] {
        guard(async {
            let data = pattern(100_000, size as u64);
            let sent = data.clone();
            let served = serve(server(), move |log| {
                let sent = sent.clone();
                Recorder::new(log).on_made(move |transport| {
                    transport.write(&sent);
                    transport.close();
                })
            });
            let served = served.await;
            let log = Log::default();
            let protocol = Buffered(BufferedRecorder::new(Recorder::new(&log), size));
            served.connect(protocol, client()).await.await;
            assert_same(&log.data(), &data);
            assert_eq!(log.without_marks()[2..], [Call::Eof, Call::Lost(None)]);
        });
    }
}

#[test]
fn futures_rustls_configures_both_sides() {
    guard(async {
        let acceptor = TlsAcceptor::from(Arc::new(CERTIFICATES.server_config(&BOTH)));
        let connector = TlsConnector::from(Arc::new(CERTIFICATES.client_config(&BOTH)));
        let served = serve_echo(Tls::server(&acceptor)).await;
        let log = Log::default();
        served.connect(asking(&log, b"hello".to_vec()), Tls::client(connector, "127.0.0.1")).await.await;
        assert_eq!(log.end(), None);
    });
}

#[test]
fn alpn_and_the_name_are_known() {
    guard(async {
        let mut config = CERTIFICATES.server_config(&BOTH);
        config.alpn_protocols = vec![b"one".to_vec(), b"two".to_vec()];
        let (seen, infos) = async_channel::unbounded();
        let served = serve(Tls::server(config), move |log| {
            let seen = seen.clone();
            Recorder::echo(log).on_made(move |transport| {
                seen.try_send(transport.extra_info().tls().cloned()).unwrap();
            })
        });
        let served = served.await;
        let mut config = CERTIFICATES.client_config(&BOTH);
        config.alpn_protocols = vec![b"two".to_vec(), b"three".to_vec()];
        let log = Log::default();
        served.connect(asking(&log, b"x".to_vec()), Tls::client(config, "localhost")).await.await;
        let info = infos.recv().await.unwrap().unwrap();
        assert_eq!(info.alpn_protocol(), Some(&b"two"[..]));
        assert_eq!(info.server_name(), Some("localhost"));
        assert_eq!(info.protocol_version(), ProtocolVersion::TLSv1_3);
        assert!(info.peer_certificates().is_empty());
    });
}

#[test]
fn the_second_session_is_resumed() {
    guard(async {
        let served = serve_echo(server()).await;
        let tls = client();
        let mut kinds = Vec::new();
        for _ in 0..2 {
            let connection = served.connect(asking(&Log::default(), b"x".to_vec()), tls.clone()).await;
            kinds.push(connection.transport().extra_info().tls().unwrap().handshake_kind().unwrap());
            connection.await;
        }
        assert_eq!(kinds[1], rustls::HandshakeKind::Resumed);
    });
}

#[test]
fn unix_sockets_speak_tls() {
    guard(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let theirs = Log::default();
        let known = theirs.clone();
        let served = create_unix_server(move || Recorder::echo(&known), &path).tls(server()).await.unwrap().spawn();
        let log = Log::default();
        create_unix_connection(asking(&log, b"hello".to_vec()), &path).tls(client()).await.unwrap().await;
        assert_eq!(log.data(), b"hello");
        assert_eq!(log.end(), None);
        theirs.until_call(Call::Lost(None)).await;
        served.0.close();
        served.1.await.unwrap();
    });
}

#[test]
fn sockets_and_streams_that_exist_speak_tls() {
    guard(async {
        let (near, far) = tcp_pair();
        let (log, theirs) = (Log::default(), Log::default());
        let accepted = connect_accepted_socket(Recorder::echo(&theirs), far).tls(server());
        let connecting = connect_socket(asking(&log, b"hello".to_vec()), near).tls(client());
        let (accepted, connected) = futures_lite::future::zip(accepted.into_future(), connecting.into_future()).await;
        let (accepted, connected) = (accepted.unwrap(), connected.unwrap());
        futures_lite::future::zip(accepted, connected).await;
        assert_eq!((log.end(), theirs.end()), (None, None));

        let (near, far) = unix_pair();
        let far = smol::Async::new(far).unwrap();
        let (log, theirs) = (Log::default(), Log::default());
        let accepted = connect_stream(Recorder::echo(&theirs), far).tls(server());
        let connecting = connect_socket(asking(&log, pattern(300_000, 3)), Socket::from(near)).tls(client());
        let (accepted, connected) = futures_lite::future::zip(accepted.into_future(), connecting.into_future()).await;
        let (accepted, connected) = (accepted.unwrap(), connected.unwrap());
        futures_lite::future::zip(accepted, connected).await;
        assert_same(&log.data(), &pattern(300_000, 3));
        assert_eq!((log.end(), theirs.end()), (None, None));
    });
}

#[test]
fn accept_by_hand_is_not_held_up_by_silent_clients() {
    guard(async {
        let log = Log::default();
        let known = log.clone();
        let mut accepting = create_server(move || Recorder::echo(&known), ANY).tls(server()).await.unwrap();
        let addr = accepting.local_addr().unwrap();
        let silent: Vec<_> = (0..20).map(|_| TcpStream::connect(addr).unwrap()).collect();
        let near = Log::default();
        let connecting = create_connection(asking(&near, b"hello".to_vec()), addr).tls(client());
        let (accepted, connected) = futures_lite::future::zip(accepting.accept(), connecting.into_future()).await;
        futures_lite::future::zip(accepted.unwrap(), connected.unwrap()).await;
        assert_eq!((near.end(), log.end()), (None, None));
        drop(silent);
    });
}

/// Until the handshake of a client has begun.
async fn begin_to_accept<F: FnMut() -> Recorder>(server: &mut Server<F>) {
    let handle = server.handle();
    while handle.connections() == 0 {
        assert!(futures_lite::future::poll_once(server.accept()).await.is_none());
    }
}

/// Nobody polls `accept` any more, so its handshake does not go on.
#[test]
fn a_client_that_nobody_accepts_does_not_keep_a_closed_server() {
    guard(async {
        let mut accepting = create_server(|| Recorder::new(&Log::default()), ANY).tls(server()).await.unwrap();
        let (addr, handle) = (accepting.local_addr().unwrap(), accepting.handle());
        let silent = TcpStream::connect(addr).unwrap();
        begin_to_accept(&mut accepting).await;
        handle.close();
        handle.wait_closed().await;
        assert_eq!(handle.connections(), 0);
        drop(silent);
    });
}

#[test]
fn a_handshake_that_accept_has_begun_goes_on_when_the_server_serves() {
    guard(async {
        let log = Log::default();
        let known = log.clone();
        let mut accepting = create_server(move || Recorder::echo(&known), ANY).tls(server()).await.unwrap();
        let (addr, handle) = (accepting.local_addr().unwrap(), accepting.handle());
        let near = Log::default();
        let socket = common::client(addr);
        begin_to_accept(&mut accepting).await;
        let (_, serving) = accepting.spawn();
        connect_socket(asking(&near, b"hello".to_vec()), socket).tls(client()).await.unwrap().await;
        assert_eq!(near.data(), b"hello");
        handle.close();
        serving.await.unwrap();
    });
}

/// The same when it is shut down.
#[test]
fn a_client_that_nobody_accepts_does_not_keep_a_server_from_its_end() {
    guard(async {
        let mut accepting = create_server(|| Recorder::new(&Log::default()), ANY).tls(server()).await.unwrap();
        let (addr, handle) = (accepting.local_addr().unwrap(), accepting.handle());
        let silent = TcpStream::connect(addr).unwrap();
        begin_to_accept(&mut accepting).await;
        assert_eq!(handle.shutdown(Duration::from_millis(50)).await, 0);
        assert_eq!(handle.connections(), 0);
        drop(silent);
    });
}

#[test]
fn what_cannot_be_used_is_told() {
    guard(async {
        let served = serve_echo(server()).await;
        let config = || CERTIFICATES.client_config(&BOTH);
        for tls in [
            Tls::client(config(), "not a name"),
            Tls::client(config(), ""),
            Tls::client(config(), "localhost").handshake_timeout(Duration::ZERO),
            Tls::client(config(), "localhost").shutdown_timeout(Duration::ZERO),
        ] {
            let log = Log::default();
            let failed = create_connection(Recorder::new(&log), served.addr).tls(tls).await.map(drop).unwrap_err();
            assert_eq!(failed.kind(), ErrorKind::InvalidInput, "{failed}");
            assert_eq!(log.calls(), []);
        }
        let failed = create_server(|| Recorder::new(&Log::default()), ANY).tls(client()).await.map(drop).unwrap_err();
        assert_eq!(failed.kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let Identity { certificate_file: certificate, key_file: key, .. } = &CERTIFICATES.server;
    let told = |certificate: &Path, key: &Path| {
        let err = Tls::server_with_files(certificate, key).unwrap_err();
        (err.kind(), err.to_string())
    };
    let invalid = |text: String| (ErrorKind::InvalidData, text);
    assert_eq!(told(key, key), invalid(format!("{}: there is no certificate in it", key.display())));
    assert_eq!(
        told(certificate, certificate),
        invalid(format!("{}: there is no private key in it", certificate.display()))
    );
    let other = &CERTIFICATES.client.key_file;
    let unlike = format!("{}: not the key of {}", other.display(), certificate.display());
    assert_eq!(told(certificate, other), invalid(unlike));
    let (kind, text) = told(certificate, Path::new("nowhere.pem"));
    assert_eq!(kind, ErrorKind::NotFound);
    assert!(text.starts_with("nowhere.pem: "), "{text}");
    assert!(Tls::server_with_files(certificate, key).is_ok());

    let failed = Tls::client_with_roots_file(key, "localhost").unwrap_err();
    assert_eq!(failed.to_string(), format!("{}: there is no certificate in it", key.display()));
    assert!(Tls::client_with_roots_file(certificate, "localhost").is_ok());
}

#[test]
fn what_a_client_sends_ahead_of_the_handshake_is_delivered() {
    guard(async {
        let mut config = CERTIFICATES.server_config(&[&TLS13]);
        config.max_early_data_size = 1000;
        let served = serve_echo(Tls::server(config)).await;
        let mut config = CERTIFICATES.client_config(&[&TLS13]);
        config.enable_early_data = true;
        let (config, addr) = (Arc::new(config), served.addr);
        let talk = blocking(move || {
            let open = || {
                let name = "localhost".try_into().unwrap();
                StreamOwned::new(ClientConnection::new(config.clone(), name).unwrap(), common::client(addr))
            };
            // With the answer comes what the session is resumed with.
            let mut first = open();
            assert_eq!(ping(&mut first, b"first"), b"first");
            let mut second = open();
            second.conn.early_data().unwrap().write_all(b"ahead").unwrap();
            assert_eq!(ping(&mut second, b" of it"), b"ahead of it");
            second.conn.is_early_data_accepted()
        });
        assert!(talk.await);
    });
}

/// Sends a message, and reads the answer up to its end.
fn ping(stream: &mut StreamOwned<ClientConnection, TcpStream>, message: &[u8]) -> Vec<u8> {
    stream.write_all(message).unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(message) {
        answer.extend(read_exact(&mut *stream, 1));
    }
    answer
}

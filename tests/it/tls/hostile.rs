//! Peers that do not keep to the rules: each gets the right error, once and in time, and the server goes on.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use futures_rustls::rustls::{ClientConnection, ServerConfig, ServerConnection, StreamOwned};
use smol_transports::{Tls, create_connection};

use super::common::{BOTH, CERTIFICATES, Served, client, serve_echo, server};
use super::cost::ends_in_time;
use crate::common::{self, ANY, PATIENCE, blocking, guard, read_exact};
use crate::recorder::{Call, Log, Recorder};

/// An unencrypted close_notify.
pub(super) const CLOSE_NOTIFY: [u8; 7] = [21, 3, 3, 0, 2, 1, 0];

/// The first bytes of a handshake message of 200 bytes.
pub(super) const HALF_A_RECORD: [u8; 15] = [22, 3, 1, 0, 204, 1, 0, 0, 200, 3, 3, 1, 2, 3, 4];

/// A message that is longer than any record may be.
pub(super) const OVERSIZE: [u8; 5] = [22, 3, 3, 0xff, 0xff];

/// How long a client waits for a server that says nothing.
const SILENCE: Duration = Duration::from_millis(200);

/// The server still serves.
async fn still_serves(served: &Served) {
    let log = Log::default();
    let asking = Recorder::new(&log)
        .on_made(|transport| transport.write("are you there?"))
        .on_data(|transport, _| transport.close());
    served.connect(asking, client()).await.await;
    assert_eq!(log.data(), b"are you there?");
}

/// What a server says of a client, which must find the connection closed.
async fn verdict(served: &Served, talk: impl FnOnce(&mut TcpStream) + Send + 'static) -> ErrorKind {
    let addr = served.addr;
    let client = blocking(move || {
        let mut stream = common::client(addr);
        talk(&mut stream);
        // Whatever the server says to it, the connection is closed then.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let (err, ()) = futures_lite::future::zip(served.errors.recv(), client).await;
    let err = err.unwrap();
    assert!(err.to_string().starts_with("the TLS handshake with 127.0.0.1:"), "{err}");
    still_serves(served).await;
    assert!(served.errors.is_empty(), "it is reported once");
    err.kind()
}

#[test]
fn a_server_survives_clients_that_do_not_speak_tls() {
    guard(async {
        let served = serve_echo(server()).await;
        let garbage = |stream: &mut TcpStream| stream.write_all(&[0xa5; 300]).unwrap();
        assert_eq!(verdict(&served, garbage).await, ErrorKind::InvalidData);
        let http = |stream: &mut TcpStream| stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        assert_eq!(verdict(&served, http).await, ErrorKind::InvalidData);
        let oversize = |stream: &mut TcpStream| stream.write_all(&OVERSIZE).unwrap();
        assert_eq!(verdict(&served, oversize).await, ErrorKind::InvalidData);
        let truncated = |stream: &mut TcpStream| {
            stream.write_all(&HALF_A_RECORD).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
        };
        assert_eq!(verdict(&served, truncated).await, ErrorKind::ConnectionReset);
        let gone = |stream: &mut TcpStream| stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(verdict(&served, gone).await, ErrorKind::ConnectionReset);
        // That alert once drove implementations in circles. Nothing vouches for it before the handshake is done.
        let farewell = |stream: &mut TcpStream| {
            for _ in 0..100 {
                if stream.write_all(&CLOSE_NOTIFY).is_err() {
                    break;
                }
            }
        };
        assert_eq!(verdict(&served, farewell).await, ErrorKind::InvalidData);
        // No protocol has heard of any of them.
        assert_eq!(served.log.count(&Call::Made), 6);
    });
}

#[test]
fn a_server_does_not_wait_for_ever() {
    guard(async {
        let served = serve_echo(server().handshake_timeout(Duration::from_millis(150))).await;
        assert_eq!(verdict(&served, |_| {}).await, ErrorKind::TimedOut);
        let slow = |stream: &mut TcpStream| {
            let mut bytes = HALF_A_RECORD.iter().cycle();
            stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            // One byte at a time, as long as the server is there.
            while matches!(stream.read(&mut [0]), Err(err) if err.kind() == ErrorKind::WouldBlock) {
                if stream.write_all(&[*bytes.next().unwrap()]).is_err() {
                    break;
                }
            }
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
        };
        assert!(matches!(verdict(&served, slow).await, ErrorKind::TimedOut | ErrorKind::InvalidData));
    });
}

#[test]
fn a_thousand_silent_clients_hold_up_nobody() {
    const CLIENTS: usize = 1000;
    guard(async {
        let served = serve_echo(server().handshake_timeout(Duration::from_secs(5))).await;
        let addr = served.addr;
        let silent = blocking(move || (0..CLIENTS).map(|_| common::client(addr)).collect::<Vec<_>>()).await;
        still_serves(&served).await;
        // All of them end by the limit, and each is told of once.
        for _ in 0..CLIENTS {
            assert_eq!(served.errors.recv().await.unwrap().kind(), ErrorKind::TimedOut);
        }
        still_serves(&served).await;
        blocking(move || {
            for mut stream in silent {
                let _ = stream.read_to_end(&mut Vec::new());
            }
        })
        .await;
        assert!(served.errors.is_empty());
    });
}

#[test]
fn clients_in_their_handshake_are_dismissed() {
    guard(async {
        let served = serve_echo(server()).await;
        let addr = served.addr;
        let silent = blocking(move || {
            let mut stream = common::client(addr);
            stream.write_all(&HALF_A_RECORD).unwrap();
            stream
        });
        let mut silent = silent.await;
        still_serves(&served).await;
        served.handle.abort_clients();
        served.handle.close();
        served.handle.wait_closed().await;
        blocking(move || silent.read_to_end(&mut Vec::new())).await.ok();
        assert!(served.errors.is_empty());
    });
}

/// A blocking stream to an echoing server, after the handshake.
fn shaken(stream: TcpStream) -> StreamOwned<ClientConnection, TcpStream> {
    let config = Arc::new(CERTIFICATES.client_config(&BOTH));
    let connection = ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
    let mut stream = StreamOwned::new(connection, stream);
    stream.write_all(b"hello").unwrap();
    assert_eq!(read_exact(&mut stream, 5), b"hello");
    stream
}

/// How an open connection ends that `talk` breaks the rules on.
async fn end_of(
    talk: impl FnOnce(&mut StreamOwned<ClientConnection, TcpStream>) + Send + 'static,
) -> Option<ErrorKind> {
    let served = serve_echo(server()).await;
    let addr = served.addr;
    let client = blocking(move || {
        let mut stream = shaken(common::client(addr));
        talk(&mut stream);
        let _ = stream.sock.read_to_end(&mut Vec::new());
    });
    client.await;
    served.log.until(|log| log.calls().iter().any(|call| matches!(call, Call::Lost(_)))).await;
    let end = served.log.end();
    served.log.until(|_| true).await;
    let again = serve_echo(server()).await;
    still_serves(&again).await;
    end
}

#[test]
fn an_open_connection_ends_when_the_rules_are_broken() {
    guard(async {
        let cut = end_of(|stream| stream.sock.shutdown(Shutdown::Write).unwrap()).await;
        assert_eq!(cut, Some(ErrorKind::UnexpectedEof));
        let truncated = end_of(|stream| {
            stream.sock.write_all(&[23, 3, 3, 1, 0, 1, 2, 3]).unwrap();
            stream.sock.shutdown(Shutdown::Write).unwrap();
        });
        assert_eq!(truncated.await, Some(ErrorKind::UnexpectedEof));
        let forged = end_of(|stream| stream.sock.write_all(&[&[23, 3, 3, 1, 0][..], &[7; 256]].concat()).unwrap());
        assert_eq!(forged.await, Some(ErrorKind::InvalidData));
        let oversize = end_of(|stream| stream.sock.write_all(&[23, 3, 3, 0xff, 0xff]).unwrap());
        assert_eq!(oversize.await, Some(ErrorKind::InvalidData));
        let flood = end_of(|stream| {
            for _ in 0..10_000 {
                if stream.conn.refresh_traffic_keys().is_err() || stream.conn.write_tls(&mut stream.sock).is_err() {
                    break;
                }
            }
        });
        assert_eq!(flood.await, Some(ErrorKind::InvalidData));
    });
}

/// How a client of this crate fails at a server that `answer` plays.
async fn failure_at(tls: Tls, answer: impl FnOnce(TcpStream) + Send + 'static) -> std::io::Error {
    let begun = Instant::now();
    let listener = TcpListener::bind(ANY).unwrap();
    let addr = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        answer(stream.try_clone().unwrap());
        // The descriptor of the client is closed.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let log = Log::default();
    let failed = create_connection(Recorder::new(&log), addr).tls(tls).await.map(drop).unwrap_err();
    assert_eq!(log.calls(), [], "no callback is made");
    blocking(move || server.join()).await.unwrap();
    ends_in_time(&failed.to_string(), SILENCE, begun.elapsed());
    failed
}

fn serve_blocking(config: ServerConfig) -> impl FnOnce(TcpStream) + Send + 'static {
    move |socket| {
        let connection = ServerConnection::new(Arc::new(config)).unwrap();
        let _ = StreamOwned::new(connection, socket).read(&mut [0]);
    }
}

#[test]
fn a_client_trusts_nobody_it_should_not() {
    guard(async {
        let good = || serve_blocking(CERTIFICATES.server_config(&BOTH));
        let wrong_name = Tls::client(CERTIFICATES.client_config(&BOTH), "other.example");
        let failed = failure_at(wrong_name, good()).await;
        assert_eq!(failed.kind(), ErrorKind::InvalidData);
        assert!(failed.to_string().contains("not valid for name"), "{failed}");
        let failed = failure_at(client(), serve_blocking(CERTIFICATES.expired_config())).await;
        assert_eq!(failed.kind(), ErrorKind::InvalidData);
        assert!(failed.to_string().contains("expired"), "{failed}");
        let failed = failure_at(client(), serve_blocking(CERTIFICATES.stranger_config())).await;
        assert_eq!(failed.kind(), ErrorKind::InvalidData);
        assert!(failed.to_string().contains("certificate"), "{failed}");
    });
}

#[test]
fn a_client_survives_servers_that_do_not_speak_tls() {
    guard(async {
        let after_hello = |answer: &'static [u8]| {
            move |mut stream: TcpStream| {
                stream.read_exact(&mut [0]).unwrap();
                let _ = stream.write_all(answer);
            }
        };
        let http = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";
        assert_eq!(failure_at(client(), after_hello(http)).await.kind(), ErrorKind::InvalidData);
        assert_eq!(failure_at(client(), after_hello(&OVERSIZE)).await.kind(), ErrorKind::InvalidData);
        let gone = |mut stream: TcpStream| {
            stream.read_exact(&mut [0]).unwrap();
            stream.shutdown(Shutdown::Both).unwrap();
        };
        assert_eq!(failure_at(client(), gone).await.kind(), ErrorKind::ConnectionReset);
        let begun = Instant::now();
        let failed = failure_at(client().handshake_timeout(SILENCE), |_| {}).await;
        assert_eq!(failed.kind(), ErrorKind::TimedOut);
        assert!(begun.elapsed() >= SILENCE);
    });
}

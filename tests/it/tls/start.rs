//! The upgrade of a connection.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_lite::future;
use futures_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use futures_rustls::rustls::sign::CertifiedKey;
use futures_rustls::rustls::{ClientConnection, ServerConfig, StreamOwned};
use smol_transports::testing::{Clock, Memory, poll};
use smol_transports::{Connection, Tls, Transport, Written, connect_socket};

use super::common::{BOTH, CERTIFICATES, client, server};
use crate::common::{assert_same, blocking, connected, guard, pattern, read_all, read_exact, tcp_pair};
use crate::recorder::{Call, Log, Recorder};

const REQUEST: &[u8] = b"STARTTLS\r\n";

/// A protocol that upgrades at the request, with what follows it, and echoes over TLS.
fn upgrading(log: &Log, tls: Tls) -> Recorder {
    let mut tls = Some(tls);
    Recorder::new(log).on_data(move |transport, data| match tls.take() {
        Some(tls) => {
            let rest = data.strip_prefix(REQUEST).expect("the request comes in one piece");
            transport.start_tls(tls.received(rest));
        }
        None => drop(transport.write(data)),
    })
}

/// A blocking client: what it says first, and its stream.
fn blocking_client(socket: TcpStream) -> (Vec<u8>, StreamOwned<ClientConnection, TcpStream>) {
    let config = Arc::new(CERTIFICATES.client_config(&BOTH));
    let mut connection = ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).unwrap();
    (hello, StreamOwned::new(connection, socket))
}

#[test]
fn a_client_hello_behind_the_request_in_one_segment_works() {
    guard(async {
        let (near, far) = tcp_pair();
        let log = Log::default();
        let connection = connected(upgrading(&log, server()), near);
        let dialogue = blocking(move || {
            let (hello, mut stream) = blocking_client(far);
            stream.sock.write_all(&[REQUEST, &hello].concat()).unwrap();
            stream.write_all(b"secret").unwrap();
            let answer = read_exact(&mut stream, 6);
            stream.conn.send_close_notify();
            stream.flush().unwrap();
            (answer, stream.read(&mut [0]).unwrap())
        });
        let (_, (answer, end)) = future::zip(connection, dialogue).await;
        assert_eq!((&answer[..], end), (&b"secret"[..], 0));
        assert_eq!(log.data().split_at(REQUEST.len()).0, REQUEST);
        assert!(log.data().ends_with(b"secret"));
        assert_eq!(log.end(), None);
    });
}

#[test]
fn what_is_slipped_in_before_the_handshake_fails_it() {
    for evil in [&b"EVIL\r\n"[..], b"MAIL FROM:<evil@example.com>\r\nRCPT TO:<you@example.com>\r\n"] {
        guard(async {
            let (near, far) = tcp_pair();
            let log = Log::default();
            let connection = connected(upgrading(&log, server()), near);
            let dialogue = blocking(move || {
                let (hello, mut stream) = blocking_client(far);
                stream.sock.write_all(&[REQUEST, evil, &hello].concat()).unwrap();
                stream.read(&mut [0]).unwrap_err()
            });
            future::zip(connection, dialogue).await;
            assert_eq!(log.end(), Some(ErrorKind::InvalidData));
            // It was part of the piece that the request came in, and came never again.
            assert_eq!(log.calls().len(), 3, "{:?}", log.calls());
        });
    }
}

/// Two connections of this crate, the second of which upgrades as a server at the request.
async fn pair(near: Recorder, far: Recorder) -> (Connection<Recorder>, Connection<Recorder>) {
    let (one, other) = tcp_pair();
    (connect_socket(near, one).await.unwrap(), connect_socket(far, other).await.unwrap())
}

#[test]
fn all_is_in_order_around_the_upgrade() {
    guard(async {
        let (log, theirs) = (Log::default(), Log::default());
        let near = Recorder::new(&log).on_data(|transport, _| transport.close());
        let (connection, far) = pair(near, upgrading(&theirs, server())).await;
        let transport = connection.transport().clone();
        let steps = async {
            // From outside of the protocol, while the connection runs elsewhere.
            transport.write(REQUEST);
            let upgrade = transport.start_tls(client());
            assert!(!transport.can_write_eof());
            assert_eq!(transport.write_eof().unwrap_err().kind(), ErrorKind::Unsupported);
            assert!(transport.extra_info().tls().is_none());
            upgrade.await.unwrap();
            assert!(transport.extra_info().tls().is_some());
            transport.write("behind");
        };
        let connection = connection.spawn().1;
        future::zip(steps, future::zip(connection, far)).await;
        assert_eq!(log.calls(), [Call::Made, Call::Data(b"behind".to_vec()), Call::Lost(None)]);
        // The first message of the handshake may have come with the request.
        assert!(theirs.data().starts_with(REQUEST) && theirs.data().ends_with(b"behind"));
        assert_eq!(theirs.end(), None);
    });
}

#[test]
fn an_upgrade_waits_for_all_that_was_written_before() {
    const SIZE: usize = 4 << 20;
    guard(async {
        let (log, theirs) = (Log::default(), Log::default());
        let data = pattern(SIZE, 4);
        let (sent, expected) = (data.clone(), SIZE);
        let near = Recorder::new(&log)
            .on_made(move |transport| {
                transport.write(&sent);
                // Writing is paused now; the upgrade is queued all the same.
                transport.start_tls(client());
                transport.write(&sent);
            })
            .on_data(|transport, _| transport.close());
        let (mut tls, mut got) = (Some(server()), 0);
        let far = Recorder::new(&theirs).on_data(move |transport, data| {
            got += data.len();
            if got >= expected {
                if let Some(tls) = tls.take() {
                    // What is more than the plain part belongs to TLS.
                    transport.start_tls(tls.received(&data[data.len() - (got - expected)..]));
                }
            }
            if got >= 2 * expected {
                transport.write("thanks");
            }
        });
        let (connection, far) = pair(near, far).await;
        future::zip(connection, far).await;
        let got = theirs.data();
        assert_same(&got[..SIZE], &data);
        assert_same(&got[got.len() - SIZE..], &data);
        assert_eq!((log.end(), theirs.end()), (None, None));
    });
}

#[test]
fn tls_goes_over_tls() {
    guard(async {
        let (log, theirs) = (Log::default(), Log::default());
        let (near, far) = tcp_pair();
        let connecting = connect_socket(Recorder::new(&log).on_data(|transport, _| transport.close()), near);
        let accepting = connect_socket(upgrading(&theirs, server()), far);
        let both = future::zip(connecting.tls(client()).into_future(), accepting.tls(server()).into_future()).await;
        let (connection, far) = (both.0.unwrap(), both.1.unwrap());
        let transport = connection.transport().clone();
        let steps = async {
            transport.write(REQUEST);
            transport.start_tls(client()).await.unwrap();
            transport.write("through two layers");
        };
        future::zip(steps, future::zip(connection.spawn().1, far)).await;
        assert_eq!(log.data(), b"through two layers");
        assert_eq!((log.end(), theirs.end()), (None, None));
    });
}

/// An upgrade that nobody answers.
async fn unanswered(tls: Tls, then: impl FnOnce(&Transport)) -> (std::io::Result<()>, Log) {
    let (near, far) = tcp_pair();
    let log = Log::default();
    let connection = connect_socket(Recorder::new(&log), near).await.unwrap();
    let transport = connection.transport().clone();
    let upgrade = transport.start_tls(tls);
    then(&transport);
    let (result, _) = future::zip(upgrade, connection).await;
    drop(far);
    (result, log)
}

#[test]
fn an_upgrade_that_nobody_answers_ends() {
    guard(async {
        let (result, log) = unanswered(client().handshake_timeout(Duration::from_millis(50)), |_| {}).await;
        assert_eq!(result.unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(log.calls(), [Call::Made, Call::Lost(Some(ErrorKind::TimedOut))]);

        // Nothing was written behind it, so there is nothing to wait for.
        let (result, log) = unanswered(client(), Transport::close).await;
        assert_eq!(result.unwrap_err().kind(), ErrorKind::BrokenPipe);
        assert_eq!(log.calls(), [Call::Made, Call::Lost(None)]);

        let (result, log) = unanswered(client(), Transport::abort).await;
        assert_eq!(result.unwrap_err().kind(), ErrorKind::BrokenPipe);
        assert_eq!(log.calls(), [Call::Made, Call::Lost(None)]);
    });
}

#[test]
fn what_is_written_behind_a_refused_upgrade_never_leaves() {
    guard(async {
        // It cannot be used.
        let (near, far) = tcp_pair();
        let log = Log::default();
        let connection = connected(Recorder::new(&log), near);
        let transport = connection.transport().clone();
        transport.write("before");
        let invalid = Tls::client(CERTIFICATES.client_config(&BOTH), "no name");
        let upgrade = transport.start_tls(invalid);
        assert_eq!(transport.write("secret"), Written::Closed);
        assert_eq!(upgrade.await.unwrap_err().kind(), ErrorKind::InvalidInput);
        connection.await;
        assert_eq!(log.end(), Some(ErrorKind::InvalidInput));
        assert_eq!(read_all(far), b"before");
        assert_eq!(transport.start_tls(client()).await.unwrap_err().kind(), ErrorKind::BrokenPipe);

        // It comes too late.
        let (near, far) = tcp_pair();
        let connection = connected(Recorder::new(&Log::default()), near);
        let transport = connection.transport().clone();
        let before = vec![0; 10_000_000];
        transport.write(&before);
        transport.close();
        assert_eq!(transport.start_tls(client()).await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        assert_eq!(transport.write("secret"), Written::Closed);
        let (_, all) = future::zip(connection, blocking(move || read_all(far))).await;
        assert_same(&all, &before);
    });
}

#[test]
fn an_upgrade_after_the_end_of_what_is_sent_is_refused() {
    guard(async {
        let (near, mut far) = tcp_pair();
        let log = Log::default();
        let connection = connected(Recorder::new(&log), near);
        let transport = connection.transport().clone();
        transport.write_eof().unwrap();
        assert_eq!(transport.start_tls(client()).await.unwrap_err().kind(), ErrorKind::InvalidInput);
        assert!(transport.can_write_eof());
        far.write_all(b"heard all the same").unwrap();
        drop(far);
        connection.await;
        assert_eq!(log.data(), b"heard all the same");
    });
}

#[test]
fn whatever_a_peer_answers_ends_an_upgrade_once() {
    let answers = (0..200_u64).map(|seed| pattern(seed as usize * 7 % 400 + 1, seed));
    let records = (0..200_u64).map(|seed| [&[22, 3, 3, 0, 100][..], &pattern(100, seed)].concat());
    for (tls, answer) in [client(), server()].iter().flat_map(|tls| {
        let all: Vec<_> = answers.clone().chain(records.clone()).collect();
        all.into_iter().map(move |answer| (tls.clone(), answer))
    }) {
        let log = Log::default();
        let clock = Clock::new();
        let (mut connection, peer) = Memory::new(Recorder::new(&log)).clock(&clock).connect();
        connection.transport().start_tls(tls);
        answer.chunks(50).for_each(|piece| peer.feed(piece));
        if poll(&mut connection).is_pending() {
            // It waits for more of what looks like a message.
            clock.advance(Duration::from_secs(61));
            assert!(poll(&mut connection).is_ready());
        }
        assert!(matches!(log.end(), Some(ErrorKind::InvalidData | ErrorKind::TimedOut)), "{:?}", log.end());
        assert_eq!(log.calls().len(), 2);
        assert!(peer.is_closed());
    }
}

/// Uses the transport while it chooses a certificate, and chooses none.
#[derive(Debug)]
struct Meddler {
    transport: OnceLock<Transport>,
    meddle: fn(&Transport),
}

impl ResolvesServerCert for Meddler {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let transport = self.transport.get().unwrap();
        assert!(transport.extra_info().tls().is_none() && transport.write_buffer_size() < 100);
        (self.meddle)(transport);
        None
    }
}

#[test]
fn a_callback_of_the_handshake_may_use_the_transport() {
    let meddling: [fn(&Transport); 4] = [
        |transport| {
            let _ = transport.write("early");
        },
        Transport::close,
        Transport::abort,
        |transport| {
            transport.start_tls(client());
        },
    ];
    for meddle in meddling {
        guard(async {
            let (log, theirs) = (Log::default(), Log::default());
            let (near, far) = pair(Recorder::new(&log), Recorder::new(&theirs)).await;
            let meddler = Arc::new(Meddler { transport: OnceLock::new(), meddle });
            meddler.transport.set(near.transport().clone()).unwrap();
            let config = ServerConfig::builder_with_provider(Tls::crypto_provider());
            let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
            near.transport().start_tls(Tls::server(config.with_cert_resolver(meddler)));
            far.transport().start_tls(client());
            future::zip(near.spawn().1, far).await;
            assert!(theirs.end().is_some());
            assert!(log.data().is_empty() && theirs.data().is_empty());
        });
    }
}

#[test]
fn a_peer_that_takes_its_time_for_the_handshake_is_no_stall() {
    const LIMIT: Duration = Duration::from_secs(5);
    let (log, clock) = (Log::default(), Clock::new());
    let mut tls = Some(server());
    let recorder = Recorder::new(&log).on_data(move |transport, _| {
        transport.write("go ahead");
        tls.take().map(|tls| transport.start_tls(tls))
    });
    let (mut connection, peer) = Memory::new(recorder).write_timeout(LIMIT).clock(&clock).connect();
    peer.feed("STARTTLS");
    assert!(poll(&mut connection).is_pending());
    assert_eq!(peer.take_written(), b"go ahead");
    clock.advance(2 * LIMIT);
    assert!(poll(&mut connection).is_pending());
    // The handshake has a limit of its own.
    clock.advance(Duration::from_secs(60));
    assert!(poll(&mut connection).is_ready());
    assert_eq!(log.end(), Some(ErrorKind::TimedOut));
}

//! Ends, pauses and limits over TLS.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll};
use std::time::Duration;

use async_io::Async;
use futures_io::{AsyncRead, AsyncWrite};
use futures_lite::future;
use futures_rustls::rustls::{ClientConnection, StreamOwned};
#[cfg(target_os = "linux")]
use smol_transports::driver;
use smol_transports::{OnEof, Tls, Transport, Written, connect_accepted_socket, connect_stream};

use super::common::{BOTH, CERTIFICATES, client, serve, serve_echo, server};
use crate::common::{
    assert_same, blocking, descriptors, guard, isolated, patient, pattern, read_all, read_exact, reset_on_close,
    tcp_pair,
};
use crate::recorder::{Call, Log, Recorder};

type Stream = StreamOwned<ClientConnection, TcpStream>;

/// A blocking client.
fn stream(socket: TcpStream) -> Stream {
    let config = Arc::new(CERTIFICATES.client_config(&BOTH));
    StreamOwned::new(ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap(), socket)
}

/// Runs a server's side against a blocking client.
async fn against<R: Send + 'static>(protocol: Recorder, tls: Tls, f: impl FnOnce(Stream) -> R + Send + 'static) -> R {
    let (near, far) = tcp_pair();
    let dialogue = blocking(move || f(stream(far)));
    let connection = async { connect_accepted_socket(protocol, near).tls(tls).await.unwrap().await };
    future::zip(connection, dialogue).await.1
}

#[test]
fn close_notify_is_the_end_whatever_is_answered() {
    guard(async {
        let log = Log::default();
        let protocol = Recorder::new(&log).on_eof(|transport| {
            transport.write("and one more thing");
            OnEof::KeepOpen
        });
        let rest = against(protocol, server(), |mut stream| {
            stream.write_all(b"bye").unwrap();
            stream.conn.send_close_notify();
            stream.flush().unwrap();
            read_all(stream)
        });
        assert_eq!(rest.await, b"and one more thing");
        assert_eq!(log.calls(), [Call::Made, Call::Data(b"bye".to_vec()), Call::Eof, Call::Lost(None)]);
    });
}

/// A stream that counts how often it is closed.
struct Counted {
    below: Async<TcpStream>,
    closes: Arc<AtomicUsize>,
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.below).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.below).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.below).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.closes.fetch_add(1, Ordering::SeqCst);
        Pin::new(&mut self.below).poll_close(cx)
    }
}

#[test]
fn what_lies_below_is_closed_too() {
    guard(async {
        let (near, far) = tcp_pair();
        let closes = Arc::new(AtomicUsize::new(0));
        let below = Counted { below: Async::new(near).unwrap(), closes: closes.clone() };
        let log = Log::default();
        let connection = async { connect_stream(Recorder::echo(&log), below).tls(server()).await.unwrap().await };
        let dialogue = blocking(move || {
            let mut stream = stream(far);
            stream.write_all(b"bye").unwrap();
            stream.conn.send_close_notify();
            stream.flush().unwrap();
            read_all(stream)
        });
        assert_eq!(future::zip(connection, dialogue).await.1, b"bye");
        assert_eq!((log.end(), closes.load(Ordering::SeqCst)), (None, 1));
    });
}

#[test]
fn a_cut_connection_is_no_end() {
    guard(async {
        let log = Log::default();
        let cut = |mut stream: Stream| {
            stream.write_all(b"half a mess").unwrap();
            stream.sock.shutdown(Shutdown::Write).unwrap();
            // Until the other side is gone.
            let _ = stream.sock.read_to_end(&mut Vec::new());
        };
        against(Recorder::new(&log), server(), cut).await;
        let data = Call::Data(b"half a mess".to_vec());
        assert_eq!(log.calls(), [Call::Made, data, Call::Lost(Some(ErrorKind::UnexpectedEof))]);

        let log = Log::default();
        let reset = |mut stream: Stream| {
            // The handshake is over then.
            read_exact(&mut stream, 2);
            reset_on_close(&stream.sock);
        };
        against(Recorder::new(&log).on_made(|transport| transport.write("hi")), server(), reset).await;
        assert_eq!(log.end(), Some(ErrorKind::ConnectionReset));
    });
}

/// A driver reads on to the end, if that was reported, before anybody looks at what it has read.
#[cfg(target_os = "linux")]
#[test]
fn an_end_right_behind_the_handshake_does_not_fail_it() {
    let log = Log::default();
    let cut = |mut stream: Stream| {
        // The last words of the handshake, the data and the end leave together.
        socket2::SockRef::from(&stream.sock).set_tcp_cork(true).unwrap();
        stream.write_all(b"half a mess").unwrap();
        stream.sock.shutdown(Shutdown::Write).unwrap();
        let _ = stream.sock.read_to_end(&mut Vec::new());
    };
    driver::block_on(patient(against(Recorder::new(&log), server(), cut)));
    let data = Call::Data(b"half a mess".to_vec());
    assert_eq!(log.calls(), [Call::Made, data, Call::Lost(Some(ErrorKind::UnexpectedEof))]);
}

#[test]
fn close_sends_all_and_waits_for_the_answer() {
    guard(async {
        let log = Log::default();
        let data = pattern(3 << 20, 5);
        let sent = data.clone();
        let protocol = Recorder::new(&log).on_made(move |transport| {
            transport.write(&sent);
            transport.close();
            assert_eq!(transport.write("too late"), Written::Closed);
        });
        let got = against(protocol, server(), |mut stream| {
            let mut got = Vec::new();
            // The end of the bytes is a close_notify, else this is an error.
            stream.read_to_end(&mut got).unwrap();
            stream.conn.send_close_notify();
            stream.flush().unwrap();
            got
        });
        assert_same(&got.await, &data);
        assert_eq!(log.end(), None);
    });
}

#[test]
fn a_peer_that_does_not_answer_is_waited_for_no_longer_than_the_limit() {
    guard(async {
        let log = Log::default();
        let protocol = Recorder::new(&log).on_data(|transport, _| transport.close());
        let tls = server().shutdown_timeout(Duration::from_millis(100));
        let end = against(protocol, tls, |mut stream| {
            stream.write_all(b"x").unwrap();
            // It reads without a word of its own until the connection is gone.
            stream.sock.read_to_end(&mut Vec::new()).map(drop)
        });
        let _ = end.await;
        assert_eq!(log.end(), Some(ErrorKind::TimedOut));

        // The same where the peer does not even read.
        let log = Log::default();
        let protocol = Recorder::new(&log).on_data(|transport, _| {
            transport.write(vec![0; 32 << 20]);
            transport.close();
        });
        let (gone, lost) = mpsc::channel();
        let tls = server().shutdown_timeout(Duration::from_millis(100));
        let peer = against(protocol.on_lost(move || gone.send(()).unwrap()), tls, move |mut stream| {
            stream.write_all(b"x").unwrap();
            lost.recv().unwrap();
        });
        peer.await;
        assert_eq!(log.end(), Some(ErrorKind::TimedOut));
    });
}

#[test]
fn abort_says_nothing_to_the_peer() {
    guard(async {
        let log = Log::default();
        let protocol = Recorder::new(&log).on_data(|transport, _| transport.abort());
        let end = against(protocol, server(), |mut stream| {
            stream.write_all(b"x").unwrap();
            stream.read_to_end(&mut Vec::new()).unwrap_err().kind()
        });
        assert!(matches!(end.await, ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset));
        assert_eq!(log.end(), None);
    });
}

#[test]
fn nothing_comes_after_a_pause() {
    guard(async {
        let log = Log::default();
        // Many records arrive in one segment; each is a callback of its own at most.
        let protocol = Recorder::new(&log).alone().on_data(|transport, _| {
            transport.pause_reading();
        });
        let (near, far) = tcp_pair();
        let dialogue = blocking(move || {
            let mut stream = stream(far);
            for n in 0..100_u8 {
                stream.write_all(&[n; 100]).unwrap();
            }
            stream.conn.send_close_notify();
            stream.flush().unwrap();
            stream
        });
        let steps = async {
            let mut connection = connect_accepted_socket(protocol, near).tls(server()).await.unwrap();
            let transport = connection.transport().clone();
            // One resume for each callback: whatever else comes is a violation, which the recorder asserts.
            while log.count(&Call::Eof) == 0 {
                let before = log.bytes();
                transport.resume_reading();
                connection.run_until(log.until(|log| log.bytes() > before || log.count(&Call::Eof) > 0)).await;
            }
            connection.await;
        };
        let (_, stream) = future::zip(steps, dialogue).await;
        drop(stream);
        assert_eq!(log.bytes(), 10_000);
        assert_eq!(log.end(), None);
    });
}

#[test]
fn the_writer_is_paused_and_resumed() {
    const SIZE: usize = 16 << 20;
    guard(async {
        let log = Log::default();
        let protocol = Recorder::new(&log)
            .alone()
            .on_made(|transport| {
                assert_eq!(transport.write(vec![7; SIZE]), Written::Full);
                assert_eq!(transport.write_buffer_size(), transport.write_buffer_size());
                assert!(transport.write_buffer_size() > transport.write_buffer_limits().high_water());
            })
            .on_resume(|transport| {
                assert!(transport.write_buffer_size() <= transport.write_buffer_limits().low_water());
                transport.close();
            });
        let got = against(protocol, server(), |mut stream| {
            let mut got = Vec::new();
            stream.read_to_end(&mut got).unwrap();
            got.len()
        });
        assert_eq!(got.await, SIZE);
        assert_eq!(log.calls(), [Call::Made, Call::Pause, Call::Resume, Call::Lost(None)]);
    });
}

#[test]
fn one_direction_can_be_closed_with_the_new_version() {
    for (version, can) in BOTH.iter().zip([false, true]) {
        guard(async {
            let tls = Tls::server(CERTIFICATES.server_config(&[version])).half_close(true);
            // The server answers only when it knows that the question is over.
            let served = serve(tls, move |log| {
                let mut question = Vec::new();
                let asked = Arc::new(Mutex::new(Vec::new()));
                let known = asked.clone();
                Recorder::new(log)
                    .on_data(move |_, data| {
                        question.extend_from_slice(data);
                        known.lock().unwrap().clone_from(&question);
                    })
                    .on_eof(move |transport| {
                        let answer = asked.lock().unwrap().iter().rev().copied().collect::<Vec<_>>();
                        transport.write(answer);
                        transport.close();
                        OnEof::KeepOpen
                    })
            });
            let served = served.await;
            let log = Log::default();
            let asking = Recorder::new(&log).on_made(move |transport: &Transport| {
                assert_eq!(transport.can_write_eof(), can);
                transport.write("question");
                assert_eq!(transport.write_eof().is_ok(), can);
                if !can {
                    transport.close();
                }
            });
            served.connect(asking, client().half_close(true)).await.await;
            let answer = if can { &b"noitseuq"[..] } else { b"" };
            assert_eq!(log.data(), answer);
            assert_eq!(log.end(), None);
        });
    }
}

#[test]
fn a_file_goes_over_tls() {
    guard(async {
        let mut file = tempfile::tempfile().unwrap();
        let data = pattern(1 << 20, 6);
        file.write_all(&data).unwrap();
        let log = Log::default();
        let mut file = Some(file);
        let protocol = Recorder::new(&log).on_made(move |transport| {
            transport.write("before");
            transport.sendfile(file.take().unwrap(), ..);
            transport.write("behind");
            transport.close();
        });
        let got = against(protocol, server(), |mut stream| {
            let mut got = Vec::new();
            stream.read_to_end(&mut got).unwrap();
            got
        });
        assert_same(&got.await, &[b"before", &data[..], b"behind"].concat());
        assert_eq!(log.end(), None);
    });
}

#[test]
fn both_backends_carry_it() {
    guard(async {
        let served = serve_echo(server()).await;
        for spawned in [false, true] {
            let log = Log::default();
            let data = pattern(1 << 20, 7);
            let (sent, mut left) = (data.clone(), data.len());
            let protocol =
                Recorder::new(&log).on_made(move |transport| transport.write(&sent)).on_data(move |transport, data| {
                    left -= data.len();
                    if left == 0 {
                        transport.close();
                    }
                });
            let connection = served.connect(protocol, client()).await;
            // Connecting was on async-io; spawned connections go on with a driver.
            if spawned {
                connection.spawn().1.await;
            } else {
                connection.await;
            }
            assert_same(&log.data(), &data);
            assert_eq!(log.end(), None);
        }
        #[cfg(target_os = "linux")]
        driver::block_on(async {
            let log = Log::default();
            let protocol = Recorder::new(&log)
                .on_made(|transport| transport.write("on a driver of its own"))
                .on_data(|transport, _| transport.close());
            served.connect(protocol, client()).await.await;
            assert_eq!(log.data(), b"on a driver of its own");
            assert_eq!(log.end(), None);
        });
    });
}

#[test]
fn handshakes_that_are_given_up_leave_nothing_behind() {
    isolated("tls::close::handshakes_that_are_given_up_leave_nothing_behind", || {
        guard(async {
            let served = serve_echo(server()).await;
            let once = Recorder::new(&Log::default()).on_made(Transport::close);
            served.connect(once, client()).await.await;
            served.log.until_call(Call::Lost(None)).await;
            let before = descriptors();
            for polls in 0..20 {
                // Given up at every point that it may be at.
                let log = Log::default();
                let mut connecting = std::pin::pin!(served.connect(Recorder::new(&log), client()));
                for _ in 0..polls {
                    if future::poll_once(connecting.as_mut()).await.is_some() {
                        break;
                    }
                    future::yield_now().await;
                }
            }
            served.handle.abort_clients();
            // The server may still learn of clients that have gone.
            while descriptors() > before {
                future::yield_now().await;
            }
        });
    });
}

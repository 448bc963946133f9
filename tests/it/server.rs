//! Servers: listening, serving in each way, closing, and what becomes of the clients.

use std::cell::RefCell;
use std::collections::HashSet;
use std::future::IntoFuture;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use async_executor::Executor;
use async_io::Async;
use futures_lite::future;
use smol_transports::{
    Address, Listen, Protocol, Server, ServerHandle, Serving, Transport, WriteLimits, create_server, create_unix_server,
};

use crate::common::{
    ANY, PATIENCE, assert_same, blocking, client, guard, has_ipv6, isolated, patient, pattern, ping, read_all,
    read_exact,
};
use crate::recorder::{Call, Log, Recorder};

fn echo() -> Recorder {
    Recorder::echo(&Log::default())
}

/// Runs a test that asks whether a socket is closed. Beside others it would have to wait: a child that one of them is
/// starting has a copy of the socket until it executes its program.
fn alone(test: &str, f: impl FnOnce()) {
    isolated(&format!("server::{test}"), f);
}

fn port<F>(server: &Server<F>) -> SocketAddr {
    server.local_addr().unwrap()
}

/// An echo server in the background.
async fn serving(listen: impl Into<Listen>) -> (SocketAddr, ServerHandle, Serving) {
    let server = create_server(echo, listen).await.unwrap();
    let addr = server.local_addr().unwrap_or_else(|_| SocketAddr::from(ANY));
    let (handle, serving) = server.spawn();
    (addr, handle, serving)
}

#[test]
fn a_server_listens_as_soon_as_it_is_awaited() {
    guard(async {
        let server = create_server(echo, ANY).await.unwrap();
        assert!(server.is_serving());
        let mut stream = client(port(&server));
        stream.write_all(b"early").unwrap();
        let (handle, serving) = server.spawn();
        assert_eq!(read_exact(&stream, 5), b"early");
        drop(stream);
        handle.close();
        serving.await.unwrap();
    });
}

#[test]
fn all_kinds_of_addresses_are_listened_to() {
    let text = String::from("127.0.0.1:0");
    let addr = SocketAddr::from(ANY);
    let listens: Vec<Listen> = vec![
        "127.0.0.1:0".into(),
        (&text).into(),
        text.clone().into(),
        ("127.0.0.1", 0).into(),
        (String::from("127.0.0.1"), 0).into(),
        ("localhost", 0).into(),
        addr.into(),
        (addr.ip(), 0).into(),
        ANY.into(),
        vec![addr].into(),
        (&[addr][..]).into(),
        Address::from(addr).into(),
        vec![Address::from(addr)].into(),
        ["127.0.0.1:0"].into(),
    ];
    for listen in listens {
        guard(async {
            let server = create_server(echo, listen).await.unwrap();
            drop(client(port(&server)));
        });
    }
}

#[test]
fn several_addresses_are_served_by_one_server_in_their_order() {
    let fixed = two_addresses();
    guard(async {
        let server = create_server(echo, fixed.clone()).await.unwrap();
        let addrs: Vec<_> = server.sockets().iter().filter_map(|addr| addr.as_inet()).collect();
        assert_eq!(addrs, fixed, "sockets() keeps the order that was given");
        assert_eq!(port(&server), fixed[0]);
        let (handle, serving) = server.spawn();
        for addr in addrs {
            assert_eq!(ping(&mut client(addr), b"hello"), b"hello");
        }
        handle.close();
        serving.await.unwrap();
    });
}

/// Two addresses that were free a moment ago, on hosts that no other test uses.
fn two_addresses() -> Vec<SocketAddr> {
    let free = |host: &str| TcpListener::bind((host, 0)).unwrap().local_addr().unwrap();
    vec![free("127.0.0.12"), free("127.0.0.11")]
}

#[test]
fn an_address_that_is_given_twice_is_bound_once() {
    let addr = TcpListener::bind("127.0.0.13:0").unwrap().local_addr().unwrap();
    let server = guard(async { create_server(echo, vec![addr, addr]).await.unwrap() });
    assert_eq!(server.sockets().len(), 1);
}

#[test]
fn an_empty_host_listens_on_all_interfaces_of_both_families() {
    if !has_ipv6() {
        return;
    }
    guard(async {
        let server = create_server(echo, ":0").await.unwrap();
        let addrs: Vec<_> = server.sockets().iter().filter_map(|addr| addr.as_inet()).collect();
        assert_eq!(addrs.iter().filter(|addr| addr.is_ipv6()).count(), 1, "{addrs:?}");
        assert!(addrs.len() == 2 && addrs.iter().all(|addr| addr.ip().is_unspecified()), "{addrs:?}");
    });
}

#[test]
fn an_ipv6_socket_serves_ipv6_only_unless_it_is_told_otherwise() {
    if !has_ipv6() {
        return;
    }
    guard(async {
        for v6_only in [true, false] {
            let server = create_server(echo, "[::]:0").v6_only(v6_only).await.unwrap();
            let port = port(&server).port();
            drop(client(SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port))));
            let over_v4 = TcpStream::connect(("127.0.0.1", port));
            assert_eq!(over_v4.is_err(), v6_only);
        }
    });
}

#[test]
fn listeners_that_exist_already_are_served() {
    guard(async {
        let plain = TcpListener::bind(ANY).unwrap();
        let addr = plain.local_addr().unwrap();
        let asynchronous = Async::<TcpListener>::bind(ANY).unwrap();
        let other = asynchronous.get_ref().local_addr().unwrap();
        let socket = socket2::Socket::from(TcpListener::bind(ANY).unwrap());
        let third = socket.local_addr().unwrap().as_socket().unwrap();
        for (listen, addr) in [(plain.into(), addr), (asynchronous.into(), other), (vec![socket].into(), third)] {
            let (listen, addr): (Listen, SocketAddr) = (listen, addr);
            let (bound, handle, serving) = serving(listen).await;
            assert_eq!(bound, addr);
            assert_eq!(ping(&mut client(addr), b"hello"), b"hello");
            handle.close();
            serving.await.unwrap();
        }
    });
}

#[test]
fn a_listening_unix_socket_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    guard(async {
        let listener = UnixListener::bind(&path).unwrap();
        let server = create_server(echo, listener).await.unwrap();
        assert_eq!(server.sockets()[0].as_unix().unwrap().as_pathname(), Some(&*path));
        assert_eq!(server.local_addr().unwrap_err().kind(), ErrorKind::NotConnected);
        let (handle, serving) = server.spawn();
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.write_all(b"hello").unwrap();
        assert_eq!(read_exact(&stream, 5), b"hello");
        drop(stream);
        handle.close();
        serving.await.unwrap();
    });
}

#[test]
fn a_start_that_fails_can_be_tried_again() {
    alone("a_start_that_fails_can_be_tried_again", || {
        guard(async {
            let first = create_server(echo, "127.0.0.17:0").start_serving(false).await.unwrap();
            let second = create_server(echo, port(&first)).start_serving(false).await.unwrap();
            first.start_serving().unwrap();
            assert_eq!(second.start_serving().unwrap_err().kind(), ErrorKind::AddrInUse);
            assert_eq!(second.start_serving().unwrap_err().kind(), ErrorKind::AddrInUse, "it is not forgotten");
            let addr = port(&first);
            drop(first);
            second.start_serving().unwrap();
            assert!(second.is_serving());
            drop(TcpStream::connect(addr).unwrap());
        });
    });
}

#[test]
fn a_server_that_is_started_later_refuses_until_then() {
    guard(async {
        let server = create_server(echo, ANY).start_serving(false).await.unwrap();
        let addr = port(&server);
        assert!(!server.is_serving());
        assert_eq!(TcpStream::connect(addr).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        server.start_serving().unwrap();
        server.handle().start_serving().unwrap();
        assert!(server.is_serving() && server.handle().is_serving());
        assert_eq!(port(&server), addr);
        let (handle, serving) = server.spawn();
        assert_eq!(ping(&mut client(addr), b"hello"), b"hello");
        handle.close();
        serving.await.unwrap();
    });
}

#[test]
fn serving_starts_a_server_that_was_not_started() {
    guard(async {
        let server = create_server(echo, ANY).start_serving(false).await.unwrap();
        let (addr, handle) = (port(&server), server.handle());
        let knock = blocking(move || {
            let mut stream = loop {
                if let Ok(stream) = TcpStream::connect(addr) {
                    break stream;
                }
                thread::yield_now();
            };
            let answer = ping(&mut stream, b"hello");
            drop(stream);
            handle.close();
            answer
        });
        let (served, answer) = future::zip(server.serve_local(), knock).await;
        served.unwrap();
        assert_eq!(answer, b"hello");
    });
}

#[test]
fn two_servers_share_a_port_that_is_reused() {
    guard(async {
        let first = create_server(echo, ANY).reuse_port(true).await.unwrap();
        let addr = port(&first);
        let second = create_server(echo, addr).reuse_port(true).await.unwrap();
        assert_eq!(port(&second), addr);
        assert!(create_server(echo, addr).await.is_err(), "a third one that does not share is refused");
    });
}

#[test]
fn only_a_port_can_be_shared() {
    guard(async {
        let existing = create_server(echo, TcpListener::bind(ANY).unwrap()).reuse_port(true).await;
        assert_eq!(existing.unwrap_err().kind(), ErrorKind::InvalidInput);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let unix = create_unix_server(echo, &path).reuse_port(true).await;
        assert_eq!(unix.unwrap_err().kind(), ErrorKind::InvalidInput);
        assert!(!path.exists());
    });
}

/// The options of an accepted client as its protocol sees them.
fn options_of_a_client(nodelay: bool, keep_alive: bool) -> (bool, bool) {
    let (tell, told) = async_channel::bounded(1);
    let factory = move || {
        let tell = tell.clone();
        Recorder::new(&Log::default()).on_made(move |transport| {
            let options = transport.with_socket(|socket| (socket.tcp_nodelay().unwrap(), socket.keepalive().unwrap()));
            tell.try_send(options.unwrap()).unwrap();
        })
    };
    guard(async {
        let mut server = create_server(factory, ANY).nodelay(nodelay).keep_alive(keep_alive).await.unwrap();
        let _stream = client(port(&server));
        drop(server.accept().await.unwrap());
        told.recv().await.unwrap()
    })
}

#[test]
fn clients_get_the_options_of_the_server() {
    for nodelay in [true, false] {
        for keep_alive in [true, false] {
            assert_eq!(options_of_a_client(nodelay, keep_alive), (nodelay, keep_alive));
        }
    }
}

#[test]
fn clients_get_the_marks_of_the_server() {
    guard(async {
        let limits = WriteLimits::new(1, 2).unwrap();
        let mut server = create_server(echo, ANY).write_limits(limits).backlog(5).await.unwrap();
        let _stream = client(port(&server));
        assert_eq!(server.accept().await.unwrap().transport().write_buffer_limits(), limits);
    });
}

#[test]
fn a_client_knows_both_names() {
    guard(async {
        let mut server = create_server(echo, ANY).await.unwrap();
        let stream = client(port(&server));
        let connection = server.accept().await.unwrap();
        let info = connection.transport().extra_info();
        assert_eq!(*info.peername().unwrap(), stream.local_addr().unwrap());
        assert_eq!(*info.sockname().unwrap(), stream.peer_addr().unwrap());
    });
}

#[test]
fn accept_by_hand_gives_one_connection_after_the_other() {
    guard(async {
        let mut server = create_server(echo, ANY).await.unwrap();
        let addr = port(&server);
        for round in 0..5u8 {
            let peer = blocking(move || ping(&mut client(addr), &[round]));
            let connection = server.accept().await.unwrap();
            assert_eq!(future::zip(peer, connection).await.0, [round]);
        }
        server.handle().close();
        assert_eq!(server.accept().await.unwrap_err().kind(), ErrorKind::NotConnected);
    });
}

#[test]
fn a_dropped_accept_loses_no_client() {
    guard(async {
        let mut server = create_server(echo, ANY).await.unwrap();
        assert!(future::poll_once(Box::pin(server.accept())).await.is_none());
        let mut streams: Vec<_> = (0..10).map(|_| client(port(&server))).collect();
        let mut connections = Vec::new();
        while connections.len() < streams.len() {
            if let Some(connection) = future::poll_once(Box::pin(server.accept())).await {
                connections.push(connection.unwrap());
            }
            future::yield_now().await;
        }
        let running: Vec<_> = connections.into_iter().map(|connection| connection.spawn().1).collect();
        assert!(streams.iter_mut().all(|stream| ping(stream, b"x") == b"x"));
        drop(running);
    });
}

#[test]
fn waiting_for_a_client_ends_when_the_server_is_closed() {
    guard(async {
        let mut server = create_server(echo, ANY).await.unwrap();
        let handle = server.handle();
        let close = async {
            future::yield_now().await;
            handle.close();
        };
        let (accepted, ()) = future::zip(server.accept(), close).await;
        assert_eq!(accepted.unwrap_err().kind(), ErrorKind::NotConnected);
    });
}

#[test]
fn close_stops_listening_and_leaves_the_clients() {
    alone("close_stops_listening_and_leaves_the_clients", || {
        guard(async {
            let (addr, handle, serving) = serving("127.0.0.14:0").await;
            let mut stream = client(addr);
            assert_eq!(ping(&mut stream, b"before"), b"before");
            handle.close();
            handle.close();
            assert!(!handle.is_serving() && handle.sockets().is_empty());
            assert!(TcpStream::connect(addr).is_err());
            assert_eq!(ping(&mut stream, b"after"), b"after");
            drop(stream);
            serving.await.unwrap();
        });
    });
}

#[test]
fn wait_closed_waits_for_the_last_client() {
    guard(async {
        let (addr, handle, serving) = serving(ANY).await;
        let mut streams = [client(addr), client(addr)];
        streams.iter_mut().for_each(|stream| drop(ping(stream, b"x")));
        let waiters: Vec<_> = (0..5)
            .map(|_| {
                let handle = handle.clone();
                smol::spawn(async move { handle.wait_closed().await })
            })
            .collect();
        handle.close();
        let [first, mut second] = streams;
        drop(first);
        assert_eq!(ping(&mut second, b"still"), b"still");
        assert!(waiters.iter().all(|waiter| !waiter.is_finished()));
        drop(second);
        for waiter in waiters {
            waiter.await;
        }
        serving.await.unwrap();
    });
}

#[test]
fn wait_closed_of_a_closed_server_without_clients_is_done() {
    guard(async {
        let server = create_server(echo, ANY).await.unwrap();
        let handle = server.handle();
        drop(server);
        handle.wait_closed().await;
        assert_eq!(handle.start_serving().unwrap_err().kind(), ErrorKind::NotConnected);
    });
}

#[test]
fn close_clients_sends_what_is_left_and_goes_on_listening() {
    let data = pattern(4 << 20, 1);
    let tail = data.clone();
    let (tell, told) = async_channel::unbounded();
    let factory = move || {
        let (tail, tell) = (tail.clone(), tell.clone());
        Recorder::new(&Log::default()).on_made(move |transport| {
            transport.write(&tail);
            tell.try_send(()).unwrap();
        })
    };
    guard(async {
        let server = create_server(factory, ANY).await.unwrap();
        let addr = port(&server);
        let (handle, serving) = server.spawn();
        let streams = [client(addr), client(addr)];
        for _ in &streams {
            told.recv().await.unwrap();
        }
        // The connection is known to the server when the task that accepts has gone on to the next one.
        let third = client(addr);
        told.recv().await.unwrap();
        handle.close_clients();
        for stream in streams {
            assert_same(&blocking(|| read_all(stream)).await, &data);
        }
        assert!(handle.is_serving());
        drop(third);
        handle.close();
        handle.abort_clients();
        serving.await.unwrap();
    });
}

#[test]
fn no_more_clients_than_may_be_are_accepted() {
    guard(async {
        let server = create_server(echo, ANY).max_connections(2).await.unwrap();
        let addr = port(&server);
        let (handle, serving) = server.spawn();
        let mut first = client(addr);
        let mut second = client(addr);
        assert_eq!((ping(&mut first, b"1"), ping(&mut second, b"2")), (b"1".into(), b"2".into()));
        // They wait in the backlog.
        let mut third = client(addr);
        let mut fourth = client(addr);
        third.write_all(b"3").unwrap();
        fourth.write_all(b"4").unwrap();
        for _ in 0..20 {
            assert_eq!(ping(&mut first, b"1"), b"1");
            assert_eq!(handle.connections(), 2);
        }
        drop(first);
        assert_eq!(read_exact(&third, 1), b"3");
        assert_eq!(handle.connections(), 2);
        drop(third);
        assert_eq!(read_exact(&fourth, 1), b"4");
        // A server that is full can be closed.
        handle.close();
        drop((second, fourth));
        serving.await.unwrap();
    });
}

#[test]
fn a_place_is_free_again_whatever_has_ended_a_client() {
    guard(async {
        let factory = || {
            Recorder::new(&Log::default()).on_data(|transport, data| match data {
                b"panic" => panic!("as it was told"),
                b"abort" => transport.abort(),
                _ => transport.close(),
            })
        };
        let server = create_server(factory, ANY).max_connections(1).on_error(drop).await.unwrap();
        let addr = port(&server);
        let (handle, serving) = server.spawn();
        let clients = blocking(move || {
            for end in [&b"panic"[..], b"abort", b"close", b"panic"] {
                let mut stream = client(addr);
                stream.write_all(end).unwrap();
                // Whether it is reset depends on the end.
                let _ = stream.read_to_end(&mut Vec::new());
            }
        });
        clients.await;
        handle.close();
        serving.await.unwrap();
        assert_eq!(handle.connections(), 0);
    });
}

#[test]
fn accepting_by_hand_waits_while_there_are_enough() {
    guard(async {
        let mut server = create_server(echo, ANY).max_connections(0).await.unwrap();
        let addr = port(&server);
        let (_first, _second) = (client(addr), client(addr));
        let connection = server.accept().await.unwrap();
        assert!(future::poll_once(server.accept()).await.is_none());
        let mut next = Box::pin(server.accept());
        assert!(future::poll_once(&mut next).await.is_none());
        drop(connection);
        drop(next.await.unwrap());
    });
}

#[test]
fn a_shutdown_without_clients_is_done_at_once() {
    alone("a_shutdown_without_clients_is_done_at_once", || {
        guard(async {
            let (addr, handle, serving) = serving(ANY).await;
            assert_eq!(handle.shutdown(PATIENCE * 100).await, 0);
            serving.await.unwrap();
            assert!(TcpStream::connect(addr).is_err());
            assert_eq!(handle.shutdown(PATIENCE).await, 0);
        });
    });
}

#[test]
fn a_shutdown_lets_clients_finish() {
    guard(async {
        let (addr, handle, serving) = serving(ANY).await;
        let mut stream = client(addr);
        ping(&mut stream, b"hello");
        let shutdown = smol::spawn(async move { handle.shutdown(PATIENCE * 100).await });
        // It listens no longer, and goes on with its client.
        while TcpStream::connect(addr).is_ok() {
            future::yield_now().await;
        }
        assert_eq!(ping(&mut stream, b"still there"), b"still there");
        drop(stream);
        assert_eq!(shutdown.await, 0);
        serving.await.unwrap();
    });
}

#[test]
fn a_shutdown_closes_clients_that_stay_and_aborts_those_that_do_not_read() {
    guard(async {
        let factory = || echo().on_pause(Transport::pause_reading).on_resume(Transport::resume_reading);
        let server = create_server(factory, ANY).await.unwrap();
        let addr = port(&server);
        let (handle, serving) = server.spawn();
        let mut stays = client(addr);
        ping(&mut stays, &[0; 10]);
        let mut ignores = client(addr);
        ignores.set_nonblocking(true).unwrap();
        let mut refused = 0;
        while refused < 50 {
            match ignores.write(&[0; 65536]) {
                Ok(_) => refused = 0,
                Err(_) => refused += 1,
            }
            smol::Timer::after(Duration::from_millis(1)).await;
        }
        let peer = blocking(move || read_all(stays));
        let (aborted, rest) = future::zip(handle.shutdown(Duration::from_millis(100)), peer).await;
        assert_eq!((aborted, rest.len()), (1, 0));
        serving.await.unwrap();
    });
}

#[test]
fn abort_clients_ends_clients_that_do_not_read() {
    let factory = || Recorder::new(&Log::default()).on_made(|transport| transport.write(vec![0; 30 << 20]));
    guard(async {
        let mut server = create_server(factory, ANY).await.unwrap();
        let handle = server.handle();
        let _streams: Vec<_> = (0..5).map(|_| client(port(&server))).collect();
        let mut running = Vec::new();
        for _ in 0..5 {
            running.push(server.accept().await.unwrap().spawn().1);
        }
        handle.close();
        handle.close_clients();
        assert!(future::poll_once(&mut running[0]).await.is_none(), "a flush that nobody reads ends by abort only");
        handle.abort_clients();
        handle.wait_closed().await;
    });
}

/// A protocol that borrows from the surroundings of its server.
struct Count<'a>(&'a RefCell<Vec<u8>>);

impl Protocol for Count<'_> {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        self.0.borrow_mut().extend_from_slice(data);
        transport.write(data);
    }
}

#[test]
fn serve_local_lets_protocols_borrow() {
    let all = RefCell::new(Vec::new());
    guard(async {
        let server = create_server(|| Count(&all), ANY).await.unwrap();
        let (addr, handle) = (port(&server), server.handle());
        let talk = blocking(move || {
            let mut streams: Vec<_> = (0..10).map(|_| client(addr)).collect();
            streams.iter_mut().for_each(|stream| assert_eq!(ping(stream, b"x"), b"x"));
            handle.close();
        });
        future::zip(server.serve_local(), talk).await.0.unwrap();
    });
    assert_eq!(all.into_inner(), b"xxxxxxxxxx");
}

#[test]
fn dropping_serve_local_drops_its_clients() {
    let log = Log::default();
    let mut stream = guard(async {
        let server = create_server(|| Recorder::echo(&log), ANY).await.unwrap();
        let addr = port(&server);
        let talk = blocking(move || {
            let mut stream = client(addr);
            assert_eq!(ping(&mut stream, b"x"), b"x");
            stream
        });
        let serve = async {
            server.serve_local().await.unwrap();
            unreachable!("nobody closes it");
        };
        future::or(talk, serve).await
    });
    assert_eq!(log.calls(), [Call::Made, Call::Data(b"x".to_vec()), Call::Lost(None)]);
    assert_eq!(read_all(&mut stream), b"");
}

#[test]
fn serve_on_runs_the_clients_on_that_executor() {
    let all = std::sync::Mutex::new(Vec::new());
    let executor = Executor::new();
    struct Push<'a>(&'a std::sync::Mutex<Vec<u8>>);
    impl Protocol for Push<'_> {
        fn data_received(&mut self, transport: &Transport, data: &[u8]) {
            self.0.lock().unwrap().extend_from_slice(data);
            transport.write(data);
        }
    }
    guard(executor.run(async {
        let server = create_server(|| Push(&all), ANY).await.unwrap();
        let (addr, handle) = (port(&server), server.handle());
        let talk = blocking(move || {
            assert_eq!(ping(&mut client(addr), b"abc"), b"abc");
            handle.close();
        });
        future::zip(server.serve_on(&executor), talk).await.0.unwrap();
    }));
    drop(executor);
    assert_eq!(all.into_inner().unwrap(), b"abc");
}

#[test]
fn dropping_serve_forever_leaves_the_clients() {
    alone("dropping_serve_forever_leaves_the_clients", || {
        guard(async {
            let server = create_server(echo, "127.0.0.15:0").await.unwrap();
            let addr = port(&server);
            let talk = blocking(move || {
                let mut stream = client(addr);
                ping(&mut stream, b"x");
                stream
            });
            let serve = async {
                server.serve_forever().await.unwrap();
                unreachable!("nobody closes it");
            };
            let mut stream = future::or(talk, serve).await;
            assert!(TcpStream::connect(addr).is_err());
            assert_eq!(ping(&mut stream, b"still"), b"still");
        });
    });
}

#[test]
fn dropping_a_spawned_server_closes_it_and_detaching_does_not() {
    alone("dropping_a_spawned_server_closes_it_and_detaching_does_not", || {
        guard(async {
            let (addr, handle, serving_) = serving("127.0.0.16:0").await;
            drop(serving_);
            handle.wait_closed().await;
            assert!(TcpStream::connect(addr).is_err());

            let (addr, handle, serving_) = serving(ANY).await;
            serving_.detach();
            assert_eq!(ping(&mut client(addr), b"hello"), b"hello");
            handle.close();
            handle.wait_closed().await;
        });
    });
}

#[test]
fn serving_a_closed_server_is_an_error() {
    guard(async {
        let server = create_server(echo, ANY).await.unwrap();
        server.handle().close();
        assert!(server.sockets().is_empty() && !server.is_serving());
        assert_eq!(server.local_addr().unwrap_err().kind(), ErrorKind::NotConnected);
        assert_eq!(server.start_serving().unwrap_err().kind(), ErrorKind::NotConnected);
        assert_eq!(server.serve_forever().await.unwrap_err().kind(), ErrorKind::NotConnected);
    });
}

#[test]
fn every_client_of_a_crowd_is_served_once() {
    const CROWD: usize = 200;
    guard(async {
        let (tell, told) = async_channel::unbounded();
        let factory = move || {
            let tell = tell.clone();
            Recorder::echo(&Log::default()).on_made(move |transport| {
                tell.try_send(transport.extra_info().peername().unwrap().as_inet().unwrap()).unwrap();
            })
        };
        let server = create_server(factory, ANY).await.unwrap();
        let addr = port(&server);
        let (handle, serving) = server.spawn();
        let talk = blocking(move || {
            let mut streams: Vec<_> = (0..CROWD).map(|_| client(addr)).collect();
            streams.iter_mut().for_each(|stream| assert_eq!(ping(stream, b"x"), b"x"));
        });
        talk.await;
        handle.close();
        serving.await.unwrap();
        let mut peers = HashSet::new();
        while let Ok(peer) = told.try_recv() {
            assert!(peers.insert(peer), "{peer} twice");
        }
        assert_eq!(peers.len(), CROWD);
    });
}

#[test]
fn a_server_that_is_closed_while_a_crowd_connects_ends() {
    for round in 0..10 {
        guard(async {
            let (addr, handle, serving) = serving(ANY).await;
            assert_eq!(ping(&mut client(addr), b"open"), b"open");
            let crowd: Vec<_> = (0..4)
                .map(|_| {
                    thread::spawn(move || {
                        for _ in 0..50 {
                            if let Ok(mut stream) = TcpStream::connect(addr) {
                                let _ = stream.write_all(b"x");
                            }
                        }
                    })
                })
                .collect();
            for _ in 0..round * 3 {
                future::yield_now().await;
            }
            handle.close();
            patient(serving).await.unwrap();
            patient(handle.wait_closed()).await;
            crowd.into_iter().for_each(|thread| thread.join().unwrap());
        });
    }
}

#[test]
fn a_spawned_server_that_is_closed_at_once_ends_in_good_order() {
    guard(async {
        for _ in 0..100 {
            let (_, handle, serving) = serving(ANY).await;
            handle.close();
            serving.await.unwrap();
        }
    });
}

#[test]
fn close_from_inside_of_a_callback_ends_the_server() {
    guard(async {
        let slot = Arc::new(std::sync::Mutex::new(None::<ServerHandle>));
        let inner = slot.clone();
        let factory = move || {
            let inner = inner.clone();
            Recorder::new(&Log::default()).on_made(move |transport| {
                inner.lock().unwrap().take().unwrap().close();
                transport.close();
            })
        };
        let server = create_server(factory, ANY).await.unwrap();
        *slot.lock().unwrap() = Some(server.handle());
        let stream = client(port(&server));
        server.serve_forever().await.unwrap();
        assert_eq!(read_all(stream), b"");
    });
}

#[test]
fn clients_that_are_coming_are_ended_with_the_others() {
    struct Last(Arc<OnceLock<ServerHandle>>, fn(&ServerHandle));

    impl Protocol for Last {
        fn connection_made(&mut self, _: &Transport) {
            self.1(self.0.get().unwrap());
        }
    }

    for end in [ServerHandle::close_clients, ServerHandle::abort_clients] {
        guard(async {
            let known = Arc::<OnceLock<_>>::default();
            let its = known.clone();
            let server = create_server(move || Last(its.clone(), end), ANY).await.unwrap();
            let stream = client(port(&server));
            assert!(known.set(server.handle()).is_ok());
            let (_handle, _serving) = server.spawn();
            assert_eq!(blocking(move || read_all(stream)).await, b"");
        });
    }
}

#[test]
fn an_error_report_can_be_set_later() {
    let (tell, told) = async_channel::unbounded();
    let factory = || -> Recorder { std::panic::resume_unwind(Box::new("no protocol today")) };
    guard(async {
        let server = create_server(factory, ANY).await.unwrap();
        server.on_error(move |err| drop(tell.try_send(err.to_string())));
        let _stream = client(port(&server));
        let (handle, serving) = server.spawn();
        assert!(told.recv().await.unwrap().contains("no protocol today"));
        handle.close();
        serving.await.unwrap();
    });
}

#[test]
fn the_factory_is_called_once_for_each_client_and_not_before() {
    let mut calls = 0;
    guard(async {
        let factory = || {
            calls += 1;
            echo()
        };
        let mut server = create_server(factory, ANY).await.unwrap();
        let _streams = [client(port(&server)), client(port(&server))];
        drop(server.accept().await.unwrap());
        drop(server.accept().await.unwrap());
    });
    assert_eq!(calls, 2);
}

#[test]
fn lists_of_every_kind_are_listened_on() {
    guard(async {
        let text = || "127.0.0.1:0".to_owned();
        let addr: SocketAddr = text().parse().unwrap();
        let bound = || TcpListener::bind(addr).unwrap();
        let lists: [Listen; 5] = [
            vec![text(), text()].into(),
            vec!["127.0.0.1:0", "127.0.0.2:0"].into(),
            [addr, ([127, 0, 0, 2], 0).into()].into(),
            vec![bound(), bound()].into(),
            OwnedFd::from(bound()).into(),
        ];
        for (index, list) in lists.into_iter().enumerate() {
            let server = create_server(|| Recorder::new(&Log::default()), list).await.unwrap();
            // Two that are the same are one.
            let expected = if index == 0 || index == 4 { 1 } else { 2 };
            assert_eq!(server.sockets().len(), expected, "{index}");
        }
    });
}

#[test]
fn the_error_of_binding_is_the_source_of_the_one_that_names_the_address() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    let failed = guard(create_server(|| Recorder::new(&Log::default()), addr).into_future()).map(drop).unwrap_err();
    assert!(failed.to_string().starts_with(&format!("cannot bind to {addr}: ")), "{failed}");
    let source = failed.get_ref().and_then(std::error::Error::source).and_then(|err| err.downcast_ref::<io::Error>());
    let in_use = rustix::io::Errno::ADDRINUSE.raw_os_error();
    assert_eq!(source.and_then(io::Error::raw_os_error), Some(in_use));
}

//! Datagram endpoints on real sockets.

use std::future::{Future, IntoFuture};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::time::Duration;

use async_io::{Async, Timer};
use futures_lite::{StreamExt, future};
use smol_transports::testing::poll;
use smol_transports::{
    Addr, CreateDatagramEndpoint, DatagramEndpoint, DatagramEvent, DatagramProtocol, DatagramTransport, Family, Misuse,
    Written, actor, create_datagram_endpoint,
};

use super::{Log, Seen};
use crate::common::{PATIENCE, guard, make_stale};

struct Echo;

impl DatagramProtocol for Echo {
    fn datagram_received(&mut self, transport: &DatagramTransport, data: &[u8], addr: &Addr) {
        transport.send_to(data, addr);
    }
}

/// Closes after that many callbacks, `connection_made` not counted.
fn after(count: usize) -> Log {
    let mut left = count;
    Log::reacting(move |transport, seen| {
        left -= usize::from(*seen != Seen::Made);
        if left == 0 {
            transport.close();
        }
    })
}

fn run<R>(test: impl Future<Output = io::Result<R>>) -> R {
    guard(test).expect("the test's own calls")
}

fn error_of<P: DatagramProtocol>(endpoint: CreateDatagramEndpoint<P>) -> io::Error {
    smol::block_on(endpoint.into_future()).expect_err("an error")
}

fn udp() -> io::Result<(UdpSocket, SocketAddr)> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let addr = socket.local_addr()?;
    Ok((socket, addr))
}

fn address_of<P: DatagramProtocol>(endpoint: &DatagramEndpoint<P>) -> SocketAddr {
    endpoint.local_addr().expect("an IP address")
}

/// Runs the endpoint for a while; how often it wanted to run.
async fn polls_within<P: DatagramProtocol>(time: Duration, endpoint: &mut DatagramEndpoint<P>) -> usize {
    let mut polls = 0;
    let counted = future::poll_fn(|cx| {
        polls += 1;
        Pin::new(&mut *endpoint).poll(cx).map(|_| None)
    });
    future::or(counted, async { Some(Timer::after(time).await) }).await;
    polls
}

/// Waits for one datagram.
fn receive(socket: &UdpSocket) -> io::Result<Vec<u8>> {
    let mut buffer = [0; 70_000];
    let count = socket.recv(&mut buffer)?;
    Ok(buffer[..count].to_vec())
}

#[test]
fn udp_of_both_versions_echoes() {
    for host in ["127.0.0.1:0", "[::1]:0", "localhost:0"] {
        run(async {
            let endpoint = create_datagram_endpoint(Echo).local_addr(host).await?;
            let addr = address_of(&endpoint);
            assert!(endpoint.transport().extra_info().peername().is_none());
            let (_transport, server) = endpoint.spawn();
            let peer = Async::<UdpSocket>::bind(SocketAddr::new(addr.ip(), 0))?;
            for data in [&b"hello"[..], b"", &[7; 60_000]] {
                peer.send_to(data, addr).await?;
                let mut buffer = vec![0; 65_536];
                let (count, from) = peer.recv_from(&mut buffer).await?;
                assert_eq!((&buffer[..count], from), (data, addr));
            }
            drop(server);
            Ok(())
        });
    }
}

#[test]
fn a_connected_endpoint_hears_its_peer_alone() {
    run(async {
        let ((peer, addr), (other, _)) = (udp()?, udp()?);
        let endpoint = create_datagram_endpoint(after(1)).local_addr("127.0.0.1:0").remote_addr(addr).await?;
        let own = address_of(&endpoint);
        assert_eq!(endpoint.transport().extra_info().peername(), Some(&addr.into()));
        other.send_to(b"not for you", own)?;
        peer.send_to(b"hello", own)?;
        assert_eq!(endpoint.transport().send("one"), Written::Queued);
        assert_eq!(endpoint.transport().send_to("two", addr), Written::Queued);
        let elsewhere = endpoint.transport().send_to("three", other.local_addr()?);
        assert_eq!(elsewhere, Written::Refused(Misuse::OtherAddress));
        assert_eq!(endpoint.await.seen[1..], [Seen::Data(b"hello".to_vec(), addr.into()), Seen::Lost(None)]);
        assert_eq!([receive(&peer)?, receive(&peer)?], [b"one", b"two"]);
        Ok(())
    });
}

#[test]
fn an_endpoint_without_a_local_address_may_send() {
    run(async {
        let (peer, addr) = udp()?;
        let endpoint = create_datagram_endpoint(after(1)).family(Family::Ipv4).await?;
        endpoint.transport().send_to("ping", addr);
        let mut buffer = [0; 10];
        let (count, from) = peer.recv_from(&mut buffer)?;
        peer.send_to(&buffer[..count], from)?;
        assert_eq!(endpoint.await.seen[1], Seen::Data(b"ping".to_vec(), addr.into()));
        Ok(())
    });
}

#[test]
fn a_refusal_is_told_and_the_endpoint_lives_on() {
    run(async {
        let (peer, addr) = udp()?;
        drop(peer);
        let mut endpoint = create_datagram_endpoint(Log::default()).remote_addr(addr).await?;
        let transport = endpoint.transport().clone();
        transport.send("anybody there?");
        while endpoint.protocol().seen.len() < 2 {
            let polls = polls_within(Duration::from_millis(50), &mut endpoint).await;
            assert!(polls < 10, "{polls} polls");
        }
        assert_eq!(endpoint.protocol().seen, [Seen::Made, Seen::Error(ErrorKind::ConnectionRefused)]);
        assert!(!transport.is_closing());

        let peer = UdpSocket::bind(addr)?;
        transport.send("now?");
        assert_eq!(receive(&peer)?, b"now?");
        Ok(())
    });
}

/// The number and not the kind: the kind has no stable name.
#[cfg(unix)]
#[test]
fn a_datagram_over_the_limit_is_too_long_and_harms_nothing() {
    #[derive(Default)]
    struct Errors(Vec<io::Error>);
    impl DatagramProtocol for Errors {
        fn connection_made(&mut self, transport: &DatagramTransport) {
            for data in ["before", &"x".repeat(70_000), "after"] {
                transport.send(data);
            }
            transport.close();
        }

        fn error_received(&mut self, _: &DatagramTransport, exc: io::Error) {
            self.0.push(exc);
        }
    }

    run(async {
        let (peer, addr) = udp()?;
        let errors = create_datagram_endpoint(Errors::default()).remote_addr(addr).await?.await.0;
        let codes: Vec<_> = errors.iter().map(io::Error::raw_os_error).collect();
        assert_eq!(codes, [Some(rustix::io::Errno::MSGSIZE.raw_os_error())]);
        assert!(errors[0].to_string().to_lowercase().contains("message too long"), "{}", errors[0]);
        assert_eq!([receive(&peer)?, receive(&peer)?], [&b"before"[..], b"after"]);
        Ok(())
    });
}

#[test]
fn a_broadcaster_is_not_connected() {
    run(async {
        let ((peer, addr), (other, elsewhere)) = (udp()?, udp()?);
        let endpoint = create_datagram_endpoint(after(1)).local_addr("127.0.0.1:0").remote_addr(addr).broadcast(true);
        let endpoint = endpoint.await?;
        assert_eq!(endpoint.transport().with_socket(|socket| socket.broadcast().ok()), Some(Some(true)));
        assert!(endpoint.transport().extra_info().peername().is_none());
        assert_eq!(endpoint.transport().send("to all"), Written::Queued);
        assert_eq!(endpoint.transport().send_to("to all", addr), Written::Queued);
        let refused = endpoint.transport().send_to("to one", elsewhere);
        assert_eq!(refused, Written::Refused(Misuse::OtherAddress));
        assert_eq!([receive(&peer)?, receive(&peer)?], [b"to all", b"to all"]);
        other.send_to(b"answer", address_of(&endpoint))?;
        assert_eq!(endpoint.await.seen[1], Seen::Data(b"answer".to_vec(), elsewhere.into()));
        Ok(())
    });
}

#[cfg(target_os = "linux")]
#[test]
fn two_endpoints_may_share_a_port() {
    run(async {
        let first = create_datagram_endpoint(Echo).local_addr("127.0.0.1:0").reuse_port(true).await?;
        let addr = address_of(&first);
        let second = create_datagram_endpoint(Echo).local_addr(addr).reuse_port(true).await?;
        assert_eq!(address_of(&second), addr);
        assert_eq!(error_of(create_datagram_endpoint(Echo).local_addr(addr)).kind(), ErrorKind::AddrInUse);
        Ok(())
    });
}

#[test]
fn existing_sockets_are_taken_over() {
    run(async {
        let ((peer, addr), (socket, own)) = (udp()?, udp()?);
        socket.connect(addr)?;
        let endpoint = create_datagram_endpoint(after(1)).socket(Async::new(socket)?).await?;
        assert_eq!(address_of(&endpoint), own);
        assert_eq!(endpoint.transport().send("connected"), Written::Queued);
        assert_eq!(receive(&peer)?, b"connected");
        peer.send_to(b"", own)?;
        assert_eq!(endpoint.await.seen[1], Seen::Data(vec![], addr.into()));

        let endpoint = create_datagram_endpoint(Echo).socket(udp()?.0).await?;
        assert_eq!(endpoint.transport().send("to whom?"), Written::Refused(Misuse::AddressMissing));
        Ok(())
    });
}

#[test]
fn wrong_input_is_refused() {
    let make = || create_datagram_endpoint(Log::default());
    let socket = || udp().expect("a socket").0;
    let wrong = [
        make(),
        make().reuse_port(true),
        make().broadcast(true),
        make().socket(socket()).local_addr("127.0.0.1:0"),
        make().socket(socket()).remote_addr("127.0.0.1:1"),
        make().socket(socket()).family(Family::Ipv4),
        make().socket(socket()).reuse_port(true),
        make().socket(socket()).broadcast(true),
        make().socket(socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket")),
        make().local_addr("127.0.0.1:0").remote_addr("[::1]:1"),
        make().local_addr("127.0.0.1:0").family(Family::Ipv6),
        make().local_addr("no port"),
        make().remote_addr(Vec::new()),
    ];
    for endpoint in wrong {
        let text = format!("{endpoint:?}");
        assert_eq!(error_of(endpoint).kind(), ErrorKind::InvalidInput, "{text}");
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.seen.fmt(f)
    }
}

#[test]
fn an_address_that_is_taken_is_in_use() {
    let (_peer, addr) = udp().expect("a socket");
    assert_eq!(error_of(create_datagram_endpoint(Echo).local_addr(addr)).kind(), ErrorKind::AddrInUse);
}

#[test]
fn dropping_the_spawned_endpoint_ends_it() {
    run(async {
        let (transport, running) = create_datagram_endpoint(Echo).local_addr("127.0.0.1:0").await?.spawn();
        drop(running);
        transport.closed().await?;
        assert!(transport.with_socket(|_| ()).is_none());

        let executor = smol::Executor::new();
        let (transport, running) = create_datagram_endpoint(Echo).local_addr("127.0.0.1:0").await?.spawn_on(&executor);
        running.detach();
        transport.close();
        executor.run(transport.closed()).await
    });
}

#[test]
fn events_are_in_order() {
    run(async {
        let (socket, addr) = udp()?;
        socket2::SockRef::from(&socket).set_recv_buffer_size(1 << 20)?;
        let (transport, mut events, actor) = actor::open_datagram(socket)?;
        let task = smol::spawn(actor);
        let (peer, from) = udp()?;
        for number in 0..100_u8 {
            peer.send_to(&[number; 1000], addr)?;
        }
        assert!(matches!(events.next().await, Some(DatagramEvent::ConnectionMade)));
        for number in 0..100 {
            let Some(DatagramEvent::DatagramReceived { data, addr }) = events.next().await else {
                panic!("no datagram")
            };
            assert_eq!((&*data, &*addr), (&[number; 1000][..], &from.into()));
        }
        transport.close();
        assert!(matches!(events.next().await, Some(DatagramEvent::ConnectionLost(None))));
        assert!(events.next().await.is_none());
        task.await;
        Ok(())
    });
}

/// Runs a program in Python beside `ours`, which is given what the program prints first.
#[cfg(unix)]
async fn beside_python<F: Future<Output = io::Result<()>>>(
    program: &str,
    argument: &str,
    ours: impl FnOnce(String) -> F,
) -> io::Result<()> {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    let mut command = Command::new("python3");
    let mut child = match command.args(["-c", program, argument]).stdout(Stdio::piped()).spawn() {
        Err(err) if err.kind() == ErrorKind::NotFound => {
            eprintln!("no python3 here");
            return Ok(());
        }
        child => child?,
    };
    let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    output.read_line(&mut line)?;
    ours(line.trim().to_owned()).await?;
    assert!(smol::unblock(move || child.wait()).await?.success());
    Ok(())
}

#[cfg(unix)]
#[test]
fn python_talks_over_udp() {
    const PEER: &str = "
import socket, sys
peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
peer.settimeout(10)
peer.bind(('127.0.0.1', 0))
print(peer.getsockname()[1], flush=True)
for expected in [b'from smol', b'']:
    data, sender = peer.recvfrom(65536)
    assert data == expected, data
    peer.sendto(data + b'!', sender)
peer.sendto(b'', sender)
";
    run(beside_python(PEER, "", |port| async move {
        let endpoint = create_datagram_endpoint(after(3)).remote_addr(format!("127.0.0.1:{port}")).await?;
        endpoint.transport().send("from smol");
        endpoint.transport().send("");
        let seen = endpoint.await.seen;
        let data: Vec<_> = seen[1..4].iter().map(|seen| matches!(seen, Seen::Data(..)).then_some(seen)).collect();
        assert!(
            matches!(data[..], [
            Some(Seen::Data(one, _)), Some(Seen::Data(two, _)), Some(Seen::Data(three, _)),
        ] if one == b"from smol!" && two == b"!" && three.is_empty()),
            "{seen:?}"
        );
        Ok(())
    }));
}

#[cfg(unix)]
mod unix {
    use std::fs;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::{UnixDatagram, UnixStream};
    use std::path::PathBuf;

    use smol_transports::{UnixAddr, WriteLimits};
    use socket2::Type;
    use tempfile::TempDir;

    use super::*;

    fn place() -> (TempDir, PathBuf, PathBuf) {
        let dir = tempfile::tempdir().expect("a directory");
        let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
        (dir, ours, theirs)
    }

    fn name(addr: impl Into<UnixAddr>) -> Addr {
        addr.into().into()
    }

    #[test]
    fn paths_are_bound_and_connected() {
        let (_dir, ours, theirs) = place();
        run(async {
            let peer = UnixDatagram::bind(&theirs)?;
            let mut endpoint = create_datagram_endpoint(after(2)).local_path(&ours).remote_path(&theirs).await?;
            let info = endpoint.transport().extra_info();
            assert_eq!((info.sockname(), info.peername()), (Some(&name(&ours)), Some(&name(&theirs))));
            assert_eq!(endpoint.local_addr().unwrap_err().kind(), ErrorKind::NotConnected);
            assert_eq!(endpoint.transport().send(""), Written::Queued);
            assert_eq!(endpoint.transport().send_to("hi", name(&theirs)), Written::Queued);
            let mut buffer = [0; 10];
            assert_eq!((peer.recv(&mut buffer)?, peer.recv(&mut buffer)?), (0, 2));
            peer.send_to(b"", &ours)?;
            peer.send_to(b"answer", &ours)?;
            let data = |data: &[u8]| Seen::Data(data.to_vec(), name(&theirs));
            let transport = endpoint.transport().clone();
            endpoint.run_until(transport.closed()).await?;
            assert!(!ours.exists());
            assert_eq!(endpoint.await.seen[1..], [data(b""), data(b"answer"), Seen::Lost(None)]);
            Ok(())
        });
    }

    #[test]
    fn senders_without_a_name_cannot_be_answered() {
        let (_dir, ours, _) = place();
        run(async {
            let endpoint = create_datagram_endpoint(Log::reacting(|transport, seen| {
                if let Seen::Data(data, sender) = seen {
                    assert_eq!(transport.send_to(data, sender), Written::Refused(Misuse::AddressMissing));
                    transport.close();
                }
            }));
            let endpoint = endpoint.local_path(&ours).await?;
            UnixDatagram::unbound()?.send_to(b"who am I?", &ours)?;
            let Seen::Data(_, sender) = &endpoint.await.seen[1] else { panic!("no datagram") };
            assert!(sender.as_unix().is_some_and(UnixAddr::is_unnamed));
            Ok(())
        });
    }

    #[test]
    fn stale_files_are_taken_over_and_living_ones_are_not() {
        let (_dir, ours, theirs) = place();
        run(async {
            make_stale(&ours, Type::DGRAM);
            let endpoint = create_datagram_endpoint(Echo).local_path(&ours).await?;
            assert_eq!(error_of(create_datagram_endpoint(Echo).local_path(&ours)).kind(), ErrorKind::AddrInUse);
            assert!(ours.exists());

            fs::remove_file(&ours)?;
            fs::write(&ours, "another file")?;
            drop(endpoint);
            assert_eq!(fs::read(&ours)?, b"another file");
            assert_eq!(error_of(create_datagram_endpoint(Echo).local_path(&ours)).kind(), ErrorKind::AddrInUse);

            let failed = create_datagram_endpoint(Echo).local_path(&theirs).remote_path("/nowhere/at/all");
            assert_eq!(error_of(failed).kind(), ErrorKind::NotFound);
            assert!(!theirs.exists());
            Ok(())
        });
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn abstract_names_work() {
        use std::os::linux::net::SocketAddrExt;
        run(async {
            let own = format!("smol-transports-{}", std::process::id());
            let endpoint = create_datagram_endpoint(Echo).local_path(UnixAddr::abstract_name(&own)).await?;
            let task = endpoint.spawn().1;
            let theirs = std::os::unix::net::SocketAddr::from_abstract_name(format!("{own}-peer"))?;
            let peer = Async::new(UnixDatagram::bind_addr(&theirs)?)?;
            let ours = std::os::unix::net::SocketAddr::from_abstract_name(own)?;
            peer.get_ref().send_to_addr(b"abstract", &ours)?;
            let mut buffer = [0; 10];
            assert_eq!(peer.recv(&mut buffer).await?, 8);
            drop(task);
            Ok(())
        });
    }

    #[test]
    fn wrong_input_is_refused() {
        let (_dir, ours, theirs) = place();
        let make = || create_datagram_endpoint(Log::default());
        let (pair, _) = UnixDatagram::pair().expect("a pair");
        let (stream, _) = UnixStream::pair().expect("a pair");
        let wrong = [
            make().local_path(&ours).remote_addr("127.0.0.1:1"),
            make().local_addr("127.0.0.1:0").remote_path(&theirs),
            make().local_path(&ours).family(Family::Ipv4),
            make().local_addr("127.0.0.1:0").family(Family::Unix),
            make().socket(pair).local_path(&ours),
            make().socket(OwnedFd::from(stream)),
            make().local_path(""),
            make().local_path("/x".repeat(100)),
        ];
        for endpoint in wrong {
            let text = format!("{endpoint:?}");
            assert_eq!(error_of(endpoint).kind(), ErrorKind::InvalidInput, "{text}");
            assert!(!ours.exists());
        }
    }

    #[test]
    fn both_ends_of_a_pair_work() {
        run(async {
            let (near, far) = UnixDatagram::pair()?;
            let far = Async::new(far)?;
            let (transport, running) = create_datagram_endpoint(Echo).socket(near).await?.spawn();
            assert_eq!(transport.send("first"), Written::Queued);
            far.send(b"").await?;
            far.send(b"echo").await?;
            let mut buffer = [0; 10];
            let mut counts = Vec::new();
            for _ in 0..3 {
                counts.push(far.recv(&mut buffer).await?);
            }
            assert_eq!(counts, [5, 0, 4]);
            transport.close();
            running.await;
            Ok(())
        });
    }

    /// The number of a datagram in front, and a length that follows from it.
    fn numbered(number: u32) -> Vec<u8> {
        let length = usize::try_from(number * 37 % 900).expect("small");
        number.to_be_bytes().into_iter().chain(std::iter::repeat_n(number as u8, length)).collect()
    }

    const MANY: u32 = 10_000;

    /// Sends as fast as the marks allow.
    async fn burst(transport: DatagramTransport, to: Option<Addr>) -> io::Result<()> {
        for number in 0..MANY {
            let written = match &to {
                Some(to) => transport.send_to(numbered(number), to),
                None => transport.send(numbered(number)),
            };
            if written == Written::Full {
                transport.drain().await?;
            }
        }
        transport.close();
        transport.closed().await
    }

    async fn count_in_order(socket: Async<UnixDatagram>) -> io::Result<()> {
        let mut buffer = [0; 2000];
        for number in 0..MANY {
            let count = socket.recv(&mut buffer).await?;
            assert!(buffer[..count] == numbered(number), "datagram {number}");
        }
        Ok(())
    }

    #[test]
    fn a_burst_keeps_order_and_boundaries() {
        let (_dir, _, theirs) = place();
        for connected in [true, false] {
            run(async {
                let peer = Async::<UnixDatagram>::bind(&theirs)?;
                let limits = WriteLimits::high(4096);
                let made = create_datagram_endpoint(Log::default()).write_limits(limits);
                let made = if connected { made.remote_path(&theirs) } else { made.family(Family::Unix) };
                let (transport, running) = made.await?.spawn();
                let to = (!connected).then(|| name(&theirs));
                let (sent, counted) = future::zip(burst(transport, to), count_in_order(peer)).await;
                counted.and(sent)?;
                let seen = running.await.seen;
                assert_eq!((&seen[0], &seen[seen.len() - 1]), (&Seen::Made, &Seen::Lost(None)));
                let marks = &seen[1..seen.len() - 1];
                assert!(marks.len() % 2 == 0 && marks.chunks(2).all(|two| two == [Seen::Pause, Seen::Resume]));
                fs::remove_file(&theirs)
            });
        }
    }

    #[test]
    fn a_burst_arrives_in_order() {
        struct Count(u32);
        impl DatagramProtocol for Count {
            fn datagram_received(&mut self, transport: &DatagramTransport, data: &[u8], _: &Addr) {
                assert!(data == numbered(self.0), "datagram {}", self.0);
                self.0 += 1;
                if self.0 == MANY {
                    transport.close();
                }
            }
        }
        run(async {
            let (near, far) = UnixDatagram::pair()?;
            let endpoint = create_datagram_endpoint(Count(0)).socket(near).await?;
            let sender = std::thread::spawn(move || (0..MANY).try_for_each(|n| far.send(&numbered(n)).map(drop)));
            assert_eq!(endpoint.await.0, MANY);
            sender.join().expect("the sender")
        });
    }

    #[test]
    fn a_receiver_that_is_full_does_not_keep_the_sender_busy() {
        let (_dir, _, theirs) = place();
        run(async {
            let _peer = UnixDatagram::bind(&theirs)?;
            let mut endpoint = create_datagram_endpoint(Log::default()).family(Family::Unix).await?;
            for _ in 0..2000 {
                endpoint.transport().send_to("x", name(&theirs));
            }
            let polls = polls_within(Duration::from_millis(500), &mut endpoint).await;
            assert!(polls < 100, "{polls} polls");
            assert!(endpoint.transport().write_buffer_size() > 0);
            Ok(())
        });
    }

    #[test]
    fn many_threads_may_send() {
        const EACH: u32 = 500;
        run(async {
            let (near, far) = UnixDatagram::pair()?;
            let endpoint = create_datagram_endpoint(Log::default()).write_limits(WriteLimits::high(2000)).socket(near);
            let (transport, running) = endpoint.await?.spawn();
            let threads: Vec<_> = (0..4_u32)
                .map(|thread| {
                    let transport = transport.clone();
                    std::thread::spawn(move || {
                        for number in 0..EACH {
                            let written = transport.send_bytes(numbered(thread * EACH + number));
                            if written == Written::Full {
                                smol::block_on(transport.drain()).expect("open");
                            }
                        }
                    })
                })
                .collect();
            let (far, mut buffer, mut next) = (Async::new(far)?, [0; 2000], [0; 4]);
            for _ in 0..4 * EACH {
                let count = far.recv(&mut buffer).await?;
                let number = u32::from_be_bytes(buffer[..4].try_into().expect("four bytes"));
                assert!(buffer[..count] == numbered(number));
                let thread = usize::try_from(number / EACH).expect("small");
                assert_eq!(std::mem::replace(&mut next[thread], number % EACH + 1), number % EACH);
            }
            threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
            transport.close();
            running.await;
            Ok(())
        });
    }

    #[test]
    fn unread_events_stop_the_reading() {
        for data in [&[7; 1000][..], b""] {
            run(async {
                let (near, far) = UnixDatagram::pair()?;
                far.set_nonblocking(true)?;
                let (transport, mut events, actor) = actor::open_datagram(near)?;
                let task = smol::spawn(actor);
                let (mut sent, mut blocked) = (0, 0);
                while blocked < 20 {
                    match far.send(data) {
                        Ok(_) => (sent, blocked) = (sent + 1, 0),
                        Err(_) => {
                            blocked += 1;
                            Timer::after(Duration::from_millis(2)).await;
                        }
                    }
                    assert!(sent < 50_000, "nothing stops the reading");
                }
                assert!(matches!(events.next().await, Some(DatagramEvent::ConnectionMade)));
                for _ in 0..sent {
                    assert!(matches!(events.next().await, Some(DatagramEvent::DatagramReceived { .. })));
                }
                transport.abort();
                task.await;
                Ok(())
            });
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_datagram_is_never_cut_short() {
        run(async {
            let (near, far) = UnixDatagram::pair()?;
            socket2::SockRef::from(&far).set_send_buffer_size(1 << 20)?;
            let large = 300 * 1024;
            if far.send(&vec![1; large]).is_err() {
                eprintln!("the system has a smaller limit");
                return Ok(());
            }
            far.send(b"next")?;
            let endpoint = create_datagram_endpoint(after(2)).socket(near).await?;
            let seen = endpoint.await.seen;
            assert_eq!(seen[1], Seen::Error(ErrorKind::InvalidData));
            assert!(matches!(&seen[2], Seen::Data(data, _) if data == b"next"));
            Ok(())
        });
    }

    #[test]
    fn python_talks_over_unix_datagrams() {
        const PEER: &str = "
import os, socket, sys
ours = sys.argv[1]
peer = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
peer.settimeout(10)
peer.bind(ours + '.python')
print(ours, flush=True)
data, sender = peer.recvfrom(65536)
assert (data, sender) == (b'from smol', ours), (data, sender)
peer.sendto(b'x' * 1000, sender)
peer.sendto(b'', sender)
";
        let (_dir, ours, _) = place();
        let argument = ours.to_str().expect("text").to_owned();
        run(beside_python(PEER, &argument, |ours| async move {
            let theirs = name(format!("{ours}.python"));
            let endpoint = create_datagram_endpoint(after(2)).local_path(&ours).await?;
            endpoint.transport().send_to("from smol", &theirs);
            let seen = endpoint.await.seen;
            assert_eq!(seen[1..3], [Seen::Data(vec![b'x'; 1000], theirs.clone()), Seen::Data(vec![], theirs)]);
            Ok(())
        }));
    }
}

#[test]
fn errors_that_nobody_takes_are_bounded() {
    const SENT: usize = 20_000;
    run(async {
        let (nobody, addr) = udp()?;
        drop(nobody);
        let (socket, _) = udp()?;
        socket.connect(addr)?;
        let (transport, events, mut actor) = actor::open_datagram(socket)?;
        for _ in 0..SENT {
            transport.send("refused");
            assert!(poll(&mut actor).is_pending());
        }
        transport.abort();
        actor.await;
        let errors = events.filter(|event| matches!(event, DatagramEvent::ErrorReceived(_))).count().await;
        assert!((100..SENT / 3).contains(&errors), "{errors}");
        Ok(())
    });
}

#[test]
fn a_protocol_that_answers_each_error_can_be_ended() {
    run(async {
        let nobody = Addr::from(([127, 0, 0, 1], 0));
        let log = Log::reacting(move |transport, seen| {
            if matches!(seen, Seen::Made | Seen::Error(_)) {
                transport.send_to("again", &nobody);
            }
        });
        let endpoint = create_datagram_endpoint(log).local_addr("127.0.0.1:0").await?;
        endpoint.transport().abort();
        let log = endpoint.await;
        assert!(matches!(log.seen[..], [Seen::Made, Seen::Error(_), .., Seen::Error(_), Seen::Lost(None)]));
        Ok(())
    });
}

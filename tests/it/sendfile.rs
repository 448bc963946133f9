//! Files in a stream: exact, in order, bounded, and honest about errors.

use std::fs::File;
use std::future::Future;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::Bound;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_io::Timer;
use futures_lite::future;
use smol_transports::testing::{Clock, Memory, Peer, poll};
use smol_transports::{Connection, Protocol, Transport, WriteLimits, Written, connect_socket};

use crate::common::{PATIENCE, guard};

/// Does nothing but remember its end.
#[derive(Default)]
struct Idle {
    lost: Option<Option<ErrorKind>>,
    pauses: usize,
    resumes: usize,
}

impl Protocol for Idle {
    fn pause_writing(&mut self, _: &Transport) {
        self.pauses += 1;
    }

    fn resume_writing(&mut self, _: &Transport) {
        self.resumes += 1;
    }

    fn connection_lost(&mut self, exc: Option<io::Error>) {
        self.lost = Some(exc.map(|exc| exc.kind()));
    }
}

fn run<R>(test: impl Future<Output = io::Result<R>>) -> R {
    guard(test).expect("the test's own calls")
}

/// Bytes without a short period.
fn pattern(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(len).collect()
}

fn file(content: &[u8]) -> File {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(content).expect("room for a file");
    file
}

/// A file that no memory could hold.
fn huge_file() -> File {
    let file = tempfile::tempfile().expect("a file");
    // Not every system leaves out what was never written.
    file.set_len(1 << if cfg!(unix) { 40 } else { 30 }).expect("a sparse file");
    file
}

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let near = TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
    (near, listener.accept().expect("accepted").0)
}

fn memory() -> (Connection<Idle>, Peer, Transport) {
    let (connection, peer) = Memory::new(Idle::default()).connect();
    let transport = connection.transport().clone();
    (connection, peer, transport)
}

fn read_all(mut from: impl Read + Send + 'static) -> smol::Task<io::Result<Vec<u8>>> {
    smol::unblock(move || {
        let mut all = Vec::new();
        from.read_to_end(&mut all).map(|_| all)
    })
}

fn kind_of<R>(result: io::Result<R>) -> ErrorKind {
    result.err().expect("an error").kind()
}

/// The answer, which must be there.
fn now<F: Future + Unpin>(mut future: F) -> F::Output {
    match poll(&mut future) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("no answer"),
    }
}

async fn check_exact(connection: Connection<Idle>, far: impl Read + Send + 'static) -> io::Result<()> {
    let content = pattern(20_000_000);
    let transport = connection.transport().clone();
    transport.write("before");
    let sent = transport.sendfile(file(&content), ..);
    transport.write("behind");
    transport.close();
    let (received, protocol) = future::zip(read_all(far), connection).await;
    assert!(received? == [b"before", &content[..], b"behind"].concat());
    assert_eq!(sent.await?, 20_000_000);
    assert_eq!(protocol.lost, Some(None));
    Ok(())
}

#[test]
fn a_large_file_is_exact_over_tcp() {
    run(async {
        let (near, far) = tcp_pair();
        check_exact(connect_socket(Idle::default(), near).await?, far).await
    });
}

#[cfg(unix)]
#[test]
fn a_large_file_is_exact_over_a_unix_socket() {
    run(async {
        let (near, far) = std::os::unix::net::UnixStream::pair()?;
        check_exact(connect_socket(Idle::default(), near).await?, far).await
    });
}

#[test]
fn ranges_are_exact() {
    let content = pattern(1000);
    let content = &content[..];
    let after_nine = (Bound::Excluded(9), Bound::Unbounded);
    run(async {
        let (near, far) = tcp_pair();
        let connection = connect_socket(Idle::default(), near).await?;
        let transport = connection.transport().clone();
        let shared = Arc::new(file(content));
        let sent = [
            transport.sendfile(shared.clone(), 10..20),
            transport.sendfile(shared.clone(), 990..),
            transport.sendfile(shared.clone(), ..=6),
            transport.sendfile(shared.clone(), 997..5000),
            transport.sendfile(shared.clone(), 1000..),
            transport.sendfile(shared.clone(), 5000..6000),
            transport.sendfile(shared.clone(), 7..7),
            transport.sendfile(shared.clone(), after_nine),
            transport.sendfile(file(b""), ..),
        ];
        transport.close();
        let (received, _) = future::zip(read_all(far), connection).await;
        let expected = [&content[10..20], &content[990..], &content[..7], &content[997..], &content[10..]];
        assert_eq!(received?, expected.concat());
        let mut counts = Vec::new();
        for sent in sent {
            counts.push(sent.await?);
        }
        assert_eq!(counts, [10, 10, 7, 3, 0, 0, 0, 990, 0]);
        Ok(())
    });
}

#[test]
fn an_offset_beyond_all_files_is_an_error() {
    let (mut connection, peer, transport) = memory();
    let sent = transport.sendfile(file(b"content"), u64::MAX - 1..);
    transport.write("on");
    assert!(poll(&mut connection).is_pending());
    assert_eq!(kind_of(now(sent)), ErrorKind::InvalidInput);
    assert_eq!(peer.take_written(), b"on");
}

#[test]
fn the_copying_way_is_exact() {
    let content = pattern(300_000);
    let (mut connection, peer, transport) = memory();
    transport.write("before");
    let mut sent = transport.sendfile(file(&content), 1..);
    transport.write("behind");
    peer.set_room(0);
    let mut received = peer.take_written();
    assert!(poll(&mut connection).is_pending());
    for room in [1, 7, 1000, 70_000, 100_000, 65_536, 13, 0] {
        assert!(poll(&mut sent).is_pending());
        peer.set_room(room);
        assert!(poll(&mut connection).is_pending());
        received.extend(peer.take_written());
    }
    peer.set_room(usize::MAX);
    assert!(poll(&mut connection).is_pending());
    received.extend(peer.take_written());
    assert!(received == [b"before", &content[1..], b"behind"].concat());
    assert_eq!(now(sent).expect("sent"), 299_999);
}

#[test]
fn files_and_writes_keep_their_order() {
    let (mut connection, peer, transport) = memory();
    peer.set_room(3);
    let sent: Vec<_> = (0..50)
        .map(|i| {
            transport.write(format!("<{i}"));
            let sent = transport.sendfile(file(format!("={i}").as_bytes()), ..);
            transport.sendfile(file(b""), ..);
            transport.write(">");
            sent
        })
        .collect();
    assert!(poll(&mut connection).is_pending());
    peer.set_room(usize::MAX);
    assert!(poll(&mut connection).is_pending());
    let expected: String = (0..50).map(|i| format!("<{i}={i}>")).collect();
    assert_eq!(String::from_utf8(peer.take_written()).expect("text"), expected);
    for (i, sent) in sent.into_iter().enumerate() {
        assert_eq!(now(sent).expect("sent"), format!("={i}").len() as u64);
    }
}

#[test]
fn the_actor_alone_reads_the_file() {
    let (mut connection, peer, transport) = memory();
    let sent = transport.sendfile(file(b"file"), ..);
    assert_eq!(transport.write("behind"), Written::Queued);
    assert_eq!(transport.write_buffer_size(), 6);
    assert!(!transport.is_closing());
    assert_eq!(peer.take_written(), b"");
    assert!(poll(&mut connection).is_pending());
    assert_eq!(peer.take_written(), b"filebehind");
    assert_eq!(now(sent).expect("sent"), 4);
}

#[test]
fn a_callback_sends_a_file() {
    struct Serve(Option<File>);

    impl Protocol for Serve {
        fn data_received(&mut self, transport: &Transport, data: &[u8]) {
            transport.write(data);
            drop(transport.sendfile(self.0.take().expect("one request"), ..));
            transport.write("!");
            transport.close();
        }
    }

    let (mut connection, peer) = Memory::new(Serve(Some(file(b" world")))).connect();
    peer.feed("hello");
    assert!(poll(&mut connection).is_ready());
    assert_eq!(peer.take_written(), b"hello world!");
}

#[test]
fn a_reader_that_does_not_read_holds_no_memory() {
    run(async {
        let (near, mut far) = tcp_pair();
        let mut connection = connect_socket(Idle::default(), near).write_limits(WriteLimits::high(1000)).await?;
        let transport = connection.transport().clone();
        let sent = transport.sendfile(huge_file(), ..);
        connection.run_until(Timer::after(Duration::from_millis(100))).await;
        assert_eq!((transport.write_buffer_size(), transport.is_writing_paused()), (0, false));
        assert_eq!(transport.write([1; 1000]), Written::Queued);
        assert_eq!(transport.write([1; 1]), Written::Full);
        far.set_read_timeout(Some(PATIENCE))?;
        let reading = smol::unblock(move || far.read_exact(&mut vec![0; 10_000_000]).map(|()| far));
        let far = connection.run_until(reading).await?;
        assert_eq!((transport.write_buffer_size(), connection.protocol().pauses), (1001, 1));
        transport.abort();
        let protocol = connection.await;
        assert_eq!((protocol.lost, protocol.resumes), (Some(None), 0));
        assert_eq!(kind_of(sent.await), ErrorKind::BrokenPipe);
        drop(far);
        Ok(())
    });
}

#[test]
fn a_huge_file_starves_nobody() {
    run(async {
        let (near, mut far) = tcp_pair();
        let mut connection = connect_socket(Idle::default(), near).await?;
        connection.transport().sendfile(huge_file(), ..);
        let draining = std::thread::spawn(move || {
            let (mut piece, mut all) = ([0; 1 << 16], 0);
            // The connection is aborted with bytes on the way: an error is as good as an end.
            while let Ok(count @ 1..) = far.read(&mut piece) {
                all += count;
            }
            all
        });
        let turns = async {
            for _ in 0..100 {
                future::yield_now().await;
            }
        };
        connection.run_until(turns).await;
        drop(connection);
        let all = draining.join().expect("no panic");
        assert!(all < 1 << 30, "{all} bytes in a hundred turns");
        Ok(())
    });
}

#[test]
fn a_peer_that_goes_is_told() {
    run(async {
        let (near, mut far) = tcp_pair();
        let connection = connect_socket(Idle::default(), near).await?;
        let sent = connection.transport().sendfile(huge_file(), ..);
        let going = smol::unblock(move || far.read_exact(&mut [0; 100_000]));
        let (gone, protocol) = future::zip(going, connection).await;
        gone?;
        let kind = kind_of(sent.await);
        assert!(matches!(kind, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{kind}");
        assert_eq!(protocol.lost, Some(Some(kind)));
        Ok(())
    });
}

#[test]
fn a_broken_outlet_is_told_after_the_loss() {
    let (mut connection, peer, transport) = memory();
    peer.set_room(3);
    let mut sent = transport.sendfile(file(b"content"), ..);
    assert!(poll(&mut connection).is_pending());
    peer.break_writing(ErrorKind::ConnectionReset.into());
    peer.set_room(usize::MAX);
    assert!(poll(&mut sent).is_pending());
    assert_eq!(now(connection).lost, Some(Some(ErrorKind::ConnectionReset)));
    assert_eq!(kind_of(now(sent)), ErrorKind::ConnectionReset);
}

#[test]
fn a_drop_midway_is_told() {
    let (mut connection, peer, transport) = memory();
    peer.set_room(3);
    let sent = transport.sendfile(file(b"content"), ..);
    assert!(poll(&mut connection).is_pending());
    drop(connection);
    assert_eq!(kind_of(now(sent)), ErrorKind::BrokenPipe);
    assert_eq!(peer.take_written(), b"con");
}

#[test]
fn parts_do_not_wait_for_a_file() {
    let (connection, _peer, transport) = memory();
    let sent = transport.sendfile(file(b"content"), ..);
    transport.write("behind");
    assert_eq!(connection.into_parts().unsent, "behind");
    assert_eq!(kind_of(now(sent)), ErrorKind::BrokenPipe);
}

#[test]
fn a_close_that_takes_too_long_is_told() {
    let clock = Clock::new();
    let limit = Duration::from_secs(5);
    let (mut connection, peer) = Memory::new(Idle::default()).clock(&clock).close_timeout(limit).connect();
    peer.set_room(3);
    let sent = connection.transport().sendfile(file(b"content"), ..);
    connection.transport().close();
    assert!(poll(&mut connection).is_pending());
    clock.advance(limit);
    assert_eq!(now(connection).lost, Some(Some(ErrorKind::TimedOut)));
    assert_eq!(kind_of(now(sent)), ErrorKind::TimedOut);
}

#[test]
fn closing_transports_take_no_files() {
    let (mut connection, peer, transport) = memory();
    peer.set_room(0);
    transport.write("unsent");
    transport.close();
    assert_eq!(kind_of(now(transport.sendfile(file(b"x"), ..))), ErrorKind::BrokenPipe);
    peer.set_room(usize::MAX);
    assert!(poll(&mut connection).is_ready());
    assert_eq!(peer.take_written(), b"unsent");
    assert_eq!(kind_of(now(transport.sendfile(file(b"x"), ..))), ErrorKind::BrokenPipe);
}

#[test]
fn the_end_of_file_comes_behind_a_file() {
    let (mut connection, peer, transport) = memory();
    let sent = transport.sendfile(file(b"content"), ..);
    transport.write_eof().expect("a stream");
    assert_eq!(kind_of(now(transport.sendfile(file(b"x"), ..))), ErrorKind::InvalidInput);
    assert!(!peer.has_eof());
    assert!(poll(&mut connection).is_pending());
    assert_eq!(peer.take_written(), b"content");
    assert!(peer.has_eof());
    assert_eq!(now(sent).expect("sent"), 7);
}

#[test]
fn a_dropped_future_sends_all_the_same() {
    let (mut connection, peer, transport) = memory();
    drop(transport.sendfile(file(b"content"), ..));
    transport.close();
    assert!(poll(&mut connection).is_ready());
    assert_eq!(peer.take_written(), b"content");
}

#[test]
fn a_file_that_shrinks_is_shorter() {
    let (mut connection, peer, transport) = memory();
    let shared = Arc::new(file(&pattern(100)));
    let mut sent = transport.sendfile(shared.clone(), ..);
    peer.set_room(10);
    assert!(poll(&mut connection).is_pending());
    assert!(poll(&mut sent).is_pending());
    shared.set_len(5).expect("shrunk");
    peer.set_room(usize::MAX);
    assert!(poll(&mut connection).is_pending());
    assert_eq!(now(sent).expect("sent"), 10);
    transport.close();
    assert!(poll(&mut connection).is_ready());
}

/// The peer was promised more: what is written behind must not be taken for the rest of the file.
#[test]
fn an_exact_file_that_shrinks_ends_the_connection() {
    let (mut connection, peer, transport) = memory();
    let shared = Arc::new(file(b"content"));
    let sent = transport.sendfile_exact(shared.clone(), 0..7);
    peer.set_room(4);
    assert!(poll(&mut connection).is_pending());
    transport.write("behind");
    shared.set_len(5).expect("shrunk");
    peer.set_room(usize::MAX);
    assert!(matches!(poll(&mut connection), Poll::Ready(idle) if idle.lost == Some(Some(ErrorKind::UnexpectedEof))));
    assert_eq!(peer.take_written(), b"conte");
    let err = now(sent).expect_err("a lost connection");
    assert_eq!(err.to_string(), "the file ended 2 bytes before the range that was to be sent");
}

#[test]
fn an_exact_file_is_sent_as_any_other() {
    let (mut connection, peer, transport) = memory();
    let sent = [
        transport.sendfile_exact(file(b"content"), 0..7),
        transport.sendfile_exact(file(b"content"), 3..4),
        transport.sendfile_exact(file(b"content"), 7..7),
    ];
    transport.close();
    assert!(matches!(poll(&mut connection), Poll::Ready(idle) if idle.lost == Some(None)));
    assert_eq!(peer.take_written(), b"contentt");
    assert_eq!(sent.map(|sent| now(sent).expect("sent")), [7, 1, 0]);
}

#[cfg(unix)]
#[test]
fn an_exact_file_that_cannot_be_read_ends_the_connection() {
    run(async {
        let (near, far) = tcp_pair();
        let connection = connect_socket(Idle::default(), near).await?;
        let transport = connection.transport().clone();
        let sent = transport.sendfile_exact(File::open("/")?, 0..10);
        transport.write("behind");
        assert_eq!(connection.await.lost, Some(Some(ErrorKind::IsADirectory)));
        assert_eq!(kind_of(sent.await), ErrorKind::IsADirectory);
        assert_eq!(read_all(far).await?, b"");
        Ok(())
    });
}

#[test]
fn a_waiting_task_is_woken() {
    run(async {
        let (near, far) = tcp_pair();
        let (transport, running) = connect_socket(Idle::default(), near).await?.spawn();
        let reading = read_all(far);
        for len in [0, 1, 1_000_000] {
            assert_eq!(transport.sendfile(file(&pattern(len)), ..).await?, len as u64);
        }
        transport.close();
        running.await;
        assert_eq!(reading.await?.len(), 1_000_001);
        Ok(())
    });
}

/// What cannot be sent is told to the future alone; `expected` is what must have arrived besides.
#[cfg(unix)]
fn check_bad_file(bad: File, range: std::ops::RangeFrom<u64>, expected: usize) -> ErrorKind {
    run(async {
        let (near, far) = tcp_pair();
        let connection = connect_socket(Idle::default(), near).await?;
        let transport = connection.transport().clone();
        transport.write("before");
        let sent = transport.sendfile(bad, range);
        let good = transport.sendfile(file(b"good"), ..);
        transport.write("behind");
        transport.close();
        let (received, protocol) = future::zip(read_all(far), connection).await;
        let received = received?;
        assert_eq!(protocol.lost, Some(None));
        assert!(received.starts_with(b"before") && received.ends_with(b"goodbehind"));
        assert_eq!(received.len(), 16 + expected);
        assert_eq!(good.await?, 4);
        Ok(kind_of(sent.await))
    })
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_told() {
    assert_eq!(check_bad_file(File::open("/").expect("a directory"), 0.., 0), ErrorKind::IsADirectory);

    let dir = tempfile::tempdir().expect("a directory");
    let write_only = File::create(dir.path().join("file")).expect("a file");
    write_only.set_len(100).expect("room");
    check_bad_file(write_only, 0.., 0);

    let (socket, _far) = std::os::unix::net::UnixStream::pair().expect("a pair");
    check_bad_file(File::from(std::os::fd::OwnedFd::from(socket)), 0.., 0);
}

/// The addresses behind the program cannot be read.
#[cfg(target_os = "linux")]
#[test]
fn a_file_that_fails_midway_is_told() {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("Linux");
    let address = |text: &str| u64::from_str_radix(text, 16).expect("an address");
    let bounds = |line: &str| {
        let (start, rest) = line.split_once('-')?;
        Some((address(start), address(rest.split_once(' ')?.0)))
    };
    let maps: Vec<_> = maps.lines().filter_map(bounds).collect();
    let gap = maps.windows(2).find(|pair| pair[0].1 != pair[1].0).expect("a gap");
    check_bad_file(File::open("/proc/self/mem").expect("Linux"), gap[0].1 - 4096.., 4096);
}

#[cfg(target_os = "linux")]
#[test]
fn files_without_a_length_are_sent() {
    run(async {
        let (near, far) = tcp_pair();
        let connection = connect_socket(Idle::default(), near).await?;
        let transport = connection.transport().clone();
        let version = transport.sendfile(File::open("/proc/version")?, ..);
        let zeros = transport.sendfile(File::open("/dev/zero")?, ..100_000);
        transport.close();
        let (received, _) = future::zip(read_all(far), connection).await;
        let expected = [std::fs::read("/proc/version")?, vec![0; 100_000]].concat();
        assert!(received? == expected);
        assert_eq!((version.await? + zeros.await?) as usize, expected.len());
        Ok(())
    });
}

//! Unix stream sockets: paths and abstract names, stale files, clean-up, credentials.

use std::fs;
use std::future::Future;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use async_io::Timer;
use futures_lite::future;
use smol_transports::{
    ExtraInfo, Protocol, Server, Transport, UnixAddr, create_server, create_unix_connection, create_unix_server,
};
use socket2::Type;
use tempfile::TempDir;

use crate::common::{guard, make_stale};

#[derive(Default)]
struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        transport.write(data);
    }
}

/// Says something, finishes, and collects the answer.
#[derive(Default)]
struct Ask {
    question: &'static str,
    answer: Vec<u8>,
    info: ExtraInfo,
    exc: Option<io::Error>,
}

impl Protocol for Ask {
    fn connection_made(&mut self, transport: &Transport) {
        self.info = transport.extra_info().clone();
        transport.write(self.question);
        transport.write_eof().expect("a socket");
    }

    fn data_received(&mut self, _: &Transport, data: &[u8]) {
        self.answer.extend_from_slice(data);
    }

    fn connection_lost(&mut self, exc: Option<io::Error>) {
        self.exc = exc;
    }
}

fn run<R>(test: impl Future<Output = io::Result<R>>) -> R {
    guard(test).expect("the test's own calls")
}

fn place() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("sock");
    (dir, path)
}

async fn echo_server(path: impl Into<UnixAddr>) -> io::Result<Server<fn() -> Echo>> {
    create_unix_server((|| Echo) as fn() -> Echo, path).await
}

async fn ask(path: impl Into<UnixAddr>, question: &'static str) -> io::Result<Ask> {
    Ok(create_unix_connection(Ask { question, ..Ask::default() }, path).await?.await)
}

fn error_of<R>(result: io::Result<R>) -> io::Error {
    result.err().expect("an error")
}

#[test]
fn a_client_and_a_server_know_each_other() {
    let (_dir, path) = place();
    run(async {
        let mut server = echo_server(&path).await?;
        let (asked, served) = future::zip(ask(&path, "hello"), async {
            let connection = server.accept().await?;
            let info = connection.transport().extra_info().clone();
            connection.await;
            io::Result::Ok(info)
        })
        .await;
        let (asked, served) = (asked?, served?);
        assert_eq!(asked.answer, b"hello");
        assert!(asked.exc.is_none());
        assert_eq!(asked.info.peername().expect("known").as_unix(), Some(&UnixAddr::from(&path)));
        assert_eq!(served.sockname().expect("known").as_unix(), Some(&UnixAddr::from(&path)));
        assert!(served.peername().expect("known").as_unix().expect("Unix").is_unnamed());
        if cfg!(target_os = "linux") {
            let me = fs::metadata("/proc/self")?;
            for info in [asked.info, served] {
                let peer = *info.peer_credentials().expect("known");
                assert_eq!((peer.pid, peer.uid, peer.gid), (Some(std::process::id()), me.uid(), me.gid()));
            }
        }
        Ok(())
    });
}

#[test]
fn a_bound_client_has_a_name() {
    let (dir, path) = place();
    run(async {
        let mut server = echo_server(&path).await?;
        let longest = "x".repeat(108 - dir.path().as_os_str().len() - 1);
        let names = if cfg!(target_os = "linux") { vec!["client", &longest] } else { vec!["client"] };
        for name in names {
            let own = dir.path().join(name);
            let socket = rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::STREAM, None)?;
            rustix::net::bind(&socket, &rustix::net::SocketAddrUnix::new(&own)?)?;
            rustix::net::connect(&socket, &rustix::net::SocketAddrUnix::new(&path)?)?;
            drop(socket);
            let connection = server.accept().await?;
            let peer = connection.transport().extra_info().peername().cloned().expect("known");
            assert_eq!(peer.as_unix().expect("Unix").as_pathname(), Some(&*own));
            connection.await;
        }
        Ok(())
    });
}

/// rustix cannot read such an address; the sender counts as unnamed then.
#[cfg(target_os = "linux")]
#[test]
fn a_datagram_from_the_longest_path_harms_nothing() {
    use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketType};

    struct Senders(Vec<smol_transports::Addr>);

    impl smol_transports::DatagramProtocol for Senders {
        fn datagram_received(
            &mut self,
            transport: &smol_transports::DatagramTransport,
            _data: &[u8],
            addr: &smol_transports::Addr,
        ) {
            self.0.push(addr.clone());
            transport.close();
        }
    }

    let (dir, path) = place();
    run(async {
        let endpoint = smol_transports::create_datagram_endpoint(Senders(Vec::new())).local_path(&*path).await?;
        let longest = dir.path().join("x".repeat(108 - dir.path().as_os_str().len() - 1));
        let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::DGRAM, None)?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(&longest)?)?;
        rustix::net::sendto(&socket, b"hello", SendFlags::empty(), &SocketAddrUnix::new(&path)?)?;
        let senders = endpoint.await.0;
        assert!(senders[0].as_unix().expect("Unix").is_unnamed());
        Ok(())
    });
}

#[test]
fn tcp_has_no_credentials() {
    run(async {
        let mut server = create_server(|| Echo, "127.0.0.1:0").await?;
        let _client = std::net::TcpStream::connect(server.sockets()[0].as_inet().expect("TCP"))?;
        assert_eq!(server.accept().await?.transport().extra_info().peer_credentials(), None);
        Ok(())
    });
}

#[test]
fn the_file_goes_with_the_server() {
    let (_dir, path) = place();
    run(async {
        let server = echo_server(&path).await?;
        assert!(fs::symlink_metadata(&path)?.file_type().is_socket());
        server.handle().close();
        assert!(!path.exists(), "closed");
        server.handle().close();

        drop(echo_server(&path).await?);
        assert!(!path.exists(), "dropped");

        drop(create_unix_server(|| Echo, &path).start_serving(false).await?);
        assert!(!path.exists(), "never started");

        let (handle, serving) = echo_server(&path).await?.spawn();
        assert_eq!(ask(&path, "spawned").await?.answer, b"spawned");
        handle.close();
        assert!(!path.exists(), "closed from elsewhere");
        serving.await
    });
}

#[test]
fn the_file_stays_when_told_so() {
    let (_dir, path) = place();
    run(async {
        drop(create_unix_server(|| Echo, &path).cleanup_socket(false).await?);
        assert!(path.exists());
        drop(echo_server(&path).await?);
        assert!(!path.exists());
        Ok(())
    });
}

#[test]
fn a_stale_file_is_taken_over() {
    let (_dir, path) = place();
    run(async {
        make_stale(&path, Type::STREAM);
        let (_handle, serving) = echo_server(&path).await?.spawn();
        assert_eq!(ask(&path, "stream").await?.answer, b"stream");
        drop(serving);

        make_stale(&path, Type::DGRAM);
        let (_handle, _serving) = echo_server(&path).await?.spawn();
        assert_eq!(ask(&path, "datagram").await?.answer, b"datagram");
        Ok(())
    });
}

#[test]
fn a_live_server_is_left_alone() {
    let (_dir, path) = place();
    run(async {
        let live = UnixListener::bind(&path)?;
        live.set_nonblocking(true)?;
        let err = error_of(echo_server(&path).await);
        assert_eq!(err.kind(), ErrorKind::AddrInUse);
        assert!(err.to_string().contains(path.to_str().expect("text")), "{err}");
        assert_eq!(error_of(live.accept()).kind(), ErrorKind::WouldBlock, "it was bothered");
        UnixStream::connect(&path)?;
        live.accept()?;
        Ok(())
    });
}

#[test]
fn live_sockets_of_every_kind_are_left_alone() {
    let (_dir, path) = place();
    run(async {
        let bound = create_unix_server(|| Echo, &path).start_serving(false).await?;
        assert_eq!(error_of(echo_server(&path).await).kind(), ErrorKind::AddrInUse);
        bound.start_serving()?;
        UnixStream::connect(&path)?;
        drop(bound);

        let datagrams = UnixDatagram::bind(&path)?;
        assert_eq!(error_of(echo_server(&path).await).kind(), ErrorKind::AddrInUse);
        let client = UnixDatagram::unbound()?;
        client.send_to(b"still here", &path)?;
        assert_eq!(datagrams.recv(&mut [0; 16])?, 10);
        Ok(())
    });
}

#[test]
fn other_files_are_left_alone() {
    let (dir, path) = place();
    run(async {
        fs::write(&path, "precious")?;
        let err = error_of(echo_server(&path).await);
        assert_eq!(err.kind(), ErrorKind::AddrInUse);
        assert!(err.to_string().contains("not a socket"), "{err}");
        assert_eq!(fs::read(&path)?, b"precious");
        assert_eq!(error_of(echo_server(dir.path()).await).kind(), ErrorKind::AddrInUse);

        let (stale, link) = (dir.path().join("stale"), dir.path().join("link"));
        make_stale(&stale, Type::STREAM);
        std::os::unix::fs::symlink(&stale, &link)?;
        assert_eq!(error_of(echo_server(&link).await).kind(), ErrorKind::AddrInUse);
        assert!(stale.exists() && fs::symlink_metadata(&link)?.is_symlink());

        let nowhere = dir.path().join("nowhere").join("sock");
        let err = error_of(echo_server(&nowhere).await);
        assert_eq!(err.kind(), ErrorKind::NotFound);
        assert!(err.to_string().contains("nowhere"), "{err}");
        Ok(())
    });
}

#[test]
fn a_file_of_somebody_else_is_not_removed() {
    let (_dir, path) = place();
    run(async {
        let server = echo_server(&path).await?;
        fs::remove_file(&path)?;
        let other = UnixListener::bind(&path)?;
        drop(server);
        UnixStream::connect(&path)?;
        other.accept()?;
        drop(other);

        let server = echo_server(&path).await?;
        fs::remove_file(&path)?;
        fs::write(&path, "precious")?;
        drop(server);
        assert_eq!(fs::read(&path)?, b"precious");

        fs::remove_file(&path)?;
        let server = echo_server(&path).await?;
        fs::remove_file(&path)?;
        drop(server);
        Ok(())
    });
}

#[test]
fn a_listener_that_was_handed_over_keeps_its_file() {
    let (_dir, path) = place();
    run(async {
        let listener = UnixListener::bind(&path)?;
        let (handle, serving) = create_server(|| Echo, listener).await?.spawn();
        assert_eq!(ask(&path, "hello").await?.answer, b"hello");
        handle.close();
        serving.await?;
        assert!(path.exists());
        Ok(())
    });
}

#[test]
fn one_of_many_takes_a_stale_file_over() {
    const RIVALS: usize = 6;
    let (_dir, path) = place();
    for _ in 0..40 {
        make_stale(&path, Type::STREAM);
        let start = Arc::new(Barrier::new(RIVALS));
        let rivals: Vec<_> = (0..RIVALS)
            .map(|_| {
                let (start, path) = (start.clone(), path.clone());
                std::thread::spawn(move || {
                    start.wait();
                    smol::block_on(async { create_unix_server(|| Echo, path).await })
                })
            })
            .collect();
        let servers: Vec<_> = rivals.into_iter().map(|rival| rival.join().expect("no panic")).collect();
        assert_eq!(servers.iter().filter(|server| server.is_ok()).count(), 1);
        for err in servers.iter().filter_map(|server| server.as_ref().err()) {
            assert_eq!(err.kind(), ErrorKind::AddrInUse, "{err}");
        }
        UnixStream::connect(&path).expect("the winner listens");
        drop(servers);
        assert!(!path.exists());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn abstract_names_are_no_files() {
    run(async {
        let name = format!("smol-transports \u{fe} {}", std::process::id());
        let addr = UnixAddr::abstract_name(&name);
        assert_eq!(addr, UnixAddr::from(format!("\0{name}")));
        let server = echo_server(addr.clone()).await?;
        assert_eq!(server.sockets()[0].as_unix(), Some(&addr));
        assert_eq!(error_of(echo_server(addr.clone()).await).kind(), ErrorKind::AddrInUse);
        let (_handle, serving) = server.spawn();
        let asked = ask(addr.clone(), "hello").await?;
        assert_eq!(asked.answer, b"hello");
        assert_eq!(asked.info.peername().expect("known").as_unix(), Some(&addr));
        drop(serving);
        // A child that another test is starting listens too, until it executes its program.
        let refused = loop {
            if let Err(err) = ask(addr.clone(), "").await {
                break err;
            }
        };
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        Ok(())
    });
}

#[test]
fn bad_paths_are_told() {
    run(async {
        let long = format!("/tmp/{}", "x".repeat(200));
        for path in ["", "a\0b", &long] {
            let err = error_of(ask(path, "").await);
            assert_eq!(err.kind(), ErrorKind::InvalidInput, "{path:?}: {err}");
            let err = error_of(echo_server(path).await);
            assert_eq!(err.kind(), ErrorKind::InvalidInput, "{path:?}: {err}");
        }
        let err = error_of(ask(&long, "").await).to_string();
        assert!(err.contains("too long (205 bytes)"), "{err}");
        if cfg!(target_os = "linux") {
            let name = UnixAddr::abstract_name([7; 108]);
            assert_eq!(error_of(ask(name, "").await).kind(), ErrorKind::InvalidInput);
        }
        Ok(())
    });
}

#[test]
fn a_server_that_is_not_there_is_told() {
    let (_dir, path) = place();
    run(async {
        assert_eq!(error_of(ask(&path, "").await).kind(), ErrorKind::NotFound);
        make_stale(&path, Type::STREAM);
        assert_eq!(error_of(ask(&path, "").await).kind(), ErrorKind::ConnectionRefused);
        Ok(())
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_backlog_is_waited_for() {
    let (_dir, path) = place();
    run(async {
        let server = create_unix_server(|| Echo, &path).backlog(0).await?;
        let _first = UnixStream::connect(&path)?;
        let late = create_unix_connection(Ask::default(), &path).connect_timeout(Duration::from_millis(60)).await;
        assert_eq!(error_of(late).kind(), ErrorKind::TimedOut);
        let serve = async {
            Timer::after(Duration::from_millis(60)).await;
            server.serve_forever().await?;
            future::pending().await
        };
        assert_eq!(future::or(ask(&path, "patience"), serve).await?.answer, b"patience");
        Ok(())
    });
}

#[test]
fn a_large_echo_is_exact() {
    let (_dir, path) = place();
    run(async {
        let (_handle, _serving) = echo_server(&path).await?.spawn();
        let sent: Vec<u8> = (0..5_000_000u32).map(|i| (i % 251) as u8).collect();
        let mut writer = UnixStream::connect(&path)?;
        let mut reader = writer.try_clone()?;
        let copy = sent.clone();
        let writing = std::thread::spawn(move || {
            writer.write_all(&copy)?;
            writer.shutdown(std::net::Shutdown::Write)
        });
        let received = smol::unblock(move || {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).map(|_| all)
        })
        .await?;
        writing.join().expect("no panic")?;
        assert!(received == sent, "{} bytes of {}", received.len(), sent.len());
        Ok(())
    });
}

#[test]
fn python_is_served() {
    const CLIENT: &str = "
import asyncio, sys
async def main():
    reader, writer = await asyncio.open_unix_connection(sys.argv[1])
    writer.write(b'from python' * 10000)
    writer.write_eof()
    print(len(await reader.read()))
asyncio.run(main())
";
    let (_dir, path) = place();
    run(async {
        let (_handle, _serving) = echo_server(&path).await?.spawn();
        let client = path.clone();
        let output =
            smol::unblock(move || std::process::Command::new("python3").arg("-c").arg(CLIENT).arg(client).output());
        match output.await {
            Err(err) if err.kind() == ErrorKind::NotFound => eprintln!("no python3 here"),
            output => assert_eq!(String::from_utf8_lossy(&output?.stdout).trim(), "110000"),
        }
        Ok(())
    });
}

//! The SOCKS proxy: curl, and both ends of a connection that do what they like.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use crate::program::{LATE, Program, ask, check_arguments, client, output, read_all, run};

fn start() -> Program {
    Program::start("socks_proxy", &["127.0.0.1:0"])
}

/// A request for an address, as a client sends it after the greeting.
fn request(target: SocketAddr) -> Vec<u8> {
    let SocketAddr::V4(target) = target else { panic!("an IPv6 address") };
    [&[5, 1, 0, 1][..], &target.ip().octets(), &target.port().to_be_bytes()].concat()
}

/// Connects through the proxy: the near and the far end.
fn through(proxy: &Program) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let mut near = proxy.connect();
    let target = listener.local_addr().expect("bound");
    near.write_all(&[&[5, 1, 0][..], &request(target)].concat()).expect("sent");
    let mut replies = [0; 12];
    near.read_exact(&mut replies).expect("replies");
    assert_eq!(replies[..6], [5, 0, 5, 0, 0, 1]);
    let far = listener.accept().expect("the proxy").0;
    far.set_read_timeout(Some(LATE)).expect("a socket");
    (near, far)
}

#[test]
fn arguments() {
    check_arguments("socks_proxy");
    let (status, _, stderr) = run("socks_proxy", &["127.0.0.1"]);
    assert!(status == Some(1) && stderr.starts_with("error: "), "{status:?} {stderr}");
}

#[test]
fn curl_gets_files_by_name_and_by_address() {
    let proxy = start();
    let root = tempfile::tempdir().expect("a directory");
    let content: Vec<u8> = (0..5_000_000).map(|n| (n % 251) as u8).collect();
    std::fs::write(root.path().join("file"), &content).expect("room");
    let site = Program::start("http_files", &[root.path().to_str().expect("a name"), "127.0.0.1:0"]);
    let address = proxy.address().to_string();
    for (option, host) in [("--socks5", "127.0.0.1"), ("--socks5-hostname", "localhost"), ("--socks5", "localhost")] {
        let url = format!("http://{host}:{}/file", site.port());
        let args = ["--silent", "--show-error", "--ipv4", "--noproxy", "", option, &address, &url];
        let Some(mut curl) = client("curl", &args) else { return };
        assert!(output(&mut curl) == content, "{option} {host}");
    }
}

#[test]
fn curl_is_told_why_not() {
    let proxy = start();
    let address = proxy.address().to_string();
    // A socket that is bound and does not listen keeps the port free of servers.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().expect("an address").into()).expect("bound");
    let closed = socket.local_addr().expect("bound").as_socket().expect("an address");
    for (url, code) in [(format!("http://{closed}/"), "(5)"), ("http://name.invalid/".to_owned(), "(4)")] {
        let args = ["--silent", "--show-error", "--noproxy", "", "--socks5-hostname", &address, &url];
        let Some(mut curl) = client("curl", &args) else { return };
        let failed = curl.output().expect("curl");
        let text = String::from_utf8_lossy(&failed.stderr);
        assert!(failed.status.code() == Some(97) && text.contains(code), "{}: {text}", failed.status);
    }
}

#[test]
fn requests_come_in_pieces() {
    let proxy = start();
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let mut near = proxy.connect();
    let early = [&[5, 2, 0, 2][..], &request(listener.local_addr().expect("bound")), b"early"].concat();
    for byte in early {
        near.write_all(&[byte]).expect("sent");
    }
    let mut far = listener.accept().expect("the proxy").0;
    let mut received = [0; 5];
    far.read_exact(&mut received).expect("bytes");
    assert_eq!(&received, b"early");
}

#[test]
fn nonsense_is_refused() {
    let proxy = start();
    assert_eq!(ask(&proxy, "GET / HTTP/1.1\r\n\r\n"), b"");
    assert_eq!(ask(&proxy, [5, 1, 2]), [5, 0xff]);
    assert_eq!(ask(&proxy, [5, 1]), b"");
    let refusal = |request: &[u8]| ask(&proxy, [&[5, 1, 0], request].concat())[3];
    assert_eq!(refusal(&[5, 2, 0, 1, 127, 0, 0, 1, 0, 80]), 7);
    assert_eq!(refusal(&[5, 1, 0, 9, 127, 0, 0, 1, 0, 80]), 8);
    assert_eq!(refusal(&[5, 1, 0, 3, 2, 0xff, 0xff, 0, 80]), 4);
    assert_eq!(refusal(&[4, 1, 0, 80]), 1);
}

#[test]
fn the_end_of_one_direction_is_passed_on() {
    let proxy = start();
    let (mut near, mut far) = through(&proxy);
    near.write_all(b"question").expect("sent");
    near.shutdown(Shutdown::Write).expect("finished");
    assert_eq!(read_all(&far), b"question");
    far.write_all(b"answer").expect("sent");
    drop(far);
    assert_eq!(read_all(near), b"answer");
}

#[test]
fn a_broken_connection_is_passed_on() {
    let proxy = start();
    for turn in [false, true] {
        let (mut broken, mut other) = through(&proxy);
        if turn {
            std::mem::swap(&mut broken, &mut other);
        }
        broken.write_all(b"part").expect("sent");
        let mut part = [0; 4];
        other.read_exact(&mut part).expect("bytes");
        SockRef::from(&broken).set_linger(Some(Duration::ZERO)).expect("a socket");
        drop(broken);
        assert_eq!(other.read(&mut part).expect_err("a reset").kind(), ErrorKind::ConnectionReset);
    }
}

/// Who does not read stops who writes, and nothing is lost.
#[test]
fn a_slow_reader_stops_the_writer() {
    const ALL: usize = 300_000_000;
    let proxy = start();
    let (near, mut far) = through(&proxy);
    far.set_write_timeout(Some(Duration::from_secs(1))).expect("a socket");
    let mut sent = 0;
    let block: Vec<u8> = (0..64 * 251).map(|n| (n % 251) as u8).collect();
    // What stops for a second has stopped, and if it was the machine that was slow, the test has seen less.
    let stopped = loop {
        match far.write(&block[sent % 251..]) {
            Ok(count) => sent += count,
            Err(err) => break err.kind(),
        }
        assert!(sent < ALL, "the proxy keeps {sent} bytes");
    };
    assert!(matches!(stopped, ErrorKind::WouldBlock | ErrorKind::TimedOut), "{stopped}");
    #[cfg(target_os = "linux")]
    assert!(proxy.peak_memory() < 100_000_000, "{} bytes", proxy.peak_memory());
    let reading = thread::spawn(move || read_all(near));
    far.set_write_timeout(None).expect("a socket");
    drop(far);
    let received = reading.join().expect("no panic");
    assert_eq!(received.len(), sent);
    assert!(received.iter().enumerate().all(|(n, byte)| *byte == (n % 251) as u8));
}

#[test]
fn an_interrupt_ends_it() {
    let proxy = start();
    let (near, _far) = through(&proxy);
    proxy.interrupt();
    assert_eq!(proxy.wait().code(), Some(0));
    drop(near);
}

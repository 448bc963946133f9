//! Runs the examples against each other and compares what they print.

#[cfg(unix)]
#[path = "examples/fanout.rs"]
mod fanout;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
#[cfg(unix)]
use std::process::Command;
use std::process::{Child, ChildStdout, Stdio};

#[path = "book/example.rs"]
mod example;

use example::{command, output};

#[test]
fn echo_server_and_client() {
    let mut server = Server::start();
    assert_eq!(
        output("tcp_echo_client", &[&server.address]),
        "Data sent: \"Hello World!\"\nData received: \"Hello World!\"\nThe server closed the connection\n"
    );
    let connection = server.line();
    assert!(connection.starts_with("Connection from 127.0.0.1:"), "{connection}");
    assert_eq!(server.line(), "Data received: \"Hello World!\"");
    assert_eq!(server.line(), "Send: \"Hello World!\"");
    assert_eq!(server.line(), "Close the client socket");
}

#[test]
fn echo_client_without_a_server() {
    // A socket that is bound and does not listen keeps the port free of servers.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap().to_string();
    let run = command("tcp_echo_client").arg(address).output().unwrap();
    assert_eq!(run.status.code(), Some(1));
    assert_eq!(run.stdout, b"");
}

#[test]
fn udp_echo_server_and_client() {
    let mut server = Server::run("udp_echo_server");
    assert_eq!(server.line(), "Starting UDP server");
    let line = server.line();
    let address = line.strip_prefix("Serving on ").expect(&line);
    assert_eq!(
        output("udp_echo_client", &[address]),
        "Send: Hello World!\nReceived: Hello World!\nClose the socket\nConnection closed\n"
    );
    let received = server.line();
    let client = received.strip_prefix("Received \"Hello World!\" from ").expect(&received).to_owned();
    assert_eq!(server.line(), format!("Send \"Hello World!\" to {client}"));
}

#[cfg(unix)]
#[test]
fn subprocess_date() {
    let text = output("subprocess_date", &[]);
    let date = text.strip_prefix("Current date: ").expect(&text);
    let year = output_of(Command::new("date").arg("+%Y"));
    assert!(date.contains(year.trim()), "{date}");
    assert_eq!(text.lines().count(), 1);
}

#[cfg(unix)]
#[test]
fn existing_socket() {
    assert_eq!(output("existing_socket", &[]), "Received: \"abc\"\nThe socket is closed\n");
}

#[test]
fn actor_ping() {
    let rounds: String = (1..=5).map(|round| format!("ping {round}\npong {round}\n")).collect();
    let expected = format!("(connection made)\n{rounds}both ends are closed\n");
    assert_eq!(output("actor_ping", &[]), expected);
}

#[test]
fn tour() {
    let text = output("tour", &[]);
    let scenes = if cfg!(unix) { 13 } else { 8 } + if cfg!(feature = "tls") { 2 } else { 0 };
    assert!(text.ends_with(&format!("\n{scenes} of {scenes} scenes as expected\n")), "{text}");
}

#[cfg(feature = "tls")]
mod tls {
    use super::*;

    macro_rules! file {
        ($name:literal) => {
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance/tls/", $name)
        };
    }

    fn serve(name: &str) -> Server {
        let mut server = Server::run_with(name, &[file!("cert.pem"), file!("key.pem"), "127.0.0.1:0"]);
        let line = server.line();
        server.address = line.strip_prefix("Serving on ").expect(&line).to_owned();
        server
    }

    /// Asks by `openssl s_client` for one line; says so if that is missing.
    fn ask(server: &Server, args: &[&str], line: &str) -> Option<String> {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-quiet", "-no_ign_eof", "-verify_return_error", "-servername", "localhost"]);
        command.args(["-CAfile", file!("ca.pem"), "-connect", &server.address]).args(args);
        let Ok(mut client) = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn() else {
            println!("skipped: openssl cannot be run");
            return None;
        };
        std::io::Write::write_all(client.stdin.as_mut().unwrap(), line.as_bytes()).unwrap();
        let lines = BufReader::new(client.stdout.take().unwrap()).lines();
        let answer = lines.map_while(Result::ok).find(|line| !line.starts_with("250 8BITMIME"));
        drop(client.stdin.take());
        assert!(client.wait().unwrap().success());
        answer
    }

    #[test]
    fn tls_echo() {
        let mut server = serve("tls_echo");
        let Some(answer) = ask(&server, &["-tls1_3"], "hello\n") else { return };
        assert_eq!(answer, "hello");
        let connection = server.line();
        assert!(connection.ends_with("asked for localhost"), "{connection}");
        assert_eq!(server.line(), "The client has finished");
        assert_eq!(server.line(), "Connection closed");
    }

    #[test]
    fn starttls() {
        let mut server = serve("starttls");
        let Some(answer) = ask(&server, &["-starttls", "smtp"], "QUIT\r\n") else { return };
        assert!(answer.starts_with("250") || answer == "221 goodbye", "{answer}");
        assert!(server.line().starts_with("C: EHLO"));
        assert_eq!(server.line(), "C: STARTTLS");
        assert_eq!(server.line(), "C: QUIT  (over TLS)");
        assert_eq!(server.line(), "Connection closed");
    }
}

/// A running echo server; ended when it is dropped.
struct Server {
    child: Child,
    stdout: BufReader<ChildStdout>,
    address: String,
}

impl Server {
    fn start() -> Self {
        let mut server = Self::run("tcp_echo_server");
        let line = server.line();
        server.address = line.strip_prefix("Serving on ").expect(&line).to_owned();
        server
    }

    fn run(name: &str) -> Self {
        Self::run_with(name, &["127.0.0.1:0"])
    }

    fn run_with(name: &str, args: &[&str]) -> Self {
        let mut child = command(name).args(args).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdout, address: String::new() }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(unix)]
fn output_of(command: &mut Command) -> String {
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}

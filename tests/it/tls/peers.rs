//! Programs of other makers as peers, in both directions.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use smol_transports::{OnEof, Protocol, Tls, Transport, create_connection, create_server};

use super::common::{BOTH, CERTIFICATES, client, serve, serve_echo, server};
use crate::common::{ANY, blocking, guard};
use crate::peers::{Child, start};
use crate::recorder::{Call, Log, Recorder};

/// `openssl s_client`, which says what it gets and nothing else.
fn s_client(addr: &str, more: &[&str]) -> Option<Child> {
    start(s_client_command(addr, more).stderr(Stdio::null()))
}

fn s_client_command(addr: &str, more: &[&str]) -> Command {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-quiet", "-no_ign_eof", "-verify_return_error", "-connect", addr]);
    command.arg("-CAfile").arg(&CERTIFICATES.authority_file).args(["-servername", "localhost"]).args(more);
    command
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Sends a line and reads one.
fn ask(child: &mut Child, line: &str) -> String {
    let (mut stdin, stdout) = child.pipes();
    stdin.write_all(line.as_bytes()).unwrap();
    let mut answer = String::new();
    BufReader::new(stdout).read_line(&mut answer).unwrap();
    answer
}

#[test]
fn openssl_is_a_client_of_both_versions() {
    guard(async {
        for (version, flag) in BOTH.iter().zip(["-tls1_2", "-tls1_3"]) {
            let served = serve_echo(Tls::server(CERTIFICATES.server_config(&[version]))).await;
            let Some(mut client) = s_client(&served.addr.to_string(), &[flag]) else { return };
            let (answer, mut client) = blocking(move || (ask(&mut client, "hello\n"), client)).await;
            assert_eq!(answer, "hello\n");
            assert!(client.succeeds().await);
            served.log.until_call(Call::Lost(None)).await;
            assert_eq!(served.log.calls(), [Call::Made, Call::Data(b"hello\n".to_vec()), Call::Eof, Call::Lost(None)]);
        }
    });
}

/// Makes `s_client` do what belongs to a letter, then sends another line; what comes back of it.
fn ask_after(client: &mut Child, letter: &str, says: &str) -> String {
    let (mut stdin, stdout) = client.pipes();
    let mut answers = BufReader::new(stdout).lines();
    stdin.write_all(b"hello\n").unwrap();
    assert_eq!(answers.next().unwrap().unwrap(), "hello");
    stdin.write_all(letter.as_bytes()).unwrap();
    let mut words = BufReader::new(client.stderr()).lines();
    assert!(words.any(|line| line.unwrap() == says));
    // One that was refused may be gone.
    let _ = stdin.write_all(b"again\n");
    answers.next().map_or_else(String::new, Result::unwrap)
}

#[test]
fn openssl_may_change_its_keys_and_not_renegotiate() {
    guard(async {
        let asks = [("-tls1_3", "K\n", "KEYUPDATE", "again"), ("-tls1_2", "R\n", "RENEGOTIATING", "")];
        for (version, letter, says, expected) in asks {
            let served = serve_echo(server()).await;
            let mut command = s_client_command(&served.addr.to_string(), &[version]);
            let Some(mut client) = start(command.stderr(Stdio::piped())) else { return };
            assert_eq!(blocking(move || ask_after(&mut client, letter, says)).await, expected);
            served.log.until(|log| log.calls().iter().any(|call| matches!(call, Call::Lost(_)))).await;
            assert_eq!(served.log.count(&Call::Made), 1);
        }
    });
}

#[test]
fn openssl_shows_a_certificate_or_is_refused() {
    guard(async {
        let (seen, certificates) = async_channel::unbounded();
        let served = serve(Tls::server(CERTIFICATES.strict_server_config()), move |log| {
            let seen = seen.clone();
            Recorder::echo(log).on_made(move |transport| {
                seen.try_send(transport.extra_info().tls().unwrap().peer_certificates().len()).unwrap();
            })
        });
        let served = served.await;
        let addr = served.addr.to_string();
        let identity = &CERTIFICATES.client;
        let shown = ["-cert", text(&identity.certificate_file), "-key", text(&identity.key_file)];
        let Some(mut client) = s_client(&addr, &shown) else { return };
        let (answer, client) = blocking(move || (ask(&mut client, "hello\n"), client)).await;
        assert_eq!(answer, "hello\n");
        assert!(certificates.recv().await.unwrap() > 0);
        drop(client);

        let Some(mut client) = s_client(&addr, &[]) else { return };
        let (answer, _client) = blocking(move || (ask(&mut client, "hello\n"), client)).await;
        assert_eq!(answer, "");
        let refused = served.errors.recv().await.unwrap();
        assert!(refused.to_string().contains("no certificates"), "{refused}");
        assert!(certificates.is_empty());
    });
}

/// `openssl s_server` that sends every line back in reverse; where it listens.
fn s_server(more: &[&str]) -> Option<(Child, String)> {
    let identity = &CERTIFICATES.server;
    let mut command = Command::new("openssl");
    command.args(["s_server", "-rev", "-accept", "127.0.0.1:0"]).args(more);
    command.arg("-cert").arg(&identity.certificate_file).arg("-key").arg(&identity.key_file).stderr(Stdio::null());
    let mut child = start(&mut command)?;
    let mut lines = BufReader::new(child.pipes().1).lines();
    let addr = lines.find_map(|line| line.ok()?.strip_prefix("ACCEPT ").map(str::to_owned));
    // What it says later must not end it.
    std::thread::spawn(move || lines.for_each(drop));
    Some((child, addr.expect("it says where it listens")))
}

/// Asks `s_server` for one line.
async fn reversed(addr: &str, tls: Tls) -> (Vec<u8>, Log) {
    let log = Log::default();
    let protocol =
        Recorder::new(&log).on_made(|transport| transport.write("hello\n")).on_data(|transport, _| transport.close());
    create_connection(protocol, addr).tls(tls).await.unwrap().await;
    (log.data(), log)
}

#[test]
fn openssl_is_a_server_of_both_versions() {
    guard(async {
        for (flag, version) in ["-tls1_2", "-tls1_3"].iter().zip(BOTH) {
            let Some((_child, addr)) = blocking(move || s_server(&[flag])).await else { return };
            let (answer, log) = reversed(&addr, client()).await;
            assert_eq!(answer, b"olleh\n", "{version:?}");
            assert_eq!(log.end(), None);
        }
    });
}

#[test]
fn openssl_wants_a_certificate() {
    guard(async {
        let authority = text(&CERTIFICATES.authority_file);
        let started = blocking(move || s_server(&["-Verify", "1", "-verify_return_error", "-CAfile", authority])).await;
        let Some((_child, addr)) = started else { return };
        let known = Tls::client(CERTIFICATES.known_client_config(), "localhost");
        assert_eq!(reversed(&addr, known).await.0, b"olleh\n");
        // With TLS 1.3 the refusal comes after our side of the handshake.
        let (answer, log) = reversed(&addr, client()).await;
        assert_eq!(answer, b"");
        assert!(log.end().is_some(), "{:?}", log.calls());
    });
}

/// Answers one request, with a body that is long enough to fill every buffer.
struct Http {
    body: usize,
}

impl Protocol for Http {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        if data.ends_with(b"\r\n\r\n") {
            transport.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", self.body));
            transport.write(vec![b'x'; self.body]);
            transport.close();
        }
    }
}

#[test]
fn curl_gets_a_page() {
    const BODY: usize = 3_000_000;
    guard(async {
        let server = create_server(|| Http { body: BODY }, ANY).tls(server()).await.unwrap();
        let url = format!("https://localhost:{}/", server.local_addr().unwrap().port());
        let (handle, serving) = server.spawn();
        for version in [["--tls-max", "1.2"], ["--tlsv1.3", "--ipv4"]] {
            let mut command = Command::new("curl");
            command.args(["--silent", "--show-error", "--ipv4", "--noproxy", "*", "--cacert"]);
            command.arg(&CERTIFICATES.authority_file).args(version).arg(&url);
            let Some(mut child) = start(&mut command) else { return };
            let page = blocking(move || {
                let mut page = Vec::new();
                child.pipes().1.read_to_end(&mut page).unwrap();
                page
            });
            assert_eq!(page.await.len(), BODY);
        }
        handle.close();
        serving.await.unwrap();
    });
}

/// Sends much to an echo server, reads as much, and ends in good order; as client or as server. By one thread: a session
/// of OpenSSL that two use at once may lose one of them.
const PYTHON: &str = r#"
import select, socket, ssl, sys
mode, ca, cert, key = sys.argv[1:5]
size = 5_000_000
data = bytes(i * 31 & 255 for i in range(256)) * (size // 256)
def exchange(s):
    s.setblocking(False)
    sent, got = 0, bytearray()
    while len(got) < len(data):
        before = sent, len(got)
        try:
            sent += s.send(data[sent:sent + 65536]) if sent < len(data) else 0
        except ssl.SSLWantWriteError:
            pass
        try:
            chunk = s.recv(65536)
            assert chunk, len(got)
            got += chunk
        except ssl.SSLWantReadError:
            pass
        if before == (sent, len(got)):
            select.select([s], [s] if sent < len(data) else [], [])
    s.setblocking(True)
    assert got == data
    s.unwrap()
if mode == "client":
    context = ssl.create_default_context(cafile=ca)
    raw = socket.create_connection(("127.0.0.1", int(sys.argv[5])))
    exchange(context.wrap_socket(raw, server_hostname="localhost", suppress_ragged_eofs=False))
else:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    exchange(context.wrap_socket(listener.accept()[0], server_side=True, suppress_ragged_eofs=False))
"#;

fn python(mode: &str, more: &[&str]) -> Option<Child> {
    let certificates = &*CERTIFICATES;
    let mut command = Command::new("python3");
    command.args(["-c", PYTHON, mode]).arg(&certificates.authority_file);
    command.arg(&certificates.server.certificate_file).arg(&certificates.server.key_file).args(more);
    start(&mut command)
}

fn polite_echo(log: &Log) -> Recorder {
    Recorder::counting(log)
        .on_data(|transport, data| transport.write(data))
        .on_pause(Transport::pause_reading)
        .on_resume(Transport::resume_reading)
        .on_eof(|_| OnEof::Close)
}

#[test]
fn python_is_a_client_and_a_server() {
    guard(async {
        let served = serve(server(), polite_echo).await;
        let Some(mut child) = python("client", &[&served.addr.port().to_string()]) else { return };
        assert!(child.succeeds().await);
        served.log.until(|log| log.calls().contains(&Call::Lost(None))).await;

        let Some(mut child) = python("server", &[]) else { return };
        let (port, mut child) = blocking(move || {
            let mut port = String::new();
            BufReader::new(child.pipes().1).read_line(&mut port).unwrap();
            (port.trim().parse::<u16>().unwrap(), child)
        })
        .await;
        let log = Log::default();
        create_connection(polite_echo(&log), ("127.0.0.1", port)).tls(client()).await.unwrap().await;
        assert_eq!(log.end(), None);
        assert!(child.succeeds().await);
    });
}

/// A mail server as far as `openssl s_client -starttls smtp` asks.
fn mail(log: &Log) -> Recorder {
    let mut tls = Some(server());
    Recorder::new(log).on_made(|transport| transport.write("220 localhost\r\n")).on_data(move |transport, data| {
        match data.split(|byte| *byte == b' ' || *byte == b'\r' || *byte == b'\n').next() {
            Some(b"EHLO") => drop(transport.write("250-localhost\r\n250 STARTTLS\r\n")),
            Some(b"STARTTLS") => {
                transport.write("220 ready\r\n");
                transport.start_tls(tls.take().expect("it is offered once"));
            }
            Some(b"NOOP") => drop(transport.write("250 still here\r\n")),
            _ => drop(transport.write("502 what?\r\n")),
        }
    })
}

#[test]
fn openssl_upgrades_a_mail_connection() {
    guard(async {
        let log = Log::default();
        let known = log.clone();
        let serving = create_server(move || mail(&known), ANY).await.unwrap();
        let addr = serving.local_addr().unwrap().to_string();
        let (handle, serving) = serving.spawn();
        let Some(mut client) = s_client(&addr, &["-starttls", "smtp"]) else { return };
        let answer = blocking(move || {
            let (mut stdin, stdout) = client.pipes();
            let mut lines = BufReader::new(stdout).lines();
            stdin.write_all(b"NOOP\r\n").unwrap();
            // It repeats the last answer from before the upgrade.
            let answer = lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("still here")));
            (answer, client)
        });
        let (answer, mut client) = answer.await;
        assert!(answer.is_some());
        assert!(client.succeeds().await);
        log.until_call(Call::Lost(None)).await;
        handle.close();
        serving.await.unwrap();
    });
}

//! The key-value server: redis-cli, redis-benchmark, and clients that are slow, odd or hostile.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use crate::program::{Program, ask, check_arguments, client, read_all, run, text};

fn start() -> Program {
    Program::start("redis_kv", &["127.0.0.1:0"])
}

fn cli(server: &Program, args: &[&str]) -> Option<Command> {
    client("redis-cli", &[&["-p", &server.port()], args].concat())
}

/// A command in the form of clients.
fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut text = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        text.extend(format!("${}\r\n", word.len()).bytes());
        text.extend_from_slice(word);
        text.extend_from_slice(b"\r\n");
    }
    text
}

#[test]
fn arguments() {
    check_arguments("redis_kv");
    let (status, _, stderr) = run("redis_kv", &["127.0.0.1:nonsense"]);
    assert!(status == Some(1) && stderr.starts_with("error: "), "{status:?} {stderr}");
}

#[test]
fn redis_cli_gets_what_it_has_set() {
    let server = start();
    let cli = |words: &str| {
        let words: Vec<&str> = words.split(' ').collect();
        cli(&server, &words).map(|mut cli| text(&mut cli).trim_end().to_owned())
    };
    let Some(pong) = cli("ping") else { return };
    assert_eq!(pong, "PONG");
    let session = [
        ("set greeting hello", "OK"),
        ("get greeting", "hello"),
        ("get nothing", ""),
        ("exists greeting nothing", "1"),
        ("ttl greeting", "-1"),
        ("ttl nothing", "-2"),
        ("incr counter", "1"),
        ("incr counter", "2"),
        ("incr greeting", "ERR value is not an integer or out of range"),
        ("mget greeting nothing counter", "hello\n\n2"),
        ("dbsize", "2"),
        ("set short life ex 1000", "OK"),
        ("set short life ex 0", "ERR invalid expire time in 'set' command"),
        ("expire short 0", "1"),
        ("get short", ""),
        ("expire nothing 5", "0"),
        ("del greeting nothing", "1"),
        ("nonsense", "ERR unknown command, or wrong arguments"),
        ("del counter", "1"),
    ];
    for (words, answer) in session {
        assert_eq!(cli(words).expect("redis-cli"), answer, "{words}");
    }
}

#[test]
fn redis_cli_pipes_thousands_of_commands() {
    let server = start();
    let Some(mut cli) = cli(&server, &["--pipe"]) else { return };
    let mut cli = cli.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("redis-cli");
    let mut stdin = cli.stdin.take().expect("a pipe");
    for n in 0..20_000 {
        stdin.write_all(&command(&[b"SET", format!("key{n}").as_bytes(), &[b'x'; 100]])).expect("sent");
    }
    drop(stdin);
    let report = cli.wait_with_output().expect("redis-cli").stdout;
    let report = String::from_utf8_lossy(&report);
    assert!(report.contains("errors: 0, replies: 20000"), "{report}");
    assert_eq!(ask(&server, "DBSIZE\r\n"), b":20000\r\n");
}

#[test]
fn redis_benchmark_is_served() {
    let server = start();
    let tests = "ping_inline,ping_mbulk,set,get,incr,mset";
    let args = ["-p", &server.port(), "-n", "5000", "-c", "50", "-P", "16", "-q", "-t", tests];
    let Some(mut benchmark) = client("redis-benchmark", &args) else { return };
    let report = text(&mut benchmark);
    assert_eq!(report.matches("requests per second").count(), 6, "{report}");
    assert!(!report.contains("Error"), "{report}");
}

#[test]
fn commands_come_in_pieces_and_in_lines() {
    let server = start();
    let mut stream = server.connect();
    for byte in command(&[b"SET", b"key", b"\r\n\0value"]) {
        stream.write_all(&[byte]).expect("sent");
    }
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"+OK\r\n");
    assert_eq!(
        ask(&server, "\r\n  get   key  \nPING\r\n*0\r\nECHO x\r\n"),
        b"$8\r\n\r\n\0value\r\n+PONG\r\n$1\r\nx\r\n"
    );
    assert_eq!(ask(&server, "PING\r\nQUIT\r\nPING\r\n"), b"+PONG\r\n+OK\r\n");
}

#[test]
fn nonsense_ends_the_connection() {
    let server = start();
    let error = |request: &[u8]| String::from_utf8_lossy(&ask(&server, request)).trim_end().to_owned();
    assert_eq!(error(b"*x\r\n"), "-ERR Protocol error: invalid multibulk length");
    assert_eq!(error(b"*1000000000\r\n"), "-ERR Protocol error: invalid multibulk length");
    assert_eq!(error(b"*1\r\n*1\r\n"), "-ERR Protocol error: expected '$'");
    assert_eq!(error(b"*1\r\n$-1\r\n"), "-ERR Protocol error: invalid bulk length");
    assert_eq!(error(b"*1\r\n$99999999999999999999\r\n"), "-ERR Protocol error: invalid bulk length");
    assert_eq!(error(b"*1\r\n$1\r\nxyz\r\n"), "-ERR Protocol error: expected the end of a string");
    assert_eq!(error(b"*2\r\n$900000\r\n"), "");
    assert_eq!(error(&vec![b'x'; 100_000]), "-ERR Protocol error: too long a line");
    let half = [command(&[&[b'x'; 600_000]]), command(&[&[b'x'; 600_000]])].concat();
    assert_eq!(error(&half).matches("ERR unknown command").count(), 2);
    let large: Vec<u8> = [&b"*2\r\n$1000000\r\n"[..], &vec![b'x'; 1_000_000], b"\r\n$1000000\r\n"].concat();
    assert_eq!(error(&large), "-ERR Protocol error: too long a command");
    assert_eq!(ask(&server, "PING\r\n"), b"+PONG\r\n");
}

#[test]
fn a_client_that_does_not_read_costs_little_memory() {
    const ROUNDS: usize = 500;
    const SIZE: usize = 1_000_000;
    let server = start();
    assert_eq!(ask(&server, command(&[b"SET", b"key", &vec![b'x'; SIZE]])), b"+OK\r\n");
    let mut stream = server.connect();
    stream.write_all(&b"GET key\r\n".repeat(ROUNDS)).expect("sent");
    // It answers as far as the client takes it, and serves others meanwhile.
    assert_eq!(ask(&server, "PING\r\n"), b"+PONG\r\n");
    stream.shutdown(std::net::Shutdown::Write).expect("finished");
    let mut answer = vec![0; format!("${SIZE}\r\n").len() + SIZE + 2];
    for round in 0..ROUNDS {
        stream.read_exact(&mut answer).unwrap_or_else(|err| panic!("{err} in answer {round}"));
        assert!(answer.ends_with(b"xx\r\n"));
    }
    assert_eq!(read_all(stream), b"");
    #[cfg(target_os = "linux")]
    assert!(server.peak_memory() < 100_000_000, "{} bytes", server.peak_memory());
}

#[test]
fn an_interrupt_ends_it() {
    let server = start();
    let _idle = server.connect();
    server.interrupt();
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn no_answer_is_longer_than_it_may_be() {
    let server = start();
    let set = command(&[b"SET", b"k", &vec![b'x'; 500_000]]);
    assert_eq!(ask(&server, set), b"+OK\r\n");
    let words: Vec<&[u8]> = std::iter::once(&b"MGET"[..]).chain([&b"k"[..]; 10]).collect();
    assert_eq!(ask(&server, command(&words)), b"-ERR too long an answer\r\n");
    // A line may not have more words than an array.
    let line = format!("EXISTS{}\r\n", " k".repeat(2000));
    assert_eq!(ask(&server, line), b"-ERR Protocol error: too many words\r\n");
}

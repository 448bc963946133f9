//! A key-value server that speaks the protocol of Redis: one store, shared by the protocols of all clients.
//!
//! Run it with `cargo run --release --example redis_kv -- 127.0.0.1:6380`, then try `redis-cli -p 6380 set greeting hello`,
//! `redis-cli -p 6380 get greeting`, `redis-benchmark -p 6380 -t get,set,incr -P 16`, or type `PING` into `nc 127.0.0.1 6380`.
//! It knows the commands in `execute`. Ctrl-C ends it; nothing is kept.
//!
//! Look at `serve` first: commands come in pieces, or a thousand at once (pipelining), and a client that does not read
//! its answers is not served on. So a client costs a bounded amount of memory, whatever it does. Values are `Bytes`: an
//! answer shares a large one with the store, and copies a small one.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use smol_transports::{Protocol, Transport, create_server};

#[path = "../shared/mod.rs"]
mod shared;
mod store;

use shared::{Interrupt, start};
use store::{Entry, Store, in_future, parse_number};

/// Bytes of a command; a longer one ends the connection.
const LONGEST_COMMAND: usize = 1024 * 1024;
/// Bytes of a line; everything but the strings of a command are lines.
const LONGEST_LINE: usize = 16 * 1024;
/// Bytes of the values that one command is answered with.
const LONGEST_ANSWER: usize = 4 * LONGEST_COMMAND;
/// Words of a command.
const MOST_WORDS: usize = 1024;
/// Bytes of a value from which on copying it costs more than keeping count of who has it.
const WORTH_SHARING: usize = 4096;
/// Clients at a time; more wait.
const MOST_CLIENTS: usize = 10_000;
/// Time for a client that takes none of its answers.
const STALL: Duration = Duration::from_secs(60);

struct Client {
    store: Arc<Mutex<Store>>,
    received: Vec<u8>,
}

impl Protocol for Client {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        self.received.extend_from_slice(data);
        self.serve(transport);
    }

    fn pause_writing(&mut self, transport: &Transport) {
        transport.pause_reading();
    }

    fn resume_writing(&mut self, transport: &Transport) {
        transport.resume_reading();
        self.serve(transport);
    }
}

impl Client {
    /// Executes the commands that are complete, as long as the client takes the answers.
    fn serve(&mut self, transport: &Transport) {
        let mut store = self.store.lock().expect("no command panics");
        let mut used = 0;
        while !transport.is_writing_paused() {
            match parse(&self.received[used..]) {
                Ok(None) => break,
                Ok(Some((words, length))) => {
                    used += length;
                    let Some((name, args)) = words.split_first() else { continue };
                    execute(&mut store, &name.to_ascii_uppercase(), args).send(transport);
                    if name.eq_ignore_ascii_case(b"QUIT") {
                        used = self.received.len();
                        transport.close();
                    }
                }
                Err(text) => {
                    Reply::Error(format!("ERR Protocol error: {text}")).send(transport);
                    used = self.received.len();
                    transport.close();
                }
            }
        }
        // What is left is part of a command, mostly nothing: it shall not keep the room of all.
        if used > 0 {
            self.received = self.received.split_off(used);
        }
    }
}

fn execute(store: &mut Store, name: &[u8], args: &[&[u8]]) -> Reply {
    let value = |entry: &Entry| Reply::Bulk(entry.value.clone());
    match (name, args) {
        (b"PING", []) => Reply::Simple("PONG"),
        (b"PING" | b"ECHO", [text]) => Reply::Bulk(Bytes::copy_from_slice(text)),
        (b"GET", [key]) => store.get(key).map_or(Reply::Nil, value),
        (b"MGET", _) if store.size_of(args) > LONGEST_ANSWER => Reply::Error("ERR too long an answer".to_owned()),
        (b"MGET", [_, ..]) => Reply::Array(args.iter().map(|key| store.get(key).map_or(Reply::Nil, value)).collect()),
        (b"SET", [key, value]) => store.set(key, Bytes::copy_from_slice(value), None),
        (b"SET", [key, value, option, time]) if option.eq_ignore_ascii_case(b"EX") => match parse_number(time) {
            Some(time @ 1..) => store.set(key, Bytes::copy_from_slice(value), Some(in_future(time))),
            _ => Reply::Error("ERR invalid expire time in 'set' command".to_owned()),
        },
        (b"MSET", [_, _, ..]) if args.len() % 2 == 0 => {
            let mut replies = args.chunks(2).map(|pair| store.set(pair[0], Bytes::copy_from_slice(pair[1]), None));
            replies.find(|reply| !matches!(reply, Reply::Simple(_))).unwrap_or(Reply::Simple("OK"))
        }
        (b"INCR", [key]) => store.increment(key),
        (b"DEL", [_, ..]) => Reply::Integer(args.iter().filter_map(|key| store.remove(key)).count() as i64),
        (b"EXISTS", [_, ..]) => Reply::Integer(args.iter().filter_map(|key| store.get(key)).count() as i64),
        (b"EXPIRE", [key, time]) => store.expire(key, time),
        (b"TTL", [key]) => store.time_to_live(key),
        (b"DBSIZE", []) => Reply::Integer(store.entries.len() as i64),
        // The clients ask these when they start.
        (b"COMMAND" | b"CONFIG", _) => Reply::Array(Vec::new()),
        (b"QUIT", _) => Reply::Simple("OK"),
        _ => Reply::Error("ERR unknown command, or wrong arguments".to_owned()),
    }
}

enum Reply {
    Simple(&'static str),
    Error(String),
    Integer(i64),
    Bulk(Bytes),
    Nil,
    Array(Vec<Self>),
}

impl Reply {
    fn not_a_number() -> Self {
        Self::Error("ERR value is not an integer or out of range".to_owned())
    }

    fn send(self, transport: &Transport) {
        match self {
            Self::Simple(text) => drop(transport.write(format!("+{text}\r\n"))),
            Self::Error(text) => drop(transport.write(format!("-{text}\r\n"))),
            Self::Integer(number) => drop(transport.write(format!(":{number}\r\n"))),
            Self::Nil => drop(transport.write("$-1\r\n")),
            Self::Bulk(value) => {
                transport.write(format!("${}\r\n", value.len()));
                let _ = if value.len() < WORTH_SHARING { transport.write(value) } else { transport.write_bytes(value) };
                transport.write("\r\n");
            }
            Self::Array(items) => {
                transport.write(format!("*{}\r\n", items.len()));
                items.into_iter().for_each(|item| item.send(transport));
            }
        }
    }
}

type Words<'a> = Vec<&'a [u8]>;

/// The first command and its length; none if it has not arrived whole. A command is an array of strings, or a line of
/// words as people type them.
fn parse(data: &[u8]) -> Result<Option<(Words<'_>, usize)>, &'static str> {
    let Some((line, mut at)) = take_line(data)? else { return Ok(None) };
    let Some(count) = line.strip_prefix(b"*") else {
        let words: Vec<_> = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect();
        return if words.len() <= MOST_WORDS { Ok(Some((words, at))) } else { Err("too many words") };
    };
    let count = parse_number(count).filter(|count| *count <= MOST_WORDS as i64).ok_or("invalid multibulk length")?;
    let mut words = Vec::new();
    for _ in 0..count {
        let Some((line, length)) = take_line(&data[at..])? else { return Ok(None) };
        let size = line.strip_prefix(b"$").ok_or("expected '$'")?;
        let size = parse_number(size).and_then(|size| usize::try_from(size).ok());
        let size = size.filter(|size| *size <= LONGEST_COMMAND).ok_or("invalid bulk length")?;
        let start = at + length;
        if start + size > LONGEST_COMMAND {
            return Err("too long a command");
        }
        let Some(end) = data.get(start + size..start + size + 2) else { return Ok(None) };
        if end != b"\r\n" {
            return Err("expected the end of a string");
        }
        words.push(&data[start..start + size]);
        at = start + size + 2;
    }
    Ok(Some((words, at)))
}

/// The first line without its end, and its length with it.
fn take_line(data: &[u8]) -> Result<Option<(&[u8], usize)>, &'static str> {
    match data.iter().take(LONGEST_LINE).position(|byte| *byte == b'\n') {
        Some(end) => Ok(Some((data[..end].strip_suffix(b"\r").unwrap_or(&data[..end]), end + 1))),
        None if data.len() < LONGEST_LINE => Ok(None),
        None => Err("too long a line"),
    }
}

async fn run([address]: [String; 1], interrupt: Interrupt) -> io::Result<()> {
    let store = Arc::new(Mutex::new(Store::default()));
    let swept = store.clone();
    let _sweeping = smol::spawn(async move {
        loop {
            smol::Timer::after(Duration::from_secs(1)).await;
            swept.lock().expect("no command panics").sweep();
        }
    });
    // A client may be silent for as long as it likes, but not be dead.
    let server = create_server(move || Client { store: store.clone(), received: Vec::new() }, address);
    let server = server.max_connections(MOST_CLIENTS).write_timeout(STALL).keep_alive(true).await?;
    println!("listening on {}", server.local_addr()?);
    let (handle, serving) = server.spawn();

    interrupt.wait().await?;
    handle.close();
    handle.close_clients();
    // The last answers may take a moment.
    handle.shutdown(Duration::from_secs(2)).await;
    serving.await
}

fn main() -> std::process::ExitCode {
    start("usage: redis_kv [ADDRESS]; 127.0.0.1:6380 by default", ["127.0.0.1:6380"], run)
}

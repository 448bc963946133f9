//! Mistakes that are easily made, each with the way out. The wrong ones are run too: to see that they are wrong.

use std::io;
use std::sync::{Arc, Mutex};

use smol_transports::testing::{Memory, finish, poll};
use smol_transports::{OnEof, Protocol, Transport, Written};

// ANCHOR: message
/// Wrong: a piece of bytes is not a message.
struct Hopeful(Vec<String>);

impl Protocol for Hopeful {
    fn data_received(&mut self, _transport: &Transport, data: &[u8]) {
        self.0.push(String::from_utf8_lossy(data).into_owned());
    }
}
// ANCHOR_END: message

// ANCHOR: utf8
/// Right: bytes are collected, and text is made of a whole message.
#[derive(Default)]
struct Lines {
    rest: Vec<u8>,
    lines: Vec<String>,
}

impl Protocol for Lines {
    fn data_received(&mut self, _transport: &Transport, data: &[u8]) {
        self.rest.extend_from_slice(data);
        let received = std::mem::take(&mut self.rest);
        for line in received.split_inclusive(|byte| *byte == b'\n') {
            match line.strip_suffix(b"\n") {
                Some(line) => self.lines.push(String::from_utf8_lossy(line).into_owned()),
                // It is not complete: the next piece goes on with it.
                None => self.rest = line.to_vec(),
            }
        }
    }
}
// ANCHOR_END: utf8

// ANCHOR: abort
/// Wrong: `abort` drops what was written a moment ago.
struct Rude;

impl Protocol for Rude {
    fn data_received(&mut self, transport: &Transport, _data: &[u8]) {
        transport.write("good bye");
        transport.abort();
    }
}
// ANCHOR_END: abort

// ANCHOR: after_close
/// Right: `close` sends what was written, and `connection_lost` is the place for what comes after the end.
struct Polite {
    ended: Arc<Mutex<bool>>,
}

impl Protocol for Polite {
    fn data_received(&mut self, transport: &Transport, _data: &[u8]) {
        transport.write("good bye");
        transport.close();
        // The callback goes on, and so does the connection: it has not ended yet.
        assert!(transport.is_closing());
    }

    fn connection_lost(&mut self, _exc: Option<io::Error>) {
        *self.ended.lock().unwrap() = true;
    }
}
// ANCHOR_END: after_close

// ANCHOR: half_close
/// Answers when the question is complete: at the end of file. `KeepOpen` makes it responsible for closing.
#[derive(Default)]
struct CountBytes {
    count: usize,
}

impl Protocol for CountBytes {
    fn data_received(&mut self, _transport: &Transport, data: &[u8]) {
        self.count += data.len();
    }

    fn eof_received(&mut self, transport: &Transport) -> OnEof {
        transport.write(format!("{} bytes\n", self.count));
        transport.close();
        OnEof::KeepOpen
    }
}
// ANCHOR_END: half_close

// ANCHOR: full
/// Wrong: it goes on when it is told that the buffer is full.
fn pour(transport: &Transport, blocks: u32) -> Written {
    let mut answer = Written::Queued;
    for _ in 0..blocks {
        answer = transport.write([0; 4096]);
    }
    answer
}
// ANCHOR_END: full

pub fn main() -> io::Result<()> {
    let (mut connection, peer) = Memory::new(Hopeful(Vec::new())).connect();
    for piece in ["hel", "lo\nwor", "ld\n"] {
        peer.feed(piece);
    }
    let _pending = poll(&mut connection);
    println!("pieces: {:?}", connection.protocol().0);

    let (mut connection, peer) = Memory::new(Lines::default()).connect();
    for piece in ["hel", "lo\nwor", "ld\n"] {
        peer.feed(piece);
    }
    let _pending = poll(&mut connection);
    println!("lines: {:?}", connection.protocol().lines);

    let (connection, peer) = Memory::new(Rude).room(0).connect();
    peer.feed("?");
    let Rude = finish(connection);
    println!("from the rude one: {:?}", String::from_utf8_lossy(&peer.take_written()));

    let ended = Arc::<Mutex<bool>>::default();
    let (mut connection, peer) = Memory::new(Polite { ended: ended.clone() }).room(0).connect();
    peer.feed("?");
    let _pending = poll(&mut connection);
    println!("the polite one waits, has it ended? {}", ended.lock().unwrap());
    peer.set_room(usize::MAX);
    finish(connection);
    println!("from the polite one: {:?}", String::from_utf8_lossy(&peer.take_written()));

    let (connection, peer) = Memory::new(CountBytes::default()).connect();
    peer.feed("hello");
    peer.feed_eof();
    finish(connection);
    print!("at the end: {}", String::from_utf8_lossy(&peer.take_written()));

    let (connection, _peer) = Memory::new(Lines::default()).room(0).connect();
    let answer = pour(connection.transport(), 100);
    println!("poured: {answer:?}, {} bytes wait", connection.transport().write_buffer_size());
    Ok(())
}

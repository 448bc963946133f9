//! Many bytes from pipe to pipe.

use std::io;

use smol::future::zip;
use smol_transports::{
    Buffered, BufferedProtocol, Protocol, ReadTransport, StreamProtocol, WriteTransport, Written, connect_read_pipe,
    connect_write_pipe,
};

use super::pipe;
use crate::guard::run;

/// Not a divisor of any buffer's size, so that no misplaced piece goes unnoticed.
const PERIOD: usize = 65_521;

/// `len` bytes that tell where in the stream they stand.
fn pattern(period: &[u8], position: usize, len: usize) -> impl Iterator<Item = &[u8]> {
    let mut rest = len;
    let mut start = position % PERIOD;
    std::iter::from_fn(move || {
        let piece = &period[start..PERIOD.min(start + rest)];
        rest -= piece.len();
        start = 0;
        (!piece.is_empty()).then_some(piece)
    })
}

fn period() -> Vec<u8> {
    (0..PERIOD).map(|n| (n * n % 251) as u8).collect()
}

/// Writes until it is told to stop.
struct Source {
    period: Vec<u8>,
    total: usize,
    written: usize,
    pauses: usize,
    exc: Option<io::Error>,
}

impl Source {
    fn new(total: usize) -> Self {
        Self { period: period(), total, written: 0, pauses: 0, exc: None }
    }

    fn write(&mut self, transport: &WriteTransport) {
        while self.written < self.total {
            let len = (self.total - self.written).min(1 + self.written % 50_000);
            for piece in pattern(&self.period, self.written, len) {
                transport.write(piece).ok().expect("nobody has closed it");
            }
            self.written += len;
            if transport.is_writing_paused() {
                return;
            }
        }
        assert_ne!(transport.write(""), Written::Closed);
        transport.close();
    }
}

impl Protocol<WriteTransport> for Source {
    fn connection_made(&mut self, transport: &WriteTransport) {
        self.write(transport);
    }

    fn pause_writing(&mut self, _: &WriteTransport) {
        self.pauses += 1;
    }

    fn resume_writing(&mut self, transport: &WriteTransport) {
        if !transport.is_closing() {
            self.write(transport);
        }
    }

    fn connection_lost(&mut self, exc: Option<io::Error>) {
        self.exc = exc;
    }
}

/// Compares what it gets, and pauses now and then.
struct Sink {
    period: Vec<u8>,
    read: usize,
    buffer: Vec<u8>,
    exc: Option<io::Error>,
}

impl Sink {
    fn new() -> Self {
        Self { period: period(), read: 0, buffer: vec![0; 10_007], exc: None }
    }

    fn check(&mut self, transport: &ReadTransport, data: &[u8]) {
        let mut rest = data;
        for piece in pattern(&self.period, self.read, data.len()) {
            let (head, tail) = rest.split_at(piece.len());
            assert!(head == piece, "other bytes after {}", self.read);
            rest = tail;
        }
        let before = self.read;
        self.read += data.len();
        if before / 1_000_000 < self.read / 1_000_000 {
            transport.pause_reading();
            let transport = transport.clone();
            smol::spawn(async move { transport.resume_reading() }).detach();
        }
    }
}

impl Protocol<ReadTransport> for Sink {
    fn data_received(&mut self, transport: &ReadTransport, data: &[u8]) {
        self.check(transport, data);
    }

    fn connection_lost(&mut self, exc: Option<io::Error>) {
        self.exc = exc;
    }
}

impl BufferedProtocol<ReadTransport> for Sink {
    fn get_buffer(&mut self, _size_hint: usize) -> &mut [u8] {
        &mut self.buffer
    }

    fn buffer_updated(&mut self, transport: &ReadTransport, nbytes: usize) {
        let buffer = std::mem::take(&mut self.buffer);
        self.check(transport, &buffer[..nbytes]);
        self.buffer = buffer;
    }

    fn connection_lost(&mut self, exc: Option<io::Error>) {
        self.exc = exc;
    }
}

async fn transfer<P: StreamProtocol<ReadTransport>>(total: usize, sink: P) -> P {
    let (read, write) = pipe();
    let source = connect_write_pipe(Source::new(total), write).await.unwrap();
    let sink = connect_read_pipe(sink, read).await.unwrap();
    let (source, sink) = zip(source, sink).await;
    assert!(source.exc.is_none());
    assert!(source.pauses > 0);
    sink
}

#[test]
fn a_hundred_megabytes_arrive_exactly() {
    run(async || {
        let sink = transfer(100_000_000, Sink::new()).await;
        assert!(sink.exc.is_none());
        assert_eq!(sink.read, 100_000_000);
    });
}

#[test]
fn twenty_megabytes_arrive_exactly_in_a_buffer_of_ones_own() {
    run(async || {
        let Buffered(sink) = transfer(20_000_000, Buffered(Sink::new())).await;
        assert!(sink.exc.is_none());
        assert_eq!(sink.read, 20_000_000);
    });
}

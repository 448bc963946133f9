//! Callbacks that panic.

use std::future::Future;
use std::io::{ErrorKind, Write};
use std::panic::AssertUnwindSafe;

use smol::future::{FutureExt, zip};
use smol_transports::{Protocol, ReadTransport, connect_read_pipe, connect_write_pipe};

use super::recorder::{Call, Reader, Step, Writer};
use super::{collect, is_broken, pipe, settle};
use crate::guard::{run, until};

const LOST: Call = Call::Lost(Some(ErrorKind::Other));

async fn assert_panics(connection: impl Future) {
    let payload = AssertUnwindSafe(connection).catch_unwind().await.err().expect("a panic");
    let text = payload.downcast_ref::<String>().expect("the text of an assertion");
    assert!(text.contains("a panic on purpose"), "{text}");
}

/// What a reader that panics in `step` is told of five bytes and the end of file.
async fn read_panicking(step: Step) -> Vec<Call> {
    let (read, write) = pipe();
    (&write).write_all(b"hello").unwrap();
    drop(write);
    let reader = Reader::new().panicking_in(step);
    let log = reader.log();
    assert_panics(connect_read_pipe(reader, read).await.unwrap()).await;
    log.calls()
}

/// What a writer that panics in `step` is told of a megabyte that is read to the end.
async fn write_panicking(step: Step) -> Vec<Call> {
    let (read, write) = pipe();
    let writer = Writer::new().panicking_in(step);
    let log = writer.log();
    let writer = connect_write_pipe(writer, write).await.unwrap();
    writer.transport().write(vec![0; 1024 * 1024]);
    if step == Step::Lost {
        writer.transport().close();
    }
    zip(assert_panics(writer), collect(read)).await;
    log.calls()
}

#[test]
fn a_reader_that_panics_is_told_of_the_loss_alone() {
    run(async || {
        let hello = Call::data(b"hello");
        assert_eq!(read_panicking(Step::Made).await, [Call::Made, LOST]);
        assert_eq!(read_panicking(Step::Data).await, [Call::Made, hello.clone(), LOST]);
        assert_eq!(read_panicking(Step::Eof).await, [Call::Made, hello.clone(), Call::Eof, LOST]);
        assert_eq!(read_panicking(Step::Lost).await, [Call::Made, hello, Call::Eof, Call::Lost(None)]);
    });
}

#[test]
fn a_writer_that_panics_is_told_of_the_loss_alone() {
    run(async || {
        assert_eq!(write_panicking(Step::Made).await, [Call::Made, LOST]);
        assert_eq!(write_panicking(Step::Pause).await, [Call::Made, Call::Pause, LOST]);
        assert_eq!(write_panicking(Step::Resume).await, [Call::Made, Call::Pause, Call::Resume, LOST]);
        let all = [Call::Made, Call::Pause, Call::Resume, Call::Lost(None)];
        assert_eq!(write_panicking(Step::Lost).await, all);
    });
}

/// Asks for its buffer once, in vain.
struct NoBuffer;

impl smol_transports::BufferedProtocol<ReadTransport> for NoBuffer {
    fn get_buffer(&mut self, _size_hint: usize) -> &mut [u8] {
        panic!("{}", "a panic on purpose")
    }

    fn buffer_updated(&mut self, _: &ReadTransport, _: usize) {
        unreachable!("there is no buffer");
    }
}

#[test]
fn a_panic_in_get_buffer_ends_the_reading() {
    run(async || {
        let (read, write) = pipe();
        (&write).write_all(b"x").unwrap();
        let reader = connect_read_pipe(smol_transports::Buffered(NoBuffer), read).await.unwrap();
        assert_panics(reader).await;
        assert!(is_broken(&write));
    });
}

#[test]
fn a_panic_closes_the_descriptor() {
    run(async || {
        let (read, write) = pipe();
        (&write).write_all(b"x").unwrap();
        assert_panics(connect_read_pipe(Reader::new().panicking_in(Step::Data), read).await.unwrap()).await;
        assert!(is_broken(&write));
    });
}

#[test]
fn a_panic_harms_nobody_else() {
    run(async || {
        let (read, write) = pipe();
        let mut other = connect_read_pipe(Reader::new(), read).await.unwrap();
        let log = other.protocol().log();
        for step in [Step::Made, Step::Data, Step::Eof, Step::Lost] {
            other.run_until(read_panicking(step)).await;
        }
        (&write).write_all(b"unharmed").unwrap();
        other.run_until(until(|| log.received() == b"unharmed")).await;
    });
}

#[test]
fn a_panic_in_the_last_callback_of_a_drop_is_swallowed() {
    run(async || {
        let (read, write) = pipe();
        let reader = Reader::new().panicking_in(Step::Lost);
        let log = reader.log();
        drop(connect_read_pipe(reader, read).await.unwrap());
        assert_eq!(log.calls(), [Call::Made, Call::Lost(None)]);
        assert!(is_broken(&write));
    });
}

/// Drops a connection of its own while it unwinds.
struct Unwinding(Option<smol_transports::Connection<Reader, ReadTransport>>);

impl Protocol<ReadTransport> for Unwinding {
    fn data_received(&mut self, _: &ReadTransport, _: &[u8]) {
        let _inner = self.0.take();
        panic!("{}", "a panic on purpose");
    }
}

#[test]
fn a_connection_may_be_dropped_while_unwinding() {
    run(async || {
        let (inner_read, inner_write) = pipe();
        let inner = connect_read_pipe(Reader::new(), inner_read).await.unwrap();
        let log = inner.protocol().log();
        let (read, write) = pipe();
        (&write).write_all(b"x").unwrap();
        assert_panics(connect_read_pipe(Unwinding(Some(inner)), read).await.unwrap()).await;
        assert_eq!(log.calls(), [Call::Made, Call::Lost(None)]);
        assert!(is_broken(&inner_write));
        settle().await;
    });
}

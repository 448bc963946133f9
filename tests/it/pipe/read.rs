//! The read end of a pipe.

use std::io::{ErrorKind, Write};
use std::sync::mpsc;

use smol_transports::{Buffered, OnEof, ReadTransport, connect_read_pipe};

use super::recorder::{Call, Reader, Step};
use super::{is_broken, pipe, settle};
use crate::guard::{run, until};

#[test]
fn data_then_the_end_of_file() {
    run(async || {
        let (read, write) = pipe();
        (&write).write_all(b"hello").unwrap();
        drop(write);
        let reader = connect_read_pipe(Reader::new(), read).await.unwrap().await;
        assert_eq!(reader.log().calls(), [Call::Made, Call::data(b"hello"), Call::Eof, Call::Lost(None)]);
    });
}

#[test]
fn nothing_but_the_end_of_file() {
    run(async || {
        let (read, write) = pipe();
        drop(write);
        let reader = connect_read_pipe(Reader::new(), read).await.unwrap().await;
        assert_eq!(reader.log().calls(), [Call::Made, Call::Eof, Call::Lost(None)]);
    });
}

#[test]
fn the_end_of_file_closes_whatever_is_answered() {
    run(async || {
        for answer in [OnEof::Close, OnEof::KeepOpen] {
            let (read, write) = pipe();
            drop(write);
            let reader = Reader::new().answering_eof(answer);
            let reader = connect_read_pipe(reader, read).await.unwrap().await;
            assert_eq!(reader.log().calls(), [Call::Made, Call::Eof, Call::Lost(None)]);
        }
    });
}

#[test]
fn it_is_closing_inside_eof_received() {
    run(async || {
        let (read, write) = pipe();
        drop(write);
        let closing = |transport: &ReadTransport| {
            assert!(transport.is_closing());
            assert!(!transport.is_reading());
        };
        let reader = Reader::new().on(Step::Eof, closing);
        connect_read_pipe(reader, read).await.unwrap().await;
    });
}

#[test]
fn closing_inside_eof_received_changes_nothing() {
    run(async || {
        let (read, write) = pipe();
        drop(write);
        let reader = Reader::new().on(Step::Eof, ReadTransport::close).on(Step::Eof, ReadTransport::abort);
        let reader = connect_read_pipe(reader, read).await.unwrap().await;
        assert_eq!(reader.log().calls(), [Call::Made, Call::Eof, Call::Lost(None)]);
    });
}

#[test]
fn pausing_in_connection_made_holds_data_back() {
    run(async || {
        let (read, write) = pipe();
        (&write).write_all(b"early").unwrap();
        let reader = Reader::new().on(Step::Made, ReadTransport::pause_reading);
        let log = reader.log();
        let mut reader = connect_read_pipe(reader, read).await.unwrap();
        reader.run_until(settle()).await;
        assert_eq!(log.calls(), [Call::Made]);
        reader.transport().resume_reading();
        drop(write);
        reader.await;
        assert_eq!(log.calls(), [Call::Made, Call::data(b"early"), Call::Eof, Call::Lost(None)]);
    });
}

#[test]
fn pausing_in_data_received_holds_what_follows_back() {
    run(async || {
        let (read, write) = pipe();
        let reader = Reader::new().on(Step::Data, ReadTransport::pause_reading);
        let log = reader.log();
        let mut reader = connect_read_pipe(reader, read).await.unwrap();
        for expected in [b"a".as_slice(), b"ab", b"abc"] {
            (&write).write_all(&expected[expected.len() - 1..]).unwrap();
            reader.transport().resume_reading();
            reader.run_until(until(|| log.received() == expected)).await;
            assert!(!reader.transport().is_reading());
        }
        (&write).write_all(b"d").unwrap();
        reader.run_until(settle()).await;
        assert_eq!(log.received(), b"abc");
    });
}

#[test]
fn the_end_of_file_is_held_back_too() {
    run(async || {
        let (read, write) = pipe();
        let reader = Reader::new().on(Step::Made, ReadTransport::pause_reading);
        let log = reader.log();
        let mut reader = connect_read_pipe(reader, read).await.unwrap();
        drop(write);
        reader.run_until(settle()).await;
        assert_eq!(log.calls(), [Call::Made]);
        reader.transport().resume_reading();
        reader.await;
        assert_eq!(log.calls(), [Call::Made, Call::Eof, Call::Lost(None)]);
    });
}

#[test]
fn pausing_does_not_count() {
    run(async || {
        let (read, write) = pipe();
        let reader = connect_read_pipe(Reader::new(), read).await.unwrap();
        let transport = reader.transport().clone();
        assert!(transport.is_reading());
        transport.pause_reading();
        transport.pause_reading();
        assert!(!transport.is_reading());
        transport.resume_reading();
        assert!(transport.is_reading());
        drop(write);
        reader.await;
        assert!(!transport.is_reading());
        transport.resume_reading();
        assert!(!transport.is_reading());
    });
}

#[test]
fn resuming_from_another_thread_wakes_it() {
    run(async || {
        let (read, write) = pipe();
        (&write).write_all(b"late").unwrap();
        drop(write);
        let (paused, wait) = mpsc::channel::<ReadTransport>();
        let thread = std::thread::spawn(move || wait.recv().unwrap().resume_reading());
        let reader = Reader::new().on(Step::Made, move |transport| {
            transport.pause_reading();
            paused.send(transport.clone()).unwrap();
        });
        let reader = connect_read_pipe(reader, read).await.unwrap().await;
        assert_eq!(reader.log().received(), b"late");
        thread.join().unwrap();
    });
}

#[test]
fn close_loses_what_is_unread() {
    run(async || {
        let (read, write) = pipe();
        (&write).write_all(b"lost").unwrap();
        let reader = connect_read_pipe(Reader::new(), read).await.unwrap();
        reader.transport().close();
        assert!(reader.transport().is_closing());
        let reader = reader.await;
        assert_eq!(reader.log().calls(), [Call::Made, Call::Lost(None)]);
        assert!(is_broken(&write));
    });
}

#[test]
fn closing_in_data_received_is_the_end_of_data() {
    run(async || {
        let (read, write) = pipe();
        (&write).write_all(b"first").unwrap();
        let reader = Reader::new().on(Step::Data, ReadTransport::close).buffer_size(1);
        let reader = connect_read_pipe(Buffered(reader), read).await.unwrap().await;
        assert_eq!(reader.0.log().calls(), [Call::Made, Call::data(b"f"), Call::Lost(None)]);
        assert!(is_broken(&write));
    });
}

#[test]
fn abort_is_an_orderly_end() {
    run(async || {
        let (read, _write) = pipe();
        let reader = connect_read_pipe(Reader::new(), read).await.unwrap();
        reader.transport().abort();
        assert_eq!(reader.await.log().calls(), [Call::Made, Call::Lost(None)]);
    });
}

#[test]
fn fail_gives_its_cause() {
    run(async || {
        let (read, _write) = pipe();
        let reader = connect_read_pipe(Reader::new(), read).await.unwrap();
        let transport = reader.transport().clone();
        transport.fail(ErrorKind::InvalidData.into());
        transport.abort();
        assert_eq!(reader.await.log().calls(), [Call::Made, Call::Lost(Some(ErrorKind::InvalidData))]);
        assert_eq!(transport.closed().await.unwrap_err().kind(), ErrorKind::InvalidData);
    });
}

#[test]
fn a_buffered_protocol_gets_data_in_its_buffer() {
    run(async || {
        let (read, write) = pipe();
        (&write).write_all(b"more than seven bytes").unwrap();
        drop(write);
        let reader = connect_read_pipe(Buffered(Reader::new()), read).await.unwrap().await;
        let expected = [Call::Made, Call::data(b"more than seven bytes"), Call::Eof, Call::Lost(None)];
        assert_eq!(reader.0.log().calls(), expected);
    });
}

#[test]
fn a_buffered_protocol_is_paused_between_buffers() {
    run(async || {
        let (read, write) = pipe();
        (&write).write_all(b"abc").unwrap();
        let reader = Reader::new().buffer_size(2).on(Step::Data, ReadTransport::pause_reading);
        let log = reader.log();
        let mut reader = connect_read_pipe(Buffered(reader), read).await.unwrap();
        reader.run_until(settle()).await;
        assert_eq!(log.received(), b"ab");
        reader.transport().resume_reading();
        reader.run_until(until(|| log.received() == b"abc")).await;
    });
}

#[test]
fn an_empty_buffer_is_an_error() {
    run(async || {
        let (read, write) = pipe();
        (&write).write_all(b"x").unwrap();
        let reader = Reader::new().buffer_size(0);
        let reader = connect_read_pipe(Buffered(reader), read).await.unwrap().await;
        assert_eq!(reader.0.log().calls(), [Call::Made, Call::Lost(Some(ErrorKind::InvalidInput))]);
    });
}

#[test]
fn a_new_protocol_gets_the_next_callback() {
    run(async || {
        let (read, write) = pipe();
        (&write).write_all(b"old").unwrap();
        let new = Reader::successor();
        let (old_log, new_log) = (Reader::new(), new.log());
        let mut new = Some(new);
        let old = old_log.on(Step::Data, move |transport| transport.set_protocol(new.take().unwrap()));
        let log = old.log();
        let mut reader = connect_read_pipe(old, read).await.unwrap();
        reader.run_until(until(|| log.has(Step::Data))).await;
        (&write).write_all(b"new").unwrap();
        drop(write);
        let old = reader.await;
        assert_eq!(old.log().calls(), [Call::Made, Call::data(b"old")]);
        assert_eq!(new_log.calls(), [Call::Made, Call::data(b"new"), Call::Eof, Call::Lost(None)]);
    });
}

#[test]
fn a_new_protocol_may_bring_a_buffer() {
    run(async || {
        let (read, write) = pipe();
        let new = Reader::successor();
        let log = new.log();
        let reader = connect_read_pipe(Reader::new(), read).await.unwrap();
        reader.transport().set_protocol(Buffered(new));
        (&write).write_all(b"buffered").unwrap();
        drop(write);
        let old = reader.await;
        assert_eq!(old.log().calls(), [Call::Made]);
        assert_eq!(log.calls(), [Call::Made, Call::data(b"buffered"), Call::Eof, Call::Lost(None)]);
    });
}

#[test]
fn dropping_the_connection_ends_it_at_once() {
    run(async || {
        let (read, write) = pipe();
        (&write).write_all(b"unread").unwrap();
        let reader = Reader::new();
        let log = reader.log();
        let reader = connect_read_pipe(reader, read).await.unwrap();
        let transport = reader.transport().clone();
        drop(reader);
        assert_eq!(log.calls(), [Call::Made, Call::Lost(None)]);
        assert!(is_broken(&write));
        transport.closed().await.unwrap();
    });
}

#[test]
fn dropping_what_was_spawned_ends_it() {
    run(async || {
        let (read, write) = pipe();
        let reader = Reader::new();
        let log = reader.log();
        let (transport, running) = connect_read_pipe(reader, read).await.unwrap().spawn();
        drop(running);
        transport.closed().await.unwrap();
        assert_eq!(log.calls(), [Call::Made, Call::Lost(None)]);
        assert!(is_broken(&write));
    });
}

#[test]
fn a_handle_does_not_keep_the_descriptor() {
    run(async || {
        let (read, write) = pipe();
        let reader = connect_read_pipe(Reader::new(), read).await.unwrap();
        let transport = reader.transport().clone();
        assert!(transport.with_pipe(|_| ()).is_some());
        transport.close();
        reader.await;
        assert!(transport.with_pipe(|_| ()).is_none());
        assert!(is_broken(&write));
    });
}

#[test]
fn all_who_wait_for_the_end_are_told() {
    run(async || {
        let (read, write) = pipe();
        let (transport, running) = connect_read_pipe(Reader::new(), read).await.unwrap().spawn();
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                let transport = transport.clone();
                smol::spawn(async move { transport.closed().await })
            })
            .collect();
        drop(write);
        running.await;
        for waiter in waiters {
            waiter.await.unwrap();
        }
    });
}

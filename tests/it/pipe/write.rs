//! The write end of a pipe.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::thread;
use std::time::Duration;

use smol::future::zip;
use smol_transports::{WriteLimits, WriteTransport, Written, connect_write_pipe};

use super::recorder::{Call, Step, Writer};
use super::{CAPACITY, collect, pipe, settle};
use crate::guard::{run, until};

const MEGABYTE: usize = 1024 * 1024;

/// Writes until the system takes no more; how much that was in all.
fn fill(transport: &WriteTransport) -> usize {
    let mut total = 0;
    while transport.write_buffer_size() == 0 {
        assert_eq!(transport.write([b'.'; 4096]), Written::Queued);
        total += 4096;
    }
    total
}

fn read_exact(mut reader: &File, count: usize) {
    reader.read_exact(&mut vec![0; count]).expect("that much was written");
}

fn write_megabyte(transport: &WriteTransport) {
    transport.write(vec![b'.'; MEGABYTE]);
}

#[test]
fn close_flushes_what_was_written() {
    run(async || {
        let (read, write) = pipe();
        let writer = Writer::new().on(Step::Made, write_megabyte).on(Step::Made, WriteTransport::close);
        let writer = connect_write_pipe(writer, write).await.unwrap();
        assert!(writer.transport().is_closing());
        let (writer, received) = zip(writer, collect(read)).await;
        assert_eq!(received.len(), MEGABYTE);
        assert_eq!(writer.log().calls(), [Call::Made, Call::Pause, Call::Resume, Call::Lost(None)]);
    });
}

#[test]
fn exactly_the_high_mark_does_not_pause() {
    run(async || {
        let (_read, write) = pipe();
        let mut writer = connect_write_pipe(Writer::new(), write).await.unwrap();
        let log = writer.protocol().log();
        let transport = writer.transport().clone();
        fill(&transport);
        let high = transport.write_buffer_limits().high_water();
        let room = high - transport.write_buffer_size();
        assert_eq!(transport.write(vec![0; room]), Written::Queued);
        writer.run_until(settle()).await;
        assert_eq!(log.calls(), [Call::Made]);
        assert_eq!(transport.write([0]), Written::Full);
        assert!(transport.is_writing_paused());
        assert_eq!(transport.write_buffer_size(), high + 1);
        writer.run_until(until(|| log.has(Step::Pause))).await;
    });
}

#[test]
fn a_writer_is_resumed_only_when_the_buffer_is_empty() {
    run(async || {
        let (read, write) = pipe();
        let writer = Writer::new().on(Step::Resume, |transport| assert_eq!(transport.write_buffer_size(), 0));
        let log = writer.log();
        let mut writer = connect_write_pipe(writer, write).await.unwrap();
        let transport = writer.transport().clone();
        fill(&transport);
        let (high, low) = (transport.write_buffer_limits().high_water(), transport.write_buffer_limits().low_water());
        transport.write(vec![0; high]);
        while transport.write_buffer_size() > low {
            writer.run_until(settle()).await;
            read_exact(&read, 1024);
        }
        writer.run_until(settle()).await;
        assert!(transport.write_buffer_size() > 0);
        assert_eq!(log.calls(), [Call::Made, Call::Pause]);
        drop(transport);
        let received = collect(read);
        writer.run_until(until(|| log.has(Step::Resume))).await;
        assert!(!writer.transport().is_writing_paused());
        drop(writer);
        received.await;
    });
}

#[test]
fn what_the_system_takes_at_once_never_pauses() {
    run(async || {
        let (_read, write) = pipe();
        let writer = Writer::new().on(Step::Made, |transport| {
            assert_eq!(transport.write([0; 4096]), Written::Queued);
            assert_eq!(transport.write_buffer_size(), 0);
        });
        let mut writer = connect_write_pipe(writer, write).write_limits(WriteLimits::high(0)).await.unwrap();
        writer.run_until(settle()).await;
        assert_eq!(writer.protocol().log().calls(), [Call::Made]);
    });
}

#[test]
fn lower_marks_pause_at_once_and_higher_ones_do_not_resume() {
    run(async || {
        let (_read, write) = pipe();
        let mut writer = connect_write_pipe(Writer::new(), write).await.unwrap();
        let transport = writer.transport().clone();
        fill(&transport);
        transport.set_write_buffer_limits(WriteLimits::high(1));
        assert!(transport.is_writing_paused());
        transport.set_write_buffer_limits(WriteLimits::default());
        writer.run_until(settle()).await;
        assert!(transport.is_writing_paused());
        assert_eq!(writer.protocol().log().calls(), [Call::Made, Call::Pause]);
    });
}

#[test]
fn drain_waits_for_the_resumption() {
    run(async || {
        let (read, write) = pipe();
        let mut writer = connect_write_pipe(Writer::new(), write).await.unwrap();
        let log = writer.protocol().log();
        let transport = writer.transport().clone();
        transport.drain().await.unwrap();
        write_megabyte(&transport);
        let received = collect(read);
        writer.run_until(transport.drain()).await.unwrap();
        assert_eq!(transport.write_buffer_size(), 0);
        assert_eq!(log.calls(), [Call::Made, Call::Pause, Call::Resume]);
        drop(writer);
        assert_eq!(transport.drain().await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        assert_eq!(received.await.len(), MEGABYTE);
    });
}

#[test]
fn write_eof_is_close() {
    run(async || {
        let (read, write) = pipe();
        let writer = connect_write_pipe(Writer::new(), write).await.unwrap();
        let transport = writer.transport().clone();
        assert!(transport.can_write_eof());
        write_megabyte(&transport);
        transport.write_eof().unwrap();
        assert!(transport.is_closing());
        let (writer, received) = zip(writer, collect(read)).await;
        assert_eq!(received.len(), MEGABYTE);
        assert_eq!(writer.log().calls(), [Call::Made, Call::Pause, Call::Resume, Call::Lost(None)]);
        transport.write_eof().unwrap();
    });
}

#[test]
fn writes_after_the_end_are_dropped_even_while_flushing() {
    for end in [WriteTransport::close, |transport: &WriteTransport| transport.write_eof().unwrap()] {
        run(async move || {
            let (read, write) = pipe();
            let late = |transport: &WriteTransport| assert_eq!(transport.write("late"), Written::Closed);
            let writer = Writer::new().on(Step::Resume, late);
            let writer = connect_write_pipe(writer, write).await.unwrap();
            let transport = writer.transport().clone();
            write_megabyte(&transport);
            end(&transport);
            assert_eq!(transport.write("late"), Written::Closed);
            assert_eq!(transport.write_bytes("late"), Written::Closed);
            assert_eq!(transport.write_vectored(["late"]), Written::Closed);
            let (_, received) = zip(writer, collect(read)).await;
            assert_eq!(received.len(), MEGABYTE);
            assert_eq!(transport.write("late"), Written::Closed);
        });
    }
}

#[test]
fn abort_drops_what_is_buffered() {
    run(async || {
        let (read, write) = pipe();
        let mut writer = connect_write_pipe(Writer::new(), write).await.unwrap();
        let log = writer.protocol().log();
        let transport = writer.transport().clone();
        write_megabyte(&transport);
        let left = transport.write_buffer_size();
        writer.run_until(settle()).await;
        transport.abort();
        assert_eq!(transport.write_buffer_size(), 0);
        writer.await;
        assert_eq!(log.calls(), [Call::Made, Call::Pause, Call::Lost(None)]);
        assert_eq!(collect(read).await.len(), MEGABYTE - left);
    });
}

#[test]
fn abort_ends_a_flush() {
    run(async || {
        let (_read, write) = pipe();
        let writer = connect_write_pipe(Writer::new(), write).await.unwrap();
        let transport = writer.transport().clone();
        write_megabyte(&transport);
        transport.close();
        transport.abort();
        transport.abort();
        assert_eq!(writer.await.log().calls().last(), Some(&Call::Lost(None)));
    });
}

#[test]
fn a_reader_that_goes_while_nothing_waits_is_an_orderly_end() {
    run(async || {
        let (read, write) = pipe();
        let mut writer = connect_write_pipe(Writer::new(), write).await.unwrap();
        writer.run_until(settle()).await;
        drop(read);
        let transport = writer.transport().clone();
        assert_eq!(writer.await.log().calls(), [Call::Made, Call::Lost(None)]);
        transport.closed().await.unwrap();
    });
}

#[test]
fn a_reader_that_leaves_what_the_system_holds_is_an_orderly_end() {
    run(async || {
        let (read, write) = pipe();
        let mut writer = connect_write_pipe(Writer::new(), write).await.unwrap();
        assert_eq!(writer.transport().write("unread"), Written::Queued);
        writer.run_until(settle()).await;
        drop(read);
        assert_eq!(writer.await.log().calls(), [Call::Made, Call::Lost(None)]);
    });
}

#[test]
fn a_reader_that_goes_while_data_wait_breaks_the_pipe() {
    run(async || {
        let (read, write) = pipe();
        let mut writer = connect_write_pipe(Writer::new(), write).await.unwrap();
        let transport = writer.transport().clone();
        write_megabyte(&transport);
        writer.run_until(settle()).await;
        drop(read);
        let broken = Call::Lost(Some(ErrorKind::BrokenPipe));
        assert_eq!(writer.await.log().calls(), [Call::Made, Call::Pause, broken]);
        assert_eq!(transport.closed().await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        assert_eq!(transport.drain().await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn writing_to_a_reader_that_has_gone_breaks_the_pipe() {
    run(async || {
        let (read, write) = pipe();
        drop(read);
        let writer = Writer::new().on(Step::Made, |transport| {
            transport.write("nobody reads this");
        });
        let writer = connect_write_pipe(writer, write).await.unwrap().await;
        assert_eq!(writer.log().calls(), [Call::Made, Call::Lost(Some(ErrorKind::BrokenPipe))]);
    });
}

#[test]
fn a_reader_that_goes_during_the_flush_breaks_the_pipe() {
    run(async || {
        let (read, write) = pipe();
        let mut writer = connect_write_pipe(Writer::new(), write).await.unwrap();
        write_megabyte(writer.transport());
        writer.transport().close();
        writer.run_until(settle()).await;
        drop(read);
        let broken = Call::Lost(Some(ErrorKind::BrokenPipe));
        assert_eq!(writer.await.log().calls(), [Call::Made, Call::Pause, broken]);
    });
}

#[test]
fn a_flush_may_have_a_limit_in_time() {
    run(async || {
        let (_read, write) = pipe();
        let limit = Duration::from_millis(1);
        let writer = connect_write_pipe(Writer::new(), write).close_timeout(limit).await.unwrap();
        write_megabyte(writer.transport());
        writer.transport().close();
        let late = Call::Lost(Some(ErrorKind::TimedOut));
        assert_eq!(writer.await.log().calls(), [Call::Made, Call::Pause, late]);
    });
}

#[test]
fn all_ways_of_writing_keep_their_order() {
    run(async || {
        let (read, write) = pipe();
        let writer = Writer::new().on(Step::Made, |transport| {
            transport.write("a");
            transport.write("");
            transport.write_vectored(["b", "", "c"]);
            transport.write_vectored([""; 0]);
            transport.write_bytes("d");
            transport.write(vec![b'e'; 2 * CAPACITY]);
            transport.write_bytes(vec![b'f'; 2 * CAPACITY]);
            transport.write("g");
            transport.close();
        });
        let (_, received) = zip(connect_write_pipe(writer, write).await.unwrap(), collect(read)).await;
        let expected = [b"abcd".as_slice(), &[b'e'; 2 * CAPACITY], &[b'f'; 2 * CAPACITY], b"g"].concat();
        assert!(received == expected, "{} bytes instead of {}", received.len(), expected.len());
    });
}

#[test]
fn writing_in_resume_writing_goes_on() {
    const ROUNDS: usize = 20;
    run(async || {
        let (read, write) = pipe();
        let mut left = ROUNDS;
        let writer = Writer::new().on(Step::Made, write_megabyte).on(Step::Resume, move |transport| {
            left -= 1;
            if left == 0 { transport.close() } else { write_megabyte(transport) }
        });
        let (writer, received) = zip(connect_write_pipe(writer, write).await.unwrap(), collect(read)).await;
        assert_eq!(received.len(), ROUNDS * MEGABYTE);
        let pauses = writer.log().calls().iter().filter(|call| **call == Call::Pause).count();
        assert_eq!(pauses, ROUNDS);
    });
}

#[test]
fn every_thread_may_write() {
    run(async || {
        let (read, write) = pipe();
        let received = collect(read);
        let (transport, running) = connect_write_pipe(Writer::new(), write).await.unwrap().spawn();
        let threads = ["a", "b", "c", "d"].map(|letter| {
            let transport = transport.clone();
            thread::spawn(move || (0..1000).for_each(|_| transport.write(letter.repeat(100)).ok().unwrap()))
        });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        transport.close();
        running.await;
        let received = String::from_utf8(received.await).unwrap();
        assert_eq!(received.len(), 4 * 1000 * 100);
        let pieces = received.as_bytes().chunks(100);
        pieces.for_each(|piece| assert!(piece.iter().all(|byte| *byte == piece[0])));
    });
}

#[test]
fn a_new_protocol_is_told_of_the_resumption() {
    run(async || {
        let (read, write) = pipe();
        let new = Writer::successor_in(Call::Pause).on(Step::Resume, WriteTransport::close);
        let new_log = new.log();
        let mut writer = connect_write_pipe(Writer::new(), write).await.unwrap();
        let log = writer.protocol().log();
        write_megabyte(writer.transport());
        writer.run_until(until(|| log.has(Step::Pause))).await;
        writer.transport().set_protocol(new);
        let (old, _) = zip(writer, collect(read)).await;
        assert_eq!(old.log().calls(), [Call::Made, Call::Pause]);
        assert_eq!(new_log.calls(), [Call::Made, Call::Pause, Call::Resume, Call::Lost(None)]);
    });
}

#[test]
fn dropping_the_connection_ends_it_at_once() {
    run(async || {
        let (read, write) = pipe();
        let writer = connect_write_pipe(Writer::new(), write).await.unwrap();
        let log = writer.protocol().log();
        let transport = writer.transport().clone();
        let taken = fill(&transport) - transport.write_buffer_size();
        drop(writer);
        assert_eq!(log.calls(), [Call::Made, Call::Lost(None)]);
        assert_eq!(collect(read).await.len(), taken);
        assert_eq!(transport.write("late"), Written::Closed);
        assert!(transport.with_pipe(|_| ()).is_none());
    });
}

#[test]
fn a_handle_does_not_keep_the_descriptor() {
    run(async || {
        let (read, write) = pipe();
        let writer = connect_write_pipe(Writer::new(), write).await.unwrap();
        let transport = writer.transport().clone();
        transport.write("all");
        transport.close();
        writer.await;
        assert_eq!(collect(read).await, b"all");
        assert!(transport.with_pipe(|_| ()).is_none());
    });
}

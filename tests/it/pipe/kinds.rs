//! What counts as a pipe, and what does not.

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use rustix::fs::OFlags;
use smol::LocalExecutor;
use smol::future::zip;
use smol_transports::{ReadTransport, WriteTransport, connect_read_pipe, connect_write_pipe};
use tempfile::TempDir;

use super::recorder::{Call, Reader, Step, Writer};
use super::{is_nonblocking, pipe, settle};
use crate::guard::{run, until};

/// A FIFO in a directory of its own.
fn fifo() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&path).status().expect("mkfifo").success());
    (dir, path)
}

/// Both ends, in blocking mode; the end to read from first.
fn open_fifo(path: &PathBuf) -> (File, File) {
    let other = path.clone();
    let writer = thread::spawn(move || OpenOptions::new().write(true).open(other).expect("a reader is there"));
    let reader = File::open(path).expect("a writer is there");
    (reader, writer.join().unwrap())
}

fn device(path: &str) -> File {
    OpenOptions::new().read(true).write(true).open(path).expect("a device")
}

async fn assert_read_refused(pipe: impl Into<OwnedFd>, text: &str) {
    let reader = Reader::new();
    let log = reader.log();
    assert_refused(connect_read_pipe(reader, pipe).await.map(drop), text);
    assert_eq!(log.calls(), []);
}

async fn assert_write_refused(pipe: impl Into<OwnedFd>, text: &str) {
    let writer = Writer::new();
    let log = writer.log();
    assert_refused(connect_write_pipe(writer, pipe).await.map(drop), text);
    assert_eq!(log.calls(), []);
}

fn assert_refused(answer: io::Result<()>, text: &str) {
    let err = answer.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::InvalidInput);
    assert!(err.to_string().contains(text), "{err}");
}

/// How often `future` is polled while others are served.
async fn polls_while_idle(future: impl Future) -> usize {
    let polls = Cell::new(0);
    let mut future = Box::pin(future);
    let counting = poll_fn(|cx| {
        polls.set(polls.get() + 1);
        future.as_mut().poll(cx).map(drop)
    });
    let executor = LocalExecutor::new();
    let task = executor.spawn(counting);
    executor.run(while_others_are_served()).await;
    drop((task, executor));
    polls.get()
}

async fn while_others_are_served() {
    for _ in 0..20 {
        settle().await;
    }
}

#[test]
fn a_regular_file_is_refused() {
    run(async || {
        assert_read_refused(tempfile::tempfile().unwrap(), "not a pipe, a socket or a character device").await;
        assert_write_refused(tempfile::tempfile().unwrap(), "not a pipe, a socket or a character device").await;
    });
}

#[test]
fn a_directory_is_refused() {
    run(async || {
        assert_read_refused(File::open(".").unwrap(), "not a pipe, a socket or a character device").await;
        assert_write_refused(File::open(".").unwrap(), "not a pipe, a socket or a character device").await;
    });
}

#[test]
fn the_wrong_end_is_refused() {
    run(async || {
        let (read, write) = pipe();
        assert_read_refused(write, "open for writing only").await;
        assert_write_refused(read, "open for reading only").await;
    });
}

#[test]
fn what_is_refused_is_closed() {
    run(async || {
        let (mut read, write) = pipe();
        assert_read_refused(write, "open for writing only").await;
        assert_eq!(read.read(&mut [0]).unwrap(), 0);
    });
}

/// A short read says nothing about the next packet.
fn check_packets((read, write): (OwnedFd, OwnedFd)) {
    run(async move || {
        let reader = connect_read_pipe(Reader::new(), read).await.unwrap();
        let log = reader.protocol().log();
        for packet in [b"one", b"two"] {
            assert_eq!(rustix::io::write(&write, packet).unwrap(), 3);
        }
        let (_, running) = reader.spawn();
        until(|| log.received() == b"onetwo").await;
        drop(write);
        running.await;
    });
}

#[test]
fn packets_that_wait_are_all_read() {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    check_packets(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap());
}

#[cfg(target_os = "linux")]
fn packet_pipe() -> (OwnedFd, OwnedFd) {
    use rustix::pipe::{PipeFlags, pipe_with};
    pipe_with(PipeFlags::CLOEXEC | PipeFlags::DIRECT).expect("a pipe of packets")
}

#[cfg(target_os = "linux")]
#[test]
fn packets_that_wait_in_a_pipe_are_all_read() {
    check_packets(packet_pipe());
}

#[cfg(target_os = "linux")]
#[test]
fn packets_that_are_written_stay_packets() {
    let (read, write) = packet_pipe();
    run(async move || {
        let mut writer = connect_write_pipe(Writer::new(), write).await.unwrap();
        writer.transport().write("one");
        writer.transport().write("two");
        writer.run_until(settle()).await;
        let mut packet = [0; 10];
        assert_eq!(rustix::io::read(&read, &mut packet).unwrap(), 3);
        assert_eq!(&packet[..3], b"one");
    });
}

#[test]
fn a_fifo_is_read_to_the_end_of_its_last_writer() {
    run(async || {
        let (_dir, path) = fifo();
        let (read, write) = open_fifo(&path);
        let second = OpenOptions::new().write(true).open(&path).unwrap();
        let mut reader = connect_read_pipe(Reader::new(), read).await.unwrap();
        let log = reader.protocol().log();
        (&write).write_all(b"one").unwrap();
        drop(write);
        reader.run_until(until(|| log.received() == b"one")).await;
        reader.run_until(settle()).await;
        (&second).write_all(b"two").unwrap();
        drop(second);
        reader.await;
        assert_eq!(log.calls(), [Call::Made, Call::data(b"onetwo"), Call::Eof, Call::Lost(None)]);
    });
}

#[test]
fn a_fifo_whose_writer_has_come_and_gone_is_at_its_end() {
    for text in ["left behind", ""] {
        run(async move || {
            let (_dir, path) = fifo();
            let (read, write) = open_fifo(&path);
            (&write).write_all(text.as_bytes()).unwrap();
            drop(write);
            let reader = connect_read_pipe(Reader::new(), read).await.unwrap().await;
            assert_eq!(reader.log().received(), text.as_bytes());
            assert_eq!(reader.log().calls().last(), Some(&Call::Lost(None)));
        });
    }
}

#[test]
fn a_fifo_without_a_writer_waits_for_one() {
    run(async || {
        let (_dir, path) = fifo();
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap();
        let read = OpenOptions::new().read(true).custom_flags(flags).open(&path).unwrap();
        let mut reader = connect_read_pipe(Reader::new(), read).await.unwrap();
        let log = reader.protocol().log();
        reader.run_until(settle()).await;
        assert_eq!(log.calls(), [Call::Made]);
        let write = OpenOptions::new().write(true).open(&path).unwrap();
        (&write).write_all(b"at last").unwrap();
        drop(write);
        reader.await;
        assert_eq!(log.calls(), [Call::Made, Call::data(b"at last"), Call::Eof, Call::Lost(None)]);
    });
}

#[test]
fn a_fifo_is_written() {
    run(async || {
        let (_dir, path) = fifo();
        let (mut read, write) = open_fifo(&path);
        let mut writer = connect_write_pipe(Writer::new(), write).await.unwrap();
        writer.transport().write("hello");
        read.read_exact(&mut [0; 5]).unwrap();
        writer.run_until(settle()).await;
        drop(read);
        assert_eq!(writer.await.log().calls(), [Call::Made, Call::Lost(None)]);
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_fifo_that_is_open_both_ways_may_lie_unread() {
    run(async || {
        let (_dir, path) = fifo();
        let both = device(path.to_str().unwrap());
        let writer = Writer::new().on(Step::Made, |transport| {
            transport.write("nobody reads this for now");
        });
        let polls = polls_while_idle(connect_write_pipe(writer, both).await.unwrap()).await;
        assert!(polls < 50, "{polls} polls without a reason");
    });
}

#[test]
fn the_null_device_is_at_its_end() {
    run(async || {
        let reader = connect_read_pipe(Reader::new(), device("/dev/null")).await.unwrap().await;
        assert_eq!(reader.log().calls(), [Call::Made, Call::Eof, Call::Lost(None)]);
    });
}

#[test]
fn the_null_device_takes_everything() {
    run(async || {
        let writer = Writer::new().on(Step::Made, |transport| {
            (0..100).for_each(|_| transport.write(vec![0; 1024 * 1024]).ok().unwrap());
            transport.close();
        });
        let writer = connect_write_pipe(writer, device("/dev/null")).await.unwrap().await;
        assert_eq!(writer.log().calls().last(), Some(&Call::Lost(None)));
    });
}

#[test]
fn an_idle_device_is_not_lost() {
    run(async || {
        let mut writer = connect_write_pipe(Writer::new(), device("/dev/null")).await.unwrap();
        let polls = polls_while_idle(&mut writer).await;
        assert!(polls < 50, "{polls} polls without a reason");
        assert_eq!(writer.protocol().log().calls(), [Call::Made]);
    });
}

#[test]
fn the_zero_device_can_be_paused_and_closed() {
    run(async || {
        let reader = Reader::new().on(Step::Data, ReadTransport::pause_reading);
        let mut reader = connect_read_pipe(reader, device("/dev/zero")).await.unwrap();
        let log = reader.protocol().log();
        reader.run_until(settle()).await;
        let first = log.received().len();
        assert!(first > 0);
        reader.run_until(settle()).await;
        assert_eq!(log.received().len(), first);
        reader.transport().resume_reading();
        reader.run_until(until(|| log.received().len() > first)).await;
        reader.transport().close();
        reader.await;
        assert_eq!(log.calls().last(), Some(&Call::Lost(None)));
    });
}

#[test]
fn a_device_that_never_ends_lets_others_work() {
    run(async || {
        let reader = connect_read_pipe(Bottomless::default(), device("/dev/zero")).await.unwrap();
        let transport = reader.transport().clone();
        let closing = async {
            settle().await;
            transport.close();
        };
        let (reader, ()) = zip(reader, closing).await;
        assert!(reader.0 > 0);
    });
}

/// Counts, and wants more.
#[derive(Default)]
struct Bottomless(usize);

impl smol_transports::Protocol<ReadTransport> for Bottomless {
    fn data_received(&mut self, _: &ReadTransport, data: &[u8]) {
        self.0 += data.len();
    }
}

#[test]
fn the_zero_device_takes_everything() {
    run(async || {
        let writer = Writer::new().on(Step::Made, |transport| {
            transport.write(vec![1; 1024 * 1024]);
            transport.close();
        });
        let writer = connect_write_pipe(writer, device("/dev/zero")).await.unwrap().await;
        assert_eq!(writer.log().calls().last(), Some(&Call::Lost(None)));
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_failed_write_gives_its_error() {
    run(async || {
        let writer = Writer::new().on(Step::Made, |transport| {
            transport.write("there is no room");
        });
        let writer = connect_write_pipe(writer, device("/dev/full")).await.unwrap().await;
        assert_eq!(writer.log().calls(), [Call::Made, Call::Lost(Some(ErrorKind::StorageFull))]);
    });
}

#[test]
fn a_socket_is_read() {
    run(async || {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (&theirs).write_all(b"hello").unwrap();
        drop(theirs);
        let reader = connect_read_pipe(Reader::new(), ours).await.unwrap().await;
        assert_eq!(reader.log().calls(), [Call::Made, Call::data(b"hello"), Call::Eof, Call::Lost(None)]);
    });
}

#[test]
fn a_socket_is_written() {
    run(async || {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let writer = Writer::new().on(Step::Made, |transport| {
            transport.write(vec![0; 1024 * 1024]);
            transport.close();
        });
        let writer = connect_write_pipe(writer, ours).await.unwrap();
        let received = super::collect(OwnedFd::from(theirs).into());
        let (writer, received) = zip(writer, received).await;
        assert_eq!(received.len(), 1024 * 1024);
        assert_eq!(writer.log().calls(), [Call::Made, Call::Pause, Call::Resume, Call::Lost(None)]);
    });
}

#[test]
fn the_peer_of_a_written_socket_goes() {
    run(async || {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut writer = connect_write_pipe(Writer::new(), ours).await.unwrap();
        writer.run_until(settle()).await;
        drop(theirs);
        assert_eq!(writer.await.log().calls(), [Call::Made, Call::Lost(None)]);
    });
}

#[test]
fn the_peer_of_a_written_socket_goes_while_data_wait() {
    run(async || {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut writer = connect_write_pipe(Writer::new(), ours).await.unwrap();
        writer.transport().write(vec![0; 1024 * 1024]);
        writer.run_until(settle()).await;
        drop(theirs);
        let broken = Call::Lost(Some(ErrorKind::BrokenPipe));
        assert_eq!(writer.await.log().calls(), [Call::Made, Call::Pause, broken]);
    });
}

#[test]
fn what_the_peer_of_a_written_socket_says_is_ignored() {
    run(async || {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"nobody listens").unwrap();
        let mut writer = connect_write_pipe(Writer::new(), ours).await.unwrap();
        let polls = polls_while_idle(&mut writer).await;
        assert!(polls < 50, "{polls} polls without a reason");
        writer.transport().write("still here");
        theirs.read_exact(&mut [0; 10]).unwrap();
        writer.transport().close();
        assert_eq!(writer.await.log().calls(), [Call::Made, Call::Lost(None)]);
    });
}

#[test]
fn a_socket_is_read_and_written_through_two_descriptors() {
    run(async || {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let writer = connect_write_pipe(Writer::new(), super::duplicate(&ours)).await.unwrap();
        let reader = connect_read_pipe(Reader::new(), ours).await.unwrap();
        (&theirs).write_all(b"ping").unwrap();
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        let reader = reader.await;
        assert_eq!(reader.log().received(), b"ping");
        writer.transport().write("pong");
        writer.transport().close();
        writer.await;
        assert_eq!(io::read_to_string(&theirs).unwrap(), "pong");
    });
}

/// Whichever of the two ends first puts the mode back, but the other one is still at work.
#[test]
fn the_other_half_of_a_shared_descriptor_never_blocks() {
    for read_first in [true, false] {
        run(async move || {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let (writer, reader) = connect_both(&ours, read_first).await;
            drop(reader);
            let transport = writer.transport().clone();
            transport.write(vec![0; 10 * 1024 * 1024]);
            assert!(transport.write_buffer_size() > 0, "the write has blocked");
            drop(writer);
            drop(theirs);
            assert!(!is_nonblocking(&ours), "the mode was not put back");
        });
    }
}

type Both = (smol_transports::Connection<Writer, WriteTransport>, smol_transports::Connection<Reader, ReadTransport>);

async fn connect_both(socket: &UnixStream, read_first: bool) -> Both {
    if read_first {
        let reader = connect_read_pipe(Reader::new(), super::duplicate(socket)).await.unwrap();
        return (connect_write_pipe(Writer::new(), super::duplicate(socket)).await.unwrap(), reader);
    }
    let writer = connect_write_pipe(Writer::new(), super::duplicate(socket)).await.unwrap();
    (writer, connect_read_pipe(Reader::new(), super::duplicate(socket)).await.unwrap())
}

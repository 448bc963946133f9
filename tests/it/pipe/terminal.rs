//! Pseudo terminals.

use std::fs::File;
use std::io::{Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
#[cfg(target_os = "linux")]
use smol_transports::driver;
use smol_transports::{ReadTransport, connect_read_pipe, connect_write_pipe};

use super::program::program;
use super::recorder::{Call, Reader, Step, Writer};
use super::{duplicate, is_nonblocking, settle};
use crate::guard::{run, until};

/// Opens a terminal and hands both of its ends over the socket that is standard input.
const OPEN: &str = "import os, socket, sys
socket.send_fds(socket.socket(fileno=0), [b'x'], os.openpty())";

/// The user's end and the program's end of a new terminal; none without Python, which opens it.
pub(crate) fn terminal() -> Option<(File, OwnedFd)> {
    let (ours, theirs) = UnixStream::pair().expect("two sockets");
    let stdin = OwnedFd::from(theirs);
    let status = Command::new("python3").args(["-c", OPEN]).stdin(stdin).stderr(Stdio::null()).status();
    if !status.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no Python to open a terminal with");
        return None;
    }
    let [user, program] = receive(&ours).try_into().expect("two ends");
    Some((user.into(), program))
}

fn receive(socket: &UnixStream) -> Vec<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut bufs = [std::io::IoSliceMut::new(&mut byte)];
    rustix::net::recvmsg(socket, &mut bufs, &mut control, RecvFlags::CMSG_CLOEXEC).expect("a message");
    let messages = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    messages.flatten().collect()
}

async fn read_exact(mut user: File, expected: &'static str) {
    let text = smol::unblock(move || {
        let mut text = vec![0; expected.len()];
        user.read_exact(&mut text).map(|()| text)
    });
    assert_eq!(String::from_utf8_lossy(&text.await.unwrap()), expected);
}

#[test]
fn a_program_reads_lines_up_to_the_end_of_file() {
    run(async || {
        let Some((user, program)) = terminal() else { return };
        let shared = duplicate(&program);
        let mut reader = connect_read_pipe(Reader::new(), program).await.unwrap();
        let log = reader.protocol().log();
        (&user).write_all(b"line\n").unwrap();
        reader.run_until(until(|| log.has(Step::Data))).await;
        #[cfg(target_os = "linux")]
        assert!(!is_nonblocking(&shared), "while it is read");
        (&user).write_all(b"\x04").unwrap();
        reader.await;
        assert_eq!(log.calls(), [Call::Made, Call::data(b"line\n"), Call::Eof, Call::Lost(None)]);
        assert!(!is_nonblocking(&shared), "afterwards");
    });
}

#[test]
fn a_program_writes() {
    run(async || {
        let Some((user, program)) = terminal() else { return };
        let shared = duplicate(&program);
        let mut writer = connect_write_pipe(Writer::new(), program).await.unwrap();
        writer.transport().write("text\n");
        writer.run_until(read_exact(user.try_clone().unwrap(), "text\r\n")).await;
        #[cfg(target_os = "linux")]
        assert!(!is_nonblocking(&shared), "while it is written");
        writer.transport().close();
        assert_eq!(writer.await.log().calls(), [Call::Made, Call::Lost(None)]);
        assert!(!is_nonblocking(&shared), "afterwards");
    });
}

#[test]
fn a_program_reads_and_writes_through_two_descriptors() {
    run(async || {
        let Some((user, program)) = terminal() else { return };
        let mut writer = connect_write_pipe(Writer::new(), duplicate(&program)).await.unwrap();
        let reader = connect_read_pipe(Reader::new(), program).await.unwrap();
        (&user).write_all(b"question\n\x04").unwrap();
        let reader = reader.await;
        assert_eq!(reader.log().received(), b"question\n");
        writer.transport().write("answer\n");
        writer.run_until(read_exact(user, "question\r\nanswer\r\n")).await;
    });
}

/// A read gives one line, however many there are.
#[cfg(target_os = "linux")]
#[test]
fn lines_that_were_typed_before_are_all_read_on_a_driver() {
    run(async || {
        let Some((user, program)) = terminal() else { return };
        (&user).write_all(b"one\ntwo\nthree\n\x04").unwrap();
        let reader = driver::block_on(async { connect_read_pipe(Reader::new(), program).await.unwrap().await });
        assert_eq!(reader.log().received(), b"one\ntwo\nthree\n");
    });
}

#[test]
fn a_user_who_goes_ends_the_reading() {
    run(async || {
        let Some((user, program)) = terminal() else { return };
        let mut reader = connect_read_pipe(Reader::new(), program).await.unwrap();
        let log = reader.protocol().log();
        reader.run_until(settle()).await;
        drop(user);
        reader.await;
        assert!(matches!(log.calls().last(), Some(Call::Lost(_))));
    });
}

/// The system tells it by an error.
#[test]
fn the_user_s_end_gets_everything_before_the_program_goes() {
    run(async || {
        let Some((user, program)) = terminal() else { return };
        let shared = user.try_clone().unwrap();
        File::from(program).write_all(b"last words\n").unwrap();
        let reader = connect_read_pipe(Reader::new(), user).await.unwrap().await;
        assert_eq!(reader.log().received(), b"last words\r\n");
        assert!(matches!(reader.log().calls().last(), Some(Call::Lost(_))));
        assert!(!is_nonblocking(&shared));
    });
}

#[test]
fn the_user_s_end_gets_its_mode_back() {
    run(async || {
        let Some((user, _program)) = terminal() else { return };
        let shared = user.try_clone().unwrap();
        let reader = Reader::new().on(Step::Made, ReadTransport::close);
        connect_read_pipe(reader, user).await.unwrap().await;
        assert!(!is_nonblocking(&shared));
    });
}

/// Whichever of the two ends first puts the mode back, but the other one is still at work.
#[test]
fn the_other_half_of_a_shared_terminal_never_blocks() {
    run(async || {
        let Some((user, _program)) = terminal() else { return };
        let reader = connect_read_pipe(Reader::new(), duplicate(&user)).await.unwrap();
        let writer = connect_write_pipe(Writer::new(), duplicate(&user)).await.unwrap();
        drop(reader);
        writer.transport().write(vec![b'x'; 10 * 1024 * 1024]);
        assert!(writer.transport().write_buffer_size() > 0, "the write has blocked");
        drop(writer);
        assert!(!is_nonblocking(&user), "the mode was not put back");
    });
}

#[test]
fn the_example_works_with_a_terminal() {
    run(async || {
        let (Some((user, terminal)), Some(program)) = (terminal(), program()) else { return };
        let (stdin, stdout) = (duplicate(&terminal), duplicate(&terminal));
        let mut child = Command::new(program).stdin(stdin).stdout(stdout).spawn().expect("it starts");
        (&user).write_all(b"hello\n\x04").unwrap();
        assert!(child.wait().unwrap().success());
        read_exact(user, "hello\r\nHELLO\r\n").await;
        assert!(!is_nonblocking(&terminal));
    });
}

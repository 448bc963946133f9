//! The blocking mode of descriptors that others share.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::panic::AssertUnwindSafe;
use std::process::Command;

use rustix::fs::OFlags;
use smol::future::FutureExt;
use smol_transports::{WriteTransport, connect_read_pipe, connect_write_pipe};

use super::recorder::{Call, Reader, Step, Writer};
use super::{duplicate, is_nonblocking, pipe, settle};
use crate::guard::run;

fn socket() -> (OwnedFd, OwnedFd) {
    let (ours, theirs) = UnixStream::pair().expect("two sockets");
    (ours.into(), theirs.into())
}

fn null() -> OwnedFd {
    File::options().read(true).write(true).open("/dev/null").expect("a device").into()
}

#[test]
fn a_pipe_that_is_read_keeps_its_mode() {
    run(async || {
        let (read, write) = pipe();
        let shared = duplicate(&read);
        let mut reader = connect_read_pipe(Reader::new(), read).await.unwrap();
        reader.run_until(settle()).await;
        #[cfg(target_os = "linux")]
        assert!(!is_nonblocking(&shared), "while it is read");
        (&write).write_all(b"x").unwrap();
        drop(write);
        reader.await;
        assert!(!is_nonblocking(&shared), "afterwards");
    });
}

#[test]
fn a_pipe_that_is_written_keeps_its_mode() {
    run(async || {
        let (read, write) = pipe();
        let shared = duplicate(&write);
        let mut writer = connect_write_pipe(Writer::new(), write).await.unwrap();
        writer.transport().write(vec![0; 1024 * 1024]);
        writer.run_until(settle()).await;
        #[cfg(target_os = "linux")]
        assert!(!is_nonblocking(&shared), "while it is written");
        writer.transport().abort();
        writer.await;
        assert!(!is_nonblocking(&shared), "afterwards");
        drop(read);
    });
}

/// The reader that is left after ours has gone reads on where ours has stopped.
#[test]
fn who_shares_a_pipe_goes_on_with_it() {
    run(async || {
        let (read, write) = pipe();
        let mut shared = File::from(duplicate(&read));
        (&write).write_all(b"ours").unwrap();
        let reader = Reader::new().on(Step::Data, smol_transports::ReadTransport::close);
        let reader = connect_read_pipe(reader, read).await.unwrap().await;
        assert_eq!(reader.log().received(), b"ours");
        let theirs = smol::unblock(move || {
            let mut theirs = [0; 6];
            shared.read_exact(&mut theirs).map(|()| theirs)
        });
        settle().await;
        (&write).write_all(b"theirs").unwrap();
        assert_eq!(&theirs.await.unwrap(), b"theirs");
    });
}

#[test]
fn a_socket_and_a_device_get_their_mode_back() {
    run(async || {
        let (ours, _theirs) = socket();
        for fd in [ours, null()] {
            let shared = duplicate(&fd);
            let writer = connect_write_pipe(Writer::new(), duplicate(&fd)).await.unwrap();
            writer.transport().close();
            writer.await;
            assert!(!is_nonblocking(&shared), "after writing");
            let reader = connect_read_pipe(Reader::new(), fd).await.unwrap();
            reader.transport().close();
            reader.await;
            assert!(!is_nonblocking(&shared), "after reading");
        }
    });
}

#[test]
fn the_mode_is_back_when_a_handle_still_lives() {
    run(async || {
        let (ours, _theirs) = socket();
        let shared = duplicate(&ours);
        let writer = connect_write_pipe(Writer::new(), ours).await.unwrap();
        let transport = writer.transport().clone();
        transport.close();
        writer.await;
        assert!(!is_nonblocking(&shared));
        assert!(transport.is_closing());
    });
}

#[test]
fn the_mode_is_back_after_a_drop() {
    run(async || {
        let (ours, _theirs) = socket();
        let shared = duplicate(&ours);
        drop(connect_read_pipe(Reader::new(), ours).await.unwrap());
        assert!(!is_nonblocking(&shared));
    });
}

#[test]
fn the_mode_is_back_when_the_protocol_panics() {
    run(async || {
        for step in [Step::Made, Step::Data, Step::Eof, Step::Lost] {
            let (ours, theirs) = socket();
            let shared = duplicate(&ours);
            File::from(theirs).write_all(b"x").unwrap();
            let reader = connect_read_pipe(Reader::new().panicking_in(step), ours).await.unwrap();
            assert!(AssertUnwindSafe(reader).catch_unwind().await.is_err());
            assert!(!is_nonblocking(&shared), "after a panic in {step:?}");
        }
    });
}

#[test]
fn the_mode_is_back_when_writing_panics() {
    run(async || {
        for step in [Step::Made, Step::Pause, Step::Lost] {
            let (ours, _theirs) = socket();
            let shared = duplicate(&ours);
            let writer = Writer::new().panicking_in(step).on(Step::Made, |transport| {
                transport.write(vec![0; 1024 * 1024]);
            });
            let writer = connect_write_pipe(writer.on(Step::Pause, WriteTransport::abort), ours).await.unwrap();
            assert!(AssertUnwindSafe(writer).catch_unwind().await.is_err());
            assert!(!is_nonblocking(&shared), "after a panic in {step:?}");
        }
    });
}

#[test]
fn what_was_nonblocking_stays_so() {
    run(async || {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let shared = duplicate(&ours);
        drop(theirs);
        connect_read_pipe(Reader::new(), ours).await.unwrap().await;
        assert!(is_nonblocking(&shared));
    });
}

/// Both ends of a FIFO are the same file, and not the same open file.
#[test]
fn the_mode_of_one_end_is_not_that_of_the_other() {
    run(async || {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("fifo");
        assert!(Command::new("mkfifo").arg(&path).status().expect("mkfifo").success());
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap();
        let read = File::options().read(true).custom_flags(flags).open(&path).unwrap();
        let write = File::options().write(true).open(&path).unwrap();
        let writer = connect_write_pipe(Writer::new(), write).await.unwrap();
        let reader = connect_read_pipe(Reader::new(), read).await.unwrap();
        writer.transport().write("all");
        writer.transport().close();
        writer.await;
        let reader = reader.await;
        assert_eq!(reader.log().calls(), [Call::Made, Call::data(b"all"), Call::Eof, Call::Lost(None)]);
    });
}

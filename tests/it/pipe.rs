//! Pipes, FIFOs, terminals, devices and sockets that are read or written, not both.

mod bulk;
mod kinds;
mod modes;
mod panics;
mod program;
mod read;
mod recorder;
pub(crate) mod terminal;
mod write;

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::OFlags;
use smol_transports::connect_read_pipe;

use recorder::Reader;

/// What a pipe holds before its writer must wait.
const CAPACITY: usize = 64 * 1024;

/// A pipe in blocking mode that children do not inherit; the end to read from first.
pub(crate) fn pipe() -> (File, File) {
    #[cfg(not(target_vendor = "apple"))]
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
    #[cfg(target_vendor = "apple")]
    let (read, write) = rustix::pipe::pipe().expect("a pipe");
    (read.into(), write.into())
}

fn is_nonblocking(fd: impl AsFd) -> bool {
    rustix::fs::fcntl_getfl(fd).expect("flags").contains(OFlags::NONBLOCK)
}

/// Another descriptor of the same open file.
fn duplicate(fd: impl AsFd) -> OwnedFd {
    fd.as_fd().try_clone_to_owned().expect("a descriptor")
}

/// Whether all that read the other end have gone.
fn is_broken(mut writer: &File) -> bool {
    writer.write(b"x").is_err_and(|err| err.kind() == ErrorKind::BrokenPipe)
}

/// Reads to the end of file on a thread.
fn collect(mut reader: File) -> smol::Task<Vec<u8>> {
    smol::unblock(move || {
        let mut all = Vec::new();
        reader.read_to_end(&mut all).expect("a pipe can be read");
        all
    })
}

/// Lets everything happen that is due: others are served while bytes pass through pipes of their own.
pub(crate) async fn settle() {
    for _ in 0..10 {
        let (read, write) = pipe();
        (&write).write_all(b"x").expect("there is room");
        let reader = connect_read_pipe(Reader::new(), read).await.expect("a pipe");
        let transport = reader.transport().clone();
        smol::future::zip(reader, async { drop(write) }).await;
        assert!(transport.is_closing());
    }
}

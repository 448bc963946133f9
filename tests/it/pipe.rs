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
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
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

/// Whether nothing in this process reads the other end. A child that another test is starting has a copy of it until it
/// executes its program, so those are waited for.
fn is_broken(writer: &File) -> bool {
    if is_held(writer) {
        return false;
    }
    let mut broken = [PollFd::new(writer, PollFlags::empty())];
    poll(&mut broken, None).is_ok_and(|_| broken[0].revents().contains(PollFlags::ERR))
}

/// Whether another descriptor of this process is an end of the pipe.
#[cfg(target_os = "linux")]
fn is_held(end: &File) -> bool {
    let name = |entry: &str| std::fs::read_link(format!("/proc/self/fd/{entry}")).ok();
    let pipe = name(&end.as_raw_fd().to_string()).expect("the name of a pipe");
    let all = std::fs::read_dir("/proc/self/fd").expect("a list of descriptors");
    let names = all.filter_map(|entry| name(entry.ok()?.file_name().to_str()?));
    names.filter(|name| *name == pipe).count() > 1
}

#[cfg(not(target_os = "linux"))]
fn is_held(_: &File) -> bool {
    false
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

//! CPython's asyncio and uvloop: the same protocol in the language that it comes from.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use super::Socket;

/// The interpreter; `BENCH_PYTHON` names another one, such as that of an environment with uvloop in it.
fn interpreter() -> String {
    std::env::var("BENCH_PYTHON").unwrap_or_else(|_| "python3".to_owned())
}

/// Bytes that glibc keeps in the process.
const KEPT: &str = "16777216";

const SCRIPT: &str = include_str!("echo.py");

/// Whether the interpreter has the module.
pub(super) fn check(module: &str) -> Result<(), String> {
    let import = format!("import {module}");
    let mut command = Command::new(interpreter());
    command.args(["-c", &import]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        _ => Err(format!("{} has no {module} (BENCH_PYTHON names another interpreter)", interpreter())),
    }
}

pub(super) fn asyncio(socket: Socket) -> io::Result<()> {
    serve("asyncio", socket)
}

pub(super) fn uvloop(socket: Socket) -> io::Result<()> {
    serve("uvloop", socket)
}

/// Becomes the interpreter, which inherits the socket.
fn serve(loop_name: &str, socket: Socket) -> io::Result<()> {
    let (fd, kind) = match &socket {
        Socket::Tcp(listener) => (listener.as_fd(), "tcp"),
        Socket::Unix(listener) => (listener.as_fd(), "unix"),
        Socket::Udp(socket) => (socket.as_fd(), "udp"),
    };
    rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty())?;
    let fd = fd.as_raw_fd().to_string();
    let mut python = Command::new(interpreter());
    python.args(["-c", SCRIPT, loop_name, kind, &fd]);
    // It receives into 256 KiB that are new each time. glibc may take them from the system and give them back for each
    // message, or not, as what was there before has it: with this it does not, which is the better case.
    python.env("MALLOC_MMAP_THRESHOLD_", KEPT).env("MALLOC_TRIM_THRESHOLD_", KEPT);
    Err(python.exec())
}

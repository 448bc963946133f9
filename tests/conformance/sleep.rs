//! Sleep for children by the driver's time: what comes after a `sleep` in a shell does not depend on how fast the machine
//! is.
//!
//! A child finds this program by the name of `sleep`. It tells the driver for how long it is to sleep, and ends when the
//! driver lets go of it. Time passes only where the driver waits: by a pause as long as it should have taken, and where
//! an event is waited for, up to the next sleeper that wakes.

use std::env;
use std::fs;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

/// Where the driver listens.
const SOCKET: &str = "CONFORMANCE_SLEEP";

/// The driver's time, and who sleeps by it.
#[derive(Debug)]
pub(crate) struct Sleepers {
    listener: UnixListener,
    now: Duration,
    /// When each is to wake, and the end of its sleep: it wakes when that is dropped.
    asleep: Vec<(Duration, UnixStream)>,
}

/// If this program was started by the name of `sleep`: sleeps, and the exit code.
pub(crate) fn as_program() -> Option<ExitCode> {
    let mut args = env::args();
    let name = args.next()?;
    let socket = env::var_os(SOCKET)?;
    if Path::new(&name).file_name()? != "sleep" {
        return None;
    }
    let slept = sleep(Path::new(&socket), &args.next().unwrap_or_default());
    Some(slept.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS))
}

fn sleep(socket: &Path, time: &str) -> io::Result<()> {
    let mut driver = UnixStream::connect(socket)?;
    driver.write_all(time.as_bytes())?;
    driver.shutdown(Shutdown::Write)?;
    driver.read(&mut [0]).map(drop)
}

/// Has a command find this program by the name of `sleep`.
pub(crate) fn lend(command: &mut Command, folder: &Path) -> io::Result<()> {
    let programs = folder.join("programs");
    fs::create_dir(&programs)?;
    symlink(env::current_exe()?, programs.join("sleep"))?;
    let usual = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths([programs].into_iter().chain(env::split_paths(&usual))).map_err(io::Error::other)?;
    command.env("PATH", path).env(SOCKET, socket(folder));
    Ok(())
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("sleep")
}

impl Sleepers {
    pub(crate) fn new(folder: &Path) -> io::Result<Self> {
        let listener = UnixListener::bind(socket(folder))?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, now: Duration::ZERO, asleep: Vec::new() })
    }

    /// When time has come to that.
    pub(crate) fn after(&self, time: Duration) -> Duration {
        self.now.saturating_add(time)
    }

    /// Lets time pass: whether somebody has woken.
    pub(crate) fn pass(&mut self, time: Duration) -> bool {
        let end = self.after(time);
        let mut woken = false;
        while self.wake_next(end) {
            woken = true;
        }
        self.now = end;
        woken
    }

    /// Lets time pass up to the next one who wakes, if that is before `end`.
    pub(crate) fn wake_next(&mut self, end: Duration) -> bool {
        self.take_in();
        let next = (0..self.asleep.len()).min_by_key(|index| self.asleep[*index].0);
        let Some(next) = next.filter(|index| self.asleep[*index].0 <= end) else { return false };
        self.now = self.now.max(self.asleep.swap_remove(next).0);
        true
    }

    /// Takes in those who have fallen asleep, and forgets those who are gone.
    fn take_in(&mut self) {
        self.asleep.retain(|(_, stream)| is_there(stream));
        while let Ok((mut stream, _)) = self.listener.accept() {
            let mut time = String::new();
            let told = stream.set_nonblocking(false).and_then(|()| stream.read_to_string(&mut time));
            let time = time.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
            // One who says nothing of use wakes at once.
            if let (Ok(_), Some(time)) = (told, time) {
                self.asleep.push((self.after(time), stream));
            }
        }
    }
}

/// Whether a sleeper has not been killed: it would write to nobody.
fn is_there(stream: &UnixStream) -> bool {
    let mut fds = [rustix::event::PollFd::new(stream, rustix::event::PollFlags::empty())];
    let now = rustix::event::Timespec::default();
    let polled = rustix::event::poll(&mut fds, Some(&now));
    polled.is_ok() && !fds[0].revents().intersects(rustix::event::PollFlags::HUP)
}

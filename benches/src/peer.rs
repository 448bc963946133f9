//! A server under test, in a process of its own.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::servers::Server;

#[derive(Debug)]
pub(crate) struct Peer {
    child: Child,
    pub(crate) port: u16,
}

impl Peer {
    /// Starts the server; it is listening when this returns.
    pub(crate) fn start(server: &Server, cpu: Option<usize>) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["serve", server.name, "--bound"]);
        if let Some(cpu) = cpu {
            command.args(["--cpu", &cpu.to_string()]);
        }
        // One thread each: what is compared is the cost of a message.
        command.env("SMOL_THREADS", "1").stdin(Stdio::null()).stdout(Stdio::piped());
        let mut peer = Self { child: command.spawn()?, port: 0 };
        peer.port = peer.read_port()?;
        Ok(peer)
    }

    fn read_port(&mut self) -> io::Result<u16> {
        let stdout = self.child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        line.trim().parse().map_err(|_| io::Error::other("the server did not start"))
    }

    /// The processor time that its threads have used, in nanoseconds' resolution. Exact while they sleep.
    pub(crate) fn cpu_time(&self) -> io::Result<Duration> {
        let mut total = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            total += run_time(&task?.path())?;
        }
        Ok(Duration::from_nanos(total))
    }
}

/// The first number of a thread's `schedstat`.
fn run_time(task: &Path) -> io::Result<u64> {
    let text = fs::read_to_string(task.join("schedstat"))?;
    let first = text.split(' ').next().and_then(|word| word.parse().ok());
    first.ok_or_else(|| io::Error::other("the kernel keeps no schedstat"))
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

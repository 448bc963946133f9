//! A server under test, in a process of its own.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use crate::servers::Server;
use crate::workload::{Address, Net};

/// Milliseconds to wait at most until a server has come to rest.
const PATIENCE: usize = 1000;

#[derive(Debug)]
pub(crate) struct Peer {
    child: Child,
    pub(crate) name: &'static str,
    pub(crate) address: Address,
}

impl Peer {
    /// Starts the server; it is listening when this returns.
    pub(crate) fn start(server: &Server, net: Net, cpu: Option<usize>) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["serve", server.name, "--bound", "--net", &net.to_string()]);
        if let Some(cpu) = cpu {
            command.args(["--cpu", &cpu.to_string()]);
        }
        // One thread each: what is compared is the cost of a message.
        command.env("SMOL_THREADS", "1").stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let address = read_address(&mut child);
        if address.is_err() {
            // It may be gone already.
            let _ = child.kill();
            child.wait()?;
        }
        Ok(Self { child, name: server.name, address: address? })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Bytes of its memory that are resident.
    pub(crate) fn resident(&self) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: Option<u64> = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse().ok());
        kib.map(|kib| kib * 1024).ok_or_else(|| io::Error::other("the kernel tells no VmRSS"))
    }

    /// Waits until it has nothing to do: it may have many connections to close.
    pub(crate) fn rest(&self) -> io::Result<()> {
        let mut before = self.cpu_time()?;
        for _ in 0..PATIENCE {
            sleep(Duration::from_millis(1));
            let now = self.cpu_time()?;
            if now == before {
                break;
            }
            before = now;
        }
        Ok(())
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

fn read_address(child: &mut Child) -> io::Result<Address> {
    let stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    Address::parse(&line)
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
        if let Address::Unix(path) = &self.address {
            let _ = fs::remove_file(path);
        }
    }
}

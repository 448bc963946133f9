//! A child process: `sort`, fed by one pipe and read from another.

use std::io;
use std::process::{Command, ExitStatus};

use smol_transports::{Pipe, SubprocessProtocol, SubprocessTransport, subprocess_exec, subprocess_shell};

// ANCHOR: protocol
#[derive(Default)]
struct Sort {
    input: Vec<u8>,
    output: Vec<u8>,
    errors: Vec<u8>,
    status: Option<ExitStatus>,
}

impl SubprocessProtocol for Sort {
    fn connection_made(&mut self, transport: &SubprocessTransport) {
        let stdin = transport.stdin().expect("standard input is a pipe");
        stdin.write(&self.input);
        // `sort` begins when it has read everything.
        stdin.close();
    }

    fn pipe_data_received(&mut self, _transport: &SubprocessTransport, pipe: Pipe, data: &[u8]) {
        match pipe {
            Pipe::Stdout => self.output.extend_from_slice(data),
            _ => self.errors.extend_from_slice(data),
        }
    }

    fn process_exited(&mut self, _transport: &SubprocessTransport, status: ExitStatus) {
        self.status = Some(status);
    }
}
// ANCHOR_END: protocol

// ANCHOR: sorted
async fn sorted(input: &[u8]) -> io::Result<Vec<u8>> {
    let protocol = Sort { input: input.to_vec(), ..Sort::default() };
    let sort = subprocess_exec(protocol, Command::new("sort").env("LC_ALL", "C")).await?.await;
    match sort.status {
        Some(status) if status.success() => Ok(sort.output),
        _ => Err(io::Error::other(String::from_utf8_lossy(&sort.errors).into_owned())),
    }
}
// ANCHOR_END: sorted

// ANCHOR: main
pub fn main() -> io::Result<()> {
    let sorted = smol::block_on(sorted(b"pear\napple\nfig\n"))?;
    print!("{}", String::from_utf8_lossy(&sorted));
    smol::block_on(tell())
}
// ANCHOR_END: main

// ANCHOR: narrator
/// Tells what it is told.
struct Narrator;

impl SubprocessProtocol for Narrator {
    fn pipe_data_received(&mut self, _transport: &SubprocessTransport, pipe: Pipe, data: &[u8]) {
        println!("pipe_data_received({pipe:?}, {:?})", String::from_utf8_lossy(data));
    }

    fn pipe_connection_lost(&mut self, transport: &SubprocessTransport, pipe: Pipe, exc: Option<io::Error>) {
        println!("pipe_connection_lost({pipe:?}, {exc:?})");
        if pipe == Pipe::Stdout {
            // Now that its output has ended, let the child end too.
            transport.stdin().into_iter().for_each(|stdin| stdin.close());
        }
    }

    fn process_exited(&mut self, transport: &SubprocessTransport, _status: ExitStatus) {
        println!("process_exited, the code is {:?}", transport.returncode());
    }

    fn connection_lost(&mut self, exc: Option<io::Error>) {
        println!("connection_lost({exc:?})");
    }
}

async fn tell() -> io::Result<()> {
    let line = "echo hello; exec >&-; read line; exit 3";
    subprocess_shell(Narrator, line).stderr(smol_transports::Stdio::Inherit).await?.await;
    Ok(())
}
// ANCHOR_END: narrator

// ANCHOR: limit
/// Lets a child run for so long, then kills it.
async fn run_for(limit: std::time::Duration, command: Command) -> io::Result<Option<i32>> {
    let (transport, running) = subprocess_exec(Sort::default(), command).await?.spawn();
    let ended = smol::future::or(transport.closed(), async {
        smol::Timer::after(limit).await;
        Ok(())
    });
    ended.await?;
    // Kills the child if it has not exited. The callbacks that are still due are made.
    transport.close();
    running.await;
    Ok(transport.returncode())
}
// ANCHOR_END: limit

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_sorts() {
        let input: String = (0..20_000).rev().map(|number| format!("{number:06}\n")).collect();
        let sorted = smol::block_on(sorted(input.as_bytes())).unwrap();
        let lines: Vec<_> = sorted.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
        assert!(lines.len() == 20_000 && lines.is_sorted());
    }

    #[test]
    fn a_limit_kills() {
        let mut sleep = Command::new("sleep");
        sleep.arg("1000");
        let code = smol::block_on(run_for(Duration::from_millis(50), sleep)).unwrap();
        assert_eq!(code, Some(-9));
        let code = smol::block_on(run_for(Duration::from_secs(60), Command::new("true"))).unwrap();
        assert_eq!(code, Some(0));
    }
}

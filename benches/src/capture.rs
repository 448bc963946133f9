//! Counts the output of a child with `smol_transports::capture` and with a blocking reader of std, in turn.
//!
//! `cargo run --release -p smol-transports-bench --bin capture`, with `--quick` to see that it works. The exit code says
//! whether the median of the ratios is 0.9 or more.

use std::io::{self, Read};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use smol_transports::capture::{self, Keep};

const GIB: u64 = 1 << 30;
const ROUNDS: usize = 11;

/// What is asked for.
const BAR: f64 = 0.9;

fn main() -> io::Result<ExitCode> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let quick = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => false,
        ["--quick"] => true,
        _ => {
            eprintln!("usage: capture [--quick]");
            return Ok(ExitCode::from(2));
        }
    };
    let (rounds, bytes) = if quick { (1, GIB / 64) } else { (ROUNDS, GIB) };
    let mut ratios = Vec::new();
    println!("| round | std s | capture s | speed of std |\n|---|---|---|---|");
    for round in 0..=rounds {
        // Whoever comes first in a round has no advantage over all rounds.
        let (std, ours) = if round % 2 == 0 {
            let std = timed(|| with_std(bytes), bytes)?;
            (std, timed(|| with_capture(bytes), bytes)?)
        } else {
            let ours = timed(|| with_capture(bytes), bytes)?;
            (timed(|| with_std(bytes), bytes)?, ours)
        };
        // The first round warms up.
        if round > 0 {
            let ratio = std.as_secs_f64() / ours.as_secs_f64();
            println!("| {round} | {:.3} | {:.3} | {ratio:.2} |", std.as_secs_f64(), ours.as_secs_f64());
            ratios.push(ratio);
        }
    }
    ratios.sort_by(f64::total_cmp);
    let median = ratios[ratios.len() / 2];
    println!("\nmedian: {median:.2} times the speed of std");
    Ok(if quick || median >= BAR { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn source(bytes: u64) -> Command {
    let mut command = Command::new("head");
    command.arg("-c").arg(bytes.to_string()).arg("/dev/zero");
    command
}

fn timed(count: impl Fn() -> io::Result<u64>, expected: u64) -> io::Result<Duration> {
    let start = Instant::now();
    let counted = count()?;
    let time = start.elapsed();
    if counted != expected {
        return Err(io::Error::other(format!("{counted} bytes instead of {expected}")));
    }
    Ok(time)
}

fn with_std(bytes: u64) -> io::Result<u64> {
    let mut child = source(bytes).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let mut buffer = vec![0; 64 * 1024];
    let mut total = 0;
    loop {
        match stdout.read(&mut buffer)? {
            0 => break,
            count => total += count as u64,
        }
    }
    child.wait()?;
    Ok(total)
}

fn with_capture(bytes: u64) -> io::Result<u64> {
    let captured = smol::block_on(async { capture::run(source(bytes)).keep(Keep::Nothing).await })?;
    Ok(captured.stdout().total())
}

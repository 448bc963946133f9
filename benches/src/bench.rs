//! Side-by-side benchmarks: echo servers of this crate and its peers under one load generator. Linux only.
//!
//! The numbers of a shared machine mean little by themselves. So the servers take turns within each round, and what is
//! reported is the median of the ratios to a base that ran beside them. See `--help`.

mod args;
mod load;
mod machine;
mod peer;
mod report;
mod rounds;
mod servers;
mod workload;

use std::io::{self, Write};
use std::net::TcpListener;
use std::process::ExitCode;

use args::{Args, Drive, Plan, Serve};
use load::Load;

fn main() -> ExitCode {
    match args::parse(std::env::args().skip(1)).and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("smol-transports-bench: {err}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> io::Result<()> {
    match args {
        Args::Help => io::stdout().write_all(args::help().as_bytes()),
        Args::Compare(plan) => compare(&plan),
        Args::Serve(serve) => serve_alone(&serve),
        Args::Load(drive) => drive_once(&drive),
    }
}

/// Everything: starts the servers, takes the samples, prints the table.
fn compare(plan: &Plan) -> io::Result<()> {
    let samples = rounds::take(plan)?;
    io::stdout().write_all(report::markdown(plan, &samples).as_bytes())
}

/// One server, until it is killed. Its port is the only line on standard output.
fn serve_alone(serve: &Serve) -> io::Result<()> {
    if let Some(cpu) = serve.cpu {
        machine::pin_thread(cpu)?;
    }
    if serve.bound {
        machine::die_with_parent()?;
    }
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    // The standard library has a short queue, and the server under test might set its own: make it the same for all.
    rustix::net::listen(&listener, 1024)?;
    println!("{}", listener.local_addr()?.port());
    (serve.server.run)(listener)
}

/// One run against a server that is there already, to look at it with `perf` or `strace`.
fn drive_once(drive: &Drive) -> io::Result<()> {
    if let Some(cpu) = drive.cpu {
        machine::pin_thread(cpu)?;
    }
    let mut load = Load::connect(drive.port, drive.workload)?;
    let run = if drive.paced { load.run_paced(drive.time)? } else { load.run(drive.time)? };
    println!("{} messages in {:.3} s", run.messages, run.time.as_secs_f64());
    Ok(())
}

//! Side-by-side benchmarks: servers of this crate and its peers under one load generator. Linux only.
//!
//! The numbers of a shared machine mean little by themselves. So the servers take turns within each round, and what is
//! reported is the median of the ratios to a base that ran beside them. See `--help`.

mod args;
mod bars;
mod calls;
mod children;
mod growth;
mod load;
mod machine;
mod memory;
mod peer;
mod report;
mod rounds;
mod servers;
mod workload;

use std::io::{self, Write};
use std::process::ExitCode;

use args::{Args, Drive, Extra, Plan, Serve};
use load::Load;
use servers::Socket;

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
        Args::Compare(plan) => compare(plan),
        Args::Bars(plan) => {
            machine::raise_limits()?;
            machine::end_after(plan.limit);
            bars::print(&plan)
        }
        Args::Serve(serve) => serve_alone(&serve),
        Args::Load(drive) => drive_once(&drive),
        Args::Grow(growth) => {
            machine::raise_limits()?;
            growth::write(&growth)
        }
        Args::Job(name) => children::job(&name),
    }
}

/// Everything: starts the servers, takes the samples, prints the tables as they are done.
fn compare(mut plan: Plan) -> io::Result<()> {
    machine::raise_limits()?;
    machine::end_after(plan.limit);
    let mut out = io::stdout();
    writeln!(out, "{}", report::preface(&plan))?;
    plan.servers.retain(|server| match servers::check(server) {
        Ok(()) => true,
        Err(why) => {
            println!("Without {}: {why}.\n", server.name);
            false
        }
    });
    let pins = if plan.workloads.is_empty() { Vec::new() } else { plan.pins.clone() };
    for pin in pins {
        writeln!(out, "## {}\n", report::pinning(pin))?;
        for group in plan.workloads.chunk_by(|one, other| one.is_like(other)) {
            match rounds::take(&plan, pin, group) {
                Ok(table) => writeln!(out, "{}", report::table(group, &table))?,
                Err(err) => writeln!(out, "{}", report::failure(&group[0].table(), &err))?,
            }
        }
    }
    for extra in &plan.extras {
        let table = match extra {
            Extra::Memory => memory::table(&plan),
            Extra::Calls => calls::table(&plan),
            Extra::Children => children::table(&plan),
        };
        writeln!(out, "{}", table.unwrap_or_else(|err| report::failure(extra.name(), &err)))?;
    }
    Ok(())
}

/// One server, until it is killed. Its address is the only line on standard output.
fn serve_alone(serve: &Serve) -> io::Result<()> {
    if let Some(cpu) = serve.cpu {
        machine::pin_thread(cpu)?;
    }
    if serve.bound {
        machine::die_with_parent()?;
    }
    machine::raise_limits()?;
    let (socket, address) = Socket::bind(serve.net)?;
    println!("{address}");
    (serve.server.run)(socket)
}

/// One run against a server that is there already, to look at it with `perf` or `strace`.
fn drive_once(drive: &Drive) -> io::Result<()> {
    machine::raise_limits()?;
    if let Some(cpu) = drive.cpu {
        machine::pin_thread(cpu)?;
    }
    let run = Load::connect(&drive.address, drive.workload)?.run(drive.time)?;
    println!("{} messages in {:.3} s", run.messages, run.time.as_secs_f64());
    Ok(())
}

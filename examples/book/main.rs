//! The programs of the book.
//!
//! Run one with `cargo run --example book NAME`; without a name it lists them. Each module is a program of its own, with
//! a `main` and tests.

#![allow(unreachable_pub, reason = "each module is a program, with a main as others have it")]
#![allow(dead_code, reason = "some listings are run by tests alone")]

use std::io;
use std::process::ExitCode;

mod actor;
#[cfg(unix)]
mod capture;
#[cfg(unix)]
mod child;
mod client;
mod datagrams;
mod echo;
mod flow;
mod life;
mod limits;
mod pitfalls;
mod sockets;
mod stop;
mod sum;
mod threads;
#[cfg(feature = "tls")]
mod tls;
mod tokio;
mod watch;

/// A program of the book.
type Program = fn() -> io::Result<()>;

/// The programs, in the order of the chapters.
const PROGRAMS: &[(&str, Program)] = &[
    ("life", life::main),
    ("echo", echo::main),
    ("client", client::main),
    ("flow", flow::main),
    ("sum", sum::main),
    ("datagrams", datagrams::main),
    ("sockets", sockets::main),
    #[cfg(unix)]
    ("child", child::main),
    #[cfg(unix)]
    ("capture", capture::main),
    #[cfg(feature = "tls")]
    ("tls", tls::main),
    ("stop", stop::main),
    ("limits", limits::main),
    ("watch", watch::main),
    ("actor", actor::main),
    ("threads", threads::main),
    ("tokio", tokio::main),
    ("pitfalls", pitfalls::main),
];

fn main() -> ExitCode {
    let Some(name) = std::env::args().nth(1) else {
        PROGRAMS.iter().for_each(|(name, _)| println!("{name}"));
        return ExitCode::SUCCESS;
    };
    match run(&name) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("{name}: {err}");
            ExitCode::FAILURE
        }
    }
}

fn run(name: &str) -> io::Result<()> {
    let known = PROGRAMS.iter().find(|(known, _)| *known == name);
    let (_, program) = known.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "there is no such program"))?;
    program()
}

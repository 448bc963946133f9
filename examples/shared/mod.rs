//! What the programs that real clients talk to have in common: arguments, and an end by Ctrl-C.

use std::io;
use std::process::ExitCode;

use async_signal::{Signal, Signals};
use smol::stream::StreamExt;

#[cfg(unix)]
const ENDS: &[Signal] = &[Signal::Int, Signal::Term];
#[cfg(not(unix))]
const ENDS: &[Signal] = &[Signal::Int];

/// Runs a program whose arguments may all be left out, from the last one on.
pub(crate) fn start<const N: usize>(
    usage: &str,
    defaults: [&str; N],
    program: impl AsyncFnOnce([String; N], Interrupt) -> io::Result<()>,
) -> ExitCode {
    let mut args = defaults.map(str::to_owned);
    for (index, arg) in std::env::args().skip(1).enumerate() {
        match args.get_mut(index) {
            _ if arg == "-h" || arg == "--help" => {
                println!("{usage}");
                return ExitCode::SUCCESS;
            }
            Some(place) if !arg.starts_with('-') => *place = arg,
            _ => {
                eprintln!("unexpected argument {arg:?}\n{usage}");
                return ExitCode::from(2);
            }
        }
    }
    // Before the program says that it is ready.
    let result = Signals::new(ENDS).and_then(|signals| smol::block_on(program(args, Interrupt(signals))));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("error: {err}");
            ExitCode::FAILURE
        }
    }
}

/// Ctrl-C, or what else asks a program to end.
pub(crate) struct Interrupt(Signals);

impl Interrupt {
    pub(crate) async fn wait(mut self) -> io::Result<()> {
        self.0.next().await.transpose().map(drop)
    }
}

//! Runs many commands at once, and shows what they say without mixing it up.
//!
//! ```text
//! cargo run --release --example fanout -- 'cargo test' 'npm test' 'make lint'
//! printf '%s\n' 'sleep 1; echo one' 'echo two; exit 3' | cargo run --example fanout -- -j 2 --keep-going
//! cargo run --example fanout -- --help
//! ```
//!
//! It is a tool as one would write it with `smol_transports::capture`, and what it relies on is tested, in
//! `tests/it/capture/system.rs`, in `tests/examples/fanout.rs` with this program, and in `benches/src/capture.rs`:
//!
//! * (a) `sh -c 'sleep 60 & echo hi'` is over at once, with status 0 and "pipe held":
//!   `a_descendant_that_holds_a_pipe_holds_nothing_up`, `a_held_pipe_is_told`;
//! * (b) `trap "" TERM; sleep 60` dies after its grace: `what_ignores_sigterm_dies_after_its_grace`;
//! * (c) 100 MB in one line keep the memory flat: `a_line_of_100_megabytes_keeps_the_memory_flat`;
//! * (d) nothing of a group is left after any exit, a panic and Ctrl-C included: `no_exit_leaves_anything_behind`,
//!   `a_panic_leaves_nothing_behind`, `ctrl_c_asks_all_groups_to_end`, `a_second_ctrl_c_kills_them`, `ctrl_backslash_kills_them_at_once`;
//! * (e) merged output is in the order of the writes: `merged_output_is_in_the_order_of_the_writes`;
//! * (f) 200 commands with `-j 4` are never more than 4 children: `there_are_never_more_children_than_asked_for`;
//! * (g) 1 GiB of output is counted about as fast as a blocking reader counts it: the benchmark;
//! * (h) a run that is dropped anywhere leaves nothing behind: `dropping_it_anywhere_leaves_nothing_behind`.

#[cfg(unix)]
mod args;
#[cfg(unix)]
mod crew;
#[cfg(unix)]
mod job;
#[cfg(unix)]
mod report;

#[cfg(unix)]
fn main() -> std::process::ExitCode {
    use std::process::ExitCode;

    const MISUSE: u8 = 2;
    match args::parse() {
        Ok(Some(args)) => ExitCode::from(smol::block_on(crew::run(args))),
        Ok(None) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("fanout: {err}\nTry 'fanout --help'.");
            ExitCode::from(MISUSE)
        }
    }
}

#[cfg(not(unix))]
fn main() {
    println!("child processes are supported on Unix only");
}

//! Requests, results of the system, callbacks and polls in any order, on an in-memory stream.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/sequences/stream.rs"]
mod stream;

fuzz_target!(|input: ((u16, u16), Vec<stream::Request>, Vec<stream::Step>)| {
    let (limits, first, steps) = input;
    stream::run(limits, first, &steps);
});

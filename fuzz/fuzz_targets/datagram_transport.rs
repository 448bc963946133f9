//! Requests, results of the system, callbacks and polls in any order, on an in-memory datagram endpoint.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/sequences/datagram.rs"]
mod datagram;

fuzz_target!(|input: ((u16, u16), Vec<datagram::Request>, Vec<datagram::Step>)| {
    let (limits, first, steps) = input;
    datagram::run(limits, first, &steps);
});

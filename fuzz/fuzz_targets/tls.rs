//! An upgrade to TLS and what follows it: a real client whose bytes come in any pieces, changed, cut off or made up.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/sequences/tls.rs"]
mod tls;

fuzz_target!(|input: (u8, Vec<tls::Step>)| {
    let (cut, steps) = input;
    tls::run(cut, &steps);
});

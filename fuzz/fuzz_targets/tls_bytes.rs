//! Whatever a server over TLS is sent, in any pieces: nothing of it reaches the protocol, and it ends once.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code, reason = "shared")]
#[path = "../../tests/sequences/tls.rs"]
mod tls;

fuzz_target!(|pieces: Vec<Vec<u8>>| {
    let steps = pieces.into_iter().flat_map(|piece| [tls::Step::Inject(piece), tls::Step::Poll]);
    tls::run(tls::REQUEST.len() as u8, &steps.collect::<Vec<_>>());
});

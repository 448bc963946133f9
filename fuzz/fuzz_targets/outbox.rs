//! Operations on an outbox, which must do what its model does. The files are those of the library.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../src/state/outbox/model.rs"]
mod model;

#[allow(dead_code, reason = "not all of it is fuzzed")]
#[path = "../../src/state"]
mod state {
    pub(crate) mod copied;
    pub(crate) mod kind;
    pub(crate) mod lifecycle;
    pub(crate) mod limits;
    pub(crate) mod marks;
    pub(crate) mod outbox;
}

fuzz_target!(|input: (u8, u8, Vec<model::Op>)| {
    let (a, b, ops) = input;
    model::run(a.min(b).into(), a.max(b).into(), ops);
});

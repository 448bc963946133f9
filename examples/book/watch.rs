//! What a process can be asked about its transports while it runs.

use std::io;

use smol_transports::stats::{Stats, stats};
use smol_transports::testing::{Memory, poll};
use smol_transports::{Protocol, Transport};

/// Answers each piece with a hundred times as much, whether that is read or not.
struct Boaster;

impl Protocol for Boaster {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        transport.write(data.repeat(100));
    }
}

// ANCHOR: report
/// What has happened since `before`, in a line.
fn report(before: Stats) -> String {
    let now = stats();
    let (reads, pauses) = (now.reads - before.reads, now.pauses - before.pauses);
    format!("{} alive, {} bytes wait, {reads} reads, {pauses} pauses", now.alive, now.buffered)
}
// ANCHOR_END: report

// ANCHOR: main
pub fn main() -> io::Result<()> {
    let before = stats();
    let (mut reader, from_reader) = Memory::new(Boaster).connect();
    let (mut other, from_other) = Memory::new(Boaster).room(0).connect();
    for _ in 0..10 {
        from_reader.feed([b'?'; 100]);
        from_other.feed([b'?'; 100]);
    }
    assert!(poll(&mut reader).is_pending() && poll(&mut other).is_pending());
    println!("{}", report(before));

    let before = stats();
    drop(other);
    println!("{}", report(before));
    Ok(())
}
// ANCHOR_END: main

//! Two writers and a slow reader, and what waits in the buffers of their transports.

use std::fmt::Write;
use std::io;

use smol_transports::testing::{Memory, poll};
use smol_transports::{Protocol, StreamProtocol, Transport, Written};

const KIB: usize = 1024;
const BLOCK: [u8; 4 * KIB] = [b'x'; 4 * KIB];

// ANCHOR: patient
/// Sends its blocks as fast as they leave.
struct Patient {
    blocks: usize,
}

impl Patient {
    fn go_on(&mut self, transport: &Transport) {
        while self.blocks > 0 {
            self.blocks -= 1;
            if transport.write(BLOCK) == Written::Full {
                return;
            }
        }
        transport.close();
    }
}

impl Protocol for Patient {
    fn connection_made(&mut self, transport: &Transport) {
        self.go_on(transport);
    }

    fn resume_writing(&mut self, transport: &Transport) {
        self.go_on(transport);
    }
}
// ANCHOR_END: patient

// ANCHOR: hasty
/// Sends its blocks at once.
struct Hasty {
    blocks: usize,
}

impl Protocol for Hasty {
    fn connection_made(&mut self, transport: &Transport) {
        for _ in 0..self.blocks {
            transport.write(BLOCK);
        }
        transport.close();
    }
}
// ANCHOR_END: hasty

// ANCHOR: generous
/// Answers each byte with a block: a few bytes ask for more than fits into any buffer.
#[derive(Default)]
struct Generous {
    /// Questions that have arrived and are not answered yet.
    open: usize,
}

impl Generous {
    fn go_on(&mut self, transport: &Transport) {
        while self.open > 0 && !transport.is_writing_paused() {
            self.open -= 1;
            transport.write(BLOCK);
        }
    }
}

impl Protocol for Generous {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        self.open += data.len();
        self.go_on(transport);
    }

    fn pause_writing(&mut self, transport: &Transport) {
        transport.pause_reading();
    }

    fn resume_writing(&mut self, transport: &Transport) {
        transport.resume_reading();
        self.go_on(transport);
    }
}
// ANCHOR_END: generous

// ANCHOR: watch
/// What waits in the buffer, at each step, while a reader takes 4 KiB in each step.
fn watch(protocol: impl StreamProtocol<Transport>) -> Vec<usize> {
    let (mut connection, peer) = Memory::new(protocol).room(0).connect();
    let mut sizes = Vec::new();
    loop {
        sizes.push(connection.transport().write_buffer_size());
        peer.set_room(4 * KIB);
        if poll(&mut connection).is_ready() {
            return sizes;
        }
    }
}
// ANCHOR_END: watch

// ANCHOR: main
pub fn main() -> io::Result<()> {
    let patient = watch(Patient { blocks: 64 });
    let hasty = watch(Hasty { blocks: 64 });
    print!("{}", plot(&patient, &hasty));
    Ok(())
}
// ANCHOR_END: main

/// The left end of the steps, and the bottom of the bytes, in the drawing.
const ORIGIN: (usize, usize) = (70, 290);

/// A drawing of both buffers over time.
fn plot(patient: &[usize], hasty: &[usize]) -> String {
    let mut svg = String::from(
        "<svg class=\"drawing\" viewBox=\"0 0 760 340\" role=\"img\" aria-labelledby=\"flow-title\">\n\
         <title id=\"flow-title\">Bytes in the buffers of a patient and a hasty writer over time</title>\n",
    );
    for (size, text) in [(256, "256 KiB"), (128, "128 KiB"), (64, "high mark"), (16, "low mark"), (0, "0")] {
        let height = y(size * KIB);
        let style = if text.ends_with("mark") { "line dashed" } else { "line faint" };
        let text = format!("<text x=\"62\" y=\"{}\" text-anchor=\"end\" class=\"small\">{text}</text>", height + 4);
        writeln!(svg, "<path d=\"M70 {height} H740\" class=\"{style}\"/>{text}").expect("a string takes all");
    }
    svg +=
        "<text x=\"740\" y=\"315\" text-anchor=\"end\" class=\"small\">steps: the reader takes 4 KiB in each</text>\n";
    svg += "<text x=\"190\" y=\"74\" class=\"small\">hasty</text>\n";
    svg += "<text x=\"190\" y=\"205\" class=\"small\">patient</text>\n";
    svg + &curve("second", hasty) + &curve("first", patient) + "</svg>\n"
}

fn curve(style: &str, sizes: &[usize]) -> String {
    let points = sizes.iter().enumerate().map(|(step, size)| format!("{},{}", ORIGIN.0 + step * 10, y(*size)));
    format!("<polyline points=\"{}\" class=\"line {style}\"/>\n", points.collect::<Vec<_>>().join(" "))
}

/// One KiB is one unit of the drawing.
const fn y(size: usize) -> usize {
    ORIGIN.1 - size / KIB
}

#[cfg(test)]
mod tests {
    use smol_transports::testing::finish;

    use super::*;

    #[test]
    fn the_patient_one_stays_near_the_high_mark() {
        let sizes = watch(Patient { blocks: 1000 });
        assert!(sizes.iter().all(|size| *size <= 64 * KIB + BLOCK.len()), "{sizes:?}");
        assert!(sizes.iter().filter(|size| **size > 64 * KIB).count() > 10, "it does not go on: {sizes:?}");
    }

    #[test]
    fn the_hasty_one_keeps_all_in_memory() {
        assert_eq!(watch(Hasty { blocks: 1000 })[0], 1000 * BLOCK.len());
    }

    #[test]
    fn a_generous_one_is_not_abused() {
        let (mut connection, peer) = Memory::new(Generous::default()).room(0).connect();
        peer.feed([0; 1000]);
        peer.feed([0; 1000]);
        peer.feed_eof();
        assert!(poll(&mut connection).is_pending());
        assert!(connection.transport().write_buffer_size() <= 64 * KIB + BLOCK.len());
        assert_eq!(connection.protocol().open, 1000 - 17);

        // All is answered, though the client has finished asking meanwhile.
        peer.set_room(usize::MAX);
        finish(connection);
        assert_eq!(peer.take_written().len(), 2000 * BLOCK.len());
    }

    #[test]
    fn both_send_all() {
        assert!(watch(Patient { blocks: 64 }).len() >= 64);
        assert_eq!(watch(Hasty { blocks: 64 }).len(), 64);
    }
}

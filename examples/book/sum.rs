//! A server that adds up: each line of numbers is answered by their sum.

use std::io;

use smol_transports::{OnEof, Protocol, Transport, create_server};

// ANCHOR: protocol
/// Longer lines are nonsense, and must not fill the memory.
const LONGEST: usize = 1000;

#[derive(Default)]
struct Sum {
    /// What has arrived of a line that is not complete.
    rest: Vec<u8>,
}

impl Protocol for Sum {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        self.rest.extend_from_slice(data);
        let received = std::mem::take(&mut self.rest);
        for line in received.split_inclusive(|byte| *byte == b'\n') {
            if line.len() > LONGEST {
                transport.write("error: the line is too long\n");
                // What has come behind it is not looked at.
                return transport.close();
            }
            if line.ends_with(b"\n") {
                transport.write(answer(line));
            } else {
                self.rest = line.to_vec();
            }
        }
    }

    fn eof_received(&mut self, transport: &Transport) -> OnEof {
        if !self.rest.is_empty() {
            transport.write("error: the last line has no end\n");
        }
        OnEof::Close
    }

    fn pause_writing(&mut self, transport: &Transport) {
        transport.pause_reading();
    }

    fn resume_writing(&mut self, transport: &Transport) {
        transport.resume_reading();
    }
}

fn answer(line: &[u8]) -> String {
    let words = std::str::from_utf8(line).unwrap_or("?").split_whitespace();
    let numbers: Result<Vec<i64>, _> = words.map(str::parse).collect();
    let sum = numbers.ok().and_then(|numbers| numbers.into_iter().try_fold(0_i64, i64::checked_add));
    sum.map_or_else(|| "error: numbers are expected\n".to_owned(), |sum| format!("{sum}\n"))
}
// ANCHOR_END: protocol

pub fn main() -> io::Result<()> {
    let address = std::env::args().nth(2).unwrap_or_else(|| "127.0.0.1:8888".to_owned());
    smol::block_on(async {
        let server = create_server(Sum::default, address).close_timeout(std::time::Duration::from_secs(5)).await?;
        println!("serving on {}", server.local_addr()?);
        server.serve_forever().await
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use smol_transports::WriteLimits;
    use smol_transports::testing::{Clock, Memory, converse, finish, poll};

    use super::*;

    // ANCHOR: pieces
    #[test]
    fn a_line_may_come_in_pieces_and_a_piece_may_hold_lines() {
        let (mut connection, peer) = Memory::new(Sum::default()).connect();
        peer.feed("1 2");
        peer.feed(" 3\n4 5\n10");
        assert!(poll(&mut connection).is_pending());
        assert_eq!(peer.take_written(), b"6\n9\n");

        peer.feed(" 20\n");
        assert!(poll(&mut connection).is_pending());
        assert_eq!(peer.take_written(), b"30\n");
    }
    // ANCHOR_END: pieces

    // ANCHOR: cut
    #[test]
    fn it_does_not_matter_where_the_stream_is_cut() {
        let input = b"1 2\n\n-7 7\n9223372036854775807 1\nx\n";
        for cut in 0..input.len() {
            let (mut connection, peer) = Memory::new(Sum::default()).connect();
            peer.feed(&input[..cut]);
            peer.feed(&input[cut..]);
            assert!(poll(&mut connection).is_pending());
            let expected = "3\n0\n0\nerror: numbers are expected\nerror: numbers are expected\n";
            assert_eq!(peer.take_written(), expected.as_bytes(), "cut at {cut}");
        }
    }
    // ANCHOR_END: cut

    // ANCHOR: end
    #[test]
    fn the_end_of_file_closes_after_the_answers() {
        let (connection, peer) = Memory::new(Sum::default()).connect();
        peer.feed("1 2\n3");
        peer.feed_eof();
        let _protocol: Sum = finish(connection);
        assert_eq!(peer.take_written(), b"3\nerror: the last line has no end\n");
        assert!(peer.is_closed());
    }

    #[test]
    fn a_line_without_end_is_cut_off() {
        let (connection, peer) = Memory::new(Sum::default()).connect();
        peer.feed("1".repeat(LONGEST + 1));
        let _protocol: Sum = finish(connection);
        assert_eq!(peer.take_written(), b"error: the line is too long\n");
    }
    // ANCHOR_END: end

    #[test]
    fn a_long_line_is_refused_wherever_it_is_cut() {
        let input = format!("1 2\n{}\n3 4\n", "1".repeat(LONGEST + 1));
        for cut in 0..input.len() {
            let (connection, peer) = Memory::new(Sum::default()).connect();
            peer.feed(&input.as_bytes()[..cut]);
            peer.feed(&input.as_bytes()[cut..]);
            let _protocol: Sum = finish(connection);
            assert_eq!(peer.take_written(), b"3\nerror: the line is too long\n", "cut at {cut}");
        }
    }

    #[test]
    fn a_piece_may_hold_thousands_of_lines() {
        let (mut connection, peer) = Memory::new(Sum::default()).connect();
        peer.feed("1\n".repeat(100_000));
        assert!(poll(&mut connection).is_pending());
        assert_eq!(peer.take_written(), "1\n".repeat(100_000).as_bytes());
    }

    // ANCHOR: room
    #[test]
    fn a_client_that_does_not_read_is_not_read_from() {
        let limits = WriteLimits::high(10);
        let (mut connection, peer) = Memory::new(Sum::default()).write_limits(limits).room(0).connect();
        for _ in 0..100 {
            peer.feed("1 2\n");
        }
        assert!(poll(&mut connection).is_pending());
        assert!(!connection.transport().is_reading());
        assert_eq!(connection.transport().write_buffer_size(), 12);

        peer.set_room(usize::MAX);
        assert!(poll(&mut connection).is_pending());
        assert_eq!(peer.take_written(), "3\n".repeat(100).as_bytes());
    }
    // ANCHOR_END: room

    // ANCHOR: broken
    #[derive(Default)]
    struct Lost(Option<io::Error>);

    impl Protocol for Lost {
        fn connection_lost(&mut self, exc: Option<io::Error>) {
            self.0 = exc;
        }
    }

    #[test]
    fn a_broken_connection_has_a_cause() {
        let (connection, peer) = Memory::new(Lost::default()).connect();
        peer.break_reading(io::ErrorKind::ConnectionReset.into());
        let lost = finish(connection);
        assert_eq!(lost.0.unwrap().kind(), io::ErrorKind::ConnectionReset);
    }
    // ANCHOR_END: broken

    // ANCHOR: converse
    /// Asks for one sum after the other, and hangs up after the last.
    struct Asker {
        questions: Vec<&'static str>,
        answers: String,
    }

    impl Protocol for Asker {
        fn connection_made(&mut self, transport: &Transport) {
            self.ask(transport);
        }

        fn data_received(&mut self, transport: &Transport, data: &[u8]) {
            self.answers += std::str::from_utf8(data).unwrap();
            if self.answers.ends_with('\n') {
                self.ask(transport);
            }
        }
    }

    impl Asker {
        fn ask(&mut self, transport: &Transport) {
            match self.questions.pop() {
                Some(question) => drop(transport.write(question)),
                None => transport.close(),
            }
        }
    }

    #[test]
    fn a_client_and_the_server_understand_each_other() {
        let asker = Asker { questions: vec!["10 20\n", "1 2\n"], answers: String::new() };
        let (asker, _sum) = converse(Memory::new(asker), Memory::new(Sum::default()));
        assert_eq!(asker.answers, "3\n30\n");
    }
    // ANCHOR_END: converse

    // ANCHOR: clock
    #[test]
    fn closing_does_not_wait_for_ever() {
        let clock = Clock::new();
        let memory = Memory::new(Lost::default()).room(0).clock(&clock).close_timeout(Duration::from_secs(5));
        let (mut connection, _peer) = memory.connect();
        connection.transport().write("good bye");
        connection.transport().close();
        assert!(poll(&mut connection).is_pending());

        clock.advance(Duration::from_secs(5));
        let lost = finish(connection);
        assert_eq!(lost.0.unwrap().kind(), io::ErrorKind::TimedOut);
    }
    // ANCHOR_END: clock
}

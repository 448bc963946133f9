//! The counters of `stats`, and what `tracing` is told.

use std::io::{ErrorKind, Write};
use std::net::SocketAddr;

use smol_transports::stats::stats;
use smol_transports::testing::{Memory, MemoryDatagram, finish, poll};
use smol_transports::{Addr, Buffered, DatagramProtocol, DatagramTransport, Transport, WriteLimits};

use crate::common::isolated;
use crate::recorder::{BufferedRecorder, Log, Recorder};

#[test]
fn the_counters_follow_a_connection() {
    isolated("observe::the_counters_follow_a_connection", || {
        let limits = WriteLimits::new(10, 100).unwrap();
        let recorder = Recorder::new(&Log::default()).on_data(|transport, _| transport.write([0; 200]));
        let (mut connection, peer) = Memory::new(recorder).write_limits(limits).room(50).connect();
        peer.feed("question");
        assert!(poll(&mut connection).is_pending());
        let seen = stats();
        assert_eq!((seen.made, seen.lost, seen.alive), (1, 0, 1));
        assert_eq!((seen.reads, seen.writes, seen.pauses, seen.buffered), (1, 1, 1, 150));
        assert_eq!((seen.received, seen.sent), (8, 50));

        peer.set_room(usize::MAX);
        assert!(poll(&mut connection).is_pending());
        let seen = stats();
        assert_eq!((seen.reads, seen.writes, seen.pauses, seen.buffered), (1, 2, 1, 0));
        assert_eq!((seen.received, seen.sent), (8, 200));

        peer.feed_eof();
        finish(connection);
        let seen = stats();
        assert_eq!((seen.made, seen.lost, seen.alive, seen.buffered), (1, 1, 0, 0));
    });
}

#[test]
fn the_bytes_of_a_file_and_of_a_buffer_of_the_protocol_are_counted() {
    isolated("observe::the_bytes_of_a_file_and_of_a_buffer_of_the_protocol_are_counted", || {
        let recorder = BufferedRecorder::new(Recorder::new(&Log::default()), 10);
        let (mut connection, peer) = Memory::new(Buffered(recorder)).room(600).connect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 1000]).unwrap();
        let _sent = connection.transport().sendfile(file, ..);
        peer.feed("question");
        assert!(poll(&mut connection).is_pending());
        assert_eq!((stats().received, stats().sent), (8, 600));
        peer.set_room(usize::MAX);
        assert!(poll(&mut connection).is_pending());
        assert_eq!((stats().received, stats().sent), (8, 1000));
    });
}

/// Answers with three datagrams.
struct Thrice;

impl DatagramProtocol for Thrice {
    fn datagram_received(&mut self, transport: &DatagramTransport, data: &[u8], addr: &Addr) {
        (0..3).for_each(|_| drop(transport.send_to(data, addr.clone()).ok()));
    }
}

#[test]
fn a_datagram_that_could_not_be_sent_does_not_count() {
    isolated("observe::a_datagram_that_could_not_be_sent_does_not_count", || {
        let (mut endpoint, peer) = MemoryDatagram::new(Thrice).open();
        let sender = SocketAddr::from(([127, 0, 0, 1], 9));
        peer.fail_sending(ErrorKind::ConnectionRefused.into());
        peer.feed("hello", sender);
        assert!(poll(&mut endpoint).is_pending());
        let seen = stats();
        assert_eq!((seen.reads, seen.received, seen.sent), (1, 5, 10));
        assert_eq!(peer.take_sent().len(), 2);
    });
}

#[test]
fn what_was_dropped_does_not_count_as_waiting() {
    isolated("observe::what_was_dropped_does_not_count_as_waiting", || {
        let end: [fn(&Transport); 3] =
            [Transport::abort, |_| {}, |transport| transport.fail(std::io::Error::other("x"))];
        for end in end {
            let (connection, peer) = Memory::new(Recorder::new(&Log::default())).room(0).connect();
            let transport = connection.transport().clone();
            transport.write([0; 1000]);
            assert_eq!(stats().buffered, 1000);
            end(&transport);
            drop((connection, peer));
            assert_eq!((stats().buffered, stats().alive), (0, 0));
        }
        assert_eq!((stats().made, stats().lost), (3, 3));
    });
}

#[test]
fn what_a_thread_has_counted_outlives_it() {
    isolated("observe::what_a_thread_has_counted_outlives_it", || {
        let (connection, _peer) = Memory::new(Recorder::new(&Log::default())).room(0).connect();
        let transport = connection.transport().clone();
        for size in 1..=10 {
            let transport = transport.clone();
            std::thread::spawn(move || transport.write([0; 100])).join().unwrap();
            assert_eq!(stats().buffered, 100 * size);
        }
        transport.abort();
        finish(connection);
        assert_eq!(stats().buffered, 0);
    });
}

#[cfg(feature = "tracing")]
mod spans {
    use std::io;
    use std::process::Command;
    use std::sync::{Arc, Mutex};

    use smol_transports::subprocess_exec;
    use tracing_subscriber::fmt::MakeWriter;

    use super::*;
    use crate::common::guard;
    use crate::process::recorder;

    /// Collects what a subscriber writes.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(buf)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Lines {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    /// What is written at that level while `f` runs on this thread. It must be alone: as long as there is one subscriber,
    /// an event that happens first on a thread without it is switched off for all (tracing-core 0.1).
    fn written(level: tracing::Level, f: impl FnOnce()) -> Vec<String> {
        let lines = Lines::default();
        let format = tracing_subscriber::fmt().without_time().with_ansi(false).with_max_level(level);
        tracing::subscriber::with_default(format.with_writer(lines.clone()).finish(), f);
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap().lines().map(|line| line.trim().to_owned()).collect()
    }

    fn a_connection() {
        let limits = WriteLimits::new(10, 100).unwrap();
        let recorder = Recorder::new(&Log::default()).on_data(|transport, _| {
            tracing::info!("a line of the protocol");
            transport.write([0; 200]);
        });
        let memory = Memory::new(recorder).peername(([127, 0, 0, 1], 9)).write_limits(limits).room(50);
        let (mut connection, peer) = memory.connect();
        peer.feed("question");
        assert!(poll(&mut connection).is_pending());
        peer.set_room(usize::MAX);
        assert!(poll(&mut connection).is_pending());
        peer.break_reading(ErrorKind::ConnectionReset.into());
        finish(connection);
    }

    #[test]
    fn a_transport_has_a_span_that_tells_its_life() {
        isolated("observe::spans::a_transport_has_a_span_that_tells_its_life", || {
            let lines = written(tracing::Level::DEBUG, a_connection);
            let span = "transport{kind=\"stream\" peer=127.0.0.1:9}:";
            let told = ["made", "a line of the protocol", "writing is paused", "writing is resumed", "lost"];
            assert_eq!(lines.len(), told.len(), "{lines:#?}");
            for (line, told) in lines.iter().zip(told) {
                assert!(line.contains(span) && line.contains(told), "{line}");
            }
            assert!(lines[4].ends_with("lost cause=connection reset"), "{}", lines[4]);
        });
    }

    #[test]
    fn above_its_level_it_tells_nothing() {
        isolated("observe::spans::above_its_level_it_tells_nothing", || {
            let lines = written(tracing::Level::INFO, a_connection);
            assert_eq!(lines.len(), 1, "{lines:#?}");
            assert!(lines[0].contains("a line of the protocol"));
        });
    }

    #[test]
    fn the_pipes_of_a_child_are_inside_of_its_span() {
        isolated("observe::spans::the_pipes_of_a_child_are_inside_of_its_span", || {
            let lines = written(tracing::Level::DEBUG, || {
                guard(async {
                    subprocess_exec(recorder::Recorder::new(), Command::new("true")).await.unwrap().await;
                });
            });
            let pipe =
                |line: &&String| line.contains("transport{kind=\"child\" pid=") && line.contains("pipe=Stdin}: ");
            assert_eq!(lines.iter().filter(pipe).count(), 2, "{lines:#?}");
        });
    }
}

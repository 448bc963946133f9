//! Streams: two-way ones, and the two kinds of pipes.

use std::fs::File;
use std::io;

use futures_lite::future::Boxed;
use serde_json::{Value, json};
use smol_transports::{Addr, Buffered, ReadTransport, Transport, WriteLimits, WriteTransport};

use super::{Endpoint, Outcome, Part, buffering, closing, limits, naming, outcome_of_write, reading};
use crate::kind::kind_of;
use crate::recorder::{Filling, Recorder, Streaming};
use crate::scenario::{Style, What};

/// The methods that all streams share.
macro_rules! any_stream {
    () => {
        closing!();

        fn set_protocol(&self, recorder: Recorder) -> Outcome {
            match recorder.spec().style {
                Style::Buffered => self.set_protocol(Buffered(Filling::new(recorder))),
                Style::Stream => self.set_protocol(Streaming(recorder)),
                Style::Datagram | Style::Subprocess => return Err("invalid_input"),
            }
            Ok(())
        }
    };
}

/// The methods of streams that are written.
macro_rules! writing {
    () => {
        buffering!();

        fn abort(&self) -> Outcome {
            self.abort();
            Ok(())
        }

        fn write(&self, data: &[u8]) -> Outcome {
            outcome_of_write(self.write(data))
        }

        fn write_eof(&self) -> Outcome {
            self.write_eof().map_err(|err| kind_of(&err))
        }

        fn write_lines(&self, pieces: &[Vec<u8>]) -> Outcome {
            outcome_of_write(self.write_vectored(pieces))
        }
    };
}

impl Endpoint for Transport {
    any_stream!();
    naming!();
    reading!();
    writing!();

    fn check(&self, what: &What) -> Option<Value> {
        Some(match what {
            What::BufferEmpty => json!(self.write_buffer_size() == 0),
            What::BufferSize => json!(self.write_buffer_size()),
            What::CanWriteEof => json!(self.can_write_eof()),
            What::Extra(name) => json!(has_extra(self, name)),
            What::IsReading => json!(self.is_reading()),
            What::Limits => json!(limits(self.write_buffer_limits())),
            _ => return None,
        })
    }

    fn send_file(&self, file: File, part: Part) -> Option<Boxed<io::Result<u64>>> {
        Some(Box::pin(self.sendfile(file, part)))
    }

    #[cfg(feature = "tls")]
    fn start_tls(&self, tls: smol_transports::Tls) -> Option<Boxed<io::Result<()>>> {
        Some(Box::pin(self.start_tls(tls)))
    }
}

/// The `abort` of these is an addition to the interface that the scenarios are about.
impl Endpoint for ReadTransport {
    any_stream!();
    reading!();

    fn check(&self, what: &What) -> Option<Value> {
        Some(match what {
            What::Extra(name) => json!(name == "pipe" && self.extra_info().pipe_kind().is_some()),
            What::IsReading => json!(self.is_reading()),
            _ => return None,
        })
    }
}

impl Endpoint for WriteTransport {
    any_stream!();
    writing!();

    fn check(&self, what: &What) -> Option<Value> {
        Some(match what {
            What::BufferEmpty => json!(self.write_buffer_size() == 0),
            What::BufferSize => json!(self.write_buffer_size()),
            What::CanWriteEof => json!(self.can_write_eof()),
            What::Extra(name) => json!(name == "pipe" && self.extra_info().pipe_kind().is_some()),
            What::Limits => json!(limits(self.write_buffer_limits())),
            _ => return None,
        })
    }
}

fn has_extra(transport: &Transport, name: &str) -> bool {
    match name {
        "peername" => transport.extra_info().peername().is_some(),
        "sockname" => transport.extra_info().sockname().is_some(),
        "socket" => transport.extra_info().socket_kind().is_some(),
        #[cfg(feature = "tls")]
        "cipher" | "ssl_object" | "sslcontext" => transport.extra_info().tls().is_some(),
        #[cfg(feature = "tls")]
        "peercert" => transport.extra_info().tls().is_some_and(|tls| !tls.peer_certificates().is_empty()),
        _ => false,
    }
}

//! The transports under test, whatever their kind.

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::{Value, json};
use smol_transports::{Addr, Buffered, Misuse, Transport, WriteLimits, Written};

use crate::kind::kind_of;
use crate::recorder::{Filling, Recorder, Streaming};
use crate::scenario::{Style, What};

/// How a method call ended: the name of the error if it failed.
pub(crate) type Outcome = Result<(), &'static str>;

/// The end of a call that the kind of transport knows nothing of.
const NOT_SUPPORTED: Outcome = Err("not_supported");

/// A transport under test. What a kind of transport cannot do, it leaves out.
pub(crate) trait Endpoint: Send + Sync {
    fn abort(&self) -> Outcome;

    /// The answer to a question that is about the transport alone.
    fn check(&self, what: &What) -> Option<Value>;

    fn close(&self) -> Outcome;

    /// Whether there is a pipe of that descriptor; none if the kind has no pipes.
    fn has_pipe(&self, _fd: i64) -> Option<bool> {
        None
    }

    fn pause_reading(&self) -> Outcome {
        NOT_SUPPORTED
    }

    fn peername(&self) -> Option<SocketAddr> {
        None
    }

    /// The transport of a pipe.
    fn pipe(&self, _fd: i64) -> Option<Arc<dyn Endpoint>> {
        None
    }

    fn resume_reading(&self) -> Outcome {
        NOT_SUPPORTED
    }

    fn send_signal(&self, _name: &str) -> Outcome {
        NOT_SUPPORTED
    }

    fn send_to(&self, _data: &[u8], _to: Option<SocketAddr>) -> Outcome {
        NOT_SUPPORTED
    }

    fn set_protocol(&self, _recorder: Recorder) -> Outcome {
        NOT_SUPPORTED
    }

    fn set_write_buffer_limits(&self, _limits: WriteLimits) -> Outcome {
        NOT_SUPPORTED
    }

    fn sockname(&self) -> Option<SocketAddr> {
        None
    }

    fn write(&self, _data: &[u8]) -> Outcome {
        NOT_SUPPORTED
    }

    fn write_buffer_size(&self) -> usize {
        0
    }

    fn write_eof(&self) -> Outcome {
        NOT_SUPPORTED
    }

    fn write_lines(&self, _pieces: &[Vec<u8>]) -> Outcome {
        NOT_SUPPORTED
    }
}

impl Endpoint for Transport {
    fn abort(&self) -> Outcome {
        self.abort();
        Ok(())
    }

    fn check(&self, what: &What) -> Option<Value> {
        Some(match what {
            What::BufferEmpty => json!(self.write_buffer_size() == 0),
            What::BufferSize => json!(self.write_buffer_size()),
            What::CanWriteEof => json!(self.can_write_eof()),
            What::Extra(name) => json!(has_extra(self, name)),
            What::IsClosing => json!(self.is_closing()),
            What::IsReading => json!(self.is_reading()),
            What::Limits => json!(limits(self.write_buffer_limits())),
            _ => return None,
        })
    }

    fn close(&self) -> Outcome {
        self.close();
        Ok(())
    }

    fn pause_reading(&self) -> Outcome {
        self.pause_reading();
        Ok(())
    }

    fn peername(&self) -> Option<SocketAddr> {
        self.extra_info().peername().and_then(Addr::as_inet)
    }

    fn resume_reading(&self) -> Outcome {
        self.resume_reading();
        Ok(())
    }

    fn set_protocol(&self, recorder: Recorder) -> Outcome {
        match recorder.spec().style {
            Style::Buffered => self.set_protocol(Buffered(Filling::new(recorder))),
            Style::Stream => self.set_protocol(Streaming(recorder)),
            Style::Datagram | Style::Subprocess => return Err("invalid_input"),
        }
        Ok(())
    }

    fn set_write_buffer_limits(&self, limits: WriteLimits) -> Outcome {
        self.set_write_buffer_limits(limits);
        Ok(())
    }

    fn sockname(&self) -> Option<SocketAddr> {
        self.extra_info().sockname().and_then(Addr::as_inet)
    }

    fn write(&self, data: &[u8]) -> Outcome {
        outcome_of_write(self.write(data))
    }

    fn write_buffer_size(&self) -> usize {
        self.write_buffer_size()
    }

    fn write_eof(&self) -> Outcome {
        self.write_eof().map_err(|err| kind_of(&err))
    }

    fn write_lines(&self, pieces: &[Vec<u8>]) -> Outcome {
        outcome_of_write(self.write_vectored(pieces))
    }
}

/// A write that a closing transport ignores is as good as one that it takes.
fn outcome_of_write(written: Written) -> Outcome {
    match written {
        Written::Refused(Misuse::WriteAfterEof) => Err("invalid_state"),
        Written::Refused(_) => Err("invalid_input"),
        _ => Ok(()),
    }
}

fn limits(limits: WriteLimits) -> [usize; 2] {
    [limits.low_water(), limits.high_water()]
}

fn has_extra(transport: &Transport, name: &str) -> bool {
    match name {
        "peername" => transport.extra_info().peername().is_some(),
        "sockname" => transport.extra_info().sockname().is_some(),
        "socket" => transport.with_socket(|_| ()).is_some(),
        _ => false,
    }
}

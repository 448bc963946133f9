//! The transports under test, whatever their kind.

use std::fs::File;
use std::io;
use std::ops::Bound;
use std::sync::Arc;

use futures_lite::future::Boxed;
use serde_json::Value;
use smol_transports::{Addr, Misuse, WriteLimits, Written};

use crate::recorder::Recorder;
use crate::scenario::What;

mod datagram;
mod process;
mod stream;

/// How a method call ended: the name of the error if it failed.
pub(crate) type Outcome = Result<(), &'static str>;

/// A part of a file.
pub(crate) type Part = (Bound<u64>, Bound<u64>);

/// The end of a call that the kind of transport knows nothing of.
const NOT_SUPPORTED: Outcome = Err("not_supported");

/// A transport under test. What a kind of transport cannot do, it leaves out.
pub(crate) trait Endpoint: Send + Sync {
    fn abort(&self) -> Outcome {
        NOT_SUPPORTED
    }

    /// The answer to a question that is about the transport alone.
    fn check(&self, what: &What) -> Option<Value>;

    fn close(&self) -> Outcome;

    fn is_closing(&self) -> bool;

    fn kill(&self) -> Outcome {
        NOT_SUPPORTED
    }

    fn pause_reading(&self) -> Outcome {
        NOT_SUPPORTED
    }

    fn peername(&self) -> Option<&Addr> {
        None
    }

    /// The number of a child process.
    fn pid(&self) -> Option<u32> {
        None
    }

    /// The transport of a pipe.
    fn pipe(&self, _fd: i64) -> Option<Arc<dyn Endpoint>> {
        None
    }

    fn resume_reading(&self) -> Outcome {
        NOT_SUPPORTED
    }

    /// Starts to send a file; none if the kind of transport cannot.
    fn send_file(&self, _file: File, _part: Part) -> Option<Boxed<io::Result<u64>>> {
        None
    }

    fn send_signal(&self, _name: &str) -> Outcome {
        NOT_SUPPORTED
    }

    fn send_to(&self, _data: &[u8], _to: Option<&Addr>) -> Outcome {
        NOT_SUPPORTED
    }

    fn set_protocol(&self, _recorder: Recorder) -> Outcome {
        NOT_SUPPORTED
    }

    fn set_write_buffer_limits(&self, _limits: WriteLimits) -> Outcome {
        NOT_SUPPORTED
    }

    fn sockname(&self) -> Option<&Addr> {
        None
    }

    /// Starts the upgrade; none if the kind of transport has no such thing.
    #[cfg(feature = "tls")]
    fn start_tls(&self, _tls: smol_transports::Tls) -> Option<Boxed<io::Result<()>>> {
        None
    }

    fn terminate(&self) -> Outcome {
        NOT_SUPPORTED
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

/// The methods that every transport has.
macro_rules! closing {
    () => {
        fn close(&self) -> Outcome {
            self.close();
            Ok(())
        }

        fn is_closing(&self) -> bool {
            self.is_closing()
        }
    };
}

/// The methods of transports that are read.
macro_rules! reading {
    () => {
        fn pause_reading(&self) -> Outcome {
            self.pause_reading();
            Ok(())
        }

        fn resume_reading(&self) -> Outcome {
            self.resume_reading();
            Ok(())
        }
    };
}

/// The methods of transports with a write buffer.
macro_rules! buffering {
    () => {
        fn set_write_buffer_limits(&self, limits: WriteLimits) -> Outcome {
            self.set_write_buffer_limits(limits);
            Ok(())
        }

        fn write_buffer_size(&self) -> usize {
            self.write_buffer_size()
        }
    };
}

/// The methods of transports with addresses.
macro_rules! naming {
    () => {
        fn peername(&self) -> Option<&Addr> {
            self.extra_info().peername()
        }

        fn sockname(&self) -> Option<&Addr> {
            self.extra_info().sockname()
        }
    };
}

use {buffering, closing, naming, reading};

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

//! Datagram endpoints.

use serde_json::{Value, json};
use smol_transports::{Addr, DatagramTransport, WriteLimits};

use super::{Endpoint, Outcome, buffering, closing, limits, naming, outcome_of_write, reading};
use crate::recorder::{Receiving, Recorder};
use crate::scenario::{Style, What};

impl Endpoint for DatagramTransport {
    buffering!();
    closing!();
    naming!();
    reading!();

    fn abort(&self) -> Outcome {
        self.abort();
        Ok(())
    }

    fn check(&self, what: &What) -> Option<Value> {
        Some(match what {
            What::BufferEmpty => json!(self.write_buffer_size() == 0),
            What::BufferSize => json!(self.write_buffer_size()),
            What::Extra(name) => json!(has_extra(self, name)),
            What::IsReading => json!(self.is_reading()),
            What::Limits => json!(limits(self.write_buffer_limits())),
            _ => return None,
        })
    }

    fn send_to(&self, data: &[u8], to: Option<&Addr>) -> Outcome {
        outcome_of_write(match to {
            Some(to) => self.send_to(data, to.clone()),
            None => self.send(data),
        })
    }

    fn set_protocol(&self, recorder: Recorder) -> Outcome {
        if recorder.spec().style != Style::Datagram {
            return Err("invalid_input");
        }
        self.set_protocol(Receiving(recorder));
        Ok(())
    }
}

fn has_extra(transport: &DatagramTransport, name: &str) -> bool {
    match name {
        "peername" => transport.extra_info().peername().is_some(),
        "sockname" => transport.extra_info().sockname().is_some(),
        "socket" => transport.extra_info().socket_kind().is_some(),
        _ => false,
    }
}

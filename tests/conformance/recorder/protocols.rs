//! The protocol objects: what the crate under test calls.

use std::io;
use std::process::ExitStatus;
use std::sync::Arc;

use smol_transports::{
    Addr, BufferedProtocol, DatagramProtocol, DatagramTransport, OnEof, Pipe, Protocol, SubprocessProtocol,
    SubprocessTransport,
};

use super::Recorder;
use crate::action::Input;
use crate::endpoint::Endpoint;

/// A protocol that is given its data.
pub(crate) struct Streaming(pub(crate) Recorder);

/// A protocol that has its data read into its own buffer.
pub(crate) struct Filling {
    recorder: Recorder,
    buffer: Vec<u8>,
}

/// A protocol of a datagram endpoint.
pub(crate) struct Receiving(pub(crate) Recorder);

/// A protocol of a child process.
pub(crate) struct Supervising(pub(crate) Recorder);

impl Filling {
    pub(crate) fn new(recorder: Recorder) -> Self {
        let buffer = vec![0; recorder.spec().buffer_size];
        Self { recorder, buffer }
    }
}

/// The callbacks that all protocols share but for the handles that they are given.
macro_rules! shared_callbacks {
    ($recorder:tt, $transport:ty $(, $pipe:ty)?) => {
        fn connection_made(&mut self, transport: &$transport) {
            self.$recorder.connection_made(Arc::new(transport.clone()));
        }

        fn pause_writing(&mut self, _transport: &$transport $(, _pipe: $pipe)?) {
            self.$recorder.pause_writing();
        }

        fn resume_writing(&mut self, _transport: &$transport $(, _pipe: $pipe)?) {
            self.$recorder.record("resume_writing");
        }

        fn connection_lost(&mut self, exc: Option<io::Error>) {
            self.$recorder.connection_lost(exc.as_ref());
        }
    };
}

impl<T: Endpoint + Clone + 'static> Protocol<T> for Streaming {
    shared_callbacks!(0, T);

    fn data_received(&mut self, _transport: &T, data: &[u8]) {
        self.0.data("data_received", data);
    }

    fn eof_received(&mut self, _transport: &T) -> OnEof {
        self.0.eof_received()
    }
}

impl<T: Endpoint + Clone + 'static> BufferedProtocol<T> for Filling {
    shared_callbacks!(recorder, T);

    fn get_buffer(&mut self, _size_hint: usize) -> &mut [u8] {
        self.recorder.react("get_buffer", &Input::default());
        &mut self.buffer
    }

    fn buffer_updated(&mut self, _transport: &T, nbytes: usize) {
        self.recorder.data("buffer_updated", &self.buffer[..nbytes]);
    }

    fn eof_received(&mut self, _transport: &T) -> OnEof {
        self.recorder.eof_received()
    }
}

impl DatagramProtocol for Receiving {
    shared_callbacks!(0, DatagramTransport);

    fn datagram_received(&mut self, _transport: &DatagramTransport, data: &[u8], addr: &Addr) {
        self.0.datagram(data, addr);
    }

    fn error_received(&mut self, _transport: &DatagramTransport, exc: io::Error) {
        self.0.error_received(&exc);
    }
}

impl SubprocessProtocol for Supervising {
    shared_callbacks!(0, SubprocessTransport, Pipe);

    fn pipe_data_received(&mut self, _transport: &SubprocessTransport, pipe: Pipe, data: &[u8]) {
        self.0.pipe_data(fd(pipe), data);
    }

    fn pipe_connection_lost(&mut self, _transport: &SubprocessTransport, pipe: Pipe, exc: Option<io::Error>) {
        self.0.pipe_lost(fd(pipe), exc.as_ref());
    }

    fn process_exited(&mut self, _transport: &SubprocessTransport, _status: ExitStatus) {
        self.0.record("process_exited");
    }
}

/// The number of a pipe in the child.
fn fd(pipe: Pipe) -> i64 {
    pipe.fd().into()
}

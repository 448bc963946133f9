//! Standard input in upper case on standard output, at the speed of whoever reads it.
//!
//! Run it with `printf 'hello\n' | cargo run --example pipe_upper | wc -c`.

#[cfg(unix)]
mod upper {
    use std::io::{self, ErrorKind};
    use std::os::fd::AsFd;

    use futures_lite::future;
    use smol_transports::{Protocol, ReadTransport, WriteTransport, connect_read_pipe, connect_write_pipe};

    struct Input {
        output: WriteTransport,
        upper: Vec<u8>,
        exc: Option<io::Error>,
    }

    impl Protocol<ReadTransport> for Input {
        fn data_received(&mut self, _transport: &ReadTransport, data: &[u8]) {
            self.upper.clear();
            self.upper.extend(data.iter().map(u8::to_ascii_uppercase));
            self.output.write(&self.upper);
        }

        fn connection_lost(&mut self, exc: Option<io::Error>) {
            // What is buffered is still written.
            self.output.close();
            self.exc = exc;
        }
    }

    #[derive(Default)]
    struct Output {
        input: Option<ReadTransport>,
        exc: Option<io::Error>,
    }

    impl Protocol<WriteTransport> for Output {
        fn pause_writing(&mut self, _transport: &WriteTransport) {
            self.input.iter().for_each(ReadTransport::pause_reading);
        }

        fn resume_writing(&mut self, _transport: &WriteTransport) {
            self.input.iter().for_each(ReadTransport::resume_reading);
        }

        fn connection_lost(&mut self, exc: Option<io::Error>) {
            // Nobody reads any more: there is no need to read on.
            self.input.iter().for_each(ReadTransport::close);
            self.exc = exc;
        }
    }

    pub(crate) async fn run() -> io::Result<()> {
        let stdout = io::stdout().as_fd().try_clone_to_owned()?;
        let mut output = connect_write_pipe(Output::default(), stdout).await?;

        let stdin = io::stdin().as_fd().try_clone_to_owned()?;
        let upper = Input { output: output.transport().clone(), upper: Vec::new(), exc: None };
        let input = connect_read_pipe(upper, stdin).await?;

        output.protocol_mut().input = Some(input.transport().clone());
        let (input, output) = future::zip(input, output).await;
        match input.exc.or(output.exc) {
            Some(exc) if exc.kind() != ErrorKind::BrokenPipe => Err(exc),
            _ => Ok(()),
        }
    }
}

#[cfg(unix)]
fn main() -> std::io::Result<()> {
    smol::block_on(upper::run())
}

#[cfg(not(unix))]
fn main() {
    println!("pipes are supported on Unix only");
}

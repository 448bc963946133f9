//! The date from a child process: asyncio's example of that name.
//!
//! Run it with `cargo run --example subprocess_date`.

#[cfg(unix)]
fn main() -> std::io::Result<()> {
    use std::process::Command;

    use smol_transports::{Pipe, SubprocessProtocol, SubprocessTransport, subprocess_exec};

    #[derive(Default)]
    struct DateProtocol {
        output: Vec<u8>,
    }

    impl SubprocessProtocol for DateProtocol {
        fn pipe_data_received(&mut self, _transport: &SubprocessTransport, _pipe: Pipe, data: &[u8]) {
            self.output.extend_from_slice(data);
        }
    }

    smol::block_on(async {
        // The child is over when its future is: the page's `exit_future` is not needed.
        let date = subprocess_exec(DateProtocol::default(), Command::new("date")).await?.await;
        println!("Current date: {}", String::from_utf8_lossy(&date.output).trim_end());
        Ok(())
    })
}

#[cfg(not(unix))]
fn main() {
    println!("child processes are supported on Unix only");
}

//! A file server that speaks HTTP/1.1: a protocol that answers requests, and sends files in the order of its writes.
//!
//! Run it with `cargo run --release --example http_files -- . 127.0.0.1:8080`, then try
//! `curl -i http://127.0.0.1:8080/README.md`, the same with `-r 0-99` or `-I`, or `wrk http://127.0.0.1:8080/README.md`.
//! Ctrl-C lets the downloads finish, for ten seconds at most.
//!
//! Look at `data_received`, `serve` and `resume_writing` first: requests come in pieces, or many at once, and a client
//! that does not read its answers is not read from, so neither it nor its open files pile up.

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use httparse::{EMPTY_HEADER, Request, Status};
use smol::{Task, Timer};
use smol_transports::{Protocol, Transport, WriteLimits, create_server, spawn};

mod answer;
#[path = "../shared/mod.rs"]
mod shared;

use answer::{Answer, answer, is_reusable};
use shared::{Interrupt, start};

const USAGE: &str = "usage: http_files [DIRECTORY [ADDRESS]]; . and 127.0.0.1:8080 by default";

/// Bytes of a request; a longer one is refused.
const LONGEST_REQUEST: usize = 16 * 1024;
/// Time for a request to arrive whole, for a client to go after the last answer, and for all to go at the end.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time without a request or a byte of an answer.
const SILENCE: Duration = Duration::from_secs(60);
/// Clients at a time; more wait. Each takes a descriptor and two for files, of the 1024 that a process usually has.
const MOST_CLIENTS: usize = 300;

struct Http {
    root: Arc<Path>,
    received: Vec<u8>,
    /// The last answer was given: what still comes is thrown away.
    finished: bool,
    /// Dropping the task takes the time limit back.
    deadline: Option<Task<()>>,
}

impl Protocol for Http {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        if !self.finished {
            self.received.extend_from_slice(data);
            self.serve(transport);
        }
    }

    fn pause_writing(&mut self, transport: &Transport) {
        transport.pause_reading();
    }

    fn resume_writing(&mut self, transport: &Transport) {
        transport.resume_reading();
        self.serve(transport);
    }
}

impl Http {
    /// Answers the requests that are complete, one after another, as long as the client takes the answers.
    fn serve(&mut self, transport: &Transport) {
        let received = std::mem::take(&mut self.received);
        let mut rest = &received[..];
        while !transport.is_writing_paused() && !self.finished {
            let mut headers = [EMPTY_HEADER; 64];
            let mut request = Request::new(&mut headers);
            let answer = match request.parse(rest) {
                Ok(Status::Complete(length)) => {
                    rest = &rest[length..];
                    self.deadline = None;
                    self.finished = !is_reusable(&request);
                    answer(&self.root, &request)
                }
                Ok(Status::Partial) if rest.len() < LONGEST_REQUEST => break,
                refused => {
                    self.finished = true;
                    let too_large = matches!(refused, Ok(_) | Err(httparse::Error::TooManyHeaders));
                    Answer::error(if too_large { "431 Request Header Fields Too Large" } else { "400 Bad Request" })
                }
            };
            answer.send(transport, request.method, self.finished);
        }
        self.received = rest.to_vec();
        self.set_deadline(transport);
    }

    fn set_deadline(&mut self, transport: &Transport) {
        if self.finished {
            // A client that is still sending would lose the answer if we closed now.
            self.received = Vec::new();
            let _ = transport.write_eof();
            self.deadline = Some(close_later(transport));
        } else if self.received.is_empty() || transport.is_writing_paused() {
            self.deadline = None;
        } else {
            self.deadline.get_or_insert_with(|| close_later(transport));
        }
    }
}

/// What is buffered is still sent then, as long as the client takes some of it from time to time.
fn close_later(transport: &Transport) -> Task<()> {
    let transport = transport.clone();
    spawn(async move {
        Timer::after(PATIENCE).await;
        transport.close();
    })
}

async fn run([directory, address]: [String; 2], interrupt: Interrupt) -> io::Result<()> {
    let root: Arc<Path> = std::fs::canonicalize(directory)?.into();
    let name = root.display().to_string();
    let http = move || Http { root: root.clone(), received: Vec::new(), finished: false, deadline: None };
    // Heads of answers wait behind files that are being sent: with one of them waiting there are two open files.
    let server = create_server(http, address).write_limits(WriteLimits::high(0));
    let server = server.max_connections(MOST_CLIENTS).idle_timeout(SILENCE).await?;
    println!("serving {name} at http://{}/", server.local_addr()?);
    let (handle, serving) = server.spawn();

    interrupt.wait().await?;
    println!("stopping");
    handle.close();
    handle.close_clients();
    handle.shutdown(PATIENCE).await;
    serving.await
}

fn main() -> ExitCode {
    start(USAGE, [".", "127.0.0.1:8080"], run)
}

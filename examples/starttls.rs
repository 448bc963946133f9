//! A mail server that knows just enough of SMTP (RFC 5321, RFC 3207) to be upgraded to TLS, and to take a message.
//!
//! Make a certificate, then run it:
//!
//! ```text
//! openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out cert.pem -days 30 \
//!     -subj /CN=localhost -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE
//! cargo run --features tls --example starttls -- cert.pem key.pem 127.0.0.1:8025
//! ```
//!
//! and talk to it: `openssl s_client -starttls smtp -connect 127.0.0.1:8025 -CAfile cert.pem -quiet -crlf`, or
//! `curl --ssl-reqd --cacert cert.pem --mail-from me@localhost --mail-rcpt you@localhost --upload-file LETTER
//! smtp://localhost:8025`.

use std::io;
use std::process::ExitCode;

use smol_transports::{Protocol, Tls, Transport, create_server};

/// Longest line that is taken.
const LINE: usize = 1000;

struct Session {
    tls: Tls,
    /// What has arrived and is not a whole line yet.
    received: Vec<u8>,
    /// The lines of a message are arriving.
    reading: bool,
}

impl Session {
    fn new(tls: Tls) -> Self {
        Self { tls, received: Vec::new(), reading: false }
    }

    /// Handles the whole lines that have arrived, as long as the client takes the answers.
    fn handle_lines(&mut self, transport: &Transport) {
        let received = std::mem::take(&mut self.received);
        let mut rest = &received[..];
        while !transport.is_writing_paused() {
            let Some(end) = rest.iter().position(|byte| *byte == b'\n') else { break };
            let line = String::from_utf8_lossy(&rest[..end]).trim_end().to_owned();
            rest = &rest[end + 1..];
            if self.reading {
                self.handle_content(transport, &line);
            } else if self.handle_command(transport, &line) {
                // What came behind the command is for TLS, not for us: whatever somebody has slipped in there makes the
                // handshake fail.
                transport.start_tls(self.tls.clone().received(rest));
                return;
            }
        }
        self.received = rest.to_vec();
    }

    /// Whether the connection is to be upgraded.
    fn handle_command(&mut self, transport: &Transport, line: &str) -> bool {
        let secure = transport.extra_info().tls().is_some();
        println!("C: {line}{}", if secure { "  (over TLS)" } else { "" });
        let command = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        let answer = match command.as_str() {
            "EHLO" if secure => "250-localhost\r\n250 8BITMIME",
            "EHLO" => "250-localhost\r\n250-8BITMIME\r\n250 STARTTLS",
            "HELO" | "MAIL" | "RCPT" | "RSET" | "NOOP" => "250 ok",
            "STARTTLS" if !secure => "220 ready",
            "DATA" => {
                self.reading = true;
                "354 go ahead, end with a dot"
            }
            "QUIT" => "221 goodbye",
            _ => "502 not implemented",
        };
        transport.write(format!("{answer}\r\n"));
        if command == "QUIT" {
            transport.close();
        }
        command == "STARTTLS" && !secure
    }

    fn handle_content(&mut self, transport: &Transport, line: &str) {
        if line == "." {
            self.reading = false;
            transport.write("250 taken\r\n");
        } else {
            // A dot more stands before a line that begins with one.
            println!("   {}", line.strip_prefix('.').unwrap_or(line));
        }
    }
}

impl Protocol for Session {
    fn connection_made(&mut self, transport: &Transport) {
        transport.write("220 localhost ESMTP\r\n");
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        self.received.extend_from_slice(data);
        self.handle_lines(transport);
        if self.received.len() > LINE && !transport.is_writing_paused() {
            transport.write("500 line too long\r\n");
            transport.close();
        }
    }

    // A client that does not take the answers is not read from.
    fn pause_writing(&mut self, transport: &Transport) {
        transport.pause_reading();
    }

    fn resume_writing(&mut self, transport: &Transport) {
        transport.resume_reading();
        self.handle_lines(transport);
    }

    fn connection_lost(&mut self, exc: Option<io::Error>) {
        match exc {
            None => println!("Connection closed"),
            Some(exc) => println!("Connection lost: {exc}"),
        }
    }
}

async fn serve(certificate: &str, key: &str, address: &str) -> io::Result<()> {
    let tls = Tls::server_with_files(certificate, key)?;
    let server = create_server(|| Session::new(tls.clone()), address).await?;
    println!("Serving on {}", server.local_addr()?);
    server.serve_local().await
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [certificate, key, address] = args.as_slice() else {
        eprintln!("usage: starttls CERTIFICATE KEY ADDRESS");
        return ExitCode::from(2);
    };
    match smol::block_on(serve(certificate, key, address)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("starttls: {err}");
            ExitCode::FAILURE
        }
    }
}

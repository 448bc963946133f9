//! A TLS echo server that says what was negotiated.
//!
//! Make a certificate, then run it:
//!
//! ```text
//! openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out cert.pem -days 30 \
//!     -subj /CN=localhost -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE
//! cargo run --features tls --example tls_echo -- cert.pem key.pem 127.0.0.1:8443
//! ```
//!
//! and talk to it: `openssl s_client -connect 127.0.0.1:8443 -CAfile cert.pem -servername localhost -quiet -no_ign_eof`,
//! with `-tls1_2` for the older version. A line comes back as it was sent; Ctrl-D ends it in good order.

use std::io;
use std::process::ExitCode;

use smol_transports::{OnEof, Protocol, Tls, Transport, create_server};

struct Echo;

impl Protocol for Echo {
    fn connection_made(&mut self, transport: &Transport) {
        let info = transport.extra_info();
        if let (Some(peername), Some(tls)) = (info.peername(), info.tls()) {
            let suite = tls.cipher_suite().suite();
            let name = tls.server_name().unwrap_or("no name");
            println!("Connection from {peername}: {:?}, {suite:?}, asked for {name}", tls.protocol_version());
        }
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        transport.write(data);
    }

    // A client that does not read is not read from.
    fn pause_writing(&mut self, transport: &Transport) {
        transport.pause_reading();
    }

    fn resume_writing(&mut self, transport: &Transport) {
        transport.resume_reading();
    }

    fn eof_received(&mut self, _transport: &Transport) -> OnEof {
        println!("The client has finished");
        OnEof::Close
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
    let server = create_server(|| Echo, address).tls(tls).on_error(|err| println!("{err}")).await?;
    println!("Serving on {}", server.local_addr()?);
    server.serve_forever().await
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [certificate, key, address] = args.as_slice() else {
        eprintln!("usage: tls_echo CERTIFICATE KEY ADDRESS");
        return ExitCode::from(2);
    };
    match smol::block_on(serve(certificate, key, address)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("tls_echo: {err}");
            ExitCode::FAILURE
        }
    }
}

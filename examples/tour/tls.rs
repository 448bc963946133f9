//! The scenes with TLS. The certificate is the one that the tests use.

use std::io;
use std::net::SocketAddr;

use smol_transports::{Protocol, Tls, Transport, create_connection, create_server};

use super::{Echo, Host, Log, Say, Story};

/// The line that asks for the upgrade.
const REQUEST: &[u8] = b"STARTTLS\n";

macro_rules! file {
    ($name:literal) => {
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance/tls/", $name)
    };
}

fn client() -> io::Result<Tls> {
    Tls::client_with_roots_file(file!("ca.pem"), "localhost")
}

fn server() -> io::Result<Tls> {
    Tls::server_with_files(file!("cert.pem"), file!("key.pem"))
}

pub(super) async fn from_the_start(log: &Log) -> io::Result<Story> {
    let server = Host::of(create_server(log.numbered(|| Echo), "127.0.0.1:0").tls(server()?).await?)?;
    let addr: SocketAddr = server.addr.parse().map_err(io::Error::other)?;
    let client = create_connection(log.witness("client", Say("hello")), addr).tls(client()?).await?;
    if let Some(tls) = client.transport().extra_info().tls() {
        println!("  {:<12} {:?}, {:?}", "client", tls.protocol_version(), tls.cipher_suite().suite());
    }
    client.await;
    server.leave().await?;
    Ok(vec![
        ("client", r#"connection_made, data_received "hello", connection_lost(None)"#.into()),
        ("server 1", r#"connection_made, data_received "hello", eof_received, connection_lost(None)"#.into()),
    ])
}

pub(super) async fn by_upgrade(log: &Log) -> io::Result<Story> {
    let tls = server()?;
    let factory = log.numbered(move || Upgraded { tls: Some(tls.clone()) });
    let server = Host::open(factory).await?;
    let upgrade = Upgrade { tls: Some(client()?) };
    create_connection(log.witness("client", upgrade), &server.addr).await?.await;
    server.leave().await?;
    let client = r#"connection_made, data_received "go ahead\n", data_received "hello", connection_lost(None)"#;
    let answering = r#"data_received "STARTTLS\n", data_received "hello", eof_received, connection_lost(None)"#;
    Ok(vec![("client", client.into()), ("server 1", format!("connection_made, {answering}"))])
}

/// Asks for the upgrade, and says hello over TLS.
struct Upgrade {
    tls: Option<Tls>,
}

impl Protocol for Upgrade {
    fn connection_made(&mut self, transport: &Transport) {
        transport.write(REQUEST);
    }

    fn data_received(&mut self, transport: &Transport, _data: &[u8]) {
        match self.tls.take() {
            Some(tls) => {
                transport.start_tls(tls);
                transport.write("hello");
            }
            None => transport.close(),
        }
    }
}

/// Sends back what it gets over TLS. What follows the request belongs to the handshake.
struct Upgraded {
    tls: Option<Tls>,
}

impl Protocol for Upgraded {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        match (self.tls.take(), data.strip_prefix(REQUEST)) {
            (Some(tls), Some(rest)) => {
                transport.write("go ahead\n");
                transport.start_tls(tls.received(rest));
            }
            _ => drop(transport.write(data)),
        }
    }
}

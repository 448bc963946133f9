//! The echo servers over TLS.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use smol::{Async, LocalExecutor};
use smol_transports::futures_rustls::TlsAcceptor;
use smol_transports::futures_rustls::pki_types::pem::PemObject;
use smol_transports::futures_rustls::pki_types::{CertificateDer, PrivateKeyDer};
use smol_transports::rustls::ServerConfig;
use smol_transports::{Protocol, Tls, Transport, create_server};

/// What the hand-written loops read into, one for each connection.
const BUFFER: usize = 64 * 1024;

#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) name: &'static str,
    /// Serves for ever.
    pub(crate) run: fn(TcpListener) -> io::Result<()>,
}

/// All servers; the first is the base of the ratios.
pub(crate) static ALL: &[Server] = &[
    Server { name: "futures-rustls", run: by_hand },
    Server { name: "tokio-rustls", run: tokio_rustls },
    Server { name: "ours", run: serve_forever },
    Server { name: "ours-local", run: serve_local },
];

/// A certificate of the tests.
pub(crate) fn file(name: &str) -> String {
    format!("{}/../tests/conformance/tls/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn config() -> io::Result<Arc<ServerConfig>> {
    let chain = vec![CertificateDer::from_pem_file(file("cert.pem")).map_err(io::Error::other)?];
    let key = PrivateKeyDer::from_pem_file(file("key.pem")).map_err(io::Error::other)?;
    let config = ServerConfig::builder_with_provider(Tls::crypto_provider());
    let config = config.with_safe_default_protocol_versions().map_err(io::Error::other)?.with_no_client_auth();
    Ok(Arc::new(config.with_single_cert(chain, key).map_err(io::Error::other)?))
}

/// smol without this crate: a loop of reading and writing for each client, all on this thread.
fn by_hand(listener: TcpListener) -> io::Result<()> {
    use futures_lite::{AsyncReadExt, AsyncWriteExt};

    async fn echo(acceptor: TlsAcceptor, client: Async<std::net::TcpStream>) -> io::Result<()> {
        let mut client = acceptor.accept(client).await?;
        let mut buffer = vec![0; BUFFER];
        loop {
            let count = client.read(&mut buffer).await?;
            if count == 0 {
                return Ok(());
            }
            client.write_all(&buffer[..count]).await?;
            client.flush().await?;
        }
    }

    let acceptor = TlsAcceptor::from(config()?);
    let executor = LocalExecutor::new();
    smol::block_on(executor.run(async {
        let listener = Async::new(listener)?;
        loop {
            let (client, _) = listener.accept().await?;
            client.get_ref().set_nodelay(true)?;
            executor.spawn(echo(acceptor.clone(), client)).detach();
        }
    }))
}

/// The same with tokio, on its `current_thread`.
fn tokio_rustls(listener: TcpListener) -> io::Result<()> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::TlsAcceptor;

    async fn echo(acceptor: TlsAcceptor, client: tokio::net::TcpStream) -> io::Result<()> {
        let mut client = acceptor.accept(client).await?;
        let mut buffer = vec![0; BUFFER];
        loop {
            let count = client.read(&mut buffer).await?;
            if count == 0 {
                return Ok(());
            }
            client.write_all(&buffer[..count]).await?;
            client.flush().await?;
        }
    }

    let acceptor = TlsAcceptor::from(config()?);
    tokio::runtime::Builder::new_current_thread().enable_io().build()?.block_on(async {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let (client, _) = listener.accept().await?;
            client.set_nodelay(true)?;
            tokio::spawn(echo(acceptor.clone(), client));
        }
    })
}

struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        transport.write(data);
    }

    // A loop that awaits its writes does not read ahead of them either.
    fn pause_writing(&mut self, transport: &Transport) {
        transport.pause_reading();
    }

    fn resume_writing(&mut self, transport: &Transport) {
        transport.resume_reading();
    }
}

fn echo() -> Box<dyn Protocol + Send> {
    Box::new(Echo)
}

fn serve_forever(listener: TcpListener) -> io::Result<()> {
    let tls = Tls::server(config()?);
    smol::block_on(async { create_server(echo, listener).tls(tls).await?.serve_forever().await })
}

fn serve_local(listener: TcpListener) -> io::Result<()> {
    let tls = Tls::server(config()?);
    smol::block_on(async { create_server(echo, listener).tls(tls).await?.serve_local().await })
}

//! TLS of both sides: the test authority, and the certificate it has signed.

use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use futures_rustls::pki_types::pem::PemObject;
use futures_rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use futures_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use smol_transports::{Connect, CreateServer, Tls};
use socket2::Socket;

use crate::driver::TIMEOUT;
use crate::peer::TlsPeer;
use crate::scenario::{Kind, PeerMode, Scenario};

/// The name that the certificate is for.
const NAME: &str = "localhost";

static CONFIGS: OnceLock<Configs> = OnceLock::new();

struct Configs {
    client: Arc<ClientConfig>,
    /// Of a client that trusts nobody.
    wary: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

/// Loads the certificates.
pub(crate) fn load(folder: &Path) -> io::Result<()> {
    let configs = Configs::load(folder)?;
    let _ = CONFIGS.set(configs);
    Ok(())
}

impl Configs {
    fn load(folder: &Path) -> io::Result<Self> {
        let certificate = |name| CertificateDer::from_pem_file(folder.join(name)).map_err(io::Error::other);
        let mut roots = RootCertStore::empty();
        roots.add(certificate("ca.pem")?).map_err(io::Error::other)?;
        let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).map_err(io::Error::other)?;
        let server = ServerConfig::builder_with_provider(Tls::crypto_provider());
        let server = server.with_safe_default_protocol_versions().map_err(io::Error::other)?.with_no_client_auth();
        let server = server.with_single_cert(vec![certificate("cert.pem")?], key).map_err(io::Error::other)?;
        Ok(Self { client: client_of(roots)?, wary: client_of(RootCertStore::empty())?, server: Arc::new(server) })
    }
}

fn client_of(roots: RootCertStore) -> io::Result<Arc<ClientConfig>> {
    let config = ClientConfig::builder_with_provider(Tls::crypto_provider());
    let config = config.with_safe_default_protocol_versions().map_err(io::Error::other)?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

fn configs() -> &'static Configs {
    CONFIGS.get().expect("they were loaded at the start")
}

/// What the library uses as a client.
pub(crate) fn client(scenario: &Scenario) -> Tls {
    let options = &scenario.options.tls;
    let config = if options.no_ca { &configs().wary } else { &configs().client };
    limited(Tls::client(config, options.server_hostname.as_deref().unwrap_or(NAME)), scenario)
}

/// What the library uses as a server.
pub(crate) fn server(scenario: &Scenario) -> Tls {
    limited(Tls::server(&configs().server), scenario)
}

fn limited(mut tls: Tls, scenario: &Scenario) -> Tls {
    if let Some(limit) = scenario.options.tls.handshake_timeout {
        tls = tls.handshake_timeout(limit);
    }
    if let Some(limit) = scenario.options.tls.shutdown_timeout {
        tls = tls.shutdown_timeout(limit);
    }
    tls
}

/// Lets the library use TLS if the scenario is about it.
pub(crate) fn secure_client<P>(connect: Connect<P>, scenario: &Scenario) -> Connect<P> {
    if scenario.kind == Kind::Tls { connect.tls(client(scenario)) } else { connect }
}

/// The same for a server.
pub(crate) fn secure_server<F>(create: CreateServer<F>, scenario: &Scenario) -> CreateServer<F> {
    create.tls(server(scenario))
}

/// The driver's end of an accepted connection.
pub(crate) fn accept_peer(socket: Socket, mode: PeerMode) -> io::Result<TlsPeer> {
    let connection = ServerConnection::new(configs().server.clone()).map_err(io::Error::other)?;
    let mut peer = TlsPeer::new(socket, connection.into(), TIMEOUT)?;
    match mode {
        PeerMode::Tls => peer.shake_hands()?,
        PeerMode::Garbage => peer.talk_nonsense()?,
        PeerMode::Silent => {}
        PeerMode::Close => return peer.go_away(),
    }
    Ok(peer)
}

/// The driver's end of a connection that it has made.
pub(crate) fn connect_peer(socket: Socket) -> io::Result<TlsPeer> {
    let name = ServerName::try_from(NAME).map_err(io::Error::other)?;
    let connection = ClientConnection::new(configs().client.clone(), name).map_err(io::Error::other)?;
    let mut peer = TlsPeer::new(socket, connection.into(), TIMEOUT)?;
    peer.shake_hands()?;
    Ok(peer)
}

/// The driver's end of a connection that is upgraded; `server_side` is the library's.
pub(crate) fn upgrade_peer(socket: Socket, server_side: bool) -> io::Result<TlsPeer> {
    if server_side { connect_peer(socket) } else { accept_peer(socket, PeerMode::Tls) }
}

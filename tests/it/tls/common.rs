//! Certificates, configurations, and both sides of a TLS connection of this crate.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use futures_rustls::pki_types::{CertificateDer, PrivateKeyDer};
use futures_rustls::rustls::server::WebPkiClientVerifier;
use futures_rustls::rustls::version::{TLS12, TLS13};
use futures_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd};
use smol_transports::{Connection, ServerHandle, StreamProtocol, Tls, Transport, create_connection, create_server};
use tempfile::TempDir;

use crate::common::ANY;
use crate::recorder::{Log, Recorder};

pub(crate) const BOTH: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// A certificate and its key.
pub(crate) struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    pub(crate) certificate_file: PathBuf,
    pub(crate) key_file: PathBuf,
}

/// All certificates of the tests, and the files for other programs.
pub(crate) struct Certificates {
    _folder: TempDir,
    roots: Arc<RootCertStore>,
    pub(crate) authority_file: PathBuf,
    /// For `localhost` and 127.0.0.1.
    pub(crate) server: Identity,
    expired: Identity,
    /// Signed by nobody but itself.
    stranger: Identity,
    pub(crate) client: Identity,
}

pub(crate) static CERTIFICATES: LazyLock<Certificates> = LazyLock::new(Certificates::new);

impl Certificates {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "authority of the tests");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let authority = params.self_signed(&key).unwrap();
        let authority_file = folder.path().join("authority.pem");
        fs::write(&authority_file, authority.pem()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone()).unwrap();
        let issuer = Issuer::new(params, key);

        let mut old = names();
        (old.not_before, old.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(2001, 1, 1));
        let mut client = CertificateParams::new([]).unwrap();
        client.distinguished_name.push(DnType::CommonName, "a client");
        Self {
            roots: Arc::new(roots),
            authority_file,
            server: Identity::new(&folder, "server", names(), Some(&issuer)),
            expired: Identity::new(&folder, "expired", old, Some(&issuer)),
            stranger: Identity::new(&folder, "stranger", names(), None),
            client: Identity::new(&folder, "client", client, Some(&issuer)),
            _folder: folder,
        }
    }

    pub(crate) fn client_config(&self, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        let config = ClientConfig::builder_with_provider(Tls::crypto_provider());
        let config = config.with_protocol_versions(versions).unwrap();
        config.with_root_certificates(self.roots.clone()).with_no_client_auth()
    }

    /// A client with a certificate.
    pub(crate) fn known_client_config(&self) -> ClientConfig {
        let config = ClientConfig::builder_with_provider(Tls::crypto_provider());
        let config = config.with_safe_default_protocol_versions().unwrap();
        let Identity { chain, key, .. } = &self.client;
        config.with_root_certificates(self.roots.clone()).with_client_auth_cert(chain.clone(), key.clone_key()).unwrap()
    }

    pub(crate) fn server_config(&self, versions: &[&'static SupportedProtocolVersion]) -> ServerConfig {
        let config = ServerConfig::builder_with_provider(Tls::crypto_provider());
        let config = config.with_protocol_versions(versions).unwrap();
        self.server.serve(config.with_no_client_auth())
    }

    pub(crate) fn expired_config(&self) -> ServerConfig {
        self.expired.serve(plain_server())
    }

    pub(crate) fn stranger_config(&self) -> ServerConfig {
        self.stranger.serve(plain_server())
    }

    /// A server that wants a certificate of its clients.
    pub(crate) fn strict_server_config(&self) -> ServerConfig {
        let verifier = WebPkiClientVerifier::builder_with_provider(self.roots.clone(), Tls::crypto_provider());
        let config = ServerConfig::builder_with_provider(Tls::crypto_provider());
        let config = config.with_safe_default_protocol_versions().unwrap();
        self.server.serve(config.with_client_cert_verifier(verifier.build().unwrap()))
    }
}

fn plain_server() -> WantsCertificate {
    let config = ServerConfig::builder_with_provider(Tls::crypto_provider());
    config.with_safe_default_protocol_versions().unwrap().with_no_client_auth()
}

fn names() -> CertificateParams {
    CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap()
}

type WantsCertificate =
    futures_rustls::rustls::ConfigBuilder<ServerConfig, futures_rustls::rustls::server::WantsServerCert>;

impl Identity {
    fn new(folder: &TempDir, name: &str, params: CertificateParams, issuer: Option<&Issuer<'_, KeyPair>>) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = match issuer {
            Some(issuer) => params.signed_by(&key, issuer).unwrap(),
            None => params.self_signed(&key).unwrap(),
        };
        let path = |end| folder.path().join(format!("{name}.{end}"));
        let (certificate_file, key_file) = (path("pem"), path("key"));
        fs::write(&certificate_file, certificate.pem()).unwrap();
        fs::write(&key_file, key.serialize_pem()).unwrap();
        let chain = vec![certificate.der().clone()];
        Self { chain, key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(), certificate_file, key_file }
    }

    fn serve(&self, config: WantsCertificate) -> ServerConfig {
        config.with_single_cert(self.chain.clone(), self.key.clone_key()).unwrap()
    }
}

/// The client's side, for a server with the certificate of the tests.
pub(crate) fn client() -> Tls {
    Tls::client(CERTIFICATES.client_config(&BOTH), "localhost")
}

pub(crate) fn server() -> Tls {
    Tls::server(CERTIFICATES.server_config(&BOTH))
}

/// A server in the background whose clients are told apart by nothing: for one client, or for many that are alike.
pub(crate) struct Served {
    pub(crate) addr: SocketAddr,
    pub(crate) handle: ServerHandle,
    /// What its protocols have seen.
    pub(crate) log: Log,
    /// What was reported.
    pub(crate) errors: async_channel::Receiver<io::Error>,
}

/// Serves with protocols that `make` makes.
pub(crate) async fn serve(tls: Tls, mut make: impl FnMut(&Log) -> Recorder + Send + 'static) -> Served {
    let log = Log::default();
    let (reports, errors) = async_channel::unbounded();
    let known = log.clone();
    let server = create_server(move || make(&known), ANY).tls(tls).on_error(move |err| {
        let _ = reports.try_send(err);
    });
    let server = server.await.unwrap();
    let addr = server.local_addr().unwrap();
    let (handle, serving) = server.spawn();
    serving.detach();
    Served { addr, handle, log, errors }
}

/// An echoing server.
pub(crate) async fn serve_echo(tls: Tls) -> Served {
    serve(tls, Recorder::echo).await
}

impl Served {
    /// A connection of this crate to it.
    pub(crate) async fn connect<P: StreamProtocol<Transport>>(&self, protocol: P, tls: Tls) -> Connection<P> {
        create_connection(protocol, self.addr).tls(tls).await.unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.handle.close();
        self.handle.abort_clients();
    }
}

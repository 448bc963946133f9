//! Configurations that come with the crate, for first programs.

use std::fmt::Display;
use std::io;
use std::path::Path;
use std::sync::Arc;

use futures_rustls::pki_types::pem::{self, PemObject};
use futures_rustls::pki_types::{CertificateDer, PrivateKeyDer};
use futures_rustls::rustls::crypto::CryptoProvider;
#[cfg(not(feature = "tls"))]
use futures_rustls::rustls::crypto::aws_lc_rs as cryptography;
#[cfg(feature = "tls")]
use futures_rustls::rustls::crypto::ring as cryptography;
use futures_rustls::rustls::{self, ClientConfig, ConfigBuilder, RootCertStore, ServerConfig, WantsVerifier};

use super::{IntoServerName, Tls};
use crate::io::errors::within;

impl Tls {
    /// The cryptography of the feature that was chosen: that of ring with `tls`, that of AWS-LC with `tls-aws-lc` alone.
    ///
    /// It is what the configurations of this crate are made with, and what the builders of rustls want. Nothing is
    /// installed for the whole process.
    #[must_use]
    pub fn crypto_provider() -> Arc<CryptoProvider> {
        Arc::new(cryptography::default_provider())
    }

    /// The client's side, with the certificate authorities that the system trusts, checked by the system where it has a
    /// verifier of its own.
    ///
    /// # Errors
    ///
    /// [`InvalidData`](io::ErrorKind::InvalidData) if the system has no certificates that can be read.
    #[cfg(feature = "tls-platform-roots")]
    #[cfg_attr(docsrs, doc(cfg(all(feature = "tls-platform-roots", any(feature = "tls", feature = "tls-aws-lc")))))]
    pub fn client_with_platform_roots(server_name: impl IntoServerName) -> io::Result<Self> {
        use rustls_platform_verifier::BuilderVerifierExt;
        let config = client()?.with_platform_verifier().map_err(invalid)?;
        Ok(Self::client(config.with_no_client_auth(), server_name))
    }

    /// The client's side, with the certificate authorities that Mozilla trusts, as of the release of the `webpki-roots`
    /// crate.
    ///
    /// # Errors
    ///
    /// None with the cryptography that comes with the crate.
    #[cfg(feature = "tls-webpki-roots")]
    #[cfg_attr(docsrs, doc(cfg(all(feature = "tls-webpki-roots", any(feature = "tls", feature = "tls-aws-lc")))))]
    pub fn client_with_webpki_roots(server_name: impl IntoServerName) -> io::Result<Self> {
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        Ok(Self::client(client()?.with_root_certificates(roots).with_no_client_auth(), server_name))
    }

    /// The client's side, with the certificate authorities of a PEM file: for servers with a certificate of one's own.
    /// A certificate that is signed by nobody but itself is its own authority, and must not claim to be that of others
    /// (`CA:FALSE`).
    ///
    /// # Errors
    ///
    /// What the system says about the file; [`InvalidData`](io::ErrorKind::InvalidData) if it holds no certificate, or
    /// one that cannot be read.
    pub fn client_with_roots_file(path: impl AsRef<Path>, server_name: impl IntoServerName) -> io::Result<Self> {
        let path = path.as_ref();
        let mut roots = RootCertStore::empty();
        for certificate in certificates(path)? {
            roots.add(certificate).map_err(|err| told(path, &err))?;
        }
        Ok(Self::client(client()?.with_root_certificates(roots).with_no_client_auth(), server_name))
    }

    /// The server's side, from two PEM files: its certificate, followed by those that vouch for it, and its private key.
    ///
    /// A pair for trying it out is made by openssl, and `Tls::client_with_roots_file("cert.pem", "localhost")` trusts it:
    ///
    /// ```text
    /// openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out cert.pem -days 30 \
    ///     -subj /CN=localhost -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE
    /// ```
    ///
    /// # Errors
    ///
    /// What the system says about the files; [`InvalidData`](io::ErrorKind::InvalidData) if they cannot be read or do
    /// not belong together.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use smol_transports::{Protocol, Tls, Transport, create_server};
    ///
    /// struct Echo;
    ///
    /// impl Protocol for Echo {
    ///     fn data_received(&mut self, transport: &Transport, data: &[u8]) {
    ///         transport.write(data);
    ///     }
    /// }
    ///
    /// # fn main() -> std::io::Result<()> {
    /// smol::block_on(async {
    ///     let tls = Tls::server_with_files("cert.pem", "key.pem")?;
    ///     create_server(|| Echo, "127.0.0.1:8888").tls(tls).await?.serve_forever().await
    /// })
    /// # }
    /// ```
    pub fn server_with_files(certificate: impl AsRef<Path>, key: impl AsRef<Path>) -> io::Result<Self> {
        let (certificate, key) = (certificate.as_ref(), key.as_ref());
        let chain = certificates(certificate)?;
        let secret = PrivateKeyDer::from_pem_file(key).map_err(|err| unreadable(key, err, "private key"))?;
        let config = ServerConfig::builder_with_provider(Self::crypto_provider());
        let config = config.with_safe_default_protocol_versions().map_err(invalid)?;
        let config = config.with_no_client_auth().with_single_cert(chain, secret);
        config.map(Self::server).map_err(|err| match err {
            rustls::Error::InconsistentKeys(_) => told(key, &format!("not the key of {}", certificate.display())),
            err => told(certificate, &err),
        })
    }
}

fn client() -> io::Result<ConfigBuilder<ClientConfig, WantsVerifier>> {
    ClientConfig::builder_with_provider(Tls::crypto_provider()).with_safe_default_protocol_versions().map_err(invalid)
}

/// The certificates of a file; at least one.
fn certificates(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let all = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let all = all.and_then(|all| if all.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(all) });
    all.map_err(|err| unreadable(path, err, "certificate"))
}

fn unreadable(path: &Path, err: pem::Error, what: &str) -> io::Error {
    match err {
        pem::Error::Io(err) => within(path.display(), err),
        pem::Error::NoItemsFound => told(path, &format!("there is no {what} in it")),
        err => told(path, &err),
    }
}

/// What is wrong with a file.
fn told(path: &Path, text: &dyn Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{}: {text}", path.display()))
}

fn invalid(err: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, err)
}

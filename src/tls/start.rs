//! The upgrade of a connection.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::Tls;
use crate::actor::report::{Answer, Report};
use crate::actor::write_side::Job;
use crate::io::tls::Shared;
use crate::transport::Transport;

impl Transport {
    /// Puts TLS over the connection: what is written from now on is encrypted, and so is what is received.
    ///
    /// It is queued now, like a write: what was written before is sent before it as it is, what is written from now on
    /// follows the handshake. Reading stops at once until the handshake is done. What the protocol has been given
    /// beyond the line that asked for the upgrade belongs to TLS, see [`Tls::received`]. The handle and the protocol
    /// stay the same, and `connection_made` is not called again. [`extra_info`](Self::extra_info) tells what was
    /// negotiated. [`write_eof`](Self::write_eof) is refused from now on, until the handshake is done with
    /// [`half_close`](Tls::half_close) and TLS 1.3. A connection that is over TLS already gets another layer, as behind a
    /// proxy.
    ///
    /// The future only reports that the handshake is done. It need not be awaited: whatever becomes of the upgrade,
    /// nothing that is written behind it leaves in plain text.
    ///
    /// # Errors
    ///
    /// - [`InvalidInput`](io::ErrorKind::InvalidInput) at once if `tls` cannot be used: that ends the connection, as by
    ///   [`fail`](Self::fail). Also after [`write_eof`](Self::write_eof): nothing can be written any more then, and the
    ///   connection goes on.
    /// - [`BrokenPipe`](io::ErrorKind::BrokenPipe) at once if the transport is closing or closed. What is written from now
    ///   on is dropped.
    /// - The cause of the loss if the handshake fails, which ends the connection:
    ///   [`InvalidData`](io::ErrorKind::InvalidData) with an error of rustls,
    ///   [`TimedOut`](io::ErrorKind::TimedOut), or [`ConnectionReset`](io::ErrorKind::ConnectionReset) if the peer has
    ///   gone. [`BrokenPipe`](io::ErrorKind::BrokenPipe) if it is aborted, or closed with nothing written behind it.
    ///
    /// # Examples
    ///
    /// The server's side of SMTP's `STARTTLS`:
    ///
    /// ```no_run
    /// use smol_transports::{Protocol, Tls, Transport};
    ///
    /// struct Session {
    ///     tls: Tls,
    ///     received: Vec<u8>,
    /// }
    ///
    /// impl Protocol for Session {
    ///     fn data_received(&mut self, transport: &Transport, data: &[u8]) {
    ///         self.received.extend_from_slice(data);
    ///         if let Some(rest) = self.received.strip_prefix(b"STARTTLS\r\n") {
    ///             transport.write("220 go ahead\r\n");
    ///             transport.start_tls(self.tls.clone().received(rest));
    ///             self.received.clear();
    ///         }
    ///     }
    /// }
    /// ```
    pub fn start_tls(&self, tls: Tls) -> StartTls {
        let report = Arc::new(Report::default());
        let usable = tls.side().map(drop);
        let job = TlsJob { tls, shared: None, report: report.clone() };
        let queued = self.mailbox().start_tls(Job::StartTls(Box::new(job)), usable);
        if let Err(err) = queued {
            report.set(Err(err));
        }
        StartTls(Answer::new(self.mailbox().clone(), report))
    }
}

/// Whether an upgrade was made, once it was; made by [`Transport::start_tls`].
///
/// # Dropping
///
/// The upgrade is made all the same.
#[derive(Debug)]
pub struct StartTls(Answer<()>);

impl Future for StartTls {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll(cx)
    }
}

/// An upgrade that waits for its turn, or is being made.
#[derive(Debug)]
pub(crate) struct TlsJob {
    pub(crate) tls: Tls,
    /// There once it is being made.
    pub(crate) shared: Option<Arc<Shared>>,
    report: Arc<Report<()>>,
}

impl TlsJob {
    /// The upgrade is made.
    pub(crate) fn finish(&self) {
        self.report.set(Ok(()));
    }
}

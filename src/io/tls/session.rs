//! One TLS session without input or output: ciphertext goes in and plaintext comes out, and the other way round.

use std::fmt;
use std::io::{self, BufRead, IoSlice, Read, Write};
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, BufMut, BytesMut};
use futures_io::{AsyncRead, AsyncWrite};
use futures_rustls::rustls::{Connection, ProtocolVersion, SupportedCipherSuite};
use futures_rustls::{Accept, Connect};

use crate::actor::delivery::{guarded, panic_text};
use crate::io::errors::unless_blocked;
use crate::io::{Outlet, Progress};
use crate::tls::{Side, TlsInfo};

/// Bytes of plaintext in a record.
const LARGEST_RECORD: usize = 16 * 1024;

pub(crate) struct Session {
    stage: Stage,
    /// Ciphertext of the handshake that waits to be sent; what follows it waits inside of `stage`.
    out: BytesMut,
    /// Plaintext that its receiver had no room for.
    plain: BytesMut,
    /// The peer has sent close_notify.
    finished: bool,
    /// Of ciphertext.
    progress: Progress,
}

enum Stage {
    Handshake(Box<Handshake>, Wire),
    Open(Box<Connection>, KeyUse),
    /// The handshake has failed; what is in `out` tells the peer why.
    Failed,
}

enum Handshake {
    Client(Connect<Wire>),
    Server(Accept<Wire>),
}

/// How often one key may still be used. TLS 1.3 renews it; before that rustls ends the connection behind its last record,
/// and takes what follows without sending it.
#[derive(Debug)]
struct KeyUse {
    records: u64,
}

impl KeyUse {
    fn new(connection: &Connection) -> Self {
        let records = match connection.negotiated_cipher_suite() {
            Some(SupportedCipherSuite::Tls12(suite)) => suite.common.confidentiality_limit,
            _ => u64::MAX,
        };
        // Handshake and farewell need some, and a record may be smaller than the largest.
        Self { records: records / 2 }
    }

    fn check(&self) -> io::Result<()> {
        if self.records > 0 {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::QuotaExceeded, "the key of this TLS 1.2 connection is used up"))
    }

    /// So many bytes were encrypted.
    fn note(&mut self, count: usize) {
        self.records = self.records.saturating_sub(count.div_ceil(LARGEST_RECORD) as u64);
    }
}

/// Where received plaintext goes.
#[derive(Debug)]
pub(crate) struct Sink<'a> {
    room: &'a mut [u8],
    filled: usize,
    /// Nobody wants to read it.
    discards: bool,
}

impl<'a> Sink<'a> {
    pub(crate) const fn new(room: &'a mut [u8]) -> Self {
        Self { room, filled: 0, discards: false }
    }

    pub(crate) fn discarding() -> Self {
        Self { discards: true, ..Self::new(&mut []) }
    }

    pub(crate) const fn filled(&self) -> usize {
        self.filled
    }

    /// Takes as much as there is room for; how much that is.
    fn put(&mut self, data: &[u8]) -> usize {
        if self.discards {
            return data.len();
        }
        let count = data.len().min(self.room.len() - self.filled);
        self.room[self.filled..self.filled + count].copy_from_slice(&data[..count]);
        self.filled += count;
        count
    }
}

impl Session {
    /// A session that begins with its handshake.
    pub(crate) fn new(side: &Side) -> Self {
        let wire = Wire::default();
        let handshake = match side {
            Side::Client(connector, name) => Handshake::Client(connector.connect(name.clone(), wire.clone())),
            Side::Server(acceptor) => Handshake::Server(acceptor.accept(wire.clone())),
        };
        let stage = Stage::Handshake(Box::new(handshake), wire);
        let (out, plain) = (BytesMut::new(), BytesMut::new());
        Self { stage, out, plain, finished: false, progress: Progress::default() }
    }

    /// Whether the handshake is still going on, or has failed.
    pub(crate) fn is_handshaking(&self) -> bool {
        match &self.stage {
            Stage::Handshake(..) | Stage::Failed => true,
            Stage::Open(connection, _) => connection.is_handshaking(),
        }
    }

    /// Whether the peer has finished with close_notify and all it sent was taken.
    pub(crate) fn is_finished(&self) -> bool {
        self.finished && self.plain.is_empty()
    }

    pub(crate) fn has_plain(&self) -> bool {
        !self.plain.is_empty()
    }

    /// Takes what had no room before.
    pub(crate) fn take_plain(&mut self, sink: &mut Sink<'_>) {
        let count = sink.put(&self.plain);
        self.plain.advance(count);
        if self.plain.is_empty() {
            self.plain = BytesMut::new();
        }
    }

    /// What has moved since this was asked last.
    pub(crate) fn take_progress(&mut self) -> Progress {
        mem::take(&mut self.progress)
    }

    /// Moves the handshake on with the ciphertext that it was fed.
    ///
    /// # Errors
    ///
    /// `InvalidData` with the error of rustls.
    pub(crate) fn shake(&mut self) -> io::Result<()> {
        let Stage::Handshake(handshake, wire) = &mut self.stage else { return Ok(()) };
        let outcome = handshake.poll();
        self.out.unsplit(wire.lock().output.split());
        let rest = match &outcome {
            Poll::Pending => return Ok(()),
            Poll::Ready(_) => wire.lock().input.split(),
        };
        self.stage = Stage::Failed;
        if let Poll::Ready(connection) = outcome {
            let mut connection = Box::new(connection?);
            take_early_data(&mut connection, &mut self.plain)?;
            // The first data may have come with the last message of the handshake.
            let finished = process(&mut connection, &mut Sink::new(&mut []), &mut self.plain);
            let key = KeyUse::new(&connection);
            self.stage = Stage::Open(connection, key);
            self.finished = finished?;
        }
        self.feed(&rest, &mut Sink::new(&mut []))
    }

    /// Takes ciphertext, and gives the plaintext in it to `sink` as far as it has room.
    ///
    /// # Errors
    ///
    /// `InvalidData` with the error of rustls. What came before it is in `sink`.
    pub(crate) fn feed(&mut self, mut data: &[u8], sink: &mut Sink<'_>) -> io::Result<()> {
        self.progress.received |= !data.is_empty();
        if let Stage::Handshake(_, wire) = &self.stage {
            wire.lock().input.extend_from_slice(data);
            return self.shake();
        }
        let Stage::Open(connection, _) = &mut self.stage else { return Ok(()) };
        // What follows close_notify is not read.
        while !data.is_empty() && connection.read_tls(&mut data)? > 0 {
            self.finished |= process(connection, sink, &mut self.plain)?;
        }
        // Only when it reads does rustls give back the room that large records have taken.
        let _ = connection.read_tls(&mut Nothing);
        Ok(())
    }

    /// Encrypts a part of what is to be sent; how much. 0 before the handshake is done.
    pub(crate) fn encrypt(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        match &mut self.stage {
            Stage::Open(connection, key) => {
                key.check()?;
                let sent = connection.writer().write_vectored(bufs)?;
                key.note(sent);
                Ok(sent)
            }
            _ => Ok(0),
        }
    }

    /// Tells the peer that nothing more will follow.
    pub(crate) fn send_close_notify(&mut self) {
        if let Stage::Open(connection, _) = &mut self.stage {
            connection.send_close_notify();
        }
    }

    /// Passes ciphertext on; whether that was all.
    pub(crate) fn push(&mut self, outlet: &dyn Outlet) -> io::Result<bool> {
        while !self.out.is_empty() {
            let Some(count) = unless_blocked(outlet.try_send(&[IoSlice::new(&self.out)]))? else { return Ok(false) };
            self.progress.sent = true;
            self.out.advance(count);
        }
        self.out = BytesMut::new();
        let Stage::Open(connection, _) = &mut self.stage else { return Ok(true) };
        while connection.wants_write() {
            if unless_blocked(connection.write_tls(&mut Sending(outlet)))?.is_none() {
                return Ok(false);
            }
            self.progress.sent = true;
        }
        Ok(true)
    }

    /// What was negotiated; `None` before that.
    pub(crate) fn info(&self) -> Option<TlsInfo> {
        match &self.stage {
            Stage::Open(connection, _) => TlsInfo::new(connection),
            _ => None,
        }
    }

    /// Whether close_notify closes one direction only.
    pub(crate) fn has_half_close(&self) -> bool {
        match &self.stage {
            Stage::Open(connection, _) => connection.protocol_version() == Some(ProtocolVersion::TLSv1_3),
            _ => false,
        }
    }
}

/// Moves what a client has sent ahead of the handshake (0-RTT). The handshake is done by now, so that nobody can have sent
/// it a second time (RFC 8470, section 3).
fn take_early_data(connection: &mut Connection, plain: &mut BytesMut) -> io::Result<()> {
    let Connection::Server(server) = connection else { return Ok(()) };
    let Some(mut early) = server.early_data() else { return Ok(()) };
    io::copy(&mut early, &mut plain.writer()).map(drop)
}

/// Decrypts what was read, and moves it out of rustls so that it takes more; whether the peer has finished.
fn process(connection: &mut Connection, sink: &mut Sink<'_>, rest: &mut BytesMut) -> io::Result<bool> {
    let processed = process_records(connection);
    let mut reader = connection.reader();
    while let Ok(chunk @ [_, ..]) = reader.fill_buf() {
        let count = if rest.is_empty() { sink.put(chunk) } else { 0 };
        rest.extend_from_slice(&chunk[count..]);
        let count = chunk.len();
        reader.consume(count);
    }
    processed
}

/// Whether the peer has finished. rustls asserts that no alert follows its own close_notify, and breaks that itself when
/// a peer sends nonsense after it; only where debug assertions are on, but no peer may end a process.
fn process_records(connection: &mut Connection) -> io::Result<bool> {
    let invalid = |err| io::Error::new(io::ErrorKind::InvalidData, err);
    match guarded(|| connection.process_new_packets()) {
        Ok(processed) => processed.map(|state| state.peer_has_closed()).map_err(invalid),
        Err(payload) => Err(io::Error::new(io::ErrorKind::InvalidData, panic_text(&payload))),
    }
}

impl Handshake {
    fn poll(&mut self) -> Poll<io::Result<Connection>> {
        // Its wire never has to be waited for: it is asked again when there is more on it.
        let mut cx = Context::from_waker(Waker::noop());
        match self {
            Self::Client(connect) => {
                let stream = Pin::new(connect).poll(&mut cx);
                stream.map_ok(|stream| stream.into_inner().1.into())
            }
            Self::Server(accept) => {
                let stream = Pin::new(accept).poll(&mut cx);
                stream.map_ok(|stream| stream.into_inner().1.into())
            }
        }
    }
}

/// What the handshake of futures-rustls takes for a stream.
#[derive(Clone, Default)]
struct Wire(Arc<Mutex<Buffers>>);

#[derive(Default)]
struct Buffers {
    input: BytesMut,
    output: BytesMut,
}

impl Wire {
    fn lock(&self) -> MutexGuard<'_, Buffers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let input = &mut self.lock().input;
        if input.is_empty() {
            return Poll::Pending;
        }
        Poll::Ready(input.reader().read(buf))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.lock().output.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Nothing to be read for now.
struct Nothing;

impl Read for Nothing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}

/// An outlet as rustls wants it.
struct Sending<'a>(&'a dyn Outlet);

impl Write for Sending<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.try_send(&[IoSlice::new(buf)])
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_send(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("finished", &self.finished).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_used_up_by_records() {
        let mut key = KeyUse { records: 3 };
        for count in [1, LARGEST_RECORD + 1] {
            key.check().unwrap();
            key.note(count);
        }
        assert_eq!(key.check().unwrap_err().kind(), io::ErrorKind::QuotaExceeded);
    }
}

//! What the child of a run is given to read.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_io::AsyncRead;

use crate::process::SubprocessTransport;
use crate::transport::WriteTransport;

/// What the child reads.
pub(super) enum Input {
    /// Nothing that is known here.
    Elsewhere,
    Bytes(Bytes),
    Reader(Pin<Box<dyn AsyncRead + Send>>),
}

impl Input {
    /// Gives the child what there is; what is left comes bit by bit.
    pub(super) fn begin(self, transport: &SubprocessTransport) -> Option<Feed> {
        match (self, transport.stdin()) {
            (Self::Reader(reader), Some(stdin)) => return Some(Feed { reader, stdin: stdin.clone() }),
            (Self::Bytes(bytes), Some(stdin)) => {
                stdin.write_bytes(bytes);
                stdin.close();
            }
            _ => {}
        }
        None
    }
}

/// Input that comes bit by bit.
pub(super) struct Feed {
    reader: Pin<Box<dyn AsyncRead + Send>>,
    stdin: WriteTransport,
}

impl Feed {
    /// Passes one piece on, if there is one and the child takes it.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Fed> {
        if self.stdin.is_writing_paused() {
            return Poll::Pending;
        }
        let mut buffer = [0; 8192];
        let end = match self.reader.as_mut().poll_read(cx, &mut buffer) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(count)) if count > 0 && self.stdin.write(&buffer[..count]).ok().is_ok() => {
                return Poll::Ready(Fed::More);
            }
            // All is said, or the child does not listen.
            Poll::Ready(Ok(_)) => Ok(()),
            Poll::Ready(Err(err)) => Err(err),
        };
        self.stdin.close();
        Poll::Ready(Fed::End(end))
    }
}

/// What has come of feeding.
pub(super) enum Fed {
    More,
    /// Nothing more comes: all is said, the child does not listen, or the reader has failed.
    End(io::Result<()>),
}

//! Sockets on async-io: portable, for every executor, and the reference for other backends.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_io::Async;
use socket2::{SockRef, Socket};

use super::errors::unless_blocked;
use super::scratch::Scratch;
use super::{Endpoint, Flow, Halves, Outlet, Recv, socket};

/// A stream socket that registers with async-io when it first has to wait.
#[derive(Debug)]
struct SocketEndpoint {
    binding: Binding,
    /// Receiving is worth a try without waiting: readiness was reported, or the last read came back full.
    hot: bool,
    eof: bool,
}

#[derive(Debug)]
enum Binding {
    Unbound(Arc<Socket>),
    AsyncIo(Async<Arc<Socket>>),
}

#[derive(Debug)]
struct SocketOutlet(Arc<Socket>);

/// Both halves of a socket that is non-blocking already.
pub(crate) fn halves(socket: Socket) -> Halves {
    let socket = Arc::new(socket);
    let binding = Binding::Unbound(socket.clone());
    (Box::new(SocketEndpoint { binding, hot: false, eof: false }), Some(Arc::new(SocketOutlet(socket))))
}

impl Binding {
    fn socket(&self) -> &Socket {
        match self {
            Self::Unbound(socket) => socket,
            Self::AsyncIo(io) => io.get_ref(),
        }
    }

    fn bound(&mut self) -> io::Result<&Async<Arc<Socket>>> {
        if let Self::Unbound(socket) = self {
            *self = Self::AsyncIo(Async::new_nonblocking(socket.clone())?);
        }
        match self {
            Self::AsyncIo(io) => Ok(io),
            Self::Unbound(_) => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

impl SocketEndpoint {
    /// Reads once into `buf`. None if nothing was there: then the next `poll_recv_ready` waits.
    fn recv(&mut self, buf: &mut [u8]) -> io::Result<Option<usize>> {
        self.hot = false;
        let received = unless_blocked(socket::recv(self.binding.socket(), buf))?;
        if let Some(count) = received {
            self.hot = count == buf.len();
            self.eof = count == 0 && !buf.is_empty();
        }
        Ok(received)
    }

    fn recv_lending(&mut self, mut budget: usize, f: &mut dyn FnMut(&[u8]) -> Flow) -> io::Result<Recv> {
        let mut scratch = Scratch::take();
        while budget > 0 {
            let room = budget.min(scratch.len());
            match self.recv(&mut scratch[..room])? {
                None => return Ok(Recv::Idle),
                Some(0) => return Ok(Recv::Eof),
                Some(count) => {
                    budget -= count;
                    let flow = f(&scratch[..count]);
                    if flow == Flow::Stop {
                        break;
                    }
                    if !self.hot {
                        return Ok(Recv::Idle);
                    }
                }
            }
        }
        Ok(Recv::More)
    }
}

impl Endpoint for SocketEndpoint {
    fn poll_recv_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.hot && !self.eof {
            ready!(self.binding.bound()?.poll_readable(cx))?;
            self.hot = true;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        budget: usize,
        f: &mut dyn FnMut(&[u8]) -> Flow,
    ) -> Poll<io::Result<Recv>> {
        if self.eof {
            return Poll::Ready(Ok(Recv::Eof));
        }
        ready!(self.poll_recv_ready(cx))?;
        Poll::Ready(self.recv_lending(budget, f))
    }

    fn poll_recv_into(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            if self.eof {
                return Poll::Ready(Ok(0));
            }
            ready!(self.poll_recv_ready(cx))?;
            if let Some(count) = self.recv(buf)? {
                return Poll::Ready(Ok(count));
            }
        }
    }

    fn poll_send_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.binding.bound()?.poll_writable(cx)
    }

    // One-shot readiness asks for nothing while nobody polls.
    fn set_reading(&mut self, _: bool) {}

    fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn into_socket(self: Box<Self>) -> Option<Socket> {
        let socket = match self.binding {
            Binding::Unbound(socket) => socket,
            Binding::AsyncIo(io) => io.into_inner().ok()?,
        };
        Arc::into_inner(socket)
    }
}

impl Outlet for SocketOutlet {
    fn try_send(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        socket::send(&self.0, bufs)
    }

    fn finish(&self) -> io::Result<()> {
        socket::finish(&self.0)
    }

    fn socket(&self) -> Option<SockRef<'_>> {
        Some(SockRef::from(&*self.0))
    }
}

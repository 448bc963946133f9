//! Descriptors on async-io: portable, for every executor, and the reference for other backends.

use std::fmt::Debug;
use std::fs::File;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_io::Async;
use socket2::{SockRef, Socket};

#[cfg(target_os = "linux")]
use crate::driver::{self, Place, Registration, Waiting};

mod prepare;

use super::errors::unless_blocked;
use super::scratch::Scratch;
use super::{Endpoint, Flow, Halves, Outlet, Recv, socket};
pub(crate) use prepare::prepare;
#[cfg(target_os = "linux")]
pub(crate) use prepare::reserve;

/// What async-io can wait for on this platform.
#[cfg(unix)]
pub(crate) use std::os::fd::AsFd as AsSource;
#[cfg(windows)]
pub(crate) use std::os::windows::io::AsSocket as AsSource;

/// A descriptor of a byte stream, in non-blocking mode.
pub(crate) trait Stream: AsSource + Debug + Send + Sync + Sized + 'static {
    /// Receives what is there; 0 is the end of file.
    fn recv(&self, buf: &mut [u8]) -> io::Result<usize>;

    /// Whether a read that came short may have left something.
    fn is_read_in_pieces(&self) -> bool {
        false
    }

    /// Sends what the system takes at once.
    fn send(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Sends the end of file.
    fn finish(&self) -> io::Result<()>;

    fn socket(&self) -> Option<SockRef<'_>> {
        None
    }

    fn into_socket(self) -> Option<Socket> {
        None
    }
}

impl Stream for Socket {
    fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        socket::recv(self, buf)
    }

    fn send(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        socket::send(self, bufs)
    }

    fn finish(&self) -> io::Result<()> {
        socket::finish(self)
    }

    fn socket(&self) -> Option<SockRef<'_>> {
        Some(SockRef::from(self))
    }

    fn into_socket(self) -> Option<Socket> {
        Some(self)
    }
}

/// Both halves of a descriptor that is non-blocking already.
pub(crate) fn halves<S: Stream>(stream: S) -> Halves {
    let stream = Arc::new(stream);
    (Box::new(StreamEndpoint::new(stream.clone())), Some(stream))
}

/// How a descriptor is waited for.
#[derive(Debug)]
pub(crate) enum Binding<S: AsSource> {
    /// Not at all so far.
    Unbound(Arc<S>),
    AsyncIo {
        io: Async<Arc<S>>,
        #[cfg(target_os = "linux")]
        _place: Option<Place>,
    },
    /// By an epoll of this crate.
    #[cfg(target_os = "linux")]
    Epoll(Registration<S>),
    /// It cannot be waited for, and never blocks: the likes of `/dev/null`.
    Always(Arc<S>),
}

impl<S: AsSource> Binding<S> {
    pub(crate) fn stream(&self) -> &S {
        self.shared()
    }

    fn shared(&self) -> &Arc<S> {
        match self {
            Self::Unbound(stream) | Self::Always(stream) => stream,
            Self::AsyncIo { io, .. } => io.get_ref(),
            #[cfg(target_os = "linux")]
            Self::Epoll(registration) => registration.stream(),
        }
    }

    /// Whether reading must go on although it came short. One-shot readiness reports what is left again.
    pub(crate) fn must_read_on(&self) -> bool {
        match self {
            #[cfg(target_os = "linux")]
            Self::Epoll(registration) => registration.must_read_on(),
            _ => false,
        }
    }

    /// Whether the task is woken without having asked for it when there is something to read. One-shot readiness has to
    /// be asked for each time.
    #[cfg_attr(not(target_os = "linux"), expect(unused_variables, reason = "there are no drivers"))]
    pub(crate) fn is_awaited(&self, cx: &Context<'_>) -> bool {
        match self {
            #[cfg(target_os = "linux")]
            Self::Epoll(registration) => registration.is_awaited(cx),
            _ => false,
        }
    }

    pub(crate) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.bind(cx)?;
        match self {
            Self::AsyncIo { io, .. } => io.poll_readable(cx),
            #[cfg(target_os = "linux")]
            Self::Epoll(registration) => registration.poll_readable(cx).map(Ok),
            Self::Unbound(_) | Self::Always(_) => Poll::Ready(Ok(())),
        }
    }

    pub(crate) fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.bind(cx)?;
        match self {
            Self::AsyncIo { io, .. } => io.poll_writable(cx),
            #[cfg(target_os = "linux")]
            Self::Epoll(registration) => registration.poll_writable(cx),
            Self::Unbound(_) | Self::Always(_) => Poll::Ready(Ok(())),
        }
    }

    /// Registers when it first has to wait.
    #[inline]
    fn bind(&mut self, cx: &Context<'_>) -> io::Result<()> {
        match self {
            Self::Unbound(_) => self.register(cx),
            #[cfg(target_os = "linux")]
            Self::Epoll(registration) if registration.is_stale() => self.register(cx),
            #[cfg(target_os = "linux")]
            Self::AsyncIo { .. } if driver::has_hub() => self.register(cx),
            _ => Ok(()),
        }
    }

    #[cold]
    fn register(&mut self, cx: &Context<'_>) -> io::Result<()> {
        if !matches!(self, Self::Unbound(_)) {
            // What is waited for in the other direction must be asked for again.
            cx.waker().wake_by_ref();
            // What was registered before is taken back first.
            self.unbind();
        }
        let stream = self.shared().clone();
        *self = match register(stream.clone()) {
            Ok(bound) => bound,
            Err(err) if cannot_wait(&err) => Self::Always(stream),
            Err(err) => return Err(err),
        };
        Ok(())
    }

    /// Forgets the registration; the next wait registers anew.
    pub(crate) fn unbind(&mut self) {
        *self = Self::Unbound(self.shared().clone());
    }

    fn into_stream(self) -> Option<S> {
        let stream = self.shared().clone();
        drop(self);
        Arc::into_inner(stream)
    }
}

#[cfg(target_os = "linux")]
fn register<S: AsSource>(stream: Arc<S>) -> io::Result<Binding<S>> {
    match driver::waiting()? {
        Waiting::Epoll(poller) => Registration::new(poller, stream).map(Binding::Epoll),
        Waiting::AsyncIo(place) => Ok(Binding::AsyncIo { io: Async::new_nonblocking(stream)?, _place: place }),
    }
}

#[cfg(not(target_os = "linux"))]
fn register<S: AsSource>(stream: Arc<S>) -> io::Result<Binding<S>> {
    Ok(Binding::AsyncIo { io: Async::new_nonblocking(stream)? })
}

/// epoll's answer for what is always ready.
fn cannot_wait(err: &io::Error) -> bool {
    cfg!(unix) && err.kind() == io::ErrorKind::PermissionDenied
}

/// The receiving half, which also waits.
#[derive(Debug)]
pub(crate) struct StreamEndpoint<S: Stream> {
    binding: Binding<S>,
    /// Receiving is worth a try without waiting: readiness was reported, or the last read came back full.
    hot: bool,
    /// It stays worth a try until nothing is found.
    looking: bool,
    eof: bool,
}

impl<S: Stream> StreamEndpoint<S> {
    pub(crate) const fn new(stream: Arc<S>) -> Self {
        Self { binding: Binding::Unbound(stream), hot: false, looking: false, eof: false }
    }

    /// Reads once into `buf`. None if nothing was there: then the next `poll_recv_ready` waits.
    fn recv(&mut self, buf: &mut [u8]) -> io::Result<Option<usize>> {
        self.hot = false;
        let received = unless_blocked(self.binding.stream().recv(buf))?;
        if let Some(count) = received {
            let may_go_on = self.looking || self.binding.must_read_on() || self.binding.stream().is_read_in_pieces();
            self.hot = count == buf.len() || may_go_on;
            self.eof = count == 0 && !buf.is_empty();
        } else {
            self.looking = false;
        }
        Ok(received)
    }

    fn recv_lending(
        &mut self,
        cx: &Context<'_>,
        mut budget: usize,
        f: &mut dyn FnMut(&[u8]) -> Flow,
    ) -> io::Result<Recv> {
        let mut scratch = Scratch::take();
        while budget > 0 {
            let room = budget.min(scratch.len());
            match self.recv(&mut scratch[..room])? {
                None => return Ok(Recv::Idle),
                Some(0) => return Ok(Recv::Eof),
                Some(count) => {
                    budget -= count;
                    if f(&scratch[..count]) == Flow::Stop {
                        break;
                    }
                    if !self.hot {
                        return Ok(if self.binding.is_awaited(cx) { Recv::Awaited } else { Recv::Idle });
                    }
                }
            }
        }
        Ok(Recv::More)
    }
}

impl<S: Stream> Endpoint for StreamEndpoint<S> {
    fn poll_recv_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.hot && !self.eof {
            ready!(self.binding.poll_readable(cx))?;
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
        Poll::Ready(if self.eof { Ok(Recv::Eof) } else { self.recv_lending(cx, budget, f) })
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
        self.binding.poll_writable(cx)
    }

    fn look_again(&mut self) {
        self.hot = true;
        self.looking = true;
    }

    // One-shot readiness asks for nothing while nobody polls.
    fn set_reading(&mut self, _: bool) {}

    fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn unbind(&mut self) {
        self.binding.unbind();
    }

    fn into_socket(self: Box<Self>) -> Option<Socket> {
        self.binding.into_stream()?.into_socket()
    }
}

/// The sending half is the descriptor itself.
impl<S: Stream> Outlet for S {
    fn try_send(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.send(bufs)
    }

    fn try_send_file(&self, file: &File, offset: u64, count: usize) -> io::Result<Option<usize>> {
        Stream::socket(self).map_or(Ok(None), |socket| socket::send_file(&socket, file, offset, count))
    }

    fn finish(&self) -> io::Result<()> {
        Stream::finish(self)
    }

    fn socket(&self) -> Option<SockRef<'_>> {
        Stream::socket(self)
    }

    #[cfg(unix)]
    fn descriptor(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        Some(self.as_fd())
    }
}

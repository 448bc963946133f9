//! One listening socket.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_io::{Async, Timer};
use socket2::{Domain, Protocol, Socket, Type};

use crate::info::Addr;
use crate::io::errors::{Accept, of_accept};

/// The first pause after the system ran short of something; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause: service must be back soon after the shortage is over.
const LONGEST_PAUSE: Duration = Duration::from_millis(400);
/// Dead clients skipped in a row before others get a turn.
const SKIPS: usize = 64;

/// How listening sockets are made.
#[derive(Clone, Debug)]
pub(crate) struct ListenOptions {
    pub(crate) backlog: i32,
    pub(crate) reuse_address: bool,
    pub(crate) reuse_port: bool,
    pub(crate) v6_only: bool,
}

impl Default for ListenOptions {
    fn default() -> Self {
        // On Windows the option would let two servers share a port by accident.
        Self { backlog: 1024, reuse_address: cfg!(unix), reuse_port: false, v6_only: true }
    }
}

impl ListenOptions {
    /// A bound socket that does not listen yet. None if this machine has no such family or address.
    pub(crate) fn bind(&self, addr: std::net::SocketAddr) -> io::Result<Option<Socket>> {
        let Ok(socket) = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP)) else {
            return Ok(None);
        };
        self.prepare(&socket, addr.is_ipv6())?;
        match socket.bind(&addr.into()) {
            Ok(()) => Ok(Some(socket)),
            Err(err) if err.kind() == io::ErrorKind::AddrNotAvailable => Ok(None),
            Err(err) => Err(io::Error::new(err.kind(), format!("cannot bind to {addr}: {err}"))),
        }
    }

    fn prepare(&self, socket: &Socket, v6: bool) -> io::Result<()> {
        socket.set_nonblocking(true)?;
        socket.set_reuse_address(self.reuse_address)?;
        if self.reuse_port {
            reuse_port(socket)?;
        }
        if v6 { socket.set_only_v6(self.v6_only) } else { Ok(()) }
    }
}

#[cfg(all(unix, not(any(target_os = "solaris", target_os = "illumos", target_os = "cygwin"))))]
fn reuse_port(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_port(true)
}

#[cfg(not(all(unix, not(any(target_os = "solaris", target_os = "illumos", target_os = "cygwin")))))]
fn reuse_port(_: &Socket) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "no SO_REUSEPORT on this platform"))
}

/// A listening socket and its pauses.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: Async<Socket>,
    addr: Option<Addr>,
    /// A client may be waiting: readiness was reported and no accept has come back empty since.
    hot: bool,
    /// The pause that is running, if one is.
    timer: Option<Timer>,
    /// The last pause, until a client is accepted: the shortage was reported.
    pause: Option<Duration>,
}

/// What a turn of accepting has brought.
pub(crate) type Accepted = io::Result<(Socket, Option<Addr>)>;

impl Listener {
    /// Begins to listen.
    pub(crate) fn new(socket: Socket, backlog: i32) -> io::Result<Self> {
        socket.listen(backlog)?;
        let addr = socket.local_addr().ok().as_ref().and_then(Addr::from_sock_addr);
        Ok(Self { socket: Async::new(socket)?, addr, hot: false, timer: None, pause: None })
    }

    pub(crate) const fn addr(&self) -> Option<&Addr> {
        self.addr.as_ref()
    }

    /// The next client, or an error to report. Errors never end it.
    pub(crate) fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Accepted> {
        for _ in 0..SKIPS {
            if let Some(timer) = &mut self.timer {
                ready!(Pin::new(timer).poll(cx));
                self.timer = None;
            }
            match ready!(self.poll_once(cx)) {
                Ok(accepted) => {
                    self.pause = None;
                    return Poll::Ready(Ok(accepted));
                }
                Err(err) => {
                    if let Some(report) = self.judge(err) {
                        return Poll::Ready(Err(report));
                    }
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_once(&mut self, cx: &mut Context<'_>) -> Poll<Accepted> {
        if !self.hot {
            ready!(self.socket.poll_readable(cx))?;
            self.hot = true;
        }
        Poll::Ready(accept(self.socket.get_ref()))
    }

    /// What to do about an error of accept; the error if it is to be reported.
    fn judge(&mut self, err: io::Error) -> Option<io::Error> {
        match of_accept(&err) {
            Accept::Skip => None,
            Accept::Wait => {
                self.hot = false;
                None
            }
            Accept::BackOff => {
                let known = self.pause;
                let pause = known.map_or(FIRST_PAUSE, |last| LONGEST_PAUSE.min(last * 2));
                self.pause = Some(pause);
                self.timer = Some(Timer::after(pause));
                known.is_none().then_some(err)
            }
        }
    }
}

#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
fn accept(socket: &Socket) -> Accepted {
    use rustix::net::SocketFlags;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (fd, addr) = rustix::net::acceptfrom_with(socket, flags)?;
    let addr = addr.and_then(|addr| std::net::SocketAddr::try_from(addr).ok());
    Ok((fd.into(), addr.map(Addr::Inet)))
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
fn accept(socket: &Socket) -> Accepted {
    let (socket, addr) = socket.accept()?;
    Ok((socket, Addr::from_sock_addr(&addr)))
}

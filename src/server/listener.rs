//! One listening socket.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use crate::info::Addr;
use crate::io::async_io::Binding;
use crate::io::errors::{Accept, of_accept, within};
use crate::io::socket::reuse_port;
use crate::io::timer::Timer;

/// The first pause after the system ran short of something; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause: service must be back soon after the shortage is over.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// Dead clients skipped in a row before others get a turn.
const SKIPS: usize = 64;

/// How listening sockets are made.
#[derive(Clone, Debug)]
pub(crate) struct ListenOptions {
    pub(crate) backlog: i32,
    /// Clients at the same time.
    pub(crate) max_clients: usize,
    pub(crate) reuse_address: bool,
    pub(crate) reuse_port: bool,
    pub(crate) v6_only: bool,
    /// Whether the file of a Unix socket goes with the server.
    #[cfg(unix)]
    pub(crate) cleanup_socket: bool,
}

impl Default for ListenOptions {
    fn default() -> Self {
        // On Windows the option would let two servers share a port by accident.
        Self {
            backlog: 1024,
            max_clients: usize::MAX,
            reuse_address: cfg!(unix),
            reuse_port: false,
            v6_only: true,
            #[cfg(unix)]
            cleanup_socket: true,
        }
    }
}

impl ListenOptions {
    /// A bound socket that does not listen yet. None if this machine has no such family or address.
    pub(crate) fn bind(&self, addr: std::net::SocketAddr) -> io::Result<Option<Socket>> {
        let socket = match Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP)) {
            Err(err) if is_family_missing(&err) => return Ok(None),
            result => result?,
        };
        self.prepare(&socket, addr.is_ipv6())?;
        match socket.bind(&addr.into()) {
            Ok(()) => Ok(Some(socket)),
            Err(err) if err.kind() == io::ErrorKind::AddrNotAvailable => Ok(None),
            Err(err) => Err(within(format_args!("cannot bind to {addr}"), err)),
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

/// Whether this machine has no such kind of address, IPv6 for one.
fn is_family_missing(err: &io::Error) -> bool {
    #[cfg(unix)]
    return err.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error());
    #[cfg(not(unix))]
    return err.kind() == io::ErrorKind::Unsupported;
}

/// A listening socket and its pauses.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: Binding<Socket>,
    addr: Option<Addr>,
    /// A client may be waiting: readiness was reported and no accept has come back empty since.
    hot: bool,
    /// The pause that is running, if one is.
    timer: Option<Timer>,
    /// The next pause.
    pause: Duration,
    /// The present shortage was reported.
    reported: bool,
}

/// What a turn of accepting has brought.
pub(crate) type Accepted = io::Result<(Socket, Option<Addr>)>;

/// Has a bound socket listen.
pub(crate) fn listen(socket: &Socket, backlog: i32) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    socket.listen(backlog)
}

impl Listener {
    /// For a socket that is [listening](listen).
    pub(crate) fn new(socket: Socket) -> Self {
        let addr = socket.local_addr().ok().as_ref().and_then(Addr::from_sock_addr);
        let socket = Binding::Unbound(Arc::new(socket));
        Self { socket, addr, hot: false, timer: None, pause: FIRST_PAUSE, reported: false }
    }

    pub(crate) const fn addr(&self) -> Option<&Addr> {
        self.addr.as_ref()
    }

    /// The next client, or an error to report. Errors never end it. None when it is the turn of others: whoever polls
    /// comes back by itself.
    pub(crate) fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Option<Accepted>> {
        for _ in 0..SKIPS {
            if let Some(timer) = &mut self.timer {
                ready!(Pin::new(timer).poll(cx));
                self.timer = None;
            }
            match ready!(self.poll_once(cx)) {
                Ok(accepted) => {
                    self.pause = FIRST_PAUSE;
                    return Poll::Ready(Some(Ok(accepted)));
                }
                Err(err) => {
                    if let Some(report) = self.judge(err) {
                        return Poll::Ready(Some(Err(report)));
                    }
                }
            }
        }
        Poll::Ready(None)
    }

    fn poll_once(&mut self, cx: &mut Context<'_>) -> Poll<Accepted> {
        if !self.hot {
            if let Err(err) = ready!(self.socket.poll_readable(cx)) {
                // What has become of the registration is not known then.
                self.socket.unbind();
                return Poll::Ready(Err(err));
            }
            self.hot = true;
        }
        Poll::Ready(accept(self.socket.stream()))
    }

    /// What to do about an error of accept; the error if it is to be reported.
    fn judge(&mut self, err: io::Error) -> Option<io::Error> {
        match of_accept(&err) {
            Accept::Skip => None,
            // Nobody waits any more: a shortage is over, whatever single clients came in between.
            Accept::Wait => {
                self.hot = false;
                self.reported = false;
                None
            }
            Accept::BackOff => {
                self.timer = Some(Timer::after(self.pause));
                self.pause = LONGEST_PAUSE.min(self.pause * 2);
                (!std::mem::replace(&mut self.reported, true)).then_some(err)
            }
        }
    }
}

#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
fn accept(socket: &Socket) -> Accepted {
    use rustix::net::SocketFlags;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (fd, addr) = rustix::net::acceptfrom_with(socket, flags)?;
    // That of a Unix socket can be asked for later as well; rustix panics at the longest ones.
    let addr = addr.and_then(|addr| std::net::SocketAddr::try_from(addr).ok());
    Ok((fd.into(), addr.map(Addr::Inet)))
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
fn accept(socket: &Socket) -> Accepted {
    let (socket, addr) = socket.accept()?;
    Ok((socket, Addr::from_sock_addr(&addr)))
}

//! Trying the addresses of a host: RFC 8305, "happy eyeballs".

use std::error::Error;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use async_io::Async;
use futures_lite::future;
use socket2::{Domain, Protocol, Socket, Type};

use crate::address::{Address, Empty};
use crate::io::async_io::prepare;
use crate::io::timer::Timer;

/// The delay that RFC 8305 recommends.
const DELAY: Duration = Duration::from_millis(250);

/// How to go through the addresses.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) delay: Option<Duration>,
    pub(crate) interleave: usize,
    pub(crate) limit: Option<Duration>,
}

type Connected = (Socket, SocketAddr);

impl Default for Plan {
    fn default() -> Self {
        Self { delay: Some(DELAY), interleave: 1, limit: None }
    }
}

impl Plan {
    pub(crate) async fn connect(self, addr: Address, local: Option<Address>) -> io::Result<Connected> {
        within(self.limit, self.race(addr, local)).await
    }

    async fn race(self, addr: Address, local: Option<Address>) -> io::Result<Connected> {
        let local = match local {
            Some(local) => local.resolve(Empty::AllInterfaces).await?,
            None => Vec::new(),
        };
        let addrs = interleave(addr.resolve(Empty::Loopback).await?, self.interleave);
        let mut race = Race::new(addrs, local, self.delay);
        poll_fn(|cx| race.poll(cx)).await
    }
}

/// Gives up after `limit`.
pub(crate) async fn within<R>(limit: Option<Duration>, connect: impl Future<Output = io::Result<R>>) -> io::Result<R> {
    let Some(limit) = limit else { return connect.await };
    let late = async {
        Timer::after(limit).apart().await;
        let text = format!("no connection within {limit:?}");
        Err(io::Error::new(io::ErrorKind::TimedOut, text))
    };
    future::or(connect, late).await
}

/// The families in turn, after `first` addresses of the one that comes first.
fn interleave(addrs: Vec<SocketAddr>, first: usize) -> Vec<SocketAddr> {
    let Some(lead) = addrs.first().map(SocketAddr::is_ipv6) else { return addrs };
    if first == 0 {
        return addrs;
    }
    let (mut leading, other): (Vec<_>, Vec<_>) = addrs.into_iter().partition(|addr| addr.is_ipv6() == lead);
    let rest = leading.split_off((first - 1).min(leading.len()));
    let (mut rest, mut other) = (rest.into_iter(), other.into_iter());
    let pairs = std::iter::from_fn(|| {
        let pair = [rest.next(), other.next()];
        pair.iter().any(Option::is_some).then_some(pair)
    });
    leading.extend(pairs.flatten().flatten());
    leading
}

type Attempt = Pin<Box<dyn Future<Output = io::Result<Socket>> + Send>>;

/// The attempts that are under way; dropping it closes their sockets.
struct Race {
    waiting: std::vec::IntoIter<SocketAddr>,
    running: Vec<(SocketAddr, Attempt)>,
    failed: Vec<(SocketAddr, io::Error)>,
    local: Vec<SocketAddr>,
    delay: Option<Duration>,
    timer: Timer,
}

impl Race {
    fn new(addrs: Vec<SocketAddr>, local: Vec<SocketAddr>, delay: Option<Duration>) -> Self {
        let waiting = addrs.into_iter();
        Self { waiting, running: Vec::new(), failed: Vec::new(), local, delay, timer: Timer::never() }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Connected>> {
        loop {
            let failures = self.failed.len();
            if let Some(winner) = self.poll_running(cx) {
                return Poll::Ready(Ok(winner));
            }
            let failed = self.failed.len() > failures;
            let next_is_due = self.running.is_empty() || failed || self.poll_timer(cx);
            if !next_is_due || !self.begin_next() {
                break;
            }
        }
        if self.running.is_empty() {
            return Poll::Ready(Err(join(std::mem::take(&mut self.failed))));
        }
        Poll::Pending
    }

    fn poll_running(&mut self, cx: &mut Context<'_>) -> Option<Connected> {
        let mut index = 0;
        while let Some((addr, attempt)) = self.running.get_mut(index) {
            let addr = *addr;
            match attempt.as_mut().poll(cx) {
                Poll::Pending => index += 1,
                Poll::Ready(Ok(socket)) => return Some((socket, addr)),
                Poll::Ready(Err(err)) => {
                    self.failed.push((addr, err));
                    drop(self.running.remove(index));
                }
            }
        }
        None
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> bool {
        Pin::new(&mut self.timer).poll(cx).is_ready()
    }

    fn begin_next(&mut self) -> bool {
        let Some(addr) = self.waiting.next() else { return false };
        let local: Vec<_> = self.local.iter().copied().filter(|local| local.is_ipv4() == addr.is_ipv4()).collect();
        let attempt: Attempt = if self.local.is_empty() || !local.is_empty() {
            Box::pin(attempt(addr, local))
        } else {
            Box::pin(async { Err(io::Error::new(io::ErrorKind::AddrNotAvailable, "no local address of that family")) })
        };
        self.running.push((addr, attempt));
        self.timer = self.delay.map_or_else(Timer::never, Timer::after).apart();
        true
    }
}

async fn attempt(addr: SocketAddr, local: Vec<SocketAddr>) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    if cfg!(unix) && local.iter().any(|local| local.port() != 0) {
        // Attempts that are made side by side share the port.
        socket.set_reuse_address(true)?;
    }
    bind(&socket, &local)?;
    match socket.connect(&addr.into()) {
        Err(err) if !is_in_progress(&err) => return Err(err),
        _ => {}
    }
    prepare()?;
    let socket = Async::new_nonblocking(socket)?;
    socket.writable().await?;
    let socket = socket.into_inner()?;
    socket.take_error()?.map_or(Ok(socket), Err)
}

/// Binds to the first candidate that can be had.
fn bind(socket: &Socket, candidates: &[SocketAddr]) -> io::Result<()> {
    let mut result = Ok(());
    for addr in candidates {
        result = socket.bind(&(*addr).into());
        if result.is_ok() {
            break;
        }
    }
    result
}

fn is_in_progress(err: &io::Error) -> bool {
    #[cfg(unix)]
    if err.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) {
        return true;
    }
    matches!(err.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// One error for all attempts: theirs if it is the same for all, else one that names each.
fn join(mut failed: Vec<(SocketAddr, io::Error)>) -> io::Error {
    let text = |failure: &(SocketAddr, io::Error)| failure.1.to_string();
    if failed.windows(2).all(|pair| text(&pair[0]) == text(&pair[1])) {
        return failed.pop().map_or_else(|| io::ErrorKind::NotFound.into(), |(_, err)| err);
    }
    let kind = failed[0].1.kind();
    let same = failed.iter().all(|(_, err)| err.kind() == kind);
    io::Error::new(if same { kind } else { io::ErrorKind::Other }, Failures(failed))
}

/// What every address has answered.
#[derive(Debug)]
struct Failures(Vec<(SocketAddr, io::Error)>);

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("all addresses failed")?;
        self.0.iter().enumerate().try_for_each(|(index, (addr, err))| {
            let mark = if index == 0 { ':' } else { ',' };
            write!(f, "{mark} {addr}: {err}")
        })
    }
}

impl Error for Failures {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.first().map(|(_, err)| err as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn families_alternate_after_the_first_ones() {
        let given = ["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"].map(addr).to_vec();
        let order = |first| {
            let order = interleave(given.clone(), first);
            order.iter().map(|a| given.iter().position(|b| a == b).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(order(0), [0, 1, 2, 3, 4]);
        assert_eq!(order(1), [0, 3, 1, 4, 2]);
        assert_eq!(order(2), [0, 1, 3, 2, 4]);
        assert_eq!(order(9), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn all_errors_are_told() {
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let one = join(vec![(addr("1.1.1.1:1"), refused()), (addr("[::1]:1"), refused())]);
        assert_eq!(one.to_string(), refused().to_string());

        let late = io::Error::from(io::ErrorKind::TimedOut);
        let both = join(vec![(addr("1.1.1.1:1"), refused()), (addr("[::1]:1"), late)]);
        assert_eq!(both.kind(), io::ErrorKind::Other);
        assert_eq!(both.to_string(), "all addresses failed: 1.1.1.1:1: connection refused, [::1]:1: timed out");
    }
}

//! Datagram sockets on async-io.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::{SockRef, Socket};

use super::socket::{self, Raw};
use super::{DatagramHalves, DatagramOutlet, DatagramSource, Outgoing, Received};
use crate::info::Addr;
use crate::io::Flow;
use crate::io::async_io::Binding;
use crate::io::errors::unless_blocked;
use crate::io::scratch::Scratch;
use crate::io::timer::Timer;

/// The first pause of a [`Pace`]; it doubles while nothing can be sent.
const FIRST_PAUSE: Duration = Duration::from_micros(250);
const LONGEST_PAUSE: Duration = Duration::from_millis(16);

/// The receiving half.
#[derive(Debug)]
struct Source {
    binding: Binding<Raw>,
    /// Receiving is worth a try without waiting: readiness was reported, and everything has worked since.
    hot: bool,
    pace: Option<Pace>,
}

/// The sending half.
#[derive(Debug)]
struct SocketOutlet {
    socket: Arc<Raw>,
    /// Something was sent since the last pause.
    moved: Arc<AtomicBool>,
}

/// Tries again after a while. The system calls a Unix socket without a fixed peer writable even when the receiver it
/// sends to is full, so waiting for that would never rest.
#[derive(Debug)]
struct Pace {
    moved: Arc<AtomicBool>,
    pause: Duration,
    timer: Option<Timer>,
}

/// Both halves of a socket that is non-blocking already.
pub(crate) fn halves(socket: Socket) -> DatagramHalves {
    let moved = Arc::new(AtomicBool::new(true));
    let paced = has_no_peer(&socket).then(|| Pace::new(moved.clone()));
    let socket = Arc::new(Raw::from(socket));
    let source = Source { binding: Binding::Unbound(socket.clone()), hot: false, pace: paced };
    (Box::new(source), Arc::new(SocketOutlet { socket, moved }))
}

#[cfg(unix)]
fn has_no_peer(socket: &Socket) -> bool {
    socket.local_addr().is_ok_and(|addr| addr.is_unix()) && socket.peer_addr().is_err()
}

#[cfg(not(unix))]
fn has_no_peer(_: &Socket) -> bool {
    false
}

impl Source {
    /// Receives one datagram; pending when there is none.
    fn poll_one(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<io::Result<(usize, Addr)>>> {
        loop {
            if !self.hot {
                ready!(self.binding.poll_readable(cx))?;
                self.hot = true;
            }
            match unless_blocked(socket::recv(self.binding.stream(), buf)) {
                Ok(None) => self.hot = false,
                Ok(Some(received)) => return Poll::Ready(Ok(Ok(received))),
                Err(exc) => return Poll::Ready(Ok(Err(exc))),
            }
        }
    }
}

impl DatagramSource for Source {
    fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        budget: usize,
        f: &mut dyn FnMut(Received<'_>) -> Flow,
    ) -> Poll<io::Result<()>> {
        if !self.hot {
            ready!(self.binding.poll_readable(cx))?;
            self.hot = true;
        }
        let mut scratch = Scratch::take();
        for _ in 0..budget {
            let flow = match ready!(self.poll_one(cx, &mut scratch))? {
                Ok((count, addr)) => f(Ok((&scratch[..count], &addr))),
                Err(exc) => f(Err(exc)),
            };
            if flow == Flow::Stop {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_send_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.pace {
            Some(pace) => pace.poll(cx).map(Ok),
            None => self.binding.poll_writable(cx),
        }
    }

    // One-shot readiness asks for nothing while nobody polls.
    fn set_reading(&mut self, _: bool) {}
}

impl DatagramOutlet for SocketOutlet {
    fn try_send(&self, datagrams: &[Outgoing<'_>]) -> io::Result<usize> {
        let sent = socket::send(&self.socket, datagrams)?;
        self.moved.store(true, Ordering::Relaxed);
        Ok(sent)
    }

    fn socket(&self) -> Option<SockRef<'_>> {
        Some(SockRef::from(&*self.socket))
    }
}

impl Pace {
    const fn new(moved: Arc<AtomicBool>) -> Self {
        Self { moved, pause: FIRST_PAUSE, timer: None }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.timer.is_none() {
            let moved = self.moved.swap(false, Ordering::Relaxed);
            self.pause = if moved { FIRST_PAUSE } else { LONGEST_PAUSE.min(self.pause * 2) };
        }
        let timer = self.timer.get_or_insert_with(|| Timer::after(self.pause));
        ready!(Pin::new(timer).poll(cx));
        self.timer = None;
        Poll::Ready(())
    }
}

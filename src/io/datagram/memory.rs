//! A datagram endpoint without a socket, moved step by step from the other side.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use socket2::SockRef;

use super::{DatagramHalves, DatagramOutlet, DatagramSource, Outgoing, Received};
use crate::info::Addr;
use crate::io::Flow;

/// A datagram that was sent, and where to, if the endpoint has no fixed peer.
pub(crate) type Sent = (Vec<u8>, Option<Addr>);

/// The state that both sides share.
#[derive(Debug, Default)]
pub(crate) struct Post {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    incoming: VecDeque<io::Result<(Vec<u8>, Addr)>>,
    send_errors: VecDeque<io::Error>,
    /// How many more datagrams the "system" takes; without limit if none.
    room: Option<usize>,
    sent: Vec<Sent>,
    sends: usize,
    closed: bool,
    receiver: Option<Waker>,
    sender: Option<Waker>,
}

#[derive(Debug)]
struct MemorySource(Arc<Post>);

#[derive(Debug)]
struct MemoryOutlet(Arc<Post>);

/// The actor's halves, and the far side.
pub(crate) fn halves() -> (DatagramHalves, Arc<Post>) {
    let post = Arc::new(Post::default());
    ((Box::new(MemorySource(post.clone())), Arc::new(MemoryOutlet(post.clone()))), post)
}

/// The far side.
impl Post {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues what the next receive gives.
    pub(crate) fn feed(&self, received: io::Result<(Vec<u8>, Addr)>) {
        let mut state = self.lock();
        state.incoming.push_back(received);
        let waker = state.receiver.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn fail_sending(&self, err: io::Error) {
        self.change_sending(|state| state.send_errors.push_back(err));
    }

    pub(crate) fn set_room(&self, room: usize) {
        self.change_sending(|state| state.room = Some(room));
    }

    fn change_sending(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        let waker = state.sender.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn take_sent(&self) -> Vec<Sent> {
        std::mem::take(&mut self.lock().sent)
    }

    pub(crate) fn sends(&self) -> usize {
        self.lock().sends
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }
}

impl MemorySource {
    fn poll_one(&self, cx: &Context<'_>) -> Poll<io::Result<(Vec<u8>, Addr)>> {
        let mut state = self.0.lock();
        if let Some(received) = state.incoming.pop_front() {
            return Poll::Ready(received);
        }
        state.receiver = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl DatagramSource for MemorySource {
    fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        budget: usize,
        f: &mut dyn FnMut(Received<'_>) -> Flow,
    ) -> Poll<io::Result<()>> {
        for _ in 0..budget {
            let Poll::Ready(received) = self.poll_one(cx) else { return Poll::Pending };
            let flow = match received {
                Ok((data, addr)) => f(Ok((&data, &addr))),
                Err(exc) => f(Err(exc)),
            };
            if flow == Flow::Stop {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_send_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.lock();
        if state.room != Some(0) || !state.send_errors.is_empty() {
            return Poll::Ready(Ok(()));
        }
        state.sender = Some(cx.waker().clone());
        Poll::Pending
    }

    fn set_reading(&mut self, _: bool) {}
}

impl Drop for MemorySource {
    fn drop(&mut self) {
        self.0.lock().closed = true;
    }
}

impl DatagramOutlet for MemoryOutlet {
    fn try_send(&self, datagrams: &[Outgoing<'_>]) -> io::Result<usize> {
        let mut state = self.0.lock();
        if let Some(err) = state.send_errors.pop_front() {
            return Err(err);
        }
        let count = state.room.unwrap_or(usize::MAX).min(datagrams.len());
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        state.room = state.room.map(|room| room - count);
        state.sends += 1;
        let sent = datagrams[..count].iter().map(|datagram| (datagram.data.to_vec(), datagram.to.cloned()));
        state.sent.extend(sent);
        Ok(count)
    }

    fn socket(&self) -> Option<SockRef<'_>> {
        None
    }
}

//! An endpoint without a socket, moved step by step from the other side.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use socket2::{SockRef, Socket};

use super::{Endpoint, Flow, Halves, Outlet, Recv};
use crate::sync::{Mutex, MutexGuard, PoisonError};

/// The state that both sides share.
#[derive(Debug)]
pub(crate) struct Pipe {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Each piece is one receive.
    pieces: VecDeque<Vec<u8>>,
    eof: bool,
    recv_error: Option<io::Error>,
    send_error: Option<io::Error>,
    /// How many more bytes the "system" takes.
    room: usize,
    written: Vec<u8>,
    sends: usize,
    finished: bool,
    closed: bool,
    receiver: Option<Waker>,
    sender: Option<Waker>,
}

#[derive(Debug)]
struct MemoryEndpoint(Arc<Pipe>);

#[derive(Debug)]
struct MemoryOutlet(Arc<Pipe>);

/// A connected pair: the actor's halves, and the far side.
pub(crate) fn halves() -> (Halves, Arc<Pipe>) {
    let state = State { room: usize::MAX, ..State::default() };
    let pipe = Arc::new(Pipe { state: Mutex::new(state) });
    ((Box::new(MemoryEndpoint(pipe.clone())), Some(Arc::new(MemoryOutlet(pipe.clone())))), pipe)
}

/// The far side.
impl Pipe {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change_receiving(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        let waker = state.receiver.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }

    fn change_sending(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        let waker = state.sender.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }

    /// No bytes are no piece.
    pub(crate) fn feed(&self, data: &[u8]) {
        if !data.is_empty() {
            self.change_receiving(|state| state.pieces.push_back(data.to_vec()));
        }
    }

    pub(crate) fn feed_eof(&self) {
        self.change_receiving(|state| state.eof = true);
    }

    pub(crate) fn fail_receiving(&self, err: io::Error) {
        self.change_receiving(|state| state.recv_error = Some(err));
    }

    pub(crate) fn fail_sending(&self, err: io::Error) {
        self.change_sending(|state| state.send_error = Some(err));
    }

    pub(crate) fn set_room(&self, room: usize) {
        self.change_sending(|state| state.room = room);
    }

    pub(crate) fn take_written(&self) -> Vec<u8> {
        std::mem::take(&mut self.lock().written)
    }

    pub(crate) fn sends(&self) -> usize {
        self.lock().sends
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.lock().finished
    }

    /// Whether somebody may still receive what was fed.
    #[cfg(unix)]
    pub(crate) fn has_unread(&self) -> bool {
        let state = self.lock();
        (!state.pieces.is_empty() || state.eof) && !state.closed
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }
}

impl State {
    fn has_input(&self) -> bool {
        !self.pieces.is_empty() || self.eof || self.recv_error.is_some()
    }

    fn take_room(&mut self, wanted: usize) -> io::Result<usize> {
        if let Some(err) = self.send_error.take() {
            return Err(err);
        }
        if self.room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let taken = wanted.min(self.room);
        if self.room != usize::MAX {
            self.room -= taken;
        }
        Ok(taken)
    }

    fn next_piece(&mut self) -> io::Result<Option<Vec<u8>>> {
        match (self.pieces.pop_front(), self.recv_error.take()) {
            (None, Some(err)) => Err(err),
            (piece, err) => {
                self.recv_error = err;
                Ok(piece)
            }
        }
    }
}

impl Endpoint for MemoryEndpoint {
    fn poll_recv_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.lock();
        if state.has_input() {
            return Poll::Ready(Ok(()));
        }
        state.receiver = Some(cx.waker().clone());
        Poll::Pending
    }

    fn poll_recv(
        &mut self,
        _: &mut Context<'_>,
        mut budget: usize,
        f: &mut dyn FnMut(&[u8]) -> Flow,
    ) -> Poll<io::Result<Recv>> {
        while budget > 0 {
            let mut state = self.0.lock();
            let eof = state.eof;
            let piece = state.next_piece();
            drop(state);
            match piece? {
                Some(mut piece) => {
                    if piece.len() > budget {
                        let rest = piece.split_off(budget);
                        self.0.lock().pieces.push_front(rest);
                    }
                    budget -= piece.len();
                    if f(&piece) == Flow::Stop {
                        break;
                    }
                }
                None if eof => return Poll::Ready(Ok(Recv::Eof)),
                None => return Poll::Ready(Ok(Recv::Idle)),
            }
        }
        Poll::Ready(Ok(Recv::More))
    }

    fn poll_recv_into(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut state = self.0.lock();
        match state.next_piece()? {
            Some(mut piece) => {
                let count = piece.len().min(buf.len());
                buf[..count].copy_from_slice(&piece[..count]);
                if count < piece.len() {
                    state.pieces.push_front(piece.split_off(count));
                }
                Poll::Ready(Ok(count))
            }
            None if state.eof => Poll::Ready(Ok(0)),
            None => {
                state.receiver = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn poll_send_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.lock();
        if state.room > 0 || state.send_error.is_some() {
            return Poll::Ready(Ok(()));
        }
        state.sender = Some(cx.waker().clone());
        Poll::Pending
    }

    fn set_reading(&mut self, _: bool) {}

    fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn into_socket(self: Box<Self>) -> Option<Socket> {
        None
    }
}

impl Drop for MemoryEndpoint {
    fn drop(&mut self) {
        self.0.lock().closed = true;
    }
}

impl Outlet for MemoryOutlet {
    fn try_send(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut state = self.0.lock();
        let total = bufs.iter().map(|buf| buf.len()).sum();
        let mut left = state.take_room(total)?;
        state.sends += 1;
        let taken = left;
        for buf in bufs {
            let part = left.min(buf.len());
            state.written.extend_from_slice(&buf[..part]);
            left -= part;
        }
        Ok(taken)
    }

    fn finish(&self) -> io::Result<()> {
        self.0.lock().finished = true;
        Ok(())
    }

    fn socket(&self) -> Option<SockRef<'_>> {
        None
    }
}

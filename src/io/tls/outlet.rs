//! Sending over TLS.

use std::io::{self, IoSlice};
#[cfg(unix)]
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use socket2::SockRef;

use super::Shared;
use crate::io::Outlet;

/// Slices encrypted at once.
const SLICES: usize = 16;

/// The sending half.
#[derive(Debug)]
pub(crate) struct TlsOutlet(pub(super) Arc<Shared>);

impl Outlet for TlsOutlet {
    fn try_send(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut state = self.0.lock();
        if !state.session.push(&*self.0.outlet)? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        // What was offered then is offered again, and more.
        let sent = std::mem::take(&mut state.ahead).min(bufs.iter().map(|buf| buf.len()).sum());
        let fresh = state.session.encrypt(behind(bufs, sent, &mut [IoSlice::new(&[]); SLICES]))?;
        if state.session.push(&*self.0.outlet)? {
            return some(sent + fresh);
        }
        state.ahead = fresh;
        some(sent)
    }

    // Such bytes do not count as waiting, and might be others when they are read again.
    fn try_send_copy(&self, buf: &[u8]) -> io::Result<usize> {
        let mut state = self.0.lock();
        if !state.session.push(&*self.0.outlet)? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let sent = state.session.encrypt(&[IoSlice::new(buf)])?;
        state.session.push(&*self.0.outlet)?;
        some(sent)
    }

    fn finish(&self) -> io::Result<()> {
        let mut state = self.0.lock();
        state.session.send_close_notify();
        state.session.push(&*self.0.outlet).map(drop)
    }

    fn is_direct(&self) -> bool {
        false
    }

    fn socket(&self) -> Option<SockRef<'_>> {
        self.0.outlet.socket()
    }

    #[cfg(unix)]
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.0.outlet.descriptor()
    }
}

fn some(count: usize) -> io::Result<usize> {
    if count == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(count) }
}

/// What follows the first `skip` bytes.
fn behind<'a, 'b>(bufs: &[IoSlice<'a>], skip: usize, room: &'b mut [IoSlice<'a>]) -> &'b [IoSlice<'a>] {
    let count = bufs.len().min(room.len());
    room[..count].copy_from_slice(&bufs[..count]);
    let mut slices = &mut room[..count];
    IoSlice::advance_slices(&mut slices, skip);
    slices
}

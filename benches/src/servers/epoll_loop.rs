//! No library at all: one edge-triggered epoll, one buffer, one thread.

use std::collections::VecDeque;
use std::io;
use std::mem::MaybeUninit;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, sockopt};
use slab::Slab;

use super::{BUFFER, Socket};

/// The key of the listener.
const LISTENER: u64 = u64::MAX;
const EVENTS: usize = 256;

pub(super) fn serve(socket: Socket) -> io::Result<()> {
    match socket {
        Socket::Tcp(listener) => serve_tcp(&listener),
        Socket::Unix(listener) => serve_unix(&listener),
        Socket::Udp(socket) => answer(&socket),
    }
}

fn serve_tcp(listener: &TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    Loop::new(listener.as_fd())?.run(|| {
        let client = rustix::net::accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
        sockopt::set_tcp_nodelay(&client, true)?;
        Ok(client)
    })
}

fn serve_unix(listener: &UnixListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    Loop::new(listener.as_fd())?
        .run(|| rustix::net::accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC))
}

struct Client {
    socket: OwnedFd,
    /// What the socket did not take; nothing is read while there is some.
    unsent: VecDeque<u8>,
}

struct Loop {
    epoll: OwnedFd,
    clients: Slab<Client>,
    buffer: Vec<u8>,
}

impl Loop {
    fn new(listener: impl AsFd) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
        Ok(Self { epoll, clients: Slab::new(), buffer: vec![0; BUFFER] })
    }

    fn run(mut self, accept: impl Fn() -> rustix::io::Result<OwnedFd>) -> io::Result<()> {
        loop {
            let mut events = [const { MaybeUninit::uninit() }; EVENTS];
            let events = match epoll::wait(&self.epoll, &mut events, None) {
                Ok((events, _)) => events,
                // By a tracer that comes or goes.
                Err(Errno::INTR) => continue,
                Err(err) => return Err(err.into()),
            };
            for event in &*events {
                match event.data.u64() {
                    LISTENER => self.accept(&accept)?,
                    key => self.turn(key as usize),
                }
            }
        }
    }

    fn accept(&mut self, accept: impl Fn() -> rustix::io::Result<OwnedFd>) -> io::Result<()> {
        while let Ok(socket) = accept() {
            let place = self.clients.vacant_entry();
            let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
            epoll::add(&self.epoll, &socket, EventData::new_u64(place.key() as u64), flags)?;
            place.insert(Client { socket, unsent: VecDeque::new() });
        }
        Ok(())
    }

    fn turn(&mut self, key: usize) {
        let Some(client) = self.clients.get_mut(key) else { return };
        if client.turn(&mut self.buffer).is_err() {
            self.clients.remove(key);
        }
    }
}

impl Client {
    /// Echoes until there is nothing more, or nothing more is taken. An error is the end.
    fn turn(&mut self, buffer: &mut [u8]) -> rustix::io::Result<()> {
        while self.flush()? {
            let count = match rustix::net::recv(&self.socket, &mut *buffer, RecvFlags::empty()) {
                Ok((0, _)) => return Err(Errno::PIPE),
                Ok((count, _)) => count,
                Err(Errno::AGAIN) => return Ok(()),
                Err(err) => return Err(err),
            };
            let sent = self.send(&buffer[..count])?;
            self.unsent.extend(&buffer[sent..count]);
            if count < buffer.len() && self.unsent.is_empty() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Whether nothing is left.
    fn flush(&mut self) -> rustix::io::Result<bool> {
        if !self.unsent.is_empty() {
            let sent = self.send(self.unsent.as_slices().0)?;
            self.unsent.drain(..sent);
        }
        Ok(self.unsent.is_empty())
    }

    fn send(&self, data: &[u8]) -> rustix::io::Result<usize> {
        match rustix::net::send(&self.socket, data, SendFlags::NOSIGNAL) {
            Err(Errno::AGAIN) => Ok(0),
            result => result,
        }
    }
}

fn answer(socket: &UdpSocket) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, socket, EventData::new_u64(0), EventFlags::IN | EventFlags::ET)?;
    let mut buffer = vec![0; BUFFER];
    loop {
        let mut events = [const { MaybeUninit::uninit() }; 1];
        epoll::wait(&epoll, &mut events, None)?;
        while let Ok((count, from)) = socket.recv_from(&mut buffer) {
            // A datagram that is not taken is lost.
            let _ = socket.send_to(&buffer[..count], from);
        }
    }
}

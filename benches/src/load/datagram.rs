//! Datagram sockets of the load generator, each with a window of datagrams in flight.

use std::io;
use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use rustix::net::{RecvFlags, SendFlags};

use super::connection::unless_blocked;
use super::{EVENTS, Run, pattern};
use crate::workload::{Address, WINDOW, Workload};

/// Datagrams that have not come back for so long are lost.
const LOST: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// Windows lost in a row before it is the server that is lost.
const PATIENCE: usize = 50;

pub(crate) struct Datagrams {
    sockets: Vec<UdpSocket>,
    epoll: OwnedFd,
    message: Vec<u8>,
    /// Datagrams that have not come back, as far as is known.
    owed: usize,
}

impl Datagrams {
    /// Opens the sockets, and makes sure that each is answered.
    pub(super) fn connect(address: &Address, workload: Workload) -> io::Result<Self> {
        let Address::Udp(port) = address else { return Err(io::ErrorKind::Unsupported.into()) };
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let message = pattern(workload.size);
        let mut sockets = Vec::new();
        for key in 0..workload.connections {
            let socket = UdpSocket::bind(("127.0.0.1", 0))?;
            socket.connect(("127.0.0.1", *port))?;
            socket.set_read_timeout(Some(Duration::from_secs(10)))?;
            socket.send(&message)?;
            let mut echo = vec![0; message.len() + 1];
            let count = socket.recv(&mut echo)?;
            if echo[..count] != *message {
                return Err(io::Error::other("the server sent back something else"));
            }
            socket.set_nonblocking(true)?;
            epoll::add(&epoll, &socket, epoll::EventData::new_u64(key as u64), epoll::EventFlags::IN)?;
            sockets.push(socket);
        }
        Ok(Self { sockets, epoll, message, owed: 0 })
    }

    pub(super) fn run(&mut self, time: Duration) -> io::Result<Run> {
        let start = Instant::now();
        let mut messages = 0;
        let mut losses = 0;
        let mut events = Vec::with_capacity(EVENTS);
        self.fill()?;
        while start.elapsed() < time {
            events.clear();
            epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&LOST))?;
            if events.is_empty() {
                losses += 1;
                if losses > PATIENCE {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "the server does not answer"));
                }
                self.owed = 0;
                self.fill()?;
                continue;
            }
            losses = 0;
            for event in &events {
                messages += self.turn(event.data.u64() as usize)?;
            }
        }
        let time = start.elapsed();
        self.rest()?;
        Ok(Run { messages, time, p99: None })
    }

    /// A whole window on each socket.
    fn fill(&mut self) -> io::Result<()> {
        (0..self.sockets.len()).try_for_each(|key| self.send(key, WINDOW))
    }

    fn send(&mut self, key: usize, count: usize) -> io::Result<()> {
        for _ in 0..count {
            let sent = unless_blocked(rustix::net::send(&self.sockets[key], &self.message, SendFlags::empty()))?;
            self.owed += usize::from(sent.is_some());
        }
        Ok(())
    }

    /// Sends as many as have come back.
    fn turn(&mut self, key: usize) -> io::Result<u64> {
        let count = self.receive(key)?;
        self.send(key, count)?;
        Ok(count as u64)
    }

    fn receive(&mut self, key: usize) -> io::Result<usize> {
        let socket = &self.sockets[key];
        let mut room = vec![0; self.message.len()];
        let mut count = 0;
        while count < WINDOW && unless_blocked(rustix::net::recv(socket, &mut room, RecvFlags::empty()))?.is_some() {
            count += 1;
        }
        self.owed = self.owed.saturating_sub(count);
        Ok(count)
    }

    /// Takes in what is still under way.
    fn rest(&mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(EVENTS);
        while self.owed > 0 {
            events.clear();
            epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&LOST))?;
            if events.is_empty() {
                self.owed = 0;
            }
            for event in &events {
                self.receive(event.data.u64() as usize)?;
            }
        }
        Ok(())
    }
}

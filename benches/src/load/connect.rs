//! Connections that live for one message.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, sockopt};

use super::{EVENTS, Run, STALL, pattern};
use crate::workload::{Address, Workload};

pub(crate) struct Connects {
    port: u16,
    epoll: OwnedFd,
    message: Vec<u8>,
    live: Vec<Option<Connect>>,
    /// Connections from one address would run out of ports: each has to wait after its end.
    from: u32,
}

struct Connect {
    socket: OwnedFd,
    sent: bool,
    received: usize,
}

impl Connects {
    pub(super) fn new(address: &Address, workload: Workload) -> io::Result<Self> {
        let Address::Tcp(port) = address else { return Err(io::ErrorKind::Unsupported.into()) };
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let live = (0..workload.connections).map(|_| None).collect();
        Ok(Self { port: *port, epoll, message: pattern(workload.size), live, from: 0 })
    }

    pub(super) fn run(&mut self, time: Duration) -> io::Result<Run> {
        let start = Instant::now();
        let mut done = 0;
        let mut busy = self.live.len();
        (0..busy).try_for_each(|key| self.open(key))?;
        let mut events = Vec::with_capacity(EVENTS);
        while busy > 0 {
            events.clear();
            epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&STALL))?;
            if events.is_empty() {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the server has not answered for 10 s"));
            }
            for event in &events {
                let key = event.data.u64() as usize;
                if self.turn(key)? {
                    done += 1;
                    self.live[key] = None;
                    if start.elapsed() < time { self.open(key)? } else { busy -= 1 }
                }
            }
        }
        Ok(Run { messages: done, time: start.elapsed(), p99: None })
    }

    fn open(&mut self, key: usize) -> io::Result<()> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, Some(ipproto::TCP))?;
        self.from = (self.from + 1) % 250;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::new(127, 0, 1, self.from as u8 + 1), 0))?;
        sockopt::set_tcp_nodelay(&socket, true)?;
        match rustix::net::connect(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.port)) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(err) => return Err(err.into()),
        }
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
        epoll::add(&self.epoll, &socket, epoll::EventData::new_u64(key as u64), flags)?;
        self.live[key] = Some(Connect { socket, sent: false, received: 0 });
        Ok(())
    }

    /// Whether the message has come back.
    fn turn(&mut self, key: usize) -> io::Result<bool> {
        let Some(connect) = &mut self.live[key] else { return Ok(false) };
        if !connect.sent {
            connect.sent = match rustix::net::send(&connect.socket, &self.message, SendFlags::NOSIGNAL) {
                Ok(_) => true,
                Err(Errno::AGAIN | Errno::NOTCONN) => return Ok(false),
                Err(err) => return Err(err.into()),
            };
        }
        let mut room = [0; 4096];
        match rustix::net::recv(&connect.socket, &mut room[..], RecvFlags::empty()) {
            Ok((0, _)) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok((count, _)) => connect.received += count,
            Err(Errno::AGAIN) => {}
            Err(err) => return Err(err.into()),
        }
        Ok(connect.received == self.message.len())
    }
}

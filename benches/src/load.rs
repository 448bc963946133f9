//! The load generator: many connections on one edge-triggered epoll. It shares no code with the servers.

mod connection;

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};

use crate::workload::{Kind, Workload};
use connection::Connection;

/// A server that is silent for so long has lost something.
const STALL: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };
const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
/// Long enough for a server to go to sleep before the next message, also under `strace`.
const PACE: Duration = Duration::from_millis(4);
const EVENTS: usize = 256;
/// Bytes received at once.
const ROOM: usize = 256 * 1024;

/// What a run has come to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) messages: u64,
    pub(crate) time: Duration,
}

pub(crate) struct Load {
    workload: Workload,
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    connections: Vec<Connection>,
    /// Connections that may have something to do.
    ready: VecDeque<usize>,
    message: Vec<u8>,
    scratch: Vec<u8>,
}

impl Load {
    /// Opens all connections, and makes sure that each of them really echoes.
    pub(crate) fn connect(port: u16, workload: Workload) -> io::Result<Self> {
        let message: Vec<u8> = (0..workload.size).map(|at| (at % 251) as u8).collect();
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut connections = Vec::with_capacity(workload.connections);
        for key in 0..workload.connections {
            let connection = Connection::open(port, &message)?;
            let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
            epoll::add(&epoll, &connection, epoll::EventData::new_u64(key as u64), flags)?;
            connections.push(connection);
        }
        let (events, ready) = (Vec::with_capacity(EVENTS), VecDeque::new());
        let mut load = Self { workload, epoll, events, connections, ready, message, scratch: vec![0; ROOM] };
        load.burst(Instant::now())?;
        Ok(load)
    }

    /// Keeps the server busy for `time`, then waits for what is still under way.
    pub(crate) fn run(&mut self, time: Duration) -> io::Result<Run> {
        let start = Instant::now();
        let bytes = self.burst(start + time)?;
        Ok(self.outcome(bytes, start))
    }

    /// Lets the server sleep before each message.
    pub(crate) fn run_paced(&mut self, time: Duration) -> io::Result<Run> {
        let start = Instant::now();
        let mut bytes = 0;
        while start.elapsed() < time {
            bytes += self.burst(start)?;
            sleep(PACE);
        }
        Ok(self.outcome(bytes, start))
    }

    fn outcome(&self, bytes: u64, start: Instant) -> Run {
        Run { messages: bytes / self.workload.size as u64, time: start.elapsed() }
    }

    /// Sends messages on all connections until `deadline`, one at least, and receives them all. The bytes received.
    fn burst(&mut self, deadline: Instant) -> io::Result<u64> {
        let size = self.workload.size;
        self.connections.iter_mut().for_each(|connection| connection.begin(size));
        self.ready = (0..self.connections.len()).collect();
        let mut busy = self.connections.len();
        let mut bytes = 0;
        while busy > 0 {
            let over = Instant::now() >= deadline;
            for _ in 0..self.ready.len() {
                let Some(key) = self.ready.pop_front() else { break };
                bytes += self.turn(key, over)?;
                if self.connections[key].is_done() {
                    busy -= 1;
                } else if self.connections[key].can_go_on() {
                    self.ready.push_back(key);
                }
            }
            if busy > 0 {
                self.wait()?;
            }
        }
        Ok(bytes)
    }

    /// One send and one receive at most, so that no connection gets ahead of the others.
    fn turn(&mut self, key: usize, over: bool) -> io::Result<u64> {
        let Some(connection) = self.connections.get_mut(key) else { return Ok(0) };
        connection.send(&self.message)?;
        let received = connection.receive(&mut self.scratch)?;
        let may_begin = match self.workload.kind {
            Kind::Echo => connection.is_done(),
            Kind::Stream => connection.has_sent(),
        };
        if may_begin && !over {
            connection.begin(self.workload.size);
        }
        Ok(received as u64)
    }

    /// Waits for events, but only if there is nothing else to do.
    fn wait(&mut self) -> io::Result<()> {
        let idle = self.ready.is_empty();
        let limit = if idle { STALL } else { AT_ONCE };
        self.events.clear();
        epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events), Some(&limit))?;
        if idle && self.events.is_empty() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the server has not answered for 10 s"));
        }
        for event in &self.events {
            let key = event.data.u64() as usize;
            let connection = &mut self.connections[key];
            let could_go_on = connection.can_go_on();
            connection.take_event(event.flags);
            // A connection that could go on before is queued already.
            if !could_go_on && connection.can_go_on() {
                self.ready.push_back(key);
            }
        }
        Ok(())
    }
}

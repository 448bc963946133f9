//! The load generator: many connections on one edge-triggered epoll. It shares no code with the servers.

mod connect;
mod connection;
mod datagram;

use std::collections::VecDeque;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};

use crate::workload::{Address, Kind, Net, WINDOW, Workload};
use connection::Connection;
pub(crate) use connection::tcp;

/// A server that is silent for so long has lost something.
const STALL: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };
const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
const EVENTS: usize = 256;
/// From one message to the next where their latency counts.
const PACE: Duration = Duration::from_millis(1);
/// Bytes received at once.
const ROOM: usize = 256 * 1024;
/// The connections that stream beside others.
const STREAMS: Workload = Workload { net: Net::Tcp, kind: Kind::Stream, size: 64 * 1024, connections: 4 };

/// What a run has come to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) messages: u64,
    pub(crate) time: Duration,
    /// The latency that 99 of 100 messages stay below, where it was measured.
    pub(crate) p99: Option<Duration>,
}

/// A load that is ready to run.
pub(crate) enum Load {
    Connections(Box<Many>),
    Datagrams(datagram::Datagrams),
    Connects(connect::Connects),
    Beside(Box<Many>, Box<Many>),
}

impl Load {
    /// Opens all connections, and makes sure that each of them really echoes.
    pub(crate) fn connect(address: &Address, workload: Workload) -> io::Result<Self> {
        Ok(match (workload.net, workload.kind) {
            (Net::Udp, _) => Self::Datagrams(datagram::Datagrams::connect(address, workload)?),
            (_, Kind::Connect) => Self::Connects(connect::Connects::new(address, workload)?),
            (_, Kind::Beside) => {
                let streams = Many::connect(address, STREAMS)?;
                Self::Beside(Box::new(Many::connect(address, workload)?), Box::new(streams))
            }
            _ => Self::Connections(Box::new(Many::connect(address, workload)?)),
        })
    }

    /// Keeps the server busy for `time`, then waits for what is still under way.
    pub(crate) fn run(&mut self, time: Duration) -> io::Result<Run> {
        match self {
            Self::Connections(many) => many.run(time),
            Self::Datagrams(datagrams) => datagrams.run(time),
            Self::Connects(connects) => connects.run(time),
            Self::Beside(echo, streams) => run_beside(echo, streams, time),
        }
    }
}

/// Echoes at a fixed pace, so that each stall of the server is met by as many as its length deserves. What is counted is
/// what the streams come to meanwhile.
fn run_beside(echo: &mut Many, streams: &mut Many, time: Duration) -> io::Result<Run> {
    let over = AtomicBool::new(false);
    let start = Instant::now();
    thread::scope(|scope| {
        let streaming = scope.spawn(|| streams.burst(|| over.load(Ordering::Relaxed)));
        let p99 = echo.run_paced(time);
        over.store(true, Ordering::Relaxed);
        let streamed = streaming.join().unwrap_or_else(|_| Err(io::Error::other("the streams have panicked")))?;
        Ok(Run { messages: streamed / echo.workload.size as u64, time: start.elapsed(), p99: p99? })
    })
}

/// Many connections that are used in turn.
pub(crate) struct Many {
    workload: Workload,
    epoll: OwnedFd,
    connections: Vec<Connection>,
    /// Connections that may have something to do.
    ready: VecDeque<usize>,
    /// All the messages that a connection may have in flight.
    block: Vec<u8>,
    scratch: Vec<u8>,
    latencies: Option<Vec<Duration>>,
}

impl Many {
    fn connect(address: &Address, workload: Workload) -> io::Result<Self> {
        let window = if workload.kind == Kind::Pipeline { WINDOW } else { 1 };
        let message = pattern(workload.size);
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut connections = Vec::with_capacity(workload.connections);
        for key in 0..workload.connections {
            let connection = Connection::open(address, &message)?;
            let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
            epoll::add(&epoll, &connection, epoll::EventData::new_u64(key as u64), flags)?;
            connections.push(connection);
        }
        let (block, scratch, ready) = (message.repeat(window), vec![0; ROOM], VecDeque::new());
        let mut load = Self { workload, epoll, connections, ready, block, scratch, latencies: None };
        load.burst(|| true)?;
        Ok(load)
    }

    fn run(&mut self, time: Duration) -> io::Result<Run> {
        let start = Instant::now();
        let bytes = self.burst(|| start.elapsed() >= time)?;
        Ok(Run { messages: bytes / self.workload.size as u64, time: start.elapsed(), p99: None })
    }

    /// One message on each connection again and again, at the same distance in time; the latency that 99 of 100 stay below.
    fn run_paced(&mut self, time: Duration) -> io::Result<Option<Duration>> {
        let start = Instant::now();
        self.latencies = Some(Vec::new());
        for tick in 0.. {
            let due = PACE * tick;
            if due >= time {
                break;
            }
            thread::sleep(due.saturating_sub(start.elapsed()));
            self.burst(|| true)?;
        }
        Ok(self.latencies.take().and_then(|mut all| percentile(&mut all, 99)))
    }

    /// Sends messages on all connections until it is over, a window at least, and receives them all. The bytes received.
    fn burst(&mut self, is_over: impl Fn() -> bool) -> io::Result<u64> {
        let size = self.block.len();
        self.connections.iter_mut().for_each(|connection| connection.begin(size));
        self.ready = (0..self.connections.len()).collect();
        let mut busy = self.connections.len();
        let mut bytes = 0;
        while busy > 0 {
            let over = is_over();
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
        connection.send(&self.block)?;
        let received = connection.receive(&mut self.scratch)?;
        let more = match self.workload.kind {
            Kind::Stream => {
                if connection.has_sent() {
                    self.block.len()
                } else {
                    0
                }
            }
            // What has come back in whole messages is sent anew.
            Kind::Pipeline if connection.has_sent() => {
                (self.block.len() - connection.owed()) / self.workload.size * self.workload.size
            }
            _ => {
                if connection.is_done() {
                    self.block.len()
                } else {
                    0
                }
            }
        };
        if let Some(latencies) = self.latencies.as_mut().filter(|_| connection.is_done()) {
            latencies.push(connection.begun.elapsed());
        }
        if !over && more > 0 {
            connection.begin(more);
        }
        Ok(received as u64)
    }

    /// Waits for events, but only if there is nothing else to do.
    fn wait(&mut self) -> io::Result<()> {
        let idle = self.ready.is_empty();
        let limit = if idle { STALL } else { AT_ONCE };
        let mut events = [const { MaybeUninit::uninit() }; EVENTS];
        let (events, _) = epoll::wait(&self.epoll, &mut events, Some(&limit))?;
        if idle && events.is_empty() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the server has not answered for 10 s"));
        }
        for event in &*events {
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

/// A message in which a lost or moved byte shows.
fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at % 251) as u8).collect()
}

fn percentile(values: &mut [Duration], percent: usize) -> Option<Duration> {
    values.sort_unstable();
    values.get(values.len() * percent / 100).copied()
}

//! What the driver does to construct each kind of scenario.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::pipe::{PipeFlags, pipe_with};
use smol_transports::UnixAddr;
use socket2::{Domain, Socket, Type};

use crate::connect::{Stream, Target};
use crate::driver::{Driver, LIBRARY_TIMEOUT, Stop, TIMEOUT, wait};
use crate::peer::{self, DatagramPeer, PipePeer, SocketPeer};
use crate::run::{LIBRARY, PEER};
use crate::scenario::{Kind, Scenario, StepKind};

/// How the creating call ended: `ok` or the name of an error; none if there is no such call.
type Connected = Result<Option<&'static str>, Stop>;

/// Why the runner cannot perform a scenario yet.
pub(crate) fn why_not_supported(scenario: &Scenario) -> Option<String> {
    if scenario.python_only {
        return Some("python only".to_owned());
    }
    let is_over_tls = matches!(scenario.kind, Kind::Tls | Kind::TlsServer);
    let starts_tls = scenario.steps.iter().any(|step| matches!(step.what, StepKind::StartTls { .. }));
    match cfg!(feature = "tls") {
        false if is_over_tls => Some(format!("kind {} without the feature", scenario.kind.name())),
        false if starts_tls => Some("step start_tls without the feature".to_owned()),
        _ => None,
    }
}

impl Driver {
    /// Makes what the scenario is about.
    pub(crate) fn construct(&mut self) -> Connected {
        match self.run.scenario.kind {
            Kind::Accepted => self.accepted(),
            Kind::ReadPipe => self.read_pipe(),
            Kind::SocketPair => self.socket_pair(),
            Kind::Subprocess => self.connect(Target::Process),
            Kind::Tcp => self.tcp(),
            Kind::TcpServer | Kind::TlsServer | Kind::UnixServer => self.server(),
            Kind::Tls => self.tls(),
            Kind::Udp => self.udp(),
            Kind::UdpConnected => self.udp_connected(),
            Kind::Unix => self.unix(),
            Kind::UnixDatagram => self.unix_datagram(),
            Kind::WritePipe => self.write_pipe(),
        }
    }

    fn accepted(&mut self) -> Connected {
        let listener = peer::listen(self.run.scenario.options.peer_rcvbuf, TIMEOUT)?;
        let ours = self.tcp_connection("p1", peer::local_addr(&listener)?)?;
        let theirs = listener.accept()?.0;
        self.add_peer("p1", ours)?;
        self.connect(Target::Stream(Stream::Accepted(theirs)))
    }

    fn socket_pair(&mut self) -> Connected {
        let (ours, theirs) = Socket::pair(Domain::UNIX, Type::STREAM, None)?;
        self.add_peer("p1", ours)?;
        self.connect(Target::Stream(Stream::Connected(theirs)))
    }

    fn tcp(&mut self) -> Connected {
        let listener = peer::listen(self.run.scenario.options.peer_rcvbuf, TIMEOUT)?;
        let addr = peer::local_addr(&listener)?;
        self.run.set_peer_address("p1", addr);
        self.connect_to(listener, Stream::Address(addr))
    }

    #[cfg(not(feature = "tls"))]
    fn tls(&mut self) -> Connected {
        Err(Stop::error("the feature is missing"))
    }

    #[cfg(feature = "tls")]
    fn tls(&mut self) -> Connected {
        let listener = peer::listen(self.run.scenario.options.peer_rcvbuf, TIMEOUT)?;
        let addr = peer::local_addr(&listener)?;
        self.run.set_peer_address("p1", addr);
        let connecting = self.library.connect(Target::Stream(Stream::Address(addr)));
        let (socket, _) = listener.accept()?;
        // If this fails, the creating call tells why.
        if let Ok(peer) = crate::tls::accept_peer(socket, self.run.scenario.options.tls.peer_mode) {
            self.run.add_library_address(peer.addr()?);
            self.peers.insert("p1".to_owned(), Box::new(peer));
        }
        wait(&connecting, LIBRARY_TIMEOUT).map(Some)
    }

    fn unix(&mut self) -> Connected {
        let path = self.run.path(PEER);
        let listener = peer::listen_unix(&path, TIMEOUT)?;
        self.run.set_peer_address("p1", UnixAddr::from(&path));
        self.connect_to(listener, Stream::Path(path))
    }

    /// Connects a stream to a listening socket of the driver.
    fn connect_to(&mut self, listener: Socket, stream: Stream) -> Connected {
        if self.run.scenario.options.refuse {
            drop(listener);
            return self.connect(Target::Stream(stream));
        }
        let connecting = self.library.connect(Target::Stream(stream));
        // If this fails, the creating call tells why.
        if let Ok((socket, _)) = listener.accept() {
            self.add_peer("p1", socket)?;
        }
        wait(&connecting, LIBRARY_TIMEOUT).map(Some)
    }

    fn read_pipe(&mut self) -> Connected {
        let (theirs, ours) = pipe()?;
        self.peers.insert("p1".to_owned(), Box::new(PipePeer::new(ours, TIMEOUT)?));
        self.connect(Target::Stream(Stream::ReadPipe(theirs)))
    }

    fn write_pipe(&mut self) -> Connected {
        let (ours, theirs) = pipe()?;
        self.peers.insert("p1".to_owned(), Box::new(PipePeer::new(ours, TIMEOUT)?));
        self.connect(Target::Stream(Stream::WritePipe(theirs)))
    }

    fn udp(&mut self) -> Connected {
        let (p1, p2) = (self.udp_socket("p1")?.0, self.udp_socket("p2")?.0);
        let connected = self.connect(Target::Udp((Ipv4Addr::LOCALHOST, 0).into()))?;
        self.add_datagram_peers([("p1", p1), ("p2", p2)])?;
        Ok(connected)
    }

    fn udp_connected(&mut self) -> Connected {
        let (p1, addr) = self.udp_socket("p1")?;
        let p2 = self.udp_socket("p2")?.0;
        let connected = self.connect(Target::UdpConnected(addr))?;
        self.add_datagram_peers([("p1", p1), ("p2", p2)])?;
        Ok(connected)
    }

    /// A UDP socket of the driver, and its address.
    fn udp_socket(&self, name: &str) -> Result<(Socket, SocketAddr), Stop> {
        let socket = peer::bind(Type::DGRAM)?;
        let addr = peer::local_addr(&socket)?;
        self.run.set_peer_address(name, addr);
        Ok((socket, addr))
    }

    fn unix_datagram(&mut self) -> Connected {
        let path = self.run.path(PEER);
        let socket = peer::bind_unix(&path, Type::DGRAM)?;
        self.run.set_peer_address("p1", UnixAddr::from(&path));
        let library = self.run.path(LIBRARY);
        self.run.add_library_address(UnixAddr::from(&library));
        let connected = self.connect(Target::UnixDatagram(library, path))?;
        self.add_datagram_peers([("p1", socket)])?;
        Ok(connected)
    }

    fn server(&mut self) -> Connected {
        let addr = wait(&self.library.listen(), LIBRARY_TIMEOUT)??;
        self.run.add_library_address(addr.clone());
        self.server = Some(addr);
        Ok(None)
    }

    fn connect(&self, target: Target) -> Connected {
        wait(&self.library.connect(target), LIBRARY_TIMEOUT).map(Some)
    }

    pub(crate) fn add_peer(&mut self, name: &str, socket: Socket) -> Result<(), Stop> {
        if let Some(addr) = socket.peer_addr()?.as_socket() {
            self.run.add_library_address(addr);
        }
        let peer = SocketPeer::new(socket, TIMEOUT)?;
        self.peers.insert(name.to_owned(), Box::new(peer));
        Ok(())
    }

    /// Adds the peers of a datagram endpoint, once it is known where that is.
    fn add_datagram_peers<const N: usize>(&mut self, sockets: [(&str, Socket); N]) -> Result<(), Stop> {
        let endpoint = self.run.conn(None).and_then(|conn| conn.endpoint());
        let Some(addr) = endpoint.and_then(|endpoint| endpoint.sockname().cloned()) else {
            return Ok(());
        };
        for (name, socket) in sockets {
            let peer = DatagramPeer::new(socket, peer::sock_addr(&addr)?, TIMEOUT)?;
            self.peers.insert(name.to_owned(), Box::new(peer));
        }
        self.run.add_library_address(addr);
        Ok(())
    }
}

/// The read end and the write end of a pipe.
fn pipe() -> Result<(OwnedFd, OwnedFd), Stop> {
    Ok(pipe_with(PipeFlags::CLOEXEC).map_err(std::io::Error::from)?)
}

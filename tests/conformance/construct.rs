//! What the driver does to construct each kind of scenario.

use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::driver::{Driver, Stop, TIMEOUT, wait};
use crate::library::Target;
use crate::peer::{self, SocketPeer};
use crate::scenario::{Kind, Scenario, StepKind};

/// The limit of the creating call.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// How the creating call ended: `ok` or the name of an error; none if there is no such call.
type Connected = Result<Option<&'static str>, Stop>;

/// Why the runner cannot perform a scenario yet.
pub(crate) fn why_not_supported(scenario: &Scenario) -> Option<String> {
    if scenario.python_only {
        return Some("python only".to_owned());
    }
    if !matches!(scenario.kind, Kind::Accepted | Kind::SocketPair | Kind::Tcp | Kind::TcpServer) {
        return Some(format!("kind {}", scenario.kind.name()));
    }
    scenario.steps.iter().find_map(|step| match step.what {
        StepKind::SendFile => Some("step sendfile".to_owned()),
        StepKind::StartTls => Some("step start_tls".to_owned()),
        _ => None,
    })
}

impl Driver {
    /// Makes what the scenario is about.
    pub(crate) fn construct(&mut self) -> Connected {
        match self.run.scenario.kind {
            Kind::Accepted => self.accepted(),
            Kind::SocketPair => self.socket_pair(),
            Kind::Tcp => self.tcp(),
            Kind::TcpServer => self.tcp_server(),
            kind => Err(Stop::error(kind.name())),
        }
    }

    fn accepted(&mut self) -> Connected {
        let listener = peer::listen(self.run.scenario.options.peer_rcvbuf, TIMEOUT)?;
        let ours = self.tcp_connection("p1", peer::local_addr(&listener)?)?;
        let theirs = listener.accept()?.0;
        self.add_peer("p1", ours)?;
        self.connect(Target::Accepted(theirs))
    }

    fn socket_pair(&mut self) -> Connected {
        let (ours, theirs) = Socket::pair(Domain::UNIX, Type::STREAM, None)?;
        self.add_peer("p1", ours)?;
        self.connect(Target::Connected(theirs))
    }

    fn tcp(&mut self) -> Connected {
        let options = &self.run.scenario.options;
        let listener = peer::listen(options.peer_rcvbuf, TIMEOUT)?;
        let addr = peer::local_addr(&listener)?;
        self.run.set_peer_address("p1", addr);
        if options.refuse {
            drop(listener);
            return self.connect(Target::Address(addr));
        }
        let connecting = self.library.connect(Target::Address(addr));
        // If this fails, the creating call tells why.
        if let Ok((socket, _)) = listener.accept() {
            self.add_peer("p1", socket)?;
        }
        wait(&connecting, CONNECT_TIMEOUT).map(Some)
    }

    fn tcp_server(&mut self) -> Connected {
        let addr = wait(&self.library.listen(), TIMEOUT)??;
        self.run.add_library_address(addr);
        self.server = Some(addr);
        Ok(None)
    }

    fn connect(&self, target: Target) -> Connected {
        wait(&self.library.connect(target), CONNECT_TIMEOUT).map(Some)
    }

    pub(crate) fn add_peer(&mut self, name: &str, socket: Socket) -> Result<(), Stop> {
        if let Some(addr) = socket.peer_addr()?.as_socket() {
            self.run.add_library_address(addr);
        }
        let peer = SocketPeer::new(socket, TIMEOUT)?;
        self.peers.insert(name.to_owned(), Box::new(peer));
        Ok(())
    }
}

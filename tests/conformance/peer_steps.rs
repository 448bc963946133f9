//! The steps that the driver performs on its own ends.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use smol_transports::{Addr, UnixAddr};
use socket2::{Socket, Type};

use crate::driver::{Driver, Outcome, Stop, TIMEOUT};
use crate::kind::kind_of;
use crate::payload::describe;
use crate::peer::{self, Peer, is_timeout};
use crate::scenario::PeerStep;

/// How many bytes a peer receives at once.
const CHUNK: usize = 65536;

impl Driver {
    pub(crate) fn peer_step(&mut self, name: &str, step: &PeerStep) -> Outcome {
        match step {
            PeerStep::Close => self.peer(name)?.close(),
            PeerStep::CloseNotify => self.peer(name)?.close_notify()?,
            PeerStep::Connect => return self.peer_connect(name),
            PeerStep::Recv(len) => return self.peer(name).map(|peer| Some(recv(peer, *len))),
            PeerStep::RecvAll { idle, gone, less_than } => {
                let (bytes, how) = self.recv_all(name, *idle)?;
                let is_gone = *gone && matches!(how, "eof" | "reset" | "tls_error");
                let how = if is_gone { "gone" } else { how };
                return Ok(Some(got(&bytes, *less_than, how)));
            }
            PeerStep::RecvDatagrams { count, idle, less_than } => {
                let datagrams = self.recv_datagrams(name, *count, *idle)?;
                return Ok(Some(got_datagrams(&datagrams, *less_than)));
            }
            PeerStep::Reset => self.peer(name)?.reset()?,
            PeerStep::Send(data) => return self.peer_send(name, &data.bytes()),
            PeerStep::ShutdownWrite => self.peer(name)?.shutdown_write()?,
        }
        Ok(None)
    }

    fn peer(&mut self, name: &str) -> Result<&mut dyn Peer, Stop> {
        match self.peers.get_mut(name) {
            Some(peer) => Ok(&mut **peer),
            None => Err(Stop::error(format!("no peer {name}"))),
        }
    }

    fn peer_send(&mut self, name: &str, data: &[u8]) -> Outcome {
        let sent = self.peer(name)?.send(data);
        Ok(sent.err().map(|err| json!(["peer_send", kind_of(&err)])))
    }

    fn peer_connect(&mut self, name: &str) -> Outcome {
        let Some(server) = self.server.clone() else {
            return Err(Stop::error("no server to connect to"));
        };
        let connected = match server {
            Addr::Inet(addr) => self.tcp_connection(name, addr),
            addr => self.unix_connection(name, &addr),
        };
        let result = match connected {
            Ok(socket) => self.greet(name, socket)?,
            Err(err) => kind_of(&err),
        };
        Ok(Some(json!(["peer_connect", name, result])))
    }

    /// Adds a peer that has connected, after its handshake if there is one.
    fn greet(&mut self, name: &str, socket: Socket) -> Result<&'static str, Stop> {
        #[cfg(feature = "tls")]
        if self.run.scenario.kind == crate::scenario::Kind::TlsServer {
            return Ok(match crate::tls::connect_peer(socket) {
                Ok(peer) => {
                    self.run.add_library_address(peer.addr()?);
                    self.peers.insert(name.to_owned(), Box::new(peer));
                    "ok"
                }
                Err(err) => kind_of(&err),
            });
        }
        self.add_peer(name, socket)?;
        Ok("ok")
    }

    /// Connects over TCP, from an address that is known before the library sees it.
    pub(crate) fn tcp_connection(&self, name: &str, to: SocketAddr) -> io::Result<Socket> {
        let socket = peer::bind(Type::STREAM)?;
        self.run.set_peer_address(name, peer::local_addr(&socket)?);
        socket.connect_timeout(&to.into(), TIMEOUT)?;
        Ok(socket)
    }

    /// Connects to a Unix socket, from one without a name.
    fn unix_connection(&self, name: &str, to: &Addr) -> io::Result<Socket> {
        self.run.set_peer_address(name, UnixAddr::default());
        peer::connect_unix(&peer::sock_addr(to)?, TIMEOUT)
    }

    /// Receives until the end, or until nothing has come for that long. Returns the bytes and
    /// what the end was.
    fn recv_all(&mut self, name: &str, idle: Duration) -> Result<(Vec<u8>, &'static str), Stop> {
        self.peer(name)?.set_timeout(idle)?;
        let mut bytes = Vec::new();
        let mut how = self.recv_some(name, &mut bytes)?;
        while how == "open" {
            // It may be that the library side had no turn at all.
            self.round_trips()?;
            let before = bytes.len();
            how = self.recv_some(name, &mut bytes)?;
            if bytes.len() == before {
                break;
            }
        }
        if let Ok(peer) = self.peer(name) {
            peer.set_timeout(TIMEOUT)?;
        }
        Ok((bytes, how))
    }

    /// Receives as long as something comes.
    fn recv_some(&mut self, name: &str, bytes: &mut Vec<u8>) -> Result<&'static str, Stop> {
        let peer = self.peer(name)?;
        let mut chunk = [0; CHUNK];
        loop {
            match peer::recv(peer, &mut chunk) {
                Ok(len) if len > 0 => bytes.extend_from_slice(&chunk[..len]),
                end => return Ok(peer.way_of_ending(end)?),
            }
        }
    }

    /// Receives up to that many datagrams, each within that time.
    fn recv_datagrams(&mut self, name: &str, count: usize, idle: Duration) -> Result<Vec<Vec<u8>>, Stop> {
        self.peer(name)?.set_timeout(idle)?;
        let mut datagrams = Vec::new();
        while datagrams.len() < count {
            match self.recv_datagram(name)? {
                Some(datagram) => datagrams.push(datagram),
                None => break,
            }
        }
        self.peer(name)?.set_timeout(TIMEOUT)?;
        Ok(datagrams)
    }

    fn recv_datagram(&mut self, name: &str) -> Result<Option<Vec<u8>>, Stop> {
        let mut chunk = [0; CHUNK];
        // When nothing has come at first, it may be that the library side had no turn at all.
        for _ in 0..2 {
            match peer::recv(self.peer(name)?, &mut chunk) {
                Ok(len) => return Ok(Some(chunk[..len].to_vec())),
                Err(err) if is_timeout(&err) => self.round_trips()?,
                Err(_) => break,
            }
        }
        Ok(None)
    }
}

/// Receives exactly that many bytes, fewer only at the end or after an error.
fn recv(peer: &mut dyn Peer, len: usize) -> Value {
    let mut bytes = vec![0; len];
    let mut filled = 0;
    while filled < len {
        match peer::recv(peer, &mut bytes[filled..]) {
            Ok(more) if more > 0 => filled += more,
            _ => break,
        }
    }
    json!(["peer_got", filled, describe(&bytes[..filled])])
}

/// The entry for everything that was received.
fn got(bytes: &[u8], less_than: Option<usize>, how: &str) -> Value {
    match less_than {
        Some(limit) => json!(["peer_got_lt", limit, bytes.len() < limit, how]),
        None => json!(["peer_got", bytes.len(), describe(bytes), how]),
    }
}

/// The entry for datagrams that were received.
fn got_datagrams(datagrams: &[Vec<u8>], less_than: Option<usize>) -> Value {
    let count = datagrams.len();
    match less_than {
        Some(limit) => json!(["peer_got_datagrams_lt", limit, count < limit]),
        None => json!(["peer_got_datagrams", count, describe(&datagrams.concat())]),
    }
}

//! What transports are made on.

use socket2::SockAddr;

/// What kind of socket a transport is on: what `family` and `type` say in Python.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SocketKind {
    /// A stream socket on IPv4 or IPv6.
    Tcp,
    /// A datagram socket on IPv4 or IPv6.
    Udp,
    /// A stream socket of the Unix family.
    UnixStream,
    /// A datagram socket of the Unix family.
    UnixDatagram,
    /// A socket of another family.
    Other,
}

impl SocketKind {
    pub(super) fn of(is_stream: bool, sockname: Option<&SockAddr>) -> Self {
        match sockname {
            Some(name) if name.is_unix() && is_stream => Self::UnixStream,
            Some(name) if name.is_unix() => Self::UnixDatagram,
            Some(name) if !name.is_ipv4() && !name.is_ipv6() => Self::Other,
            Some(_) if is_stream => Self::Tcp,
            Some(_) => Self::Udp,
            None => Self::Other,
        }
    }
}

/// What a pipe transport is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PipeKind {
    /// A pipe, with or without a name.
    Fifo,
    /// A terminal.
    Terminal,
    /// Another character device.
    Device,
    /// A socket that is used as a pipe.
    Socket,
}

//! Addresses that are kept as they were given and resolved later.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, ToSocketAddrs};

/// Where to connect to or to listen: a host and a port, or socket addresses.
///
/// It is made from `"host:port"`, `(host, port)` or socket addresses, and a host name is looked up when it is used, on
/// the thread pool of the `blocking` crate. An empty host means all interfaces, IPv6 and IPv4, for a server, and the
/// loopback addresses for a client.
///
/// # Examples
///
/// ```
/// use std::net::Ipv4Addr;
/// use smol_transports::Address;
///
/// let _by_name = Address::from("example.org:80");
/// let _the_same = Address::from(("example.org", 80));
/// let _numeric = Address::from((Ipv4Addr::LOCALHOST, 80));
/// let _all_interfaces = Address::from(":80");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// Not yet split: a mistake in it is told when it is used.
    Text(String),
    Host(String, u16),
    Resolved(Vec<SocketAddr>),
}

/// What an empty host stands for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Empty {
    Loopback,
    AllInterfaces,
}

impl Empty {
    fn addresses(self, port: u16) -> Vec<SocketAddr> {
        let (v6, v4) = match self {
            Self::Loopback => (Ipv6Addr::LOCALHOST, Ipv4Addr::LOCALHOST),
            Self::AllInterfaces => (Ipv6Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED),
        };
        vec![(v6, port).into(), (v4, port).into()]
    }
}

impl Address {
    /// The socket addresses, in the order of the resolver; at least one.
    pub(crate) async fn resolve(self, empty: Empty) -> io::Result<Vec<SocketAddr>> {
        let (host, port) = match self.0 {
            Kind::Resolved(addrs) => return non_empty(addrs, "an empty list of addresses"),
            Kind::Host(host, port) => (host, port),
            Kind::Text(text) => match text.parse() {
                Ok(addr) => return Ok(vec![addr]),
                Err(_) => split(&text)?,
            },
        };
        if host.is_empty() {
            return Ok(empty.addresses(port));
        }
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok(vec![(ip, port).into()]);
        }
        look_up(host, port).await
    }
}

async fn look_up(host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    let text = format!("no address found for {host}");
    let addrs = smol::unblock(move || (host.as_str(), port).to_socket_addrs().map(Vec::from_iter)).await?;
    non_empty(addrs, &text)
}

fn non_empty(addrs: Vec<SocketAddr>, text: &str) -> io::Result<Vec<SocketAddr>> {
    if addrs.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    Ok(addrs)
}

/// Splits `host:port`; an IPv6 address stands in brackets.
fn split(text: &str) -> io::Result<(String, u16)> {
    let invalid = |why: &str| io::Error::new(io::ErrorKind::InvalidInput, format!("{why}: {text:?}"));
    let (host, port) = text.rsplit_once(':').ok_or_else(|| invalid("no port in the address"))?;
    let port = port.parse().map_err(|_| invalid("the port is not a number below 65536"))?;
    // The name of an interface in it is for the look-up.
    let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if inside.is_none() && host.contains(':') {
        return Err(invalid("an IPv6 address must stand in brackets"));
    }
    Ok((inside.unwrap_or(host).to_owned(), port))
}

impl From<&str> for Address {
    fn from(text: &str) -> Self {
        Self(Kind::Text(text.to_owned()))
    }
}

impl From<String> for Address {
    fn from(text: String) -> Self {
        Self(Kind::Text(text))
    }
}

impl From<&String> for Address {
    fn from(text: &String) -> Self {
        Self(Kind::Text(text.clone()))
    }
}

impl From<(&str, u16)> for Address {
    fn from((host, port): (&str, u16)) -> Self {
        Self(Kind::Host(host.to_owned(), port))
    }
}

impl From<(String, u16)> for Address {
    fn from((host, port): (String, u16)) -> Self {
        Self(Kind::Host(host, port))
    }
}

impl From<Vec<SocketAddr>> for Address {
    fn from(addrs: Vec<SocketAddr>) -> Self {
        Self(Kind::Resolved(addrs))
    }
}

impl From<&[SocketAddr]> for Address {
    fn from(addrs: &[SocketAddr]) -> Self {
        Self(Kind::Resolved(addrs.to_vec()))
    }
}

macro_rules! from_socket_addr {
    ($($type:ty),*) => {$(
        impl From<$type> for Address {
            fn from(addr: $type) -> Self {
                Self(Kind::Resolved(vec![addr.into()]))
            }
        }
    )*};
}

from_socket_addr!(SocketAddr, SocketAddrV4, SocketAddrV6, (IpAddr, u16), (Ipv4Addr, u16), (Ipv6Addr, u16));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interface_of_an_address_in_brackets_is_left_to_the_look_up() {
        assert_eq!(split("[fe80::1%eth0]:80").unwrap(), ("fe80::1%eth0".to_owned(), 80));
        assert_eq!(split("example.com:80").unwrap(), ("example.com".to_owned(), 80));
        for text in ["fe80::1%eth0:80", "[fe80::1:80", "fe80::1]:80", "[::1]", "host:65536"] {
            assert_eq!(split(text).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{text}");
        }
    }
}

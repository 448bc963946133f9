//! Integration tests, a module for each theme.

mod actor;
mod bad_input;
mod bounds;
mod bridge;
#[cfg(unix)]
mod capture;
mod clean;
mod close;
mod common;
mod connect;
mod datagram;
#[cfg(target_os = "linux")]
mod driver;
mod drops;
mod flow;
mod grammar;
#[cfg(unix)]
mod guard;
#[cfg(unix)]
mod info;
mod lifecycle;
mod local;
mod memory;
mod observe;
mod panics;
mod peers;
#[cfg(unix)]
mod pipe;
#[cfg(unix)]
mod process;
mod protocol;
mod recorder;
mod sendfile;
mod sequences;
mod server;
#[cfg(target_os = "linux")]
mod shortage;
#[cfg(feature = "tls")]
mod tls;
#[cfg(unix)]
mod unix;

//! The programs in `examples/` that real clients talk to, each against those clients, and against clients that behave
//! badly. A test whose client is not installed says so and passes.

#![cfg(unix)]

mod chat;
mod dns_forwarder;
mod http_files;
mod program;
mod redis_kv;
mod size;
mod socks_proxy;

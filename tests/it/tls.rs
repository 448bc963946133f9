//! TLS: from the start and by upgrade, against independent peers and hostile ones.

mod close;
mod common;
mod connect;
mod cost;
mod hostile;
mod peers;
mod room;
mod start;
mod wakes;

//! Sans-IO: the rules of a transport without socket, clock or waker.

pub(crate) mod bounds;
pub(crate) mod copied;
pub(crate) mod datagrams;
pub(crate) mod habit;
pub(crate) mod kind;
pub(crate) mod lifecycle;
pub(crate) mod limits;
pub(crate) mod marks;
pub(crate) mod outbox;

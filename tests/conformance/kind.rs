//! The neutral names of errors.

use std::io::{self, ErrorKind};

use rustix::io::Errno;

/// The name of an error in traces.
pub(crate) fn kind_of(err: &io::Error) -> &'static str {
    by_code(err).or_else(|| by_kind(err.kind())).unwrap_or_else(|| match err.kind() {
        _ if err.raw_os_error().is_some() => "os_error",
        ErrorKind::InvalidInput => "invalid_input",
        ErrorKind::InvalidData => "tls",
        ErrorKind::UnexpectedEof => "unexpected_eof",
        ErrorKind::Unsupported => "not_supported",
        _ => "other",
    })
}

/// The name of a cause of a loss: there, a wrong input is a protocol that misbehaves.
pub(crate) fn kind_of_loss(err: &io::Error) -> &'static str {
    match kind_of(err) {
        "invalid_input" => "invalid_state",
        kind => kind,
    }
}

fn by_code(err: &io::Error) -> Option<&'static str> {
    Some(match Errno::from_raw_os_error(err.raw_os_error()?) {
        Errno::DESTADDRREQ => "destination_required",
        Errno::MSGSIZE => "message_too_long",
        Errno::SHUTDOWN => "broken_pipe",
        Errno::SRCH => "no_such_process",
        _ => return None,
    })
}

/// The kinds that stand for one error of the system. Blocking sockets report an elapsed time
/// limit as `WouldBlock`.
fn by_kind(kind: ErrorKind) -> Option<&'static str> {
    Some(match kind {
        ErrorKind::AddrInUse => "addr_in_use",
        ErrorKind::BrokenPipe => "broken_pipe",
        ErrorKind::ConnectionAborted => "connection_aborted",
        ErrorKind::ConnectionRefused => "connection_refused",
        ErrorKind::ConnectionReset => "connection_reset",
        ErrorKind::NotConnected => "not_connected",
        ErrorKind::NotFound => "not_found",
        ErrorKind::PermissionDenied => "permission_denied",
        ErrorKind::TimedOut | ErrorKind::WouldBlock => "timed_out",
        _ => return None,
    })
}

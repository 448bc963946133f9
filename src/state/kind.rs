//! What the kinds of byte stream differ in.

use super::limits::WriteLimits;
use super::marks::Marks;

/// The kind of a byte stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Both directions: a socket.
    #[default]
    Duplex,
    /// The read end of a pipe.
    #[cfg_attr(not(unix), expect(dead_code, reason = "there are no pipes"))]
    ReadPipe,
    /// The write end of a pipe.
    #[cfg_attr(not(unix), expect(dead_code, reason = "there are no pipes"))]
    WritePipe,
    /// Both directions, over TLS.
    #[cfg(feature = "tls-custom")]
    Tls {
        /// One direction can be closed alone.
        half_close: bool,
    },
}

impl Kind {
    /// The marks to begin with. The writer of a pipe is resumed only when all has left.
    pub(crate) const fn marks(self, limits: WriteLimits) -> Marks {
        Marks::new(limits, matches!(self, Self::WritePipe))
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Duplex => "stream",
            Self::ReadPipe => "read pipe",
            Self::WritePipe => "write pipe",
            #[cfg(feature = "tls-custom")]
            Self::Tls { .. } => "TLS",
        }
    }

    /// Whether the end of file is sent by closing.
    pub(crate) const fn closes_for_eof(self) -> bool {
        matches!(self, Self::WritePipe)
    }

    /// Whether the writing direction can be ended.
    pub(crate) const fn can_write_eof(self) -> bool {
        match self {
            Self::Duplex | Self::ReadPipe | Self::WritePipe => true,
            #[cfg(feature = "tls-custom")]
            Self::Tls { half_close } => half_close,
        }
    }

    /// Whether what is written while the buffer empties after `close()` is still sent.
    pub(crate) const fn sends_while_closing(self) -> bool {
        matches!(self, Self::Duplex)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tls_may_be_unable_to_end_one_direction() {
        assert!([Kind::Duplex, Kind::ReadPipe, Kind::WritePipe].into_iter().all(Kind::can_write_eof));
        #[cfg(feature = "tls-custom")]
        assert_eq!([true, false].map(|half_close| Kind::Tls { half_close }.can_write_eof()), [true, false]);
    }

    #[test]
    fn kinds_can_be_told_apart_by_their_names() {
        assert_eq!(
            [Kind::Duplex, Kind::ReadPipe, Kind::WritePipe].map(Kind::name),
            ["stream", "read pipe", "write pipe"]
        );
    }
}

//! What a stream may not exceed: bytes that wait, and times without progress.

use std::io;
use std::time::{Duration, Instant};

/// Bounds of a stream. There are none by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Bytes that may wait to be sent.
    pub(crate) write_buffer: Option<usize>,
    /// Time without any byte in either direction.
    pub(crate) idle: Option<Duration>,
    /// Time without a byte received, while reading is wanted.
    pub(crate) read: Option<Duration>,
    /// Time without a byte sent, while something waits.
    pub(crate) write: Option<Duration>,
}

/// When something happened last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Activity {
    pub(crate) received: Instant,
    pub(crate) sent: Instant,
    /// Since when reading is wanted, if it is.
    pub(crate) reading: Option<Instant>,
    /// Since when something waits to be sent, if it does.
    pub(crate) waiting: Option<Instant>,
}

/// A limit of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    Idle(Duration),
    Read(Duration),
    Write(Duration),
}

impl Bounds {
    pub(crate) const NONE: Self = Self { write_buffer: None, idle: None, read: None, write: None };

    pub(crate) const fn has_times(&self) -> bool {
        self.idle.is_some() || self.read.is_some() || self.write.is_some()
    }

    /// The limit that passes first if nothing happens, and when that is.
    pub(crate) fn next(&self, activity: &Activity) -> Option<(Instant, Limit)> {
        let Activity { received, sent, reading, waiting } = *activity;
        let all = [
            passes(Some(received.max(sent)), self.idle, Limit::Idle),
            passes(reading.map(|since| since.max(received)), self.read, Limit::Read),
            passes(waiting.map(|since| since.max(sent)), self.write, Limit::Write),
        ];
        all.into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// The error for a buffer of that size, if it is too much.
    pub(crate) fn check_write_buffer(&self, size: usize) -> io::Result<()> {
        match self.write_buffer {
            Some(limit) if size > limit => {
                let text = format!("{size} bytes wait to be sent, more than the limit of {limit}");
                Err(io::Error::new(io::ErrorKind::QuotaExceeded, text))
            }
            _ => Ok(()),
        }
    }
}

/// When a limit passes; never if that is beyond all time.
fn passes(since: Option<Instant>, limit: Option<Duration>, which: fn(Duration) -> Limit) -> Option<(Instant, Limit)> {
    let limit = limit?;
    Some((since?.checked_add(limit)?, which(limit)))
}

impl Limit {
    pub(crate) fn to_error(self) -> io::Error {
        let text = match self {
            Self::Idle(limit) => format!("nothing was received or sent for {limit:?}"),
            Self::Read(limit) => format!("nothing was received for {limit:?}"),
            Self::Write(limit) => format!("nothing could be sent for {limit:?}"),
        };
        io::Error::new(io::ErrorKind::TimedOut, text)
    }
}

/// The error of a transport that was closed and could not send the rest within its limit.
pub(crate) fn late_close() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "what was buffered at close could not be sent in time")
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(count: u64) -> Option<Duration> {
        Some(Duration::from_secs(count))
    }

    #[test]
    fn without_limits_nothing_passes() {
        let now = Instant::now();
        let activity = Activity { received: now, sent: now, reading: Some(now), waiting: Some(now) };
        assert_eq!(Bounds::default().next(&activity), None);
        assert!(Bounds::default().check_write_buffer(usize::MAX).is_ok());
    }

    #[test]
    fn each_limit_of_time_alone_is_watched() {
        assert!(!Bounds { write_buffer: Some(1), ..Bounds::NONE }.has_times());
        assert!(Bounds { idle: secs(1), ..Bounds::NONE }.has_times());
        assert!(Bounds { read: secs(1), ..Bounds::NONE }.has_times());
        assert!(Bounds { write: secs(1), ..Bounds::NONE }.has_times());
    }

    #[test]
    fn each_limit_has_its_own_beginning() {
        let start = Instant::now();
        let at = |count| start + Duration::from_secs(count);
        let activity = Activity { received: at(10), sent: at(12), reading: Some(at(11)), waiting: Some(at(5)) };
        let idle = Bounds { idle: secs(5), ..Bounds::default() };
        assert_eq!(idle.next(&activity), Some((at(17), Limit::Idle(Duration::from_secs(5)))));
        let read = Bounds { read: secs(5), ..Bounds::default() };
        assert_eq!(read.next(&activity), Some((at(16), Limit::Read(Duration::from_secs(5)))));
        assert_eq!(read.next(&Activity { reading: None, ..activity }), None);
        let write = Bounds { write: secs(3), ..Bounds::default() };
        assert_eq!(write.next(&activity), Some((at(15), Limit::Write(Duration::from_secs(3)))));
        assert_eq!(write.next(&Activity { waiting: None, ..activity }), None);
    }

    #[test]
    fn the_first_one_counts() {
        let now = Instant::now();
        let activity = Activity { received: now, sent: now, reading: Some(now), waiting: Some(now) };
        let all = Bounds { idle: secs(3), read: secs(2), write: secs(4), ..Bounds::default() };
        assert_eq!(all.next(&activity).map(|(_, limit)| limit), Some(Limit::Read(Duration::from_secs(2))));
        let endless = Bounds { idle: Some(Duration::MAX), ..Bounds::default() };
        assert_eq!(endless.next(&activity), None);
    }

    #[test]
    fn the_buffer_may_be_as_large_as_its_limit() {
        let bounds = Bounds { write_buffer: Some(10), ..Bounds::default() };
        assert!(bounds.check_write_buffer(10).is_ok());
        assert_eq!(bounds.check_write_buffer(11).unwrap_err().kind(), io::ErrorKind::QuotaExceeded);
    }
}

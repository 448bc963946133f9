//! The two marks of a write buffer.

use std::io;

const DEFAULT_HIGH: usize = 64 * 1024;
const FACTOR: usize = 4;

/// The high and the low mark of a write buffer, in bytes.
///
/// When more than [`high_water`](Self::high_water) bytes wait to be sent, the protocol's `pause_writing` is called;
/// when at most [`low_water`](Self::low_water) are left, `resume_writing`. The low mark never exceeds the high one.
/// The default is 64 KiB and 16 KiB.
///
/// A high mark of zero pauses as soon as the system does not take a write whole.
///
/// # Examples
///
/// ```
/// use smol_transports::WriteLimits;
///
/// assert_eq!(WriteLimits::high(1000).low_water(), 250);
/// assert_eq!(WriteLimits::low(1000).high_water(), 4000);
/// assert!(WriteLimits::new(11, 10).is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteLimits {
    low: usize,
    high: usize,
}

impl WriteLimits {
    /// Sets the high mark; the low one is a quarter of it.
    #[must_use]
    pub const fn high(high: usize) -> Self {
        Self { low: high / FACTOR, high }
    }

    /// Sets the low mark; the high one is four times as much.
    #[must_use]
    pub const fn low(low: usize) -> Self {
        Self { low, high: low.saturating_mul(FACTOR) }
    }

    /// Sets both marks.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if `low` is greater than `high`.
    pub fn new(low: usize, high: usize) -> io::Result<Self> {
        if low > high {
            let text = format!("low mark ({low}) must not exceed the high mark ({high})");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        Ok(Self { low, high })
    }

    /// The low mark, in bytes.
    #[must_use]
    pub const fn low_water(&self) -> usize {
        self.low
    }

    /// The high mark, in bytes.
    #[must_use]
    pub const fn high_water(&self) -> usize {
        self.high
    }
}

impl Default for WriteLimits {
    fn default() -> Self {
        Self::high(DEFAULT_HIGH)
    }
}

#[cfg(test)]
mod tests;

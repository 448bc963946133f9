//! Which piece of output is which, and when it has come: so exactly as there is room for.

use std::time::Duration;

use crate::protocol::Pipe;

/// Pieces that are told apart exactly; what is kept of one takes 32 bytes besides its own. After so many more each, all
/// is twice as coarse: a child that writes byte by byte for a day costs a few MiB for that.
const EXACT: u64 = 16 * 1024;

/// What comes from one pipe within that time is one piece.
const SAME: Duration = Duration::from_millis(1);

/// When a piece of output has come, and which one it is of all pipes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) number: u64,
    pub(super) at: Duration,
}

/// The stamps that were given out so far.
#[derive(Debug, Default)]
pub(super) struct Stamps {
    count: u64,
    /// Of standard output and of standard error.
    last: [Option<Stamp>; 2],
}

impl Stamps {
    /// The stamp of what comes now; the last one of that pipe, if it belongs to the same piece.
    pub(super) fn next(&mut self, pipe: Pipe, at: Duration) -> Stamp {
        let doublings = u32::try_from(self.count / EXACT).unwrap_or(u32::MAX).min(31);
        let span = SAME * (1 << doublings);
        let last = &mut self.last[usize::from(pipe == Pipe::Stderr)];
        match *last {
            // In the beginning what the other pipe has said between is never skipped.
            Some(stamp) if at.saturating_sub(stamp.at) < span && (doublings > 0 || stamp.number + 1 == self.count) => {
                stamp
            }
            _ => {
                let stamp = Stamp { number: self.count, at };
                self.count += 1;
                *last = Some(stamp);
                stamp
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_pieces_are_exact() {
        let mut stamps = Stamps::default();
        for number in 0..EXACT {
            let pipe = if number % 2 == 0 { Pipe::Stdout } else { Pipe::Stderr };
            assert_eq!(stamps.next(pipe, Duration::ZERO).number, number);
        }
    }

    #[test]
    fn what_comes_at_once_is_one_piece() {
        let mut stamps = Stamps::default();
        let mut number = |micros| stamps.next(Pipe::Stdout, Duration::from_micros(micros)).number;
        assert_eq!([0, 999, 1000, 1999, 2000].map(&mut number), [0, 0, 1, 1, 2]);
    }

    /// However long it writes byte by byte, and to both pipes in turn.
    #[test]
    fn many_pieces_get_coarse() {
        const DAY: u64 = 24 * 60 * 60 * 1000;
        let mut stamps = Stamps::default();
        let mut before = [0; 2];
        for millis in 0..DAY / 10 {
            for (index, pipe) in [Pipe::Stdout, Pipe::Stderr].into_iter().enumerate() {
                let number = stamps.next(pipe, Duration::from_millis(millis * 10)).number;
                assert!(number >= before[index]);
                before[index] = number;
            }
        }
        assert!(stamps.count < 14 * EXACT, "{} pieces", stamps.count);
    }
}

//! The rules of the two marks.

use std::io::ErrorKind;

use proptest::prelude::*;

use super::WriteLimits;

fn marks(limits: WriteLimits) -> (usize, usize) {
    (limits.low_water(), limits.high_water())
}

#[test]
fn defaults_are_16_and_64_kib() {
    assert_eq!(marks(WriteLimits::default()), (16 * 1024, 64 * 1024));
}

#[test]
fn one_mark_gives_the_other() {
    assert_eq!(marks(WriteLimits::high(1000)), (250, 1000));
    assert_eq!(marks(WriteLimits::high(7)), (1, 7));
    assert_eq!(marks(WriteLimits::low(1000)), (1000, 4000));
}

#[test]
fn a_high_mark_of_zero_gives_zero_twice() {
    assert_eq!(marks(WriteLimits::high(0)), (0, 0));
    assert_eq!(marks(WriteLimits::low(0)), (0, 0));
}

#[test]
fn the_largest_low_mark_does_not_overflow() {
    assert_eq!(marks(WriteLimits::low(usize::MAX)), (usize::MAX, usize::MAX));
}

#[test]
fn a_low_mark_over_the_high_one_is_invalid_input() {
    for (low, high) in [(1, 0), (11, 10), (usize::MAX, 0)] {
        let err = WriteLimits::new(low, high).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::InvalidInput);
        assert!(err.to_string().contains(&low.to_string()), "{err}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn low_never_exceeds_high(n: usize) {
        for limits in [WriteLimits::high(n), WriteLimits::low(n)] {
            prop_assert!(limits.low_water() <= limits.high_water());
        }
    }

    #[test]
    fn marks_in_order_are_taken_as_given(a: usize, b: usize) {
        let (low, high) = (a.min(b), a.max(b));
        prop_assert_eq!(marks(WriteLimits::new(low, high).unwrap()), (low, high));
        prop_assert_eq!(WriteLimits::new(high, low).is_err(), low != high);
    }
}

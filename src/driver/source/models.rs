//! Readiness that is reported by one thread and taken by another.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Waker;

use rustix::event::epoll::EventFlags;

use super::{READ, Source, WRITE};
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::check::{block_on, check, spawn};

fn report(source: &Source, flags: EventFlags) {
    source.report(flags).into_iter().for_each(Waker::wake);
}

/// Edges: each piece of data is reported once, when it has come. Who waits gets all of it in the end.
#[test]
fn no_edge_is_lost() {
    check(|| {
        let shared = Arc::new((Source::default(), AtomicU32::new(0)));
        let its = shared.clone();
        let reporter = spawn(move || {
            for _ in 0..2 {
                its.1.fetch_add(1, Ordering::Relaxed);
                report(&its.0, EventFlags::IN);
            }
        });
        let (source, data) = &*shared;
        let mut taken = 0;
        while taken < 2 {
            block_on(poll_fn(|cx| source.poll(READ, cx)));
            taken += data.swap(0, Ordering::Relaxed);
        }
        reporter.join().unwrap();
        assert_eq!(taken, 2);
    });
}

/// Two directions, one waker: neither takes what is the other's.
#[test]
fn one_direction_does_not_take_the_other_ones_readiness() {
    check(|| {
        let source = Arc::new(Source::default());
        let its = source.clone();
        let reporter = spawn(move || {
            report(&its, EventFlags::OUT);
            report(&its, EventFlags::IN);
        });
        block_on(poll_fn(|cx| source.poll(READ, cx)));
        block_on(poll_fn(|cx| source.poll(WRITE, cx)));
        reporter.join().unwrap();
    });
}

#[test]
fn the_end_of_the_peer_is_reported_for_good() {
    check(|| {
        let source = Arc::new(Source::default());
        let its = source.clone();
        let reporter = spawn(move || report(&its, EventFlags::RDHUP));
        block_on(poll_fn(|cx| source.poll(READ, cx)));
        assert!(source.must_read_on());
        reporter.join().unwrap();
    });
}

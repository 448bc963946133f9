//! Readiness that is reported by one thread and taken by another.

use std::future::poll_fn;
use std::sync::Arc;

use rustix::event::epoll::EventFlags;

use super::{Sources, Way};
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::check::{block_on, check, spawn};

fn report(sources: &Sources, key: u64, flags: EventFlags) {
    sources.report([(key, flags)].into_iter(), &mut Vec::new());
}

/// Edges: each piece of data is reported once, when it has come. Who waits gets all of it in the end.
#[test]
fn no_edge_is_lost() {
    check(|| {
        let shared = Arc::new((Sources::default(), AtomicU32::new(0)));
        let mut watch = shared.0.insert();
        let (its, key) = (shared.clone(), watch.key);
        let reporter = spawn(move || {
            for _ in 0..2 {
                its.1.fetch_add(1, Ordering::Relaxed);
                report(&its.0, key, EventFlags::IN);
            }
        });
        let (sources, data) = &*shared;
        let mut taken = 0;
        while taken < 2 {
            block_on(poll_fn(|cx| watch.poll(sources, Way::Read, cx)));
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
        let sources = Arc::new(Sources::default());
        let mut watch = sources.insert();
        let (its, key) = (sources.clone(), watch.key);
        let reporter = spawn(move || {
            report(&its, key, EventFlags::OUT);
            report(&its, key, EventFlags::IN);
        });
        block_on(poll_fn(|cx| watch.poll(&sources, Way::Read, cx)));
        block_on(poll_fn(|cx| watch.poll(&sources, Way::Write, cx)));
        reporter.join().unwrap();
    });
}

#[test]
fn the_end_of_the_peer_is_reported_for_good() {
    check(|| {
        let sources = Arc::new(Sources::default());
        let mut watch = sources.insert();
        let (its, key) = (sources.clone(), watch.key);
        let reporter = spawn(move || report(&its, key, EventFlags::RDHUP));
        block_on(poll_fn(|cx| watch.poll(&sources, Way::Read, cx)));
        assert!(watch.ready(&sources).must_read_on());
        reporter.join().unwrap();
    });
}

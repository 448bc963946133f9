//! Whole sequences of operations, in any order, on in-memory transports.
//!
//! `SEQUENCES` sets how many are tried.

#[path = "../sequences/datagram.rs"]
mod datagram;
#[path = "../sequences/stream.rs"]
mod stream;
#[cfg(feature = "tls")]
#[path = "../sequences/tls.rs"]
mod tls;

use proptest::prelude::*;

fn config() -> ProptestConfig {
    let cases = std::env::var("SEQUENCES").ok().and_then(|text| text.parse().ok()).unwrap_or(2000);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// Lengths: most of them small, some where buffers and marks have their edges.
fn length() -> impl Strategy<Value = u16> {
    prop_oneof![4 => 0u16..200, 1 => 4000u16..4200, 1 => 32_700u16..32_800, 1 => any::<u16>()]
}

fn stream_request() -> impl Strategy<Value = stream::Request> {
    use stream::Request::*;
    prop_oneof![
        8 => length().prop_map(Write),
        4 => length().prop_map(WriteBytes),
        2 => (any::<u8>(), length()).prop_map(|(first, second)| WriteVectored(first, second)),
        1 => Just(WriteEof),
        2 => Just(PauseReading),
        3 => Just(ResumeReading),
        2 => (length(), length()).prop_map(|(a, b)| Limits(a, b)),
        1 => Just(Close),
        1 => Just(Abort),
        1 => Just(Fail),
    ]
}

fn stream_step() -> impl Strategy<Value = stream::Step> {
    use stream::Step::*;
    prop_oneof![
        12 => stream_request().prop_map(Request),
        6 => (prop::collection::vec(stream_request(), 0..4), any::<bool>()).prop_map(|(list, keep)| React(list, keep)),
        6 => length().prop_map(Feed),
        1 => Just(FeedEof),
        1 => Just(BreakReading),
        1 => Just(BreakWriting),
        4 => length().prop_map(Room),
        2 => Just(AllRoom),
        8 => Just(Poll),
        1 => Just(Drop),
    ]
}

fn datagram_request() -> impl Strategy<Value = datagram::Request> {
    use datagram::Request::*;
    prop_oneof![
        8 => length().prop_map(Send),
        6 => length().prop_map(SendBytes),
        2 => Just(PauseReading),
        3 => Just(ResumeReading),
        2 => (length(), length()).prop_map(|(a, b)| Limits(a, b)),
        1 => Just(Close),
        1 => Just(Abort),
        1 => Just(Fail),
    ]
}

fn datagram_step() -> impl Strategy<Value = datagram::Step> {
    use datagram::Step::*;
    prop_oneof![
        12 => datagram_request().prop_map(Request),
        6 => prop::collection::vec(datagram_request(), 0..4).prop_map(React),
        6 => length().prop_map(Feed),
        2 => Just(FailReceiving),
        2 => Just(FailSending),
        4 => any::<u8>().prop_map(Room),
        2 => Just(AllRoom),
        8 => Just(Poll),
        1 => Just(Drop),
    ]
}

#[cfg(feature = "tls")]
fn tls_step() -> impl Strategy<Value = tls::Step> {
    use tls::Step::*;
    prop_oneof![
        8 => length().prop_map(Say),
        6 => length().prop_map(Pass),
        6 => Just(PassAll),
        1 => (length(), any::<u8>()).prop_map(|(at, mask)| Spoil(at, mask)),
        1 => prop::collection::vec(any::<u8>(), 0..20).prop_map(Inject),
        1 => Just(Farewell),
        1 => Just(Eof),
        6 => length().prop_map(Answer),
        2 => Just(Pause),
        3 => Just(Resume),
        1 => Just(Close),
        1 => Just(Abort),
        3 => length().prop_map(Room),
        2 => Just(AllRoom),
        16 => Just(Poll),
    ]
}

#[cfg(feature = "tls")]
#[test]
fn nonsense_that_follows_our_close_notify_panics_nobody() {
    use tls::Step::*;
    tls::run(0, &[PassAll, Poll, PassAll, Poll, Close, Poll, Inject(vec![0]), Poll]);
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn streams_keep_every_promise(
        limits in (length(), length()),
        first in prop::collection::vec(stream_request(), 0..3),
        steps in prop::collection::vec(stream_step(), 0..40),
    ) {
        stream::run(limits, first, &steps);
    }

    #[test]
    fn datagrams_keep_every_promise(
        limits in (length(), length()),
        first in prop::collection::vec(datagram_request(), 0..3),
        steps in prop::collection::vec(datagram_step(), 0..40),
    ) {
        datagram::run(limits, first, &steps);
    }
}

#[cfg(feature = "tls")]
proptest! {
    // A handshake is much work.
    #![proptest_config(ProptestConfig { cases: config().cases / 4, ..config() })]

    #[test]
    fn tls_tells_only_what_was_said(cut in any::<u8>(), steps in prop::collection::vec(tls_step(), 0..40)) {
        tls::run(cut, &steps);
    }
}

//! The queue against its model, and its rules one by one.

use bytes::Bytes;
use proptest::prelude::*;

use super::model::{self, Op};
use super::{Datagram, Datagrams, KEPT, Payload};
use crate::state::limits::WriteLimits;
use crate::state::marks::{Mark, Marks};

fn queue(high: usize) -> Datagrams<u8> {
    Datagrams::new(Marks::new(WriteLimits::high(high), false))
}

fn datagram(len: usize, to: u8) -> Datagram<u8> {
    Datagram { data: Payload::Shared(Bytes::from(vec![0; len])), to: Some(to) }
}

#[test]
fn payloads_count_and_empty_ones_wait_for_free() {
    let mut queue = queue(100);
    queue.push(datagram(10, 1));
    queue.push(datagram(0, 2));
    queue.push(datagram(5, 3));
    assert_eq!((queue.len(), queue.size()), (3, 15));
    assert_eq!(queue.iter().filter_map(|datagram| datagram.to).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(queue.remove(2), 10);
    assert_eq!((queue.len(), queue.size()), (1, 5));
    assert_eq!(queue.remove(9), 5);
    assert_eq!(queue.take_spent().len(), 3);
    assert!(queue.is_empty());
}

#[test]
fn whatever_leaves_may_resume() {
    let mut queue = queue(4);
    queue.push(datagram(5, 1));
    let size = queue.size();
    queue.marks_mut().latch(size);
    assert_eq!(queue.marks_mut().tell(), Some(Mark::Pause));
    assert_eq!(queue.marks_mut().tell(), None);
    queue.remove(1);
    assert_eq!(queue.marks_mut().tell(), Some(Mark::Resume));
}

#[test]
fn only_a_short_queue_keeps_its_memory() {
    for (count, is_kept) in [(KEPT, true), (KEPT + 1, false)] {
        let mut queue = queue(100);
        (0..count).for_each(|_| queue.push(datagram(1, 1)));
        queue.remove(count);
        assert_eq!(queue.queue.capacity() > 0, is_kept);
    }
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (any::<u8>(), any::<bool>()).prop_map(|(len, shared)| Op::Push { len, shared }),
        1 => any::<bool>().prop_map(|shared| Op::Push { len: 0, shared }),
        4 => Just(Op::Latch),
        4 => (0u8..4).prop_map(Op::Remove),
        4 => Just(Op::Tell),
        1 => Just(Op::TakeSpent),
        1 => Just(Op::Clear),
        1 => Just(Op::Forget),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_does_what_the_model_does(
        low in 0usize..200,
        more in 0usize..200,
        ops in prop::collection::vec(op(), 0..60),
    ) {
        model::run(low, low + more, &ops);
    }
}

use std::time::Duration;

use super::*;

fn stamp(number: u64) -> Stamp {
    Stamp { number, at: Duration::from_millis(number) }
}

/// Keeps pieces that come one by one.
fn kept(keep: Keep, pieces: &[&str]) -> Output {
    let mut memory = Memory::new(keep);
    pieces.iter().zip(1..).for_each(|(piece, number)| memory.push(stamp(number), piece.as_bytes()));
    memory.into_output()
}

const PIECES: [&str; 5] = ["ab", "c", "defg", "h", "ij"];

#[test]
fn all_is_kept_without_a_limit() {
    let output = kept(Keep::All, &PIECES);
    assert_eq!((output.bytes(), output.head(), output.tail()), (&b"abcdefghij"[..], &b"abcdefghij"[..], &b""[..]));
    assert_eq!((output.total(), output.dropped()), (10, 0));
}

#[test]
fn nothing_is_counted() {
    let output = kept(Keep::Nothing, &PIECES);
    assert_eq!((output.bytes(), output.total(), output.dropped()), (&b""[..], 10, 10));
    assert_eq!(output.to_string(), "[10 bytes dropped]");
}

/// Whatever the room and however it comes, the ends are those of the whole.
#[test]
fn the_ends_are_kept() {
    let whole: Vec<u8> = (0..30).collect();
    for (head, tail) in (0..12).flat_map(|head| (0..12).map(move |tail| (head, tail))) {
        for size in 1..=30 {
            let mut memory = Memory::new(Keep::Ends { head, tail });
            whole.chunks(size).zip(0..).for_each(|(piece, number)| memory.push(stamp(number / 2), piece));
            let output = memory.into_output();
            assert_eq!((output.head(), output.tail()), (&whole[..head], &whole[30 - tail..]), "{head} {tail} {size}");
            assert_eq!(output.dropped(), 30 - (head + tail) as u64);
            let joined: Vec<u8> = output.pieces().flat_map(|(_, piece)| piece.to_vec()).collect();
            assert_eq!(joined, output.bytes());
        }
    }
}

#[test]
fn what_fits_is_kept_whole() {
    let output = kept(Keep::Ends { head: 4, tail: 6 }, &PIECES);
    assert_eq!((output.head(), output.tail(), output.dropped()), (&b"abcdefghij"[..], &b""[..], 0));
}

#[test]
fn pieces_keep_their_stamps() {
    let output = kept(Keep::Ends { head: 2, tail: 4 }, &PIECES);
    let pieces: Vec<_> = output.pieces().collect();
    assert_eq!(pieces, [(stamp(1), &b"ab"[..]), (stamp(3), b"g"), (stamp(4), b"h"), (stamp(5), b"ij")]);
}

#[test]
fn display_says_what_is_missing() {
    assert_eq!(kept(Keep::Ends { head: 2, tail: 3 }, &PIECES).to_string(), "ab[5 bytes dropped]hij");
    assert_eq!(kept(Keep::All, &PIECES).to_string(), "abcdefghij");
}

use super::*;

/// What comes of a text, however it is cut into chunks: lines, with `+` behind those that go on and `-n` for what was
/// dropped.
fn cut(text: &str, long: LongLines, folds: bool) -> io::Result<Vec<String>> {
    let results: Vec<_> = (1..=text.len()).map(|size| cut_chunks(text, size, long, folds)).collect();
    let first = results.into_iter().reduce(|first, next| {
        assert_eq!(first.as_ref().ok(), next.as_ref().ok());
        first
    });
    first.expect("a text")
}

fn cut_chunks(text: &str, size: usize, long: LongLines, folds: bool) -> io::Result<Vec<String>> {
    let mut seen = Vec::new();
    let mut sink = lines(long, |line: Line<'_>| {
        let goes_on = if line.is_complete { "" } else { "+" };
        let dropped = if line.dropped > 0 { format!("-{}", line.dropped) } else { String::new() };
        seen.push(format!("{}{goes_on}{dropped}", line.text()));
    });
    sink.folds = folds;
    for piece in text.as_bytes().chunks(size) {
        sink.chunk(&Chunk { pipe: Pipe::Stdout, at: Duration::ZERO, data: piece.into() })?;
    }
    let _ = sink.poll_finish(&mut Context::from_waker(std::task::Waker::noop()));
    Ok(seen)
}

fn whole(text: &str) -> Vec<String> {
    cut(text, LongLines::Unbounded, false).unwrap()
}

#[test]
fn lines_end_at_their_breaks() {
    assert_eq!(whole("one\ntwo\n"), ["one", "two"]);
    assert_eq!(whole("\n\nx\n"), ["", "", "x"]);
}

#[test]
fn the_last_line_needs_no_break() {
    assert_eq!(whole("one\ntwo"), ["one", "two"]);
    assert_eq!(whole("alone"), ["alone"]);
}

#[test]
fn returns_are_kept_or_folded() {
    assert_eq!(whole("a\r\nb\rc\n"), ["a\r", "b\rc"]);
    assert_eq!(cut("a\r\nb\rc\n\r\n\r", LongLines::Unbounded, true).unwrap(), ["a", "b", "c", "", ""]);
}

#[test]
fn long_lines_are_split() {
    let split = |text| cut(text, LongLines::Split(3), false).unwrap();
    assert_eq!(split("abc\nabcd\nabcdefg\n"), ["abc", "abc+", "d", "abc+", "def+", "g"]);
    assert_eq!(split("abcdef"), ["abc+", "def"]);
}

#[test]
fn long_lines_are_truncated() {
    let truncate = |text| cut(text, LongLines::Truncate(3), false).unwrap();
    assert_eq!(truncate("abc\nabcdefg\nx"), ["abc", "abc-4", "x"]);
    assert_eq!(cut("ab\n", LongLines::Truncate(0), false).unwrap(), ["-2"]);
}

#[test]
fn no_character_is_cut() {
    let split = |text, size| cut(text, LongLines::Split(size), false).unwrap();
    assert_eq!(split("abé\nabéd\n", 3), ["ab+", "é", "ab+", "éd"]);
    assert_eq!(split("€€€", 4), ["€+", "€+", "€"]);
    assert_eq!(split("a😀b", 4), ["a+", "😀+", "b"]);
    let truncate = |text, size| cut(text, LongLines::Truncate(size), false).unwrap();
    assert_eq!(truncate("abécd\n€\n", 3), ["ab-4", "€"]);
    assert_eq!(truncate("😀\n", 3), ["-4"]);
    // What is no character, or larger than a part, is cut anywhere.
    assert_eq!(split("€", 1).concat(), "\u{fffd}+\u{fffd}+\u{fffd}");
    for (data, len) in [(&b"a\xff\xff"[..], 0), (b"\x80\x80\x80", 0), (b"a\xe2\x82", 2), (b"\xf0\x9f\x98", 3)] {
        assert_eq!(unfinished(data), len, "{data:?}");
    }
}

#[test]
fn long_lines_are_errors() {
    assert_eq!(cut("abc\nab\n", LongLines::Error(3), false).unwrap(), ["abc", "ab"]);
    assert_eq!(cut("abc\nabcd", LongLines::Error(3), false).unwrap_err().kind(), io::ErrorKind::InvalidData);
}

#[test]
fn pipes_are_kept_apart() {
    let mut seen = Vec::new();
    let mut sink = lines(LongLines::Unbounded, |line: Line<'_>| seen.push((line.pipe, line.text().into_owned())));
    for (pipe, text) in [(Pipe::Stdout, "out"), (Pipe::Stderr, "err\n"), (Pipe::Stdout, "put\n")] {
        sink.chunk(&Chunk { pipe, at: Duration::ZERO, data: text.as_bytes().into() }).unwrap();
    }
    assert_eq!(seen, [(Pipe::Stderr, "err".into()), (Pipe::Stdout, "output".into())]);
}

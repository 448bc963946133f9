//! Byte strings: how scenarios name them and how traces describe them.

/// The patterns repeat after this many bytes.
const PERIOD: usize = 65536;

/// The longest byte string that a trace shows as text.
const TEXT_MAX: usize = 64;

/// Bytes to be written or sent.
#[derive(Clone, Debug)]
pub(crate) enum Payload {
    /// The UTF-8 form of a text.
    Text(String),
    /// A length and the seed of the pattern.
    Pattern(usize, usize),
}

impl Payload {
    /// Makes the bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Text(text) => text.as_bytes().to_vec(),
            Self::Pattern(len, seed) => pattern(*len, *seed),
        }
    }
}

/// Byte `i` is `(i * 31 + (i >> 8) * 7 + seed) & 255`.
fn pattern(len: usize, seed: usize) -> Vec<u8> {
    let byte = |i: usize| ((i * 31 + (i >> 8) * 7 + seed) & 255) as u8;
    let block: Vec<u8> = (0..PERIOD.min(len)).map(byte).collect();
    let mut bytes = block.repeat(len.div_ceil(PERIOD));
    bytes.truncate(len);
    bytes
}

/// Describes a byte string: the text itself if it is short and plain, else its CRC-32.
pub(crate) fn describe(bytes: &[u8]) -> String {
    let plain = |b: &u8| matches!(b, 0x20..=0x7e | b'\n');
    if bytes.len() <= TEXT_MAX && bytes.iter().all(plain) {
        format!("text:{}", String::from_utf8_lossy(bytes))
    } else {
        format!("crc:{:08x}", crc32fast::hash(bytes))
    }
}

/// Compares with values computed by the recorder of the scenarios.
pub(crate) fn self_check() {
    let start = [5, 36, 67, 98, 129, 160, 191, 222];
    assert_eq!(pattern(8, 5), start);
    assert_eq!(pattern(70_000, 5)[65_536..65_544], start);
    assert_eq!(describe(&pattern(300, 3)), "crc:ed5f3921");
    assert_eq!(describe(&pattern(1_048_576, 1)), "crc:70f9ec28");
    assert_eq!(describe(&pattern(70_000, 250)), "crc:4d4e4f8a");
    assert_eq!(describe(b"a\nb"), "text:a\nb");
    assert_eq!(describe(b"\x7f"), "crc:12b88320");
    assert_eq!(describe(&[b'x'; 64]), format!("text:{}", "x".repeat(64)));
    assert_eq!(describe(&[b'x'; 65]), "crc:7f5fb567");
}

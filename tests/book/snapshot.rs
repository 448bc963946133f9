//! Files of the book that are written by programs.

use std::fs;
use std::path::Path;

/// The sources of the book.
pub(crate) fn sources() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/book/src"))
}

/// Compares `text` with a file of the book, or writes the file if `BOOK_UPDATE` is set.
pub(crate) fn compare(file: &str, text: &str) {
    let path = sources().join(file);
    if std::env::var_os("BOOK_UPDATE").is_some() {
        return fs::write(&path, text).unwrap();
    }
    let known = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        known == text,
        "{file} is out of date: run the tests with BOOK_UPDATE=1.\nin the book:\n{known}\nnow:\n{text}"
    );
}

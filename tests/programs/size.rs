//! The programs are to be read, so they stay short.

use std::fs;
use std::path::{Path, PathBuf};

const MOST_LINES: usize = 250;

/// Lines of code: without those that are empty, or a comment.
fn lines(file: &Path) -> usize {
    let text = fs::read_to_string(file).unwrap_or_else(|err| panic!("{}: {err}", file.display()));
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")).count()
}

/// The files of an example.
fn files(name: &str) -> Vec<PathBuf> {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    match fs::read_dir(examples.join(name)) {
        Ok(entries) => entries.map(|entry| entry.expect("a file").path()).collect(),
        Err(_) => vec![examples.join(name).with_extension("rs")],
    }
}

#[test]
fn each_program_is_short() {
    for name in ["http_files", "redis_kv", "dns_forwarder", "socks_proxy", "chat"] {
        let all: usize = files(name).iter().map(|file| lines(file)).sum();
        assert!((1..MOST_LINES).contains(&all), "{name} has {all} lines of code");
    }
}

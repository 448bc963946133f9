//! The program of the same name in the examples, in the middle of shell pipelines.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use super::pipe;
use crate::guard::run;

/// The program, if the examples were built.
pub(super) fn program() -> Option<PathBuf> {
    let test = std::env::current_exe().expect("a test is a program");
    let profile = test.ancestors().nth(2).expect("target/<profile>/deps");
    let program = profile.join("examples/pipe_upper");
    if program.exists() {
        return Some(program);
    }
    eprintln!("skipped: {} was not built", program.display());
    None
}

/// Runs a line of shell in which `$BIN` is the program.
fn shell(line: &str) -> Option<Output> {
    let output = Command::new("sh").args(["-c", line]).env("BIN", program()?).output().expect("a shell");
    assert!(output.stderr.is_empty(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    Some(output)
}

fn assert_prints(line: &'static str, expected: &'static str) {
    run(async move || {
        let Some(output) = shell(line) else { return };
        assert!(output.status.success(), "{line}: {}", output.status);
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), expected, "{line}");
    });
}

#[test]
fn it_stands_in_a_pipeline() {
    assert_prints(r#"printf 'hello\n' | "$BIN""#, "HELLO");
    assert_prints(r#"printf 'hello\n' | "$BIN" | wc -c"#, "6");
}

#[test]
fn nothing_in_nothing_out() {
    assert_prints(r#""$BIN" < /dev/null | wc -c"#, "0");
    assert_prints(r#"printf '' | "$BIN" | wc -c"#, "0");
}

#[test]
fn a_device_takes_everything() {
    assert_prints(r#"head -c 1000000 /dev/zero | "$BIN" > /dev/null; echo $?"#, "0");
}

#[test]
fn much_goes_through() {
    assert_prints(r#"head -c 20000000 /dev/zero | tr '\0' a | "$BIN" | tr -d A | wc -c"#, "0");
    assert_prints(r#"head -c 20000000 /dev/zero | "$BIN" | wc -c"#, "20000000");
}

#[test]
fn a_slow_reader_slows_it_down() {
    assert_prints(r#"head -c 1000000 /dev/zero | "$BIN" | (read -r x < /dev/null; cat) | wc -c"#, "1000000");
}

#[test]
fn a_reader_may_go_early() {
    assert_prints(r#"yes | "$BIN" | head -c 10 | tr '\n' ,"#, "Y,Y,Y,Y,Y,");
}

#[test]
fn a_reader_that_goes_ends_it_while_it_waits_for_input() {
    run(async || {
        let Some(program) = program() else { return };
        let (read, write) = pipe();
        let mut child = Command::new(program).stdin(Stdio::piped()).stdout(write).spawn().expect("it starts");
        drop(read);
        let _input = child.stdin.take();
        assert!(child.wait().unwrap().success());
    });
}

#[test]
fn a_regular_file_is_refused() {
    run(async || {
        let Some(program) = program() else { return };
        let file = tempfile::tempfile().unwrap();
        let output = Command::new(program).stdin(file).output().expect("it starts");
        assert!(!output.status.success());
        assert!(String::from_utf8_lossy(&output.stderr).contains("not a pipe, a socket or a character device"));
    });
}

#[test]
fn the_shell_gets_its_pipes_back_in_blocking_mode() {
    assert_prints(r#"printf a | { "$BIN"; head -c 200000 /dev/zero; } | { "$BIN"; cat; } | wc -c"#, "200001");
}

#[test]
fn two_of_them_stand_in_one_pipeline() {
    assert_prints(r#"printf 'ab' | "$BIN" | "$BIN""#, "AB");
}

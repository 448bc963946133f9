//! What the tests leave behind: nothing. That can be told only where no other test runs, so the test here runs all others
//! again, each in a process of its own.

use std::env;
use std::process::Command;
use std::sync::Mutex;
use std::thread;

use crate::guard::{ALONE, CLEAN, is_alone};

#[test]
fn every_test_leaves_nothing_behind() {
    if is_alone() {
        return println!("skipped: each test is alone");
    }
    let names = Mutex::new(others());
    let failures = Mutex::new(Vec::new());
    let work = || {
        loop {
            let Some(name) = names.lock().unwrap().pop() else { return };
            if let Some(why) = run_alone(&name) {
                failures.lock().unwrap().push(why);
            }
        }
    };
    thread::scope(|scope| {
        (0..2).for_each(|_| drop(scope.spawn(work)));
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn program() -> Command {
    Command::new(env::current_exe().unwrap())
}

/// The names of all tests but this module's.
fn others() -> Vec<String> {
    let list = program().args(["--list", "--format", "terse"]).output().unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    let names = list.lines().filter_map(|line| line.strip_suffix(": test"));
    names.filter(|name| !name.starts_with("clean::")).map(str::to_owned).collect()
}

/// Runs a test in a process of its own; what is wrong about that.
fn run_alone(name: &str) -> Option<String> {
    let output = program().args([name, "--exact", "--nocapture"]).env(ALONE, "1").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    if output.status.success() && !text.contains(CLEAN) {
        println!("not watched: {name}");
    }
    (!output.status.success()).then(|| format!("{name}: {text}{}", String::from_utf8_lossy(&output.stderr)))
}

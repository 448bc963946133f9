//! Running examples.

use std::path::Path;
use std::process::Command;

/// An example that cargo has built beside this test: `cargo test` builds all of them.
pub(crate) fn command(name: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).expect("target/<profile>/deps/<test>");
    let path = profile.join("examples").join(name).with_extension(std::env::consts::EXE_EXTENSION);
    assert!(path.exists(), "{} is missing: build it with `cargo build --examples`", path.display());
    Command::new(path)
}

/// What an example prints; it must end with status 0.
pub(crate) fn output(name: &str, args: &[&str]) -> String {
    let run = command(name).args(args).output().unwrap();
    let text = String::from_utf8(run.stdout).unwrap();
    assert!(run.status.success(), "{name}: {}\n{text}\n{}", run.status, String::from_utf8_lossy(&run.stderr));
    text
}

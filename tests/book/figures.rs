//! The drawing and the table of the measurements: they show what was measured.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::asyncio::python;
use crate::snapshot::compare;

#[test]
fn growth() {
    let Some(python) = python() else { return };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let directory = tempfile::tempdir().unwrap();
    let [drawing, table] = ["growth.svg", "growth.txt"].map(|name| directory.path().join(name));
    let mut plot = Command::new(python);
    plot.arg(root.join("benches/plot.py")).arg(root.join("book/growth.json")).args([&drawing, &table]);
    let run = plot.output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    compare("images/growth.svg", &fs::read_to_string(drawing).unwrap());
    compare("figures/growth.txt", &fs::read_to_string(table).unwrap());
}

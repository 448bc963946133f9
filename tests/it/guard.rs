//! A limit for tests that hang, even those that block their thread, and a look at what they leave behind.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use async_io::Timer;
use futures_lite::future::yield_now;
use smol_transports::stats::{Stats, stats};

/// Far more than any test needs, on a machine that does much else; a test that takes so long hangs.
pub(crate) const LIMIT: Duration = Duration::from_secs(300);

/// Runs a test on a thread of its own.
pub(crate) fn run(test: impl AsyncFnOnce() + Send + 'static) {
    watch();
    let (done, outcome) = mpsc::channel();
    thread::spawn(move || {
        let result = catch_unwind(AssertUnwindSafe(|| smol::block_on(test())));
        let _ = done.send(result);
    });
    outcome.recv_timeout(LIMIT).expect("the test hangs").unwrap_or_else(|payload| resume_unwind(payload));
}

/// Waits for something that nobody announces.
pub(crate) async fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        Timer::after(Duration::from_millis(1)).await;
        yield_now().await;
    }
}

/// Set in a process that runs one test alone.
pub(crate) const ALONE: &str = "SMOL_TRANSPORTS_ALONE";

/// Printed when nothing was left behind.
pub(crate) const CLEAN: &str = "nothing is left behind";

/// How long what happens in the background may take.
const LATE: Duration = Duration::from_secs(60);

thread_local! {
    static FIXTURE: Fixture = Fixture { before: descriptors() };
}

/// Expects, when the thread of the calling test has ended, that nothing is left behind. Every helper that makes
/// something calls it, and all that a test has made is dropped by then.
pub(crate) fn watch() {
    if is_alone() {
        FIXTURE.with(|_| ());
    }
}

/// Whether this process runs one test. nextest gives each test a process, too.
pub(crate) fn is_alone() -> bool {
    env::var_os(ALONE).is_some() || env::var_os("NEXTEST").is_some()
}

struct Fixture {
    before: BTreeSet<String>,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let start = Instant::now();
        let mut left = self.left_behind();
        while !left.is_empty() && start.elapsed() < LATE {
            thread::sleep(Duration::from_millis(1));
            left = self.left_behind();
        }
        if left.is_empty() {
            return println!("{CLEAN}");
        }
        // A panic could not be caught here.
        eprintln!("left behind: {left:?}");
        std::process::exit(1);
    }
}

impl Fixture {
    fn left_behind(&self) -> Vec<String> {
        let descriptors = descriptors().difference(&self.before).cloned().collect::<Vec<_>>();
        transports(stats()).into_iter().chain(descriptors).chain(children()).collect()
    }
}

fn transports(stats: Stats) -> Option<String> {
    let is_clean = stats.alive == 0 && stats.made == stats.lost && stats.buffered == 0;
    (!is_clean).then(|| format!("{stats:?}"))
}

/// Open descriptors, without those that the reactors keep.
fn descriptors() -> BTreeSet<String> {
    let Ok(all) = fs::read_dir("/proc/self/fd") else { return BTreeSet::new() };
    let names = all.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok()?.into_os_string().into_string().ok());
    names.filter(|name| !is_of_a_reactor(name)).collect()
}

fn is_of_a_reactor(name: &str) -> bool {
    let own = ["[eventpoll]", "[eventfd]", "[timerfd]"].map(|kind| format!("anon_inode:{kind}"));
    own.iter().any(|kind| kind == name) || name.starts_with("/proc/")
}

fn children() -> Option<String> {
    let tasks = fs::read_dir("/proc/self/task").ok()?;
    let read = |task: fs::DirEntry| fs::read_to_string(task.path().join("children")).ok();
    let pids: String = tasks.filter_map(|task| read(task.ok()?)).collect();
    (!pids.is_empty()).then(|| format!("children {pids}"))
}

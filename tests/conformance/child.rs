//! Whether a child process has come to rest.

use std::fs;

/// Whether the process, or one that it has started, is running or about to: then something may still come of what was
/// done before. One that waits for input, for the time, or for a process of its own is at rest. Where the system does
/// not tell, all are.
pub(crate) fn is_busy(pid: u32) -> bool {
    let is_running = state(pid).is_some_and(|state| matches!(state, 'R' | 'D'));
    is_running || children(pid).into_iter().any(is_busy)
}

/// The letter in `/proc/PID/stat`, behind the name of the program, which may contain anything.
fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

fn children(pid: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

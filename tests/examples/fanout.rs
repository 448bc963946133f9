//! The program `fanout`, from its command line to its exit code.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::command;

fn fanout(args: &[&str]) -> Output {
    command("fanout").args(args).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The lines of commands, without their times.
fn lines(output: &Output) -> Vec<String> {
    let stdout = text(&output.stdout);
    let lines = stdout.lines().filter_map(|line| {
        let (time, rest) = line.split_once(' ')?;
        let (whole, part) = time.split_once('.')?;
        let is_time = part.len() == 3 && (whole.to_owned() + part).bytes().all(|byte| byte.is_ascii_digit());
        (is_time && rest.starts_with('[')).then(|| rest.to_owned())
    });
    lines.collect()
}

/// Whether there is a process of that group that has not ended.
fn has_members(group: &str) -> bool {
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    processes.filter(|name| name.parse::<u32>().is_ok()).any(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields: Vec<_> = stat.rsplit_once(") ").map(|(_, rest)| rest.split(' ').collect()).unwrap_or_default();
        matches!(fields[..], [state, _, of, ..] if of == group && !matches!(state, "Z" | "X"))
    })
}

fn assert_gone(group: &str) {
    let start = Instant::now();
    while has_members(group) {
        assert!(start.elapsed() < Duration::from_secs(50), "something of the group {group} is left");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn lines_have_times_and_names() {
    let output = fanout(&["-j", "1", "echo one; printf two", "X=1 /bin/echo three; echo four >&2; exit 3"]);
    assert_eq!(lines(&output), ["[1 echo] one", "[1 echo] two", "[2 echo] three", "[2 echo] four"]);
    assert_eq!(output.status.code(), Some(3));
    let stdout = text(&output.stdout);
    assert!(stdout.contains("fanout: 2 echo: exit 3\n"), "{stdout}");
    assert!(stdout.contains("  1 echo") && stdout.contains("1 ok, 1 failed, "), "{stdout}");
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn the_exit_code_is_the_worst() {
    let code = |commands: &[&str]| {
        let args = [&["-k", "--quiet"], commands].concat();
        fanout(&args).status.code()
    };
    assert_eq!(code(&["true", "true"]), Some(0));
    assert_eq!(code(&["exit 3", "exit 7", "exit 5"]), Some(7));
    assert_eq!(code(&["exit 3", "kill -9 $$"]), Some(137));
}

#[test]
fn a_failure_stops_the_rest_unless_it_is_to_go_on() {
    let commands = ["-j", "2", "exit 3", "sleep 60", "echo never"];
    let output = fanout(&commands);
    let stdout = text(&output.stdout);
    assert!(!stdout.contains("never") && stdout.contains("0 ok, 1 failed, 1 stopped, 1 not started"), "{stdout}");
    assert!(stdout.contains("SIGTERM after "), "{stdout}");
    // What was stopped for the fault of another is not the worst.
    assert_eq!(output.status.code(), Some(3));
    let output = fanout(&["--keep-going", "-j", "1", "exit 3", "echo always"]);
    assert_eq!(lines(&output), ["[2 echo] always"]);
}

#[test]
fn limits_stop_what_takes_too_long() {
    let output = fanout(&["--timeout", "200ms", "echo begun; sleep 60"]);
    assert_eq!(output.status.code(), Some(124));
    assert!(text(&output.stdout).contains(" s: time limit"), "{}", text(&output.stdout));
    let output = fanout(&["--idle", "0.2", "--grace", "100ms", "trap '' TERM; echo begun; sleep 60 & sleep 60"]);
    assert_eq!(output.status.code(), Some(124));
    assert!(text(&output.stdout).contains(" s: silent for too long"), "{}", text(&output.stdout));
}

#[test]
fn blocks_are_not_mixed() {
    let talk = |name: &str| format!("for i in 1 2 3 4 5; do echo {name} $i; sleep 0.01; done");
    let output = fanout(&["--group", "-j", "3", &talk("a"), &talk("b"), &talk("c")]);
    let stdout = text(&output.stdout);
    let order: String = stdout.lines().filter_map(|line| line.split_once("for] ")?.1.chars().next()).collect();
    let blocks: BTreeSet<&str> = [&order[..5], &order[5..10], &order[10..15]].into();
    assert_eq!(blocks, ["aaaaa", "bbbbb", "ccccc"].into());
}

#[test]
fn blocks_are_shown_as_lines_are() {
    let talk = r"printf '1 %%\r100 %%\r\n\033[31mred\n\377\n'";
    let output = fanout(&["--group", "--color", "always", talk]).stdout;
    let shown = String::from_utf8_lossy(&output);
    assert!(shown.contains("\x1b[0m 100 %\n") && shown.contains("\x1b[31mred\x1b[0m\n"), "{shown:?}");
    assert!(output.contains(&0xff), "{shown:?}");
    // Of more than is kept the middle is left out, in a line of its own.
    let output = fanout(&["--group", "exec head -c 20000000 /dev/zero"]).stdout;
    let lines: Vec<_> = output.split(|byte| *byte == b'\n').collect();
    assert_eq!(lines.len(), 4);
    assert_eq!(text(lines[1]), "[1 exec] ... 3222784 bytes are not shown ...");
}

#[test]
fn quiet_shows_failures_only() {
    let output = fanout(&["--quiet", "-k", "echo good", "echo bad; exit 1"]);
    let stdout = text(&output.stdout);
    assert!(!stdout.contains("] good") && stdout.contains("[2 echo] bad\n"), "{stdout}");
}

#[test]
fn raw_lines_stand_alone() {
    let output = fanout(&["--raw", "-k", "-j", "1", "echo one", "echo two; exit 4"]);
    assert_eq!(text(&output.stdout), "one\ntwo\n");
    let stderr = text(&output.stderr);
    assert!(stderr.contains("fanout: 2 echo: exit 4\n") && stderr.contains("1 ok, 1 failed, "), "{stderr}");
}

#[test]
fn json_has_an_object_for_each_event() {
    let output = fanout(&["--json", "-j", "1", "--split", "echo out; echo err >&2; exit 4"]);
    let stdout = text(&output.stdout);
    let events: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let field = |name: &str| events.iter().map(|event| event[name].clone()).collect::<Vec<_>>();
    assert_eq!(field("event"), ["start", "line", "line", "end", "summary"]);
    // The order of two pipes is that of reading.
    let mut said = [1, 2].map(|line: usize| (events[line]["pipe"].as_str(), events[line]["text"].as_str()));
    said.sort_unstable();
    assert_eq!(said, [(Some("stderr"), Some("err")), (Some("stdout"), Some("out"))]);
    assert_eq!(
        (&events[3]["code"], &events[3]["status"], &events[3]["bytes"]),
        (&json!(4), &json!("exit 4"), &json!(8))
    );
    assert_eq!((&events[4]["failed"], &events[4]["not_started"]), (&json!(1), &json!(0)));
}

#[test]
fn logs_hold_all_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let logs = dir.path().join("new");
    fanout(&["--logs", logs.to_str().unwrap(), "echo out; echo err >&2", "printf '%s' 'no end'"]);
    assert_eq!(fs::read_to_string(logs.join("1-echo.log")).unwrap(), "out\nerr\n");
    assert_eq!(fs::read_to_string(logs.join("2-printf.log")).unwrap(), "no end");
    fanout(&["--split", "--logs", logs.to_str().unwrap(), "echo out; echo err >&2"]);
    assert_eq!(fs::read_to_string(logs.join("1-echo.out")).unwrap(), "out\n");
    assert_eq!(fs::read_to_string(logs.join("1-echo.err")).unwrap(), "err\n");
}

#[test]
fn commands_come_from_standard_input() {
    let mut child = command("fanout").args(["-j", "1"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let commands = b"# four of them\necho one\n\n  echo two\r\nprintf %s '\xff' | od -An -tx1\n-x";
    child.stdin.take().unwrap().write_all(commands).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(lines(&output)[..3], ["[1 echo] one", "[2 echo] two", "[3 printf]  ff"]);
    // It is a command that does not exist, and no option of the shell.
    assert!(lines(&output)[3].starts_with("[4 -x] ") && lines(&output)[3].contains("not found"), "{output:?}");
    assert_eq!(output.status.code(), Some(127));
}

#[test]
fn a_held_pipe_is_told() {
    let output = fanout(&["sleep 60 & echo hi"]);
    assert!(output.status.success());
    let stdout = text(&output.stdout);
    assert!(stdout.contains("[1 sleep] hi\nfanout: 1 sleep: exit 0; pipe held: stdout\n"), "{stdout}");
}

#[test]
fn a_wrong_use_is_explained() {
    let error = |args: &[&str]| {
        let output = fanout(args);
        assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(2), ""));
        text(&output.stderr)
    };
    assert!(error(&["--bogus"]).starts_with("fanout: invalid option '--bogus'\n"));
    assert!(error(&["-j", "0", "true"]).starts_with("fanout: --jobs 0: it is a number of commands, 1 or more\n"));
    assert!(
        error(&["--timeout", "3 weeks", "true"]).starts_with("fanout: --timeout 3 weeks: it is a number with a unit")
    );
    assert!(error(&["--idle", "0", "true"]).starts_with("fanout: --idle 0: that would stop every command"));
    assert!(error(&["--grace", "1e9h", "true"]).starts_with("fanout: --grace 1e9h: "));
    assert!(error(&["--color", "mauve", "true"]).starts_with("fanout: --color mauve: "));
    assert!(error(&["--logs", "/dev/null/x", "true"]).starts_with("fanout: --logs /dev/null/x: "));
    let output = fanout(&["--help"]);
    assert!(output.status.success() && text(&output.stdout).contains("\nUsage: fanout "));
    // More jobs than commands are as many as there are commands.
    assert!(fanout(&["-j", "99999999999", "true"]).status.success());
}

#[test]
fn colors_are_those_of_the_name() {
    let output = text(&fanout(&["--color", "always", "-j", "1", "echo a", "printf 'b\\n'", "echo c"]).stdout);
    let colors: Vec<_> = output.lines().filter_map(|line| line.split_once("\x1b[")?.1.split_once('m')).collect();
    assert_eq!(colors.len(), 3, "{output}");
    assert_eq!(colors[0].0, colors[2].0);
    assert!(!text(&fanout(&["echo a"]).stdout).contains('\x1b'));
}

#[test]
fn colors_and_returns_of_a_command_stay_in_its_line() {
    let talk = r"printf '1 %%\r100 %%\r\n\033[31mred\nplain\r\n'";
    let output = text(&fanout(&["--color", "always", talk]).stdout);
    assert!(output.contains("\x1b[0m 100 %\n") && !output.contains('\r'), "{output:?}");
    assert!(output.contains("\x1b[31mred\x1b[0m\n") && output.contains("\x1b[0m plain\n"), "{output:?}");
}

#[test]
fn output_that_cannot_be_shown_is_a_failure() {
    let full = fs::File::options().write(true).open("/dev/full");
    let Ok(full) = full else { return println!("skipped: there is no /dev/full") };
    for (args, code) in [
        (&["echo lost"][..], 125),
        (&["--group", "echo lost"], 125),
        (&["--json", "true"], 125),
        (&["true", "true"], 125),
        (&["--help"], 2),
    ] {
        let stdout = full.try_clone().unwrap();
        let output = command("fanout").args(args).stdin(Stdio::null()).stdout(stdout).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}");
        assert!(text(&output.stderr).starts_with("fanout: standard output: "), "{args:?}: {}", text(&output.stderr));
    }
}

#[test]
fn a_reader_that_has_enough_ends_it_without_a_word() {
    let mut child = command("fanout");
    child.args(["yes", "sleep 60"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.ends_with("[1 yes] y\n"), "{line}");
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(125), ""));
}

/// (f)
#[test]
fn there_are_never_more_children_than_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().display();
    let line = format!("touch {path}/$$; ls {path} | wc -l; rm {path}/$$");
    let args: Vec<_> = ["-j", "4", "--raw"].into_iter().chain(std::iter::repeat_n(&*line, 200)).collect();
    let output = fanout(&args);
    assert!(output.status.success());
    let counts: Vec<u32> = text(&output.stdout).lines().filter_map(|line| line.trim().parse().ok()).collect();
    assert_eq!(counts.len(), 200);
    assert!(counts.iter().all(|count| (1..=4).contains(count)), "{counts:?}");
}

/// (c)
#[cfg(target_os = "linux")]
#[test]
fn a_line_of_100_megabytes_keeps_the_memory_flat() {
    let dir = tempfile::tempdir().unwrap();
    let peak = |bytes: u32| {
        // It has no line break. One process alone: each hand-over between two takes long on a busy machine.
        let talk = format!("exec head -c {bytes} /dev/zero");
        // The parent of the shell is fanout.
        let watch = "grep VmHWM /proc/$PPID/status";
        let mut run = command("fanout");
        run.args(["-j", "1", "--logs", dir.path().to_str().unwrap(), &talk, watch]);
        assert!(run.stdin(Stdio::null()).stdout(Stdio::null()).status().unwrap().success());
        assert_eq!(fs::metadata(dir.path().join("1-exec.log")).unwrap().len(), u64::from(bytes));
        let status = fs::read_to_string(dir.path().join("2-grep.log")).unwrap();
        status.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let (flat, long) = (peak(1000), peak(100_000_000));
    assert!(long < flat + 16 * 1024, "{long} KiB after 100 MB, {flat} KiB after 1 KB");
}

/// Runs it in a terminal: waits for each text, then types what belongs to it. What was shown, and the exit code.
fn in_terminal(args: &[&str], steps: &Value) -> Option<(String, i32)> {
    const PROGRAM: &str = include_str!("terminal.py");
    let fanout = command("fanout").get_program().to_owned();
    let run = Command::new("python3").arg("-c").arg(PROGRAM).arg(steps.to_string()).arg(fanout).args(args).output();
    let Ok(output) = run else {
        println!("skipped: no python3");
        return None;
    };
    Some((String::from_utf8_lossy(&output.stdout).into_owned(), output.status.code().unwrap()))
}

/// The number that a shell has told as its own.
fn told(shown: &str) -> &str {
    let (_, rest) = shown.split_once("group ").expect(shown);
    rest.split_whitespace().next().unwrap()
}

#[test]
fn a_terminal_has_colors_and_progress() {
    let Some((shown, code)) = in_terminal(&["-j", "1", "echo one; sleep 1", "echo two"], &json!([])) else { return };
    assert_eq!(code, 0);
    assert!(shown.contains("\x1b[K0/2 done, 1 running, "), "{shown:?}");
    assert!(shown.contains("[1 echo]\x1b[0m one\r\n") && shown.contains("[2 echo]\x1b[0m two\r\n"), "{shown:?}");
    assert!(shown.contains("2 ok, 0 failed"), "{shown:?}");
    let steps = json!({"env": {"NO_COLOR": "1"}, "steps": []});
    let Some((shown, _)) = in_terminal(&["--no-progress", "echo one"], &steps) else { return };
    assert!(!shown.contains('\x1b'), "{shown:?}");
}

#[test]
fn ctrl_c_asks_all_groups_to_end() {
    let line = "echo group $$; sleep 60 & sleep 60";
    let steps = json!([["group ", "\u{3}"]]);
    let Some((shown, code)) = in_terminal(&["--no-progress", "--color", "never", line, "sleep 60"], &steps) else {
        return;
    };
    assert_eq!(code, 130);
    assert!(shown.contains("fanout: asking all commands to end; once more kills them"), "{shown}");
    assert!(shown.contains("SIGTERM after ") && shown.contains(" s: stopped\r\n"), "{shown}");
    assert_gone(told(&shown));
}

#[test]
fn ctrl_backslash_kills_them_at_once() {
    let line = "trap '' TERM; echo group $$; sleep 60 & sleep 60; sleep 60; sleep 60";
    let args = ["--no-progress", "--color", "never", "--grace", "50s", line];
    let Some((shown, code)) = in_terminal(&args, &json!([["group ", "\u{1c}"]])) else { return };
    assert_eq!(code, 131);
    assert!(shown.contains("fanout: killing all commands") && shown.contains("SIGKILL after "), "{shown}");
    assert_gone(told(&shown));
}

#[test]
fn a_second_ctrl_c_kills_them() {
    let line = "trap '' TERM; echo group $$; sleep 60 & sleep 60; sleep 60; sleep 60";
    let steps = json!([["group ", "\u{3}"], ["once more kills them", "\u{3}"]]);
    let args = ["--no-progress", "--color", "never", "--grace", "50s", line];
    let Some((shown, code)) = in_terminal(&args, &steps) else { return };
    assert_eq!(code, 130);
    assert!(shown.contains("fanout: killing all commands"), "{shown}");
    // Two in quick succession leave no time to ask, and nothing that was ignored.
    assert!(shown.contains("SIGKILL after ") && shown.contains(" s: stopped"), "{shown}");
    assert_gone(told(&shown));
}

/// Nobody reads what it has to say: a signal ends it all the same.
#[test]
fn signals_end_it_though_nobody_reads() {
    for signals in [1, 2] {
        let args = ["--grace", "1s", "echo group $$; exec yes"];
        let mut child = command("fanout").args(args).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        for _ in 0..signals {
            let pid = rustix::process::Pid::from_child(&child);
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        }
        assert_eq!(child.wait().unwrap().code(), Some(128 + 15));
        assert_gone(line.trim().rsplit(' ').next().unwrap());
    }
}

#[test]
fn a_signal_that_is_to_be_ignored_is_ignored() {
    let line = "trap '' HUP; exec \"$0\" 'kill -HUP $PPID; echo text'";
    let mut shell = Command::new("sh");
    shell.args(["-c", line]).arg(command("fanout").get_program()).stdin(Stdio::null());
    let output = shell.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
}

#[test]
fn carriage_returns_at_the_end_of_a_line_hide_nothing() {
    assert_eq!(lines(&fanout(&["printf 'abc\\r\\r\\n'"])), ["[1 printf] abc"]);
}

#[test]
fn a_log_that_cannot_be_written_is_no_missing_program() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("1-true.log")).unwrap();
    let output = fanout(&["--logs", folder.path().to_str().unwrap(), "true"]);
    assert_eq!(output.status.code(), Some(125), "{}", text(&output.stdout));
}

/// What there is of it is told all the same.
#[test]
fn a_log_that_is_full_loses_the_log_alone() {
    if !fs::exists("/dev/full").unwrap() {
        return println!("skipped: there is no /dev/full");
    }
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/dev/full", folder.path().join("1-yes.log")).unwrap();
    let output = fanout(&["--json", "--logs", folder.path().to_str().unwrap(), "yes"]);
    assert_eq!(output.status.code(), Some(125));
    let events = text(&output.stdout);
    let end = events.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let end = end.into_iter().find(|event| event["event"] == json!("end")).expect("an end");
    assert!(end["bytes"].as_u64() > Some(0) && end["code"] == json!(125), "{end}");
}

//! Child processes: capturing much output, and spawning many.

use std::fmt::Write;
use std::io::{self, Read};
use std::process::{Command, Stdio};
use std::time::Instant;

use futures_lite::{AsyncReadExt, StreamExt};
use smol_transports::{Pipe, SubprocessProtocol, SubprocessTransport, subprocess_exec};

use crate::args::Plan;
use crate::machine::{self, Pin};
use crate::report::median;

const BYTES: u64 = 1 << 30;
const SPAWNS: usize = 300;
const BUFFER: usize = 64 * 1024;

/// A way to run children; the first is the base.
const WAYS: [&str; 6] = ["async-process", "std", "tokio", "duct", "ours", "ours on a driver"];
pub(crate) const TASKS: [Task; 4] = [
    Task { name: "capture", title: "1 GiB from `head`", pin: Pin::None },
    Task { name: "capture-on-one-core", title: "1 GiB from `head`, all on one core", pin: Pin::Same },
    Task { name: "spawn-1", title: "300 x `true`, one by one", pin: Pin::None },
    Task { name: "spawn-8", title: "300 x `true`, 8 at once", pin: Pin::None },
];

/// What is done with children.
pub(crate) struct Task {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// Where parent and children run.
    pub(crate) pin: Pin,
}

pub(crate) fn table(plan: &Plan) -> io::Result<String> {
    let titles = TASKS.map(|task| task.title).join(" | ");
    let mut out =
        format!("## Children\n\nTimes: lower is better, ratios to async-process by hand.\n\n| | {titles} |\n");
    out.push_str("|---|---|---|---|---|\n");
    let columns = TASKS.map(|task| take(plan, task.name, &WAYS));
    let columns = columns.into_iter().collect::<io::Result<Vec<_>>>()?;
    for (index, way) in WAYS.iter().enumerate() {
        let cells = columns.iter().map(|rounds| cell(rounds, index)).collect::<Vec<_>>().join(" | ");
        let _ = writeln!(out, "| {way} | {cells} |");
    }
    Ok(out)
}

fn cell(rounds: &[Vec<f64>], index: usize) -> String {
    match index {
        0 => format!("{:.3} s", median(rounds.iter().map(|round| round[0]))),
        _ => format!("{:.2}", relative(rounds, index)),
    }
}

fn relative(rounds: &[Vec<f64>], index: usize) -> f64 {
    median(rounds.iter().map(|round| round[index] / round[0]))
}

/// How long a task takes in each way, as ratios to the first one.
pub(crate) fn relative_times(plan: &Plan, task: &str, ways: &[&str]) -> io::Result<Vec<f64>> {
    let rounds = take(plan, task, ways)?;
    Ok((0..ways.len()).map(|index| relative(&rounds, index)).collect())
}

fn take(plan: &Plan, task: &str, ways: &[&str]) -> io::Result<Vec<Vec<f64>>> {
    eprintln!("{task}");
    (0..plan.rounds).map(|round| take_round(task, ways, round)).collect()
}

/// Each way once, in a process of its own; each round begins with another one.
fn take_round(task: &str, ways: &[&str], round: usize) -> io::Result<Vec<f64>> {
    let mut times = vec![0.0; ways.len()];
    for turn in 0..ways.len() {
        let index = (round + turn) % ways.len();
        let job = format!("{task}/{}", ways[index]);
        let output = Command::new(std::env::current_exe()?).args(["job", &job]).stderr(Stdio::inherit()).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        times[index] = text.trim().parse().map_err(|_| io::Error::other(format!("{job} has failed")))?;
    }
    Ok(times)
}

/// Does a task in one way, and prints how many seconds it has taken.
pub(crate) fn job(name: &str) -> io::Result<()> {
    let (task, way) = name.split_once('/').unwrap_or_default();
    let pin = TASKS.iter().find(|known| known.name == task).map_or(Pin::None, |known| known.pin);
    machine::cpus(pin)?.server.map_or(Ok(()), machine::pin_thread)?;
    let start = Instant::now();
    match task {
        "capture" | "capture-on-one-core" => assert_eq!(capture(way)?, BYTES),
        "spawn-1" => spawn(way, 1)?,
        "spawn-8" => spawn(way, 8)?,
        _ => return Err(io::Error::other(format!("{name:?} is no job"))),
    }
    println!("{:.6}", start.elapsed().as_secs_f64());
    Ok(())
}

fn capture(way: &str) -> io::Result<u64> {
    match way {
        "std" => capture_std(),
        "tokio" => tokio_runtime()?.block_on(capture_tokio()),
        "duct" => capture_duct(),
        "async-process" => smol::block_on(capture_smol()),
        "ours" => smol::block_on(capture_ours()),
        _ => smol_transports::driver::block_on(capture_ours()),
    }
}

fn spawn(way: &str, width: usize) -> io::Result<()> {
    match way {
        "std" => spawn_threads(width, || Command::new("true").stdin(Stdio::null()).output().map(drop)),
        "tokio" => tokio_runtime()?.block_on(spawn_tokio(width)),
        "duct" => {
            spawn_threads(width, || duct::cmd!("true").stdin_null().stdout_capture().stderr_capture().run().map(drop))
        }
        "async-process" => smol::block_on(spawn_wide(width, true_smol)),
        "ours" => smol::block_on(spawn_wide(width, true_ours)),
        _ => smol_transports::driver::block_on(spawn_wide(width, true_ours)),
    }
}

fn head() -> Command {
    let mut command = Command::new("head");
    command.args(["-c", &BYTES.to_string(), "/dev/zero"]).stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

fn tokio_runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_io().build()
}

fn capture_std() -> io::Result<u64> {
    let mut child = head().spawn()?;
    let mut stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let (mut buffer, mut total) = (vec![0; BUFFER], 0);
    loop {
        match stdout.read(&mut buffer)? {
            0 => break,
            count => total += count as u64,
        }
    }
    child.wait()?;
    Ok(total)
}

fn capture_duct() -> io::Result<u64> {
    let mut stdout = duct::cmd!("head", "-c", BYTES.to_string(), "/dev/zero").stdin_null().reader()?;
    let (mut buffer, mut total) = (vec![0; BUFFER], 0);
    loop {
        match stdout.read(&mut buffer)? {
            0 => return Ok(total),
            count => total += count as u64,
        }
    }
}

async fn capture_smol() -> io::Result<u64> {
    let mut child = smol::process::Command::from(head()).stdout(Stdio::piped()).spawn()?;
    let mut stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let (mut buffer, mut total) = (vec![0; BUFFER], 0);
    loop {
        match stdout.read(&mut buffer).await? {
            0 => break,
            count => total += count as u64,
        }
    }
    child.status().await?;
    Ok(total)
}

async fn capture_tokio() -> io::Result<u64> {
    use tokio::io::AsyncReadExt;
    let mut child = tokio::process::Command::from(head()).spawn()?;
    let mut stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let (mut buffer, mut total) = (vec![0; BUFFER], 0);
    loop {
        match stdout.read(&mut buffer).await? {
            0 => break,
            count => total += count as u64,
        }
    }
    child.wait().await?;
    Ok(total)
}

/// Counts what the child says.
#[derive(Default)]
struct Count(u64);

impl SubprocessProtocol for Count {
    fn pipe_data_received(&mut self, _: &SubprocessTransport, _: Pipe, data: &[u8]) {
        self.0 += data.len() as u64;
    }
}

async fn capture_ours() -> io::Result<u64> {
    let child = subprocess_exec(Count::default(), head()).stdin(smol_transports::Stdio::Null).await?;
    Ok(child.await.0)
}

/// Runs all children, a number of them at once, each by a thread that waits for it.
fn spawn_threads(width: usize, run: impl Fn() -> io::Result<()> + Sync) -> io::Result<()> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..width)
            .map(|index| {
                let run = &run;
                scope.spawn(move || (index..SPAWNS).step_by(width).try_for_each(|_| run()))
            })
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into())))
    })
}

async fn spawn_tokio(width: usize) -> io::Result<()> {
    let run = async || -> io::Result<()> {
        tokio::process::Command::new("true").stdin(Stdio::null()).output().await.map(drop)
    };
    spawn_wide(width, run).await
}

/// Runs all children, a number of them at once.
async fn spawn_wide(width: usize, run: impl AsyncFn() -> io::Result<()>) -> io::Result<()> {
    let shares = (0..width).map(|index| {
        let run = &run;
        async move {
            for _ in (index..SPAWNS).step_by(width) {
                run().await?;
            }
            io::Result::Ok(())
        }
    });
    let mut shares: futures_util::stream::FuturesUnordered<_> = shares.collect();
    while let Some(share) = shares.next().await {
        share?;
    }
    Ok(())
}

async fn true_smol() -> io::Result<()> {
    smol::process::Command::new("true").stdin(Stdio::null()).output().await.map(drop)
}

async fn true_ours() -> io::Result<()> {
    let child = subprocess_exec(Count::default(), Command::new("true")).stdin(smol_transports::Stdio::Null).await?;
    child.await;
    Ok(())
}

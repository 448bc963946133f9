//! All commands: so many at a time, until they are done or told to end.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use async_signal::{Signal, Signals};
use futures_lite::{StreamExt, future};
use smol::{LocalExecutor, Timer};
use smol_transports::capture::Handle;

use crate::args::Args;
use crate::job::{Failed, Job, NOT_CAPTURED, Outcome};
use crate::report::Report;

/// What the lanes, the signals and the progress line share.
pub(crate) struct Crew {
    pub(crate) args: Args,
    pub(crate) report: Report,
    pub(crate) start: Instant,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    next: usize,
    running: BTreeMap<usize, Handle>,
    outcomes: Vec<Outcome>,
    /// Nothing more is started.
    stopping: bool,
    /// The last signal that has come.
    signal: Option<Signal>,
}

/// Runs all commands; gives the exit code.
pub(crate) async fn run(args: Args) -> u8 {
    let report = Report::new(&args);
    let crew = Rc::new(Crew { args, report, start: Instant::now(), state: RefCell::default() });
    let executor = LocalExecutor::new();
    let lanes: Vec<_> = (0..crew.args.jobs).map(|_| executor.spawn(crew.clone().lane())).collect();
    let all = async {
        for lane in lanes {
            lane.await;
        }
    };
    let mut signals = crew.signals();
    let besides = future::or(crew.listen(&mut signals), crew.clone().tick());
    executor.run(future::or(all, besides)).await;
    drop(executor);
    let impatient = async {
        crew.listen(&mut signals).await;
        crew.code_of_signal().unwrap_or(NOT_CAPTURED)
    };
    future::or(crew.finish(), impatient).await
}

/// How long after a signal what was said may take to be read.
const WORDS: Duration = Duration::from_secs(2);

/// Whether whoever has started this process wants it not to hear a signal, as nohup does.
fn is_ignored(signal: Signal) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal as i32 - 1) & 1 == 1)
}

impl Crew {
    /// Runs one command after another.
    async fn lane(self: Rc<Self>) {
        while let Some(job) = self.next_job() {
            let mut outcome = job.run(&self).await;
            self.state.borrow_mut().running.remove(&job.number);
            if let Err(err) = self.report.ended(&job, &outcome).await {
                let captured = outcome.captured().cloned().map(Box::new);
                outcome.captured = Err(Failed::NotCaptured(err.to_string(), captured));
            }
            let failed = outcome.has_failed();
            self.state.borrow_mut().outcomes.push(outcome);
            if failed && !self.args.keep_going {
                self.stop();
            }
        }
    }

    fn next_job(&self) -> Option<Job> {
        let mut state = self.state.borrow_mut();
        if state.stopping {
            return None;
        }
        let command = self.args.commands.get(state.next)?;
        state.next += 1;
        Some(Job::new(state.next, command))
    }

    /// A command is running.
    pub(crate) fn started(&self, job: &Job, handle: Handle) {
        self.state.borrow_mut().running.insert(job.number, handle);
    }

    /// Starts nothing more, and asks what runs to end.
    fn stop(&self) {
        let mut state = self.state.borrow_mut();
        state.stopping = true;
        state.running.values().for_each(Handle::stop);
    }

    /// None if they cannot be heard.
    fn signals(&self) -> Option<Signals> {
        let all = [Signal::Int, Signal::Term, Signal::Hup, Signal::Quit];
        Signals::new(all.into_iter().filter(|signal| !is_ignored(*signal)))
            .inspect_err(|err| self.report.note(&format!("signals will not be passed on: {err}")))
            .ok()
    }

    /// The first Ctrl-C asks, the others kill. Comes to an end when they have had their time, and nobody reads what they
    /// have to say.
    async fn listen(&self, signals: &mut Option<Signals>) {
        let Some(signals) = signals else { return future::pending().await };
        let mut end = self.state.borrow().signal.map_or_else(Timer::never, |_| Timer::after(WORDS));
        let mut next = async |end: &mut Timer| {
            let over = async {
                end.await;
                None
            };
            future::or(async { signals.next().await?.ok() }, over).await
        };
        while let Some(signal) = next(&mut end).await {
            let first = self.state.borrow_mut().signal.replace(signal).is_none();
            self.stop();
            let is_idle = self.state.borrow().running.is_empty();
            if first && signal != Signal::Quit {
                end.set_after(self.args.grace + WORDS);
                if !is_idle {
                    self.report.note("asking all commands to end; once more kills them");
                }
            } else {
                end.set_after(WORDS);
                if !is_idle {
                    self.report.note("killing all commands");
                }
                self.state.borrow().running.values().for_each(Handle::kill);
            }
        }
    }

    /// Keeps the progress line fresh.
    async fn tick(self: Rc<Self>) {
        const PERIOD: Duration = Duration::from_millis(100);
        if !self.args.progress {
            return future::pending().await;
        }
        loop {
            Timer::after(PERIOD).await;
            self.report.progress(&self.progress()).await;
        }
    }

    fn progress(&self) -> String {
        let state = self.state.borrow();
        let failed = state.outcomes.iter().filter(|outcome| outcome.has_failed()).count();
        let failed = if failed > 0 { format!(", {failed} failed") } else { String::new() };
        format!(
            "{}/{} done, {} running{failed}, {:.0} s",
            state.outcomes.len(),
            self.args.commands.len(),
            state.running.len(),
            self.start.elapsed().as_secs_f64()
        )
    }

    fn code_of_signal(&self) -> Option<u8> {
        self.state.borrow().signal.map(|signal| 128 + signal as u8)
    }

    async fn finish(&self) -> u8 {
        let mut outcomes = std::mem::take(&mut self.state.borrow_mut().outcomes);
        outcomes.sort_by_key(|outcome| outcome.number);
        let shown = self.report.summary(self.args.commands.len(), &outcomes, self.start.elapsed()).await;
        if let Some(code) = self.code_of_signal() {
            return code;
        }
        let failed = outcomes.iter().filter(|outcome| outcome.has_failed()).map(Outcome::code);
        failed.chain(shown.is_err().then_some(NOT_CAPTURED)).max().unwrap_or(0)
    }
}

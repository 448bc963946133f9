//! Child processes.

use std::io;
use std::sync::Arc;

use rustix::process::Signal;
use serde_json::{Value, json};
use smol_transports::{PipeTransport, SubprocessTransport};

use super::{Endpoint, Outcome, closing};
use crate::kind::kind_of;
use crate::recorder::{Recorder, Supervising};
use crate::scenario::{Style, What};

/// The signals that scenarios may name.
const SIGNALS: [(&str, Signal); 31] = [
    ("SIGABRT", Signal::ABORT),
    ("SIGALRM", Signal::ALARM),
    ("SIGBUS", Signal::BUS),
    ("SIGCHLD", Signal::CHILD),
    ("SIGCONT", Signal::CONT),
    ("SIGFPE", Signal::FPE),
    ("SIGHUP", Signal::HUP),
    ("SIGILL", Signal::ILL),
    ("SIGINT", Signal::INT),
    ("SIGIO", Signal::IO),
    ("SIGKILL", Signal::KILL),
    ("SIGPIPE", Signal::PIPE),
    ("SIGPROF", Signal::PROF),
    ("SIGPWR", Signal::POWER),
    ("SIGQUIT", Signal::QUIT),
    ("SIGSEGV", Signal::SEGV),
    ("SIGSTKFLT", Signal::STKFLT),
    ("SIGSTOP", Signal::STOP),
    ("SIGSYS", Signal::SYS),
    ("SIGTERM", Signal::TERM),
    ("SIGTRAP", Signal::TRAP),
    ("SIGTSTP", Signal::TSTP),
    ("SIGTTIN", Signal::TTIN),
    ("SIGTTOU", Signal::TTOU),
    ("SIGURG", Signal::URG),
    ("SIGUSR1", Signal::USR1),
    ("SIGUSR2", Signal::USR2),
    ("SIGVTALRM", Signal::VTALARM),
    ("SIGWINCH", Signal::WINCH),
    ("SIGXCPU", Signal::XCPU),
    ("SIGXFSZ", Signal::XFSZ),
];

impl Endpoint for SubprocessTransport {
    closing!();

    fn check(&self, what: &What) -> Option<Value> {
        Some(match what {
            // The handle itself tells what there is to know about the process.
            What::Extra(name) => json!(name == "subprocess"),
            What::HasPipe(fd) => json!(pipe(self, *fd).is_some()),
            What::PidPositive => json!(self.pid() > 0),
            What::Returncode => json!(self.returncode()),
            _ => return None,
        })
    }

    fn kill(&self) -> Outcome {
        outcome(self.kill())
    }

    fn pid(&self) -> Option<u32> {
        Some(self.pid())
    }

    fn pipe(&self, fd: i64) -> Option<Arc<dyn Endpoint>> {
        match pipe(self, fd)? {
            PipeTransport::Read(pipe) => Some(Arc::new(pipe)),
            PipeTransport::Write(pipe) => Some(Arc::new(pipe)),
            _ => None,
        }
    }

    fn send_signal(&self, name: &str) -> Outcome {
        let signal = SIGNALS.iter().find(|(known, _)| *known == name);
        let (_, signal) = signal.ok_or("not_supported")?;
        outcome(self.send_signal(signal.as_raw()))
    }

    fn set_protocol(&self, recorder: Recorder) -> Outcome {
        if recorder.spec().style != Style::Subprocess {
            return Err("invalid_input");
        }
        self.set_protocol(Supervising(recorder));
        Ok(())
    }

    fn terminate(&self) -> Outcome {
        outcome(self.terminate())
    }
}

fn pipe(transport: &SubprocessTransport, fd: i64) -> Option<PipeTransport> {
    transport.pipe_fd(i32::try_from(fd).ok()?)
}

fn outcome(result: io::Result<()>) -> Outcome {
    result.map_err(|err| kind_of(&err))
}

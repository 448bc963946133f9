//! The bars that the crate is held to, each measured and said to be met or missed.

use std::io::{self, Write};

use crate::args::{self, Plan};
use crate::children::{self, Task};
use crate::machine::{self, Pin};
use crate::report::{failure, geometric_mean, median, ratios};
use crate::rounds::{self, Sample, Table};
use crate::servers::{self, Server};
use crate::workload::Workload;
use crate::{calls, memory};

/// Workloads that are measured together, and what is asked of them.
struct Group {
    title: &'static str,
    /// As after `--only`.
    workloads: &'static str,
    servers: &'static [&'static str],
    pins: &'static [Pin],
    bars: &'static [Bar],
}

/// What is asked of a server, as a ratio to another one that ran beside it.
struct Bar {
    server: &'static str,
    base: &'static str,
    figure: Figure,
    cells: Cells,
    asked: Asked,
}

#[derive(Clone, Copy)]
enum Figure {
    Rate,
    Cpu,
    P99,
}

/// Which workloads of a group count.
#[derive(Clone, Copy)]
enum Cells {
    /// The geometric mean of all.
    Mean,
    /// The geometric mean of those with so many connections or more.
    Onward(usize),
    /// That with so many connections.
    Of(usize),
    /// The one that comes off worst.
    Worst,
}

#[derive(Clone, Copy)]
enum Asked {
    AtLeast(f64),
    AtMost(f64),
}

use Asked::{AtLeast, AtMost};
use Cells::{Mean, Of, Onward, Worst};
use Figure::{Cpu, P99, Rate};

const fn ours(base: &'static str, figure: Figure, cells: Cells, asked: Asked) -> Bar {
    Bar { server: "ours", base, figure, cells, asked }
}

const fn local(base: &'static str, figure: Figure, cells: Cells, asked: Asked) -> Bar {
    Bar { server: "ours-local", base, figure, cells, asked }
}

const BOTH: &[Pin] = &[Pin::Same, Pin::Split];

const GROUPS: &[Group] = &[
    Group {
        title: "TCP echo",
        workloads: "tcp-echo",
        servers: &["tokio-ct", "epoll", "smol-local", "uvloop", "asyncio", "ours", "ours-local"],
        pins: BOTH,
        bars: &[
            ours("tokio-ct", Rate, Mean, AtLeast(1.0)),
            ours("tokio-ct", Cpu, Mean, AtMost(1.0)),
            ours("tokio-ct", Rate, Worst, AtLeast(0.93)),
            ours("tokio-ct", Cpu, Worst, AtMost(1.07)),
            ours("uvloop", Rate, Mean, AtLeast(1.1)),
            ours("asyncio", Rate, Mean, AtLeast(1.25)),
            ours("epoll", Rate, Mean, AtLeast(0.95)),
            local("smol-local", Rate, Mean, AtLeast(1.05)),
            local("tokio-ct", Rate, Of(10), AtLeast(0.88)),
            local("tokio-ct", Rate, Onward(100), AtLeast(0.97)),
        ],
    },
    Group {
        title: "Unix echo, 64 B",
        workloads: "unix-echo-64x",
        servers: &["tokio-ct", "ours"],
        pins: BOTH,
        bars: &[
            ours("tokio-ct", Rate, Of(1), AtLeast(1.25)),
            ours("tokio-ct", Rate, Of(10), AtLeast(1.0)),
            ours("tokio-ct", Rate, Of(100), AtLeast(1.0)),
        ],
    },
    Group {
        title: "TCP streaming",
        workloads: "tcp-stream",
        servers: &["tokio-ct", "ours"],
        pins: &[Pin::Same],
        bars: &[
            ours("tokio-ct", Rate, Of(1), AtLeast(1.0)),
            ours("tokio-ct", Rate, Of(10), AtLeast(1.0)),
            ours("tokio-ct", Rate, Of(100), AtLeast(1.8)),
        ],
    },
    Group {
        title: "echo beside 4 streams",
        workloads: "tcp-beside",
        servers: &["tokio-ct", "ours"],
        pins: BOTH,
        bars: &[ours("tokio-ct", P99, Mean, AtMost(0.5))],
    },
    Group {
        title: "connect, echo, close",
        workloads: "tcp-connect",
        servers: &["tokio-ct", "ours"],
        pins: &[Pin::Split],
        bars: &[ours("tokio-ct", Rate, Mean, AtLeast(1.0))],
    },
    Group {
        title: "64 B written by another thread",
        workloads: "tcp-answer",
        servers: &["queue", "thread"],
        pins: &[Pin::Same],
        bars: &[
            Bar { server: "thread", base: "queue", figure: Rate, cells: Of(1), asked: AtLeast(1.2) },
            Bar { server: "thread", base: "queue", figure: Rate, cells: Of(20), asked: AtLeast(1.2) },
        ],
    },
    Group {
        title: "UDP echo, 64 B",
        workloads: "udp-echo-64x",
        servers: &["tokio-ct", "ours"],
        pins: &[Pin::Same],
        bars: &[ours("tokio-ct", Rate, Of(1), AtLeast(1.0)), ours("tokio-ct", Rate, Of(10), AtLeast(1.0))],
    },
];

/// Measures all bars and prints each as it is known.
pub(crate) fn print(plan: &Plan) -> io::Result<()> {
    let mut out = io::stdout();
    let (rounds, secs) = (plan.rounds, plan.time.as_secs_f64());
    writeln!(out, "# Bars\n\n{}; {rounds} rounds of {secs} s\n", machine::describe())?;
    writeln!(out, "| work | cores | figure | against | asked | here | |\n|---|---|---|---|---|---|---|")?;
    for group in GROUPS {
        for pin in group.pins {
            group.measure(plan, *pin, &mut out).or_else(|err| writeln!(out, "\n{}", failure(group.title, &err)))?;
        }
    }
    others(plan, &mut out).or_else(|err| writeln!(out, "\n{}", failure("the others", &err)))
}

impl Group {
    fn measure(&self, plan: &Plan, pin: Pin, out: &mut impl Write) -> io::Result<()> {
        let servers = self.servers.iter().filter_map(|name| servers::by_name(name));
        let servers: Vec<&Server> = servers.filter(|server| servers::check(server).is_ok()).collect();
        let workloads = args::workloads(self.workloads)?;
        let table = rounds::take(&Plan { servers, ..plan.clone() }, pin, &workloads)?;
        self.bars.iter().try_for_each(|bar| {
            let figure = format!("{}{}", bar.figure.name(), bar.cells.name());
            let start = format!("| {}, {} | {} | {figure} | {} ", self.title, bar.server, cores(pin), bar.base);
            match bar.value(&workloads, &table) {
                Some(value) => writeln!(out, "{start}| {}", bar.asked.answer(value)),
                None => writeln!(out, "{start}| {} | not here | |", bar.asked.text()),
            }
        })
    }
}

impl Bar {
    /// None if one of the two was not there.
    fn value(&self, workloads: &[Workload], table: &Table) -> Option<f64> {
        let place = |name| table.servers.iter().position(|server| server.name == name);
        let (index, base) = (place(self.server)?, place(self.base)?);
        let cells = workloads.iter().zip(&table.samples).filter(|(workload, _)| self.cells.has(workload.connections));
        let values = cells.map(|(_, rounds)| median(ratios(rounds, index, base, self.figure.of())));
        Some(match (self.cells, self.asked) {
            (Worst, AtLeast(_)) => values.fold(f64::INFINITY, f64::min),
            (Worst, AtMost(_)) => values.fold(0.0, f64::max),
            _ => geometric_mean(values),
        })
    }
}

impl Figure {
    const fn name(self) -> &'static str {
        match self {
            Rate => "rate",
            Cpu => "CPU",
            P99 => "p99",
        }
    }

    const fn of(self) -> fn(&Sample) -> f64 {
        match self {
            Rate => |sample| sample.rate,
            Cpu => |sample| sample.cpu,
            P99 => |sample| sample.p99,
        }
    }
}

impl Cells {
    fn name(self) -> String {
        match self {
            Mean => ", mean".to_owned(),
            Onward(connections) => format!(", mean from x{connections} on"),
            Of(connections) => format!(", x{connections}"),
            Worst => ", worst".to_owned(),
        }
    }

    const fn has(self, connections: usize) -> bool {
        match self {
            Mean | Worst => true,
            Onward(least) => connections >= least,
            Of(exactly) => connections == exactly,
        }
    }
}

impl Asked {
    fn text(self) -> String {
        match self {
            AtLeast(bound) => format!("≥ {bound}"),
            AtMost(bound) => format!("≤ {bound}"),
        }
    }

    /// The last cells of a row. What counts is what is shown.
    fn answer(self, value: f64) -> String {
        let shown = (value * 100.0).round() / 100.0;
        let met = match self {
            AtLeast(bound) => shown >= bound,
            AtMost(bound) => shown <= bound,
        };
        format!("{} | {shown} | {} |", self.text(), if met { "met" } else { "**missed**" })
    }
}

const fn cores(pin: Pin) -> &'static str {
    match pin {
        Pin::Same => "one",
        Pin::Split => "two",
        Pin::None => "any",
    }
}

/// What is no ratio of rates.
fn others(plan: &Plan, out: &mut impl Write) -> io::Result<()> {
    let ours = servers::by_name("ours").ok_or(io::ErrorKind::NotFound)?;
    let bytes = memory::of_idle(ours, &[plan.idle()])?[0];
    let memory = AtMost(700.0).answer(bytes.round());
    writeln!(out, "| idle connection, ours | | resident bytes | | {memory}")?;
    for (connections, most) in [(1, 3.0), (100, 2.05)] {
        let calls = AtMost(most).answer(calls::of_echo(ours, connections)?);
        writeln!(out, "| TCP echo 64 B, ours | | system calls, x{connections} | | {calls}")?;
    }
    for Task { name, title, pin } in children::TASKS {
        let times = children::relative_times(plan, name, &["async-process", "ours", "ours on a driver"])?;
        for (way, time) in ["ours", "ours on a driver"].iter().zip(&times[1..]) {
            writeln!(out, "| {title}, {way} | {} | time | async-process | {}", cores(pin), AtMost(1.0).answer(*time))?;
        }
    }
    Ok(())
}

//! The tables: the base in numbers of this machine, the others as ratios to it.

use std::fmt::Write;
use std::io;

use crate::args::Plan;
use crate::machine::{self, Pin};
use crate::rounds::{Rounds, Sample, Table};
use crate::workload::{Kind, Workload};

const NOTE: &str = "\
**Only ratios count**: absolute numbers are those of one machine and one moment. The first row of a table is the rate and
the server's processor time for one message (one MiB for streams); the other rows are `rate ratio / CPU ratio` to it,
medians of the ratios within each round, and last their geometric mean. A rate above 1 is faster, a CPU below 1 is
cheaper, and CPU is the steadier of the two. Beside streams the two are the rate of the streams and the time that 99 of
100 echoes come back in.
";

pub(crate) fn preface(plan: &Plan) -> String {
    let (rounds, secs) = (plan.rounds, plan.time.as_secs_f64());
    format!("# Side by side\n\n{}; {rounds} rounds of {secs} s\n\n{NOTE}", machine::describe())
}

/// In the place of a table that could not be made; the others are.
pub(crate) fn failure(title: &str, err: &io::Error) -> String {
    format!("### {title}\n\nNot measured: {err}.\n")
}

pub(crate) const fn pinning(pin: Pin) -> &'static str {
    match pin {
        Pin::Same => "Server and load on one core",
        Pin::Split => "Server and load on two cores",
        Pin::None => "Server and load on any core",
    }
}

/// The table of workloads that belong together.
pub(crate) fn table(group: &[Workload], table: &Table) -> String {
    let mut out = String::new();
    let titles: Vec<String> = group.iter().map(Workload::column).collect();
    let _ = writeln!(out, "### {}\n\n| | {} | mean |", group[0].table(), titles.join(" | "));
    let _ = writeln!(out, "|---|{}", "---|".repeat(titles.len() + 1));
    for (index, server) in table.servers.iter().enumerate() {
        let cells = group.iter().zip(&table.samples).map(|(workload, rounds)| match index {
            0 => absolute(workload, rounds),
            _ => pair(relative(workload, rounds, index)),
        });
        let cells = cells.collect::<Vec<_>>().join(" | ");
        let _ = writeln!(out, "| {} | {cells} | {} |", server.name, mean(group, &table.samples, index));
    }
    let _ = writeln!(out, "\n{}", scatter(&table.samples));
    out
}

/// What is looked at besides the rate.
fn cost(workload: &Workload) -> fn(&Sample) -> f64 {
    match workload.kind {
        Kind::Beside => |sample| sample.p99,
        _ => |sample| sample.cpu,
    }
}

fn absolute(workload: &Workload, rounds: &Rounds) -> String {
    let rate = median(rounds.iter().map(|round| round[0].rate));
    let cost = median(rounds.iter().map(|round| cost(workload)(&round[0])));
    let unit = workload.unit_name();
    let rate = if rate < 10_000.0 { format!("{rate:.0}") } else { format!("{:.1}k", rate / 1000.0) };
    format!("{rate} {unit}/s, {cost:.2} us")
}

fn relative(workload: &Workload, rounds: &Rounds, index: usize) -> (f64, f64) {
    let rate = median(ratios(rounds, index, 0, |sample| sample.rate));
    (rate, median(ratios(rounds, index, 0, cost(workload))))
}

fn pair((rate, cost): (f64, f64)) -> String {
    format!("{rate:.2} / {cost:.2}")
}

/// The geometric mean of a row.
fn mean(group: &[Workload], samples: &[Rounds], index: usize) -> String {
    if index == 0 {
        return String::new();
    }
    let cells = group.iter().zip(samples).map(|(workload, rounds)| relative(workload, rounds, index));
    let (rates, costs): (Vec<f64>, Vec<f64>) = cells.unzip();
    pair((geometric_mean(rates.into_iter()), geometric_mean(costs.into_iter())))
}

pub(crate) fn geometric_mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value.ln(), count + 1.0));
    f64::exp(sum / count)
}

/// What one server has come to, in each round, as a ratio to the one at `base`.
pub(crate) fn ratios(rounds: &Rounds, index: usize, base: usize, of: fn(&Sample) -> f64) -> impl Iterator<Item = f64> {
    rounds.iter().map(move |round| of(&round[index]) / of(&round[base]))
}

/// How far the rounds lie apart: a run on a busy machine shows itself here.
fn scatter(samples: &[Rounds]) -> String {
    let spreads = samples.iter().flat_map(|rounds| {
        let servers = rounds.first().map_or(0, Vec::len);
        (1..servers).map(|index| quartile_spread(ratios(rounds, index, 0, |sample| sample.cpu)))
    });
    let spreads: Vec<f64> = spreads.collect();
    let worst = spreads.iter().copied().fold(0.0, f64::max);
    let usual = median(spreads.into_iter());
    format!("Scatter of the CPU ratios over the rounds (between the quartiles): {usual:.3} usual, {worst:.3} worst.")
}

fn quartile_spread(values: impl Iterator<Item = f64>) -> f64 {
    let values = sorted(values);
    let at = |part: usize| values.get(values.len() * part / 4).or(values.last()).copied().unwrap_or(0.0);
    at(3) - at(1)
}

pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let values = sorted(values);
    match values.len() {
        0 => 0.0,
        count if count % 2 == 1 => values[count / 2],
        count => (values[count / 2 - 1] + values[count / 2]) / 2.0,
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

//! The table: the base in numbers of this machine, the others as ratios to it.

use std::fmt::Write;

use crate::args::Plan;
use crate::machine;
use crate::rounds::{Rounds, Sample};
use crate::workload::Workload;

const NOTE: &str = "\
**Only ratios count**: absolute numbers are those of one machine and one moment. The first row is the rate and the
server's processor time for one message (one MiB for streams); the other rows are `rate ratio / CPU ratio` to it, medians
of the ratios within each round. A rate above 1 is faster, a CPU below 1 is cheaper, and CPU is the steadier of the two.
";

pub(crate) fn markdown(plan: &Plan, samples: &[Rounds]) -> String {
    let mut out = String::new();
    let (rounds, secs) = (plan.rounds, plan.time.as_secs_f64());
    let pin = format!("{:?}", plan.pin).to_lowercase();
    let _ = writeln!(out, "{}; {rounds} rounds of {secs} s, cores: {pin}\n\n{NOTE}", machine::describe());
    header(&mut out, plan);
    for (index, server) in plan.servers.iter().enumerate() {
        let cells = plan.workloads.iter().zip(samples).map(|(workload, rounds)| match index {
            0 => absolute(workload, rounds),
            _ => relative(rounds, index),
        });
        let _ = writeln!(out, "| {} | {} |", server.name, cells.collect::<Vec<_>>().join(" | "));
    }
    let _ = writeln!(out, "\n{}", scatter(samples));
    out
}

fn header(out: &mut String, plan: &Plan) {
    let titles: Vec<String> = plan.workloads.iter().map(Workload::title).collect();
    let _ = writeln!(out, "| | {} |\n|---|{}", titles.join(" | "), "---|".repeat(titles.len()));
}

fn absolute(workload: &Workload, rounds: &Rounds) -> String {
    let rate = median(rounds.iter().map(|round| round[0].rate));
    let cpu = median(rounds.iter().map(|round| round[0].cpu));
    let unit = workload.unit_name();
    let rate = if rate < 10_000.0 { format!("{rate:.0}") } else { format!("{:.1}k", rate / 1000.0) };
    format!("{rate} {unit}/s, {cpu:.2} us")
}

fn relative(rounds: &Rounds, index: usize) -> String {
    let rate = median(ratios(rounds, index, |sample| sample.rate));
    let cpu = median(ratios(rounds, index, |sample| sample.cpu));
    format!("{rate:.2} / {cpu:.2}")
}

fn ratios(rounds: &Rounds, index: usize, of: fn(&Sample) -> f64) -> impl Iterator<Item = f64> {
    rounds.iter().map(move |round| of(&round[index]) / of(&round[0]))
}

/// How far the rounds lie apart: a run on a busy machine shows itself here.
fn scatter(samples: &[Rounds]) -> String {
    let spreads = samples.iter().flat_map(|rounds| {
        let servers = rounds.first().map_or(0, Vec::len);
        (1..servers).map(|index| quartile_spread(ratios(rounds, index, |sample| sample.cpu)))
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

fn median(values: impl Iterator<Item = f64>) -> f64 {
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

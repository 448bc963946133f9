//! What became of the scenarios.

use std::cmp::max;

/// What became of one scenario.
pub(crate) enum Verdict {
    AsRecorded,
    /// On which backend the trace differs, and it beside the good trace that is closest to it.
    Differs(&'static str, Vec<String>),
    /// Why the runner cannot perform it yet.
    NotSupported(String),
    /// What is wrong with the file.
    Unreadable(String),
}

/// How many scenarios came to which end.
#[derive(Default)]
pub(crate) struct Tally {
    as_recorded: usize,
    differ: usize,
    not_supported: usize,
    unreadable: usize,
}

impl Verdict {
    /// Judges a trace of a backend: it is right if it equals any of the good ones.
    pub(crate) fn on(backend: &'static str, got: &[String], good: &[Vec<String>]) -> Self {
        if good.iter().any(|trace| trace == got) {
            return Self::AsRecorded;
        }
        let closest = good
            .iter()
            .map(|trace| compare(trace, got))
            .min_by_key(|diff| diff.iter().filter(|line| !line.starts_with(' ')).count());
        Self::Differs(backend, closest.unwrap_or_default())
    }

    /// Whether the trace is right.
    pub(crate) fn is_good(&self) -> bool {
        matches!(self, Self::AsRecorded)
    }

    /// Says what there is to say about it, and counts it.
    pub(crate) fn report(self, name: &str, tally: &mut Tally) {
        match self {
            Self::AsRecorded => tally.as_recorded += 1,
            Self::Differs(backend, lines) => {
                tally.differ += 1;
                println!("differs: {name} (on {backend}; - expected, + got)");
                lines.iter().for_each(|line| println!("    {line}"));
            }
            Self::NotSupported(why) => {
                tally.not_supported += 1;
                println!("not supported yet: {name} ({why})");
            }
            Self::Unreadable(why) => {
                tally.unreadable += 1;
                println!("unreadable: {name} ({why})");
            }
        }
    }
}

impl Tally {
    /// Prints the numbers. Returns whether all is well.
    pub(crate) fn print(&self, filtered_out: usize) -> bool {
        let failed = self.differ + self.unreadable;
        println!(
            "\ntest result: {}. {} passed; {failed} failed; {} ignored; 0 measured; \
             {filtered_out} filtered out\n",
            if failed == 0 { "ok" } else { "FAILED" },
            self.as_recorded,
            self.not_supported,
        );
        let unreadable = match self.unreadable {
            0 => String::new(),
            count => format!(", {count} unreadable"),
        };
        println!(
            "conformance: {} as recorded, {} differ, {} not supported{unreadable}",
            self.as_recorded, self.differ, self.not_supported,
        );
        failed == 0
    }
}

/// Shows how to come from one list of lines to the other.
fn compare(old: &[String], new: &[String]) -> Vec<String> {
    let common = common_lines(old, new);
    let (mut i, mut j) = (0, 0);
    let mut diff = Vec::new();
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            diff.push(format!("  {}", old[i]));
            (i, j) = (i + 1, j + 1);
        } else if i < old.len() && (j == new.len() || common[i + 1][j] >= common[i][j + 1]) {
            diff.push(format!("- {}", old[i]));
            i += 1;
        } else {
            diff.push(format!("+ {}", new[j]));
            j += 1;
        }
    }
    diff
}

/// For each pair of positions, how many lines can be kept from there on.
fn common_lines(old: &[String], new: &[String]) -> Vec<Vec<usize>> {
    let mut common = vec![vec![0; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] =
                if old[i] == new[j] { common[i + 1][j + 1] + 1 } else { max(common[i + 1][j], common[i][j + 1]) };
        }
    }
    common
}

/// Compares two short lists.
pub(crate) fn self_check() {
    let lines = |text: &str| text.chars().map(String::from).collect::<Vec<_>>();
    let diff = compare(&lines("abcd"), &lines("abxde"));
    assert_eq!(diff, ["  a", "  b", "- c", "+ x", "  d", "+ e"]);
}

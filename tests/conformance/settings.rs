//! What the command line and the environment ask for.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use crate::backend::Backend;

/// Flags of the standard test harness that are followed by a value.
const FLAGS_WITH_VALUE: [&str; 7] =
    ["--color", "--format", "--logfile", "--shuffle-seed", "--skip", "--test-threads", "-Z"];

/// What the command line and the environment ask for.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Where the scenarios are.
    pub(crate) scenarios: Vec<PathBuf>,
    /// Where to put the traces, if anywhere.
    pub(crate) traces: Option<PathBuf>,
    /// On which backends to run each scenario.
    pub(crate) backends: Vec<Backend>,
    /// Where the certificates are.
    pub(crate) tls: PathBuf,
    /// How often each scenario is run.
    pub(crate) repeat: usize,
    /// How many scenarios run at once.
    pub(crate) jobs: usize,
    /// How long nothing may happen for the library side to count as idle.
    pub(crate) quiet: Duration,
    /// Whether to name the scenarios instead of running them.
    pub(crate) list: bool,
    /// Whether only the ignored tests are asked for; there are none.
    pub(crate) ignored: bool,
    /// Parts of names, or whole names, of the scenarios to run; all if there are none.
    filters: Vec<String>,
    exact: bool,
    skip: Vec<String>,
}

impl Settings {
    /// # Errors
    ///
    /// If the environment asks for a backend that there is not.
    pub(crate) fn new() -> io::Result<Self> {
        let mut settings = Self::from_environment()?;
        let mut args = env::args().skip(1);
        while let Some(arg) = args.next() {
            settings.read(&arg, &mut args);
        }
        Ok(settings)
    }

    fn from_environment() -> io::Result<Self> {
        let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance");
        let path = |name| env::var_os(name).map(PathBuf::from);
        let own = || ["scenarios", "scenarios-own"].map(|name| home.join(name)).into();
        Ok(Self {
            scenarios: path("CONFORMANCE_DIR").map_or_else(own, |path| vec![path]),
            traces: path("CONFORMANCE_TRACES"),
            backends: backends()?,
            tls: path("CONFORMANCE_TLS").unwrap_or_else(|| home.join("tls")),
            repeat: number("CONFORMANCE_REPEAT", 1),
            jobs: number("CONFORMANCE_JOBS", 4),
            quiet: Duration::from_millis(number("CONFORMANCE_SETTLE_MS", 40)),
            list: false,
            ignored: false,
            filters: Vec::new(),
            exact: false,
            skip: Vec::new(),
        })
    }

    fn read(&mut self, arg: &str, rest: &mut impl Iterator<Item = String>) {
        let (flag, value) = match arg.split_once('=') {
            Some((flag, value)) => (flag, Some(value.to_owned())),
            None if FLAGS_WITH_VALUE.contains(&arg) => (arg, rest.next()),
            None => (arg, None),
        };
        match (flag, value) {
            ("--exact", _) => self.exact = true,
            ("--ignored", _) => self.ignored = true,
            ("--list", _) => self.list = true,
            ("--skip", Some(name)) => self.skip.push(name),
            _ if arg.starts_with('-') => {}
            _ => self.filters.push(arg.to_owned()),
        }
    }

    /// Whether a scenario is to be run.
    pub(crate) fn wants(&self, name: &str) -> bool {
        let is_meant = |filter: &String| if self.exact { filter == name } else { name.contains(filter.as_str()) };
        !self.ignored
            && (self.filters.is_empty() || self.filters.iter().any(is_meant))
            && !self.skip.iter().any(is_meant)
    }
}

/// The backends that the environment asks for; all if it does not say.
fn backends() -> io::Result<Vec<Backend>> {
    let Some(wanted) = env::var_os("CONFORMANCE_BACKEND") else { return Ok(Backend::ALL.to_vec()) };
    let found = Backend::ALL.iter().find(|backend| *backend.name() == wanted);
    found.map(|backend| vec![*backend]).ok_or_else(|| {
        let names: Vec<_> = Backend::ALL.iter().map(|backend| backend.name()).collect();
        io::Error::other(format!("CONFORMANCE_BACKEND is {wanted:?}, not {}", names.join(" or ")))
    })
}

/// A number from the environment.
fn number<N: FromStr>(name: &str, default: N) -> N {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

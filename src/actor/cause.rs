//! The cause of a loss, which several waiters are told.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

/// An error that can be told again and again: kind and OS code are kept, the source is shared.
#[derive(Clone, Debug)]
pub(crate) struct Cause(Arc<io::Error>);

/// An error whose `source` is the first one.
#[derive(Debug)]
struct Shared(Arc<io::Error>);

impl Cause {
    pub(crate) fn new(err: io::Error) -> Self {
        Self(Arc::new(err))
    }

    pub(crate) fn to_error(&self) -> io::Error {
        if let Some(code) = self.0.raw_os_error() {
            return io::Error::from_raw_os_error(code);
        }
        match self.0.get_ref() {
            None => io::Error::from(self.0.kind()),
            Some(_) => io::Error::new(self.0.kind(), Shared(self.0.clone())),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Shared {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.get_ref().map(|inner| inner as &(dyn Error + 'static))
    }
}

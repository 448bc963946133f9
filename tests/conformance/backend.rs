//! What waits for descriptors on the library side.

use std::future::Future;

/// What the thread of the library side blocks in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    AsyncIo,
    #[cfg(target_os = "linux")]
    Driver,
}

impl Backend {
    /// All that this system has.
    pub(crate) const ALL: &[Self] = &[
        Self::AsyncIo,
        #[cfg(target_os = "linux")]
        Self::Driver,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::AsyncIo => "async-io",
            #[cfg(target_os = "linux")]
            Self::Driver => "driver",
        }
    }

    /// Runs a future on this thread.
    pub(crate) fn block_on<T>(self, future: impl Future<Output = T>) -> T {
        match self {
            Self::AsyncIo => smol::block_on(future),
            #[cfg(target_os = "linux")]
            Self::Driver => smol_transports::driver::block_on(future),
        }
    }
}

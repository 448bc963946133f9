//! Locks and atomics between threads: std's, or those of a model checker, which tries the orders in which threads can
//! come. What only one thread touches, and what is counted only, needs none of these.

#[cfg(not(all(test, any(model = "loom", model = "shuttle"))))]
pub(crate) use {
    event_listener::{Event, EventListener},
    std::sync::{Mutex, MutexGuard, PoisonError, atomic},
};

#[cfg(all(test, model = "loom"))]
pub(crate) use {
    loom::sync::{Mutex, MutexGuard, atomic},
    std::sync::PoisonError,
};

#[cfg(all(test, model = "shuttle"))]
pub(crate) use {
    shuttle::sync::{Mutex, MutexGuard, atomic},
    std::sync::PoisonError,
};

#[cfg(all(test, any(model = "loom", model = "shuttle")))]
pub(crate) mod check;
#[cfg(all(test, any(model = "loom", model = "shuttle")))]
mod event;
#[cfg(all(test, any(model = "loom", model = "shuttle")))]
pub(crate) use event::{Event, EventListener};

/// `thread_local!`: a thread of a model is no thread of the system.
macro_rules! per_thread {
    ($(#[$attribute:meta])* static $name:ident: $type:ty = $init:expr;) => {
        #[cfg(not(all(test, any(model = "loom", model = "shuttle"))))]
        std::thread_local! { $(#[$attribute])* static $name: $type = const { $init }; }
        #[cfg(all(test, model = "loom"))]
        loom::thread_local! { $(#[$attribute])* static $name: $type = $init; }
        #[cfg(all(test, model = "shuttle"))]
        shuttle::thread_local! { $(#[$attribute])* static $name: $type = $init; }
    };
}
pub(crate) use per_thread;

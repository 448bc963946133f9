//! The future of a builder that has nothing to wait for.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Makes what a builder describes when it is first polled.
///
/// # Panics
///
/// Polling it again after it has resolved panics.
#[must_use = "nothing happens until it is awaited"]
#[derive(Debug)]
pub struct Deferred<B>(Option<B>);

impl<B> Deferred<B> {
    pub(crate) const fn new(builder: B) -> Self {
        Self(Some(builder))
    }
}

pub(crate) mod sealed {
    /// A builder that can make its thing at once.
    pub trait Build {
        type Output;

        fn build(self) -> Self::Output;
    }
}

impl<B: sealed::Build> Future for Deferred<B> {
    type Output = B::Output;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<B::Output> {
        let builder = self.get_mut().0.take().expect("the future has resolved already");
        Poll::Ready(builder.build())
    }
}

// Nothing is ever pinned inside.
impl<B> Unpin for Deferred<B> {}

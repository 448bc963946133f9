//! What a job answers, and the future that waits for it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::mailbox::Mailbox;
use crate::sync::{EventListener, Mutex, PoisonError};

/// Where a job leaves its answer.
#[derive(Debug)]
pub(crate) struct Report<R>(Mutex<Option<io::Result<R>>>);

impl<R> Default for Report<R> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<R> Report<R> {
    pub(crate) fn set(&self, answer: io::Result<R>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
    }

    fn take(&self) -> Option<io::Result<R>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The answer of a job that was queued; the cause of the loss if that comes before.
#[derive(Debug)]
pub(crate) struct Answer<R> {
    mailbox: Arc<Mailbox>,
    report: Arc<Report<R>>,
    listener: Option<EventListener>,
}

impl<R> Answer<R> {
    pub(crate) const fn new(mailbox: Arc<Mailbox>, report: Arc<Report<R>>) -> Self {
        Self { mailbox, report, listener: None }
    }

    fn now(&self) -> Option<io::Result<R>> {
        // The end is looked at first: nothing is reported after it.
        let lost = self.mailbox.why_lost();
        self.report.take().or_else(|| lost.map(Err))
    }
}

impl<R> Future for Answer<R> {
    type Output = io::Result<R>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<R>> {
        loop {
            if let Some(answer) = self.now() {
                return Poll::Ready(answer);
            }
            if let Some(listener) = &mut self.listener {
                ready!(Pin::new(listener).poll(cx));
                self.listener = None;
            } else {
                self.listener = Some(self.mailbox.listen_for_progress());
            }
        }
    }
}

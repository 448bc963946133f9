//! The actor of a child process: a write side, two read sides, and an exit.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::delivery::{Delivery, Messages, Payload, Receive, keep};
use super::mailbox::{Mailbox, Sight, Stage, View};
use super::send_side::SendSide;
use super::stream::StreamActor;
use crate::io::child::{Exit, Process};
use crate::message::{Event, ProcessEvent};
use crate::protocol::{OnEof, Pipe};
use crate::state::lifecycle::Input;
use crate::state::limits::WriteLimits;
use crate::state::marks::Marks;

/// Rounds of one poll.
const ROUNDS: usize = 16;

/// Turns of reading at the exit: a pipe may have been made to hold four times as much as one turn reads.
const TURNS: usize = 5;

/// The messages of child processes.
#[derive(Debug)]
pub(crate) enum Processes {}

impl Messages for Processes {
    type Event<'a> = ProcessEvent<'a>;
    type Answer = ();
    type Side = ProcessSide;

    fn input(event: &ProcessEvent<'_>) -> Input {
        match event {
            ProcessEvent::ConnectionMade => Input::ConnectionMade,
            ProcessEvent::ConnectionLost(_) => Input::ConnectionLost,
            _ => Input::ChildEvent,
        }
    }

    /// Those of the pipes are counted there.
    fn size(_: &ProcessEvent<'_>) -> usize {
        0
    }

    fn news(news: Infallible) -> ProcessEvent<'static> {
        match news {}
    }

    fn lost(exc: Option<io::Error>) -> ProcessEvent<'static> {
        ProcessEvent::ConnectionLost(exc)
    }
}

/// What keeps a process from ending: to the mailbox it is a queue that empties when nothing is left to wait for.
#[derive(Debug)]
pub(crate) struct ProcessSide {
    marks: Marks,
    over: bool,
    /// How often a pipe has told a pause.
    pub(crate) told: usize,
    /// The child has exited and its pipes have ended before anybody closed it.
    pub(crate) by_itself: bool,
}

impl ProcessSide {
    pub(crate) fn new() -> Self {
        Self { marks: Marks::new(WriteLimits::default(), false), over: false, told: 0, by_itself: false }
    }
}

impl SendSide for ProcessSide {
    type News = Infallible;
    type Outlet = Infallible;
    type Spent = Infallible;

    fn name(&self) -> &'static str {
        "child"
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn is_blocked(&self) -> bool {
        true
    }

    fn unblock(&mut self) {}

    fn is_empty(&self) -> bool {
        self.over
    }

    fn size(&self) -> usize {
        0
    }

    fn marks(&self) -> &Marks {
        &self.marks
    }

    fn marks_mut(&mut self) -> &mut Marks {
        &mut self.marks
    }

    fn tell(&mut self) -> Option<(Input, Self::News)> {
        None
    }

    fn has_news(&self) -> bool {
        false
    }

    fn forgive(&mut self) {}

    fn clear(&mut self) {
        self.over = true;
    }

    fn take_spent(&mut self) -> Vec<Infallible> {
        Vec::new()
    }

    fn take_outlet(&mut self) -> Option<Self::Outlet> {
        None
    }
}

/// Owns the pipes and waits for the exit; is lent its protocol at each poll.
pub(crate) struct ProcessActor {
    mailbox: Arc<Mailbox<ProcessSide>>,
    sight: Sight,
    process: Arc<Process>,
    pipes: Vec<(Pipe, StreamActor)>,
    /// Taken when the child has exited.
    exit: Option<Box<dyn Exit>>,
    lost: bool,
    payload: Option<Payload>,
    _alive: crate::stats::Alive,
}

impl ProcessActor {
    pub(crate) fn new(
        mailbox: Arc<Mailbox<ProcessSide>>,
        process: Arc<Process>,
        exit: Box<dyn Exit>,
        pipes: Vec<(Pipe, StreamActor)>,
    ) -> Self {
        let alive = crate::stats::Alive::new();
        let exit = Some(exit);
        Self { mailbox, sight: Sight::NEW, process, pipes, exit, lost: false, payload: None, _alive: alive }
    }

    /// Tells the protocol that the child is running: the first callback.
    pub(crate) fn made(&mut self, receive: &mut dyn Receive<Processes>) {
        let _polling = self.mailbox.polling();
        crate::stats::made();
        for (pipe, actor) in &mut self.pipes {
            let losses = &mut Vec::new();
            actor.made(&mut PipeReceive { pipe: *pipe, receive, mailbox: &self.mailbox, losses });
        }
        // What the protocol writes now goes into pipes that are open already; their opening is told to nobody.
        self.delivery(receive).deliver(ProcessEvent::ConnectionMade);
    }

    /// Ready when `connection_lost` was called and everything is let go of.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, receive: &mut dyn Receive<Processes>) -> Poll<()> {
        if self.lost {
            return Poll::Ready(());
        }
        let _polling = self.mailbox.polling();
        self.mailbox.begin_poll(cx.waker(), &mut self.sight);
        for _ in 0..ROUNDS {
            self.poll_pipes(cx, receive);
            self.poll_exit(cx, receive);
            if self.poll_end(receive).is_ready() {
                return Poll::Ready(());
            }
            if self.mailbox.park(&mut self.sight.view) {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Ends at once: the child is killed, `connection_lost` is called unless it was.
    pub(crate) fn end(&mut self, receive: &mut dyn Receive<Processes>) {
        if !self.lost {
            self.mailbox.abort(None);
            self.lose(receive);
        }
    }

    /// What a callback panicked with, if one did.
    pub(crate) fn take_payload(&mut self) -> Option<Payload> {
        self.payload.take()
    }

    fn delivery<'a>(&'a mut self, receive: &'a mut dyn Receive<Processes>) -> Delivery<'a, Processes> {
        let payload = &mut self.payload;
        Delivery { mailbox: &self.mailbox, receive, payload, waker: Waker::noop(), view: View::NEW, reads: 0 }
    }

    /// Tells what the pipes have to say: first what all of them have, then which have ended, in the order of their
    /// descriptors. After a panic nothing but the end is told.
    fn poll_pipes(&mut self, cx: &mut Context<'_>, receive: &mut dyn Receive<Processes>) {
        if self.payload.is_some() {
            return;
        }
        let mut losses = Vec::new();
        let mut panic = None;
        self.pipes.retain_mut(|(pipe, actor)| {
            if panic.is_some() {
                return true;
            }
            let mut receive = PipeReceive { pipe: *pipe, receive, mailbox: &self.mailbox, losses: &mut losses };
            let done = actor.poll(cx, &mut receive).is_ready();
            panic = actor.take_payload();
            !done
        });
        if let Some(payload) = panic {
            let exc = keep(&mut self.payload, payload);
            self.mailbox.panicked(exc);
        }
        self.tell_losses(losses, receive);
    }

    /// Each pipe is lost once, after all that it had to say, and whatever else has happened.
    fn tell_losses(&mut self, losses: Losses, receive: &mut dyn Receive<Processes>) {
        for (pipe, exc) in losses {
            self.delivery(receive).call(ProcessEvent::PipeConnectionLost(pipe, exc));
        }
    }

    fn poll_exit(&mut self, cx: &mut Context<'_>, receive: &mut dyn Receive<Processes>) {
        // After a panic nothing but the end is told.
        let Some(exit) = self.exit.as_mut().filter(|_| self.payload.is_none()) else { return };
        if let Poll::Ready(status) = self.process.poll_exit(&mut **exit, cx) {
            self.exit = None;
            // What the child has written, and the end of its pipes, came before the exit but may be reported after it.
            self.pipes.iter_mut().for_each(|(_, actor)| actor.look_again());
            for _ in 0..TURNS {
                self.poll_pipes(cx, receive);
            }
            self.delivery(receive).deliver(ProcessEvent::ProcessExited(status));
        }
    }

    fn poll_end(&mut self, receive: &mut dyn Receive<Processes>) -> Poll<()> {
        if self.mailbox.stage() == Stage::Flushing {
            self.shut_down();
        }
        if self.exit.is_none() && self.pipes.is_empty() {
            self.mailbox.finish();
        }
        match self.mailbox.stage() {
            Stage::Alive | Stage::Flushing => Poll::Pending,
            Stage::Leaving | Stage::Ended => {
                self.lose(receive);
                Poll::Ready(())
            }
        }
    }

    /// Carries `close()` out: the handle has killed the child and closed the pipes; what keeps one open beyond the exit
    /// is cut.
    fn shut_down(&self) {
        if self.exit.is_none() {
            self.pipes.iter().for_each(|(_, actor)| actor.mailbox().abort(None));
        }
    }

    fn lose(&mut self, receive: &mut dyn Receive<Processes>) {
        self.lost = true;
        let is_cut = self.exit.is_some() || !self.pipes.is_empty();
        if is_cut {
            // There may be nobody left to kill.
            let _ = self.process.kill();
        }
        let mut losses = Vec::new();
        for (pipe, mut actor) in self.pipes.drain(..) {
            actor.end(&mut PipeReceive { pipe, receive, mailbox: &self.mailbox, losses: &mut losses });
        }
        self.tell_losses(losses, receive);
        self.process.let_go();
        self.exit = None;
        self.delivery(receive).lose();
        self.mailbox.bury();
        self.mailbox.announce();
    }
}

/// Turns the events of a pipe into those of its child.
struct PipeReceive<'a> {
    pipe: Pipe,
    receive: &'a mut dyn Receive<Processes>,
    mailbox: &'a Mailbox<ProcessSide>,
    /// Where losses wait to be told.
    losses: &'a mut Losses,
}

/// Pipes that have ended, and why.
type Losses = Vec<(Pipe, Option<io::Error>)>;

impl Receive for PipeReceive<'_> {
    fn event(&mut self, event: Event<'_>) -> OnEof {
        let pipe = self.pipe;
        if let Some(parcel) = self.mailbox.take_protocol() {
            self.receive.renew(parcel);
        }
        match event {
            Event::DataReceived(data) => self.receive.event(ProcessEvent::PipeDataReceived(pipe, data)),
            Event::PauseWriting => {
                self.receive.event(ProcessEvent::PauseWriting(pipe));
                self.mailbox.told();
            }
            Event::ResumeWriting => self.receive.event(ProcessEvent::ResumeWriting(pipe)),
            Event::ConnectionLost(exc) => self.losses.push((pipe, exc)),
            Event::ConnectionMade | Event::EofReceived | Event::BufferUpdated(_) => {}
        }
        OnEof::Close
    }

    fn has_room(&mut self, waker: &Waker) -> bool {
        self.receive.has_room(waker)
    }
}

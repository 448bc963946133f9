//! The life cycle of a transport, as one table.
//!
//! Everything that decides which callback may follow which stands in [`TABLE`]: the actors ask it before each
//! callback, the tests walk it, and `ARCHITECTURE.md` shows it.

/// Where a transport is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Made, but the protocol does not know yet.
    Start,
    /// Both directions are open.
    Open,
    /// The peer has finished; the protocol chose to keep its own side open.
    PeerEof,
    /// The peer has finished, and there is no own side to keep open; the protocol does not know yet.
    HungUp,
    /// The user has closed; what is buffered is still sent.
    Closing,
    /// Nothing is sent or received any more; `connection_lost` is due.
    Ended,
    /// `connection_lost` was called.
    Lost,
}

/// What happens to a transport: a callback that is about to be made, or a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    ConnectionMade,
    DataReceived,
    /// A datagram could not be sent or received; the endpoint lives on.
    ErrorReceived,
    EofReceived,
    PauseWriting,
    ResumeWriting,
    ConnectionLost,
    /// A child has exited, or one of its pipes has something to tell.
    ChildEvent,
    /// The peer of a one-way stream has finished.
    HangUp,
    /// `close()`: stop reading, send what is buffered.
    Close,
    /// `abort()`, a fatal error, or the end of the flush after `close()`.
    End,
}

/// Every transition there is. What is not listed is refused and changes nothing.
pub(crate) const TABLE: &[(State, Input, State)] = {
    use Input::*;
    use State::*;
    &[
        (Start, ConnectionMade, Open),
        (Start, End, Ended),
        (Open, DataReceived, Open),
        (Open, ErrorReceived, Open),
        (Open, EofReceived, PeerEof),
        (Open, ChildEvent, Open),
        (Open, HangUp, HungUp),
        (Open, PauseWriting, Open),
        (Open, ResumeWriting, Open),
        (Open, Close, Closing),
        (Open, End, Ended),
        (PeerEof, PauseWriting, PeerEof),
        (PeerEof, ResumeWriting, PeerEof),
        (PeerEof, Close, Closing),
        (PeerEof, End, Ended),
        (HungUp, EofReceived, Closing),
        (HungUp, End, Ended),
        (Closing, ErrorReceived, Closing),
        (Closing, ChildEvent, Closing),
        (Closing, PauseWriting, Closing),
        (Closing, ResumeWriting, Closing),
        (Closing, End, Ended),
        (Ended, ErrorReceived, Ended),
        (Ended, PauseWriting, Ended),
        (Ended, ConnectionLost, Lost),
    ]
};

/// Holds the present state and moves it along the table.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    state: State,
}

impl Lifecycle {
    pub(crate) const fn new() -> Self {
        Self { state: State::Start }
    }

    pub(crate) const fn state(&self) -> State {
        self.state
    }

    /// Takes the transition for `input`; false if there is none.
    pub(crate) fn step(&mut self, input: Input) -> bool {
        let row = TABLE.iter().find(|(from, on, _)| (*from, *on) == (self.state, input));
        if let Some((_, _, to)) = row {
            self.state = *to;
        }
        row.is_some()
    }

    /// `is_closing()`: true from the first `close()`, `abort()` or fatal error on.
    pub(crate) fn is_closing(&self) -> bool {
        !matches!(self.state, State::Start | State::Open | State::PeerEof)
    }

    /// Whether bytes written now still reach the peer.
    pub(crate) fn takes_writes(&self) -> bool {
        matches!(self.state, State::Open | State::PeerEof | State::Closing)
    }

    /// Whether received bytes may still be delivered.
    pub(crate) fn wants_data(&self) -> bool {
        self.state == State::Open
    }
}

#[cfg(test)]
mod tests;

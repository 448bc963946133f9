//! Walks the table.

use std::collections::{HashSet, VecDeque};

use proptest::prelude::*;

use super::{Input, Lifecycle, State, TABLE};

const STATES: [State; 7] =
    [State::Start, State::Open, State::PeerEof, State::HungUp, State::Closing, State::Ended, State::Lost];

const INPUTS: [Input; 11] = [
    Input::ConnectionMade,
    Input::DataReceived,
    Input::EofReceived,
    Input::PauseWriting,
    Input::ResumeWriting,
    Input::ConnectionLost,
    Input::ErrorReceived,
    Input::ChildEvent,
    Input::HangUp,
    Input::Close,
    Input::End,
];

fn at(state: State) -> Lifecycle {
    Lifecycle { state }
}

fn row(state: State, input: Input) -> Option<State> {
    TABLE.iter().find(|(from, on, _)| (*from, *on) == (state, input)).map(|(_, _, to)| *to)
}

fn rows() -> impl Iterator<Item = (State, Input, State)> {
    TABLE.iter().copied()
}

fn states_with(input: Input) -> Vec<State> {
    STATES.into_iter().filter(|state| row(*state, input).is_some()).collect()
}

#[test]
fn a_life_begins_at_the_start() {
    let life = Lifecycle::new();
    assert_eq!(life.state(), State::Start);
    assert!(!life.is_closing() && !life.takes_writes() && !life.wants_data());
}

#[test]
fn every_pair_stands_in_the_table_once_at_most() {
    let mut seen = Vec::new();
    for (from, on, _) in rows() {
        assert!(!seen.contains(&(from, on)), "{from:?} on {on:?} is listed twice");
        seen.push((from, on));
    }
}

#[test]
fn a_step_follows_the_table_and_anything_else_changes_nothing() {
    for state in STATES {
        for input in INPUTS {
            let mut life = at(state);
            let expected = row(state, input);
            assert_eq!(life.step(input), expected.is_some(), "{state:?} on {input:?}");
            assert_eq!(life.state(), expected.unwrap_or(state), "{state:?} on {input:?}");
        }
    }
}

fn reachable(from: State) -> Vec<State> {
    let mut seen = vec![from];
    let mut queue = VecDeque::from([from]);
    while let Some(state) = queue.pop_front() {
        for (_, _, to) in rows().filter(|(from, _, _)| *from == state) {
            if !seen.contains(&to) {
                seen.push(to);
                queue.push_back(to);
            }
        }
    }
    seen
}

#[test]
fn every_state_can_be_reached() {
    let seen = reachable(State::Start);
    assert!(STATES.iter().all(|state| seen.contains(state)), "{seen:?}");
}

#[test]
fn the_loss_can_be_reached_from_everywhere() {
    for state in STATES {
        assert!(reachable(state).contains(&State::Lost), "no way out of {state:?}");
    }
}

#[test]
fn nothing_follows_the_loss() {
    assert!(INPUTS.iter().all(|input| row(State::Lost, *input).is_none()));
}

#[test]
fn no_way_leads_back() {
    let rank = |state| STATES.iter().position(|known| *known == state).unwrap();
    assert!(rows().all(|(from, _, to)| rank(from) <= rank(to)));
}

#[test]
fn each_callback_has_its_states() {
    use Input::*;
    assert_eq!(states_with(ConnectionMade), [State::Start]);
    assert_eq!(states_with(DataReceived), [State::Open]);
    assert_eq!(states_with(EofReceived), [State::Open, State::HungUp]);
    assert_eq!(states_with(HangUp), [State::Open]);
    assert_eq!(states_with(ErrorReceived), [State::Open, State::Closing, State::Ended]);
    assert_eq!(states_with(ChildEvent), [State::Open, State::Closing]);
    assert_eq!(states_with(ConnectionLost), [State::Ended]);
    let open = [State::Open, State::PeerEof, State::Closing];
    // A pause that was latched before the end is told all the same.
    assert_eq!(states_with(PauseWriting), [&open[..], &[State::Ended]].concat());
    assert_eq!(states_with(ResumeWriting), open);
}

#[test]
fn the_questions_follow_the_state() {
    let where_true =
        |question: fn(&Lifecycle) -> bool| STATES.into_iter().filter(|state| question(&at(*state))).collect::<Vec<_>>();
    assert_eq!(where_true(Lifecycle::is_closing), [State::HungUp, State::Closing, State::Ended, State::Lost]);
    assert_eq!(where_true(Lifecycle::takes_writes), [State::Open, State::PeerEof, State::Closing]);
    assert_eq!(where_true(Lifecycle::wants_data), [State::Open]);
}

/// The grammar of the callbacks, written down a second time: what must hold for `input` to be accepted.
fn grammar_allows(past: &[Input], input: Input) -> bool {
    let seen: HashSet<_> = past.iter().map(|input| *input as u8).collect();
    let was = |input: Input| seen.contains(&(input as u8));
    let open = was(Input::ConnectionMade) && !was(Input::End);
    let at_eof = was(Input::EofReceived);
    let closing = was(Input::Close) || (was(Input::HangUp) && at_eof);
    let hung_up = was(Input::HangUp) && !at_eof;
    let ended = was(Input::End) && !was(Input::ConnectionLost);
    match input {
        Input::ConnectionMade => past.is_empty(),
        Input::DataReceived | Input::HangUp => open && !at_eof && !closing && !hung_up,
        Input::EofReceived => open && !at_eof && !closing,
        Input::ChildEvent => open && (closing || !at_eof) && !hung_up,
        Input::ErrorReceived => (open && (closing || !at_eof) && !hung_up) || ended,
        Input::PauseWriting => (open && !hung_up) || ended,
        Input::ResumeWriting => open && !hung_up,
        Input::Close => open && !closing && !hung_up,
        Input::End => !was(Input::End),
        Input::ConnectionLost => ended,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_keeps_to_the_grammar(inputs in prop::collection::vec(prop::sample::select(&INPUTS[..]), 0..40)) {
        let mut life = Lifecycle::new();
        let mut past = Vec::new();
        for input in inputs {
            let before = life.state();
            let taken = life.step(input);
            prop_assert_eq!(taken, grammar_allows(&past, input), "{:?} after {:?}", input, past);
            if taken {
                past.push(input);
            } else {
                prop_assert_eq!(life.state(), before);
            }
            let closing = [Input::Close, Input::End, Input::HangUp].iter().any(|input| past.contains(input));
            prop_assert_eq!(life.is_closing(), closing);
        }
    }
}

use super::*;

const PLAN: Plan = Plan {
    limit: Some(Duration::from_secs(60)),
    idle: Some(Duration::from_secs(10)),
    first_output: Some(Duration::from_secs(5)),
    grace: Duration::from_secs(3),
    drain: Duration::from_secs(1),
};

const NONE: Plan = Plan { limit: None, idle: None, first_output: None, ..PLAN };

/// A run that time is told to in seconds from its start.
struct Run {
    course: Course,
    start: Instant,
}

impl Run {
    fn new(plan: Plan) -> Self {
        let start = Instant::now();
        Self { course: Course::new(plan, start), start }
    }

    fn at(&self, seconds: u64) -> Instant {
        self.start + Duration::from_secs(seconds)
    }

    fn next(&mut self, seconds: u64) -> Option<Action> {
        let now = self.at(seconds);
        self.course.next(now)
    }

    fn output(&mut self, seconds: u64) {
        self.course.output(self.at(seconds));
    }

    fn exit(&mut self, seconds: u64) {
        self.course.exit(self.at(seconds));
    }

    fn deadline(&self) -> Option<u64> {
        self.course.deadline().map(|at| (at - self.start).as_secs())
    }

    fn paused(&mut self, paused: bool, seconds: u64) {
        let now = self.at(seconds);
        self.course.set_paused(paused, now);
    }
}

#[test]
fn without_limits_nothing_is_due() {
    let mut run = Run::new(NONE);
    assert_eq!((run.next(1_000_000), run.deadline()), (None, None));
    assert_eq!(run.course.end(), End::Exit);
}

#[test]
fn it_asks_and_then_kills() {
    let mut run = Run::new(NONE);
    run.course.stop(End::Stopped);
    assert_eq!(run.next(7), Some(Action::Terminate));
    assert_eq!((run.next(9), run.deadline()), (None, Some(10)));
    assert!(!run.course.was_killed());
    assert_eq!(run.next(10), Some(Action::Kill));
    assert!(run.course.was_killed());
    assert_eq!((run.next(100), run.deadline()), (None, None));
}

#[test]
fn without_grace_it_kills() {
    for plan in [Plan { grace: Duration::ZERO, ..NONE }, NONE] {
        let mut run = Run::new(plan);
        run.course.kill();
        assert_eq!((run.next(0), run.next(0)), (Some(Action::Kill), None));
    }
}

#[test]
fn killing_cuts_the_grace_short() {
    let mut run = Run::new(NONE);
    run.course.stop(End::Stopped);
    assert_eq!((run.next(0), run.next(1)), (Some(Action::Terminate), None));
    run.course.kill();
    assert_eq!(run.next(1), Some(Action::Kill));
}

#[test]
fn the_first_reason_counts() {
    let mut run = Run::new(PLAN);
    run.course.stop(End::Failed);
    run.course.stop(End::Stopped);
    run.next(100);
    assert_eq!(run.course.end(), End::Failed);
}

#[test]
fn each_limit_ends_it() {
    let mut first = Run::new(PLAN);
    assert_eq!((first.next(4), first.deadline()), (None, Some(5)));
    assert_eq!(first.next(5), Some(Action::Terminate));
    assert_eq!(first.course.end(), End::FirstOutputLimit);

    let mut idle = Run::new(PLAN);
    idle.output(4);
    assert_eq!((idle.next(13), idle.deadline()), (None, Some(14)));
    assert_eq!(idle.next(14), Some(Action::Terminate));
    assert_eq!(idle.course.end(), End::IdleLimit);

    let mut limit = Run::new(PLAN);
    for second in 0..60 {
        limit.output(second);
        assert_eq!(limit.next(second), None);
    }
    assert_eq!(limit.next(60), Some(Action::Terminate));
    assert_eq!(limit.course.end(), End::Limit);
}

#[test]
fn a_full_sink_is_nobodys_silence() {
    let mut run = Run::new(Plan { limit: None, ..PLAN });
    run.output(1);
    run.paused(true, 2);
    assert_eq!((run.next(50), run.deadline()), (None, None));
    run.paused(false, 50);
    assert_eq!((run.next(59), run.deadline()), (None, Some(60)));
    assert_eq!(run.next(60), Some(Action::Terminate));
}

#[test]
fn pipes_are_cut_some_time_after_the_exit() {
    let mut run = Run::new(NONE);
    run.exit(20);
    assert_eq!((run.next(20), run.deadline()), (None, Some(21)));
    assert_eq!((run.next(21), run.next(22)), (Some(Action::Cut), None));
    assert_eq!(run.course.end(), End::Exit);
}

#[test]
fn what_cannot_be_read_is_not_cut() {
    let mut run = Run::new(NONE);
    run.paused(true, 10);
    run.exit(20);
    assert_eq!((run.next(100), run.deadline()), (None, None));
    run.paused(false, 100);
    assert_eq!((run.next(100), run.deadline()), (None, Some(101)));
}

#[test]
fn a_limit_cuts_what_cannot_be_read() {
    let mut run = Run::new(PLAN);
    run.output(0);
    run.paused(true, 0);
    run.exit(20);
    assert_eq!((run.next(59), run.deadline()), (None, Some(60)));
    assert_eq!(run.next(60), Some(Action::Cut));
    assert_eq!(run.course.end(), End::Limit);
}

#[test]
fn after_the_exit_there_is_no_silence() {
    let mut run = Run::new(Plan { drain: Duration::from_secs(30), ..PLAN });
    run.exit(1);
    assert_eq!((run.next(30), run.deadline()), (None, Some(31)));
}

#[test]
fn what_holds_a_pipe_has_the_grace_of_the_child() {
    let mut run = Run::new(NONE);
    run.course.stop(End::Stopped);
    assert_eq!(run.next(10), Some(Action::Terminate));
    run.exit(10);
    assert_eq!((run.next(12), run.deadline()), (None, Some(13)));
    assert_eq!(run.next(13), Some(Action::Cut));
}

#[test]
fn time_in_which_a_sink_has_no_room_is_nobody_s_silence_before_the_first_output_either() {
    let mut run = Run::new(PLAN);
    run.paused(true, 0);
    run.paused(false, 50);
    assert_eq!((run.next(54), run.deadline()), (None, Some(55)));
    assert_eq!(run.next(55), Some(Action::Terminate));
    assert_eq!(run.course.end(), End::FirstOutputLimit);
}

#[test]
fn a_limit_or_a_stop_after_the_exit_only_makes_an_end_of_waiting() {
    for ask in [false, true] {
        let mut run = Run::new(Plan { limit: Some(Duration::from_secs(60)), drain: Duration::from_secs(10), ..NONE });
        run.exit(55);
        assert_eq!(run.deadline(), Some(60));
        if ask {
            run.course.stop(End::Stopped);
        }
        assert_eq!(run.next(if ask { 56 } else { 60 }), Some(Action::Cut));
        assert_eq!((run.course.end(), run.deadline()), (End::Exit, None));
    }
}

#[test]
fn a_limit_after_the_exit_counts_while_a_sink_has_no_room() {
    let mut run = Run::new(PLAN);
    run.paused(true, 1);
    run.exit(2);
    assert_eq!(run.next(60), Some(Action::Cut));
    assert_eq!(run.course.end(), End::Limit);
}

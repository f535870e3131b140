//! Which code clawinit leaves with, by hand: how the last generation ended, what was asked for, what
//! the options say.

use clawinit::config::{CodeSet, Config};
use clawinit::core::{End, State, Status, Stop, exit_code};
use clawinit::signal::Signal;
use std::time::Duration;

const EXITED: fn(u8) -> End = |code| End::Reaped(Status::Exited(code));
const KILLED: End = ended_by(Signal::KILL);
const TERMINATED: End = ended_by(Signal::TERM);

const fn ended_by(signal: Signal) -> End {
    End::Reaped(Status::Signaled { signal, core_dumped: false })
}

/// What is asked and known beside the end.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Story {
    ByItself,
    Stopped,
    StoppedTooLate,
    GaveUp,
    GaveUpAndStopped,
    Failed,
    FailedAndStopped,
}

use Story::{
    ByItself, Failed, FailedAndStopped, GaveUp, GaveUpAndStopped, Stopped, StoppedTooLate,
};

fn code(config: &Config, last: Option<End>, story: Story) -> u8 {
    let mut state = State::new(1);
    state.last = last;
    state.gave_up = matches!(story, GaveUp | GaveUpAndStopped);
    state.failed = matches!(story, Failed | FailedAndStopped);
    if matches!(story, Stopped | StoppedTooLate | GaveUpAndStopped | FailedAndStopped) {
        let (at, overdue) = (Duration::ZERO, story == StoppedTooLate);
        state.stop = Some(Stop { signal: Signal::TERM, at, deadline: at, overdue });
    }
    exit_code(config, &state)
}

fn codes(codes: &[u8]) -> CodeSet {
    let mut set = CodeSet::EMPTY;
    codes.iter().for_each(|code| set.insert(*code));
    set
}

#[track_caller]
fn rows(config: &Config, rows: &[(End, Story, u8)]) {
    for (end, story, expected) in rows {
        assert_eq!(code(config, Some(*end), *story), *expected, "{end:?}, {story:?}");
    }
}

#[test]
fn without_any_option_it_is_the_childs() {
    let rows_of_all = [
        (EXITED(0), ByItself, 0),
        (EXITED(3), ByItself, 3),
        (EXITED(75), ByItself, 75),
        (KILLED, ByItself, 137),
        (TERMINATED, ByItself, 143),
        (TERMINATED, Stopped, 143),
        (EXITED(0), Stopped, 0),
        (EXITED(3), Stopped, 3),
        // It wanted to be restarted and was stopped.
        (EXITED(75), Stopped, 0),
        (EXITED(75), StoppedTooLate, 0),
        (KILLED, StoppedTooLate, 137),
        (End::NotStarted(127), ByItself, 127),
        (End::NotStarted(126), Stopped, 126),
        (End::Survived, ByItself, 137),
        (End::Survived, StoppedTooLate, 137),
    ];
    rows(&Config::new(), &rows_of_all);
    assert_eq!(code(&Config::new(), None, ByItself), 125, "nothing was ever tried");
}

#[test]
fn success_codes_are_0_and_no_start_or_survivor_is() {
    let config = Config { success_codes: codes(&[3, 127, 137, 143]), ..Config::new() };
    let rows_of_it = [
        (EXITED(3), ByItself, 0),
        (EXITED(4), ByItself, 4),
        (TERMINATED, ByItself, 0),
        (TERMINATED, Stopped, 0),
        (KILLED, StoppedTooLate, 0),
        (End::NotStarted(127), ByItself, 127),
        (End::Survived, ByItself, 137),
    ];
    rows(&config, &rows_of_it);
}

#[test]
fn the_code_of_a_stop_is_that_of_one_that_was_done_in_time() {
    let config = Config {
        stop_exit_code: Some(9),
        success_codes: codes(&[3]),
        restart_codes: codes(&[75]),
        ..Config::new()
    };
    let rows_of_it = [
        (EXITED(0), Stopped, 9),
        (EXITED(3), Stopped, 9),
        (EXITED(75), Stopped, 9),
        (TERMINATED, Stopped, 9),
        (End::NotStarted(127), Stopped, 9),
        (EXITED(4), ByItself, 4),
        (EXITED(4), StoppedTooLate, 4),
        (EXITED(3), StoppedTooLate, 0),
        (EXITED(75), StoppedTooLate, 0),
        (KILLED, StoppedTooLate, 137),
        (End::Survived, Stopped, 137),
        (End::Survived, StoppedTooLate, 137),
    ];
    rows(&config, &rows_of_it);
}

/// An on-failure policy of the platform is to see that the work was not done.
#[test]
fn work_that_was_not_done_is_no_success_but_after_a_stop() {
    let config = Config { success_codes: codes(&[3]), ..Config::new() };
    let rows_of_it = [
        (EXITED(0), GaveUp, 1),
        (EXITED(3), GaveUp, 1),
        (EXITED(4), GaveUp, 4),
        (EXITED(0), Failed, 1),
        (EXITED(3), Failed, 1),
        (EXITED(4), Failed, 4),
        (KILLED, Failed, 137),
        (EXITED(0), GaveUpAndStopped, 0),
        (EXITED(3), FailedAndStopped, 0),
    ];
    rows(&config, &rows_of_it);
}

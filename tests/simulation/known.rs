//! Schedules that the simulation has found a defect with, made small and written down: a seed
//! stands for another schedule as soon as anything is added to what a seed can be.

use crate::run;
use crate::schedule::{
    Attack, End, Fault, Fork, From, INT, MS, Mode, Options, Pids, Program, Reaction, SECOND, Say,
    Schedule, TERM, Time, USR1, When, Words,
};
use std::rc::Rc;

/// Which of them breaks a promise again.
pub fn broken() -> Vec<String> {
    let mut broken = Vec::new();
    for (name, plan) in schedules() {
        // Once as it is, and with clawinit held up for long at each of its first calls.
        let stalls = [20 * MS, 3 * SECOND];
        let held_up = (0..400).flat_map(|nth| stalls.map(|time| Fault::Stall { nth, time }));
        for fault in std::iter::once(None).chain(held_up.map(Some)) {
            let mut plan = plan.clone();
            plan.faults.extend(fault);
            if let Some(what) = run::schedule(Rc::new(plan), false).broken {
                broken.push(format!("{name}, {fault:?}: {what}"));
                break;
            }
        }
    }
    broken
}

fn schedules() -> [(&'static str, Schedule); 6] {
    let plain = Program::PLAIN;
    [
        ("a second stop signal during a sweep, after a stop delay", {
            let slow = Reaction::Ends(3 * SECOND, End::Exit(0));
            let left = Program { on_term: slow, ..plain.clone() };
            let child = Program {
                life: Some((100 * MS, End::Exit(0))),
                forks: vec![fork(When::AtItsEnd, false, left)],
                ..plain.clone()
            };
            let options = Options {
                stop_grace: Some(500 * MS),
                stop_delay: Some(SECOND),
                ..Options::DEFAULT
            };
            plan(options, child, vec![attack(MS, INT), attack(900 * MS, TERM)])
        }),
        ("the child's pid comes again while others are reaped", {
            let short = Program { life: Some((MS / 2, End::Exit(9))), ..plain.clone() };
            let between = Program {
                forks: vec![fork(When::After(MS), true, short)],
                own_group: true,
                ..plain.clone()
            };
            let child = Program {
                life: Some((100 * MS, End::Exit(3))),
                forks: vec![fork(When::AtItsEnd, false, between)],
                ..plain.clone()
            };
            plan(Options::DEFAULT, child, Vec::new())
        }),
        ("a child that ends by SIGKILL while clawinit is held up", {
            let child = Program { on_term: Reaction::Ignores, ..plain.clone() };
            let options = Options { stop_grace: Some(100 * MS), ..Options::DEFAULT };
            plan(options, child, vec![attack(MS, TERM)])
        }),
        ("a sign of life that waits to be read at the deadline", {
            let child = Program { signs: Some((19 * MS, SECOND)), ..plain.clone() };
            plan(Options { watchdog: Some(20 * MS), ..Options::DEFAULT }, child, Vec::new())
        }),
        ("a child that need not say that it is ready says that it stops", {
            let child = Program {
                life: Some((2 * SECOND, End::Exit(75))),
                says: vec![Say { when: When::After(1_900 * MS), words: Words::Stopping }],
                ..plain.clone()
            };
            let options = Options {
                watchdog: Some(60 * SECOND),
                stable_after: Some(SECOND),
                restart: Some(Mode::OnFailure),
                ..Options::DEFAULT
            };
            plan(options, child, Vec::new())
        }),
        ("ready in place after it was asked to end", {
            let child = Program {
                on_term: Reaction::Ends(500 * MS, End::Exit(0)),
                says: vec![Say { when: When::After(19 * MS), words: Words::Ready }],
                ..plain.clone()
            };
            let options =
                Options { notify: true, start_grace: Some(MS), in_place: true, ..Options::DEFAULT };
            plan(options, child, vec![attack(2 * MS, USR1)])
        }),
    ]
}

fn plan(options: Options, child: Program, attacks: Vec<Attack>) -> Schedule {
    Schedule {
        seed: 0,
        options,
        programs: vec![Rc::new(child)],
        attacks,
        strangers: Vec::new(),
        faults: Vec::new(),
        pids: Pids { last: 90, lowest: true },
        helpers: Vec::new(),
        answers: 0,
        end: 5 * SECOND,
    }
}

fn attack(at: Time, signal: u8) -> Attack {
    Attack { at, signal, from: From::Outside }
}

fn fork(when: When, orphan: bool, program: Program) -> Fork {
    Fork { when, orphan, program: Rc::new(program) }
}

//! What is left of a schedule that breaks a promise, once everything is taken out that it does
//! so without.

use crate::run::{self, Outcome};
use crate::schedule::{Options, Program, Schedule};
use std::fmt::Write;
use std::rc::Rc;

/// How many lines of its history are shown.
const LINES: usize = 60;

/// The schedule of a seed, made smaller, with its history.
pub fn report(seed: u64) -> String {
    let (plan, outcome) = smallest(Schedule::of(seed));
    let mut text = format!("\nseed {seed}: {}\n", outcome.broken.unwrap_or_default());
    let _ = writeln!(text, "{plan}  what happens:");
    let skipped = outcome.trace.len().saturating_sub(LINES);
    if skipped > 0 {
        let _ = writeln!(text, "    ... {skipped} lines before");
    }
    for line in &outcome.trace[skipped..] {
        let _ = writeln!(text, "    {line}");
    }
    let _ = writeln!(text, "  again: make simulate N=1 SEED={seed}");
    text
}

/// What is broken, in words without numbers: another promise would be another story.
pub fn kind(broken: &str) -> String {
    broken.chars().filter(|c| !c.is_ascii_digit()).take(70).collect()
}

fn smallest(plan: Schedule) -> (Rc<Schedule>, Outcome) {
    let mut best = Rc::new(plan);
    let broke = run::schedule(best.clone(), false).broken.map(|what| kind(&what));
    // Each round tries every smaller schedule once; most need three.
    'smaller: for _ in 0..200 {
        for candidate in candidates(&best) {
            let candidate = Rc::new(candidate);
            let breaks = run::schedule(candidate.clone(), false).broken.map(|what| kind(&what));
            if breaks.is_some() && breaks == broke {
                best = candidate;
                continue 'smaller;
            }
        }
        break;
    }
    let outcome = run::schedule(best.clone(), true);
    (best, outcome)
}

/// Schedules that are a little simpler, the boldest first.
fn candidates(plan: &Schedule) -> Vec<Schedule> {
    let mut all = Vec::new();
    let mut add = |change: &dyn Fn(&mut Schedule)| {
        let mut smaller = plan.clone();
        change(&mut smaller);
        all.push(smaller);
    };
    if plan.attacks.len() > 1 {
        let half = plan.attacks.len() / 2;
        add(&|s| _ = s.attacks.drain(..half));
        add(&|s| s.attacks.truncate(half));
    }
    for n in 0..plan.attacks.len() {
        add(&|s| _ = s.attacks.remove(n));
    }
    for n in 0..plan.strangers.len() {
        add(&|s| _ = s.strangers.remove(n));
    }
    for n in 0..plan.faults.len() {
        add(&|s| _ = s.faults.remove(n));
    }
    for n in 0..plan.programs.len() {
        if plan.programs.len() > 1 {
            add(&|s| _ = s.programs.remove(n));
        }
        for program in simpler(&plan.programs[n]) {
            add(&|s| s.programs[n] = Rc::new(program.clone()));
        }
    }
    let given = plan.options.words().len();
    for options in defaults(&plan.options) {
        if options.words().len() < given || !plan.options.pid1 && options.pid1 {
            add(&|s| s.options = options.clone());
        }
    }
    if plan.pids.last < 90 || plan.pids.lowest {
        add(&|s| (s.pids.last, s.pids.lowest) = (90, false));
    }
    all
}

/// A program without one of its ways.
fn simpler(program: &Program) -> Vec<Program> {
    let plain = Program::PLAIN;
    let mut all = Vec::new();
    let mut add = |differs: bool, change: &dyn Fn(&mut Program)| {
        if differs {
            let mut smaller = program.clone();
            change(&mut smaller);
            all.push(smaller);
        }
    };
    for n in 0..program.forks.len() {
        add(true, &|p| _ = p.forks.remove(n));
    }
    for n in 0..program.says.len() {
        add(true, &|p| _ = p.says.remove(n));
    }
    add(program.signs.is_some(), &|p| p.signs = None);
    add(program.life.is_some(), &|p| p.life = None);
    add(program.on_term != plain.on_term, &|p| p.on_term = plain.on_term);
    add(program.on_usr1 != plain.on_usr1, &|p| p.on_usr1 = plain.on_usr1);
    add(program.on_others != plain.on_others, &|p| p.on_others = plain.on_others);
    add(program.stops.is_some(), &|p| p.stops = None);
    add(program.disk.is_some(), &|p| p.disk = None);
    add(program.own_group, &|p| p.own_group = false);
    add(program.other_user, &|p| p.other_user = false);
    add(!program.reaps, &|p| p.reaps = true);
    for (n, fork) in program.forks.iter().enumerate() {
        for smaller in simpler(&fork.program) {
            add(true, &|p| p.forks[n].program = Rc::new(smaller.clone()));
        }
    }
    all
}

/// The options with one of them as nobody gave it.
fn defaults(options: &Options) -> Vec<Options> {
    let usual = Options::DEFAULT;
    let mut all = Vec::new();
    macro_rules! without {
        ($($field:ident),*) => {
            $(all.push(Options { $field: usual.$field, ..options.clone() });)*
        };
    }
    all.push(Options { pid1: true, terminal: false, subreaper_off: false, ..options.clone() });
    without!(
        name,
        stop_on,
        stop_signal,
        stop_grace,
        stop_delay,
        restart_on_nothing,
        restart_signal,
        restart_grace,
        sweep_grace,
        restart_code,
        no_restart_code,
        restart,
        restart_delay,
        restart_limit,
        stable_after,
        kill_mode,
        map,
        success_code,
        stop_exit_code,
        subreaper_off,
        exit_when_all,
        port,
        metrics,
        report,
        json,
        level,
        vary_pid
    );
    all
}

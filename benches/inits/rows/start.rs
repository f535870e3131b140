//! From the execve(2) of an init to its child's first instruction, and from its child's last to
//! its own end.

use super::{Effort, empty, real, turns};
use crate::figures::{Cell, Row, Target};
use crate::inits::Init;
use crate::space::{Plan, Space};
use crate::{Result, sys};
use nix::unistd::Pid;

/// Start, its own share, and both without the instructions that trap on a virtual machine.
pub fn start(inits: &[Init], effort: Effort, notes: &mut Vec<String>) -> Result<Vec<Row>> {
    let plans: Vec<Plan> =
        inits.iter().map(|init| Plan::new(init, &["born"])).collect::<Result<_>>()?;
    let mut took = empty(inits);
    for round in 0..effort.of(500) {
        for i in turns(plans.len(), round) {
            let mut space = plans[i].start()?;
            let born = space.expect("the child's first instruction")?;
            took[i].push(micros(space.executed, born));
        }
    }
    let whole =
        Row::new("start", "start: exec of the init to the first instruction of its child", "us")
            .samples(&took)
            .target(Target::TimesTini(0.40));
    let mut rows = vec![whole];
    let counts: Vec<(u64, u64)> = counts(inits)?;
    if let Some(trap) = trap_time().filter(|_| counts.iter().any(|count| count.0 > 0)) {
        let without: Vec<Vec<f64>> = took
            .iter()
            .zip(&counts)
            .map(|(took, count)| took.iter().map(|took| took - count.1 as f64 * trap).collect())
            .collect();
        rows.push(
            Row::new(
                "start-untrapped",
                "start without the time of trapped CPUID instructions",
                "us",
            )
            .samples(&without)
            .target(Target::TimesTini(0.50)),
        );
        let exact = |figure: fn(&(u64, u64)) -> u64| -> Vec<Option<Cell>> {
            let figures = counts.iter().zip(inits);
            figures
                .map(|(count, init)| init.path.as_ref().map(|_| Cell::exact(figure(count) as f64)))
                .collect()
        };
        rows.push(
            Row::new(
                "start-instructions",
                "user-mode instructions from exec to the fork of the child",
                "",
            )
            .cells(exact(|count| count.0))
            .target(Target::TimesTini(0.50)),
        );
        rows.push(
            Row::new("start-cpuid", "CPUID instructions among them", "")
                .cells(exact(|count| count.1)),
        );
        notes.push(format!(
            "A CPUID instruction takes {trap:.2} us here: timed in a loop. Instructions are counted by single-stepping (ptrace)."
        ));
    }
    Ok(rows)
}

/// What each init executes before it makes its child: instructions, and CPUID among them.
fn counts(inits: &[Init]) -> Result<Vec<(u64, u64)>> {
    let mut counts = vec![(0, 0); inits.len()];
    for (i, init) in real(inits) {
        let mut space = Plan { trace: true, ..Plan::new(init, &["born"])? }.start()?;
        let line = space.line()?;
        let words: Vec<&str> = line.split(' ').collect();
        let ["counted", instructions, traps] = words[..] else { return Err(line.into()) };
        counts[i] = (instructions.parse()?, traps.parse()?);
    }
    Ok(counts)
}

/// Steps through a traced process from its exec to the system call that makes its child.
#[cfg(target_arch = "x86_64")]
pub fn count_instructions(pid: Pid) -> Result<(u64, u64)> {
    use nix::sys::ptrace;
    use nix::sys::wait::{WaitStatus, waitpid};
    // SYSCALL and CPUID, as their two bytes lie in memory.
    const SYSCALL: i64 = 0x050f;
    const CPUID: i64 = 0xa20f;
    let forks = [libc::SYS_clone, libc::SYS_fork, libc::SYS_vfork, libc::SYS_clone3];
    let (mut instructions, mut traps) = (0, 0);
    loop {
        match waitpid(pid, None)? {
            WaitStatus::Stopped(..) => {}
            other => return Err(format!("ended while it was traced: {other:?}").into()),
        }
        let registers = ptrace::getregs(pid)?;
        let code = ptrace::read(pid, registers.rip as ptrace::AddressType)? & 0xffff;
        if code == SYSCALL && forks.contains(&(registers.rax as i64)) {
            return Ok((instructions, traps));
        }
        instructions += 1;
        traps += u64::from(code == CPUID);
        ptrace::step(pid, None)?;
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub fn count_instructions(_pid: Pid) -> Result<(u64, u64)> {
    Ok((0, 0))
}

/// How long a CPUID instruction takes, in microseconds; the best of some rounds.
#[cfg(target_arch = "x86_64")]
fn trap_time() -> Option<f64> {
    const ROUNDS: usize = 20;
    const TIMES: u32 = 200;
    let round = || {
        let before = sys::now_ns();
        for _ in 0..TIMES {
            std::hint::black_box(std::arch::x86_64::__cpuid(0));
        }
        micros(before, sys::now_ns()) / f64::from(TIMES)
    };
    (0..ROUNDS).map(|_| round()).min_by(f64::total_cmp)
}

#[cfg(not(target_arch = "x86_64"))]
fn trap_time() -> Option<f64> {
    None
}

/// From the child's `_exit` to the end of the init as its parent sees it.
pub fn exit(inits: &[Init], effort: Effort) -> Result<Row> {
    let plans: Vec<Plan> = inits
        .iter()
        .map(|init| Ok(Plan::new(init, &["leave"])?.on_one_cpu()))
        .collect::<Result<_>>()?;
    let mut took = empty(inits);
    for round in 0..effort.of(500) {
        for i in turns(plans.len(), round) {
            let mut space = plans[i].start()?;
            space.expect("the child")?;
            at_rest(&space)?;
            space.tell(0)?;
            let end = space.end()?;
            took[i].push(micros(space.expect("its last words")?, end.at));
        }
    }
    Ok(Row::new("exit", "exit: the child's _exit to the init's end, on one CPU", "us")
        .samples(&took)
        .target(Target::TimesTini(0.80)))
}

/// Waits until an init has nothing more to do for the start of its child.
pub fn at_rest(space: &Space) -> Result<()> {
    let asleep = || Ok(space.proc("stat")?.contains(") S "));
    crate::space::wait_until("an init at rest", asleep)
}

/// Microseconds between two times.
pub fn micros(from: u64, to: u64) -> f64 {
    (to as f64 - from as f64) / 1e3
}

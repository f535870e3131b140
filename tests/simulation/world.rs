//! The simulated kernel: processes, signals, a clock that only it moves.
//!
//! Each call of the program takes a microsecond, in which whatever is due happens: so a child
//! can end, or a signal come, between any two calls.

use crate::book::Book;
use crate::schedule::{
    CHLD, CONT, End, Fault, From, IO, KILL, LAST_STANDARD, Pids, Program, Reaction, SECOND, STOP,
    Schedule, TERM, TSTP, TTIN, TTOU, Time, URG, USR1, WINCH, When, Words,
};
use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::rc::Rc;

/// The clock when clawinit starts: ages can be looked back at.
pub const START: Time = 1_000 * SECOND;

/// What a call takes.
const CALL: Time = 1_000;

/// What starting a process takes.
const SPAWN: Time = 200_000;

/// A schedule that makes more calls than this never ends.
const MOST_CALLS: u64 = 4_000_000;

/// Which process, for the whole of a schedule; pids come again.
pub type Id = usize;

/// The parent of a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Parent {
    Clawinit,
    Outside,
    Process(Id),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Life {
    Alive,
    Zombie(End),
    Gone,
}

/// What a process is to clawinit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    Child,
    Descendant,
    Exporter,
    /// Who asks whether the child is ready.
    Prober,
    Stranger,
    Verb,
}

pub struct Process {
    pub pid: i32,
    pub group: i32,
    pub parent: Parent,
    pub role: Role,
    pub life: Life,
    pub program: Rc<Program>,
    pub born: Time,
    /// When clawinit became its parent.
    pub ours_since: Time,
    pub died: Time,
    pub stopped: bool,
    /// When it was last woken.
    pub woken: Time,
    /// In state D.
    pub asleep: bool,
    /// Signals that wait for it to go on: bit n for signal n.
    pending: u64,
    /// Its own end came while it stood still.
    due: Option<End>,
    /// Its end has been set by a signal.
    ending: bool,
    /// When clawinit sent it SIGKILL first.
    pub killed: Option<Time>,
    /// clawinit has waited for its end in vain.
    pub given_up: bool,
}

/// What waits in clawinit's socket.
#[derive(Clone, Copy, Debug)]
pub struct Datagram {
    pub sender: Id,
    pub words: Words,
    pub sent: Time,
}

/// A signal in clawinit's queue.
#[derive(Clone, Copy, Debug)]
pub struct Info {
    pub signal: u8,
    /// `None`: the kernel.
    pub sender: Option<i32>,
    pub verb: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Happening {
    Ends(Id),
    /// By the reaction to a signal.
    Answers(Id, u8),
    Forks(Id, usize),
    Says(Id, usize),
    SignOfLife(Id, u32),
    Answered(Id),
    Stops(Id),
    FallsAsleep(Id),
    WakesUp(Id),
    Attack(usize),
    Stranger(usize),
    Wake,
    LastSignal,
    /// The machine is switched off, bit by bit, so that every schedule ends.
    Operator,
}

pub struct World {
    pub plan: Rc<Schedule>,
    now: Time,
    calls: u64,
    pub busy: Time,
    queue: BinaryHeap<Reverse<(Time, u64, Happening)>>,
    order: u64,
    pub processes: Vec<Process>,
    last_pid: i32,
    standard: [Option<Info>; LAST_STANDARD as usize + 1],
    realtime: VecDeque<Info>,
    stalls: VecDeque<(u64, Time)>,
    pub subreaper: bool,
    /// How many sockets of `--listen` clawinit holds.
    pub listening: i32,
    pub has_ear: bool,
    datagrams: VecDeque<Datagram>,
    pub oom_kills: u64,
    counts: Counts,
    pub book: Book,
    trace: Option<Vec<String>>,
    /// The last line of the log that was written.
    pub last_line: String,
    pub report: Option<Vec<u8>>,
    helpers: u32,
    starts: u32,
}

#[derive(Default)]
struct Counts {
    lists: u32,
    lines: u32,
    kills: u32,
    waits: u32,
}

/// A promise was broken; unwinds out of the program.
pub struct Broken(pub String);

/// clawinit has left.
pub struct Exited;

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// The world of this thread.
pub fn world<T>(with: impl FnOnce(&mut World) -> T) -> T {
    WORLD.with_borrow_mut(|world| with(world.as_mut().expect("a world to be in")))
}

/// Makes a world for one run.
pub fn enter(plan: Rc<Schedule>, traced: bool) {
    WORLD.set(Some(World::new(plan, traced)));
}

/// Takes it apart after the run.
pub fn leave() -> World {
    WORLD.take().expect("a world to leave")
}

impl World {
    fn new(plan: Rc<Schedule>, traced: bool) -> World {
        let mut stalls: Vec<_> = plan
            .faults
            .iter()
            .filter_map(|fault| match fault {
                Fault::Stall { nth, time } => Some((u64::from(*nth), *time)),
                _ => None,
            })
            .collect();
        stalls.sort_unstable();
        let mut world = World {
            now: START,
            calls: 0,
            busy: 0,
            queue: BinaryHeap::new(),
            order: 0,
            processes: Vec::new(),
            last_pid: 0,
            standard: [None; LAST_STANDARD as usize + 1],
            realtime: VecDeque::new(),
            stalls: stalls.into(),
            subreaper: false,
            listening: 0,
            has_ear: false,
            datagrams: VecDeque::new(),
            oom_kills: 0,
            counts: Counts::default(),
            book: Book::new(&plan.options),
            trace: traced.then(Vec::new),
            last_line: String::new(),
            report: None,
            helpers: 0,
            starts: 0,
            plan: plan.clone(),
        };
        world.last_pid = world.own_pid();
        for (n, attack) in plan.attacks.iter().enumerate() {
            world.at(attack.at, Happening::Attack(n));
        }
        for (n, stranger) in plan.strangers.iter().enumerate() {
            world.at(stranger.at, Happening::Stranger(n));
        }
        world.at(plan.end, Happening::LastSignal);
        for n in 0..40 {
            world.at(plan.end + (200 + 10 * n) * SECOND, Happening::Operator);
        }
        world
    }

    // ---- time ----

    pub fn now(&self) -> Time {
        self.now
    }

    /// How long clawinit has run.
    pub fn age(&self) -> Time {
        self.now - START
    }

    fn at(&mut self, age: Time, what: Happening) {
        self.order += 1;
        self.queue.push(Reverse((START + age, self.order, what)));
    }

    fn after(&mut self, delay: Time, what: Happening) {
        self.at(self.age() + delay, what);
    }

    /// A call of the program.
    pub fn call(&mut self) {
        self.takes(CALL);
    }

    pub fn takes(&mut self, time: Time) {
        self.calls += 1;
        if self.calls > MOST_CALLS {
            self.broken("it goes on and on: no end after so many calls".into());
        }
        let mut took = time;
        while self.stalls.front().is_some_and(|(nth, _)| *nth <= self.calls) {
            let time = self.stalls.pop_front().map_or(0, |(_, time)| time);
            self.book.stalled += time;
            took += time;
        }
        self.busy += took;
        self.pass_to(self.now + took);
    }

    /// Lets the time pass that somebody waits for something which is not a signal.
    pub fn busy_until(&mut self, time: Time) {
        let time = time.max(self.now);
        self.busy += time - self.now;
        self.pass_to(time);
    }

    fn pass_to(&mut self, time: Time) {
        while self.next_happening().is_some_and(|at| at <= time) {
            self.happen();
        }
        self.now = time;
    }

    pub fn next_happening(&self) -> Option<Time> {
        self.queue.peek().map(|Reverse((at, ..))| *at)
    }

    /// Lets the next thing happen.
    pub fn happen(&mut self) {
        let Some(Reverse((at, _, what))) = self.queue.pop() else { return };
        self.now = self.now.max(at);
        match what {
            Happening::Ends(id) => {
                if let Some((_, end)) = self.processes[id].program.life {
                    self.ends(id, end);
                }
            }
            Happening::Answers(id, signal) => {
                let program = &self.processes[id].program;
                let reaction = if signal == USR1 { program.on_usr1 } else { program.on_term };
                if let Reaction::Ends(_, end) = reaction {
                    self.ends(id, end);
                }
            }
            Happening::Forks(id, fork) => self.forks(id, fork),
            Happening::Says(id, nth) => {
                let words = self.processes[id].program.says[nth].words;
                self.says(id, words);
            }
            Happening::SignOfLife(id, left) => {
                self.says(id, Words::Alive);
                if let Some((every, _)) = self.processes[id].program.signs
                    && left > 0
                    && self.is_alive(id)
                {
                    self.after(every, Happening::SignOfLife(id, left - 1));
                }
            }
            Happening::Answered(id) => {
                self.says(id, Words::Ready);
                if self.is_alive(id) {
                    self.after(SECOND / 4, Happening::Answered(id));
                }
            }
            Happening::Stops(id) => self.deliver(id, STOP),
            Happening::FallsAsleep(id) => {
                if self.is_alive(id) {
                    self.say(|w| format!("{} is in state D", w.named(id)));
                    self.processes[id].asleep = true;
                }
            }
            Happening::WakesUp(id) => self.wakes_up(id),
            Happening::Attack(n) => self.attack(n),
            Happening::Stranger(n) => {
                let program = self.plan.strangers[n].program.clone();
                self.born(program, Parent::Outside, Role::Stranger, None);
            }
            Happening::Wake => {
                self.send_to_clawinit(Info { signal: CONT, sender: Some(0), verb: false })
            }
            Happening::LastSignal => {
                self.send_to_clawinit(Info { signal: TERM, sender: Some(0), verb: false });
            }
            Happening::Operator => {
                self.say(|_| "the operator ends every process".into());
                for id in 0..self.processes.len() {
                    self.wakes_up(id);
                    self.ends(id, End::Signal(KILL));
                }
            }
        }
    }

    pub fn calls(&self) -> u64 {
        self.calls
    }

    // ---- telling ----

    pub fn say(&mut self, what: impl FnOnce(&World) -> String) {
        let Some(mut trace) = self.trace.take() else { return };
        let at = crate::schedule::Shown(self.age()).to_string();
        trace.push(format!("{at:>18} {}", what(self)));
        self.trace = Some(trace);
    }

    pub fn trace(&mut self) -> Vec<String> {
        self.trace.take().unwrap_or_default()
    }

    pub fn named(&self, id: Id) -> String {
        let process = &self.processes[id];
        format!("{:?} {} (process {id})", process.role, process.pid)
    }

    /// Ends the run: a promise is broken.
    pub fn broken(&self, what: String) -> ! {
        std::panic::resume_unwind(Box::new(Broken(what)))
    }

    // ---- faults ----

    pub fn has(&self, wanted: impl Fn(&Fault) -> bool) -> bool {
        self.plan.faults.iter().any(wanted)
    }

    /// Whether `/proc` is there.
    pub fn has_proc(&self) -> bool {
        let lists = self.counts.lists;
        !self.has(|fault| match fault {
            Fault::NoProc => true,
            Fault::ProcGoes { nth } => lists > *nth,
            _ => false,
        })
    }

    /// Whether a reading of the list of children succeeds.
    pub fn list_works(&mut self) -> bool {
        let nth = self.counts.lists;
        self.counts.lists += 1;
        self.has_proc() && !self.has(|fault| *fault == Fault::List { nth })
    }

    /// What kill(2) answers instead of sending.
    pub fn kill_fails(&mut self) -> Option<i32> {
        let now = self.counts.kills;
        self.counts.kills += 1;
        self.plan.faults.iter().find_map(|fault| match fault {
            Fault::Kill { nth, errno } if *nth == now => Some(*errno),
            _ => None,
        })
    }

    /// Whether this wait ends for no reason.
    pub fn wakes(&mut self) -> bool {
        let nth = self.counts.waits;
        self.counts.waits += 1;
        self.has(|fault| *fault == Fault::Wakes { nth })
    }

    /// A line of the log: `false` where it cannot be written.
    pub fn write_line(&mut self, line: &[u8]) -> bool {
        let now = self.counts.lines;
        self.counts.lines += 1;
        let failing = self.plan.faults.iter().find_map(|fault| match fault {
            Fault::Log { nth, count, broken } => {
                (*nth..nth.saturating_add(*count)).contains(&now).then_some(*broken)
            }
            _ => None,
        });
        if failing == Some(true) {
            let own = self.own_pid();
            let pipe = crate::schedule::PIPE;
            self.send_to_clawinit(Info { signal: pipe, sender: Some(own), verb: false });
        }
        self.last_line.clear();
        if failing.is_none() {
            self.last_line.push_str(&String::from_utf8_lossy(line));
            self.say(|w| format!("log: {}", w.last_line.trim_end()));
            if self.last_line.contains("clawinit did not run for ") {
                self.gives_time_anew();
            }
        }
        failing.is_none()
    }

    // ---- processes ----

    /// clawinit's own pid.
    pub fn own_pid(&self) -> i32 {
        if self.plan.options.pid1 { 1 } else { 7 }
    }

    pub fn is_alive(&self, id: Id) -> bool {
        self.processes[id].life == Life::Alive
    }

    /// Children that are not reaped, oldest first.
    pub fn own_children(&self) -> impl Iterator<Item = Id> {
        (0..self.processes.len()).filter(|id| {
            let process = &self.processes[*id];
            process.parent == Parent::Clawinit && process.life != Life::Gone
        })
    }

    pub fn find(&self, pid: i32) -> Option<Id> {
        self.processes.iter().rposition(|p| p.pid == pid && p.life != Life::Gone)
    }

    fn free_pid(&mut self) -> Option<i32> {
        let Pids { last, lowest } = self.plan.pids;
        let first = self.own_pid() + 1;
        let used = |pid: i32| {
            self.processes.iter().any(|p| p.life != Life::Gone && (p.pid == pid || p.group == pid))
        };
        let next = self.last_pid + 1;
        let from = if lowest || next > last { first } else { next };
        let pid = (from..=last).chain(first..from).find(|pid| !used(*pid))?;
        self.last_pid = pid;
        Some(pid)
    }

    pub fn last_pid(&self) -> i32 {
        self.last_pid
    }

    pub fn use_up_pids(&mut self, count: u8) {
        for _ in 0..count {
            self.free_pid();
        }
    }

    fn born(
        &mut self,
        program: Rc<Program>,
        parent: Parent,
        role: Role,
        group: Option<i32>,
    ) -> Option<Id> {
        let pid = self.free_pid()?;
        let id = self.processes.len();
        self.processes.push(Process {
            pid,
            group: group.unwrap_or(pid),
            parent,
            role,
            life: Life::Alive,
            program: program.clone(),
            born: self.now,
            ours_since: self.now,
            died: 0,
            stopped: false,
            woken: 0,
            asleep: false,
            pending: 0,
            due: None,
            ending: false,
            killed: None,
            given_up: false,
        });
        self.say(|w| format!("{} is born, its parent is {parent:?}", w.named(id)));
        if let Some((time, _)) = program.life {
            self.after(time, Happening::Ends(id));
        }
        if let Some(time) = program.stops {
            self.after(time, Happening::Stops(id));
        }
        if let Some((time, long)) = program.disk {
            self.after(time, Happening::FallsAsleep(id));
            if let Some(long) = long {
                self.after(time + long, Happening::WakesUp(id));
            }
        }
        for (n, fork) in program.forks.iter().enumerate() {
            if let When::After(time) = fork.when {
                self.after(time, Happening::Forks(id, n));
            }
        }
        if self.has_ear {
            for (n, say) in program.says.iter().enumerate() {
                if let When::After(time) = say.when {
                    self.after(time, Happening::Says(id, n));
                }
            }
            if let Some((every, until)) = program.signs {
                let count = (until / every).min(60) as u32;
                self.after(every, Happening::SignOfLife(id, count));
            }
        }
        Some(id)
    }

    /// Who adopts the children of a process that ends.
    fn heir(&self, of: Id) -> Parent {
        let stranger = matches!(self.processes[of].role, Role::Stranger | Role::Verb);
        if self.plan.options.pid1 || self.subreaper && !stranger {
            Parent::Clawinit
        } else {
            Parent::Outside
        }
    }

    fn forks(&mut self, id: Id, nth: usize) {
        let process = &self.processes[id];
        if process.life != Life::Alive || process.stopped || process.asleep {
            return;
        }
        let (group, role, program) = (process.group, process.role, process.program.clone());
        let fork = &program.forks[nth];
        let parent = if fork.orphan { self.heir(id) } else { Parent::Process(id) };
        let role = match role {
            Role::Stranger | Role::Verb => Role::Stranger,
            Role::Child | Role::Descendant | Role::Exporter | Role::Prober => Role::Descendant,
        };
        let group = (!fork.program.own_group).then_some(group);
        self.born(fork.program.clone(), parent, role, group);
    }

    fn ends(&mut self, id: Id, end: End) {
        let process = &mut self.processes[id];
        if process.life != Life::Alive {
            return;
        }
        let killed = end == End::Signal(KILL);
        if process.asleep || process.stopped && !killed {
            process.due.get_or_insert(end);
            return;
        }
        let program = process.program.clone();
        for (n, fork) in program.forks.iter().enumerate() {
            if fork.when == When::AtItsEnd && !killed {
                self.forks(id, n);
            }
        }
        if self.processes[id].role == Role::Child
            && end == End::Signal(KILL)
            && self.processes[id].killed.is_none()
        {
            self.oom_kills += 1;
        }
        self.processes[id].died = self.now;
        self.processes[id].life = Life::Zombie(end);
        self.say(|w| format!("{} ends: {end:?}", w.named(id)));
        let heir = self.heir(id);
        for other in 0..self.processes.len() {
            if self.processes[other].parent == Parent::Process(id) {
                self.processes[other].parent = heir;
                self.processes[other].ours_since = self.now;
                if matches!(self.processes[other].life, Life::Zombie(_)) {
                    self.mourn(other);
                }
            }
        }
        self.mourn(id);
    }

    /// Tells the parent of a zombie.
    fn mourn(&mut self, id: Id) {
        match self.processes[id].parent {
            Parent::Clawinit => self.child_changed(id),
            Parent::Outside => self.processes[id].life = Life::Gone,
            Parent::Process(parent) => {
                if self.processes[parent].program.reaps || !self.is_alive(parent) {
                    self.processes[id].life = Life::Gone;
                }
            }
        }
    }

    fn child_changed(&mut self, id: Id) {
        if self.processes[id].parent == Parent::Clawinit {
            let pid = self.processes[id].pid;
            self.send_to_clawinit(Info { signal: CHLD, sender: Some(pid), verb: false });
        }
    }

    fn wakes_up(&mut self, id: Id) {
        if self.is_alive(id) && self.processes[id].asleep {
            self.say(|w| format!("{} leaves state D", w.named(id)));
            self.processes[id].asleep = false;
            self.goes_on(id);
        }
    }

    /// What has waited for a process that stood still.
    fn goes_on(&mut self, id: Id) {
        let pending = std::mem::take(&mut self.processes[id].pending);
        let first = [KILL, CONT];
        for signal in first.into_iter().chain((1..=64).filter(|s| !first.contains(s))) {
            if pending & 1 << (signal - 1) != 0 {
                self.deliver(id, signal);
            }
        }
        if let Some(end) = self.processes[id].due.take() {
            self.ends(id, end);
        }
    }

    /// A signal comes to a process.
    pub fn deliver(&mut self, id: Id, signal: u8) {
        let process = &mut self.processes[id];
        if process.life != Life::Alive {
            return;
        }
        if process.asleep || process.stopped && signal != KILL && signal != CONT {
            process.pending |= 1 << (signal - 1);
            return;
        }
        match signal {
            KILL => self.ends(id, End::Signal(KILL)),
            CONT => {
                if process.stopped {
                    process.stopped = false;
                    process.woken = self.now;
                    self.say(|w| format!("{} goes on", w.named(id)));
                    self.child_changed(id);
                    self.goes_on(id);
                }
            }
            STOP | TSTP | TTIN | TTOU => {
                process.stopped = true;
                self.say(|w| format!("{} is stopped", w.named(id)));
                self.child_changed(id);
            }
            _ => self.react(id, signal),
        }
    }

    fn react(&mut self, id: Id, signal: u8) {
        let program = self.processes[id].program.clone();
        let reaction = match signal {
            TERM => program.on_term,
            USR1 => program.on_usr1,
            _ => program.on_others,
        };
        let told = program.forks.iter().enumerate();
        for (n, fork) in told.filter(|_| signal == TERM || signal == USR1) {
            if let When::Told(time) = fork.when {
                self.after(time, Happening::Forks(id, n));
            }
        }
        for (n, say) in program.says.iter().enumerate() {
            if let When::Told(time) = say.when
                && self.has_ear
                && (signal == TERM || signal == USR1)
            {
                self.after(time, Happening::Says(id, n));
            }
        }
        match reaction {
            Reaction::Ignores => {}
            Reaction::Default if [CHLD, URG, WINCH].contains(&signal) => {}
            Reaction::Default => self.ends(id, End::Signal(signal)),
            Reaction::Ends(time, _) => {
                if !std::mem::replace(&mut self.processes[id].ending, true) {
                    self.after(time, Happening::Answers(id, signal));
                }
            }
        }
    }

    // ---- signals to clawinit ----

    fn attack(&mut self, n: usize) {
        let attack = self.plan.attacks[n];
        let (sender, verb) = match attack.from {
            From::Outside => (Some(0), false),
            From::Kernel => (None, false),
            From::Verb(lives) => {
                let life = Some((lives, End::Exit(0)));
                let program = Rc::new(Program { life, ..Program::PLAIN });
                let Some(id) = self.born(program, Parent::Outside, Role::Verb, None) else {
                    return;
                };
                (Some(self.processes[id].pid), true)
            }
        };
        self.send_to_clawinit(Info { signal: attack.signal, sender, verb });
    }

    /// Standard signals coalesce: the first one's sender stays.
    pub fn send_to_clawinit(&mut self, info: Info) {
        self.say(|_| format!("signal {} for clawinit, from {:?}", info.signal, info.sender));
        if info.signal > LAST_STANDARD {
            self.realtime.push_back(info);
        } else {
            self.standard[usize::from(info.signal)].get_or_insert(info);
        }
    }

    pub fn is_pending(&self, signal: u8) -> bool {
        match self.standard.get(usize::from(signal)) {
            Some(info) => info.is_some(),
            None => self.realtime.iter().any(|info| info.signal == signal),
        }
    }

    /// Takes the next signal, the lowest first, as the kernel does.
    pub fn take(&mut self, wanted: Option<u8>) -> Option<Info> {
        if let Some(signal) = wanted {
            return self.standard[usize::from(signal)].take();
        }
        // A fault's signals come before all others.
        let faults = [4, 5, 7, 8, crate::schedule::SEGV, 31];
        for signal in faults.into_iter().chain(1..=LAST_STANDARD) {
            if let Some(info) = self.standard[usize::from(signal)].take() {
                return Some(info);
            }
        }
        let lowest = self.realtime.iter().map(|info| info.signal).min()?;
        let place = self.realtime.iter().position(|info| info.signal == lowest)?;
        self.realtime.remove(place)
    }

    /// sigtimedwait(2); until `end`, or for ever.
    pub fn wait(&mut self, end: Option<Time>, wanted: Option<u8>) -> Option<Info> {
        loop {
            if let Some(info) = self.take(wanted) {
                return Some(info);
            }
            match (self.next_happening(), end) {
                (Some(at), Some(end)) if at > end => {
                    self.now = self.now.max(end);
                    return None;
                }
                (None, Some(end)) => {
                    self.now = self.now.max(end);
                    return None;
                }
                (None, None) => self.broken("it waits for ever".into()),
                (Some(_), _) => self.happen(),
            }
        }
    }

    /// clawinit stops itself until somebody wakes it.
    pub fn suspend(&mut self) {
        self.say(|_| "clawinit is stopped".into());
        self.after(SECOND / 2, Happening::Wake);
        let since = self.now;
        while !self.is_pending(CONT) {
            self.happen();
        }
        self.busy += self.now - since;
    }

    // ---- starting processes ----

    /// What a start of the command answers: its errno.
    pub fn start_child(&mut self) -> Result<Id, i32> {
        let now = self.starts;
        self.starts += 1;
        self.takes(SPAWN);
        let fault = self.plan.faults.iter().find_map(|fault| match fault {
            Fault::Start { nth, errno } if *nth == now => Some(*errno),
            _ => None,
        });
        if let Some(errno) = fault {
            return Err(errno);
        }
        let programs = self.plan.programs.clone();
        let program = programs[self.book.generation as usize % programs.len()].clone();
        self.born(program, Parent::Clawinit, Role::Child, None).ok_or(libc::EAGAIN)
    }

    /// A start of one of clawinit's own helpers.
    pub fn start_helper(&mut self, role: Role) -> Result<Id, i32> {
        self.takes(SPAWN);
        let now = self.helpers;
        self.helpers += 1;
        let fault = self.plan.faults.iter().find_map(|fault| match fault {
            Fault::Helper { nth, errno } if *nth == now => Some(*errno),
            _ => None,
        });
        if let Some(errno) = fault {
            return Err(errno);
        }
        let lives = match self.plan.helpers.as_slice() {
            [] => 0,
            times => times[now as usize % times.len()],
        };
        let life = (lives > 0).then_some((lives, End::Exit(1)));
        let program = Rc::new(Program { life, ..Program::PLAIN });
        let id = self.born(program, Parent::Clawinit, role, None).ok_or(libc::EAGAIN)?;
        if role == Role::Prober {
            self.after(self.plan.answers, Happening::Answered(id));
        }
        Ok(id)
    }

    // ---- what is said to clawinit ----

    fn says(&mut self, id: Id, words: Words) {
        /// What waits in the socket at most.
        const ROOM: usize = 12;
        let process = &self.processes[id];
        let silent = process.stopped || process.asleep || process.life != Life::Alive;
        if silent || !self.has_ear || self.datagrams.len() >= ROOM {
            return;
        }
        self.say(|w| format!("{} says {words:?}", w.named(id)));
        self.datagrams.push_back(Datagram { sender: id, words, sent: self.now });
        self.send_to_clawinit(Info { signal: IO, sender: None, verb: false });
    }

    /// The next datagram: the pid of who sent it, and the text.
    pub fn hear(&mut self) -> Option<(i32, String)> {
        self.call();
        let Some(datagram) = self.datagrams.pop_front() else {
            self.heard_all();
            return None;
        };
        self.heard(datagram);
        Some((self.processes[datagram.sender].pid, datagram.words.text()))
    }

    pub fn unheard(&self) -> impl Iterator<Item = &Datagram> {
        self.datagrams.iter()
    }

    /// The parent of whoever has this pid now, as `/proc` tells it.
    pub fn parent_of(&self, pid: i32) -> Option<i32> {
        let id = self.find(pid)?;
        Some(match self.processes[id].parent {
            Parent::Clawinit => self.own_pid(),
            Parent::Outside => 0,
            Parent::Process(parent) => self.processes[parent].pid,
        })
    }
}

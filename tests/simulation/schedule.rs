//! What a seed stands for: a command line, the programs that are run, who sends what and when,
//! and what fails. Plain data, so that it can be printed and made smaller.

use crate::random::Random;
use std::fmt;
use std::rc::Rc;

/// A time or a span on the simulated clock, in nanoseconds.
pub type Time = u64;

pub const MS: Time = 1_000_000;
pub const SECOND: Time = 1_000 * MS;

/// The names and numbers of signal(7) that are sent here. Not the program's own table.
pub const HUP: u8 = 1;
pub const INT: u8 = 2;
pub const QUIT: u8 = 3;
pub const ABRT: u8 = 6;
pub const KILL: u8 = 9;
pub const USR1: u8 = 10;
pub const SEGV: u8 = 11;
pub const USR2: u8 = 12;
pub const PIPE: u8 = 13;
pub const TERM: u8 = 15;
pub const CHLD: u8 = 17;
pub const CONT: u8 = 18;
pub const STOP: u8 = 19;
pub const TSTP: u8 = 20;
pub const TTIN: u8 = 21;
pub const TTOU: u8 = 22;
pub const URG: u8 = 23;
pub const WINCH: u8 = 28;
pub const IO: u8 = 29;

/// Signals above this queue.
pub const LAST_STANDARD: u8 = 31;

#[derive(Clone, Debug)]
pub struct Schedule {
    pub seed: u64,
    pub options: Options,
    /// The programs of the generations, by turns.
    pub programs: Vec<Rc<Program>>,
    pub attacks: Vec<Attack>,
    pub strangers: Vec<Stranger>,
    pub faults: Vec<Fault>,
    pub pids: Pids,
    /// How long clawinit's helpers live, by turns; 0: for ever.
    pub helpers: Vec<Time>,
    /// How long the one that asks takes to find the child ready.
    pub answers: Time,
    /// When somebody asks for a stop, if nobody has before.
    pub end: Time,
}

/// Which pids there are: few, so that they come again soon.
#[derive(Clone, Copy, Debug)]
pub struct Pids {
    pub last: i32,
    /// The lowest that is free, rather than the next one.
    pub lowest: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Name {
    Clawinit,
    Tini,
    Catatonit,
    DumbInit,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    Never,
    Request,
    OnFailure,
    Always,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KillMode {
    Mixed,
    Group,
    Process,
}

/// The command line, as values. `None` and empty: the option is not given.
#[derive(Clone, Debug)]
pub struct Options {
    pub name: Name,
    pub pid1: bool,
    pub stop_on: Option<u8>,
    pub stop_signal: Option<u8>,
    pub stop_grace: Option<Time>,
    pub stop_delay: Option<Time>,
    pub restart_on_nothing: bool,
    pub restart_signal: Option<u8>,
    pub restart_grace: Option<Time>,
    pub sweep_grace: Option<Time>,
    pub restart_code: Option<u8>,
    pub no_restart_code: Option<u8>,
    pub restart: Option<Mode>,
    pub restart_delay: Option<Time>,
    pub restart_limit: Option<(u8, Time)>,
    pub stable_after: Option<Time>,
    pub kill_mode: Option<KillMode>,
    pub map: Option<(u8, Option<u8>)>,
    pub success_code: Option<u8>,
    pub stop_exit_code: Option<u8>,
    pub subreaper_off: bool,
    pub exit_when_all: bool,
    pub port: bool,
    pub metrics: bool,
    pub report: bool,
    pub json: bool,
    pub level: Option<&'static str>,
    pub vary_pid: bool,
    pub terminal: bool,
    pub notify: bool,
    pub start_grace: Option<Time>,
    pub watchdog: Option<Time>,
    pub watchdog_signal: Option<u8>,
    pub ready_url: bool,
    pub in_place: bool,
    /// How much longer than the grace the child may make it.
    pub stop_extension: Option<Time>,
    pub restart_extension: Option<Time>,
    pub listen: bool,
}

impl Options {
    pub const DEFAULT: Options = Options {
        name: Name::Clawinit,
        pid1: true,
        stop_on: None,
        stop_signal: None,
        stop_grace: None,
        stop_delay: None,
        restart_on_nothing: false,
        restart_signal: None,
        restart_grace: None,
        sweep_grace: None,
        restart_code: None,
        no_restart_code: None,
        restart: None,
        restart_delay: None,
        restart_limit: None,
        stable_after: None,
        kill_mode: None,
        map: None,
        success_code: None,
        stop_exit_code: None,
        subreaper_off: false,
        exit_when_all: false,
        port: false,
        metrics: false,
        report: false,
        json: false,
        level: None,
        vary_pid: false,
        terminal: false,
        notify: false,
        start_grace: None,
        watchdog: None,
        watchdog_signal: None,
        ready_url: false,
        in_place: false,
        stop_extension: None,
        restart_extension: None,
        listen: false,
    };

    /// Whether there is a socket to speak on.
    pub fn hears(&self) -> bool {
        self.notify || self.ready_url || self.watchdog.is_some()
    }

    pub fn stop_grace(&self) -> Time {
        self.stop_grace.unwrap_or(25 * SECOND)
    }

    pub fn restart_grace(&self) -> Time {
        self.restart_grace.unwrap_or(self.stop_grace())
    }

    fn of(random: &mut Random) -> Options {
        let r = random;
        let mut o = Options::DEFAULT;
        o.pid1 = !r.one_in(4);
        o.terminal = !o.pid1 && r.one_in(4);
        if r.one_in(10) {
            o.name = r.of(&[Name::Tini, Name::Catatonit, Name::DumbInit]);
            return o;
        }
        o.subreaper_off = !o.pid1 && r.one_in(8);
        let graces = [MS, 20 * MS, 100 * MS, 500 * MS, SECOND, 2 * SECOND, 5 * SECOND];
        o.stop_on = r.maybe(12, &[INT, QUIT, 35]);
        o.stop_signal = r.maybe(10, &[INT, QUIT, USR2, 40]);
        o.stop_grace = if r.one_in(30) { Some(0) } else { (!r.one_in(4)).then(|| r.of(&graces)) };
        o.stop_delay = r.maybe(4, &[MS, 100 * MS, SECOND, 3 * SECOND]);
        o.restart_on_nothing = r.one_in(20);
        o.restart_signal = r.maybe(12, &[HUP, TERM, USR2, 36]);
        o.restart_grace = r.maybe(2, &graces);
        o.sweep_grace = r.maybe(2, &graces);
        o.restart_code = r.maybe(8, &[0, 1, 42]);
        o.no_restart_code = r.maybe(8, &[78, 3]);
        o.restart = r.maybe(2, &[Mode::Never, Mode::OnFailure, Mode::Always, Mode::Always]);
        o.restart_delay = r.maybe(3, &[0, MS, 100 * MS, 2 * SECOND]);
        let limits = [(0, SECOND), (1, SECOND), (2, 3 * SECOND), (64, 60 * SECOND)];
        o.restart_limit = r.maybe(3, &limits);
        o.stable_after = r.maybe(3, &[0, MS, 100 * MS, SECOND]);
        o.kill_mode = r.maybe(2, &[KillMode::Group, KillMode::Group, KillMode::Process]);
        o.map = r.maybe(
            8,
            &[
                (HUP, Some(USR2)),
                (HUP, None),
                (USR2, Some(TERM)),
                (WINCH, None),
                (TERM, Some(INT)),
                (USR1, Some(HUP)),
                (37, Some(HUP)),
            ],
        );
        o.success_code = r.maybe(6, &[143, 130, 1, 75]);
        o.stop_exit_code = r.maybe(6, &[0, 7]);
        o.exit_when_all = r.one_in(6);
        o.port = r.one_in(6);
        o.metrics = r.one_in(5);
        o.report = r.one_in(2);
        o.json = r.one_in(3);
        o.level = r.maybe(4, &["error", "warn", "debug", "trace"]);
        o.vary_pid = r.one_in(20);
        o.listen = r.one_in(6);
        o.notify = r.one_in(3);
        o.ready_url = r.one_in(12);
        o.watchdog = r.maybe(5, &[MS, 20 * MS, 100 * MS, SECOND]);
        if o.hears() {
            o.watchdog_signal = r.maybe(4, &[ABRT, USR2, 40]);
            o.stop_extension = r.maybe(3, &[0, 100 * MS, 5 * SECOND]);
            o.restart_extension = r.maybe(3, &[0, 100 * MS, 5 * SECOND]);
        }
        if o.notify || o.ready_url {
            o.start_grace = r.maybe(2, &[MS, 20 * MS, 100 * MS, SECOND]);
        }
        o.in_place = o.notify && r.one_in(2);
        o
    }

    /// The words of the command line, without the name and the command.
    pub fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        let mut word = |name: &str, value: Option<String>| {
            words.extend(value.map(|value| format!("--{name}={value}")));
        };
        let ms = |time: Option<Time>| time.map(|time| format!("{}ms", time / MS));
        let code = |code: Option<u8>| code.map(|code| code.to_string());
        // SIGTERM stays, so that one signal asks for a stop in every schedule.
        word("stop-on", self.stop_on.map(|s| format!("TERM,{s}")));
        word("stop-signal", code(self.stop_signal));
        word("stop-grace", ms(self.stop_grace));
        word("stop-delay", ms(self.stop_delay));
        word("restart-on", self.restart_on_nothing.then(|| "none".into()));
        word("restart-signal", code(self.restart_signal));
        word("restart-grace", ms(self.restart_grace));
        word("sweep-grace", ms(self.sweep_grace));
        word("restart-code", code(self.restart_code));
        word("no-restart-code", code(self.no_restart_code));
        let modes = |mode| match mode {
            Mode::Never => "never".to_owned(),
            Mode::Request => "request".to_owned(),
            Mode::OnFailure => "on-failure".to_owned(),
            Mode::Always => "always".to_owned(),
        };
        word("restart", self.restart.map(modes));
        word("restart-delay", ms(self.restart_delay));
        word("restart-limit", self.restart_limit.map(|(n, w)| format!("{n}/{}ms", w / MS)));
        word("stable-after", ms(self.stable_after));
        let kill_modes = |mode| match mode {
            KillMode::Mixed => "mixed".to_owned(),
            KillMode::Group => "group".to_owned(),
            KillMode::Process => "process".to_owned(),
        };
        word("kill-mode", self.kill_mode.map(kill_modes));
        let to = |to: Option<u8>| to.map_or("none".to_owned(), |to| to.to_string());
        word("map", self.map.map(|(from, signal)| format!("{from}:{}", to(signal))));
        word("success-codes", code(self.success_code));
        word("stop-exit-code", code(self.stop_exit_code));
        word("subreaper", self.subreaper_off.then(|| "off".into()));
        word("exit-when", self.exit_when_all.then(|| "all".into()));
        word("port", self.port.then(|| "8888".into()));
        word("metrics-listen", self.metrics.then(|| "127.0.0.1:9100".into()));
        word("termination-log", self.report.then(|| "/report".into()));
        word("log-format", self.json.then(|| "json".into()));
        word("log-level", self.level.map(str::to_owned));
        word("start-grace", ms(self.start_grace));
        word("watchdog", ms(self.watchdog));
        word("watchdog-signal", code(self.watchdog_signal));
        word("ready-url", self.ready_url.then(|| "http://127.0.0.1/".into()));
        word("restart-style", self.in_place.then(|| "in-place".into()));
        word("stop-grace-max", ms(self.stop_extension.map(|more| self.stop_grace() + more)));
        let longest = self.restart_extension.map(|more| self.restart_grace() + more);
        word("restart-grace-max", ms(longest));
        word("listen", self.listen.then(|| "127.0.0.1:8888".into()));
        if self.notify {
            words.push("--notify".into());
        }
        if self.vary_pid {
            words.push("--vary-pid".into());
        }
        words
    }
}

/// How a process behaves; times are counted from its birth, or from what it answers.
#[derive(Clone, Debug)]
pub struct Program {
    /// It ends by itself.
    pub life: Option<(Time, End)>,
    pub on_term: Reaction,
    pub on_usr1: Reaction,
    pub on_others: Reaction,
    /// It stops itself.
    pub stops: Option<Time>,
    /// In state D from then on, for so long; `None`: until the machine is switched off.
    pub disk: Option<(Time, Option<Time>)>,
    pub forks: Vec<Fork>,
    /// What it says by sd_notify(3).
    pub says: Vec<Say>,
    /// A sign of life so often, until then.
    pub signs: Option<(Time, Time)>,
    /// In a process group of its own, if it is not the child itself.
    pub own_group: bool,
    /// Of another user: signals to it are not permitted.
    pub other_user: bool,
    /// It reaps its own children; otherwise they stay zombies until it ends.
    pub reaps: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    Exit(u8),
    Signal(u8),
}

/// What it does about a signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reaction {
    /// What the kernel does where nobody handles it.
    Default,
    Ignores,
    Ends(Time, End),
}

/// A datagram that it sends.
#[derive(Clone, Copy, Debug)]
pub struct Say {
    pub when: When,
    pub words: Words,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Words {
    Ready,
    Reloading,
    Stopping,
    Alive,
    Failed,
    /// It needs so long from now on.
    Extend(Time),
    /// Two of them in one datagram.
    ReadyAndAlive,
    /// Nothing that means anything.
    Garbage,
    /// More than is read.
    TooLong,
}

impl Words {
    pub fn text(self) -> String {
        match self {
            Words::Ready => "READY=1".into(),
            Words::Reloading => "RELOADING=1\nMONOTONIC_USEC=1".into(),
            Words::Stopping => "STOPPING=1\nSTATUS=going".into(),
            Words::Alive => "WATCHDOG=1".into(),
            Words::Failed => "WATCHDOG=trigger".into(),
            Words::Extend(time) => format!("EXTEND_TIMEOUT_USEC={}", time / 1_000),
            Words::ReadyAndAlive => "READY=1\nWATCHDOG=1\n".into(),
            Words::Garbage => "READY=2\n\nWATCHDOG\n=\nEXTEND_TIMEOUT_USEC=-1".into(),
            Words::TooLong => format!("READY=1\nSTATUS={}", "x".repeat(3000)),
        }
    }

    fn of(r: &mut Random) -> Words {
        match r.below(10) {
            0..=2 => Words::Ready,
            3 => Words::Reloading,
            4 => Words::Stopping,
            5 => Words::Alive,
            6 => Words::Failed,
            7 => Words::Extend(r.of(&[0, MS, 100 * MS, SECOND, 3 * SECOND, 900 * SECOND])),
            8 => Words::ReadyAndAlive,
            _ => r.of(&[Words::Garbage, Words::TooLong]),
        }
    }
}

/// A child that it has.
#[derive(Clone, Debug)]
pub struct Fork {
    pub when: When,
    /// By way of a process between the two that ends at once: it is nobody's child then.
    pub orphan: bool,
    pub program: Rc<Program>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    After(Time),
    /// Since a signal asked it to end.
    Told(Time),
    AtItsEnd,
}

/// A signal to clawinit.
#[derive(Clone, Copy, Debug)]
pub struct Attack {
    pub at: Time,
    pub signal: u8,
    pub from: From,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum From {
    /// A process outside the PID namespace.
    Outside,
    /// The terminal, say.
    Kernel,
    /// One of our own verbs, which lives for so long.
    Verb(Time),
}

/// What `docker exec` starts.
#[derive(Clone, Debug)]
pub struct Stranger {
    pub at: Time,
    pub program: Rc<Program>,
}

/// What goes wrong. `nth` counts from 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// A start of the command.
    Start { nth: u32, errno: i32 },
    /// A start of the exporter, or of who asks for readiness.
    Helper { nth: u32, errno: i32 },
    /// There is no `/proc`, or it is another namespace's.
    NoProc,
    /// `/proc` goes, once its list was read so often.
    ProcGoes { nth: u32 },
    /// One reading of the list of children fails.
    List { nth: u32 },
    /// No memfd.
    Page,
    /// Lines of the log, from one on, `count` of them; `broken`: SIGPIPE comes of it.
    Log { nth: u32, count: u32, broken: bool },
    /// One kill(2), which sends nothing then.
    Kill { nth: u32, errno: i32 },
    /// A wait that ends for no reason.
    Wakes { nth: u32 },
    /// A call that takes as long: another process has the processor.
    Stall { nth: u32, time: Time },
    /// The sockets of `--listen` and `--notify`.
    Socket,
    /// The termination report.
    Report,
    /// No file of the control group.
    NoCgroup,
}

impl Schedule {
    pub fn of(seed: u64) -> Schedule {
        let mut r = Random::new(seed);
        let options = Options::of(&mut r);
        let programs = (0..1 + r.below(3)).map(|_| Rc::new(Program::child(&mut r))).collect();
        let span = r.of(&[200 * MS, 2 * SECOND, 20 * SECOND]);
        let count = r.of(&[0, 1, 2, 2, 4, 8]);
        let mut attacks: Vec<_> = (0..count).map(|_| Attack::of(&mut r, &options, span)).collect();
        if r.one_in(12) {
            // A storm, at times that lie close together.
            let (at, signal) = (moment(&mut r, span), r.of(&[USR1, USR1, TERM, HUP, CONT, 40]));
            let gap = r.of(&[0, 1_000, MS, 20 * MS]);
            for n in 0..r.of(&[5, 20, 40]) {
                attacks.push(Attack { at: at + n * gap, signal, from: From::Outside });
            }
        }
        attacks.sort_by_key(|attack| attack.at);
        let strangers = match r.one_in(6) {
            true => (0..1 + r.below(4)).map(|_| Stranger::of(&mut r, span)).collect(),
            false => Vec::new(),
        };
        let rest = r.of(&[0, SECOND, 12 * SECOND, 70 * SECOND]);
        // What counts as stable at once is restarted without a pause: thousands of generations.
        let spins = options.stable_after.is_some_and(|time| time <= MS);
        let end = if spins { 300 * MS } else { span + rest };
        Schedule {
            seed,
            programs,
            attacks,
            strangers,
            faults: Fault::some(&mut r),
            pids: Pids { last: r.of(&[14, 20, 40, 90]), lowest: r.one_in(2) },
            helpers: (0..2).map(|_| r.of(&[0, 0, MS, SECOND, 70 * SECOND])).collect(),
            answers: soon(&mut r),
            end,
            options,
        }
    }
}

/// Within `span`; often on a round number, so that things happen together.
fn moment(r: &mut Random, span: Time) -> Time {
    match r.below(4) {
        0 => r.below(span),
        1 => r.below(2 * MS),
        _ => r.below(span / (20 * MS) + 1) * 20 * MS,
    }
}

fn soon(r: &mut Random) -> Time {
    let spans =
        [0, 1_000, MS, 19 * MS, 20 * MS, 100 * MS, 500 * MS, SECOND, 2 * SECOND, 5 * SECOND];
    let time = r.of(&spans);
    match r.below(6) {
        0 => time.saturating_sub(MS),
        1 => time + MS,
        // The loop takes some microseconds between a signal and its deadline.
        2 => time + r.below(40_000),
        _ => time,
    }
}

impl End {
    fn of(r: &mut Random) -> End {
        match r.below(4) {
            0 => End::Signal(r.of(&[SEGV, ABRT, KILL, TERM, USR1])),
            _ => End::Exit(r.of(&[0, 0, 0, 1, 75, 75, 78, 42, 137, 3])),
        }
    }
}

impl Reaction {
    fn of(r: &mut Random, end: End) -> Reaction {
        match r.below(8) {
            0 => Reaction::Ignores,
            1 | 2 => Reaction::Default,
            3 => Reaction::Ends(soon(r), End::of(r)),
            _ => Reaction::Ends(soon(r), end),
        }
    }
}

impl Program {
    /// The most harmless one.
    pub const PLAIN: Program = Program {
        life: None,
        on_term: Reaction::Default,
        on_usr1: Reaction::Default,
        on_others: Reaction::Ignores,
        stops: None,
        disk: None,
        forks: Vec::new(),
        says: Vec::new(),
        signs: None,
        own_group: false,
        other_user: false,
        reaps: true,
    };

    fn child(r: &mut Random) -> Program {
        Program::of(r, 0)
    }

    fn of(r: &mut Random, depth: u64) -> Program {
        let forks = match r.below(3 + depth * 3) {
            0 => 1 + r.below(3),
            1 => 1,
            _ => 0,
        };
        let life = r.one_in(2).then(|| {
            let time = if r.one_in(2) { soon(r) } else { moment(r, 20 * SECOND) };
            (time, End::of(r))
        });
        Program {
            life,
            on_term: Reaction::of(r, End::Exit(0)),
            on_usr1: Reaction::of(r, End::Exit(75)),
            on_others: if r.one_in(4) { Reaction::Default } else { Reaction::Ignores },
            stops: r.one_in(12).then(|| soon(r)),
            disk: r.one_in(12).then(|| {
                (soon(r), (!r.one_in(3)).then(|| r.of(&[MS, SECOND, 2 * SECOND, 5 * SECOND])))
            }),
            forks: if depth < 3 {
                (0..forks).map(|_| Fork::of(r, depth)).collect()
            } else {
                vec![]
            },
            says: Program::says(r, depth),
            signs: r
                .one_in(4)
                .then(|| (r.of(&[MS / 2, 19 * MS, 20 * MS, 90 * MS, SECOND]), soon(r))),
            own_group: r.one_in(3),
            other_user: r.one_in(20),
            reaps: !r.one_in(3),
        }
    }
}

impl Program {
    fn says(r: &mut Random, depth: u64) -> Vec<Say> {
        let mut says = Vec::new();
        if depth == 0 && r.one_in(2) {
            says.push(Say { when: When::After(soon(r)), words: Words::Ready });
        }
        if depth == 0 && r.one_in(3) {
            // As one that is restarted in place.
            says.push(Say { when: When::Told(0), words: Words::Reloading });
            says.push(Say { when: When::Told(soon(r)), words: Words::Ready });
        }
        for _ in 0..r.of(&[0, 0, 1, 3]) {
            let time = soon(r);
            let when = if r.one_in(2) { When::After(time) } else { When::Told(time) };
            says.push(Say { when, words: Words::of(r) });
        }
        says
    }
}

impl Fork {
    fn of(r: &mut Random, depth: u64) -> Fork {
        let when = match r.below(6) {
            0 => When::AtItsEnd,
            1 => When::Told(soon(r)),
            2 => When::After(soon(r)),
            _ => When::After(r.of(&[0, 1_000, MS])),
        };
        Fork { when, orphan: r.one_in(3), program: Rc::new(Program::of(r, depth + 1)) }
    }
}

impl Attack {
    fn of(r: &mut Random, options: &Options, span: Time) -> Attack {
        let at = moment(r, span);
        let signal = match r.below(10) {
            0 | 1 => TERM,
            2..=4 => USR1,
            5 => options.stop_on.unwrap_or(INT),
            6 => r.of(&[34, 35, 36, 37, 40, 64]),
            7 => r.of(&[CHLD, CONT, TSTP, TTIN, TTOU, PIPE, WINCH]),
            _ => r.of(&[HUP, USR2, WINCH, IO, URG, ABRT, SEGV, QUIT]),
        };
        let from = match r.below(8) {
            0 if [TTIN, TTOU, CONT, WINCH, HUP].contains(&signal) => From::Kernel,
            1 if [TERM, USR1, CHLD].contains(&signal) => From::Verb(soon(r)),
            _ => From::Outside,
        };
        Attack { at, signal, from }
    }
}

impl Stranger {
    fn of(r: &mut Random, span: Time) -> Stranger {
        Stranger { at: moment(r, span), program: Rc::new(Program::of(r, 1)) }
    }
}

impl Fault {
    fn some(r: &mut Random) -> Vec<Fault> {
        if r.one_in(2) {
            return Vec::new();
        }
        (0..1 + r.below(4)).map(|_| Fault::of(r)).collect()
    }

    fn of(r: &mut Random) -> Fault {
        let early = |r: &mut Random| r.below(12) as u32;
        match r.below(16) {
            0 | 1 => {
                let errnos = [libc::EAGAIN, libc::ENOMEM, libc::EMFILE, libc::ETXTBSY];
                let lasting = [libc::ENOENT, libc::EACCES, libc::ENOEXEC];
                let errno = if r.one_in(3) { r.of(&lasting) } else { r.of(&errnos) };
                Fault::Start { nth: r.below(3) as u32, errno }
            }
            2 => {
                Fault::Helper { nth: r.below(2) as u32, errno: r.of(&[libc::EAGAIN, libc::ENOENT]) }
            }
            3 => Fault::NoProc,
            4 => Fault::ProcGoes { nth: r.below(4) as u32 },
            5 => Fault::List { nth: r.below(5) as u32 },
            6 => Fault::Page,
            7 | 8 => Fault::Log { nth: early(r), count: r.of(&[1, 3, 1000]), broken: r.one_in(2) },
            9 => Fault::Kill { nth: early(r), errno: r.of(&[libc::EPERM, libc::ESRCH]) },
            10 | 11 => Fault::Wakes { nth: early(r) },
            12 if r.one_in(8) => Fault::Socket,
            12 => Fault::Report,
            13 => Fault::NoCgroup,
            _ => Fault::Stall {
                nth: r.below(400) as u32,
                time: r.of(&[100_000, 2 * MS, 20 * MS, 300 * MS, 3 * SECOND]),
            },
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = if self.options.pid1 { "as PID 1" } else { "as pid 7" };
        let name = match self.options.name {
            Name::Clawinit => "clawinit",
            Name::Tini => "tini",
            Name::Catatonit => "catatonit",
            Name::DumbInit => "dumb-init",
        };
        writeln!(f, "  {of}: {name} {} -- program", self.options.words().join(" "))?;
        if self.options.terminal {
            writeln!(f, "  in the foreground of a terminal")?;
        }
        for (n, program) in self.programs.iter().enumerate() {
            writeln!(f, "  program {n}: {program}")?;
        }
        for attack in &self.attacks {
            writeln!(
                f,
                "  at {}: signal {} from {:?}",
                Shown(attack.at),
                attack.signal,
                attack.from
            )?;
        }
        for stranger in &self.strangers {
            writeln!(f, "  at {}: a stranger, {}", Shown(stranger.at), stranger.program)?;
        }
        for fault in &self.faults {
            writeln!(f, "  fault: {fault:?}")?;
        }
        let which = if self.pids.lowest { "the lowest free one" } else { "the next free one" };
        writeln!(f, "  pids up to {}, {which}", self.pids.last)?;
        if self.options.metrics || self.options.ready_url {
            let answers = Shown(self.answers);
            writeln!(
                f,
                "  helpers live {:?} ns (0: for ever), answers take {answers}",
                self.helpers
            )?;
        }
        writeln!(f, "  at {}: SIGTERM, the last signal", Shown(self.end))
    }
}

/// A time, for people.
pub struct Shown(pub Time);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06} ms", self.0 / MS, self.0 % MS)
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = Program::PLAIN;
        let mut says = Vec::new();
        if let Some((time, end)) = self.life {
            says.push(format!("ends with {end:?} after {}", Shown(time)));
        }
        let reactions = [
            ("SIGTERM", self.on_term, plain.on_term),
            ("SIGUSR1", self.on_usr1, plain.on_usr1),
            ("other signals", self.on_others, plain.on_others),
        ];
        for (to, reaction, usual) in reactions {
            match reaction {
                _ if reaction == usual => {}
                Reaction::Default => says.push(format!("dies of {to}")),
                Reaction::Ignores => says.push(format!("ignores {to}")),
                Reaction::Ends(time, end) => {
                    says.push(format!("{to}: {end:?} after {}", Shown(time)));
                }
            }
        }
        if let Some(time) = self.stops {
            says.push(format!("stops itself after {}", Shown(time)));
        }
        match self.disk {
            Some((time, Some(long))) => {
                says.push(format!("in state D after {} for {}", Shown(time), Shown(long)));
            }
            Some((time, None)) => says.push(format!("in state D after {} for ever", Shown(time))),
            None => {}
        }
        if self.own_group {
            says.push("its own group".into());
        }
        if self.other_user {
            says.push("another user's".into());
        }
        if !self.reaps {
            says.push("reaps nobody".into());
        }
        for fork in &self.forks {
            let orphan = if fork.orphan { " as an orphan" } else { "" };
            says.push(format!("forks {:?}{orphan} ({})", fork.when, fork.program));
        }
        for say in &self.says {
            says.push(format!("says {:?} {:?}", say.words, say.when));
        }
        if let Some((every, until)) = self.signs {
            says.push(format!("a sign of life every {} until {}", Shown(every), Shown(until)));
        }
        if says.is_empty() {
            says.push("plain".into());
        }
        f.write_str(&says.join("; "))
    }
}

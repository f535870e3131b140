//! What must hold, whatever the schedule: a book of what clawinit was told and what it did, kept
//! by the kernel, from DESIGN sections 3 to 5 alone. It knows nothing of the state machine, and
//! is asked at each call that matters.

use crate::kernel::page;
use crate::schedule::{
    CHLD, CONT, End, INT, IO, KILL, KillMode, MS, Mode, Name, Options, PIPE, QUIT, SECOND, STOP,
    TERM, TSTP, TTIN, TTOU, Time, USR1, Words,
};
use crate::status::layout as at;
use crate::world::{Datagram, Id, Info, Life, Role, World};
use std::sync::atomic::Ordering;

/// How long clawinit waits for what SIGKILL should have ended.
const KILL_WAIT: Time = 2 * SECOND;

/// What its own calls may take, between something and what is done about it.
const MOMENT: Time = MS / 2;

/// How many datagrams are read before a request is acted on, where they come faster than that.
const READ_BEFORE_A_REQUEST: usize = 16;

/// A stop or a restart that was asked for.
#[derive(Clone, Copy, Debug)]
struct Request {
    signal: u8,
    /// When clawinit looked at the clock after it had taken the signal.
    at: Option<Time>,
    /// When SIGKILL is due; `None`: it was sent before.
    deadline: Option<Time>,
    busy: Time,
    /// The child lived.
    child: bool,
    /// Its program went on without it.
    lingering: bool,
    /// It has a say in the exit code: clawinit was not leaving anyway. `None`: perhaps.
    counts: Option<bool>,
}

/// How the last generation ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Last {
    Nothing,
    Ended(End),
    NotStarted(u8),
}

/// What the child says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Readiness {
    Unknown,
    NotYet,
    Ready,
    Reloading,
    Stopping,
}

/// What is to follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    /// The first generation, or one that lives.
    Open,
    Leaves,
    Next {
        from: Time,
        until: Time,
    },
    /// By some microseconds the one or the other.
    Unsure,
}

pub struct Book {
    pub generation: u32,
    pub numbered: u32,
    pub has_page: bool,
    child: Option<Id>,
    started: Time,
    tried: bool,
    last: Last,
    /// When the last generation had ended; `None` in the second field: not yet looked at the clock.
    ended: Option<(Option<Time>, Time)>,
    all_reaped: bool,
    failed_start: Option<bool>,
    fate: Fate,
    hurried: bool,
    lingering: bool,
    stop: Option<Request>,
    /// When the child is to be told of it, after the stop delay.
    tell: Option<Time>,
    restart: Option<Request>,
    /// The signal of a request that is to be acted on.
    taken: Option<u8>,
    /// How many datagrams were read since.
    read: usize,
    /// The child is to end because a word of it did not come.
    failing: Option<Request>,
    /// In this generation, that is.
    failed: bool,
    readiness: Readiness,
    ready_since: Option<Time>,
    /// When a word of it is due, and how busy clawinit had been when that was set.
    word_due: Option<(Time, Time)>,
    in_place: u32,
    /// The first SIGKILL of this generation's end.
    escalated: Option<Time>,
    child_killed: Option<Time>,
    /// The child has outlived even the wait for what SIGKILL should have ended; `None`: perhaps.
    outlived: Option<bool>,
    crashes: Vec<Time>,
    in_a_row: u32,
    unsure: bool,
    /// For the rest of the schedule.
    lost: bool,
    gave_up: bool,
    /// Signals that the child has to get before the next wait.
    required: Vec<u8>,
    may_suspend: bool,
    /// The child is being told to stop, and the sockets of `--listen` go with that.
    frees_port: bool,
    was_suspended: bool,
    told: Vec<Id>,
    list_failed: bool,
    last_answer: Time,
    woke: Time,
    woke_busy: Time,
    /// When it last looked at the clock, and the time before.
    looks: [Time; 2],
    /// It waits for the next generation, and for nothing else: a crash delay.
    idle_since: Option<Time>,
    received: [u64; 65],
    reaped: u64,
    pub stalled: Time,
    rules: Rules,
}

/// The options that are in force, defaults filled in.
#[derive(Clone, Copy)]
struct Rules {
    name: Name,
    pid1: bool,
    stop_grace: Time,
    stop_delay: Time,
    restart_grace: Time,
    sweep_grace: Time,
    restart_code: Option<u8>,
    no_restart_code: Option<u8>,
    success_code: Option<u8>,
    mode: Mode,
    delay: Time,
    delay_max: Time,
    limit: (u8, Time),
    stable: Time,
    kill_mode: KillMode,
    all: bool,
    knows_readiness: bool,
    start_grace: Option<Time>,
    watchdog: Option<Time>,
    in_place: bool,
    stop_grace_max: Option<Time>,
    restart_grace_max: Option<Time>,
}

impl Rules {
    fn of(o: &Options) -> Rules {
        let own = o.name == Name::Clawinit;
        let stop_grace = o.stop_grace.unwrap_or(25 * SECOND);
        let delay = o.restart_delay.unwrap_or(200 * MS);
        Rules {
            name: o.name,
            pid1: o.pid1,
            stop_grace,
            stop_delay: o.stop_delay.unwrap_or(0),
            restart_grace: o.restart_grace.unwrap_or(stop_grace),
            sweep_grace: o.sweep_grace.unwrap_or(3 * SECOND),
            restart_code: own.then_some(o.restart_code.unwrap_or(75)),
            no_restart_code: o.no_restart_code,
            success_code: o.success_code,
            mode: if own { o.restart.unwrap_or(Mode::Request) } else { Mode::Never },
            delay,
            delay_max: delay.max(30 * SECOND),
            limit: o.restart_limit.unwrap_or((5, 60 * SECOND)),
            stable: o.stable_after.unwrap_or(10 * SECOND),
            kill_mode: match o.name {
                Name::Clawinit => o.kill_mode.unwrap_or(KillMode::Mixed),
                Name::Tini | Name::Catatonit => KillMode::Process,
                Name::DumbInit => KillMode::Group,
            },
            all: o.exit_when_all,
            knows_readiness: o.notify || o.ready_url,
            start_grace: o.start_grace,
            watchdog: o.watchdog,
            in_place: o.in_place,
            stop_grace_max: o.stop_extension.map(|more| stop_grace + more),
            restart_grace_max: o.restart_extension.map(|more| o.restart_grace() + more),
        }
    }

    fn sweeps(&self) -> bool {
        self.name == Name::Clawinit && self.kill_mode != KillMode::Process
    }
}

impl Book {
    pub fn new(options: &Options) -> Book {
        Book {
            generation: 0,
            numbered: 0,
            has_page: false,
            child: None,
            started: 0,
            tried: false,
            last: Last::Nothing,
            ended: None,
            all_reaped: false,
            failed_start: None,
            fate: Fate::Open,
            hurried: false,
            lingering: false,
            stop: None,
            tell: None,
            restart: None,
            taken: None,
            read: 0,
            failing: None,
            failed: false,
            readiness: Readiness::Unknown,
            ready_since: None,
            word_due: None,
            in_place: 0,
            escalated: None,
            child_killed: None,
            outlived: Some(false),
            crashes: Vec::new(),
            in_a_row: 0,
            unsure: false,
            lost: false,
            gave_up: false,
            required: Vec::new(),
            may_suspend: false,
            frees_port: false,
            was_suspended: false,
            told: Vec::new(),
            list_failed: false,
            last_answer: 0,
            woke: 0,
            woke_busy: 0,
            looks: [0; 2],
            idle_since: None,
            received: [0; 65],
            reaped: 0,
            stalled: 0,
            rules: Rules::of(options),
        }
    }

    pub fn was_stopped(&self) -> bool {
        self.stop.is_some()
    }

    /// Whether it has come so far as to start its command.
    pub fn has_begun(&self) -> bool {
        self.tried
    }

    pub fn has_escalated(&self) -> bool {
        self.escalated.is_some()
    }

    /// The program's own `now` for what has just come.
    pub fn looked_at_clock(&mut self, now: Time) {
        self.looks = [now, self.looks[0]];
        let rules = self.rules;
        if let Some(stop) = &mut self.stop
            && stop.at.is_none()
        {
            stop.at = Some(now);
            let own = now + rules.stop_delay + rules.stop_grace;
            let other = [self.restart, self.failing].map(|r| r.and_then(|r| r.deadline));
            stop.deadline = match (other.into_iter().flatten().min(), self.escalated) {
                _ if !stop.child && !stop.lingering => Some(now + rules.stop_grace),
                (_, Some(_)) => None,
                (Some(other), None) => Some(own.min(other)),
                (None, None) => Some(own),
            };
            if stop.child && rules.stop_delay > 0 && self.escalated.is_none() {
                self.tell = Some(now + rules.stop_delay);
            }
            if stop.child || stop.lingering {
                // It has the earlier of both from here on, and that alone can be extended.
                for other in [&mut self.restart, &mut self.failing].into_iter().flatten() {
                    other.deadline = other.deadline.filter(|_| self.escalated.is_some());
                }
            }
        }
        if let Some(restart) = &mut self.restart
            && restart.at.is_none()
        {
            restart.at = Some(now);
            restart.deadline = match &mut self.failing {
                Some(failing) => failing.deadline.take(),
                None => Some(now + rules.restart_grace),
            };
        }
        if let Some((ended @ None, _)) = &mut self.ended
            && self.all_reaped
        {
            *ended = Some(now);
            if self.stop.is_none() && self.outlived == Some(true) {
                // Nobody waited for it any more: what it left has the time of any sweep.
                self.escalated = None;
                for request in [&mut self.restart, &mut self.failing].into_iter().flatten() {
                    request.deadline = None;
                }
            }
            self.fate = self.verdict(now);
            self.lingering = rules.all
                && self.fate == Fate::Leaves
                && self.stop.is_none()
                && self.restart.is_none()
                && self.failing.is_none();
        }
        if let Some(temporary) = self.failed_start.take() {
            self.fate = match self.stop {
                None if temporary || self.generation > 0 => self.crash(now),
                _ => Fate::Leaves,
            };
        }
    }

    /// DESIGN section 4.
    fn verdict(&mut self, now: Time) -> Fate {
        let rules = self.rules;
        let since =
            if self.says_when_it_is_ready() { self.ready_since } else { Some(self.started) };
        let lived = since.map_or(0, |since| now - since);
        let Last::Ended(end) = self.last else { return Fate::Unsure };
        let stable = self.longer(lived, rules.stable);
        if self.stop.is_some() {
            return Fate::Leaves;
        }
        if self.restart.is_some() {
            self.forgive(stable);
            return Fate::Next { from: now, until: now };
        }
        let code = end.code();
        let asked = matches!(end, End::Exit(code) if Some(code) == rules.restart_code);
        let failed = self.failed || code != 0 && rules.success_code != Some(code);
        let by_code = match rules.mode {
            _ if rules.no_restart_code == Some(code) => return Fate::Leaves,
            Mode::Never => return Fate::Leaves,
            _ if asked => true,
            Mode::Request => return Fate::Leaves,
            Mode::OnFailure if !failed => return Fate::Leaves,
            Mode::OnFailure | Mode::Always => false,
        };
        self.forgive(stable);
        match (by_code, stable) {
            (true, Some(true)) if !self.failed => Fate::Next { from: now, until: now },
            (true, None) if !self.failed => {
                self.unsure = true;
                Fate::Unsure
            }
            _ => self.crash(now),
        }
    }

    /// The child has ended, and its program goes on without it (`--exit-when all`).
    fn lingers(&self) -> bool {
        self.lingering && self.child.is_none()
    }

    /// Whether a generation is steady only once it has said so: where it is asked to.
    fn says_when_it_is_ready(&self) -> bool {
        self.rules.knows_readiness
    }

    /// Nobody has asked the child, or what goes on of its program, to end.
    fn runs(&self) -> bool {
        let asked = self.stop.is_some() || self.restart.is_some() || self.failing.is_some();
        !asked && (self.child.is_some() || self.lingers())
    }

    fn forgive(&mut self, stable: Option<bool>) {
        match stable {
            Some(true) => {
                self.crashes.clear();
                self.in_a_row = 0;
                self.unsure = false;
            }
            Some(false) => {}
            None => self.unsure = true,
        }
    }

    fn crash(&mut self, now: Time) -> Fate {
        let (limit, window) = self.rules.limit;
        let recent: Vec<_> =
            self.crashes.iter().map(|t| self.longer(now - t, window + 1)).collect();
        let surely = recent.iter().filter(|old| **old == Some(false)).count();
        let perhaps = recent.iter().filter(|old| old.is_none()).count();
        self.crashes.push(now);
        self.in_a_row += 1;
        if self.unsure
            || self.lost
            || surely < usize::from(limit) && surely + perhaps >= usize::from(limit)
        {
            self.unsure = true;
            return Fate::Unsure;
        }
        if surely >= usize::from(limit) {
            self.gave_up = true;
            return Fate::Leaves;
        }
        let doubled = self.rules.delay.saturating_mul(1 << (self.in_a_row - 1).min(31));
        let full = doubled.min(self.rules.delay_max);
        Fate::Next { from: now + full / 5 * 4, until: now + full }
    }

    /// Whether `time` is at least `limit`; `None`: the book cannot tell.
    fn longer(&self, time: Time, limit: Time) -> Option<bool> {
        if limit == 0 {
            return Some(true);
        }
        (time.abs_diff(limit) > MOMENT + self.stalled).then_some(time >= limit)
    }

    /// When what is alive may get SIGKILL, and has to.
    fn deadline(&self) -> Option<Time> {
        let of = |request: &Option<Request>| request.as_ref().and_then(|r| r.deadline);
        [of(&self.stop), of(&self.restart), of(&self.failing)].into_iter().flatten().min()
    }

    /// The same for what the child left.
    fn sweep_deadline(&self) -> Option<Time> {
        let ended = self.ended.and_then(|(at, _)| at)?;
        let grace = ended + self.rules.sweep_grace;
        if self.rules.all && self.fate == Fate::Unsure || self.outlived.is_none() {
            return Some(ended); // whether it sweeps at all, the book cannot tell
        }
        match self.deadline() {
            Some(limit) if self.rules.all && self.limited_by_request() => Some(limit),
            Some(limit) => Some(grace.min(limit)),
            None if self.lingers() => None,
            None => Some(grace),
        }
    }

    /// The request came while the child, or its program, still lived.
    fn limited_by_request(&self) -> bool {
        let was =
            |request: &Option<Request>| request.as_ref().is_some_and(|r| r.child || r.lingering);
        was(&self.stop) || was(&self.restart) || was(&self.failing)
    }
}

impl End {
    pub fn code(self) -> u8 {
        match self {
            End::Exit(code) => code,
            End::Signal(signal) => 128 + signal,
        }
    }
}

impl World {
    fn rules(&self) -> Rules {
        self.book.rules
    }

    /// What a signal is passed on as.
    fn passed_on_as(&self, signal: u8) -> Option<u8> {
        let options = &self.plan.options;
        match options.map {
            Some((from, to)) if from == signal => to,
            _ if options.name == Name::DumbInit && [TSTP, TTIN, TTOU].contains(&signal) => {
                Some(STOP)
            }
            _ => Some(signal),
        }
    }

    fn asks_for_a_stop(&self, signal: u8) -> bool {
        let options = &self.plan.options;
        options.name == Name::Clawinit
            && match options.stop_on {
                None => [TERM, INT, QUIT].contains(&signal),
                Some(other) => [TERM, other].contains(&signal),
            }
    }

    fn asks_for_a_restart(&self, signal: u8) -> bool {
        let options = &self.plan.options;
        options.name == Name::Clawinit
            && self.rules().mode != Mode::Never
            && !options.restart_on_nothing
            && signal == USR1
    }

    fn told_to_stop(&self, signal: u8) -> u8 {
        let options = &self.plan.options;
        options.stop_signal.or(self.passed_on_as(signal)).unwrap_or(signal)
    }

    /// What the child is sent for its silence.
    fn told_for_its_silence(&self) -> u8 {
        let options = &self.plan.options;
        let ends = options.stop_signal.unwrap_or(TERM);
        match self.book.readiness {
            Readiness::NotYet | Readiness::Reloading => ends,
            Readiness::Unknown | Readiness::Ready | Readiness::Stopping => {
                options.watchdog_signal.unwrap_or(ends)
            }
        }
    }

    fn told_to_restart(&self, signal: u8) -> u8 {
        let options = &self.plan.options;
        options.restart_signal.or(self.passed_on_as(signal)).unwrap_or(signal)
    }

    /// Children that are no helper of clawinit's own.
    fn others(&self) -> impl Iterator<Item = Id> {
        self.own_children().filter(|id| !self.is_helper(*id))
    }

    /// One of its helpers; one that even SIGKILL did not end in time counts as what is left.
    fn is_helper(&self, id: Id) -> bool {
        let process = &self.processes[id];
        matches!(process.role, Role::Exporter | Role::Prober) && !process.given_up
    }

    // ---- the wait ----

    /// It is about to wait, until `end` or for ever.
    pub fn waits(&mut self, end: Option<Time>) {
        self.say(|w| match end {
            Some(end) => format!("waits for {} at most", crate::schedule::Shown(end - w.now())),
            None => "waits".into(),
        });
        self.heard_all();
        self.all_was_passed_on();
        self.silence_of_those_that_go_on();
        let book = &self.book;
        let (now, busy) = (self.now(), self.busy);
        for id in self.own_children() {
            if matches!(self.processes[id].life, Life::Zombie(_)) && !self.is_pending(CHLD) {
                let name = self.named(id);
                self.broken(format!("I9: {name} is a zombie, and nothing will come to tell of it"));
            }
        }
        let alone = self.others().next().is_none();
        let leaves = book.stop.is_some() || book.fate == Fate::Leaves;
        let idle = book.child.is_none() && alone && matches!(book.fate, Fate::Next { .. });
        if book.child.is_none() && leaves {
            if alone {
                self.broken("it goes on, though nothing is left to wait for".into());
            }
            if !self.rules().sweeps() && !self.rules().all {
                self.broken("it waits for what it does not sweep".into());
            }
        }
        let overslept = self.overslept();
        let book = &self.book;
        let due = |what: &str, deadline: Option<Time>, since: Time| {
            let Some(deadline) = deadline else { return };
            let latest = deadline + (busy - since) + MOMENT;
            if now > latest {
                self.broken(format!("I3: {what} is past, and it waits again"));
            }
            if end.is_none_or(|end| end > latest) {
                self.broken(format!("I3: it would sleep through {what}"));
            }
        };
        let requests = [book.stop, book.restart, book.failing].into_iter().flatten();
        let since = requests.map(|request| request.busy).min().unwrap_or(0);
        if let Some((at, since)) = book.word_due.filter(|_| book.runs()) {
            // It has not looked yet, or has looked a moment ago and given the child its time anew.
            let at = if overslept { self.due_anew().map(|time| now + time) } else { Some(at) };
            due("a word of the child", at, since);
        }
        if book.child.is_some() {
            due(
                "the deadline of the child",
                book.deadline().filter(|_| book.escalated.is_none()),
                since,
            );
            due(
                "the time to tell the child",
                book.tell.filter(|_| book.escalated.is_none()),
                since,
            );
        }
        let waits = self.rules().sweeps() || self.rules().all && leaves;
        if let Some((Some(at), then)) = book.ended
            && book.child.is_none()
            && waits
            && (!book.list_failed || self.rules().pid1)
        {
            let left = self.others().any(|id| {
                let process = &self.processes[id];
                process.ours_since < at && process.killed.is_none()
            });
            let unsure = book.fate == Fate::Unsure || book.outlived.is_none();
            let left = left && book.escalated.is_none() && !unsure;
            let deadline = book.sweep_deadline().filter(|_| left);
            due("the deadline of what the child left", deadline, then.min(since));
            if let Fate::Next { from: _, until } = book.fate
                && alone
                && book.stop.is_none()
            {
                due("the start of the next generation", Some(until), then);
            }
            if book.fate == Fate::Leaves
                && !book.lingering
                && book.stop.is_none()
                && !self.rules().all
            {
                let bound = at + self.rules().sweep_grace + KILL_WAIT;
                due("the end of the last sweep", Some(bound), then);
            }
        }
        if let Some(stop) = book.stop
            && let Some(at) = stop.at
        {
            let rules = self.rules();
            let usual = at + rules.stop_delay + rules.stop_grace;
            let bound = usual.max(stop.deadline.unwrap_or(0)) + KILL_WAIT;
            due("the end of the stop (I6)", Some(bound), stop.busy);
        }
        let lives = book.child.is_some()
            || !alone
                && (book.lingering
                    || book.restart.is_some()
                    || book.failing.is_some()
                    || book.fate == Fate::Unsure);
        let idle_since = idle.then_some(book.idle_since.unwrap_or(now));
        if end.is_none() && !lives {
            self.broken("it would wait for ever, without a child".into());
        }
        if let (Some(_), Some(at)) = (self.book.child, self.book.escalated)
            && now + MOMENT >= at + KILL_WAIT
        {
            // Held up after it had looked at the clock, it has not judged that yet.
            self.book.outlived = (self.book.woke >= at + KILL_WAIT).then_some(true);
        }
        self.book.idle_since = self.book.idle_since.or(idle_since);
    }

    /// The wait is over.
    pub fn woke(&mut self, info: Option<Info>) {
        let now = self.now();
        self.book.woke = now;
        self.book.woke_busy = self.busy;
        self.book.may_suspend = false;
        self.book.was_suspended = false;
        let Some(info) = info else { return };
        let Info { signal, sender, .. } = info;
        self.say(|_| format!("takes signal {signal} from {sender:?}"));
        let own = sender == Some(self.own_pid());
        if signal == CHLD
            || signal == IO && sender.is_none() && self.has_ear
            || own && [PIPE, 25].contains(&signal)
            || sender.is_none() && [TTIN, TTOU, CONT].contains(&signal)
        {
            return;
        }
        self.book.received[usize::from(signal)] += 1;
        if self.asks_for_a_stop(signal) || self.asks_for_a_restart(signal) {
            // What was said before the request was not said in answer to it.
            (self.book.taken, self.book.read) = (Some(signal), 0);
            if !self.has_ear {
                self.heard_all();
            }
        } else if let Some(passed) = self.passed_on_as(signal) {
            if self.book.child.is_some() {
                self.book.required.push(passed);
            }
            let background = [TTIN, TTOU].contains(&signal)
                && !matches!(self.rules().name, Name::Tini | Name::Catatonit);
            self.book.may_suspend = signal == TSTP || background;
        }
    }

    /// Nothing is left to be heard: the request that came with it is acted on.
    pub fn heard_all(&mut self) {
        match self.book.taken.take() {
            Some(signal) if self.asks_for_a_stop(signal) => self.stop_taken(signal),
            Some(signal) => self.restart_taken(signal),
            None => {}
        }
    }

    fn request(&self, signal: u8) -> Request {
        let book = &self.book;
        Request {
            signal,
            at: None,
            deadline: None,
            busy: self.busy,
            child: book.child.is_some(),
            lingering: book.lingers(),
            counts: match book.fate {
                _ if book.child.is_some() || book.lingering || book.restart.is_some() => Some(true),
                _ if book.failing.is_some() && !matches!(book.fate, Fate::Next { .. }) => None,
                Fate::Unsure => None,
                fate => Some(fate != Fate::Leaves),
            },
        }
    }

    fn stop_taken(&mut self, signal: u8) {
        let told = self.told_to_stop(signal);
        let request = self.request(signal);
        let escalated = self.book.escalated.is_some();
        let lives = self.book.child.is_some();
        match self.book.stop {
            None => {
                self.book.stop = Some(request);
                self.book.frees_port = lives && self.rules().stop_delay == 0 && !escalated;
                if lives && self.rules().stop_delay == 0 && !escalated {
                    self.book.required.push(told);
                }
            }
            Some(_) => {
                self.book.tell = None;
                if lives {
                    self.book.required.push(told);
                }
            }
        }
    }

    fn restart_taken(&mut self, signal: u8) {
        if self.book.stop.is_some() {
            return;
        }
        let request = self.request(signal);
        let lives = self.book.child.is_some();
        match self.book.restart {
            Some(_) => {}
            None if lives || self.book.lingers() => {
                self.book.restart = Some(request);
                if self.book.failing.is_some() {
                    // It was asked to end already.
                } else if lives {
                    let told = self.told_to_restart(signal);
                    self.book.required.push(told);
                } else {
                    self.book.fate = Fate::Next { from: self.now(), until: Time::MAX / 2 };
                }
            }
            None => self.book.hurried = true,
        }
    }

    // ---- what the child says ----

    fn word_is_due_in(&mut self, time: Option<Time>) {
        self.book.word_due = time.map(|time| (self.now() + time, self.busy));
    }

    /// Whether whoever has this pid now speaks for the child.
    fn speaks(&self, mut pid: i32) -> bool {
        for _ in 0..32 {
            if self.book.child.is_some_and(|id| self.processes[id].pid == pid) {
                return true;
            }
            match self.parent_of(pid).filter(|_| self.has_proc()) {
                Some(parent) if parent == self.own_pid() => {
                    let helper = self.find(pid).is_some_and(|id| self.is_helper(id));
                    return self.rules().all && !helper;
                }
                Some(parent) if parent > 1 => pid = parent,
                _ => return false,
            }
        }
        false
    }

    /// clawinit reads a datagram.
    pub fn heard(&mut self, datagram: Datagram) {
        let pid = self.processes[datagram.sender].pid;
        let asks = self.find(pid).is_some_and(|id| self.processes[id].role == Role::Prober);
        // Whoever has asked says no more than this; another may have had its pid.
        let words = match datagram.words {
            Words::ReadyAndAlive if asks => Words::Ready,
            Words::Ready => Words::Ready,
            _ if asks => Words::Garbage,
            words => words,
        };
        let heard = asks || self.speaks(pid);
        self.say(|w| {
            let whether = if heard { "hears" } else { "does not listen to" };
            format!("{whether} {}: {words:?}", w.named(datagram.sender))
        });
        match words {
            _ if !heard => {}
            Words::ReadyAndAlive => {
                self.noticed(Words::Ready);
                self.noticed(Words::Alive);
            }
            Words::Garbage | Words::TooLong => {}
            words => self.noticed(words),
        }
        // Of a flood no more is read before a request than waits in such a socket.
        self.book.read += 1;
        if self.book.read == READ_BEFORE_A_REQUEST {
            self.heard_all();
        }
    }

    fn noticed(&mut self, words: Words) {
        let (now, rules) = (self.now(), self.rules());
        if !self.book.runs() {
            return self.noticed_while_ending(words);
        }
        let readiness = self.book.readiness;
        match words {
            Words::Ready if readiness == Readiness::Ready => {}
            Words::Ready => self.is_ready(),
            Words::Reloading if readiness == Readiness::Reloading => {}
            Words::Stopping if readiness == Readiness::Stopping => {}
            Words::Reloading => {
                self.book.readiness = Readiness::Reloading;
                self.word_is_due_in(rules.start_grace);
            }
            Words::Stopping => {
                self.book.readiness = Readiness::Stopping;
                let time = rules.watchdog.unwrap_or_default().max(rules.restart_grace);
                self.word_is_due_in(Some(time));
            }
            Words::Alive if [Readiness::Unknown, Readiness::Ready].contains(&readiness) => {
                self.word_is_due_in(rules.watchdog);
            }
            Words::Failed => {
                let options = &self.plan.options;
                let ends = options.stop_signal.unwrap_or(TERM);
                let told = options.watchdog_signal.unwrap_or(ends);
                if self.book.child.is_some() {
                    self.book.required.push(told);
                }
                self.fails(now);
            }
            _ => {}
        }
    }

    /// Whether clawinit did not run itself for a second or more when the word was due.
    fn overslept(&self) -> bool {
        self.book.word_due.is_some_and(|(due, _)| self.now() + MOMENT >= due + SECOND)
    }

    /// How long a child has once more then.
    fn due_anew(&self) -> Option<Time> {
        let rules = self.rules();
        match self.book.readiness {
            Readiness::NotYet | Readiness::Reloading => rules.start_grace,
            Readiness::Unknown | Readiness::Ready => rules.watchdog,
            Readiness::Stopping => Some(rules.restart_grace),
        }
    }

    /// clawinit says that it gives it that.
    pub fn gives_time_anew(&mut self) {
        if !self.overslept() || !self.book.runs() {
            self.broken("it says that it did not run when the child's word was due".into());
        }
        self.word_is_due_in(self.due_anew());
        // It looked at the clock a moment ago.
        if let Some((due, _)) = &mut self.book.word_due {
            *due -= MOMENT;
        }
    }

    fn is_ready(&mut self) {
        let (now, rules) = (self.now(), self.rules());
        self.book.readiness = Readiness::Ready;
        self.book.ready_since.get_or_insert(now);
        self.word_is_due_in(rules.watchdog);
    }

    /// The child is asked to end, as one that has crashed.
    fn fails(&mut self, at: Time) {
        let deadline = Some(at + self.rules().restart_grace);
        let request = self.request(TERM);
        if request.lingering {
            // What follows is judged anew, when they have ended: a crash that the book cannot time.
            self.book.fate = Fate::Unsure;
            self.book.lost = true;
        }
        let busy = self.book.woke_busy;
        self.book.failing = Some(Request { at: Some(at), deadline, busy, ..request });
        self.book.failed = true;
    }

    /// Those that go on without the child have to speak, too; whether they were told, nobody sees
    /// where there are none to tell.
    fn silence_of_those_that_go_on(&mut self) {
        let late = self.book.word_due.is_some_and(|(due, _)| self.now() >= due);
        if late && !self.overslept() && self.book.runs() && self.book.child.is_none() {
            let at = self.book.woke;
            self.fails(at);
        }
    }

    fn noticed_while_ending(&mut self, words: Words) {
        let (now, rules) = (self.now(), self.rules());
        if self.book.child.is_none() && !self.limited_program_goes_on() {
            return;
        }
        let unkilled = self.book.escalated.is_none();
        let stopping = self.book.stop.is_some();
        let restarting = !stopping && self.book.restart.is_some();
        match words {
            Words::Stopping => self.book.readiness = Readiness::Stopping,
            Words::Reloading => self.book.readiness = Readiness::Reloading,
            Words::Ready if restarting && rules.in_place && unkilled => {
                self.book.restart = None;
                self.book.failing = None;
                self.book.failed = false;
                self.book.in_place += 1;
                if self.book.child.is_none() {
                    self.book.fate = Fate::Leaves; // with the last of those that go on
                }
                self.book.ready_since = None;
                self.is_ready();
            }
            Words::Extend(time) if unkilled && (stopping || restarting) => {
                let (request, latest) = if stopping {
                    let max = rules.stop_grace_max.map(|max| max + rules.stop_delay);
                    (self.book.stop.as_mut(), max)
                } else {
                    (self.book.restart.as_mut(), rules.restart_grace_max)
                };
                if let Some(request) = request
                    && let (Some(at), Some(old), Some(max)) = (request.at, request.deadline, latest)
                {
                    // In whole microseconds, as it was said.
                    let wanted = now + time / 1_000 * 1_000;
                    request.deadline = Some(old.max(wanted.min(at + max)));
                }
            }
            _ => {}
        }
    }

    /// A request came while the program went on without the child, and it still does.
    fn limited_program_goes_on(&self) -> bool {
        let lingers = |r: &Option<Request>| r.as_ref().is_some_and(|r| r.lingering);
        let book = &self.book;
        lingers(&book.stop) || lingers(&book.restart) || lingers(&book.failing)
    }

    fn all_was_passed_on(&mut self) {
        if std::mem::take(&mut self.book.frees_port) && self.listening > 0 {
            self.broken("the child was told to stop, and clawinit keeps its port".into());
        }
        if let Some(signal) = self.book.required.first() {
            self.broken(format!("I7: signal {signal} has not come to the child"));
        }
    }

    // ---- reaping ----

    pub fn reaped(&mut self, id: Id, end: End) {
        self.say(|w| format!("{} is reaped", w.named(id)));
        if self.book.child == Some(id) {
            self.book.child = None;
            self.book.tell = None;
            self.book.last = Last::Ended(end);
            self.book.ended = Some((None, self.busy));
            self.book.all_reaped = false;
            // What was to be passed on comes too late.
            self.book.required.clear();
        } else if !self.is_helper(id) {
            self.book.reaped += 1;
        }
        self.book.told.retain(|told| *told != id);
    }

    /// A look for dead children found none; `any`: there are some that live.
    pub fn none_dead(&mut self, any: bool) {
        self.book.all_reaped = true;
        if !any {
            self.book.last_answer = self.now();
        }
    }

    pub fn listed(&mut self, works: bool) {
        self.book.list_failed |= !works;
        self.book.last_answer = self.now();
    }

    // ---- sending ----

    /// kill(2) for one process; an errno where it fails.
    pub fn kill(&mut self, pid: i32, signal: u8) -> Option<i32> {
        self.call();
        let id = self.target(pid, signal);
        self.sends(id, signal);
        self.deliver_or_not(id, signal)
    }

    pub fn kill_group(&mut self, leader: i32, signal: u8) -> Option<i32> {
        self.call();
        let id = self.target(leader, signal);
        self.sends(id, signal);
        if let Some(errno) = self.kill_fails() {
            return Some(errno);
        }
        let own = self.own_pid();
        let members: Vec<_> = (0..self.processes.len())
            .filter(|id| self.is_alive(*id) && self.processes[*id].group == leader)
            .collect();
        debug_assert_ne!(own, leader);
        for member in members {
            if signal == KILL {
                self.processes[member].killed.get_or_insert(0);
            }
            if !self.processes[member].program.other_user {
                self.deliver(member, signal);
            }
        }
        None
    }

    pub fn kill_everyone(&mut self, signal: u8) -> Option<i32> {
        self.call();
        self.say(|_| format!("sends signal {signal} to everyone"));
        if !self.rules().pid1 {
            self.broken(format!("signal {signal} for everyone, and it is not PID 1"));
        }
        if !self.book.list_failed {
            self.broken(format!("signal {signal} for everyone, though there is a list"));
        }
        if signal == KILL {
            self.may_kill_leftovers();
        }
        for id in 0..self.processes.len() {
            if self.is_alive(id) {
                if signal == KILL {
                    let now = self.now();
                    self.processes[id].killed.get_or_insert(now);
                }
                self.deliver(id, signal);
            }
        }
        None
    }

    pub fn kill_itself(&mut self, signal: u8) {
        self.call();
        match signal {
            STOP => {
                let stopped = self.book.child.is_some_and(|id| self.processes[id].stopped);
                let job = self.plan.options.terminal && (stopped || self.just_woken());
                if self.rules().pid1 || !self.book.may_suspend && !job {
                    self.broken("it stops itself, and nobody asked for that".into());
                }
                self.book.was_suspended = true;
                self.suspend();
            }
            _ => {
                let own = self.own_pid();
                self.send_to_clawinit(Info { signal, sender: Some(own), verb: false });
            }
        }
    }

    fn just_woken(&self) -> bool {
        self.book.child.is_some_and(|id| self.now() - self.processes[id].woken < MOMENT)
    }

    /// Whom a pid means: a child that is not reaped, or a promise is broken.
    fn target(&mut self, pid: i32, signal: u8) -> Id {
        let found = self.own_children().find(|id| self.processes[*id].pid == pid);
        if let Some(id) = found {
            return id;
        }
        match self.find(pid) {
            Some(id) => {
                let name = self.named(id);
                self.broken(format!("I8: signal {signal} for pid {pid}, which is {name}"));
            }
            None => self.broken(format!("I8: signal {signal} for pid {pid}, which is nobody's")),
        }
    }

    fn deliver_or_not(&mut self, id: Id, signal: u8) -> Option<i32> {
        if let Some(errno) = self.kill_fails() {
            return Some(errno);
        }
        if self.processes[id].program.other_user {
            return Some(libc::EPERM);
        }
        self.deliver(id, signal);
        None
    }

    /// clawinit sends a signal to one of its children.
    fn sends(&mut self, id: Id, signal: u8) {
        self.say(|w| format!("sends signal {signal} to {}", w.named(id)));
        if self.book.child == Some(id) {
            self.sends_child(id, signal);
        } else if self.is_helper(id) {
            if signal != KILL {
                let name = self.named(id);
                self.broken(format!("signal {signal} for {name}"));
            }
        } else {
            self.sends_leftover(id, signal);
        }
        if signal == KILL {
            let now = self.now();
            self.processes[id].killed.get_or_insert(now);
        }
    }

    fn sends_child(&mut self, id: Id, signal: u8) {
        if let Some(place) = self.book.required.iter().position(|wanted| *wanted == signal) {
            self.book.required.remove(place);
            return;
        }
        let now = self.now();
        let process = &self.processes[id];
        let told = self.book.stop.map(|stop| self.told_to_stop(stop.signal));
        let word_due = self.book.word_due.filter(|_| self.book.runs());
        match signal {
            KILL => {
                match self.book.deadline() {
                    None => {
                        self.broken("I2: SIGKILL for the child, and there is no deadline".into())
                    }
                    Some(deadline) if now < deadline => {
                        let early = crate::schedule::Shown(deadline - now);
                        self.broken(format!("I2: SIGKILL for the child {early} early"));
                    }
                    Some(_) => {}
                }
                self.book.child_killed.get_or_insert(now);
                self.book.escalated.get_or_insert(now);
            }
            CONT if process.stopped || self.just_woken() || self.book.was_suspended => {}
            _ if Some(signal) == told && self.book.tell.is_some_and(|tell| now >= tell) => {
                self.book.tell = None;
            }
            _ if signal == self.told_for_its_silence()
                && word_due.is_some_and(|(due, _)| now >= due) =>
            {
                self.was_silent();
                // One look to judge it, and perhaps one for the times that are kept of it.
                let [_, at] = self.book.looks;
                self.fails(at);
            }
            TERM if self.rules().name == Name::DumbInit && !self.is_alive(id) => {}
            _ => self.broken(format!("I7: signal {signal} for the child, which nobody sent")),
        }
    }

    /// Nothing that it said in time waits to be heard.
    fn was_silent(&mut self) {
        let readiness = self.book.readiness;
        let due = self.book.word_due.map_or(0, |(due, _)| due);
        let would_help = |words| match readiness {
            Readiness::NotYet | Readiness::Reloading => {
                [Words::Ready, Words::ReadyAndAlive].contains(&words)
            }
            Readiness::Unknown | Readiness::Ready => {
                [Words::Alive, Words::ReadyAndAlive].contains(&words)
            }
            Readiness::Stopping => false,
        };
        let spoken = self.unheard().find(|said| {
            would_help(said.words)
                && said.sent < due.min(self.book.woke)
                && self.book.child == Some(said.sender)
        });
        if let Some(said) = spoken {
            let words = said.words;
            self.broken(format!(
                "the child is asked to end for its silence; it had said {words:?}"
            ));
        }
    }

    fn sends_leftover(&mut self, id: Id, signal: u8) {
        if self.book.child.is_some() {
            let name = self.named(id);
            self.broken(format!("signal {signal} for {name}, while the child lives"));
        }
        let now = self.now();
        match signal {
            KILL => self.may_kill_leftovers(),
            // It is they who get what is passed on.
            _ if self.rules().all => {}
            CONT if self.processes[id].stopped || now - self.processes[id].woken < MOMENT => {}
            TERM if self.rules().sweeps() => {
                if self.book.told.contains(&id) {
                    let name = self.named(id);
                    self.broken(format!("{name} is told twice in one sweep"));
                }
                self.book.told.push(id);
            }
            _ => {
                let name = self.named(id);
                self.broken(format!("signal {signal} for {name}, which nobody sent"));
            }
        }
    }

    fn may_kill_leftovers(&mut self) {
        let now = self.now();
        match self.book.sweep_deadline() {
            None => self.broken("I2: SIGKILL for what is left, and there is no deadline".into()),
            Some(deadline) if now < deadline => {
                let early = crate::schedule::Shown(deadline - now);
                self.broken(format!("I2: SIGKILL for what is left {early} early"));
            }
            Some(_) => {}
        }
        self.book.escalated.get_or_insert(now);
    }

    // ---- generations ----

    /// It is about to start a generation.
    pub fn starts(&mut self) {
        self.say(|_| "starts a generation".into());
        self.all_was_passed_on();
        if let Some(id) = self.book.child {
            let name = self.named(id);
            self.broken(format!("I1: a generation is started beside {name}"));
        }
        if self.book.stop.is_some() {
            self.broken("I5: a generation is started after a stop".into());
        }
        if self.rules().name == Name::Clawinit && self.book.numbered != self.book.generation + 1 {
            self.broken("CLAWINIT_GENERATION is another".into());
        }
        let kept = self.rules().name == Name::Clawinit && self.plan.options.listen;
        if kept && self.listening == 0 {
            self.broken("a generation is started without the sockets of --listen".into());
        }
        match self.book.fate {
            Fate::Open if self.book.tried => {
                self.broken("a generation that nobody asked for".into())
            }
            Fate::Leaves => self.broken("a generation is started, though it had to leave".into()),
            Fate::Next { from, .. } if self.now() < from && !self.book.hurried => {
                let early = crate::schedule::Shown(from - self.now());
                self.broken(format!("I12: the next generation is started {early} early"));
            }
            Fate::Open | Fate::Next { .. } | Fate::Unsure => {}
        }
        self.book.tried = true;
    }

    pub fn started(&mut self, started: Result<Id, i32>) {
        self.book.hurried = false;
        self.book.restart = None;
        self.book.told.clear();
        self.book.lingering = false;
        self.book.failing = None;
        self.book.failed = false;
        match started {
            Ok(id) => {
                let rules = self.rules();
                (self.book.readiness, self.book.ready_since) = (Readiness::Unknown, None);
                if rules.knows_readiness {
                    self.book.readiness = Readiness::NotYet;
                    self.word_is_due_in(rules.start_grace);
                } else {
                    self.word_is_due_in(rules.watchdog);
                }
                self.book.generation += 1;
                self.book.idle_since = None;
                self.book.child = Some(id);
                self.book.started = self.now();
                self.book.fate = Fate::Open;
                self.book.outlived = Some(false);
                self.book.ended = None;
                self.book.escalated = None;
                self.book.child_killed = None;
            }
            Err(errno) => {
                let temporary =
                    [libc::EAGAIN, libc::ENOMEM, libc::EMFILE, libc::ENFILE, libc::ETXTBSY];
                let code = match errno {
                    libc::EAGAIN | libc::ENOMEM => 125,
                    libc::ENOENT => 127,
                    _ => 126,
                };
                self.say(|_| format!("it cannot be started: errno {errno}"));
                self.book.last = Last::NotStarted(code);
                self.book.failed_start = Some(temporary.contains(&errno));
            }
        }
    }

    // ---- the end ----

    pub fn exits(&mut self, code: u8) {
        self.say(|_| format!("leaves with {code}"));
        self.all_was_passed_on();
        self.silence_of_those_that_go_on();
        let book = &self.book;
        // A child that failed and outlives SIGKILL is waited for only where another is to follow.
        let outlives = book.failing.is_some()
            && book.restart.is_none()
            && matches!(self.rules().mode, Mode::Never | Mode::Request)
            && book.escalated.is_some_and(|at| self.now() + book.stalled >= at + KILL_WAIT);
        if book.stop.is_none() && !outlives && !matches!(book.fate, Fate::Leaves | Fate::Unsure) {
            self.broken(format!("it leaves with {code}, and nobody asked for that"));
        }
        let wanted = self.codes();
        if !wanted.contains(&code) {
            self.broken(format!("I10: it leaves with {code}, not with {wanted:?}"));
        }
        self.nothing_is_left();
        self.page_agrees(code);
        self.words_agree(code);
    }

    /// DESIGN section 3: the codes that the history allows; more than one where microseconds
    /// decide.
    fn codes(&self) -> Vec<u8> {
        let mut codes = Vec::new();
        let counts = self.book.stop.map(|stop| stop.counts);
        if counts != Some(Some(true)) {
            codes.extend(self.codes_of(None));
        }
        if !matches!(counts, None | Some(Some(false))) {
            codes.extend(self.codes_of(self.book.stop));
        }
        codes
    }

    fn codes_of(&self, stop: Option<Request>) -> Vec<u8> {
        let book = &self.book;
        let went_on = [stop, book.failing].into_iter().flatten().any(|request| request.lingering);
        let went_on = went_on || self.rules().all && book.fate == Fate::Unsure;
        let left = went_on && self.others().next().is_some();
        let overdue = match stop.and_then(|stop| stop.deadline) {
            // Asked for after SIGKILL: its deadline is the end of the wait for that.
            None if book.escalated.is_some() => vec![false, true],
            None => vec![false],
            Some(deadline) => match book.escalated {
                Some(at) if at.abs_diff(deadline) <= book.stalled => vec![false, true],
                Some(at) if at >= deadline => vec![true],
                // What SIGKILL has ended before the deadline is in time, and what it took until
                // after it is not; whether it ended anything then, the book does not know.
                Some(_) if self.now() >= deadline => vec![false, true],
                Some(_) => vec![false],
                None if self.now() < deadline => vec![false],
                None => vec![false, true],
            },
        };
        let mut codes = Vec::new();
        for survived in if left { vec![false, true] } else { vec![book.child.is_some()] } {
            for overdue in &overdue {
                codes.push(self.code(&self.plan.options, stop.is_some(), survived, *overdue));
            }
        }
        if (book.unsure || book.lost) && stop.is_none() {
            if codes.contains(&0) {
                codes.push(1);
            } else if codes.contains(&1) {
                codes.push(0);
            }
        }
        codes
    }

    fn code(&self, options: &Options, stopped: bool, survived: bool, overdue: bool) -> u8 {
        let last = match self.book.last {
            _ if survived => return 128 + KILL,
            last => last,
        };
        if stopped {
            if let Some(wanted) = options.stop_exit_code
                && !overdue
            {
                return wanted;
            }
            if let Last::Ended(End::Exit(code)) = last
                && Some(code) == self.rules().restart_code
            {
                return 0;
            }
        }
        let code = match last {
            Last::Ended(end) if options.success_code == Some(end.code()) => 0,
            Last::Ended(end) => end.code(),
            Last::NotStarted(code) => code,
            Last::Nothing => 125,
        };
        let undone = self.book.gave_up || self.book.failed;
        if code == 0 && undone && !stopped { 1 } else { code }
    }

    fn nothing_is_left(&self) {
        for id in self.own_children() {
            let process = &self.processes[id];
            let name = self.named(id);
            let told = !self.is_pending(CHLD);
            if matches!(process.life, Life::Zombie(_)) && process.died < self.book.woke && told {
                self.broken(format!("I9: it leaves, and {name} is not reaped"));
            }
            if process.life != Life::Alive {
                continue;
            }
            // Whoever comes later, handed over by a process that is none of its children, comes
            // without a word: no signal tells of it.
            let known = process.ours_since < self.book.escalated.unwrap_or(self.book.last_answer);
            // A stop during a crash delay is done at once, whoever has been handed over since.
            let known = known && self.book.idle_since.is_none_or(|at| process.ours_since < at);
            let listless = self.book.list_failed && !self.rules().pid1;
            let waited = self
                .book
                .escalated
                .is_some_and(|at| self.now() + self.book.stalled >= at + KILL_WAIT);
            match process.role {
                Role::Exporter | Role::Prober if process.killed.is_none() => {
                    self.broken(format!("it leaves, and {name} runs on"));
                }
                Role::Exporter | Role::Prober => {}
                _ if self.book.child == Some(id) && process.killed.is_some() && waited => {}
                _ if self.book.child == Some(id) => {
                    self.broken(format!("it leaves, and {name} runs on"));
                }
                // A child that outlives SIGKILL ends the wait for all that it left, too.
                _ if self.book.child.is_some() => {}
                _ if !self.rules().sweeps() || listless || !known => {}
                _ if !waited || process.killed.is_none() => {
                    self.broken(format!("it leaves, and {name} runs on"));
                }
                _ => {}
            }
        }
    }

    fn page_agrees(&self, code: u8) {
        if !self.book.has_page {
            return;
        }
        let words = page::words();
        let word = |field: at::Field, place: usize| words[field.at + place].load(Ordering::Relaxed);
        let same = |what: &str, page: u64, truth: u64| {
            if page != truth {
                self.broken(format!("the page says {what} {page}, and it is {truth}"));
            }
        };
        same("phase", word(at::PHASE, 0), crate::status::Phase::Exited as u64);
        same("exit code", word(at::EXIT_CODE, 0), u64::from(code) + 1);
        same("generation", word(at::GENERATION, 0), self.book.generation.into());
        let restarts = (0..3).map(|cause| word(at::RESTARTS, cause)).sum();
        same(
            "restarts",
            restarts,
            u64::from(self.book.generation.saturating_sub(1) + self.book.in_place),
        );
        same("reaped", word(at::REAPED, 0), self.book.reaped);
        for (signal, count) in self.book.received.iter().enumerate() {
            same(&format!("signal {signal}"), word(at::RECEIVED, signal), *count);
        }
    }

    fn words_agree(&self, code: u8) {
        let options = &self.plan.options;
        let quiet = ["error", "warn"].map(Some).contains(&options.level);
        if options.name == Name::Clawinit && !quiet && !self.last_line.is_empty() {
            let wanted = if options.json {
                format!("\"code\":{code},")
            } else {
                format!("leaving with {code}")
            };
            let said = self.last_line.replace(['\n', ' '], " ");
            if !said.contains(&wanted) {
                self.broken(format!("its last words are {said}, and it leaves with {code}"));
            }
        }
        if let Some(report) = &self.report {
            let report = String::from_utf8_lossy(report);
            if !report.contains(&format!("\"exit_code\":{code},")) {
                self.broken(format!("the report says {report}, and it leaves with {code}"));
            }
        }
    }
}

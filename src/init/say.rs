//! What is told, and when: the log's lines, and the story for the termination report.

use super::Init;
use super::act::{NAMED, Round};
use crate::cli::Refused;
use crate::config::{KillMode, Level, LogFormat, TerminationLog};
use crate::core::{Action, Cause, End, Event, Note, Phase, Readiness, Status};
use crate::kernel::entry::Start;
use crate::kernel::signals::{Received, Sender};
use crate::kernel::spawn::{Failure, Step};
use crate::kernel::{Errno, clock, descendants, descriptors, process};
use crate::report::{self, Asker, Fault, Log, Span, Value, Words};
use crate::signal::Signal;
use crate::status::{Asked, Timed, layout};
use std::fmt;
use std::time::Duration;

/// The name that clawinit was called by, without its folders.
pub(super) fn name(start: &Start) -> &'static str {
    let called = start.args.first().and_then(|name| name.to_str().ok()).unwrap_or_default();
    match called.rsplit('/').next() {
        Some(name) if !name.is_empty() => name,
        _ => "clawinit",
    }
}

/// Help, version or licence, on standard output.
pub(super) fn print(start: &Start, text: &str) -> u8 {
    let Err(errno) = descriptors::print(text.as_bytes()) else { return 0 };
    let mut log = Log::new(name(start), Level::Error, LogFormat::Text);
    log.line(Level::Error, "usage", format_args!("standard output: {errno}"), &[]);
    1
}

/// A wrong command line: one line. By a name of another init its usage follows.
pub(super) fn refuse(start: &Start, refused: &Refused) -> u8 {
    let mut log = Log::new(name(start), Level::Error, LogFormat::Text);
    log.line(Level::Error, "usage", format_args!("{}", refused.line), &[]);
    if let Some(usage) = &refused.usage {
        log.raw(usage.as_bytes());
    }
    refused.code
}

/// Signals cannot be blocked: those of the kernel and of others would be lost, the end of a child
/// among them, so nothing is started.
pub fn cannot_block(errno: Errno) -> u8 {
    let mut log = Log::new("clawinit", Level::Error, LogFormat::Text);
    let said = format_args!("cannot block signals: rt_sigprocmask: {errno}");
    log.line(Level::Error, "start-failed", said, &[]);
    125
}

/// The last words of a clawinit that has a fault.
pub(super) fn panicked(message: &str, place: &dyn fmt::Display) {
    let mut log = Log::new("clawinit", Level::Error, LogFormat::Text);
    let said = format_args!("a fault in clawinit itself: {message} at {place}; leaving with 70");
    log.line(Level::Error, "panic", said, &[]);
}

/// Who sent a signal.
pub(super) fn asker(sender: Sender) -> Asker {
    match sender {
        Sender::Kernel => Asker::new(None, 0, b""),
        Sender::Process { pid, uid } => {
            let mut command = [0; Asker::KEPT];
            let command =
                if pid > 0 { descendants::read(pid, "cmdline", &mut command) } else { &[] };
            Asker::new(Some(pid), uid, command)
        }
    }
}

/// How long clawinit waits, all in all, for verbs to tell how the stop went.
const VERB_WAIT: Duration = Duration::from_millis(500);

/// How many of them.
const VERBS_WAITED_FOR: usize = 4;

/// How many rounds of one sweep are told of.
const ROUNDS_TOLD: u32 = 4;

impl Init {
    // ---- starting ----

    pub(super) fn cannot_start(&mut self, why: fmt::Arguments) -> u8 {
        self.log.line(Level::Error, "start-failed", why, &[]);
        125
    }

    /// The kernel, or a filter of system calls, does not let clawinit wait for signals: nothing
    /// can be done any more but to say so.
    pub(super) fn cannot_wait(&mut self, errno: Errno) -> u8 {
        let said =
            format_args!("cannot wait for signals: rt_sigtimedwait: {errno}; leaving with 70");
        self.log.line(Level::Error, "panic", said, &[]);
        70
    }

    /// The kernel, or a filter of system calls, does not say who has ended: the end of the child
    /// would be missed, and clawinit would stay for ever.
    pub(super) fn cannot_reap(&mut self, errno: Errno) -> ! {
        let said = format_args!("cannot wait for children: wait4: {errno}; leaving with 70");
        self.log.line(Level::Error, "panic", said, &[]);
        process::exit(70)
    }

    pub(super) fn note_started(&mut self, pid: i32) {
        let generation = self.state.generation.saturating_add(1);
        let fields = [
            ("pid", Value::Number(pid.into())),
            ("generation", Value::Number(generation.into())),
            ("command", Value::Text(&self.command)),
        ];
        let said = format_args!("generation {generation} started: pid {pid}, {}", self.command);
        self.log.line(Level::Info, "started", said, &fields);
    }

    pub(super) fn note_start_failed(&mut self, failure: Failure) {
        let generation = self.state.generation.saturating_add(1);
        let why = self.explain(failure);
        let fields =
            [("generation", Value::Number(generation.into())), ("reason", Value::Text(&why))];
        self.log.line(Level::Error, "start-failed", format_args!("{why}"), &fields);
    }

    /// What could not be started, why, and what to do.
    fn explain(&self, failure: Failure) -> String {
        let Failure { step, errno } = failure;
        let command = Words(self.command.0[0].to_bytes());
        match (step, errno.0) {
            (Step::Clone, _) => format!("cannot make a process for {command}: {errno}"),
            (Step::Folder, _) => match &self.folder {
                Some(folder) => format!("cannot go back to {}: {errno}", Words(folder.to_bytes())),
                None => format!("cannot go back to the folder it was started in: {errno}"),
            },
            (Step::User, libc::EPERM) => {
                format!(
                    "--user: {errno}; start clawinit as root, or with CAP_SETUID and CAP_SETGID"
                )
            }
            (Step::User, _) => format!("--user: {errno}"),
            (Step::NoNewPrivs, _) => format!("--no-new-privs: {errno}"),
            (Step::Execute, libc::ENOENT) if descriptors::exists(&self.places) => format!(
                "{command}: it is there, but its interpreter is not (the #! line's program, or the dynamic loader)"
            ),
            (Step::Execute, libc::ENOENT) if self.command.0[0].to_bytes().contains(&b'/') => {
                format!("{command}: {errno}")
            }
            (Step::Execute, libc::ENOENT) => {
                format!("{command}: {errno} on PATH; write its full path, or set PATH")
            }
            (Step::Execute, libc::ENOEXEC) => {
                format!("{command}: no program for this machine, and no #! line ({errno})")
            }
            (Step::Execute, libc::EACCES) if descriptors::is_folder(&self.places) => {
                format!("{command}: it is a folder")
            }
            (Step::Execute, libc::EACCES) => format!("{command}: {errno}; chmod +x it?"),
            (Step::Execute, _) => format!("{command}: {errno}"),
        }
    }

    // ---- signals ----

    /// Whoever sent this may be one of our own verbs, which waits for what comes of a request.
    pub(super) fn wait_for_verb(&mut self, received: Received) {
        if let (true, Sender::Process { pid, .. }) = (received.is_of_a_verb(), received.sender)
            && pid > 0
        {
            self.verbs.retain(|known| *known != pid);
            if self.verbs.len() == VERBS_WAITED_FOR {
                self.verbs.remove(0); // the oldest has most likely told long ago
            }
            self.verbs.push(pid);
        }
    }

    /// As PID 1 clawinit takes the verb along when it leaves. The page says by now how it went:
    /// the verb gets a moment to read that and to tell.
    fn wait_for_verbs(&self) {
        let end = clock::monotonic() + VERB_WAIT;
        for pid in &self.verbs {
            // The number may be somebody else's by now, who is not waited for.
            let mut line = [0; Asker::KEPT];
            let words = descendants::read(*pid, "cmdline", &mut line);
            let verb = words.split(|b| *b == 0).nth(1).unwrap_or_default();
            if [&b"stop"[..], b"restart"].contains(&verb) {
                process::wait_for_end(*pid, end.saturating_sub(clock::monotonic()));
            }
        }
    }

    pub(super) fn note_received(&mut self, signal: Signal) {
        if !self.log.wants(Level::Debug) {
            return;
        }
        let fields = [("signal", Value::Text(&signal))];
        self.log.line(Level::Debug, "signal-received", format_args!("Received {signal}"), &fields);
    }

    pub(super) fn note_sent(&mut self, signal: Signal, pid: i32, sent: Result<(), Errno>) {
        let fields = [("signal", Value::Text(&signal)), ("pid", Value::Number(pid.into()))];
        let group = match self.config.kill_mode {
            KillMode::Group => " and its group",
            KillMode::Mixed | KillMode::Process => "",
        };
        match sent {
            Ok(()) => {
                if signal != Signal::KILL {
                    // As what it came, where `--map` made it another one: it was counted as such.
                    let came = self.received.map(|received| received.signal);
                    let came = came.filter(|came| self.config.forwarded(*came) == Some(signal));
                    let number = came.unwrap_or(signal).number() as usize;
                    self.kept.page.update(|w| w.add(layout::FORWARDED, number, 1));
                }
                let said = format_args!("{signal} sent to the child {pid}{group}");
                self.log.line(Level::Debug, "signal-forwarded", said, &fields);
            }
            Err(errno) => {
                let said = format_args!("{signal} could not be sent to the child {pid}: {errno}");
                self.log.line(Level::Warn, "warning", said, &fields);
            }
        }
    }

    pub(super) fn trace(&mut self, event: Event, actions: &[Action]) {
        if self.log.level >= Level::Trace {
            let said = format_args!("{event:?} -> {actions:?}, {:?}", self.state.phase);
            self.log.line(Level::Trace, "step", said, &[]);
        }
    }

    // ---- what the state machine says ----

    pub(super) fn note(&mut self, note: Note) {
        match note {
            Note::StopRequested { signal, within } => {
                self.tell_superior("STOPPING=1");
                self.story.stopped_by = self.asker;
                self.keep_request(Asked::Stop, signal);
                self.watch_port();
                self.requested("stop", "stop-requested", signal, within);
            }
            Note::RestartRequested { signal, within } => {
                self.story.restarted_by = self.asker;
                self.keep_request(Asked::Restart, signal);
                self.watch_port();
                self.requested("restart", "restart-requested", signal, within);
            }
            Note::StopRepeated(signal) => self.request_changes_nothing(signal, "stopping already"),
            Note::DelayEnded(signal) => {
                self.request_changes_nothing(signal, "stopping already; the stop delay ends here");
            }
            Note::RestartFolded(signal) => {
                self.request_changes_nothing(signal, "restarting already")
            }
            Note::RestartRefused(signal) => {
                self.request_changes_nothing(signal, "stopping, so there is no restart");
            }
            Note::NoChild(signal) => {
                let fields = [("signal", Value::Text(&signal))];
                let said = format_args!("{signal} dropped: there is no child to have it");
                self.log.line(Level::Debug, "signal-dropped", said, &fields);
            }
            Note::ChildExited { pid, status, lived } => {
                self.watch_port();
                let oom = self.out_of_memory(status);
                self.story.oom_killed = oom;
                self.keep_end(End::Reaped(status), oom, lived);
                self.note_child_exited(pid, status, lived, oom);
            }
            Note::GoesOn => {
                let said = format_args!(
                    "its program goes on in other processes; leaving with the last of them"
                );
                self.log.line(Level::Info, "goes-on", said, &[]);
            }
            Note::NextGeneration { cause, delay } => {
                self.keep_turnaround(cause);
                let fields = [
                    ("cause", Value::Text(&cause)),
                    ("delay_ms", Value::Number(delay.as_millis() as i64)),
                    ("crashes", Value::Number(self.state.crashes.in_a_row().into())),
                ];
                let why = match cause {
                    Cause::Signal => "as asked by a signal",
                    Cause::Code => "as asked by its exit code",
                    Cause::Crash => "after a crash",
                };
                if delay.is_zero() {
                    let said = format_args!("restarting {why}");
                    self.log.line(Level::Info, "restarting", said, &fields);
                } else {
                    let count = self.state.crashes.in_a_row();
                    let said = format_args!(
                        "restarting {why} in {} (number {count} in a row)",
                        Span(delay)
                    );
                    self.log.line(Level::Warn, "restarting", said, &fields);
                }
            }
            Note::Ready { after } => {
                self.keep_ready();
                let fields = [self.generation_field(), ("ready_seconds", Value::Seconds(after))];
                let generation = self.state.generation;
                let said = format_args!(
                    "generation {generation} is ready, {} after its start",
                    Span(after)
                );
                self.log.line(Level::Info, "ready", said, &fields);
            }
            Note::Reloading => {
                let said = format_args!(
                    "the child starts anew inside its own process (RELOADING=1): not ready until it says so"
                );
                self.log.line(Level::Info, "reloading", said, &[self.generation_field()]);
            }
            Note::EndsItself => {
                let said = format_args!(
                    "the child says that it is about to end (STOPPING=1), which nobody asked it to"
                );
                self.log.line(Level::Info, "ends-itself", said, &[self.generation_field()]);
            }
            Note::RestartedInPlace { after } => {
                self.keep_ready();
                let fields = [self.generation_field(), ("restart_seconds", Value::Seconds(after))];
                let said = format_args!(
                    "restarted in place: the child is ready again, {} after the request",
                    Span(after)
                );
                self.log.line(Level::Info, "restarted-in-place", said, &fields);
            }
            Note::NotReady { signal, .. } => {
                self.kept.page.count(layout::NOT_READY);
                let again = match self.state.readiness {
                    Readiness::Reloading => " again",
                    _ => "",
                };
                let grace = Span(self.config.start_grace.unwrap_or_default());
                let answer = match self.answer() {
                    "" => String::new(),
                    answer => format!(", {answer}"),
                };
                let why = format!("is not ready{again} within {grace} (--start-grace){answer}");
                self.failed(Fault::NotReady, &why, signal);
            }
            Note::NoSignOfLife(signal) => {
                self.kept.page.count(layout::HUNG);
                let time = self.config.watchdog.unwrap_or_default();
                let why = match self.state.readiness {
                    Readiness::Stopping => format!(
                        "said that it was about to end, and has not within {}",
                        Span(time.max(self.config.restart_grace))
                    ),
                    _ => format!("hangs: no WATCHDOG=1 for {} (--watchdog)", Span(time)),
                };
                self.failed(Fault::Hung, &why, signal);
            }
            Note::SaysItFailed(signal) => {
                self.kept.page.count(layout::HUNG);
                self.failed(Fault::Hung, "says that it has failed (WATCHDOG=trigger)", signal);
            }
            Note::Extended { within } => {
                let fields = [("within_seconds", Value::Seconds(within))];
                let said = format_args!(
                    "the child asks for more time and has it (EXTEND_TIMEOUT_USEC): SIGKILL in {}",
                    Span(within)
                );
                self.log.line(Level::Info, "extended", said, &fields);
            }
            Note::StartExtended { within } => {
                let fields = [("within_seconds", Value::Seconds(within))];
                let said = format_args!(
                    "the child asks for more time and has it (EXTEND_TIMEOUT_USEC): it has to be ready in {}",
                    Span(within)
                );
                self.log.line(Level::Info, "start-extended", said, &fields);
            }
            Note::Overslept { by } => {
                let fields = [("late_seconds", Value::Seconds(by))];
                let said = format_args!(
                    "clawinit did not run for {} (a paused container?): the child has its time to be ready, or to give a sign of life, anew",
                    Span(by)
                );
                self.log.line(Level::Warn, "overslept", said, &fields);
            }
            Note::RestartLimit => {
                self.story.limit_reached = true;
                let (count, window) = self.config.restart_limit;
                let fields = [
                    ("limit", Value::Number(count.into())),
                    ("window_seconds", Value::Seconds(window)),
                ];
                let said = format_args!(
                    "more than {count} crashes within {}: giving up (--restart-limit)",
                    Span(window)
                );
                self.log.line(Level::Error, "restart-limit", said, &fields);
            }
            Note::Survived => {
                let names = Names(&self.still_there()).to_string();
                let fields = [("processes", Value::Text(&names))];
                let said = format_args!(
                    "SIGKILL did not end {names}: not permitted, or waiting for a device (state D of ps)"
                );
                self.log.line(Level::Error, "survived-kill", said, &fields);
            }
        }
    }

    /// The child does not do its part, and is asked to end.
    fn failed(&mut self, fault: Fault, why: &str, signal: Signal) {
        self.kept.overdue = false;
        self.story.fault = Some(fault);
        let grace = self.config.restart_grace;
        let generation = self.state.generation;
        let fields = [
            self.generation_field(),
            ("signal", Value::Text(&signal)),
            ("within_seconds", Value::Seconds(grace)),
        ];
        let said = format_args!(
            "generation {generation} {why}; {signal} sent, SIGKILL in {}",
            Span(grace)
        );
        match fault {
            Fault::NotReady => self.log.line(Level::Error, "not-ready", said, &fields),
            Fault::Hung => self.log.line(Level::Error, "hung", said, &fields),
        }
    }

    fn generation_field(&self) -> (&'static str, Value<'static>) {
        ("generation", Value::Number(self.state.generation.into()))
    }

    /// Whether the kernel has ended the generation for want of memory: a SIGKILL that clawinit
    /// did not send, or a shell's 137 for one, and one more on the kernel's count.
    fn out_of_memory(&mut self, status: Status) -> bool {
        if status.code() != 128 + Signal::KILL.number() as u8 || self.kept.overdue {
            return false;
        }
        let before = self.oom_before;
        self.memory.oom_kills().zip(before).is_some_and(|(now, before)| now > before)
    }

    fn note_child_exited(&mut self, pid: i32, status: Status, lived: Duration, oom: bool) {
        let why = if oom { ": out of memory, by the kernel's OOM killer" } else { "" };
        let said = format_args!("child {pid} {status} after {}{why}", Span(lived));
        let signaled;
        let (how, core, length) = match status {
            Status::Exited(code) => (("code", Value::Number(code.into())), false, 5),
            Status::Signaled { signal, core_dumped } => {
                signaled = signal;
                (("signal", Value::Text(&signaled)), core_dumped, 6)
            }
        };
        let fields = [
            ("pid", Value::Number(pid.into())),
            ("generation", Value::Number(self.state.generation.into())),
            how,
            ("lived_seconds", Value::Seconds(lived)),
            ("oom_killed", Value::Flag(oom)),
            ("core_dumped", Value::Flag(core)),
        ];
        let level = if oom { Level::Warn } else { Level::Info };
        self.log.line(level, "child-exited", said, &fields[..length]);
    }

    fn requested(&mut self, what: &str, event: &str, signal: Signal, within: Duration) {
        let Some(asker) = self.asker else { return };
        let command = asker.command();
        let fields = [
            ("signal", Value::Text(&signal)),
            ("sender_pid", asker.pid.map_or(Value::Null, |pid| Value::Number(pid.into()))),
            ("sender_uid", asker.pid.map_or(Value::Null, |_| Value::Number(asker.uid.into()))),
            ("sender", Value::Text(&command)),
            ("deadline_ms", Value::Number(within.as_millis() as i64)),
        ];
        if within.is_zero() {
            let said = format_args!("{what} requested by {asker}: {signal}, at once");
            self.log.line(Level::Info, event, said, &fields);
        } else {
            let said =
                format_args!("{what} requested by {asker}: {signal}, {} to finish", Span(within));
            self.log.line(Level::Info, event, said, &fields);
        }
    }

    fn request_changes_nothing(&mut self, signal: Signal, why: &str) {
        let Some(asker) = self.asker else { return };
        let fields = [("signal", Value::Text(&signal)), ("reason", Value::Text(&why))];
        self.log.line(
            Level::Info,
            "request-folded",
            format_args!("{signal} by {asker}: {why}"),
            &fields,
        );
    }

    // ---- leftovers ----

    pub(super) fn note_orphan(&mut self, pid: i32, status: Status) {
        let level = if self.config.warn_on_reap { Level::Warn } else { Level::Debug };
        if level > self.log.level {
            return;
        }
        let fields = [("pid", Value::Number(pid.into()))];
        let said = format_args!("Reaped zombie process with pid={pid} (it {status})");
        self.log.line(level, "reaped", said, &fields);
    }

    /// Leftovers were asked to end. A program that forks for ever would fill the log: after a
    /// few rounds of newcomers the rest is for those who asked for more lines.
    pub(super) fn note_told(&mut self, signal: Signal, round: &Round) {
        if round.count == 0 && !round.everyone {
            return;
        }
        if matches!(self.state.phase, Phase::Sweeping { .. }) {
            self.kept.page.update(|w| w.add(layout::SWEPT, 0, round.count as u64));
        }
        let names = Names(round).to_string();
        let fields = [
            ("leftovers", Value::Number(round.count as i64)),
            ("processes", Value::Text(&names)),
            ("signal", Value::Text(&signal)),
        ];
        let level = if self.leftovers.rounds() > ROUNDS_TOLD { Level::Debug } else { Level::Info };
        match self.state.phase {
            Phase::Sweeping { .. } => {
                let said = format_args!("sweeping what the child left: {signal} to {names}");
                self.log.line(level, "sweep", said, &fields);
            }
            _ => {
                let said = format_args!("{signal} to those that go on without the child: {names}");
                self.log.line(level, "told", said, &fields);
            }
        }
        self.note_not_permitted(signal, round);
    }

    pub(super) fn note_escalated(&mut self, round: Round) {
        if round.count == 0 && !round.everyone {
            return;
        }
        self.kept.page.update(|w| {
            w.add(layout::ESCALATIONS, 0, 1);
            w.add(layout::KILLED, 0, round.count as u64);
        });
        let names = Names(&round).to_string();
        let fields =
            [("killed", Value::Number(round.count as i64)), ("processes", Value::Text(&names))];
        let level = if self.leftovers.rounds() > ROUNDS_TOLD { Level::Debug } else { Level::Warn };
        self.log.line(
            level,
            "escalated",
            format_args!("the time is up: SIGKILL for {names}"),
            &fields,
        );
        self.note_not_permitted(Signal::KILL, &round);
        self.story.killed = true;
        self.story.victims.extend(round.named);
        self.story.victims.truncate(NAMED);
    }

    pub(super) fn note_not_permitted(&mut self, signal: Signal, round: &Round) {
        let count = round.not_permitted;
        if count > 0 {
            let fields = [("signal", Value::Text(&signal)), ("count", Value::Number(count as i64))];
            let said = format_args!(
                "{signal} is not permitted for {count} of them: they run as another user, and clawinit does not run as root"
            );
            self.log.line(Level::Warn, "warning", said, &fields);
        }
    }

    pub(super) fn note_no_list(&mut self, errno: Errno) {
        let said = format_args!(
            "what the child left cannot be listed: /proc/thread-self/children: {errno}; mount /proc"
        );
        self.log.line(Level::Warn, "warning", said, &[]);
    }

    // ---- the port ----

    /// A port that clawinit itself keeps open is not free before a stop.
    fn watch_port(&mut self) {
        if self.keeps_port_open() && self.state.stop.is_none() {
            return;
        }
        if let Some(watch) = &mut self.watch {
            watch.begin(clock::monotonic());
        }
    }

    pub(super) fn look_at_port(&mut self) {
        if let Some(watch) = &mut self.watch
            && let Some(time) = watch.look(clock::monotonic())
        {
            let port = watch.port();
            self.port_released(port, time);
        }
    }

    fn port_released(&mut self, port: u16, time: Duration) {
        self.story.port_release = Some(time);
        self.story.port_holder = None;
        self.kept.page.update(|w| w.observe(Timed::PortRelease, time));
        let fields =
            [("port", Value::Number(port.into())), ("release_seconds", Value::Seconds(time))];
        let said = format_args!("port {port} is free, {} after the request", Span(time));
        self.log.line(Level::Info, "port-released", said, &fields);
    }

    /// Before the next generation, and before leaving: the port is free, or somebody is named.
    pub(super) fn port_settled(&mut self) {
        let Some(watch) = &mut self.watch else { return };
        let port = watch.port();
        match watch.finish(clock::monotonic()) {
            None => {}
            Some(Ok(time)) => self.port_released(port, time),
            Some(Err(holder)) => {
                let fields =
                    [("port", Value::Number(port.into())), ("holder", Value::Text(&holder))];
                let said = format_args!("port {port} is still held by {holder}");
                self.log.line(Level::Warn, "port-held", said, &fields);
                self.story.port_holder = Some(holder);
            }
        }
    }

    // ---- leaving ----

    /// The log has the report then: in a field of its own, or behind the sentence.
    fn note_report_not_written(&mut self, errno: Errno, report: &report::Buffer) {
        let why = match errno {
            Errno(libc::ELOOP) => "a link is in its place, which is not followed".to_owned(),
            errno => errno.to_string(),
        };
        let text = String::from_utf8_lossy(report.as_bytes());
        let fields = [("report", Value::Json(&text.trim_end()))];
        let behind = match self.log.format {
            LogFormat::Text => format!(": {}", text.trim_end()),
            LogFormat::Json => String::new(),
        };
        let said = format_args!("the termination report could not be written: {why}{behind}");
        self.log.line(Level::Warn, "report-not-written", said, &fields);
    }

    pub(super) fn exit(&mut self, code: u8) {
        self.port_settled();
        let now = clock::monotonic();
        let cause = self.story.cause(&self.state);
        let fields = [
            ("code", Value::Number(code.into())),
            ("cause", Value::Text(&cause)),
            ("generations", Value::Number(self.state.generation.into())),
        ];
        let took = self.state.stop.map(|stop| now.saturating_sub(stop.at));
        self.keep_exit(took, now);
        if self.config.termination_log != TerminationLog::Off {
            let report = self.story.report(&self.state, code, now, self.log.dropped());
            if let Err(errno) = report::write_report(self.config.termination_log, &report) {
                self.note_report_not_written(errno, &report);
            }
        }
        match took {
            Some(took) => {
                let said = format_args!("stopped in {}, leaving with {code}", Span(took));
                self.log.line(Level::Info, "exiting", said, &fields);
            }
            None => self.log.line(
                Level::Info,
                "exiting",
                format_args!("leaving with {code} ({cause})"),
                &fields,
            ),
        }
        if let Some(terminal) = self.terminal.filter(|_| !self.config.is_pid1) {
            terminal.take_back(self.last_child);
        }
        self.end_prober();
        self.end_exporter();
        self.wait_for_verbs();
        process::exit(code)
    }
}

/// Processes by pid and name: `12 (sleep), 13 (nc) and 4 more`.
struct Names<'a>(&'a Round);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Round { named, count, everyone, .. } = self.0;
        if *everyone {
            return f.write_str("every process here (there is no /proc of this PID namespace)");
        }
        if named.is_empty() {
            return f.write_str("processes that cannot be listed");
        }
        for (i, (pid, name)) in named.iter().enumerate() {
            write!(f, "{}{pid} ({name})", if i == 0 { "" } else { ", " })?;
        }
        match count - named.len() {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

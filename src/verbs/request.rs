//! `clawinit stop` and `clawinit restart`: ask for it, show what happens, and say how it went.

use super::args::{Given, Opt, Usage};
use super::find::{self, Found};
use super::health::Probe;
use super::{FAILED, Failure, NO_PERMISSION, NOT_RUNNING, TIMEOUT, print, screen};
use crate::core::{Cause, End, KILL_WAIT};
use crate::kernel::aside::Aside;
use crate::kernel::entry::Start;
use crate::kernel::{Errno, clock};
use crate::report::{Span, Value};
use crate::signal::Signal;
use crate::status::json::Json;
use crate::status::read::Snapshot;
use crate::status::{Asked, Phase, text};
use std::ffi::CStr;
use std::time::Duration;

const TIMEOUT_OPTION: &str = "timeout";

const STOP: Usage = Usage {
    verb: "stop",
    operand: "",
    about: "Asks the clawinit of this container for a stop, and waits until it has stopped.",
    options: &[
        Opt {
            name: TIMEOUT_OPTION,
            value: "D",
            help: "wait this long, then leave with 124 (stop delay\n\
                   and stop grace, what the child extends them by,\n\
                   and some seconds)",
        },
        Opt { name: "no-wait", value: "", help: "only ask for it" },
        Opt { name: "json", value: "", help: "print one object at the end, and nothing before it" },
        Opt { name: "pid", value: "N", help: "the clawinit of this pid" },
    ],
    codes: CODES,
};

const RESTART: Usage = Usage {
    verb: "restart",
    operand: "",
    about: "Asks the clawinit of this container for a restart of its child, and waits until\n\
            the child is ready anew; where nobody says when it is (--notify, --ready-url of\n\
            clawinit), until the new generation has lived --stable-after.",
    options: &[
        Opt {
            name: "wait-for",
            value: "URL",
            help: "wait instead until this answers with a 2xx status",
        },
        Opt {
            name: "expect-body",
            value: "TEXT",
            help: "and its body contains this; repeat for more",
        },
        Opt {
            name: "expect-json",
            value: "PATH=VALUE",
            help: "and its body is JSON and has this there, as\n\
                   clawinit health has it; repeat for more",
        },
        Opt {
            name: TIMEOUT_OPTION,
            value: "D",
            help: "wait this long, then leave with 124 (restart grace,\n\
                   what the child extends it by, and --start-grace,\n\
                   30 s without one or for --wait-for, or\n\
                   --stable-after; and some seconds)",
        },
        Opt { name: "no-wait", value: "", help: "only ask for it" },
        Opt { name: "json", value: "", help: "print one object at the end, and nothing before it" },
        Opt { name: "pid", value: "N", help: "the clawinit of this pid" },
    ],
    codes: CODES,
};

const CODES: &str = "0 it happened, 1 it did not, 124 not yet, when the time was over (it\n\
                     goes on); 2 wrong usage, 3 no clawinit is running here, 4 not permitted,\n\
                     5 --pid is no clawinit.";

/// How often the page is looked at. As PID 1 clawinit takes the verb along when it leaves, half a
/// second after its page has said so.
const LOOK: Duration = Duration::from_millis(5);

/// What the default timeout has beyond the times that clawinit was given.
const SLACK: Duration = Duration::from_secs(5);

/// How long a new generation has to answer, where nobody said.
const ANSWER: Duration = Duration::from_secs(30);

/// How long one question may take, and how long to wait before the next.
const QUESTION: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);

/// What the process that asks says of an answer that will do: one that was killed says nothing.
const WELL: &str = "well";

/// `clawinit stop`.
pub fn stop(start: &Start, words: &[&'static CStr]) -> u8 {
    run(&STOP, Asked::Stop, start, words)
}

/// `clawinit restart`.
pub fn restart(start: &Start, words: &[&'static CStr]) -> u8 {
    run(&RESTART, Asked::Restart, start, words)
}

fn run(usage: &Usage, asked: Asked, start: &Start, words: &[&'static CStr]) -> u8 {
    let given = match usage.read(words) {
        Ok(given) => given,
        Err(code) => return code,
    };
    let mut options = match Options::read(&given) {
        Ok(options) => options,
        Err(line) => return usage.refuse(&line),
    };
    let mut told = Told::default();
    let outcome = request(asked, start, &mut options, &mut told);
    // At once: PID 1 waits for this process to end, and not for long.
    let said = if options.json {
        print(&told.json(asked, &outcome))
    } else {
        match &outcome {
            Ok(line) => print(&format!("{line}\n")),
            Err(_) => Ok(()),
        }
    };
    match outcome.and(said) {
        Ok(()) => 0,
        Err(failure) => failure.say(usage.verb),
    }
}

struct Options {
    pid: Option<i32>,
    timeout: Option<Duration>,
    probe: Option<Probe>,
    wait: bool,
    json: bool,
}

impl Options {
    fn read(given: &Given) -> Result<Options, String> {
        let mut probe = given.parsed("wait-for", |url| Probe::new(url, QUESTION))?;
        match &mut probe {
            Some(probe) => probe.expect(given)?,
            None if given.has("expect-body") || given.has("expect-json") => {
                return Err("--expect-body and --expect-json are about the answer of --wait-for; write that too".to_owned());
            }
            None => {}
        }
        let options = Options {
            pid: given.pid("pid")?,
            timeout: given.duration(TIMEOUT_OPTION)?,
            probe,
            wait: !given.has("no-wait"),
            json: given.has("json"),
        };
        if !options.wait && (options.probe.is_some() || options.timeout.is_some()) {
            let other = if options.probe.is_some() { "--wait-for" } else { "--timeout" };
            return Err(format!("--no-wait: {other} says to wait; leave one of the two out"));
        }
        Ok(options)
    }

    /// How long to wait for the end that is asked for, and how long for what comes then, when
    /// nobody said.
    fn patience(&self, asked: Asked, page: &Snapshot) -> (Duration, Duration) {
        let (end, then) = match asked {
            Asked::Stop => (page.stop_delay + page.stop_grace, Duration::ZERO),
            Asked::Restart if self.probe.is_some() => (page.restart_grace, ANSWER),
            Asked::Restart if page.knows_readiness => {
                (page.restart_grace, page.start_grace.unwrap_or(ANSWER))
            }
            Asked::Restart => (page.restart_grace, page.stable_after),
        };
        (end, then + KILL_WAIT + SLACK)
    }
}

/// What is known of the request, for programs.
#[derive(Default)]
struct Told {
    pid: Option<i32>,
    signal: Option<Signal>,
    /// It was seen to happen.
    happened: bool,
    /// SIGKILL was needed for so many processes.
    killed: u64,
    seconds: Option<Duration>,
    phase: Option<&'static str>,
    generation: Option<u64>,
    child: Option<i32>,
    exit_code: Option<u8>,
    ready: Option<bool>,
}

impl Told {
    fn keep(&mut self, page: &Snapshot) {
        self.phase = Some(page.phase_name());
        self.generation = Some(page.generation);
        self.child = page.child;
        self.exit_code = page.exit_code;
        self.ready = page.ready();
    }

    fn json(&self, asked: Asked, outcome: &Result<String, Failure>) -> String {
        let number = |n: Option<i64>| n.map_or(Value::Null, Value::Number);
        let mut json = Json::object();
        json.put("verb", Value::Text(&asked.name()));
        let happened = match outcome {
            Ok(_) if !self.happened => Value::Null,
            Ok(_) => Value::Flag(true),
            Err(_) => Value::Flag(false),
        };
        json.put("happened", happened);
        let reason = outcome.as_ref().err();
        json.put("reason", reason.map_or(Value::Null, |failure| Value::Text(&failure.why)));
        json.put("pid", number(self.pid.map(i64::from)));
        json.put("signal", self.signal.as_ref().map_or(Value::Null, |s| Value::Text(s)));
        json.put("seconds", self.seconds.map_or(Value::Null, Value::Seconds));
        json.put("phase", self.phase.as_ref().map_or(Value::Null, |phase| Value::Text(phase)));
        json.put("generation", number(self.generation.map(|n| n as i64)));
        json.put("child_pid", number(self.child.map(i64::from)));
        json.put("exit_code", number(self.exit_code.map(i64::from)));
        json.put("ready", self.ready.map_or(Value::Null, Value::Flag));
        json.put("processes_killed", Value::Number(self.killed as i64));
        json.end() + "\n"
    }
}

/// Asks, and waits for the outcome: a line for people.
fn request(
    asked: Asked,
    start: &Start,
    options: &mut Options,
    told: &mut Told,
) -> Result<String, Failure> {
    let found = find::find(start, options.pid)?;
    told.pid = Some(found.pid);
    let before = found.read()?;
    told.keep(&before);
    let since = clock::monotonic();
    let (end, then) = options.patience(asked, &before);
    let mut wait = Wait {
        asked,
        found: &found,
        since,
        end: since + options.timeout.unwrap_or(end + then),
        beyond: options.timeout.is_none().then_some(then),
        target: None,
        questions: options.probe.take().map(Questions::new),
        before,
    };
    if let Some(outcome) = wait.outcome_before_asking() {
        return outcome.inspect(|_| told.happened = true);
    }
    let mut progress = Progress::new(options);
    // A second signal would be handed on to the child, and to many it means "at once".
    if asked == Asked::Stop && wait.before.phase == Some(Phase::Stopping) {
        let asker = wait.before.stop.map(|stop| stop.asker);
        let by = asker.map_or("somebody".to_owned(), |asker| asker.to_string());
        if options.wait {
            // What follows cannot depend on it: clawinit may be gone at this moment.
            let _ = found.send(Signal::CHLD);
        }
        progress.line(&format!("a stop is under way already, asked for by {by}"))?;
    } else {
        let signal = wait.signal()?;
        if !found.lives() {
            return Err(Failure::new(NOT_RUNNING, format!("pid {} has just ended", found.pid)));
        }
        found.send(signal).map_err(|errno| refused(found.pid, errno))?;
        told.signal = Some(signal);
        if !options.wait {
            return Ok(format!("{signal} sent to clawinit, pid {}", found.pid));
        }
        progress.line(&format!("{signal} sent to clawinit, pid {}", found.pid))?;
    }
    if !options.wait {
        return Ok("nothing was sent".to_owned());
    }
    loop {
        // In this order: what the page of a process says that has ended is its last word.
        let lives = found.lives();
        let page = found.read();
        let now = clock::monotonic();
        if let Ok(page) = &page {
            told.killed = page.killed.saturating_sub(wait.before.killed);
            told.keep(page);
        }
        if let Some(outcome) = wait.outcome(&page, lives, now, told.killed) {
            told.seconds = Some(now.saturating_sub(since));
            told.happened = outcome.is_ok();
            progress.clear()?;
            return outcome;
        }
        let page = page?;
        wait.allow_for_more_time(&page);
        if now >= wait.end {
            told.seconds = Some(now.saturating_sub(since));
            progress.clear()?;
            return Err(wait.timed_out(&page, now));
        }
        progress.show(&wait.moment(&page, now))?;
        std::thread::sleep(LOOK.min(wait.end.saturating_sub(now)));
    }
}

fn refused(pid: i32, errno: Errno) -> Failure {
    match errno {
        Errno(libc::EPERM) => Failure::new(
            NO_PERMISSION,
            format!("this user may not send signals to pid {pid}; run this as the user it runs as"),
        ),
        errno => Failure::new(FAILED, format!("pid {pid} cannot be sent a signal: {errno}")),
    }
}

/// A request under way.
struct Wait<'a> {
    asked: Asked,
    found: &'a Found,
    /// What the page said before.
    before: Snapshot,
    since: Duration,
    end: Duration,
    /// How long to wait beyond the deadline of the end that is asked for; `None`: somebody said
    /// how long to wait in all.
    beyond: Option<Duration>,
    /// The new generation, once it was seen alive, and how many restarts had been asked for then.
    target: Option<(u64, u64)>,
    questions: Option<Questions>,
}

/// The phase, the generation, whether it is the new one, whether there is more time than at first.
type Key = (Option<Phase>, u64, bool, bool);

/// Where a request stands, for whoever waits.
struct Moment {
    /// What is under way, in a few words.
    label: String,
    /// The same as a line of its own, with what will follow; empty: it is not worth one.
    line: String,
    /// What has to change for it to be told again.
    key: Key,
    /// How long it may take yet, and how that is called.
    left: Duration,
    until: &'static str,
}

impl Wait<'_> {
    /// What is clear without asking.
    fn outcome_before_asking(&self) -> Option<Result<String, Failure>> {
        let page = &self.before;
        match (self.asked, page.phase) {
            (Asked::Stop, Some(Phase::Exited)) => Some(Ok("it had stopped already".to_owned())),
            (Asked::Restart, Some(Phase::Stopping | Phase::Exited)) => {
                Some(Err(Failure::new(FAILED, format!("clawinit {}", self.stopping(page)))))
            }
            _ => None,
        }
    }

    /// The signal to send. Errors: none means that.
    fn signal(&self) -> Result<Signal, Failure> {
        let (signal, option, other) = match self.asked {
            Asked::Stop => (self.before.stop_by, "--stop-on", ""),
            Asked::Restart => (
                self.before.restart_by,
                "--restart-on",
                "; the child itself can leave with its restart code",
            ),
        };
        signal.ok_or_else(|| {
            let verb = self.asked.name();
            let pid = self.found.pid;
            Failure::new(
                FAILED,
                format!("no signal asks pid {pid} for a {verb}: it was started with {option} none{other}"),
            )
        })
    }

    /// Whether it is over, and how it went.
    fn outcome(
        &mut self,
        page: &Result<Snapshot, Failure>,
        lives: bool,
        now: Duration,
        killed: u64,
    ) -> Option<Result<String, Failure>> {
        let page = match page {
            Ok(page) => page,
            Err(_) if lives => return None,
            Err(failure) => return Some(self.gone(&failure.why)),
        };
        match (self.asked, page.exit_code) {
            (Asked::Stop, Some(code)) => {
                let took = Span(now.saturating_sub(self.since));
                let how = match killed {
                    0 => String::new(),
                    1 => "; SIGKILL was needed for a process".to_owned(),
                    n => format!("; SIGKILL was needed for {n} processes"),
                };
                Some(Ok(format!("stopped in {took}, exit code {code}{how}")))
            }
            (Asked::Restart, Some(code)) => {
                let how = match (&page.last, page.requests > self.before.requests) {
                    _ if self.stop_asked(page) => self.stopping(page),
                    (Some(last), _) => {
                        format!(
                            "left with {code}: generation {} {}",
                            last.generation,
                            text::ended(last)
                        )
                    }
                    (None, _) => format!("left with {code}"),
                };
                Some(Err(Failure::new(FAILED, format!("not restarted: clawinit {how}"))))
            }
            (_, None) if !lives => Some(self.gone("it left no exit code")),
            (Asked::Stop, None) => None,
            (Asked::Restart, None) => self.restarted(page, now),
        }
    }

    /// A child that was given more time for its end is waited for as long.
    fn allow_for_more_time(&mut self, page: &Snapshot) {
        if let (Some(beyond), Some(deadline), true) = (self.beyond, page.deadline, page.extended())
        {
            self.end = self.end.max(deadline + beyond);
        }
    }

    /// The process is gone without a word: killed, or by a fault of its own.
    fn gone(&self, why: &str) -> Result<String, Failure> {
        match self.asked {
            Asked::Stop => Ok(format!("pid {} is gone; {why}", self.found.pid)),
            Asked::Restart => {
                Err(Failure::new(FAILED, format!("not restarted: clawinit is gone; {why}")))
            }
        }
    }

    fn stop_asked(&self, page: &Snapshot) -> bool {
        page.requests[Asked::Stop as usize] > self.before.requests[Asked::Stop as usize]
            || page.phase == Some(Phase::Stopping)
    }

    /// What follows "clawinit", where a stop came in between.
    fn stopping(&self, page: &Snapshot) -> String {
        let by = page.stop.map(|stop| format!(", asked by {}", stop.asker)).unwrap_or_default();
        match page.exit_code {
            Some(code) => format!("stopped with {code}{by}, and a stop wins over a restart"),
            None => format!("is stopping{by}, and a stop wins over a restart"),
        }
    }

    fn restarted(&mut self, page: &Snapshot, now: Duration) -> Option<Result<String, Failure>> {
        if self.stop_asked(page) {
            let why = format!("not restarted: clawinit {}", self.stopping(page));
            return Some(Err(Failure::new(FAILED, why)));
        }
        let asked_for = page.requests[Asked::Restart as usize];
        if let Some(last) = page.last.filter(|_| page.last != self.before.last) {
            let new = last.generation > self.before.generation;
            let of_target = self.target.is_none_or(|(target, _)| last.generation >= target);
            if new && of_target || matches!(last.end, End::NotStarted(_)) {
                match self.target {
                    // Somebody else has asked for a restart since: then for the next one.
                    Some((_, count)) if asked_for > count => {
                        self.target = None;
                        self.before.generation = last.generation;
                        self.before.last = page.last;
                    }
                    _ => {
                        let why = format!(
                            "not restarted: generation {} {}",
                            last.generation,
                            text::ended(&last)
                        );
                        return Some(Err(Failure::new(FAILED, why)));
                    }
                }
            }
        }
        let in_place = self.in_place(page);
        let is_new = in_place || page.generation > self.before.generation;
        let child = page.child.filter(|_| is_new)?;
        self.target.get_or_insert((page.generation, asked_for));
        if let (Some(Phase::Failing), Some(fault)) = (page.phase, page.fault) {
            let why = text::fault(fault);
            let why = format!("not restarted: generation {} is ended: {why}", page.generation);
            return Some(Err(Failure::new(FAILED, why)));
        }
        let since = |at: Option<Duration>| at.map(|at| Span(at.saturating_sub(self.since)));
        let (took, how) = match since(page.ready_since).filter(|_| in_place) {
            Some(took) => (took, " in place"),
            None => (Span(page.generation_born.saturating_sub(self.since)), ""),
        };
        let lived = now.saturating_sub(page.generation_born);
        let what = format!("restarted{how} in {took}: generation {}, pid {child}", page.generation);
        match &mut self.questions {
            Some(questions) => {
                let answered = questions.answered(page.generation, now);
                let after = Span(if in_place { now.saturating_sub(self.since) } else { lived });
                answered.then(|| Ok(format!("{what}, answers after {after}")))
            }
            None if page.knows_readiness => {
                let ready = page.ready_since.filter(|_| page.ready() == Some(true))?;
                let after = Span(ready.saturating_sub(page.generation_born));
                let after = if in_place { String::new() } else { format!(" after {after}") };
                Some(Ok(format!("{what}, ready{after}")))
            }
            None if lived >= page.stable_after => {
                Some(Ok(format!("{what}, has lived {}", Span(page.stable_after))))
            }
            None => None,
        }
    }

    /// Whether the child has started anew inside its own process (`--restart-style in-place`): a
    /// restart by signal is done, and the generation is the same.
    fn in_place(&self, page: &Snapshot) -> bool {
        let done = |page: &Snapshot| page.restarts[Cause::Signal as usize];
        page.generation == self.before.generation && done(page) > done(&self.before)
    }

    fn timed_out(&self, page: &Snapshot, now: Duration) -> Failure {
        let waited = Span(self.end.saturating_sub(self.since));
        let mut why = format!("not yet, after {waited}: {}", text::phase(page, now));
        if self.target.is_some() {
            let lived = Span(now.saturating_sub(page.generation_born));
            why = format!(
                "not yet, after {waited}: generation {} has lived {lived}",
                page.generation
            );
            if page.ready() == Some(false) {
                why += " and is not ready";
            }
        } else if page.requests == self.before.requests && page.phase == self.before.phase {
            let pid = self.found.pid;
            why +=
                &format!("; it has not acted on the signal yet (is it stopped? kill -CONT {pid})");
        }
        if let Some(error) = self.questions.as_ref().and_then(|q| q.error.as_deref()) {
            why += &format!("; --wait-for: {error}");
        }
        why += "; nothing is undone, it goes on";
        Failure::new(TIMEOUT, why)
    }

    fn moment(&self, page: &Snapshot, now: Duration) -> Moment {
        let is_new = self.target.is_some();
        let key = (page.phase, page.generation, is_new, page.extended());
        let over = (self.end.saturating_sub(now), "to the timeout");
        if is_new {
            let label = format!("generation {}", page.generation);
            let child = page.child.unwrap_or(0);
            let stable = (page.generation_born + page.stable_after).saturating_sub(now);
            let (what, (left, until)) = match (&self.questions, page.start_grace) {
                (Some(_), _) => ("until it answers".to_owned(), over),
                (None, Some(grace)) if page.knows_readiness => {
                    let left = (page.generation_born + grace).saturating_sub(now);
                    let what = format!("until it is ready, within {}", Span(grace));
                    (what, (left, "of --start-grace"))
                }
                (None, None) if page.knows_readiness => ("until it is ready".to_owned(), over),
                (None, _) => {
                    let after = Span(page.stable_after);
                    (format!("until it has lived {after}"), (stable, "until it counts as stable"))
                }
            };
            let line = format!("{label} runs, pid {child}; waiting {what}");
            return Moment { label, line, key, left, until };
        }
        let acted = page.requests != self.before.requests || page.phase != self.before.phase;
        if self.asked == Asked::Restart && !acted || page.phase == Some(Phase::Running) {
            // It has not seen the signal yet.
            let label = "waiting".to_owned();
            return Moment { label, line: String::new(), key, left: over.0, until: over.1 };
        }
        let label = page.phase_name().to_owned();
        let line = match text::next(page, now) {
            Some(next) => format!("{label}, {next}"),
            None => label.clone(),
        };
        let (left, until) = match page.deadline {
            Some(deadline) => {
                let until = match page.phase {
                    Some(Phase::Backoff) => "to the next generation",
                    _ if text::sigkill_follows(page) => "to SIGKILL",
                    _ => "at most",
                };
                (deadline.saturating_sub(now), until)
            }
            None => over,
        };
        Moment { label, line, key, left, until }
    }
}

/// A URL that is asked again and again, beside the wait: an answer may be long in coming, and the
/// end of PID 1 does not wait for it.
struct Questions {
    probe: Probe,
    /// The question under way, and of which generation it is asked.
    under_way: Option<(u64, Aside)>,
    next: Duration,
    /// What the last answer was instead.
    error: Option<String>,
}

impl Questions {
    fn new(probe: Probe) -> Questions {
        Questions { probe, under_way: None, next: Duration::ZERO, error: None }
    }

    /// Whether this generation has answered; asks it when it is time to.
    fn answered(&mut self, generation: u64, now: Duration) -> bool {
        if let Some((asked, mut aside)) = self.under_way.take() {
            let Some(wrong) = aside.answer(Duration::ZERO) else {
                self.under_way = Some((asked, aside));
                return false;
            };
            self.next = now + PAUSE;
            if wrong != WELL {
                self.error = Some(if wrong.is_empty() { "no answer".to_owned() } else { wrong });
            } else if asked == generation {
                return true;
            }
        } else if now >= self.next {
            let probe = &self.probe;
            match Aside::begin(|| probe.ask().err().unwrap_or_else(|| WELL.to_owned())) {
                Ok(aside) => self.under_way = Some((generation, aside)),
                Err(errno) => {
                    self.error = Some(format!("cannot ask: {errno}"));
                    self.next = now + PAUSE;
                }
            }
        }
        false
    }
}

/// What is shown meanwhile: a bar on a terminal, a line for each change elsewhere.
struct Progress {
    silent: bool,
    key: Option<Key>,
    /// The longest time left since that began.
    whole: Duration,
    /// What stands in the terminal's line, in letters.
    drawn: usize,
    frame: String,
}

impl Progress {
    fn new(options: &Options) -> Progress {
        Progress {
            silent: options.json,
            key: None,
            whole: Duration::ZERO,
            drawn: 0,
            frame: String::new(),
        }
    }

    /// A line that stays.
    fn line(&mut self, line: &str) -> Result<(), Failure> {
        if self.silent {
            return Ok(());
        }
        print(&format!("{}\n", text::clean(line)))
    }

    fn show(&mut self, moment: &Moment) -> Result<(), Failure> {
        if self.silent {
            return Ok(());
        }
        let changed = self.key != Some(moment.key);
        if changed {
            self.key = Some(moment.key);
            self.whole = moment.left;
        }
        let Some((columns, _)) = screen() else {
            let wanted = changed && !moment.line.is_empty();
            return if wanted { self.line(&moment.line) } else { Ok(()) };
        };
        let frame = bar(moment, self.whole.max(moment.left), columns.min(text::WIDTH) - 1);
        if frame == self.frame {
            return Ok(());
        }
        let length = frame.chars().count();
        let before = self.drawn;
        print(&format!("\r{frame}{:1$}", "", before.saturating_sub(length)))?;
        self.drawn = length;
        self.frame = frame;
        Ok(())
    }

    /// Takes the bar away.
    fn clear(&mut self) -> Result<(), Failure> {
        match std::mem::take(&mut self.drawn) {
            0 => Ok(()),
            drawn => print(&format!("\r{:drawn$}\r", "")),
        }
    }
}

/// `stopping  [######......]   12.3 s at most`, at most `width` letters long.
fn bar(moment: &Moment, whole: Duration, width: usize) -> String {
    let tenths = moment.left.as_millis().div_ceil(100);
    let time = format!("{}.{} s {}", tenths / 10, tenths % 10, moment.until);
    let room = width.saturating_sub(moment.label.len() + time.len() + 6);
    let full = match whole.as_millis() {
        0 => 0,
        all => (room as u128 * moment.left.as_millis()).div_ceil(all) as usize,
    };
    let mut bar = format!("{}  [", moment.label);
    bar.extend((0..room).map(|i| if i < full { '#' } else { '.' }));
    bar.push_str("]  ");
    bar.push_str(&time);
    bar.chars().take(width).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(left: Duration) -> Moment {
        Moment {
            label: "stopping".to_owned(),
            line: String::new(),
            key: (None, 0, false, false),
            left,
            until: "at most",
        }
    }

    #[test]
    fn the_bar_shows_the_time_left_and_fits() {
        let whole = Duration::from_secs(25);
        let full = bar(&moment(whole), whole, 79);
        let half = bar(&moment(whole / 2), whole, 79);
        let none = bar(&moment(Duration::ZERO), whole, 79);
        assert!(
            full.starts_with("stopping  [####") && full.ends_with("#]  25.0 s at most"),
            "{full}"
        );
        assert_eq!(full.len(), 79, "{full}");
        assert!(half.contains("#....") && half.ends_with("12.5 s at most"), "{half}");
        assert!(!none.contains('#') && none.ends_with("0.0 s at most"), "{none}");
        assert_eq!(bar(&moment(whole), Duration::ZERO, 10).len(), 10);
    }
}

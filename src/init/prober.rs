//! The helper of `--ready-url`: started with each generation, ended when it has told that the
//! generation is ready, or when that is gone.

use super::Init;
use super::exporter::{END_WAIT, start_helper};
use crate::config::Level;
use crate::core::{Phase, Readiness, Status};
use crate::kernel::spawn::{Environment, Handed};
use crate::kernel::{clock, kill, reap};
use crate::prober::NAME;
use crate::report::{Span, Value, Words};
use crate::signal::Signal;
use crate::status::layout as at;
use std::ffi::{CStr, CString};
use std::time::Duration;

/// How long to wait before one that has ended by itself is started again.
const DELAY: Duration = Duration::from_secs(1);

/// It, as PID 1 knows it.
pub(super) struct Prober {
    words: [CString; 4],
    environment: Environment,
    pid: Option<i32>,
    /// It got SIGKILL from clawinit.
    ended: bool,
    /// What the URL answered last instead of what is wanted.
    answer: String,
    /// When to start it; `None`: it runs, or is not needed.
    next: Option<Duration>,
}

impl Prober {
    /// One that is not needed yet. `address`: where it tells.
    pub(super) fn new(words: [&CStr; 3], address: &str) -> Prober {
        let mut environment = Environment::new(std::iter::empty(), |_| false, &[]);
        environment.set("NOTIFY_SOCKET", address);
        let [url, body, json] = words.map(CStr::to_owned);
        let words = [NAME.to_owned(), url, body, json];
        Prober { words, environment, pid: None, ended: false, answer: String::new(), next: None }
    }

    /// When it is to be started.
    pub(super) fn due(&self) -> Option<Duration> {
        self.next
    }
}

impl Init {
    /// Its pid while it runs.
    pub(super) fn prober_pid(&self) -> Option<i32> {
        self.prober.as_ref()?.pid
    }

    /// A generation has begun.
    pub(super) fn ask_for_readiness(&mut self) {
        if let Some(prober) = &mut self.prober {
            prober.next = Some(Duration::ZERO);
            prober.answer.clear();
        }
    }

    /// What the URL answered last, for the line that says that it did not become ready; empty: it
    /// was not asked, or did not answer yet.
    pub(super) fn answer(&self) -> &str {
        self.prober.as_ref().map_or("", |prober| &prober.answer)
    }

    pub(super) fn keep_answer(&mut self, answer: &[u8]) {
        if let Some(prober) = &mut self.prober {
            prober.answer = Words(answer).to_string();
        }
    }

    /// Ends it, and waits until it is gone: what it says now would be said of the next generation.
    pub(super) fn end_prober(&mut self) {
        let Some(prober) = &mut self.prober else { return };
        prober.next = None;
        if let Some(pid) = prober.pid.take() {
            self.kept.page.update(|w| w.set(at::PROBER, 0));
            let _ = kill::process(pid, Signal::KILL);
            reap::wait(pid, END_WAIT);
            // The wait may have taken the SIGCHLD of another.
            kill::this_process(Signal::CHLD);
        }
    }

    /// Starts it when it is due, and ends it when it is not needed any more.
    pub(super) fn look_after_prober(&mut self) {
        let waits =
            self.state.readiness == Readiness::NotYet && matches!(self.state.phase, Phase::Running);
        let Some(prober) = &mut self.prober else { return };
        if !waits {
            prober.next = None;
            if let (Some(pid), false) = (prober.pid, prober.ended) {
                prober.ended = true;
                let _ = kill::process(pid, Signal::KILL);
            }
            return;
        }
        if prober.next.is_none_or(|next| clock::monotonic() < next) {
            return;
        }
        let (words, environment) = (&prober.words, &mut prober.environment);
        match start_helper(words, environment, self.config.user, Handed::Nothing) {
            Ok(pid) => {
                (prober.pid, prober.ended, prober.next) = (Some(pid), false, None);
                self.kept.page.update(|w| w.set(at::PROBER, pid as u64));
                let fields = [("pid", Value::Number(pid.into()))];
                let said = format_args!("pid {pid} asks --ready-url whether the child is ready");
                self.log.line(Level::Debug, "prober-started", said, &fields);
            }
            Err(failure) => {
                prober.next = Some(clock::monotonic() + DELAY);
                let errno = failure.errno;
                let said = format_args!("--ready-url cannot be asked: {errno}; is /proc mounted?");
                self.log.line(Level::Warn, "warning", said, &[]);
            }
        }
    }

    /// It was reaped.
    pub(super) fn prober_ended(&mut self, pid: i32, status: Status) {
        let Some(prober) = &mut self.prober else { return };
        prober.pid = None;
        self.kept.page.update(|w| w.set(at::PROBER, 0));
        if !prober.ended {
            prober.next = Some(clock::monotonic() + DELAY);
            let fields = [
                ("pid", Value::Number(pid.into())),
                ("delay_ms", Value::Number(DELAY.as_millis() as i64)),
            ];
            let said = format_args!(
                "the process that asks --ready-url, pid {pid}, {status}; the next one starts in {}",
                Span(DELAY)
            );
            self.log.line(Level::Warn, "prober-ended", said, &fields);
        }
    }
}

//! The exporter (`--metrics-listen`): a process of its own, which is started again when it ends,
//! is never taken for the child, and is no leftover either.

use super::Init;
use crate::config::Level;
use crate::core::Status;
use crate::kernel::signals::Mask;
use crate::kernel::spawn::{self, Environment, Failure, Handed, Program};
use crate::kernel::{Errno, clock, descendants, kill, reap};
use crate::report::{Span, Value};
use crate::signal::Signal;
use crate::status::layout as at;
use std::ffi::{CStr, CString};
use std::time::Duration;

/// How long to wait before it is started again, at first; doubled each time.
const DELAY: Duration = Duration::from_secs(1);

/// The longest such wait, and how long it has to live for the next one to be short again.
const DELAY_MAX: Duration = Duration::from_secs(60);

/// How long clawinit waits for the end of a helper that got SIGKILL.
pub(super) const END_WAIT: Duration = Duration::from_secs(1);

/// What `ps` shows of it, and by what the program knows what it is to be.
pub const NAME: &CStr = c"clawinit-exporter";

/// The program that a helper executes: this one.
const PROGRAM: &CStr = c"/proc/self/exe";

/// The exporter as PID 1 knows it.
pub(super) struct Exporter {
    /// Its arguments.
    words: [CString; 4],
    environment: Environment,
    pid: Option<i32>,
    started: Duration,
    /// When to start it; `None`: it runs, or will not run again.
    next: Option<Duration>,
    delay: Duration,
}

impl Exporter {
    /// One that is due at once. `environment`: what it is told of clawinit's own.
    pub(super) fn new(
        listen: &CStr,
        log_format: &CStr,
        log_level: &CStr,
        environment: impl Iterator<Item = &'static CStr>,
    ) -> Exporter {
        Exporter {
            words: [NAME, listen, log_format, log_level].map(CStr::to_owned),
            environment: Environment::new(environment, |_| false, &[]),
            pid: None,
            started: Duration::ZERO,
            next: Some(Duration::ZERO),
            delay: DELAY,
        }
    }

    /// When it is to be started.
    pub(super) fn due(&self) -> Option<Duration> {
        self.next
    }
}

/// Starts this program again as a helper of PID 1's, by the name that `words` begins with. `user`:
/// whom it becomes, as the child does.
pub(super) fn start_helper(
    words: &[CString],
    environment: &mut Environment,
    user: Option<(u32, u32)>,
    handed: Handed,
) -> Result<i32, Failure> {
    let mut argv: Vec<_> = words.iter().map(|word| word.as_ptr()).collect();
    argv.push(std::ptr::null());
    spawn::spawn(&mut Program {
        places: &[PROGRAM.to_owned()],
        argv: &argv,
        shell: None,
        environment,
        mask: Mask::NONE,
        ignores_children: false,
        terminal: None,
        folder: None,
        user,
        no_new_privs: true,
        handed,
    })
}

impl Init {
    /// Its pid while it runs.
    pub(super) fn exporter_pid(&self) -> Option<i32> {
        self.exporter.as_ref()?.pid
    }

    /// Starts it when it is due.
    pub(super) fn look_after_exporter(&mut self) {
        let (Some(exporter), Some(page)) = (&mut self.exporter, self.kept.page.fd()) else {
            return;
        };
        let now = clock::monotonic();
        if exporter.next.is_none_or(|next| now < next) {
            return;
        }
        let again = exporter.started != Duration::ZERO;
        let (words, environment) = (&exporter.words, &mut exporter.environment);
        let started = start_helper(words, environment, self.config.user, Handed::One(page));
        exporter.started = now;
        match started {
            Ok(pid) => {
                exporter.pid = Some(pid);
                exporter.next = None;
                self.kept.page.update(|w| {
                    w.set(at::EXPORTER, pid as u64);
                    w.set(at::EXPORTER_DUE, 0);
                    w.add(at::EXPORTER_RESTARTS, 0, again.into());
                });
                let fields = [("pid", Value::Number(pid.into()))];
                let said = format_args!("the exporter started: pid {pid}");
                self.log.line(Level::Debug, "exporter-started", said, &fields);
            }
            Err(failure) => {
                let why = match failure.errno {
                    Errno(libc::ENOENT) => {
                        "there is no /proc to find this program in; mount it".to_owned()
                    }
                    errno => errno.to_string(),
                };
                self.exporter_again(
                    format_args!("--metrics-listen: the exporter cannot be started: {why}"),
                    None,
                );
            }
        }
    }

    /// It was reaped.
    pub(super) fn exporter_ended(&mut self, pid: i32, status: Status) {
        self.exporter_again(format_args!("the exporter, pid {pid}, {status}"), Some(pid));
    }

    fn exporter_again(&mut self, what: std::fmt::Arguments, pid: Option<i32>) {
        let Some(exporter) = &mut self.exporter else { return };
        let now = clock::monotonic();
        if now.saturating_sub(exporter.started) >= DELAY_MAX {
            exporter.delay = DELAY;
        }
        let delay = exporter.delay;
        exporter.pid = None;
        exporter.next = Some(now + delay);
        self.kept.page.update(|w| {
            w.set(at::EXPORTER, 0);
            w.time(at::EXPORTER_DUE, now + delay);
        });
        exporter.delay = (delay * 2).min(DELAY_MAX);
        let fields = [
            ("pid", pid.map_or(Value::Null, |pid| Value::Number(pid.into()))),
            ("delay_ms", Value::Number(delay.as_millis() as i64)),
        ];
        let said = format_args!("{what}; it is started again in {}", Span(delay));
        self.log.line(Level::Warn, "exporter-ended", said, &fields);
    }

    /// Ends it, and waits until it is gone: SIGKILL, since it has nothing to lose.
    pub(super) fn end_exporter(&mut self) {
        let Some(exporter) = &mut self.exporter else { return };
        exporter.next = None;
        if let Some(pid) = exporter.pid.take() {
            let _ = kill::process(pid, Signal::KILL);
            reap::wait(pid, END_WAIT);
        }
    }

    /// Our helpers, where they run: the exporter, and who asks for readiness.
    pub(super) fn helpers(&self) -> [Option<i32>; 2] {
        [self.exporter_pid(), self.prober_pid()]
    }

    /// Whether a process is one of them.
    pub(super) fn is_helper(&self, pid: i32) -> bool {
        self.helpers().contains(&Some(pid))
    }

    /// Whether there are children beside our helpers. Where `/proc` does not say, these are ended,
    /// so that the kernel can.
    pub(super) fn has_others(&mut self) -> bool {
        let own = self.helpers();
        if own == [None; 2] {
            return true;
        }
        let mut others = false;
        match descendants::for_each_child(|pid| others |= !own.contains(&Some(pid))) {
            Ok(()) => others,
            Err(_) => {
                self.end_prober();
                self.end_exporter();
                // Whoever else has ended meanwhile: its SIGCHLD may have been taken for the
                // exporter's.
                kill::this_process(Signal::CHLD);
                reap::has_children()
            }
        }
    }
}

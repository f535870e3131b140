//! What `cli.rs` read, checked, as plain data: nothing in here is parsed again later.

use crate::core::Event;
use crate::signal::{self, Signal, SignalSet};
use std::ffi::CStr;
use std::time::Duration;

/// A set of exit codes, 0 to 255.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct CodeSet([u64; 4]);

impl CodeSet {
    /// No code.
    pub const EMPTY: CodeSet = CodeSet([0; 4]);

    /// Puts `code` in.
    pub const fn insert(&mut self, code: u8) {
        self.0[(code >> 6) as usize] |= 1 << (code & 63);
    }

    /// Whether `code` is in it.
    pub const fn contains(&self, code: u8) -> bool {
        self.0[(code >> 6) as usize] & (1 << (code & 63)) != 0
    }

    /// The lowest code that is in both sets.
    pub fn common(&self, other: &CodeSet) -> Option<u8> {
        (0..=255).find(|c| self.contains(*c) && other.contains(*c))
    }
}

/// `--restart MODE`: which ends of the child lead to a next generation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RestartMode {
    /// None. Restart signals are forwarded like any other.
    Never,
    /// Those asked for, by signal or by the restart code.
    Request,
    /// Those, and non-zero exits and deaths by signal.
    OnFailure,
    /// All that no stop asked for.
    Always,
}

/// `--kill-mode M`, in the words of systemd.kill(5).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum KillMode {
    /// Signals go to the child; what it leaves is swept.
    Mixed,
    /// Signals go to the child's process group; what it leaves is swept.
    Group,
    /// Signals go to the child; what it leaves is left.
    Process,
}

/// `--exit-when`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ExitWhen {
    /// The child has ended.
    Child,
    /// The last process has (Yelp/dumb-init#80: programs that re-execute themselves by fork and exit).
    All,
}

/// `--restart-style`: what a restart that a signal asks for comes to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RestartStyle {
    /// The child ends and the next generation starts.
    Replace,
    /// The child starts anew inside its own process, and says that it is ready.
    InPlace,
}

/// `--subreaper`, for a clawinit that is not PID 1 (prctl(2), `PR_SET_CHILD_SUBREAPER`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Subreaper {
    /// On.
    Auto,
    /// On, and an error when it cannot be.
    On,
    /// Not asked for.
    Off,
}

/// How loud the log is; each level includes those before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// clawinit cannot do what it is for.
    Error,
    /// Something that a person should look at.
    Warn,
    /// The events of the lifecycle.
    Info,
    /// Each signal and each reaped process.
    Debug,
    /// What the state machine was told and what it answered.
    Trace,
}

/// `--log-format`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// A sentence a line, behind the program's name.
    Text,
    /// A JSON object a line.
    Json,
}

/// Whose manners to have; it follows from the name that clawinit was called by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manners {
    /// Its own: all of `docs/design.md`.
    Clawinit,
    /// tini's: what Docker and Podman expect behind `--init`.
    Tini,
    /// catatonit's.
    Catatonit,
    /// dumb-init's.
    DumbInit,
}

/// Where the termination report goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TerminationLog {
    /// Nowhere.
    Off,
    /// Kubernetes' `/dev/termination-log`, where that file exists.
    IfPresent,
    /// A path that the operator named.
    Path(&'static CStr),
}

/// `--restart-limit` counts at most this many crashes; the state machine keeps their times.
pub const MAX_CRASHES: usize = 64;

/// How clawinit behaves in this run.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // each field is the option of the same name in `cli.rs`, which documents it
pub struct Config {
    pub manners: Manners,
    pub stop_on: SignalSet,
    pub stop_signal: Option<Signal>,
    pub stop_grace: Duration,
    pub stop_delay: Duration,
    pub restart_on: SignalSet,
    pub restart_signal: Option<Signal>,
    pub restart_grace: Duration,
    pub restart_style: RestartStyle,
    pub stop_grace_max: Option<Duration>,
    pub restart_grace_max: Option<Duration>,
    pub sweep_grace: Duration,
    pub restart_codes: CodeSet,
    /// The first code of `--restart-code`: what the child is told to leave with.
    pub restart_code: Option<u8>,
    pub no_restart_codes: CodeSet,
    pub restart: RestartMode,
    pub restart_delay: Duration,
    pub restart_delay_max: Duration,
    pub restart_limit: (u8, Duration),
    pub stable_after: Duration,
    /// Checked, and read again when the sockets are made.
    pub listen: Option<&'static CStr>,
    pub listen_env: Option<&'static CStr>,
    pub notify: bool,
    pub start_grace: Option<Duration>,
    pub start_grace_max: Option<Duration>,
    pub watchdog: Option<Duration>,
    pub watchdog_signal: Option<Signal>,
    /// Checked, and handed to the helper that asks, as they were written.
    pub ready_url: Option<&'static CStr>,
    pub ready_body: Option<&'static CStr>,
    pub ready_json: Option<&'static CStr>,
    pub kill_mode: KillMode,
    /// What each signal is forwarded as; `None` drops it. Indexed by number.
    pub map: [Option<Signal>; signal::MAX as usize + 1],
    pub success_codes: CodeSet,
    pub stop_exit_code: Option<u8>,
    pub platform_grace: Option<Duration>,
    pub user: Option<(u32, u32)>,
    pub no_new_privs: bool,
    pub vary_pid: bool,
    pub subreaper: Subreaper,
    pub parent_death_signal: Option<Signal>,
    pub port: Option<u16>,
    /// Checked, and handed to the exporter as it was written.
    pub metrics_listen: Option<&'static CStr>,
    pub termination_log: TerminationLog,
    pub log_format: LogFormat,
    pub log_level: Level,
    pub exit_when: ExitWhen,
    /// tini's `-w`: a line for each process reaped that was not the child.
    pub warn_on_reap: bool,
    /// Whether this is PID 1: it never suspends itself.
    pub is_pid1: bool,
}

impl Config {
    /// The defaults of DESIGN section 2.
    pub const fn new() -> Config {
        let mut map = [None; signal::MAX as usize + 1];
        let mut n = 1;
        while n < map.len() {
            map[n] = Signal::new(n as i32);
            n += 1;
        }
        let mut restart_codes = CodeSet::EMPTY;
        restart_codes.insert(75); // EX_TEMPFAIL of sysexits.h
        Config {
            manners: Manners::Clawinit,
            stop_on: SignalSet::EMPTY.with(Signal::TERM).with(Signal::INT).with(Signal::QUIT),
            stop_signal: None,
            stop_grace: Duration::from_secs(25), // five seconds under Kubernetes' 30
            stop_delay: Duration::ZERO,
            restart_on: SignalSet::EMPTY.with(Signal::USR1),
            restart_signal: None,
            restart_grace: Duration::from_secs(25),
            restart_style: RestartStyle::Replace,
            stop_grace_max: None,
            restart_grace_max: None,
            sweep_grace: Duration::from_secs(3),
            restart_codes,
            restart_code: Some(75),
            no_restart_codes: CodeSet::EMPTY,
            restart: RestartMode::Request,
            restart_delay: Duration::from_millis(200),
            restart_delay_max: Duration::from_secs(30),
            restart_limit: (5, Duration::from_secs(60)),
            stable_after: Duration::from_secs(10),
            listen: None,
            listen_env: None,
            notify: false,
            start_grace: None,
            start_grace_max: None,
            watchdog: None,
            watchdog_signal: None,
            ready_url: None,
            ready_body: None,
            ready_json: None,
            kill_mode: KillMode::Mixed,
            map,
            success_codes: CodeSet::EMPTY,
            stop_exit_code: None,
            platform_grace: None,
            user: None,
            no_new_privs: false,
            vary_pid: false,
            subreaper: Subreaper::Auto,
            parent_death_signal: None,
            port: None,
            metrics_listen: None,
            termination_log: TerminationLog::IfPresent,
            log_format: LogFormat::Text,
            log_level: Level::Info,
            exit_when: ExitWhen::Child,
            warn_on_reap: false,
            is_pid1: false,
        }
    }

    /// As transparent as the init whose name it bears: it forwards, reaps and leaves.
    pub const fn transparent(manners: Manners) -> Config {
        let mut config = Config::new();
        config.manners = manners;
        config.stop_on = SignalSet::EMPTY;
        config.restart_on = SignalSet::EMPTY;
        config.restart_codes = CodeSet::EMPTY;
        config.restart_code = None;
        config.restart = RestartMode::Never;
        config.kill_mode = KillMode::Process;
        if matches!(manners, Manners::DumbInit) {
            // Its child's group is a background job of nobody, where the kernel drops the
            // stops that a terminal would send.
            config.kill_mode = KillMode::Group;
            config.map[Signal::TSTP.number() as usize] = Some(Signal::STOP);
            config.map[Signal::TTIN.number() as usize] = Some(Signal::STOP);
            config.map[Signal::TTOU.number() as usize] = Some(Signal::STOP);
        }
        config.subreaper = match manners {
            Manners::Catatonit => Subreaper::Auto, // as it does
            Manners::Clawinit | Manners::Tini | Manners::DumbInit => Subreaper::Off,
        };
        config.termination_log = TerminationLog::Off;
        config.log_level = Level::Warn;
        config
    }

    /// What a received signal means. SIGCHLD is not asked about: it is ours.
    pub fn event(&self, signal: Signal) -> Event {
        if self.stop_on.contains(signal) {
            Event::Stop(signal)
        } else if self.restart_on.contains(signal) && self.restart != RestartMode::Never {
            Event::Restart(signal)
        } else {
            Event::Forward(signal)
        }
    }

    /// What a signal is forwarded as; `None`: it is dropped.
    pub fn forwarded(&self, signal: Signal) -> Option<Signal> {
        self.map[signal.number() as usize]
    }

    /// What the child is sent when `received` asked for a stop.
    pub fn told_to_stop(&self, received: Signal) -> Signal {
        self.stop_signal.or(self.forwarded(received)).unwrap_or(received)
    }

    /// What the child is sent when `received` asked for a restart.
    pub fn told_to_restart(&self, received: Signal) -> Signal {
        self.restart_signal.or(self.forwarded(received)).unwrap_or(received)
    }

    /// What a child is sent that is to end for its own failure.
    pub fn told_to_end(&self) -> Signal {
        self.stop_signal.unwrap_or(Signal::TERM)
    }

    /// What a child is sent that gives no sign of life.
    pub fn told_when_hung(&self) -> Signal {
        self.watchdog_signal.unwrap_or(self.told_to_end())
    }

    /// How long a stop may take beyond the stop delay, and the option that says so.
    pub fn longest_stop(&self) -> (&'static str, Duration) {
        match self.stop_grace_max {
            Some(max) => ("stop-grace-max", max),
            None => ("stop-grace", self.stop_grace),
        }
    }

    /// Whether the child, or who asks it, tells when it is ready.
    pub fn knows_readiness(&self) -> bool {
        self.notify || self.ready_url.is_some()
    }

    /// Whether there is somebody to be heard (sd_notify(3)).
    pub fn hears(&self) -> bool {
        self.knows_readiness() || self.watchdog.is_some()
    }

    /// Whether what the child leaves is swept.
    pub fn sweeps(&self) -> bool {
        self.manners == Manners::Clawinit && self.kill_mode != KillMode::Process
    }

    /// Whether a crash leads to a next generation.
    pub fn restarts_after_crashes(&self) -> bool {
        matches!(self.restart, RestartMode::OnFailure | RestartMode::Always)
    }

    /// Whether a second generation can ever come.
    pub fn can_restart(&self) -> bool {
        match self.restart {
            RestartMode::Never => false,
            RestartMode::Request => {
                !self.restart_on.is_empty() || self.restart_codes != CodeSet::EMPTY
            }
            RestartMode::OnFailure | RestartMode::Always => true,
        }
    }

    /// Whether `signal` also suspends clawinit itself: outside PID 1, as a shell's job does.
    /// tini ignores the two background signals.
    pub fn suspends(&self, signal: Signal) -> bool {
        let ignores = matches!(self.manners, Manners::Tini | Manners::Catatonit);
        !self.is_pid1
            && (signal == Signal::TSTP
                || !ignores && (signal == Signal::TTIN || signal == Signal::TTOU))
    }

    /// The code for a wrong command line: tini's 1 by the transparent names, 2 by our own.
    pub fn usage_code(&self) -> u8 {
        if self.manners == Manners::Clawinit { 2 } else { 1 }
    }
}

impl Default for Config {
    fn default() -> Config {
        Config::new()
    }
}

//! What a person types or sets: options, environment, help.
//!
//! One table of options, read from the top for each word: no parser is built at start, which is
//! where a container's start time goes (`docs/design.md`, "Why no clap in PID 1").

use crate::config::{
    CodeSet, Config, ExitWhen, KillMode, Level, LogFormat, MAX_CRASHES, Manners, RestartMode,
    RestartStyle, Subreaper, TerminationLog,
};
use crate::kernel::entry::Start;
use crate::prober;
use crate::signal::{Signal, SignalSet};
use crate::sockets;
use std::ffi::CStr;
use std::fmt::Write;
use std::time::Duration;

/// What was asked for.
pub enum Request {
    /// Run the command that begins at this argument.
    Run {
        /// How.
        config: Box<Config>,
        /// Index into the arguments.
        command: usize,
        /// What looked odd and was passed over.
        warnings: Vec<String>,
    },
    /// Print this on standard output and leave with 0.
    Print(String),
}

/// One line about what cannot be done as it was written: where, what, and what to type.
pub struct Refused {
    /// The line.
    pub line: String,
    /// The usage to print behind it, as the init does whose name this is.
    pub usage: Option<&'static str>,
    /// The code to leave with.
    pub code: u8,
}

/// A long option and its variable `CLAWINIT_<NAME>`.
struct Opt {
    name: &'static str,
    /// What its value is; empty: it has none.
    value: &'static str,
    help: &'static str,
    set: fn(&mut Config, &'static CStr) -> Result<(), Wrong>,
}

/// What was wrong with a value, and what to type.
pub(crate) struct Wrong(pub(crate) String);

/// Every option of its own. The README and the manual page list the same (`tests/it/tidy.rs`).
#[rustfmt::skip]
const OPTIONS: [Opt; 44] = [
    Opt { name: "stop-on", value: "SIG,...", help: "signals that mean stop (TERM,INT,QUIT)",
        set: |c, v| signals(v).map(|s| c.stop_on = s) },
    Opt { name: "stop-signal", value: "SIG", help: "what the child is sent to stop (the one received)",
        set: |c, v| sendable(v).map(|s| c.stop_signal = Some(s)) },
    Opt { name: "stop-grace", value: "D", help: "from the stop request to SIGKILL, sweep included (25s)",
        set: |c, v| duration(v).map(|d| c.stop_grace = d) },
    Opt { name: "stop-delay", value: "D", help: "wait before the child is told to stop; a second signal ends it (0s)",
        set: |c, v| duration(v).map(|d| c.stop_delay = d) },
    Opt { name: "restart-on", value: "SIG,...|none", help: "signals that mean restart (USR1)",
        set: |c, v| signals(v).map(|s| c.restart_on = s) },
    Opt { name: "restart-signal", value: "SIG", help: "what the child is sent to restart (the one received)",
        set: |c, v| sendable(v).map(|s| c.restart_signal = Some(s)) },
    Opt { name: "restart-grace", value: "D", help: "from the restart request to SIGKILL (as --stop-grace)",
        set: |c, v| duration(v).map(|d| c.restart_grace = d) },
    Opt { name: "restart-style", value: "STYLE", help: "replace, or in-place: the child starts anew inside its own\nprocess and says READY=1 (replace)",
        set: |c, v| one_of(v, &[("replace", RestartStyle::Replace), ("in-place", RestartStyle::InPlace)])
            .map(|s| c.restart_style = s) },
    Opt { name: "stop-grace-max", value: "D", help: "how far the child may extend --stop-grace\n(EXTEND_TIMEOUT_USEC; not at all)",
        set: |c, v| duration(v).map(|d| c.stop_grace_max = Some(d)) },
    Opt { name: "restart-grace-max", value: "D", help: "how far it may extend --restart-grace (not at all)",
        set: |c, v| duration(v).map(|d| c.restart_grace_max = Some(d)) },
    Opt { name: "sweep-grace", value: "D", help: "from the child's end to SIGKILL for what it left (3s)",
        set: |c, v| duration(v).map(|d| c.sweep_grace = d) },
    Opt { name: "restart-code", value: "N,...|none", help: "exit codes of the child that ask for a restart (75)",
        set: |c, v| codes(v).map(|(set, first)| (c.restart_codes, c.restart_code) = (set, first)) },
    Opt { name: "no-restart-code", value: "N,...|none", help: "exit codes after which nothing is restarted (none)",
        set: |c, v| codes(v).map(|(set, _)| c.no_restart_codes = set) },
    Opt { name: "restart", value: "MODE", help: "never, request, on-failure or always (request)",
        set: |c, v| one_of(v, &[("never", RestartMode::Never), ("request", RestartMode::Request),
            ("on-failure", RestartMode::OnFailure), ("always", RestartMode::Always)])
            .map(|m| c.restart = m) },
    Opt { name: "restart-delay", value: "D", help: "wait after a crash; doubles with each in a row (200ms)",
        set: |c, v| duration(v).map(|d| c.restart_delay = d) },
    Opt { name: "restart-delay-max", value: "D", help: "the longest such wait (30s)",
        set: |c, v| duration(v).map(|d| c.restart_delay_max = d) },
    Opt { name: "restart-limit", value: "N/D", help: "crashes tolerated in that time (5/60s)",
        set: |c, v| limit(v).map(|l| c.restart_limit = l) },
    Opt { name: "stable-after", value: "D", help: "a child that lived this long makes up for crashes (10s)",
        set: |c, v| duration(v).map(|d| c.stable_after = d) },
    Opt { name: "listen", value: "ADDR:PORT[=NAME],...", help: "sockets that stay open through every restart, given to the\nchild from descriptor 3 on (LISTEN_FDS); also unix:/PATH",
        set: |c, v| sockets_to_listen_on(v).map(|()| c.listen = Some(v)) },
    Opt { name: "listen-env", value: "VAR,...", help: "variables for the numbers of these descriptors",
        set: |c, v| variables(v).map(|()| c.listen_env = Some(v)) },
    Opt { name: "notify", value: "", help: "the child says when it is ready (NOTIFY_SOCKET)",
        set: |c, v| switch(v).map(|on| c.notify = on) },
    Opt { name: "start-grace", value: "D", help: "a child that is not ready by then has crashed (never)",
        set: |c, v| more_than_nothing(v).map(|d| c.start_grace = Some(d)) },
    Opt { name: "start-grace-max", value: "D", help: "how far it may extend --start-grace (not at all)",
        set: |c, v| duration(v).map(|d| c.start_grace_max = Some(d)) },
    Opt { name: "watchdog", value: "D", help: "a child that says nothing for this long has crashed\n(WATCHDOG=1; never)",
        set: |c, v| more_than_nothing(v).map(|d| c.watchdog = Some(d)) },
    Opt { name: "watchdog-signal", value: "SIG", help: "what it is sent then, like ABRT (as --stop-signal, or TERM)",
        set: |c, v| sendable(v).map(|s| c.watchdog_signal = Some(s)) },
    Opt { name: "ready-url", value: "URL", help: "the child is ready when this answers 2xx",
        set: |c, v| ready_url(v).map(|()| c.ready_url = Some(v)) },
    Opt { name: "ready-body", value: "TEXT", help: "and its body contains this",
        set: |c, v| text(v).map(|_| c.ready_body = Some(v)) },
    Opt { name: "ready-json", value: "PATH=VALUE", help: "and its body is JSON, and has this there",
        set: |c, v| ready_json(v).map(|()| c.ready_json = Some(v)) },
    Opt { name: "kill-mode", value: "MODE", help: "mixed: signal the child, sweep the rest; group: signal its\nprocess group, sweep; process: the child only, no sweep (mixed)",
        set: |c, v| one_of(v, &[("mixed", KillMode::Mixed), ("group", KillMode::Group),
            ("process", KillMode::Process)]).map(|m| c.kill_mode = m) },
    Opt { name: "map", value: "FROM:TO,...", help: "forward one signal as another; TO none drops it",
        set: |c, v| map(c, v) },
    Opt { name: "success-codes", value: "N,...|none", help: "exit codes of the child reported as 0",
        set: |c, v| codes(v).map(|(set, _)| c.success_codes = set) },
    Opt { name: "stop-exit-code", value: "child|N", help: "the code after a stop that was done in time (child)",
        set: |c, v| stop_exit_code(v).map(|code| c.stop_exit_code = code) },
    Opt { name: "platform-grace", value: "D", help: "what the platform gives before its own SIGKILL: warn\nwhen stop delay and grace do not fit",
        set: |c, v| duration(v).map(|d| c.platform_grace = Some(d)) },
    Opt { name: "user", value: "UID[:GID]", help: "run the child as this user (GID: the same number)",
        set: |c, v| user(v).map(|u| c.user = Some(u)) },
    Opt { name: "no-new-privs", value: "", help: "the child cannot gain privileges",
        set: |c, v| switch(v).map(|on| c.no_new_privs = on) },
    Opt { name: "vary-pid", value: "", help: "the first child gets another pid at each boot",
        set: |c, v| switch(v).map(|on| c.vary_pid = on) },
    Opt { name: "subreaper", value: "auto|on|off", help: "adopt orphans when not PID 1 (auto)",
        set: |c, v| one_of(v, &[("auto", Subreaper::Auto), ("on", Subreaper::On),
            ("off", Subreaper::Off)]).map(|s| c.subreaper = s) },
    Opt { name: "parent-death-signal", value: "SIG", help: "forward this signal when clawinit's parent dies",
        set: |c, v| at_death(v).map(|s| c.parent_death_signal = Some(s)) },
    Opt { name: "port", value: "N", help: "watch this TCP port: time its release, name its holder",
        set: |c, v| port(v).map(|p| c.port = Some(p)) },
    Opt { name: "metrics-listen", value: "ADDR:PORT", help: "serve /metrics, /status and /health there, from a process\nof its own",
        set: |c, v| listen(v).map(|()| c.metrics_listen = Some(v)) },
    Opt { name: "termination-log", value: "PATH", help: "where the report goes; none: nowhere\n(/dev/termination-log where it exists)",
        set: |c, v| termination_log(v).map(|t| c.termination_log = t) },
    Opt { name: "log-format", value: "text|json", help: "(text)",
        set: |c, v| one_of(v, &[("text", LogFormat::Text), ("json", LogFormat::Json)])
            .map(|f| c.log_format = f) },
    Opt { name: "log-level", value: "LEVEL", help: "error, warn, info, debug or trace (info)",
        set: |c, v| one_of(v, &[("error", Level::Error), ("warn", Level::Warn),
            ("info", Level::Info), ("debug", Level::Debug), ("trace", Level::Trace)])
            .map(|l| c.log_level = l) },
    Opt { name: "exit-when", value: "child|all", help: "leave when the child has ended, or the last process (child)",
        set: |c, v| one_of(v, &[("child", ExitWhen::Child), ("all", ExitWhen::All)])
            .map(|w| c.exit_when = w) },
];

/// Where the value of an option comes from: a byte for each, which is all that a start pays for
/// `clawinit check`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// The variable of its name.
    Variable,
    /// The variable by which tini knows it.
    Tini,
    /// The command line.
    Word,
}

/// The origin of each option, by its place in the table.
pub type Origins = [Origin; OPTIONS.len()];

/// Before anything is read.
pub const NO_ORIGINS: Origins = [Origin::Default; OPTIONS.len()];

/// The names of the options, in the order of [`Origins`].
pub fn names() -> impl Iterator<Item = &'static str> {
    OPTIONS.iter().map(|option| option.name)
}

/// The variables that clawinit gives to its child; the inner one of two does not read them.
const FOR_THE_CHILD: [&str; 3] = ["GENERATION", "RESTART_CODE", "PID"];

const PREFIX: &[u8] = b"CLAWINIT_";

/// Reads the name, the arguments and the environment that clawinit was started with.
pub fn read(start: &Start) -> Result<Request, Refused> {
    read_words(start, &start.args, &mut { NO_ORIGINS })
}

/// The same with other words than those of the command line, and with where each option comes
/// from: for `clawinit check`.
pub fn read_words(
    start: &Start,
    args: &[&'static CStr],
    origins: &mut Origins,
) -> Result<Request, Refused> {
    let called = args.first().map_or(&b""[..], |name| name.to_bytes());
    let manners = manners(called);
    let mut config = match manners {
        Manners::Clawinit => Config::new(),
        Manners::Tini | Manners::Catatonit | Manners::DumbInit => Config::transparent(manners),
    };
    let mut reader = Reader {
        config: &mut config,
        warnings: Vec::new(),
        grace_given: false,
        max_given: false,
        origins,
    };
    let read = reader.environment(start).and_then(|()| reader.arguments(args));
    let (grace_given, max_given) = (reader.grace_given, reader.max_given);
    let warnings = std::mem::take(&mut reader.warnings);
    let code = config.usage_code();
    let refused = |line| Refused { line, usage: None, code };
    match read.map_err(refused)? {
        Asked::Help => Ok(Request::Print(help(manners))),
        Asked::Version => Ok(Request::Print(version(manners))),
        Asked::License => Ok(Request::Print(include_str!("../LICENSE").to_owned())),
        Asked::Run(command) => {
            // What was not given follows what was.
            if !grace_given {
                config.restart_grace = config.stop_grace;
            }
            if !max_given {
                config.restart_delay_max = config.restart_delay_max.max(config.restart_delay);
            }
            check(&config).map_err(refused)?;
            if command == args.len() {
                let (line, usage) = no_command(manners);
                return Err(Refused { line: line.to_owned(), usage, code });
            }
            Ok(Request::Run { config: Box::new(config), command, warnings })
        }
    }
}

/// The manners that go with a name. Podman's init-path was `/dev/init` once; a `/sbin/init`
/// of one's own is no drop-in for another.
pub fn manners(called: &[u8]) -> Manners {
    match called.rsplit(|b| *b == b'/').next().unwrap_or(called) {
        b"tini" | b"tini-static" | b"docker-init" | b"podman-init" => Manners::Tini,
        b"catatonit" => Manners::Catatonit,
        b"dumb-init" => Manners::DumbInit,
        _ if called == b"/dev/init" => Manners::Tini,
        _ => Manners::Clawinit,
    }
}

/// What the command line asks for.
enum Asked {
    Run(usize),
    Help,
    Version,
    License,
}

struct Reader<'a> {
    config: &'a mut Config,
    warnings: Vec<String>,
    /// Whether `--restart-grace` was given; it follows the stop grace otherwise.
    grace_given: bool,
    /// Whether `--restart-delay-max` was; a longer `--restart-delay` alone raises it.
    max_given: bool,
    origins: &'a mut Origins,
}

impl Reader<'_> {
    fn environment(&mut self, start: &Start) -> Result<(), String> {
        let mut outer: Option<bool> = None;
        for variable in start.variables() {
            let bytes = variable.to_bytes();
            match self.config.manners {
                Manners::Clawinit if bytes.starts_with(PREFIX) => {
                    let is_inner = *outer.get_or_insert_with(|| {
                        start.variables().any(|v| v.to_bytes().starts_with(b"CLAWINIT_PID="))
                    });
                    self.variable(variable, is_inner)?;
                }
                Manners::Clawinit | Manners::Tini if bytes.starts_with(b"TINI_") => {
                    self.tini_variable(variable);
                }
                Manners::DumbInit => match bytes {
                    b"DUMB_INIT_DEBUG=1" => self.config.log_level = Level::Debug,
                    b"DUMB_INIT_SETSID=0" => self.single_child(),
                    _ => {}
                },
                Manners::Clawinit | Manners::Tini | Manners::Catatonit => {}
            }
        }
        Ok(())
    }

    /// A `CLAWINIT_NAME=VALUE`. An empty value is as good as none: Compose files pass on
    /// variables that nobody set.
    fn variable(&mut self, variable: &'static CStr, is_inner: bool) -> Result<(), String> {
        let bytes = variable.to_bytes();
        let Some(equals) = bytes.iter().position(|b| *b == b'=') else { return Ok(()) };
        let name = String::from_utf8_lossy(&bytes[PREFIX.len()..equals]);
        if is_inner && FOR_THE_CHILD.contains(&&*name) {
            return Ok(());
        }
        let option = OPTIONS.iter().position(|o| is_variable_of(&name, o.name));
        let Some(option) = option else {
            let names = OPTIONS.iter().map(|o| variable_of(o.name));
            let near = names.min_by_key(|known| distance(&name, known)).unwrap_or_default();
            self.warnings.push(format!(
                "CLAWINIT_{name}: no such variable, passed over; did you mean CLAWINIT_{near}?"
            ));
            return Ok(());
        };
        let value = tail(variable, equals + 1);
        if value.is_empty() {
            return Ok(());
        }
        self.set(option, value, Origin::Variable)
            .map_err(|Wrong(wrong)| format!("CLAWINIT_{name}: {wrong}"))
    }

    fn tini_variable(&mut self, variable: &'static CStr) {
        let bytes = variable.to_bytes();
        if bytes.starts_with(b"TINI_SUBREAPER=") {
            self.config.subreaper = Subreaper::On;
            self.set_by(Origin::Tini, "subreaper");
        } else if bytes.starts_with(b"TINI_KILL_PROCESS_GROUP=") {
            self.config.kill_mode = KillMode::Group;
            self.set_by(Origin::Tini, "kill-mode");
        } else if let Some(value) = bytes.strip_prefix(b"TINI_VERBOSITY=") {
            // tini reads it with atoi(3): what is no number is 0, and it knows nothing above 3.
            let digits = value.iter().take_while(|b| b.is_ascii_digit()).count();
            let number = std::str::from_utf8(&value[..digits]).ok().and_then(|d| d.parse().ok());
            self.set_by(Origin::Tini, "log-level");
            self.config.log_level = match number.unwrap_or(0u32) {
                0 => Level::Error,
                1 => Level::Warn,
                2 => Level::Info,
                3 => Level::Debug,
                _ => Level::Trace,
            };
        }
    }

    fn arguments(&mut self, args: &[&'static CStr]) -> Result<Asked, String> {
        let mut rest = 1..args.len();
        while let Some(i) = rest.next() {
            let word = args[i];
            let bytes = word.to_bytes();
            match bytes {
                b"--" => return Ok(Asked::Run(i + 1)),
                [b'-', second, ..] => {
                    let mut next = || rest.next().map(|i| args[i]);
                    let asked = match second {
                        b'-' => self.long(word, &mut next)?,
                        _ => self.short(word, &mut next)?,
                    };
                    if let Some(asked) = asked {
                        return Ok(asked);
                    }
                }
                _ => return Ok(Asked::Run(i)),
            }
        }
        Ok(Asked::Run(args.len()))
    }

    fn long(
        &mut self,
        word: &'static CStr,
        next: &mut dyn FnMut() -> Option<&'static CStr>,
    ) -> Result<Option<Asked>, String> {
        let bytes = word.to_bytes();
        let end = bytes.iter().position(|b| *b == b'=').unwrap_or(bytes.len());
        let shown = String::from_utf8_lossy(&bytes[..end]);
        match (&bytes[2..end], self.config.manners) {
            (b"version", _) => return Ok(Some(Asked::Version)),
            (b"license" | b"licence", _) => return Ok(Some(Asked::License)),
            (b"help", _) => return Ok(Some(Asked::Help)),
            (b"single-child", Manners::DumbInit) => {
                self.single_child();
                return Ok(None);
            }
            (b"verbose", Manners::DumbInit) => {
                self.louder();
                return Ok(None);
            }
            (b"rewrite", Manners::DumbInit) => {
                let value = if end < bytes.len() { Some(tail(word, end + 1)) } else { next() };
                return self.rewrite(value).map(|()| None);
            }
            _ => {}
        }
        let own = match self.config.manners {
            Manners::Clawinit => &OPTIONS[..],
            Manners::Tini | Manners::Catatonit | Manners::DumbInit => &[],
        };
        let Some(at) = own.iter().position(|o| o.name.as_bytes() == &bytes[2..end]) else {
            let mut line = format!("{shown}: no such option");
            let own_help = (!own.is_empty()).then_some("help");
            let names = own.iter().map(|o| o.name).chain(own_help).map(str::to_owned);
            match nearest(&shown[2..], names) {
                Some(near) => {
                    let _ = write!(line, "; did you mean --{near}?");
                }
                None => line.push_str("; write --help to see those there are"),
            }
            return Err(line);
        };
        let option = &own[at];
        let value = if end < bytes.len() {
            tail(word, end + 1)
        } else if option.value.is_empty() {
            c"yes"
        } else {
            next().ok_or_else(|| {
                format!("{shown}: the value is missing; write {shown} {}", option.value)
            })?
        };
        self.set(at, value, Origin::Word).map_err(|Wrong(wrong)| format!("{shown}: {wrong}"))?;
        Ok(None)
    }

    /// A cluster of short options, as getopt(3) reads it.
    fn short(
        &mut self,
        word: &'static CStr,
        next: &mut dyn FnMut() -> Option<&'static CStr>,
    ) -> Result<Option<Asked>, String> {
        let bytes = word.to_bytes();
        for at in 1..bytes.len() {
            let letter = bytes[at];
            let mut value = || match bytes.len() - at {
                1 => next(),
                _ => Some(tail(word, at + 1)),
            };
            match (letter, self.config.manners) {
                (b'h', _) => return Ok(Some(Asked::Help)),
                (b'V', Manners::Catatonit | Manners::DumbInit | Manners::Clawinit) => {
                    return Ok(Some(Asked::Version));
                }
                (b'l', Manners::Clawinit | Manners::Tini) | (b'L', Manners::Catatonit) => {
                    return Ok(Some(Asked::License));
                }
                (b'v', Manners::Clawinit | Manners::Tini | Manners::DumbInit) => {
                    self.louder();
                    self.set_by(Origin::Word, "log-level");
                }
                (b'q', Manners::Clawinit) => {
                    self.quieter();
                    self.set_by(Origin::Word, "log-level");
                }
                (b's', Manners::Clawinit | Manners::Tini) => {
                    self.config.subreaper = Subreaper::On;
                    self.set_by(Origin::Word, "subreaper");
                }
                (b'g', Manners::Clawinit | Manners::Tini | Manners::Catatonit) => {
                    self.config.kill_mode = KillMode::Group;
                    self.set_by(Origin::Word, "kill-mode");
                }
                (b'w', Manners::Clawinit | Manners::Tini) => self.config.warn_on_reap = true,
                (b'p', Manners::Clawinit | Manners::Tini) => {
                    let value = value().ok_or("-p: the value is missing; write -p SIGTERM")?;
                    let wanted = signal(value).map_err(|Wrong(wrong)| format!("-p: {wrong}"))?;
                    self.config.parent_death_signal = Some(wanted);
                    self.set_by(Origin::Word, "parent-death-signal");
                    return Ok(None);
                }
                (b'e', Manners::Clawinit | Manners::Tini) => {
                    let value = value().ok_or("-e: the value is missing; write -e 143")?;
                    let wanted = text(value).and_then(code);
                    let wanted = wanted.map_err(|Wrong(wrong)| format!("-e: {wrong}"))?;
                    self.config.success_codes.insert(wanted);
                    self.set_by(Origin::Word, "success-codes");
                    return Ok(None);
                }
                (b'c', Manners::DumbInit) => self.single_child(),
                (b'r', Manners::DumbInit) => {
                    return self.rewrite(value()).map(|()| None);
                }
                (b'P', Manners::Catatonit) => {
                    return Err("-P: there is no pause mode here; give a command to run".into());
                }
                _ => {
                    let shown = String::from_utf8_lossy(bytes);
                    let rest = String::from_utf8_lossy(&bytes[at..]);
                    let letter = rest.chars().next().unwrap_or('-');
                    return Err(format!(
                        "{shown}: there is no option -{letter}; write -h to see those there are"
                    ));
                }
            }
        }
        Ok(None)
    }

    fn set(&mut self, at: usize, value: &'static CStr, origin: Origin) -> Result<(), Wrong> {
        let option = &OPTIONS[at];
        self.origins[at] = origin;
        self.grace_given |= option.name == "restart-grace";
        self.max_given |= option.name == "restart-delay-max";
        (option.set)(self.config, value)
    }

    /// An option was set by another name that it has: a letter, or one of tini's variables.
    fn set_by(&mut self, origin: Origin, name: &str) {
        if let Some(at) = OPTIONS.iter().position(|o| o.name == name) {
            self.origins[at] = origin;
        }
    }

    fn louder(&mut self) {
        self.config.log_level = match self.config.log_level {
            Level::Error => Level::Warn,
            Level::Warn if self.config.manners == Manners::DumbInit => Level::Debug,
            Level::Warn => Level::Info,
            Level::Info => Level::Debug,
            Level::Debug | Level::Trace => Level::Trace,
        };
    }

    fn quieter(&mut self) {
        self.config.log_level = match self.config.log_level {
            Level::Trace => Level::Debug,
            Level::Debug => Level::Info,
            Level::Info => Level::Warn,
            Level::Warn | Level::Error => Level::Error,
        };
    }

    /// dumb-init's `-c`: the signals of a background job reach the child as they are.
    fn single_child(&mut self) {
        self.config.kill_mode = KillMode::Process;
        for signal in [Signal::TSTP, Signal::TTIN, Signal::TTOU] {
            let target = &mut self.config.map[signal.number() as usize];
            if *target == Some(Signal::STOP) {
                *target = Some(signal);
            }
        }
    }

    /// dumb-init's `-r A:B`: numbers from 1 to 31, and 0 to drop.
    fn rewrite(&mut self, value: Option<&'static CStr>) -> Result<(), String> {
        let number = |text: &str| text.parse::<u8>().ok().filter(|n| *n <= 31);
        let value = value.and_then(|v| v.to_str().ok()).unwrap_or_default();
        let pair = value
            .split_once(':')
            .and_then(|(from, to)| Some((number(from).filter(|n| *n > 0)?, number(to)?)));
        let (from, to) = pair.ok_or_else(|| {
            format!("-r: \"{value}\" is no rewrite; write two signal numbers up to 31, like 15:2, or 15:0 to drop one")
        })?;
        self.config.map[usize::from(from)] = Signal::new(i32::from(to));
        Ok(())
    }
}

/// What no single option shows.
fn check(config: &Config) -> Result<(), String> {
    if let Some(both) = config.stop_on.common(config.restart_on) {
        return Err(format!(
            "--restart-on: {both} is in --stop-on as well; take it out of one of the two, or write --restart-on none"
        ));
    }
    if let Some(both) = config.restart_codes.common(&config.no_restart_codes) {
        return Err(format!(
            "--no-restart-code: {both} is in --restart-code as well; take it out of one of the two, or write --restart-code none"
        ));
    }
    if config.restart_delay > config.restart_delay_max {
        return Err(
            "--restart-delay: longer than --restart-delay-max; write a shorter one, or leave the maximum out"
                .to_owned(),
        );
    }
    check_readiness(config)?;
    for n in 1..=64 {
        let Some(received) = Signal::new(n) else { continue };
        let (option, given) = if config.stop_on.contains(received) {
            ("--stop-on", config.stop_signal)
        } else if config.restart_on.contains(received) {
            ("--restart-on", config.restart_signal)
        } else {
            continue;
        };
        if given.is_none() && config.forwarded(received).is_none_or(|s| !s.is_catchable()) {
            return Err(format!(
                "--map: {received} is in {option}, and the child has to be told; take it out of one of the two, or write --{}-signal SIG",
                &option[2..option.len() - 3]
            ));
        }
    }
    Ok(())
}

/// What the options of readiness, watchdog and sockets need of each other.
fn check_readiness(config: &Config) -> Result<(), String> {
    let ready = config.knows_readiness();
    let needs = [
        (config.start_grace.is_some() && !ready, "--start-grace", "--notify or --ready-url URL"),
        (
            config.restart_style == RestartStyle::InPlace && !config.notify,
            "--restart-style in-place",
            "--notify",
        ),
        (
            config.start_grace_max.is_some() && config.start_grace.is_none(),
            "--start-grace-max",
            "--start-grace D",
        ),
        (config.stop_grace_max.is_some() && !config.hears(), "--stop-grace-max", "--notify"),
        (config.restart_grace_max.is_some() && !config.hears(), "--restart-grace-max", "--notify"),
        (config.watchdog_signal.is_some() && !config.hears(), "--watchdog-signal", "--watchdog D"),
        (
            config.ready_body.is_some() && config.ready_url.is_none(),
            "--ready-body",
            "--ready-url URL",
        ),
        (
            config.ready_json.is_some() && config.ready_url.is_none(),
            "--ready-json",
            "--ready-url URL",
        ),
        (
            config.listen_env.is_some() && config.listen.is_none(),
            "--listen-env",
            "--listen ADDR:PORT",
        ),
    ];
    if let Some((_, option, other)) = needs.iter().find(|(lacks, ..)| *lacks) {
        return Err(format!("{option}: works only with {other}; add it, or leave the option out"));
    }
    for (option, grace, max) in [
        ("stop-grace", config.stop_grace, config.stop_grace_max),
        ("restart-grace", config.restart_grace, config.restart_grace_max),
        ("start-grace", config.start_grace.unwrap_or_default(), config.start_grace_max),
    ] {
        if max.is_some_and(|max| max < grace) {
            return Err(format!("--{option}-max: shorter than --{option}; write a longer one"));
        }
    }
    let count = |list: Option<&'static CStr>| {
        list.map_or(0, |list| list.to_bytes().split(|byte| *byte == b',').count())
    };
    let (variables, sockets) = (count(config.listen_env), count(config.listen));
    if variables > sockets {
        return Err(format!(
            "--listen-env: {variables} variables for {sockets} sockets of --listen; write one for each, at most"
        ));
    }
    Ok(())
}

fn no_command(manners: Manners) -> (&'static str, Option<&'static str>) {
    match manners {
        Manners::Clawinit => {
            ("no command given; write clawinit [OPTIONS] -- COMMAND [ARG]..., or --help", None)
        }
        Manners::Tini => ("no command given", Some(TINI_HELP)),
        Manners::Catatonit => ("no command given", Some(CATATONIT_HELP)),
        Manners::DumbInit => ("no command given", Some(DUMB_INIT_HELP)),
    }
}

// ---- values ----

/// What is behind `start` in a C string: a C string as well.
fn tail(whole: &'static CStr, start: usize) -> &'static CStr {
    CStr::from_bytes_with_nul(&whole.to_bytes_with_nul()[start..]).unwrap_or(c"")
}

fn text(value: &'static CStr) -> Result<&'static str, Wrong> {
    value.to_str().map_err(|_| Wrong("the value is not UTF-8; write plain letters".into()))
}

fn one_of<T: Copy>(value: &'static CStr, all: &[(&str, T)]) -> Result<T, Wrong> {
    let value = text(value)?;
    if let Some((_, found)) = all.iter().find(|(name, _)| *name == value) {
        return Ok(*found);
    }
    let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
    Err(Wrong(format!("\"{value}\" is unknown; write {}", names.join(" or "))))
}

fn switch(value: &'static CStr) -> Result<bool, Wrong> {
    let no_or_yes = [
        ("yes", true),
        ("no", false),
        ("1", true),
        ("0", false),
        ("true", true),
        ("false", false),
        ("on", true),
        ("off", false),
    ];
    one_of(value, &no_or_yes).map_err(|_| {
        Wrong(format!("\"{}\" is neither yes nor no; write one of them", value.to_string_lossy()))
    })
}

fn duration(value: &'static CStr) -> Result<Duration, Wrong> {
    duration_text(text(value)?)
}

pub(crate) fn duration_text(value: &str) -> Result<Duration, Wrong> {
    let digits = value.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = value.split_at(digits);
    if (1..9).contains(&digits) && unit.is_empty() {
        return Err(Wrong(format!("\"{value}\" has no unit; write {value}s")));
    }
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => 0,
    };
    if digits == 0 || milliseconds == 0 {
        return Err(Wrong(format!(
            "\"{value}\" is no duration; write a whole number and ms, s or m, like 25s"
        )));
    }
    const YEAR: u64 = 366 * 24 * 60 * 60 * 1_000;
    number
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(milliseconds))
        .filter(|ms| *ms <= YEAR)
        .map(Duration::from_millis)
        .ok_or_else(|| Wrong(format!("\"{value}\" is more than a year; write less, like 25s")))
}

fn signal(value: &'static CStr) -> Result<Signal, Wrong> {
    signal_text(text(value)?)
}

fn signal_text(value: &str) -> Result<Signal, Wrong> {
    Signal::parse(value).ok_or_else(|| {
        Wrong(format!(
            "\"{value}\" is no signal; write a name or number of signal(7), like TERM, 15 or RTMIN+3"
        ))
    })
}

/// A signal that a child can act on.
fn sendable(value: &'static CStr) -> Result<Signal, Wrong> {
    signal(value).and_then(catchable)
}

fn catchable(signal: Signal) -> Result<Signal, Wrong> {
    if signal.is_catchable() {
        Ok(signal)
    } else {
        Err(Wrong(format!("no process can act on {signal}; write another, like TERM")))
    }
}

/// SIGKILL is for clawinit itself then, which is what `tini -p SIGKILL` is used for.
fn at_death(value: &'static CStr) -> Result<Signal, Wrong> {
    let signal = signal(value)?;
    if signal == Signal::STOP || signal == Signal::CHLD {
        return Err(Wrong(format!("{signal} is not forwarded; write another, like TERM")));
    }
    Ok(signal)
}

fn signals(value: &'static CStr) -> Result<SignalSet, Wrong> {
    let value = text(value)?;
    if value == "none" {
        return Ok(SignalSet::EMPTY);
    }
    let mut set = SignalSet::EMPTY;
    for name in value.split(',') {
        let signal = signal_text(name).and_then(catchable)?;
        if signal == Signal::CHLD {
            return Err(Wrong(
                "SIGCHLD tells clawinit of its children; write another signal".into(),
            ));
        }
        set = set.with(signal);
    }
    Ok(set)
}

fn code(value: &str) -> Result<u8, Wrong> {
    let plain = value.bytes().all(|b| b.is_ascii_digit());
    value
        .parse()
        .ok()
        .filter(|_| plain)
        .ok_or_else(|| Wrong(format!("\"{value}\" is no exit code; write a number from 0 to 255")))
}

fn codes(value: &'static CStr) -> Result<(CodeSet, Option<u8>), Wrong> {
    let (mut set, mut first) = (CodeSet::EMPTY, None);
    let value = text(value)?;
    if value != "none" {
        for item in value.split(',') {
            let code = code(item)?;
            set.insert(code);
            first = first.or(Some(code));
        }
    }
    Ok((set, first))
}

fn stop_exit_code(value: &'static CStr) -> Result<Option<u8>, Wrong> {
    match text(value)? {
        "child" => Ok(None),
        value => code(value).map(Some).map_err(|_| {
            Wrong(format!("\"{value}\" is no exit code; write child or a number from 0 to 255"))
        }),
    }
}

fn limit(value: &'static CStr) -> Result<(u8, Duration), Wrong> {
    let value = text(value)?;
    let wrong = || {
        Wrong(format!(
            "\"{value}\" is no limit; write crashes and a time, up to {MAX_CRASHES}, like 5/60s"
        ))
    };
    let (count, window) = value.split_once('/').ok_or_else(wrong)?;
    let count = count.parse().ok().filter(|n| usize::from(*n) <= MAX_CRASHES).ok_or_else(wrong)?;
    Ok((count, duration_text(window)?))
}

fn map(config: &mut Config, value: &'static CStr) -> Result<(), Wrong> {
    for pair in text(value)?.split(',') {
        let (from, to) = pair.split_once(':').ok_or_else(|| {
            Wrong(format!(
                "\"{pair}\" is no pair of signals; write FROM:TO, like HUP:TERM or HUP:none"
            ))
        })?;
        let from = signal_text(from).and_then(catchable)?;
        if from == Signal::CHLD {
            return Err(Wrong("SIGCHLD is not forwarded; write another signal".into()));
        }
        let to = if to == "none" || to == "0" { None } else { Some(signal_text(to)?) };
        config.map[from.number() as usize] = to;
    }
    Ok(())
}

/// Numbers only: a scratch image has no `/etc/passwd` to look names up in.
fn user(value: &'static CStr) -> Result<(u32, u32), Wrong> {
    let value = text(value)?;
    let number =
        |text: &str| text.parse().ok().filter(|id| *id != u32::MAX && !text.starts_with('+'));
    let ids = match value.split_once(':') {
        Some((uid, gid)) => number(uid).zip(number(gid)),
        None => number(value).map(|uid| (uid, uid)),
    };
    ids.ok_or_else(|| {
        Wrong(format!("\"{value}\" is no user; write numbers, like 1000 or 1000:1000"))
    })
}

fn port(value: &'static CStr) -> Result<u16, Wrong> {
    let value = text(value)?;
    value
        .parse()
        .ok()
        .filter(|port| *port != 0 && !value.starts_with('+'))
        .ok_or_else(|| Wrong(format!("\"{value}\" is no TCP port; write a number from 1 to 65535")))
}

fn listen(value: &'static CStr) -> Result<(), Wrong> {
    let value = text(value)?;
    match value.parse::<std::net::SocketAddr>() {
        Ok(address) if address.port() != 0 => Ok(()),
        _ => Err(Wrong(format!(
            "\"{value}\" is no address with a port; write 127.0.0.1:9464, 0.0.0.0:9464 or [::1]:9464"
        ))),
    }
}

fn sockets_to_listen_on(value: &'static CStr) -> Result<(), Wrong> {
    let mut places = Vec::new();
    for wanted in sockets::wanted(text(value)?) {
        let wanted = wanted.map_err(Wrong)?;
        if places.contains(&wanted.place) {
            let written = wanted.written;
            return Err(Wrong(format!("\"{written}\" is there twice; write it once")));
        }
        places.push(wanted.place);
    }
    Ok(())
}

fn variables(value: &'static CStr) -> Result<(), Wrong> {
    sockets::check_variables(text(value)?).map_err(Wrong)
}

fn more_than_nothing(value: &'static CStr) -> Result<Duration, Wrong> {
    let time = duration(value)?;
    if time.is_zero() {
        let value = value.to_string_lossy();
        return Err(Wrong(format!("\"{value}\" is no time at all; write more, like 10s")));
    }
    Ok(time)
}

fn ready_url(value: &'static CStr) -> Result<(), Wrong> {
    prober::probe(text(value)?, None, None).map(drop).map_err(Wrong)
}

fn ready_json(value: &'static CStr) -> Result<(), Wrong> {
    prober::probe("http://localhost/", None, Some(text(value)?)).map(drop).map_err(Wrong)
}

fn termination_log(value: &'static CStr) -> Result<TerminationLog, Wrong> {
    match value.to_bytes() {
        b"none" => Ok(TerminationLog::Off),
        [b'/', ..] => Ok(TerminationLog::Path(value)),
        // clawinit itself sits in `/` by the time it writes.
        _ => Err(Wrong(format!(
            "\"{}\" is no absolute path; write one that begins with /, or none",
            value.to_string_lossy()
        ))),
    }
}

// ---- names ----

/// The variable of an option, without `CLAWINIT_`.
pub(crate) fn variable_of(option: &str) -> String {
    option.to_ascii_uppercase().replace('-', "_")
}

fn is_variable_of(name: &str, option: &str) -> bool {
    name.len() == option.len()
        && name.bytes().zip(option.bytes()).all(|(n, o)| match o {
            b'-' => n == b'_',
            _ => n == o.to_ascii_uppercase(),
        })
}

/// The name that was probably meant: at most a third of its letters differ.
pub(crate) fn nearest(typed: &str, names: impl Iterator<Item = String>) -> Option<String> {
    names
        .map(|name| (distance(typed, &name), name))
        .filter(|(distance, name)| *distance * 3 <= name.len())
        .min()
        .map(|(_, name)| name)
}

/// How many letters to add, drop or change (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let changed = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

// ---- help ----

/// The name and the version; engines look for the words `tini version` (`docker info`).
fn version(manners: Manners) -> String {
    let own = env!("CARGO_PKG_VERSION");
    match manners {
        Manners::Clawinit => format!("clawinit {own} (takes the options of tini version 0.19.0)\n"),
        // `docker info` shows what is behind "git." and wants one dot in it.
        Manners::Tini => {
            format!("tini version 0.19.0 - git.clawinit-{}\n", own.replace('.', "_"))
        }
        Manners::Catatonit => format!("tini version 0.2.0_catatonit (clawinit {own})\n"),
        Manners::DumbInit => format!("dumb-init v1.2.5 (clawinit {own})\n"),
    }
}

fn help(manners: Manners) -> String {
    match manners {
        Manners::Clawinit => own_help(),
        Manners::Tini => TINI_HELP.into(),
        Manners::Catatonit => CATATONIT_HELP.into(),
        Manners::DumbInit => DUMB_INIT_HELP.into(),
    }
}

/// An option and its help, in lines of 80 columns; a head too long for its column has a line of
/// its own.
pub fn folded(text: &mut String, head: &str, column: usize, help: &str) {
    let mut line = format!("  {head:<column$}");
    if head.len() > column {
        let _ = writeln!(text, "  {head}");
        line = " ".repeat(column + 2);
    }
    for word in help.split_ascii_whitespace() {
        if line.len() + 1 + word.len() > 80 {
            let _ = writeln!(text, "{line}");
            line = " ".repeat(column + 2);
        }
        line.push(' ');
        line.push_str(word);
    }
    let _ = writeln!(text, "{line}");
}

fn own_help() -> String {
    let mut text = String::from(
        "usage: clawinit [OPTIONS] [--] COMMAND [ARG]...\n\n\
         Runs COMMAND as a container's first process: reaps, forwards signals, stops it\n\
         within a grace time, restarts it on SIGUSR1 or when it exits with 75, sweeps\n\
         what it left.\n\n\
         Each option has a variable: --stop-grace is CLAWINIT_STOP_GRACE. The command\n\
         line wins. D is a time with its unit: 500ms, 25s, 2m. Defaults are in\n\
         parentheses.\n\n",
    );
    for option in &OPTIONS {
        let head = format!("--{} {}", option.name, option.value);
        folded(&mut text, head.trim_end(), 26, option.help);
    }
    for (head, help) in [
        ("--help", "print this"),
        ("--version, --license", "print these"),
        ("-v, -q", "more log lines, fewer (-vv, -qq)"),
        (
            "-s -g -w -p SIG -e N -h -l",
            "as tini: --subreaper on, --kill-mode group, a line for each orphan reaped, --parent-death-signal, --success-codes (repeat to add), help, licence",
        ),
    ] {
        folded(&mut text, head, 26, help);
    }
    text.push_str(
        "\nExit code: the child's, 128+N when signal N ended it; 2 wrong usage, 125\n\
         clawinit could not start, 126 the command cannot be run, 127 it was not found.\n",
    );
    text
}

const TINI_HELP: &str = "\
usage: tini [OPTIONS] PROGRAM [ARG]... | --version

  -s       adopt orphans when not PID 1 (TINI_SUBREAPER)
  -p SIG   forward SIG when the parent dies
  -v       more verbose; repeat for more still (TINI_VERBOSITY: 0 to 4)
  -w       a line for each process reaped
  -g       forward signals to the child's process group (TINI_KILL_PROCESS_GROUP)
  -e N     report the exit code N as 0; repeat to add
  -h, -l   print this, the licence
";

const CATATONIT_HELP: &str = "\
usage: catatonit [-ghLV] [--] PROGRAM [ARG]...

  -g             forward signals to the program's process group
  -h             print this
  -L             print the licence
  -V, --version  print the version
";

const DUMB_INIT_HELP: &str = "\
usage: dumb-init [OPTIONS] PROGRAM [ARG]...

  -c, --single-child  forward signals to the program alone (DUMB_INIT_SETSID=0)
  -r, --rewrite A:B   forward signal A as signal B; 0 drops it; repeat to add
  -v, --verbose       log what happens (DUMB_INIT_DEBUG=1)
  -h, --help          print this
  -V, --version       print the version
";

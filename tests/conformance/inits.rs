//! The inits that the table compares, and how each of them is asked for the same thing.

use crate::harness::{self, BOUND, End, Init, Run};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Whose options and habits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Clawinit,
    Tini,
    DumbInit,
    Catatonit,
}
use Dialect::{Catatonit, Clawinit, DumbInit, Tini};

impl Dialect {
    pub const PEERS: [Dialect; 3] = [Tini, DumbInit, Catatonit];

    pub fn name(self) -> &'static str {
        match self {
            Clawinit => "clawinit",
            Tini => "tini",
            DumbInit => "dumb-init",
            Catatonit => "catatonit",
        }
    }
}

/// An init to run a case with: a program, and whose language it is spoken to in. clawinit comes
/// in all four.
#[derive(Debug, Clone)]
pub struct How {
    pub dialect: Dialect,
    pub program: PathBuf,
    /// clawinit, whatever it is called.
    pub ours: bool,
}

impl How {
    /// clawinit by its own name, or called by a peer's.
    pub fn ours(dialect: Dialect) -> How {
        How { dialect, program: harness::clawinit(), ours: true }
    }

    /// A peer as Debian packages it; `None` where it is not installed.
    pub fn peer(dialect: Dialect) -> Option<How> {
        let program = PathBuf::from("/usr/bin").join(dialect.name());
        program.exists().then_some(How { dialect, program, ours: false })
    }

    pub fn is(&self, dialect: Dialect) -> bool {
        self.dialect == dialect
    }

    fn argv0(&self) -> Option<String> {
        (self.ours && !self.is(Clawinit)).then(|| format!("/sbin/{}", self.dialect.name()))
    }

    /// What everything is started with: SIGUSR1 and code 75 are the program's own affair to the
    /// peers, and so they are here.
    pub fn base(&self) -> &'static [&'static str] {
        match self.dialect {
            Clawinit => &["--restart-on=none", "--restart-code=none"],
            Tini | DumbInit | Catatonit => &[],
        }
    }

    /// As PID 1 of a namespace of its own, with these options behind those of `base`.
    pub fn init(&self, options: &[&str]) -> Init {
        self.bare(&[self.base(), options].concat())
    }

    /// The same with nothing but these options.
    pub fn bare(&self, options: &[&str]) -> Init {
        let init = Init::plain(options).program(self.program.clone());
        match self.argv0() {
            Some(name) => init.flag(&format!("argv0={name}")),
            None => init,
        }
    }

    /// Signals go to the child's whole process group.
    pub fn group(&self) -> Vec<&'static str> {
        match self.dialect {
            Clawinit => vec!["--kill-mode=group"],
            Tini | Catatonit => vec!["-g"],
            DumbInit => vec![],
        }
    }

    /// Signals go to the child, and nobody else is touched.
    pub fn single(&self) -> Vec<&'static str> {
        match self.dialect {
            Clawinit => vec!["--kill-mode=process"],
            Tini | Catatonit => vec![],
            DumbInit => vec!["-c"],
        }
    }

    pub fn modes(&self) -> [Vec<&'static str>; 2] {
        [self.single(), self.group()]
    }

    /// Its most words on standard error.
    pub fn verbose(&self) -> Result<Vec<&'static str>, Not> {
        match self.dialect {
            Clawinit => Ok(vec!["-vv"]),
            Tini => Ok(vec!["-vvv"]),
            DumbInit => Ok(vec!["-v"]),
            Catatonit => absent("has no verbosity"),
        }
    }

    /// Warnings at most.
    pub fn quiet(&self) -> &'static [&'static str] {
        if self.is(Clawinit) { &["-q"] } else { &[] }
    }

    /// Forward one signal as another, or as none (0).
    pub fn map(&self, pairs: &[(&str, &str)]) -> Result<Vec<String>, Not> {
        match self.dialect {
            Clawinit => Ok(pairs
                .iter()
                .map(|(from, to)| format!("--map={from}:{}", if *to == "0" { "none" } else { to }))
                .collect()),
            DumbInit => Ok(pairs
                .iter()
                .flat_map(|(from, to)| ["-r".to_string(), format!("{from}:{to}")])
                .collect()),
            Tini | Catatonit => absent("does not rewrite signals"),
        }
    }

    /// What a wrong command line is answered with.
    pub fn usage_code(&self) -> i32 {
        if self.is(Clawinit) { 2 } else { 1 }
    }

    /// Runs it to its end without a namespace, for what needs none; these words and no others.
    pub fn quick(&self, words: &[&str]) -> Result<Quick, Not> {
        self.quick_with(words, &[])
    }

    pub fn quick_with(&self, words: &[&str], variables: &[(&str, &str)]) -> Result<Quick, Not> {
        use std::os::unix::process::{CommandExt, ExitStatusExt};
        let mut command = Command::new(&self.program);
        if let Some(name) = self.argv0() {
            command.arg0(name);
        }
        let mut child = command
            .args(words)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| failed(format!("does not start: {error}")))?;
        let end = Instant::now() + BOUND.get();
        loop {
            match child.try_wait() {
                Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_micros(300)),
                Ok(None) => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(failed("does not end"));
                }
                Ok(Some(_)) => break,
                Err(error) => return Err(failed(error.to_string())),
            }
        }
        let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
        let end = match (output.status.code(), output.status.signal()) {
            (Some(code), _) => End::Code(code),
            (None, signal) => End::Signal(signal.unwrap_or(0)),
        };
        Ok(Quick {
            end,
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

/// How a program ended that needed no namespace, and what it wrote.
pub struct Quick {
    pub end: End,
    pub out: String,
    pub err: String,
}

impl Quick {
    pub fn text(&self) -> String {
        format!("{}{}", self.out, self.err)
    }

    pub fn ends(&self, code: i32, when: &str) -> Seen {
        right_end(self.end, code, when)
    }
}

/// Why a case has not passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Not {
    /// What was seen instead, for the table; and all else that is known.
    Failed(String, String),
    /// The init has no such feature.
    Absent(&'static str),
    /// clawinit by another name, where the name changes nothing: its own is tried.
    Same,
    /// This machine cannot run the case.
    Cannot(&'static str),
}

pub type Seen = Result<(), Not>;

pub fn failed(fact: impl Into<String>) -> Not {
    Not::Failed(fact.into(), String::new())
}

pub fn absent<T>(why: &'static str) -> Result<T, Not> {
    Err(Not::Absent(why))
}

pub fn check(right: bool, fact: impl Into<String>) -> Seen {
    if right { Ok(()) } else { Err(failed(fact)) }
}

/// The harness fails by panic; here that is a fact about an init.
pub fn must<T>(fact: impl Into<String>, what: impl FnOnce() -> T) -> Result<T, Not> {
    catch(what).map_err(|detail| Not::Failed(fact.into(), detail))
}

thread_local! {
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Panics in threads of cases are kept, not printed.
pub fn keep_panics() {
    let others = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if std::thread::current().name() == Some(CASE) {
            PANIC.set(info.to_string());
        } else {
            others(info);
        }
    }));
}

/// The name of a thread that runs a case.
pub const CASE: &str = "case";

fn catch<T>(what: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(what)).map_err(|_| PANIC.take())
}

/// Runs a case with a bound for each of its waits.
pub fn run_case(case: fn(&How) -> Seen, how: &How, bound: Duration) -> Seen {
    BOUND.set(bound);
    match catch(|| case(how)) {
        Ok(seen) => seen,
        Err(detail) => {
            let first = detail.lines().nth(1).unwrap_or("a panic").to_string();
            Err(Not::Failed(first, detail))
        }
    }
}

pub fn signal_name(signal: i32) -> String {
    nix::sys::signal::Signal::try_from(signal)
        .map_or_else(|_| format!("signal {signal}"), |signal| signal.as_str().to_string())
}

fn right_end(end: End, code: i32, when: &str) -> Seen {
    let when = if when.is_empty() { String::new() } else { format!("{when}: ") };
    match end {
        End::Code(seen) if seen == code => Ok(()),
        End::Code(seen) => Err(failed(format!("{when}leaves with {seen}, not {code}"))),
        End::Signal(signal) => Err(failed(format!("{when}dies of {}", signal_name(signal)))),
    }
}

/// Waits for the end, which is to be this code.
pub fn ends(run: Run, code: i32, when: &str) -> Result<harness::Done, Not> {
    let fact =
        if when.is_empty() { "does not end".into() } else { format!("{when}: does not end") };
    let done = must(fact, || run.finish())?;
    match right_end(done.end, code, when) {
        Err(Not::Failed(fact, _)) => Err(Not::Failed(fact, done.text())),
        _ => Ok(done),
    }
}
